//! What programs ask of AWS, noted on the way: for the question whether their roles allow it, and nothing that they do not ask.
//!
//! Everybody who asks has the same endpoint, as functions of an emulator have. Who it was is told by Linux: the process at the other
//! end of the connection has its function's name in its environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// What one request of AWS's API needs to be allowed.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The action, such as `dynamodb:Query`.
    pub action: String,
    /// What it is done to, as it was named in the request: a table, `TABLE/index/INDEX`, a secret; `*` where an action knows nothing
    /// narrower.
    pub resource: String,
}

/// Under this name stands what was asked by what is no function, or has ended before it could be found.
pub const NOBODY: &str = "";

/// What each function has asked, by the function's name.
pub type Calls = BTreeMap<String, BTreeSet<Call>>;

/// A server on loopback that passes requests on and notes them. It ends when this goes out of scope.
pub struct Recorder {
    shared: Arc<Shared>,
    _server: Runtime,
}

struct Shared {
    port: u16,
    upstream: String,
    calls: Mutex<Calls>,
    client: reqwest::Client,
}

impl Recorder {
    /// One on a free port, which passes everything to `upstream` (`http://127.0.0.1:PORT`).
    ///
    /// # Panics
    /// If there is no free port.
    #[must_use]
    pub fn start(upstream: &str) -> Self {
        // a thread of its own: it also serves while a test waits
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let shared = Arc::new(Shared {
            port: listener.local_addr().expect("an address").port(),
            upstream: upstream.to_owned(),
            calls: Mutex::default(),
            client: reqwest::Client::builder().no_proxy().build().expect("an HTTP client"),
        });
        let router =
            Router::new().fallback(carry).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&shared));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        runtime.spawn(async move { axum::serve(listener, service).await.expect("a listener") });
        Self { shared, _server: runtime }
    }

    /// Where it serves: `http://127.0.0.1:PORT`, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.shared.port)
    }

    /// What functions have asked so far.
    ///
    /// # Panics
    /// If noting has.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.shared.calls.lock().unwrap().clone()
    }
}

async fn carry(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let calls = calls(target, &method, uri.path(), &serde_json::from_slice(&body).unwrap_or_default());
    let function = function_at(peer.port(), shared.port).unwrap_or_else(|| NOBODY.to_owned());
    shared.calls.lock().unwrap().entry(function).or_default().extend(calls);
    for name in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let url = format!("{}{}", shared.upstream, uri.path_and_query().map_or("/", |path| path.as_str()));
    let request = shared.client.request(method, url).headers(headers).body(body);
    let answer = async {
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut response = Response::new(Body::from(answer.bytes().await.ok()?));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().remove(header::TRANSFER_ENCODING);
        Some(response)
    };
    answer.await.unwrap_or_else(|| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    })
}

/// What a request has to be allowed.
fn calls(target: &str, method: &Method, path: &str, body: &Value) -> Vec<Call> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let call = |action: String, resource: String| Call { action, resource };
    match target.split_once('.') {
        Some((version, operation)) if version.starts_with("DynamoDB_") => match operation {
            // a transaction needs what its parts need
            // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
            "TransactWriteItems" | "TransactGetItems" => {
                let items = body["TransactItems"].as_array().into_iter().flatten();
                let parts = items.filter_map(|item| item.as_object()?.iter().next());
                parts
                    .map(|(part, of)| {
                        let action = if part == "ConditionCheck" {
                            "ConditionCheckItem"
                        } else {
                            &format!("{part}Item")
                        };
                        call(format!("dynamodb:{action}"), text(&of["TableName"]))
                    })
                    .collect()
            }
            "BatchGetItem" | "BatchWriteItem" => {
                let tables = body["RequestItems"].as_object().into_iter().flatten();
                tables.map(|(table, _)| call(format!("dynamodb:{operation}"), table.clone())).collect()
            }
            _ => {
                let table = text(&body["TableName"]);
                let resource = match body["IndexName"].as_str() {
                    Some(index) => format!("{table}/index/{index}"),
                    None => table,
                };
                vec![call(format!("dynamodb:{operation}"), resource)]
            }
        },
        Some((service, operation)) => vec![call(format!("{service}:{operation}"), text(&body["SecretId"]))],
        None if method == Method::GET
            && path.trim_end_matches('/') == "/2015-03-31/event-source-mappings" =>
        {
            vec![call("lambda:ListEventSourceMappings".to_owned(), "*".to_owned())]
        }
        // no action has such a name: no role allows it, and somebody looks at it
        None => vec![call(format!("{method} {path}"), "*".to_owned())],
    }
}

/// The name of the function whose process has a connection from this port of loopback to that one.
fn function_at(port: u16, ours: u16) -> Option<String> {
    // `sl local_address rem_address st … inode`, addresses as hexadecimal: proc_net_tcp in the kernel's documentation
    let sockets = fs::read_to_string("/proc/net/tcp").ok()?;
    let (local, remote) = (format!(":{port:04X}"), format!(":{ours:04X}"));
    let inode = sockets.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1)?.ends_with(&local) && fields.get(2)?.ends_with(&remote))
            .then(|| fields.get(9).copied())?
    })?;
    let socket = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.find_map(|process| {
        let process = process.ok()?.path();
        let environment = fs::read(process.join("environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        let name = variables.find_map(|variable| variable.strip_prefix(b"AWS_LAMBDA_FUNCTION_NAME="))?;
        let mut files = fs::read_dir(process.join("fd")).ok()?;
        let has_socket = files.any(|file| {
            file.is_ok_and(|file| {
                fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == socket.as_str())
            })
        });
        has_socket.then(|| String::from_utf8_lossy(name).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(target: &str, body: &Value) -> Vec<(String, String)> {
        let calls = calls(target, &Method::POST, "/", body);
        calls.into_iter().map(|call| (call.action, call.resource)).collect()
    }

    #[test]
    fn a_request_needs_what_its_parts_do_to_what_it_names() {
        for (target, body, needed) in [
            ("DynamoDB_20120810.GetItem", json!({"TableName": "t"}), vec![("dynamodb:GetItem", "t")]),
            (
                "DynamoDB_20120810.Query",
                json!({"TableName": "t", "IndexName": "due"}),
                vec![("dynamodb:Query", "t/index/due")],
            ),
            (
                "DynamoDB_20120810.BatchGetItem",
                json!({"RequestItems": {"t": {}}}),
                vec![("dynamodb:BatchGetItem", "t")],
            ),
            (
                "DynamoDB_20120810.TransactWriteItems",
                json!({"TransactItems": [{"Put": {"TableName": "t"}}, {"ConditionCheck": {"TableName": "u"}}]}),
                vec![("dynamodb:PutItem", "t"), ("dynamodb:ConditionCheckItem", "u")],
            ),
            (
                "secretsmanager.GetSecretValue",
                json!({"SecretId": "s"}),
                vec![("secretsmanager:GetSecretValue", "s")],
            ),
            ("", json!({}), vec![("POST /", "*")]),
        ] {
            let needed: Vec<_> =
                needed.iter().map(|(action, on)| ((*action).to_owned(), (*on).to_owned())).collect();
            assert_eq!(of(target, &body), needed);
        }
        let listed = calls("", &Method::GET, "/2015-03-31/event-source-mappings/", &Value::Null);
        assert_eq!(listed[0].action, "lambda:ListEventSourceMappings");
    }
}
