//! A DynamoDB over HTTP on loopback, in memory, whose items a test may look at.

use std::collections::BTreeMap;

use dynoxide::Database;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// The name of the table.
pub const TABLE: &str = "state";

/// A running DynamoDB. It ends with the runtime that it runs on.
pub struct Dynamodb {
    database: Database,
    endpoint: String,
}

/// Items by partition key and sort key; each value as text, whatever its type.
pub type Items = BTreeMap<(String, String), BTreeMap<String, String>>;

impl Dynamodb {
    /// An empty one.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(runtime: &Handle) -> Self {
        let database = Database::memory().expect("a database in memory");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let served = database.clone();
        runtime.spawn(async move {
            dynoxide::server::serve_with_shutdown(listener, served, std::future::pending())
                .await
                .expect("a server");
        });
        Self { database, endpoint }
    }

    /// Where it serves: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// All items whose partition key begins like this; none while there is no table.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn items(&self, prefix: &str) -> Items {
        let mut items = Items::new();
        if self.database.get_table_metadata(TABLE).expect("an answer").is_none() {
            return items;
        }
        let mut request = json!({"TableName": TABLE});
        loop {
            let scan = serde_json::from_value(request.clone()).expect("a scan");
            let answer = serde_json::to_value(self.database.scan(scan).expect("items")).expect("JSON");
            for item in answer["Items"].as_array().expect("a list of items") {
                let mut item: BTreeMap<String, String> = item
                    .as_object()
                    .expect("an item")
                    .iter()
                    .map(|(name, value)| (name.clone(), text(value)))
                    .collect();
                let key = |item: &mut BTreeMap<String, String>, name| item.remove(name).expect("a key");
                let (pk, sk) = (key(&mut item, "pk"), key(&mut item, "sk"));
                if pk.starts_with(prefix) {
                    items.insert((pk, sk), item);
                }
            }
            match answer.get("LastEvaluatedKey") {
                None | Some(Value::Null) => return items,
                Some(key) => request["ExclusiveStartKey"] = key.clone(),
            }
        }
    }
}

/// `{"N": "3"}` as `3`.
fn text(value: &Value) -> String {
    let (_type, value) = value.as_object().and_then(|typed| typed.iter().next()).expect("a typed value");
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
