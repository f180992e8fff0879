//! Outgoing webhooks: where alerts go beside a chat. Their URLs are secrets, as those of Slack are, and so are their signing keys.

use domain::{EventTime, WatchId};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::table::{Table, Update};
use crate::{key, random};

const ID_LENGTH: usize = 8;

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
    /// What it is called: eight hexadecimal digits, of a hash of what makes it up.
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

/// Makes one with a new signing key. The same again is the same one, with another key.
///
/// # Errors
/// When the table does not answer, or the system gives no random numbers.
pub async fn make(
    table: &Table,
    chat: i64,
    watch: Option<WatchId>,
    url: SecretString,
    format: Format,
) -> Result<Hook, Error> {
    let of = format!(
        "{chat}#{}#{}",
        watch.map(|watch| watch.to_string()).unwrap_or_default(),
        url.expose_secret()
    );
    let id =
        Sha256::digest(of.as_bytes()).iter().take(ID_LENGTH / 2).map(|byte| format!("{byte:02x}")).collect();
    // 32 letters and digits are valid base64 of 24 bytes, the least that Standard Webhooks asks for
    let signing_key = SecretString::from(format!("whsec_{}", random::alphanumeric(32)?));
    let hook = Hook { id, chat, watch, url, format, signing_key, stopped: None };
    let mut item = item::with_key(&key::hook(&hook.id));
    item.put("chat", item::number(chat));
    item.put("url", item::text(hook.url.expose_secret()));
    item.put("format", item::text(format.name()));
    item.put("signing_key", item::text(hook.signing_key.expose_secret()));
    if let Some(watch) = watch {
        item.put("watch", item::text(watch.to_string()));
    }
    table.overwrite(item).await?;
    Ok(hook)
}

/// Whether this can be the id of one.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|digit| digit.is_ascii_hexdigit())
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
