//! Telegram without a public address: updates are fetched, and handed to the bot as its webhook would get them.
//! <https://core.telegram.org/bots/api#getupdates>

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Uri};
use serde_json::Value;
use telegram::message::WebhookReply;
use telegram::{Client, TelegramError};

use crate::http_api;
use crate::shutdown::Shutdown;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How often an answer is tried to be sent.
const ATTEMPTS: u32 = 5;

/// The bot's webhook, called from this process.
#[derive(Debug, Clone)]
pub struct Webhook {
    bot: Arc<bot::Context>,
    secret: HeaderValue,
}

impl Webhook {
    /// The webhook of a bot, with its secret token.
    #[must_use]
    pub const fn new(bot: Arc<bot::Context>, secret: HeaderValue) -> Self {
        Self { bot, secret }
    }

    /// Hands an update to the bot. What it replies, if anything.
    pub async fn call(&self, update: &Value) -> Option<WebhookReply> {
        let mut headers = HeaderMap::new();
        headers.insert("x-telegram-bot-api-secret-token", self.secret.clone());
        let uri = Uri::from_static("/telegram");
        let request = http_api::request(Method::POST, &uri, headers, update.to_string().as_bytes());
        let response = bot::handle(&request, &self.bot).await;
        serde_json::from_str(&http_api::text(response)).ok()
    }
}

/// Fetches and answers updates until the program ends.
pub async fn run(client: &Client, webhook: &Webhook, shutdown: &Shutdown) {
    let mut offset = 0;
    let mut pause = FIRST_PAUSE;
    while !shutdown.is_pulled() {
        let updates = tokio::select! {
            updates = client.updates(offset) => updates,
            () = shutdown.wait() => return,
        };
        match updates {
            Ok(updates) => {
                pause = FIRST_PAUSE;
                for update in updates {
                    if let Some(WebhookReply::SendMessage(message)) = webhook.call(&update).await {
                        send(client, &message, shutdown).await;
                    }
                    // Asking from beyond it confirms it, so an update that was not answered comes again.
                    let id = update.get("update_id").and_then(Value::as_i64).unwrap_or(offset);
                    offset = offset.max(id.saturating_add(1));
                }
            }
            Err(error) => {
                let wait = match error {
                    TelegramError::TooManyRequests { retry_after } => retry_after,
                    _ => pause,
                };
                warn(&error, wait);
                rest(wait, shutdown).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

async fn send(client: &Client, message: &telegram::Message, shutdown: &Shutdown) {
    let mut pause = FIRST_PAUSE;
    for _attempt in 0..ATTEMPTS {
        let wait = match client.send_message(message).await {
            Ok(()) => return,
            Err(TelegramError::TooManyRequests { retry_after }) => retry_after,
            Err(error) if error.retryable() => {
                warn(&error, pause);
                pause
            }
            Err(error) => {
                tracing::warn!(%error, chat = message.chat_id, "an answer could not be sent");
                return;
            }
        };
        rest(wait, shutdown).await;
        pause *= 2;
        if shutdown.is_pulled() {
            return;
        }
    }
    tracing::warn!(chat = message.chat_id, "an answer could not be sent, after {ATTEMPTS} attempts");
}

fn warn(error: &TelegramError, wait: Duration) {
    tracing::warn!(error = runtime::log::with_causes(error), next_try_in_s = wait.as_secs(), "Telegram");
}

async fn rest(time: Duration, shutdown: &Shutdown) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = shutdown.wait() => {}
    }
}
