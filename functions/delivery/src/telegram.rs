//! The bot in Telegram, reached when it is first needed: a function that answers in the webhook's response never reads the token.

use std::sync::Arc;

use runtime::secret::Secret;
use secrecy::ExposeSecret as _;
use telegram::Client;
use tokio::sync::OnceCell;

/// The bot in Telegram.
#[derive(Debug, Clone)]
pub struct Telegram(Arc<Access>);

#[derive(Debug)]
enum Access {
    None,
    Ready(Client),
    BySecret(Box<BySecret>),
}

#[derive(Debug)]
struct BySecret {
    secret: Secret,
    api_url: String,
    client: OnceCell<Client>,
}

impl Telegram {
    /// There is no bot.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new(Access::None))
    }

    /// One that is there already.
    #[must_use]
    pub fn ready(client: Client) -> Self {
        Self(Arc::new(Access::Ready(client)))
    }

    /// One whose token is this secret.
    #[must_use]
    pub fn by_secret(secret: Secret, api_url: String) -> Self {
        let by_secret = BySecret { secret, api_url, client: OnceCell::new() };
        Self(Arc::new(Access::BySecret(Box::new(by_secret))))
    }

    /// The client, if there is a bot; else the log says why there is none. The next call tries again.
    pub async fn client(&self) -> Option<Client> {
        match &*self.0 {
            Access::None => None,
            Access::Ready(client) => Some(client.clone()),
            Access::BySecret(by_secret) => {
                let BySecret { secret, api_url, client } = &**by_secret;
                let made = client.get_or_try_init(|| connect(secret, api_url)).await;
                made.inspect_err(|error| tracing::error!(error, "the bot cannot speak")).ok().cloned()
            }
        }
    }
}

async fn connect(secret: &Secret, api_url: &str) -> Result<Client, String> {
    let token = secret.read().await.map_err(|error| runtime::log::with_causes(&error))?;
    Client::new(api_url, token.expose_secret().into()).map_err(|error| runtime::log::with_causes(&error))
}
