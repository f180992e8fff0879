//! Updates pushed to the bot: one after another of a chat, and again until they are taken.
//! <https://core.telegram.org/bots/api#setwebhook>
//!
//! The real one begins anew after a second and goes on for a day; here pauses are short, so that tests are.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use serde_json::Value;

use super::Delivery;
use super::methods::{METHODS, Params};
use super::server::{Shared, call};
use super::state::{Pending, State, Webhook, now};

/// How often an update is tried before it is given up.
const TRIES: u32 = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Delivers whatever comes while there is a webhook, for as long as the server runs.
pub(super) async fn deliver(shared: Arc<Shared>) {
    let mut changes = shared.changes.subscribe();
    loop {
        loop {
            let next = shared.state().next_delivery();
            let Some(pending) = next else { break };
            tokio::spawn(deliver_one(Arc::clone(&shared), pending));
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

impl State {
    /// The first update whose chat has none on its way, which it is from now on.
    fn next_delivery(&mut self) -> Option<Pending> {
        let most = self.webhook.as_ref()?.max_connections;
        if self.under_way.len() >= most {
            return None;
        }
        let next = self.pending.iter().find(|pending| !self.under_way.contains(&pending.of))?.clone();
        self.under_way.insert(next.of);
        Some(next)
    }

    /// The webhook to which an update is still to go.
    fn webhook_for(&self, serial: u64) -> Option<Webhook> {
        let pending = self.pending.iter().any(|pending| pending.serial == serial);
        self.webhook.clone().filter(|_| pending)
    }
}

async fn deliver_one(shared: Arc<Shared>, pending: Pending) {
    let mut pause = FIRST_PAUSE;
    for left in (0..TRIES).rev() {
        let Some(webhook) = shared.state().webhook_for(pending.serial) else { break };
        let response = post(&shared.client, &webhook, &pending.update).await;
        let status = response.as_ref().ok().map(|response| response.status);
        let taken = status.is_some_and(|status| status.is_success());
        {
            let mut state = shared.state();
            let delivery =
                Delivery { update_id: pending.update_id, status: status.map(|status| status.as_u16()) };
            state.deliveries.push(delivery);
            if !taken {
                let why = match &response {
                    Ok(response) => format!("Wrong response from the webhook: {}", response.status),
                    Err(why) => why.clone(),
                };
                state.last_error = Some((now(), why));
            }
        }
        shared.changed();
        let taken = response.as_ref().ok().filter(|_| taken);
        if let Some(response) = taken {
            carry_out_answer(&shared, &response.body).await;
        }
        if taken.is_some() || left == 0 {
            shared.state().pending.retain(|other| other.serial != pending.serial);
            break;
        }
        let asked_for = response.ok().and_then(|response| response.retry_after).unwrap_or_default();
        tokio::time::sleep(pause.max(asked_for)).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    shared.state().under_way.remove(&pending.of);
    shared.changed();
}

struct Response {
    status: reqwest::StatusCode,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

/// Posts an update; says in the words of `last_error_message` why there is no answer.
async fn post(client: &reqwest::Client, webhook: &Webhook, update: &Value) -> Result<Response, String> {
    let mut request = client.post(&webhook.at).timeout(PATIENCE).json(update);
    if let Some(secret) = &webhook.secret {
        request = request.header("X-Telegram-Bot-Api-Secret-Token", secret);
    }
    let why = |error: reqwest::Error| {
        let words = if error.is_connect() { "Connection refused" } else { "Connection reset by peer" };
        if error.is_timeout() { "Read timeout expired".to_owned() } else { words.to_owned() }
    };
    let response = request.send().await.map_err(why)?;
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = seconds.map(Duration::from_secs);
    Ok(Response { status, retry_after, body: response.bytes().await.map_err(why)?.to_vec() })
}

/// Carries out the call that the answer to an update may be, whose result nobody sees.
async fn carry_out_answer(shared: &Arc<Shared>, body: &[u8]) {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else { return };
    let Some(Value::String(method)) = fields.remove("method") else { return };
    let known = METHODS.into_iter().find(|known| known.eq_ignore_ascii_case(&method));
    // an update is no answer to an update
    let method = known.filter(|known| *known != "getUpdates").unwrap_or(&method);
    call(shared, method, Params(fields), false).await;
}
