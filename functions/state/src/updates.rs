//! Each update of Telegram is answered once: it is *in progress* until its deadline, then *done*, and forgotten after two days.
//! Telegram sends an update again for a day at most: <https://core.telegram.org/bots/api#getting-updates>

use crate::error::Error;
use crate::item::{self, Item as _};
use crate::key::{self, Key};
use crate::table::{Expect, Put, Table, Update};

/// How long answering may take, in milliseconds: longer than the function lives.
pub const DEADLINE_MS: i64 = 40 * 1000;
const KEPT_MS: i64 = 48 * 60 * 60 * 1000;

/// Whose an update is.
#[derive(Debug)]
pub enum Claim {
    /// Ours to answer.
    Ours(Answering),
    /// Somebody is answering it just now: it has to come again.
    InProgress,
    /// It was answered.
    Done,
}

/// An update that is ours to answer.
#[derive(Debug)]
pub struct Answering(Key);

/// Claims an update by its id.
///
/// # Errors
/// When the table does not answer.
pub async fn claim(table: &Table, id: i64, now_ms: i64) -> Result<Claim, Error> {
    let key = key::update(id);
    let mut item = item::with_key(&key);
    let deadline = now_ms.saturating_add(DEADLINE_MS);
    item.put("deadline", item::number(deadline));
    item.put_expiry(Some(now_ms.saturating_add(KEPT_MS)));
    let old = match table.put(item.clone(), &Expect::Nothing).await? {
        Put::Written => return Ok(Claim::Ours(Answering(key))),
        Put::Refused(old) => old,
    };
    let Some(old) = old else { return Ok(Claim::InProgress) };
    let Some(begun) = old.optional_number::<i64>("deadline")? else { return Ok(Claim::Done) };
    if begun > now_ms {
        return Ok(Claim::InProgress);
    }
    // whoever began it has died
    match table.put(item, &Expect::Number("deadline", begun)).await? {
        Put::Written => Ok(Claim::Ours(Answering(key))),
        Put::Refused(_) => Ok(Claim::InProgress),
    }
}

impl Answering {
    /// Notes that the update was answered.
    ///
    /// # Errors
    /// When the table does not answer: the update is answered once more when it comes again after the deadline.
    pub async fn done(self, table: &Table) -> Result<(), Error> {
        let update = Update {
            key: &self.0,
            expression: "REMOVE deadline",
            condition: "attribute_exists(pk)",
            names: &[],
            values: Vec::new(),
        };
        table.update(update).await.map(drop)
    }
}

/// Whether a chat that is not allowed is to be told so: once a day.
///
/// # Errors
/// When the table does not answer.
pub async fn is_to_be_told(table: &Table, chat: i64, now_ms: i64) -> Result<bool, Error> {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let mut item = item::with_key(&key::stranger(chat));
    item.put("told", item::number(now_ms));
    item.put_expiry(Some(now_ms.saturating_add(DAY_MS)));
    match table.put(item.clone(), &Expect::Nothing).await? {
        Put::Written => Ok(true),
        Put::Refused(None) => Ok(false),
        Put::Refused(Some(old)) => {
            let told: i64 = old.number("told")?;
            let is_long_ago = told.saturating_add(DAY_MS) <= now_ms;
            Ok(is_long_ago && matches!(table.put(item, &Expect::Number("told", told)).await?, Put::Written))
        }
    }
}
