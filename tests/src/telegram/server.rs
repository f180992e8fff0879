//! HTTP on one side, the methods on the other. <https://core.telegram.org/bots/api#making-requests>

use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{DefaultBodyLimit, State as Extracted};
use axum::http::{Method, Response, Uri};
use axum::serve::IncomingStream;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use super::fault::Fault;
use super::methods::{Answer, METHODS, Params, Refusal, bad};
use super::state::State;
use super::{Call, Outcome, TOKEN, webhook};

const CONFLICT: &str = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";

/// What all tasks of the server share with the test.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes whoever waits for updates.
    pub(super) changes: watch::Sender<()>,
    pub(super) client: reqwest::Client,
}

impl Shared {
    pub(super) fn new() -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.build().expect("an HTTP client");
        Self { state: Mutex::new(State::new()), changes: watch::Sender::new(()), client }
    }

    /// What is known. A test that misused it has said so; others may go on.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the state has changed.
    pub(super) fn changed(&self) {
        self.changes.send_replace(());
    }
}

/// The connection of a call, to be cut in the middle of it.
#[derive(Clone)]
struct Connection(Arc<std::net::TcpStream>);

impl Connected<IncomingStream<'_, TcpListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let copy = stream.io().as_fd().try_clone_to_owned().expect("one more file descriptor");
        Self(Arc::new(copy.into()))
    }
}

/// Serves until the other end of `stop` is gone.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    stop: tokio::sync::oneshot::Receiver<()>,
) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let router =
        Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&shared));
    let service = router.into_make_service_with_connect_info::<Connection>();
    tokio::spawn(webhook::deliver(shared));
    tokio::select! {
        served = axum::serve(listener, service) => served.expect("a listener"),
        _gone = stop => {}
    }
}

async fn answer(
    Extracted(shared): Extracted<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response<Body> {
    let called = uri.path().strip_prefix("/bot").and_then(|path| path.split_once('/'));
    let Some((token, name)) = called.filter(|_| method == Method::POST || method == Method::GET) else {
        return told(Err(Refusal::new(404, "Not Found")));
    };
    let name = METHODS.into_iter().find(|known| known.eq_ignore_ascii_case(name)).unwrap_or(name).to_owned();
    let params = match params(&uri, &body) {
        Ok(params) if token == TOKEN => params,
        unread => {
            let refusal = unread.err().filter(|_| token == TOKEN);
            let refusal = refusal.unwrap_or_else(|| Refusal::new(401, "Unauthorized"));
            let call = Call { method: name, params: Value::Null, outcome: refusal.outcome(), heard: true };
            shared.state().calls.push(call);
            return told(Err(refusal));
        }
    };
    let reply = if name == "getUpdates" {
        call(&shared, &name, params, true).await // ends when whoever waits hangs up
    } else {
        // in a task of its own it goes on when whoever called hangs up
        let task = tokio::spawn(async move { call(&shared, &name, params, true).await });
        task.await.unwrap_or(Reply::Cut)
    };
    match reply {
        Reply::Answer(answer) => told(answer),
        Reply::BadGateway => Response::builder()
            .status(502)
            .header("content-type", "text/html")
            .body(Body::from("<html><head><title>502 Bad Gateway</title></head></html>"))
            .expect("a response"),
        Reply::Cut => {
            // the other side may be faster
            drop(connection.0.shutdown(Shutdown::Both));
            Response::new(Body::empty())
        }
    }
}

/// The parameters of a call: of its query string, and of its body, which is JSON or a form.
fn params(uri: &Uri, body: &[u8]) -> Result<Params, Refusal> {
    let mut fields = Map::new();
    let mut read = |query: &str| {
        let url = reqwest::Url::parse(&format!("http://127.0.0.1/?{query}")).expect("a URL");
        fields.extend(
            url.query_pairs().map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))),
        );
    };
    read(uri.query().unwrap_or_default());
    match body.first() {
        None => {}
        Some(b'{') => fields.extend(
            serde_json::from_slice::<Map<String, Value>>(body)
                .map_err(|_not_json| bad("can't parse request JSON object"))?,
        ),
        Some(_) => read(str::from_utf8(body).map_err(|_not_text| bad("strings must be encoded in UTF-8"))?),
    }
    Ok(Params(fields))
}

fn told(answer: Answer) -> Response<Body> {
    let (status, body) = match answer {
        Ok(result) => (200, json!({"ok": true, "result": result})),
        Err(refusal) => (refusal.code(), refusal.0),
    };
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a response")
}

/// What whoever called gets.
pub(super) enum Reply {
    Answer(Answer),
    BadGateway,
    Cut,
}

/// Carries a call out, or lets happen to it what a test wants, and keeps in mind what became of it.
/// `heard`: whether anybody learns.
pub(super) async fn call(shared: &Arc<Shared>, method: &str, params: Params, heard: bool) -> Reply {
    let sent = Value::Object(params.0.clone());
    let fault = shared.state().take_fault(method);
    if let Some(Fault::Held(gate)) = &fault {
        gate.pass().await;
    }
    let reply = match &fault {
        Some(Fault::Lost) => Reply::Cut,
        Some(Fault::BadGateway) => Reply::BadGateway,
        None | Some(Fault::AnswerLost | Fault::Held(_)) if method == "getUpdates" => {
            Reply::Answer(updates(shared, &params).await)
        }
        None | Some(Fault::AnswerLost | Fault::Held(_)) => {
            Reply::Answer(shared.state().carry_out(method, &params))
        }
        Some(refused) => {
            Reply::Answer(Err(Refusal(refused.refusal().expect("all other faults are refusals"))))
        }
    };
    let outcome = match &reply {
        Reply::Answer(Ok(result)) => Outcome::Done(result.clone()),
        Reply::Answer(Err(refusal)) => refusal.outcome(),
        Reply::BadGateway => Refusal::new(502, "Bad Gateway").outcome(),
        Reply::Cut => Outcome::Lost,
    };
    let reply = if matches!(fault, Some(Fault::AnswerLost)) { Reply::Cut } else { reply };
    let heard = heard && !matches!(reply, Reply::Cut);
    shared.state().calls.push(Call { method: method.to_owned(), params: sent, outcome, heard });
    shared.changed();
    reply
}

/// `getUpdates`: long polling. <https://core.telegram.org/bots/api#getupdates>
async fn updates(shared: &Arc<Shared>, params: &Params) -> Answer {
    let whole = |name: &str, least: i64, most: i64, otherwise: i64| {
        let value = params.integer(name).unwrap_or(otherwise).clamp(least, most);
        u64::try_from(value).expect("limits are positive")
    };
    let deadline = Instant::now() + Duration::from_secs(whole("timeout", 0, 50, 0));
    let limit = usize::try_from(whole("limit", 1, 100, 100)).expect("1 to 100");
    let mine = {
        let mut state = shared.state();
        if state.webhook.is_some() {
            return Err(Refusal::new(409, CONFLICT));
        }
        state.keep_allowed_updates(params)?;
        state.confirm(params.integer("offset").unwrap_or(0));
        state.polls += 1;
        state.polls
    };
    let mut changes = shared.changes.subscribe();
    shared.changed(); // whoever waits from before waits no longer
    loop {
        changes.mark_unchanged();
        {
            let state = shared.state();
            let other = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
            if state.webhook.is_some() {
                return Err(Refusal::new(409, "Conflict: terminated by setWebhook request"));
            }
            if state.polls != mine {
                return Err(Refusal::new(409, other));
            }
            let found: Vec<Value> =
                state.pending.iter().take(limit).map(|pending| pending.update.clone()).collect();
            if !found.is_empty() || Instant::now() >= deadline {
                return Ok(json!(found));
            }
        }
        // the end of the time is seen above
        drop(tokio::time::timeout_at(deadline, changes.changed()).await);
    }
}

impl State {
    /// Forgets the updates before an offset; a negative one counts from the end.
    fn confirm(&mut self, offset: i64) {
        if offset >= 0 {
            self.pending.retain(|pending| pending.update_id >= offset);
        } else {
            let kept = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
            let forgotten = self.pending.len().saturating_sub(kept);
            self.pending.drain(..forgotten);
        }
    }
}
