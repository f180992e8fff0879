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

use domain::{EventTime, Mac};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::Error;
use crate::forget;
use crate::item::{Attributes, Item as _};
use crate::key::Key;
use crate::table::{Backoff, CONCURRENCY, Expect, Put, Table};

/// The attribute that guards an item: the highest offset it has absorbed.
pub(crate) const SEEN: &str = "seen";

/// One item and the records of a batch that concern it.
pub(crate) trait Change {
    /// Where the item lies.
    fn key(&self) -> &Key;

    /// The device whose wish to be forgotten must be respected.
    fn device(&self) -> Option<Mac>;

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
pub(crate) async fn apply(table: &Table, changes: &[impl Change]) -> Result<Effort, Error> {
    let mut devices: Vec<Mac> = changes.iter().filter_map(Change::device).collect();
    devices.sort_unstable();
    devices.dedup();
    // Never stale: an item written without the mark would bring back what was forgotten.
    let marks = forget::marks(table, &devices).await?;
    let keys: Vec<Key> = changes.iter().map(|change| change.key().clone()).collect();
    let loaded = table.batch_get(&keys, false).await?;
    let work: Vec<_> = changes
        .iter()
        .map(|change| {
            let mark = change.device().and_then(|device| marks.get(&device).copied());
            apply_one(table, change, loaded.get(change.key()), mark.unwrap_or(EventTime::MIN))
        })
        .collect();
    let mut effort: Effort = futures::stream::iter(work)
        .buffer_unordered(CONCURRENCY)
        .try_fold(Effort::default(), |mut sum, one| async move {
            sum += one;
            Ok(sum)
        })
        .await?;
    effort.reads += (keys.len() + devices.len()) as u64;
    Ok(effort)
}

async fn apply_one(
    table: &Table,
    change: &impl Change,
    loaded: Option<&Attributes>,
    forgotten_before: EventTime,
) -> Result<Effort, Error> {
    let mut effort = Effort::default();
    let mut pause = Backoff::default();
    let mut current = loaded.cloned();
    loop {
        let Some(new) = change.fold(current.as_ref(), forgotten_before)? else { return Ok(effort) };
        let expect = match &current {
            None => Expect::Nothing,
            Some(old) => Expect::Number(SEEN, old.number(SEEN)?),
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
const NOTHING_SEEN: i64 = -1;
