//! The embedded table of a running `probegram local`, for the operator's commands: one process alone may have its file open, so
//! that one serves DynamoDB's API on a Unix socket beside the file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use state::Table;
use tokio::net::UnixListener;

use crate::cli::WhichTable;
use crate::directory::{self, DataDirectory};
use crate::embedded::{self, Embedded, TABLE};
use crate::remote_table;
use crate::shutdown::Shutdown;
use crate::stack::Stack;
use crate::template::Template;

/// Names the operation of a request.
const TARGET: &str = "x-amz-target";

/// A table as an operator's command has it.
#[derive(Debug)]
pub struct Opened {
    /// The table.
    pub table: Table,
    /// Keeps others out while this command alone has the file open.
    _directory: Option<DataDirectory>,
}

/// The table that the options name. Nothing is made: who asks for a table that is not there has misspelled it.
///
/// # Errors
/// When there is none, or it cannot be reached.
pub async fn open(which: &WhichTable, template: &Template) -> anyhow::Result<Opened> {
    if let Some(name) = &which.stack {
        let stack = Stack::find(name).await?;
        return Ok(Opened { table: remote_table::of_stack(&stack)?, _directory: None });
    }
    if let Some(endpoint) = &which.dynamodb_endpoint {
        let table = remote_table::open_existing(endpoint, &which.table).await?;
        return Ok(Opened { table, _directory: None });
    }
    let path = which.data()?;
    let file = directory::table(&path);
    ensure!(
        file.exists(),
        "there is no table in {}: name the directory of `probegram local` with --data",
        path.display()
    );
    if let Some(directory) = DataDirectory::open_if_free(&path)? {
        let embedded = Embedded::open(Some(&file), template)?;
        return Ok(Opened { table: embedded.table(), _directory: Some(directory) });
    }
    let socket = directory::socket(&path);
    if let Err(error) = std::os::unix::net::UnixStream::connect(&socket) {
        bail!(
            "another command uses the table in {} and does not share it ({error}): wait until it has ended",
            path.display()
        );
    }
    let table = Table::new(embedded::client(ThroughSocket::to(&socket)?), TABLE);
    Ok(Opened { table, _directory: None })
}

/// The socket of a table. It is gone when this goes out of scope.
#[derive(Debug)]
pub struct TableSocket {
    path: PathBuf,
}

impl TableSocket {
    /// Makes the socket, in the place of one that a killed program has left.
    ///
    /// # Errors
    /// When the directory cannot hold one: for one because its path is longer than a socket's may be.
    pub fn bind(directory: &DataDirectory) -> anyhow::Result<(Self, UnixListener)> {
        let path = directory.socket();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
        let socket = Self { path };
        std::fs::set_permissions(&socket.path, std::fs::Permissions::from_mode(0o600))?;
        Ok((socket, listener))
    }
}

impl Drop for TableSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the table's socket was gone already");
        }
    }
}

/// Serves until the program ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: UnixListener, embedded: Embedded, shutdown: Shutdown) -> std::io::Result<()> {
    let router = Router::new().fallback(answer).with_state(embedded);
    axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.wait().await }).await
}

async fn answer(
    State(embedded): State<Embedded>,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    let mut request = HttpRequest::new(SdkBody::from(body.to_vec()));
    if let Some(target) = headers.get(TARGET).and_then(|target| target.to_str().ok()) {
        request.headers_mut().insert(TARGET, target.to_owned());
    }
    match embedded.answer(&request) {
        Ok(answer) => {
            let status = StatusCode::from_u16(answer.status().as_u16());
            let body = answer.body().bytes().unwrap_or_default().to_vec();
            (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// Carries the SDK's requests to the socket.
#[derive(Debug, Clone)]
struct ThroughSocket {
    client: reqwest::Client,
}

impl ThroughSocket {
    fn to(socket: &Path) -> anyhow::Result<Self> {
        Ok(Self { client: reqwest::Client::builder().unix_socket(socket).build()? })
    }
}

impl HttpClient for ThroughSocket {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for ThroughSocket {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get(TARGET).unwrap_or_default().to_owned();
        let body = request.body().bytes().unwrap_or_default().to_vec();
        let post = self.client.post("http://table/").header(TARGET, target).body(body);
        HttpConnectorFuture::new(async move {
            let gone = |error: reqwest::Error| ConnectorError::io(error.into());
            let answer = post.send().await.map_err(gone)?;
            let status = answer.status();
            let body = answer.bytes().await.map_err(gone)?;
            Ok(HttpResponse::new(status.into(), SdkBody::from(body.to_vec())))
        })
    }
}
