//! What may go wrong with a call, as a test wants it.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

/// What becomes of the next call of a method.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is carried out; the connection is closed instead of an answer.
    AnswerLost,
    /// It is not carried out, and the connection is closed.
    Lost,
    /// It is not carried out: 429, come again after so many seconds.
    TooManyRequests(u64),
    /// It is not carried out: 502 with a page of HTML, as from a machine in front of the Bot API.
    BadGateway,
    /// It is not carried out: 400, as for text that is formatted wrongly.
    CannotParseEntities,
    /// It is not carried out; this is answered, which has an `error_code`.
    Refused(Value),
    /// It waits at the gate. When that opens it is carried out, even if whoever called has given up by then.
    Held(Gate),
}

impl Fault {
    /// The answer of the Bot API in place of a result, if that is what goes wrong.
    pub(super) fn refusal(&self) -> Option<Value> {
        match self {
            Self::TooManyRequests(seconds) => Some(too_many_requests(*seconds)),
            Self::CannotParseEntities => Some(json!({"ok": false, "error_code": 400,
                "description": "Bad Request: can't parse entities: Character '.' is reserved and must be escaped with the preceding '\\'"})),
            Self::Refused(answer) => Some(answer.clone()),
            Self::AnswerLost | Self::Lost | Self::BadGateway | Self::Held(_) => None,
        }
    }
}

/// How the Bot API says that there were too many calls.
pub(super) fn too_many_requests(seconds: u64) -> Value {
    json!({"ok": false, "error_code": 429, "description": format!("Too Many Requests: retry after {seconds}"),
        "parameters": {"retry_after": seconds}})
}

/// Where calls wait until a test lets them pass.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Passage>);

#[derive(Debug)]
struct Passage {
    open: watch::Sender<bool>,
    arrived: watch::Sender<usize>,
}

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Passage { open: watch::Sender::new(false), arrived: watch::Sender::new(0) }))
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn closed() -> Self {
        Self::default()
    }

    /// How many calls have come to it.
    #[must_use]
    pub fn arrived(&self) -> usize {
        *self.0.arrived.borrow()
    }

    /// Lets all pass that wait, and all that come.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    pub(super) async fn pass(&self) {
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        // an error would mean that the gate is gone, which is as good as open
        drop(self.0.open.subscribe().wait_for(|open| *open).await);
    }
}
