//! Records that could not be read: kept for a while with place and reason, and counted. A batch never fails for them.
//!
//! What is mended here is the decoder: a rebuild reads the topic again with the better one. Nothing is replayed from here.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::{Day, EventTime};

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::key::{self, Key};
use crate::merge::{self, Change, Effort, SEEN};
use crate::{Source, Table};

/// Of a record's bytes at most this many are kept.
pub const MAX_BYTES: usize = 4 * 1024;
/// Of one batch at most this many records are kept; all are counted.
pub const MAX_RECORDS: usize = 20;
/// For how long, in days.
pub const KEPT_DAYS: u32 = 14;
const KEPT_MS: i64 = KEPT_DAYS as i64 * 24 * 60 * 60 * 1000;

/// A record that could not be read.
#[derive(Debug, Clone)]
pub struct Quarantined {
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp, milliseconds since 1970.
    pub timestamp: i64,
    /// What is wrong with it.
    pub reason: String,
    /// Its value, or as much as is kept of it.
    pub value: Vec<u8>,
}

/// Keeps and counts the unreadable records of one source of a batch.
///
/// # Errors
/// When the table does not answer: the batch has to be delivered again, and nothing is counted twice.
pub async fn keep(
    table: &Table,
    source: &Source,
    records: &[Quarantined],
    now_ms: i64,
) -> Result<Effort, Error> {
    for record in records.iter().take(MAX_RECORDS) {
        // The same record writes the same item: this needs no guard.
        let key = key::quarantined_record(Day::of(record.timestamp), source, record.offset);
        let mut item = item::with_key(&key);
        item.put("reason", item::text(&record.reason));
        item.put("timestamp", item::number(record.timestamp));
        let kept = record.value.get(..MAX_BYTES).unwrap_or(&record.value);
        item.put("value", AttributeValue::B(Blob::new(kept)));
        item.put_expiry(Some(now_ms.saturating_add(KEPT_MS)));
        table.overwrite(item).await?;
    }
    let mut by_day: BTreeMap<Day, Vec<i64>> = BTreeMap::new();
    for record in records {
        by_day.entry(Day::of(record.timestamp)).or_default().push(record.offset);
    }
    let counts: Vec<Count> = by_day
        .into_iter()
        .map(|(day, offsets)| Count {
            key: key::quarantined_count(day, source),
            offsets,
            expires: now_ms.saturating_add(KEPT_MS),
        })
        .collect();
    let mut effort = merge::apply(table, &counts).await?;
    effort.writes += records.len().min(MAX_RECORDS) as u64;
    Ok(effort)
}

/// How many records of a topic were quarantined on a day (of their Kafka timestamps, UTC), and the ones that are kept, by source
/// and offset.
///
/// # Errors
/// When the table does not answer.
pub async fn on_day(
    table: &Table,
    topic: &str,
    day: Day,
    now_ms: i64,
) -> Result<(u64, Vec<(Source, Quarantined)>), Error> {
    let (mut count, mut records) = (0, Vec::new());
    for item in table.query(&key::quarantine(topic, day), " ").await? {
        if item.is_expired(now_ms) {
            continue;
        }
        if item.text("sk")?.starts_with("COUNT#") {
            count += item.number::<u64>("count")?;
            continue;
        }
        let (source, offset) =
            key::place_of_quarantined(item.text("sk")?).ok_or_else(|| item.unreadable("sk"))?;
        let record = Quarantined {
            offset,
            timestamp: item.number("timestamp")?,
            reason: item.text("reason")?.to_owned(),
            value: item
                .get("value")
                .and_then(|value| value.as_b().ok())
                .map(|blob| blob.as_ref().to_vec())
                .unwrap_or_default(),
        };
        records.push((source, record));
    }
    Ok((count, records))
}

/// The number of unreadable records of a source, by the day of their Kafka timestamps.
struct Count {
    key: Key,
    offsets: Vec<i64>,
    expires: i64,
}

impl Change for Count {
    fn key(&self) -> &Key {
        &self.key
    }

    fn fold(
        &self,
        old: Option<&Attributes>,
        _forgotten_before: EventTime,
    ) -> Result<Option<Attributes>, Error> {
        let seen = merge::seen(old)?;
        let new = self.offsets.iter().filter(|offset| **offset > seen);
        let (count, highest) =
            new.fold((0_u64, seen), |(count, highest), offset| (count + 1, highest.max(*offset)));
        if count == 0 {
            return Ok(None);
        }
        let before = old.map_or(Ok(0_u64), |item| item.number("count"))?;
        let mut item = item::with_key(&self.key);
        item.put("count", item::number(before + count));
        item.put(SEEN, item::number(highest));
        item.put_expiry(Some(self.expires));
        Ok(Some(item))
    }
}
