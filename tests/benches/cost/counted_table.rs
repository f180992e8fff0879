//! An embedded DynamoDB that tells what a bill would be made of: the units of every request, and how long a function waits for them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use dynoxide::types::{Item, item_size};
use probegram::embedded::{self, Embedded};
use probegram::template::Template;
use serde_json::{Value, json};
use state::Table;

/// How long a request takes in the same region, from asking to answer: "single-digit milliseconds" by DynamoDB's own words.
pub(crate) const LATENCY: Duration = Duration::from_millis(5);
/// What DynamoDB adds to an item's size, in bytes, for its storage and again for each index that holds it.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
const OVERHEAD_BYTES: usize = 100;

/// What was asked of the table.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Units {
    /// Requests.
    pub(crate) requests: f64,
    /// Read request units.
    pub(crate) reads: f64,
    /// Write request units, with those of the indexes.
    pub(crate) writes: f64,
    /// Of these, the indexes'.
    pub(crate) of_indexes: f64,
}

impl std::ops::AddAssign for Units {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.reads += other.reads;
        self.writes += other.writes;
        self.of_indexes += other.of_indexes;
    }
}

impl std::ops::Mul<f64> for Units {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        Self {
            requests: self.requests * times,
            reads: self.reads * times,
            writes: self.writes * times,
            of_indexes: self.of_indexes * times,
        }
    }
}

/// An embedded DynamoDB that counts.
#[derive(Clone, Debug)]
pub(crate) struct CountedTable {
    embedded: Embedded,
    spent: Arc<Mutex<Units>>,
}

impl CountedTable {
    /// An empty one in memory.
    pub(crate) fn open() -> Self {
        let embedded = Embedded::open(None, &Template::read().unwrap()).unwrap();
        Self { embedded, spent: Arc::default() }
    }

    /// The table, over the SDK's client.
    pub(crate) fn table(&self) -> Table {
        Table::new(embedded::client(self.clone()), embedded::TABLE)
    }

    /// What was asked since this was asked last.
    pub(crate) fn take(&self) -> Units {
        std::mem::take(&mut *self.spent.lock().unwrap())
    }

    /// What is billed as storage, in bytes: all items, and the keys of those that are in an index.
    pub(crate) fn stored_bytes(&self) -> usize {
        const INDEXES: [[&str; 2]; 5] = [
            ["ssid", "ssid_last_day"],
            ["day", "day_device"],
            ["mac", "mac"],
            ["label_of", "label"],
            ["due_in", "due"],
        ];
        let mut bytes = 0;
        let mut request = json!({"TableName": embedded::TABLE});
        loop {
            let answer = self.ask("Scan", &request);
            let items: Vec<Item> = serde_json::from_value(answer["Items"].clone()).unwrap();
            for item in items {
                bytes += item_size(&item) + OVERHEAD_BYTES;
                for [hash, range] in INDEXES {
                    if item.contains_key(hash) && item.contains_key(range) {
                        let names = ["pk", "sk", hash, range];
                        let keys: Item =
                            item.clone().into_iter().filter(|(name, _)| names.contains(&&**name)).collect();
                        bytes += item_size(&keys) + OVERHEAD_BYTES;
                    }
                }
            }
            let last = &answer["LastEvaluatedKey"];
            if !last.is_object() {
                return bytes;
            }
            request["ExclusiveStartKey"] = last.clone();
        }
    }

    fn ask(&self, operation: &str, body: &Value) -> Value {
        let mut request = HttpRequest::new(SdkBody::from(body.to_string()));
        request.headers_mut().insert("x-amz-target", format!("DynamoDB_20120810.{operation}"));
        let response = self.embedded.answer(&request).unwrap();
        serde_json::from_slice(response.body().bytes().unwrap()).unwrap()
    }

    /// Carries a request out and notes what DynamoDB would bill.
    fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let target = request.headers().get("x-amz-target").unwrap().to_owned();
        let mut body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        body["ReturnConsumedCapacity"] = json!("INDEXES");
        let mut asking = HttpRequest::new(SdkBody::from(body.to_string()));
        asking.headers_mut().insert("x-amz-target", target.clone());
        let response = self.embedded.answer(&asking)?;
        let is_read = ["GetItem", "Query", "Scan"].iter().any(|operation| target.ends_with(operation));
        let mut units = Units { requests: 1.0, ..Units::default() };
        if response.status().is_success() {
            let answer: Value = serde_json::from_slice(response.body().bytes().unwrap()).unwrap();
            let consumed = match &answer["ConsumedCapacity"] {
                Value::Array(tables) => tables.clone(),
                one => vec![one.clone()],
            };
            for table in consumed {
                let total = table["CapacityUnits"].as_f64().unwrap();
                if is_read {
                    units.reads += total;
                } else {
                    units.writes += total;
                    let indexes = table["GlobalSecondaryIndexes"].as_object().into_iter().flatten();
                    units.of_indexes +=
                        indexes.map(|(_, index)| index["CapacityUnits"].as_f64().unwrap()).sum::<f64>();
                }
            }
        } else if !is_read {
            // a write whose condition does not hold is billed by the item that it found, and ours are below 1 KB
            units.writes += 1.0;
        }
        *self.spent.lock().unwrap() += units;
        Ok(response)
    }
}

impl HttpClient for CountedTable {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for CountedTable {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let table = self.clone();
        // in a time that passes when all wait: so it is measured how much of the waiting is done at once
        HttpConnectorFuture::new(async move {
            tokio::time::sleep(LATENCY).await;
            table.answer(&request)
        })
    }
}
