//! The guarded merge: how records that may be delivered twice, late, re-cut or half-way become items that count each once.
//!
//! An item belongs to one key and one [`Source`](crate::Source) and carries `seen`, the highest offset it has absorbed from that
//! source; `seen` is also its version. To absorb a batch: load the item, drop the records at or below `seen`, fold the others
//! in, write on the condition that `seen` is still what was loaded. If the write is refused, somebody else was quicker: take
//! the item that the refusal returns and fold again from there. So a stale read costs a refusal, never a wrong number; a
//! repeated batch costs reads and no write; and of two who write at once, one folds again on top of the other.
//!
//! This counts each record exactly once because, and only while, a delivery starts at or before the first offset that is not
//! part of a successful invocation, and an invocation succeeds only when every item of every record is written or was
//! already past it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{EventTime, Mac};
use futures::TryStreamExt as _;
use futures::stream::FuturesUnordered;

use crate::error::Error;
use crate::forget;
use crate::item::{self, Attributes, Item as _};
use crate::key::Key;
use crate::table::{Backoff, CONCURRENCY, Expect, Put, Table};

/// The attribute that guards an item: the highest offset it has absorbed.
pub(crate) const SEEN: &str = "seen";

/// One item and the records of a batch that concern it.
pub(crate) trait Change {
    /// The attribute that tells whether the item is still what was loaded: a number that every write raises.
    const GUARD: &'static str = SEEN;
    /// Whether the item must be read as of now. A stale item costs no more than a refused write where every record that is not seen
    /// leads to one. Where one may change nothing, and is not written, the item as it was before would hide what it changes now.
    const READS_AS_OF_NOW: bool = false;

    /// Where the item lies.
    fn key(&self) -> &Key;

    /// The device whose wish to be forgotten must be respected, of items that belong to one.
    fn device(&self) -> Option<Mac> {
        None
    }

    /// Folds the records beyond `seen` into the item as it was found: a pure function, called again after a refusal. Events
    /// before `forgotten_before` are left out. The new item with its new `seen`, or `None` when there is nothing to write.
    ///
    /// # Errors
    /// When the item is unreadable.
    fn fold(
        &self,
        old: Option<&Attributes>,
        forgotten_before: EventTime,
    ) -> Result<Option<Attributes>, Error>;
}

/// What a merge cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Items asked for.
    pub reads: u64,
    /// Items written.
    pub writes: u64,
    /// Writes refused because somebody else had written in between.
    pub refusals: u64,
}

impl std::ops::AddAssign for Effort {
    fn add_assign(&mut self, other: Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.refusals += other.refusals;
    }
}

/// Carries out all changes, each on its own item. On an error some are written and some are not: the batch fails, is delivered
/// again, and what was written is told apart by `seen`.
pub(crate) async fn apply<C: Change>(table: &Table, changes: &[C]) -> Result<Effort, Error> {
    let mut devices: Vec<Mac> = changes.iter().filter_map(Change::device).collect();
    devices.sort_unstable();
    devices.dedup();
    // Never stale: an item written without the mark would bring back what was forgotten.
    let marks = forget::marks(table, &devices).await?;
    let keys: Vec<&Key> = changes.iter().map(Change::key).collect();
    let mut loaded = table.batch_get(&keys, C::READS_AS_OF_NOW).await?;
    let work: Vec<Work<'_, _>> = changes
        .iter()
        .map(|change| Work {
            change,
            loaded: loaded.remove(change.key()),
            forgotten_before: change
                .device()
                .and_then(|device| marks.get(&device).copied())
                .unwrap_or(EventTime::MIN),
        })
        .collect();
    // A few that take one change after the other, not a future for each change: the future of a request has kilobytes.
    let work = Mutex::new(work.into_iter());
    let workers: FuturesUnordered<_> = (0..CONCURRENCY).map(|_| carry_out(table, &work)).collect();
    let mut effort: Effort = workers
        .try_fold(Effort::default(), |mut sum, one| async move {
            sum += one;
            Ok(sum)
        })
        .await?;
    effort.reads += (keys.len() + devices.len()) as u64;
    Ok(effort)
}

/// A change and what it begins with.
struct Work<'a, C> {
    change: &'a C,
    loaded: Option<Attributes>,
    forgotten_before: EventTime,
}

/// Carries out changes while there are any.
async fn carry_out<C: Change>(
    table: &Table,
    work: &Mutex<std::vec::IntoIter<Work<'_, C>>>,
) -> Result<Effort, Error> {
    let mut effort = Effort::default();
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some(one) = next else { return Ok(effort) };
        effort += apply_one(table, one).await?;
    }
}

async fn apply_one<C: Change>(table: &Table, work: Work<'_, C>) -> Result<Effort, Error> {
    let Work { change, loaded: mut current, forgotten_before } = work;
    let mut effort = Effort::default();
    let mut pause = Backoff::default();
    loop {
        let Some(new) = change.fold(current.as_ref(), forgotten_before)? else { return Ok(effort) };
        let expect = match &current {
            None => Expect::Nothing,
            Some(old) => Expect::Number(C::GUARD, old.number(C::GUARD)?),
        };
        match table.put(new, &expect).await? {
            Put::Written => {
                effort.writes += 1;
                return Ok(effort);
            }
            Put::Refused(actual) => {
                effort.refusals += 1;
                current = actual;
            }
        }
        if !pause.wait().await {
            let Key { pk, sk } = change.key().clone();
            return Err(Error::Contended { pk, sk, attempts: Backoff::ATTEMPTS });
        }
    }
}

/// The highest offset that an item has absorbed.
pub(crate) fn seen(item: Option<&Attributes>) -> Result<i64, Error> {
    item.map_or(Ok(NOTHING_SEEN), |item| item.number(SEEN))
}

/// Below every offset.
pub(crate) const NOTHING_SEEN: i64 = -1;

/// The highest offset that an item of several sources has absorbed from each.
pub(crate) fn seen_by_source(item: &Attributes) -> Result<BTreeMap<String, i64>, Error> {
    let unreadable = || item.unreadable(SEEN);
    let map = item.get(SEEN).and_then(|seen| seen.as_m().ok()).ok_or_else(unreadable)?;
    let offset = |value: &AttributeValue| value.as_n().ok().and_then(|offset| offset.parse().ok());
    map.iter().map(|(source, value)| Ok((source.clone(), offset(value).ok_or_else(unreadable)?))).collect()
}

/// Writes the same.
pub(crate) fn put_seen_by_source(item: &mut Attributes, seen: &BTreeMap<String, i64>) {
    let seen = seen.iter().map(|(source, offset)| (source.clone(), item::number(offset)));
    item.put(SEEN, AttributeValue::M(seen.collect()));
}
