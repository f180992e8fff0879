//! How much a destination is told of late: at most [`PER_MINUTE`] messages a minute, then one digest of the rest. Telegram itself
//! takes 20 a minute for a group: <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::key::{self, Key};
use crate::messages::Destination;
use crate::table::{Backoff, Expect, Put, Table};

/// So many messages a minute are sent each for itself.
pub const PER_MINUTE: usize = 10;
const MINUTE_MS: i64 = 60 * 1000;

/// Whether a message may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Now.
    Free,
    /// Not before this time, in milliseconds since 1970.
    After(i64),
}

/// Takes the place of a message among those of the last minute, if there is one.
///
/// # Errors
/// When the table does not answer.
pub async fn take_slot(table: &Table, to: &Destination, now_ms: i64) -> Result<Slot, Error> {
    let mut slot = Slot::Free;
    change(table, to, now_ms, |outbox| {
        slot = outbox.slot(now_ms);
        if slot == Slot::Free {
            outbox.sent.push(now_ms);
        }
    })
    .await?;
    Ok(slot)
}

/// How many messages may go out now, each for itself; `None` while the destination wants peace.
///
/// # Errors
/// When the table does not answer.
pub async fn free_slots(table: &Table, to: &Destination, now_ms: i64) -> Result<Option<usize>, Error> {
    let item = table.get(&key::outbox(&to.to_string())).await?;
    let outbox = item.as_ref().map_or(Ok(Outbox::default()), |item| Outbox::read(item, now_ms))?;
    Ok((outbox.paused_until <= now_ms).then(|| PER_MINUTE.saturating_sub(outbox.sent.len())))
}

/// Sends nothing to the destination before a time: it has asked for that.
///
/// # Errors
/// When the table does not answer.
pub async fn pause(table: &Table, to: &Destination, until_ms: i64, now_ms: i64) -> Result<(), Error> {
    change(table, to, now_ms, |outbox| outbox.paused_until = outbox.paused_until.max(until_ms)).await
}

/// When messages went out of late.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Outbox {
    /// Of the last minute, at most as many as may be.
    sent: Vec<i64>,
    paused_until: i64,
    version: i64,
}

impl Outbox {
    fn slot(&self, now_ms: i64) -> Slot {
        if self.paused_until > now_ms {
            return Slot::After(self.paused_until);
        }
        match self.sent.iter().min() {
            Some(oldest) if self.sent.len() >= PER_MINUTE => Slot::After(oldest.saturating_add(MINUTE_MS)),
            _ => Slot::Free,
        }
    }

    fn read(item: &Attributes, now_ms: i64) -> Result<Self, Error> {
        let sent = item.text("sent")?.split(' ').filter(|time| !time.is_empty());
        let sent: Vec<i64> = sent
            .map(|time| time.parse().map_err(|_no_number| item.unreadable("sent")))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            // Others look at the clock a moment later than we, or it differs a little. One that is further in the future comes from a
            // clock that was wrong.
            sent: sent.into_iter().filter(|time| (time - now_ms).abs() < MINUTE_MS).collect(),
            paused_until: item.number("paused_until")?,
            version: item.number("version")?,
        })
    }
}

async fn change(
    table: &Table,
    to: &Destination,
    now_ms: i64,
    mut change: impl FnMut(&mut Outbox),
) -> Result<(), Error> {
    let key = key::outbox(&to.to_string());
    let mut current = table.get(&key).await?;
    let mut pause = Backoff::default();
    loop {
        let old = current.as_ref().map(|item| Outbox::read(item, now_ms)).transpose()?;
        let mut outbox = old.clone().unwrap_or_default();
        change(&mut outbox);
        if old.as_ref() == Some(&outbox) {
            return Ok(());
        }
        let mut item = item::with_key(&key);
        let sent: Vec<String> = outbox.sent.iter().map(i64::to_string).collect();
        item.put("sent", item::text(sent.join(" ")));
        item.put("paused_until", item::number(outbox.paused_until));
        item.put("version", item::number(outbox.version.saturating_add(1)));
        item.put_expiry(Some(outbox.paused_until.max(now_ms).saturating_add(24 * 60 * MINUTE_MS)));
        let expect = old.map_or(Expect::Nothing, |old| Expect::Number("version", old.version));
        match table.put(item, &expect).await? {
            Put::Written => return Ok(()),
            Put::Refused(actual) => current = actual,
        }
        if !pause.wait().await {
            let Key { pk, sk } = key;
            return Err(Error::Contended { pk, sk, attempts: Backoff::ATTEMPTS });
        }
    }
}
