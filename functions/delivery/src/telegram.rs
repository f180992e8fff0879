//! The bot in Telegram, reached when it is first needed: a function that answers in the webhook's response never reads the token.

use std::sync::Arc;

use runtime::secret::{Place, Secret};
use secrecy::ExposeSecret as _;
use telegram::{Client, TelegramError};
use tokio::sync::{Mutex, OnceCell};

/// The bot in Telegram.
#[derive(Debug, Clone)]
pub struct Telegram(Arc<Bot>);

#[derive(Debug)]
struct Bot {
    access: Access,
    user_name: OnceCell<String>,
}

#[derive(Debug)]
enum Access {
    None,
    Ready(Client),
    BySecret { place: Place, api_url: String, client: Mutex<Option<Client>> },
}

impl Telegram {
    /// There is no bot.
    #[must_use]
    pub fn none() -> Self {
        Self::with(Access::None)
    }

    /// One that is there already.
    #[must_use]
    pub fn ready(client: Client) -> Self {
        Self::with(Access::Ready(client))
    }

    /// One whose token is the secret at this place.
    #[must_use]
    pub fn by_secret(place: Place, api_url: String) -> Self {
        Self::with(Access::BySecret { place, api_url, client: Mutex::default() })
    }

    fn with(access: Access) -> Self {
        Self(Arc::new(Bot { access, user_name: OnceCell::new() }))
    }

    /// The bot's user name, without the `@`: asked for once. `None` if there is no bot.
    ///
    /// # Errors
    /// When Telegram does not tell; the next call asks again.
    pub async fn user_name(&self) -> Result<Option<String>, TelegramError> {
        let Some(client) = self.client().await else { return Ok(None) };
        self.0.user_name.get_or_try_init(|| client.user_name()).await.cloned().map(Some)
    }

    /// The client, if there is a bot; else the log says why there is none. The next call tries again.
    pub async fn client(&self) -> Option<Client> {
        match &self.0.access {
            Access::None => None,
            Access::Ready(client) => Some(client.clone()),
            Access::BySecret { place, api_url, client } => {
                let mut client = client.lock().await;
                if client.is_none() {
                    let made = connect(place, api_url).await;
                    *client = made.inspect_err(|error| tracing::error!(error, "the bot cannot speak")).ok();
                }
                client.clone()
            }
        }
    }

    /// The token is not, or no more, the right one: it is read anew when it is next needed. A function lives for hours, and tokens
    /// are changed.
    pub async fn forget_token(&self) {
        if let Access::BySecret { client, .. } = &self.0.access {
            *client.lock().await = None;
        }
    }
}

async fn connect(place: &Place, api_url: &str) -> Result<Client, String> {
    let secret = Secret::at(place.clone(), None);
    let token = secret.read().await.map_err(|error| runtime::log::with_causes(&error))?;
    Client::new(api_url, token.expose_secret().into()).map_err(|error| runtime::log::with_causes(&error))
}
