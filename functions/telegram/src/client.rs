//! Calls to the Bot API. The bot's token is part of every URL, so no URL may reach a log or an error.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Message;

/// The Bot API of Telegram itself.
pub const API_URL: &str = "https://api.telegram.org";

/// A bot at a Bot API server.
pub struct Client {
    http: reqwest::Client,
    api_url: String,
    token: SecretString,
}

/// Why a call failed. Holds no URL and no token.
#[derive(Debug, thiserror::Error)]
pub enum TelegramError {
    /// The server could not be reached, or its answer is none of the Bot API.
    #[error("Telegram cannot be reached ({method})")]
    Unreachable {
        /// The method called.
        method: &'static str,
        /// Why, without the URL.
        #[source]
        source: reqwest::Error,
    },
    /// The server's address is none.
    #[error("the address of the Bot API server is no URL, such as {API_URL}")]
    NotAUrl,
    /// The token is none.
    #[error("Telegram does not know this bot token: get one from @BotFather and check the file it is in")]
    Unauthorized,
    /// Somebody else reads this bot's updates.
    #[error(
        "another program reads this bot's updates, or a webhook is set: stop it, or use another bot ({0})"
    )]
    Conflict(String),
    /// Too many calls.
    #[error("Telegram asks to wait {} s", .retry_after.as_secs())]
    TooManyRequests {
        /// For how long.
        retry_after: Duration,
    },
    /// The call was refused.
    #[error("Telegram refused {method}: {description} ({code})")]
    Refused {
        /// The method called.
        method: &'static str,
        /// Like an HTTP status.
        code: u16,
        /// Telegram's words.
        description: String,
    },
}

impl TelegramError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooManyRequests { .. } => true,
            Self::Refused { code, .. } => *code >= 500,
            Self::NotAUrl | Self::Unauthorized | Self::Conflict(_) => false,
        }
    }
}

/// How the Bot API answers. <https://core.telegram.org/bots/api#making-requests>
#[derive(Deserialize)]
struct Answer {
    ok: bool,
    result: Option<Value>,
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
}

impl Client {
    /// How long the server may keep [`Self::updates`] waiting for news.
    pub const POLL: Duration = Duration::from_secs(25);

    /// A bot with this token at the Bot API server of this URL: [`API_URL`], or one's own.
    ///
    /// # Errors
    /// When the address is none, or no HTTP client can be made: the system has no root certificates.
    pub fn new(api_url: &str, token: SecretString) -> Result<Self, TelegramError> {
        let is_url = |text| reqwest::Url::parse(text).is_ok_and(|url| url.has_host());
        if !is_url(api_url) {
            return Err(TelegramError::NotAUrl);
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Self::POLL + Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|source| TelegramError::Unreachable {
                method: "set-up",
                source: source.without_url(),
            })?;
        Ok(Self { http, api_url: api_url.trim_end_matches('/').to_owned(), token })
    }

    /// The bot's user name, without the `@`. Shows that the token is right.
    ///
    /// # Errors
    /// [`TelegramError`].
    pub async fn user_name(&self) -> Result<String, TelegramError> {
        #[derive(Deserialize)]
        struct Me {
            username: String,
        }
        Ok(self.call::<Me>("getMe", &json!({})).await?.username)
    }

    /// The updates from `offset` on; waits up to [`Self::POLL`] for the first. Asking from an offset confirms all before it.
    ///
    /// # Errors
    /// [`TelegramError`].
    pub async fn updates(&self, offset: i64) -> Result<Vec<Value>, TelegramError> {
        self.call(
            "getUpdates",
            &json!({"offset": offset, "timeout": Self::POLL.as_secs(), "allowed_updates": ["message"]}),
        )
        .await
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`TelegramError`].
    pub async fn send_message(&self, message: &Message) -> Result<(), TelegramError> {
        self.call::<Value>("sendMessage", message).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: &impl Serialize,
    ) -> Result<T, TelegramError> {
        let unreachable =
            |source: reqwest::Error| TelegramError::Unreachable { method, source: source.without_url() };
        let url = format!("{}/bot{}/{method}", self.api_url, self.token.expose_secret());
        let response = self.http.post(url).json(parameters).send().await.map_err(unreachable)?;
        let answer: Answer = response.json().await.map_err(unreachable)?;
        let refused = |code: u16, description: String| TelegramError::Refused { method, code, description };
        if answer.ok {
            return serde_json::from_value(answer.result.unwrap_or_default())
                .map_err(|why| refused(200, format!("its result is not as expected: {why}")));
        }
        match answer.error_code.unwrap_or_default() {
            // 404 is what a token of another form gets
            401 | 404 => Err(TelegramError::Unauthorized),
            409 => Err(TelegramError::Conflict(answer.description)),
            429 => {
                let seconds = answer.parameters.and_then(|parameters| parameters.retry_after).unwrap_or(1);
                Err(TelegramError::TooManyRequests { retry_after: Duration::from_secs(seconds) })
            }
            code => Err(refused(code, answer.description)),
        }
    }
}

/// Without the token.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("api_url", &self.api_url).finish_non_exhaustive()
    }
}
