//! An embedded DynamoDB: one SQLite file, or memory. The SDK's client reaches it without HTTP, by a connector in this process.

use std::path::Path;

use anyhow::Context as _;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use state::Table;

use crate::template::Template;

/// The table's name on this machine.
pub const TABLE: &str = "probegram";

/// An embedded DynamoDB with our table in it.
#[derive(Clone)]
pub struct Embedded {
    database: Database,
}

impl Embedded {
    /// Opens the file, or memory without one, and makes the table if it is not there.
    ///
    /// # Errors
    /// When the file is not readable as a table.
    pub fn open(file: Option<&Path>, template: &Template) -> anyhow::Result<Self> {
        let database = match file {
            None => Database::memory()?,
            Some(file) => {
                let path = file.to_str().context("the path of the data directory is not UTF-8")?;
                let database =
                    Database::new(path).with_context(|| format!("cannot open the table in {path}"))?;
                // Leaves SQLite at synchronous=NORMAL: an SD card that waits for every write would take 20 of them a second.
                // When the plug is pulled the last writes may be gone, and the read position, which is in the same file, with
                // them: they are read again.
                database.enable_bulk_loading()?;
                database.disable_bulk_loading()?;
                database
            }
        };
        let (request, ttl) = template.table(TABLE)?;
        if database.get_table_metadata(TABLE)?.is_none() {
            database.create_table(serde_json::from_value(request)?)?;
            let ttl = serde_json::json!({"TableName": TABLE,
                "TimeToLiveSpecification": {"AttributeName": ttl, "Enabled": true}});
            database.update_time_to_live(serde_json::from_value(ttl)?)?;
        }
        Ok(Self { database })
    }

    /// The table, over the SDK's client.
    #[must_use]
    pub fn table(&self) -> Table {
        Table::new(client(self.clone()), TABLE)
    }

    /// Deletes what has expired. Returns how many items.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn sweep(&self) -> anyhow::Result<usize> {
        Ok(self.database.sweep_ttl()?)
    }

    /// How many items the table has.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn items(&self) -> anyhow::Result<i64> {
        let stats = self.database.table_stats()?;
        Ok(stats.iter().map(|table| table.item_count).sum())
    }

    /// Carries a request of the SDK out.
    ///
    /// # Errors
    /// When the request has no operation or body of DynamoDB's API.
    pub fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let operation = request
            .headers()
            .get("x-amz-target")
            .and_then(|target| target.split('.').nth(1))
            .unwrap_or_default();
        let body = request.body().bytes().unwrap_or_default();
        let db = &self.database;
        let answer = match operation {
            "GetItem" => carry_out(body, |request| db.get_item(request)),
            "BatchGetItem" => carry_out(body, |request| db.batch_get_item(request)),
            "PutItem" => carry_out(body, |request| db.put_item(request)),
            "UpdateItem" => carry_out(body, |request| db.update_item(request)),
            "DeleteItem" => carry_out(body, |request| db.delete_item(request)),
            "TransactWriteItems" => carry_out(body, |request| db.transact_write_items(request)),
            "Query" => carry_out(body, |request| db.query(request)),
            "Scan" => carry_out(body, |request| db.scan(request)),
            other => {
                return Err(ConnectorError::user(
                    format!("{other} is not carried out by the embedded table").into(),
                ));
            }
        };
        let (status, body) = match answer {
            Ok(body) => (200, body),
            Err(error) => (error.status_code(), error.to_json().into_bytes()),
        };
        let status =
            http::StatusCode::from_u16(status).map_err(|error| ConnectorError::other(error.into(), None))?;
        Ok(HttpResponse::new(status.into(), SdkBody::from(body)))
    }
}

fn carry_out<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<Vec<u8>, DynoxideError> {
    let failed = |error: serde_json::Error| DynoxideError::InternalServerError(error.to_string());
    let answer = operation(serde_json::from_slice(body).map_err(failed)?)?;
    serde_json::to_vec(&answer).map_err(failed)
}

/// A client of the SDK whose requests go to `http`.
#[must_use]
pub fn client(http: impl HttpClient + 'static) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("local"))
        .credentials_provider(Credentials::new("local", "local", None, None, "this machine"))
        .endpoint_url("http://embedded")
        .retry_config(aws_sdk_dynamodb::config::retry::RetryConfig::disabled())
        .timeout_config(aws_sdk_dynamodb::config::timeout::TimeoutConfig::disabled())
        .http_client(http)
        .build();
    Client::from_conf(config)
}

impl HttpClient for Embedded {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Embedded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(self.answer(&request))
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Embedded")
    }
}
