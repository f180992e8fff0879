//! An embedded DynamoDB whose answers come when, and how, a test's schedule wants: so that every order in which requests of
//! overlapping invocations can meet is one that a test can try.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use futures::channel::oneshot;
use probegram::embedded::{self, Embedded};
use serde_json::{Value, json};
use state::Table;

/// A table whose requests wait until the schedule lets one through.
#[derive(Clone, Debug)]
pub struct ScheduledTable {
    embedded: Embedded,
    waiting: Arc<Mutex<Vec<Waiting>>>,
    /// What each item was before, for reads that are stale.
    history: Arc<Mutex<HashMap<String, Vec<Option<Value>>>>>,
}

#[derive(Debug)]
struct Waiting {
    request: HttpRequest,
    answer: oneshot::Sender<Result<HttpResponse, ConnectorError>>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out and answered.
    Answered,
    /// It is carried out, and an eventually consistent read gives what was there before.
    Stale,
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It never arrives.
    Lost,
}

impl ScheduledTable {
    /// A table in memory.
    ///
    /// # Panics
    /// When none can be made.
    #[must_use]
    pub fn new(embedded: Embedded) -> Self {
        Self { embedded, waiting: Arc::default(), history: Arc::default() }
    }

    /// The table as invocations see it: each request waits.
    #[must_use]
    pub fn scheduled(&self) -> Table {
        Table::new(embedded::client(self.clone()), embedded::TABLE)
    }

    /// The table as it is, without waiting.
    #[must_use]
    pub fn direct(&self) -> Table {
        self.embedded.table()
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.lock().unwrap().len()
    }

    /// The operation of a request that waits, and its body.
    #[must_use]
    pub fn peek(&self, which: usize) -> (String, Value) {
        let waiting = self.waiting.lock().unwrap();
        let request = &waiting[which].request;
        (operation(request).to_owned(), body(request))
    }

    /// Lets one request have its fate.
    pub fn release(&self, which: usize, fate: Fate, random: &mut fastrand::Rng) {
        let Waiting { request, answer } = self.waiting.lock().unwrap().swap_remove(which);
        // Who asked may be dead. Its request is on its way all the same.
        let lost = || ConnectorError::io("the connection was lost".into());
        let outcome = match fate {
            Fate::Lost => Err(lost()),
            Fate::AnswerLost => {
                self.carry_out(&request).unwrap();
                Err(lost())
            }
            Fate::Answered => self.carry_out(&request),
            Fate::Stale => self.carry_out(&request).map(|response| self.stale(&request, response, random)),
        };
        drop(answer.send(outcome));
    }

    /// The partition keys of all items, each once.
    ///
    /// # Panics
    /// When the table does not answer.
    #[must_use]
    pub fn partition_keys(&self) -> BTreeSet<String> {
        let items = self.ask("Scan", &json!({"TableName": embedded::TABLE}));
        let items = items["Items"].as_array().unwrap();
        items.iter().map(|item| item["pk"]["S"].as_str().unwrap().to_owned()).collect()
    }

    fn ask(&self, operation: &str, body: &Value) -> Value {
        let mut request = HttpRequest::new(SdkBody::from(body.to_string()));
        request.headers_mut().insert("x-amz-target", format!("DynamoDB_20120810.{operation}"));
        let response = self.carry_out(&request).unwrap();
        serde_json::from_slice(response.body().bytes().unwrap()).unwrap()
    }

    /// Deletes the items that have expired at a time (milliseconds since 1970), as DynamoDB does some time later.
    pub fn delete_expired(&self, now_ms: i64) {
        let items = self.ask("Scan", &json!({"TableName": embedded::TABLE}));
        for item in items["Items"].as_array().unwrap() {
            let expires = item["expires"]["N"].as_str().map(|seconds| seconds.parse::<i64>().unwrap());
            if expires.is_some_and(|seconds| seconds * 1000 <= now_ms) {
                self.ask("DeleteItem", &json!({"TableName": embedded::TABLE, "Key": key_of(item)}));
            }
        }
    }

    fn carry_out(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let before = match operation(request) {
            "PutItem" => body(request).get("Item").map(key_of),
            "DeleteItem" => body(request).get("Key").map(key_of),
            _ => None,
        };
        let before = before.map(|key| (key.to_string(), self.item(&key)));
        let response = self.embedded.answer(request)?;
        if let Some((key, item)) = before
            && response.status().is_success()
        {
            self.history.lock().unwrap().entry(key).or_default().push(item);
        }
        Ok(response)
    }

    fn item(&self, key: &Value) -> Option<Value> {
        let mut request =
            HttpRequest::new(SdkBody::from(json!({"TableName": embedded::TABLE, "Key": key}).to_string()));
        request.headers_mut().insert("x-amz-target", "DynamoDB_20120810.GetItem");
        let response = self.embedded.answer(&request).unwrap();
        serde_json::from_slice::<Value>(response.body().bytes().unwrap()).unwrap().get("Item").cloned()
    }

    /// What an eventually consistent read may answer: for any item, any of what it was before.
    fn stale(
        &self,
        request: &HttpRequest,
        response: HttpResponse,
        random: &mut fastrand::Rng,
    ) -> HttpResponse {
        if operation(request) == "Query" && body(request)["IndexName"].is_string() {
            return some_of(&response, random);
        }
        if operation(request) != "BatchGetItem" {
            return response;
        }
        let request = body(request);
        let wanted = &request["RequestItems"][embedded::TABLE];
        if wanted["ConsistentRead"] == json!(true) {
            return response;
        }
        let mut answer: Value = serde_json::from_slice(response.body().bytes().unwrap()).unwrap();
        let mut items: HashMap<String, Value> = answer["Responses"][embedded::TABLE]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| (key_of(item).to_string(), item.clone()))
            .collect();
        let history = self.history.lock().unwrap();
        for key in wanted["Keys"].as_array().unwrap() {
            let key = key_of(key).to_string();
            let Some(versions) = history.get(&key) else { continue };
            if random.bool() {
                match random.choice(versions).unwrap() {
                    Some(old) => drop(items.insert(key, old.clone())),
                    None => drop(items.remove(&key)),
                }
            }
        }
        answer["Responses"][embedded::TABLE] = items.into_values().collect();
        HttpResponse::new(response.status(), SdkBody::from(answer.to_string()))
    }
}

/// What an index may answer that is behind its table: a part is not there yet.
fn some_of(response: &HttpResponse, random: &mut fastrand::Rng) -> HttpResponse {
    let mut answer: Value = serde_json::from_slice(response.body().bytes().unwrap()).unwrap();
    if let Some(items) = answer["Items"].as_array_mut() {
        items.retain(|_| random.bool());
        answer["Count"] = json!(answer["Items"].as_array().unwrap().len());
    }
    HttpResponse::new(response.status(), SdkBody::from(answer.to_string()))
}

fn operation(request: &HttpRequest) -> &str {
    request.headers().get("x-amz-target").and_then(|target| target.split('.').nth(1)).unwrap_or_default()
}

fn body(request: &HttpRequest) -> Value {
    serde_json::from_slice(request.body().bytes().unwrap()).unwrap()
}

fn key_of(item: &Value) -> Value {
    json!({"pk": item["pk"], "sk": item["sk"]})
}

impl HttpClient for ScheduledTable {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for ScheduledTable {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (answer, receiver) = oneshot::channel();
        self.waiting.lock().unwrap().push(Waiting { request, answer });
        HttpConnectorFuture::new(async move {
            receiver
                .await
                .unwrap_or_else(|_canceled| Err(ConnectorError::other("the schedule is over".into(), None)))
        })
    }
}
