//! Telegram without a public address: updates are fetched, and handed to the bot as its webhook would get them.
//! <https://core.telegram.org/bots/api#getupdates>

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Uri};
use serde_json::Value;
use state::chats;
use telegram::client::CommandScope;
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

/// What the bot says to an update.
#[derive(Debug)]
pub struct Said {
    /// Whether it has dealt with it: else it wants it again.
    pub is_done: bool,
    /// What it replies, if anything.
    pub reply: Option<WebhookReply>,
}

impl Webhook {
    /// The webhook of a bot, with its secret token.
    #[must_use]
    pub const fn new(bot: Arc<bot::Context>, secret: HeaderValue) -> Self {
        Self { bot, secret }
    }

    /// Hands an update to the bot.
    pub async fn call(&self, update: &Value) -> Said {
        let mut headers = HeaderMap::new();
        headers.insert("x-telegram-bot-api-secret-token", self.secret.clone());
        let uri = Uri::from_static("/telegram");
        let request = http_api::request(Method::POST, &uri, headers, update.to_string().as_bytes());
        let response = bot::handle(&request, &self.bot).await;
        let is_done = (200..300).contains(&response.status_code);
        Said { is_done, reply: serde_json::from_str(&http_api::text(response)).ok() }
    }

    /// The chats that may ask.
    async fn chats(&self) -> Result<Vec<chats::Chat>, state::Error> {
        chats::all(&self.bot.table).await
    }
}

/// Tells Telegram which commands there are, for strangers and for each chat that may ask. Without them the bot works all the same.
pub async fn set_commands(client: &Client, webhook: &Webhook) {
    let chats = match webhook.chats().await {
        Ok(chats) => chats,
        Err(error) => {
            tracing::warn!(error = runtime::log::with_causes(&error), "the chats' commands are not set");
            return;
        }
    };
    set_commands_of(client, &chats).await;
}

/// As [`set_commands`], for these chats.
pub(crate) async fn set_commands_of(client: &Client, chats: &[chats::Chat]) {
    let for_strangers = [("start", "Begin, or use a code that lets this chat in")];
    let mut outcome = client.set_commands(&for_strangers, CommandScope::Default).await;
    for chat in chats.iter().filter(|chat| chat.is_reached() && chat.id != crate::terminal::CHAT) {
        let scope = CommandScope::Chat(chat.id);
        outcome = outcome.and(client.set_commands(&bot::commands::commands(chat.role), scope).await);
    }
    if let Err(error) = outcome {
        tracing::warn!(
            error = runtime::log::with_causes(&error),
            "Telegram does not take the list of commands"
        );
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
                    if !answer(client, webhook, &update, shutdown).await {
                        return;
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

/// Answers an update, again and again while the bot wants that: the table may be away, or a program that was killed may have begun
/// with it. `false` when it was stopped before.
async fn answer(client: &Client, webhook: &Webhook, update: &Value, shutdown: &Shutdown) -> bool {
    let mut pause = FIRST_PAUSE;
    loop {
        let said = webhook.call(update).await;
        if let Some(reply) = &said.reply {
            send(client, reply, shutdown).await;
        }
        if said.is_done {
            return true;
        }
        rest(pause, shutdown).await;
        if shutdown.is_pulled() {
            return false;
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn send(client: &Client, reply: &WebhookReply, shutdown: &Shutdown) {
    let mut pause = FIRST_PAUSE;
    for _attempt in 0..ATTEMPTS {
        let wait = match client.perform(reply).await {
            Ok(()) => return,
            Err(TelegramError::TooManyRequests { retry_after }) => retry_after,
            Err(error) if error.retryable() => {
                warn(&error, pause);
                pause
            }
            Err(error) => {
                tracing::warn!(error = runtime::log::with_causes(&error), "an answer could not be sent");
                return;
            }
        };
        rest(wait, shutdown).await;
        pause *= 2;
        if shutdown.is_pulled() {
            return;
        }
    }
    tracing::warn!("an answer could not be sent, after {ATTEMPTS} attempts");
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
