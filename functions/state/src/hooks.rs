//! Outgoing webhooks: where alerts go beside a chat. Their URLs are secrets, as those of Slack are, and so are their signing keys.

use domain::{EventTime, WatchId};
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::table::{Expect, Put, Table, Update};
use crate::{key, random};

/// How the body of an alert is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// All there is to tell, in fields of their own.
    Json,
    /// As Slack's incoming webhooks take it: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>
    Slack,
    /// As ntfy takes it: <https://docs.ntfy.sh/publish/#publish-as-json>
    Ntfy,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Ntfy => "ntfy",
        }
    }

    /// The format of this name: `json`, `slack` or `ntfy`.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        [Self::Json, Self::Slack, Self::Ntfy].into_iter().find(|format| format.name() == name)
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// An outgoing webhook.
#[derive(Debug, Clone)]
pub struct Hook {
    /// What it is called: eight letters and digits.
    pub id: String,
    /// The chat whose alerts it gets.
    pub chat: i64,
    /// Of this watch alone, or of all.
    pub watch: Option<WatchId>,
    /// Where to.
    pub url: SecretString,
    /// How.
    pub format: Format,
    /// The key of the signature: `whsec_` and base64, as Standard Webhooks has it.
    pub signing_key: SecretString,
    /// Why nothing is sent to it any more, and since when in milliseconds since 1970.
    pub stopped: Option<(String, EventTime)>,
}

/// All of them, as of now.
///
/// # Errors
/// When the table does not answer.
pub async fn all(table: &Table) -> Result<Vec<Hook>, Error> {
    table.query(key::HOOKS, " ").await?.iter().map(read).collect()
}

/// The one of this id.
///
/// # Errors
/// When the table does not answer.
pub async fn find(table: &Table, id: &str) -> Result<Option<Hook>, Error> {
    table.get(&key::hook(id)).await?.as_ref().map(read).transpose()
}

/// Makes one, with an id and a signing key of its own.
///
/// # Errors
/// When the table does not answer.
pub async fn make(
    table: &Table,
    chat: i64,
    watch: Option<WatchId>,
    url: SecretString,
    format: Format,
    signing_key: SecretString,
) -> Result<Hook, Error> {
    loop {
        let hook = Hook {
            id: random::alphanumeric(8)?,
            chat,
            watch,
            url: url.clone(),
            format,
            signing_key: signing_key.clone(),
            stopped: None,
        };
        let mut item = item::with_key(&key::hook(&hook.id));
        item.put("chat", item::number(chat));
        item.put("url", item::text(hook.url.expose_secret()));
        item.put("format", item::text(format.name()));
        item.put("signing_key", item::text(hook.signing_key.expose_secret()));
        if let Some(watch) = watch {
            item.put("watch", item::text(watch.to_string()));
        }
        if matches!(table.put(item, &Expect::Nothing).await?, Put::Written) {
            return Ok(hook);
        }
    }
}

/// Removes one. Whether it was there.
///
/// # Errors
/// When the table does not answer.
pub async fn remove(table: &Table, id: &str) -> Result<bool, Error> {
    let key = key::hook(id);
    let was_there = table.get(&key).await?.is_some();
    table.delete(&key).await?;
    Ok(was_there)
}

/// Sends nothing to it any more, for this reason.
///
/// # Errors
/// When the table does not answer.
pub async fn stop(table: &Table, id: &str, why: &str, now_ms: i64) -> Result<(), Error> {
    let update = Update {
        key: &key::hook(id),
        expression: "SET stopped = :why, stopped_at = :now",
        condition: "attribute_exists(pk)",
        names: &[],
        values: vec![(":why", item::text(why)), (":now", item::number(now_ms))],
    };
    table.update(update).await.map(drop)
}

/// A new signing key for a webhook.
///
/// # Errors
/// When the system gives no random numbers.
pub fn new_signing_key() -> Result<SecretString, Error> {
    // 32 letters and digits are valid base64 of 24 bytes, the least that Standard Webhooks asks for
    Ok(SecretString::from(format!("whsec_{}", random::alphanumeric(32)?)))
}

fn read(item: &Attributes) -> Result<Hook, Error> {
    let watch = item.optional_text("watch").map(|watch| watch.parse()).transpose();
    Ok(Hook {
        id: item.text("sk")?.to_owned(),
        chat: item.number("chat")?,
        watch: watch.map_err(|_no_id| item.unreadable("watch"))?,
        url: SecretString::from(item.text("url")?),
        format: Format::read(item.text("format")?).ok_or_else(|| item.unreadable("format"))?,
        signing_key: SecretString::from(item.text("signing_key")?),
        stopped: match item.optional_text("stopped") {
            Some(why) => Some((why.to_owned(), item.number("stopped_at")?)),
            None => None,
        },
    })
}
