//! How far a consumer group has come in a partition, and which life of the topic it reads.
//!
//! Read before each batch and before its items, written last. A record at or below `through` with a later Kafka timestamp than
//! any at or below it cannot be a redelivery: then the topic was deleted and created again, and its offsets mean other records.

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::key::{self, Key};
use crate::table::{Backoff, Expect, Put, Table};

/// How far a consumer group has come in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Which of the topics of that name, from 1.
    pub life: u32,
    /// The highest offset of a batch that was absorbed; -1 before the first.
    pub through: i64,
    /// The greatest Kafka timestamp at or below `through`, in milliseconds since 1970; -1 before the first.
    pub timestamp: i64,
    /// The first offset that is ours: what lies before it was counted from another log. 0 but after a change of logs.
    pub from: i64,
    /// Counts the writes of the item: its guard.
    version: i64,
}

/// A record's place in its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Offset.
    pub offset: i64,
    /// Kafka timestamp in milliseconds since 1970, negative for none.
    pub timestamp: i64,
}

/// Where a consumer group stands in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The topic's name.
    pub topic: String,
    /// The partition, from 0.
    pub partition: i32,
    /// How far.
    pub progress: Progress,
}

impl Progress {
    const BEFORE_THE_FIRST: Self = Self { life: 1, through: -1, timestamp: -1, from: 0, version: 0 };
}

/// The progress of one group in one partition.
#[derive(Debug)]
pub struct Tracker<'a> {
    table: &'a Table,
    topic: &'a str,
    key: Key,
}

impl<'a> Tracker<'a> {
    /// Tracks a group in a partition.
    #[must_use]
    pub fn new(table: &'a Table, group: &str, topic: &'a str, partition: i32) -> Self {
        Self { table, topic, key: key::progress(group, topic, partition) }
    }

    /// How far the group has come, as of now.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn read(&self) -> Result<Progress, Error> {
        self.table.get(&self.key).await?.map_or(Ok(Progress::BEFORE_THE_FIRST), |item| read(&item))
    }

    /// To be called before a batch is folded. Raises the life of the topic when the batch shows that it is a new one.
    ///
    /// # Errors
    /// When the table does not answer, or an overlapping invocation moves the progress meanwhile.
    pub async fn begin(&self, batch: &[Place]) -> Result<Progress, Error> {
        let progress = self.read().await?;
        let is_new = |place: &Place| place.offset <= progress.through && place.timestamp > progress.timestamp;
        if !batch.iter().any(is_new) {
            return Ok(progress);
        }
        let reborn = Progress {
            life: progress.life.saturating_add(1),
            version: progress.version.saturating_add(1),
            ..Progress::BEFORE_THE_FIRST
        };
        match self.write(progress, reborn).await? {
            Put::Written => {
                tracing::warn!(
                    topic = self.topic,
                    life = reborn.life,
                    "the topic was deleted and created again: its records are counted as new ones"
                );
                Ok(reborn)
            }
            Put::Refused(_) => Err(self.life_changed()),
        }
    }

    /// To be called when every item of the batch is written: moves `through` forward, never back.
    ///
    /// # Errors
    /// When the table does not answer, or the topic has turned out to be a new one meanwhile.
    pub async fn advance(&self, begun: Progress, batch: &[Place]) -> Result<(), Error> {
        let last = batch.iter().map(|place| place.offset).max().unwrap_or(-1);
        let newest = batch.iter().map(|place| place.timestamp).max().unwrap_or(-1);
        let mut current = begun;
        let mut pause = Backoff::default();
        while last > current.through {
            let next = Progress {
                life: begun.life,
                through: last,
                timestamp: current.timestamp.max(newest),
                from: current.from,
                version: current.version.saturating_add(1),
            };
            match self.write(current, next).await? {
                Put::Written => return Ok(()),
                Put::Refused(actual) => {
                    current = actual.map_or(Ok(Progress::BEFORE_THE_FIRST), |item| read(&item))?;
                    if current.life != begun.life {
                        return Err(self.life_changed());
                    }
                }
            }
            if !pause.wait().await {
                let Key { pk, sk } = self.key.clone();
                return Err(Error::Contended { pk, sk, attempts: Backoff::ATTEMPTS });
            }
        }
        Ok(())
    }

    /// Begins at an offset instead of at the beginning: all before it was counted from another log. `now_ms` is the present,
    /// later than the Kafka timestamp of everything before the offset.
    ///
    /// # Errors
    /// When the table does not answer, or the group has begun already.
    pub async fn begin_at(&self, offset: i64, now_ms: i64) -> Result<(), Error> {
        let first = Progress {
            through: offset - 1,
            timestamp: now_ms,
            from: offset,
            version: 1,
            ..Progress::BEFORE_THE_FIRST
        };
        match self.write(Progress::BEFORE_THE_FIRST, first).await? {
            Put::Written => Ok(()),
            Put::Refused(_) => {
                let Key { pk, sk } = self.key.clone();
                Err(Error::Contended { pk, sk, attempts: 1 })
            }
        }
    }

    async fn write(&self, old: Progress, new: Progress) -> Result<Put, Error> {
        let mut item = item::with_key(&self.key);
        item.put("life", item::number(new.life));
        item.put("through", item::number(new.through));
        item.put("timestamp", item::number(new.timestamp));
        item.put("from", item::number(new.from));
        item.put("version", item::number(new.version));
        let expect = if old.version == 0 { Expect::Nothing } else { Expect::Number("version", old.version) };
        self.table.put(item, &expect).await
    }

    fn life_changed(&self) -> Error {
        Error::LifeChanged { topic: self.topic.to_owned() }
    }
}

/// Where a group stands in all partitions that it has read.
///
/// # Errors
/// When the table does not answer.
pub async fn of_group(table: &Table, group: &str) -> Result<Vec<Position>, Error> {
    let items = table.query(&key::progress_of(group), " ").await?;
    items
        .iter()
        .map(|item| {
            let (topic, partition) =
                item.text("sk")?.rsplit_once('/').ok_or_else(|| item.unreadable("sk"))?;
            let partition = partition.parse().map_err(|_no_number| item.unreadable("sk"))?;
            Ok(Position { topic: topic.to_owned(), partition, progress: read(item)? })
        })
        .collect()
}

fn read(item: &Attributes) -> Result<Progress, Error> {
    Ok(Progress {
        life: item.number("life")?,
        through: item.number("through")?,
        timestamp: item.number("timestamp")?,
        from: item.number("from")?,
        version: item.number("version")?,
    })
}
