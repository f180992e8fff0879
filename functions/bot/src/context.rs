//! What the bot works with.

use delivery::{Post, Telegram};
use jiff::tz::TimeZone;
use runtime::environment::{Environment, Incomplete};
use runtime::secret::Place;
use runtime::zoned::ZoneName;
use sha2::{Digest as _, Sha256};
use state::{Generation, Table};

use crate::status::Positions;

/// What the bot works with.
#[derive(Debug)]
pub struct Context {
    /// The table.
    pub table: Table,
    /// Which generation answers come from.
    pub generation: Generation,
    /// The consumer group of `aggregate`, whose progress is the answer to "how far are we".
    pub aggregate_group: String,
    /// Accepted secret tokens of the webhook: two during a rotation.
    pub secrets: Vec<SecretHash>,
    /// In which times are told to people, unless their chat has a zone of its own.
    pub time_zone: TimeZone,
    /// Whether the JSON interface answers without asking who it is: only for a host that listens on loopback alone.
    pub open_to_this_machine: bool,
    /// Where the readers of the log stand, where that is known.
    pub positions: Positions,
    /// The present in milliseconds since 1970.
    pub now_ms: fn() -> i64,
    /// Edits what was sent, and is what else is said to Telegram beside the answer to an update.
    pub post: Post,
}

/// The SHA-256 of a webhook's secret token: who reads the configuration does not learn the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

/// The text is no SHA-256.
#[derive(Debug, thiserror::Error)]
#[error("expected the 64 hexadecimal digits of a SHA-256: printf %s TOKEN | sha256sum")]
pub struct NotASha256;

impl SecretHash {
    /// The hash of a token.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Whether a token is the one: takes as long for a wrong one as for the right one.
    #[must_use]
    pub fn matches(&self, token: &[u8]) -> bool {
        use subtle::ConstantTimeEq as _;
        self.0.ct_eq(&Self::of(token).0).into()
    }
}

impl std::str::FromStr for SecretHash {
    type Err = NotASha256;

    fn from_str(hex: &str) -> Result<Self, NotASha256> {
        let bytes = domain::Ssid::from_hex(hex).map_err(|_not_hex| NotASha256)?;
        bytes.bytes().try_into().map(Self).map_err(|_length| NotASha256)
    }
}

impl Context {
    /// The context that the function's environment describes: `TABLE_NAME`, `AGGREGATE_GROUP`, `WEBHOOK_SECRET_SHA256` (one or
    /// two, with a comma), and if wanted `TIME_ZONE` (UTC), `TELEGRAM_SECRET` (the name or ARN of the secret that is the bot's token:
    /// without it buttons cannot edit messages, and invitations have no link) and `TELEGRAM_API_URL` (that of Telegram). The table
    /// is reached for only when that is complete.
    ///
    /// # Errors
    /// [`Incomplete`] names all variables that are missing or unreadable.
    pub async fn try_from_env(table: impl AsyncFnOnce(String) -> Table) -> Result<Self, Incomplete> {
        let mut environment = Environment::of_a_function();
        let name = environment.required("TABLE_NAME");
        let aggregate_group = environment.required("AGGREGATE_GROUP");
        environment.required("WEBHOOK_SECRET_SHA256");
        let secrets = environment.list("WEBHOOK_SECRET_SHA256");
        let time_zone = environment.optional::<ZoneName>("TIME_ZONE").map_or(TimeZone::UTC, |zone| zone.0);
        let token = environment.optional::<String>("TELEGRAM_SECRET");
        let api_url = environment.optional::<String>("TELEGRAM_API_URL");
        environment.check()?;
        let telegram = match token {
            Some(name) => {
                let api_url = api_url.unwrap_or_else(|| telegram::client::API_URL.to_owned());
                Telegram::by_secret(Place::SecretsManager(name), api_url)
            }
            None => Telegram::none(),
        };
        let table = table(name).await;
        let now_ms = runtime::clock::now_ms;
        Ok(Self {
            generation: Generation::of(table.clone()),
            post: Post::new(table.clone(), time_zone.clone(), now_ms, telegram),
            table,
            aggregate_group,
            secrets,
            time_zone,
            open_to_this_machine: false,
            positions: Positions::default(),
            now_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash() {
        let hash: SecretHash =
            "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b".parse().unwrap();
        assert!(hash.matches(b"secret"));
        assert!(!hash.matches(b"secret2") && !hash.matches(b""));
        assert!("2bb8".parse::<SecretHash>().is_err());
    }
}
