//! The watch list. Two origins, kept apart: what somebody asked for in a chat, and what topic `ssid_alert_list` says.
//!
//! The topic is a table: the latest record of a key holds, one without a value deletes. An item belongs to one SSID and one source
//! and is guarded by its offset as any other; a deletion stays as a tombstone, so that an older record, delivered late or lying in
//! another partition, cannot bring the watch back.

use std::collections::{BTreeMap, HashMap};

use domain::{EventTime, Origin, Pattern, Ssid, Watch};

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::key::{self, Key};
use crate::merge::{self, Change, Effort, SEEN};
use crate::{Source, Table};

/// What a record of topic `ssid_alert_list` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRecord {
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp, in milliseconds since 1970.
    pub timestamp: i64,
    /// Of which network.
    pub ssid: Ssid,
    /// How it is watched; `None` when it is not any more.
    pub listed: Option<Listed>,
}

/// How the topic watches a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Why.
    pub reason: Option<String>,
    /// The quiet time in milliseconds, if it is not the usual one.
    pub cooldown_ms: Option<i64>,
}

/// All watches, as of now.
///
/// # Errors
/// When the table does not answer.
pub async fn all(table: &Table) -> Result<Vec<Watch>, Error> {
    read_all(&table.query(key::WATCHES, " ").await?)
}

fn read_all(items: &[Attributes]) -> Result<Vec<Watch>, Error> {
    let mut watches = Vec::new();
    let mut of_topic: Vec<(Source, Ssid, &Attributes)> = Vec::new();
    for item in items {
        let (origin, pattern, source) =
            key::origin_and_pattern(item.text("sk")?).ok_or_else(|| item.unreadable("sk"))?;
        match (source, pattern.ssid()) {
            (Some(source), Some(ssid)) => of_topic.push((source, ssid.clone(), item)),
            _ => watches.push(read(item, origin, pattern)?),
        }
    }
    // A topic that was created again says anew what is watched.
    let mut lives: HashMap<(&str, i32), u32> = HashMap::new();
    for (source, _, _) in &of_topic {
        let life = lives.entry((&source.topic, source.partition)).or_default();
        *life = source.life.max(*life);
    }
    let mut newest: BTreeMap<&Ssid, (i64, &Attributes)> = BTreeMap::new();
    for (source, ssid, item) in &of_topic {
        if lives.get(&(source.topic.as_str(), source.partition)) != Some(&source.life) {
            continue;
        }
        let written = item.number("written")?;
        let known = newest.entry(ssid).or_insert((written, item));
        if written > known.0 {
            *known = (written, item);
        }
    }
    for (ssid, (_, item)) in newest {
        if item.optional_number::<u8>("deleted")?.is_none() {
            watches.push(read(item, Origin::Topic, Pattern::exact(ssid.clone()))?);
        }
    }
    watches.sort_by(|a, b| a.pattern.cmp(&b.pattern).then(a.origin.cmp(&b.origin)));
    Ok(watches)
}

fn read(item: &Attributes, origin: Origin, pattern: Pattern) -> Result<Watch, Error> {
    Ok(Watch {
        origin,
        pattern,
        reason: item.optional_text("reason").map(str::to_owned),
        made_ms: item.number("made")?,
        cooldown_ms: item.optional_number("cooldown")?.unwrap_or(Watch::COOLDOWN_MS),
    })
}

/// Makes a watch in a chat, or changes its reason and cooldown. A watch that is there keeps the time at which it was made: it must
/// not pass over what is on its way.
///
/// # Errors
/// When the table does not answer.
pub async fn set(table: &Table, chat: i64, watch: &Watch) -> Result<(), Error> {
    let key = key::watch_of_chat(chat, &watch.pattern);
    let made = match table.get(&key).await? {
        Some(old) => old.number::<EventTime>("made")?.min(watch.made_ms),
        None => watch.made_ms,
    };
    let mut item = item::with_key(&key);
    item.put("made", item::number(made));
    write(&mut item, watch.reason.as_deref(), Some(watch.cooldown_ms));
    table.overwrite(item).await
}

/// Ends a watch that was made in a chat. Whether there was one.
///
/// # Errors
/// When the table does not answer.
pub async fn remove(table: &Table, chat: i64, pattern: &Pattern) -> Result<bool, Error> {
    let key = key::watch_of_chat(chat, pattern);
    let was_there = table.get(&key).await?.is_some();
    table.delete(&key).await?;
    Ok(was_there)
}

/// The watches that were made in a chat.
pub(crate) async fn of_chat(table: &Table, chat: i64) -> Result<Vec<Watch>, Error> {
    read_all(&table.query_prefix(key::WATCHES, &key::watches_of_chat(chat)).await?)
}

/// Gives a chat's watches to the chat that it has become, or to nobody.
///
/// # Errors
/// When the table does not answer. Doing it again goes on where this stopped.
pub(crate) async fn move_all(table: &Table, from: i64, to: Option<i64>) -> Result<(), Error> {
    for item in table.query_prefix(key::WATCHES, &key::watches_of_chat(from)).await? {
        let sk = item.text("sk")?.to_owned();
        let (_, pattern, _) = key::origin_and_pattern(&sk).ok_or_else(|| item.unreadable("sk"))?;
        if let Some(to) = to {
            let mut moved = item.clone();
            moved.put("sk", item::text(key::watch_of_chat(to, &pattern).sk));
            table.overwrite(moved).await?;
        }
        table.delete(&Key { pk: key::WATCHES.to_owned(), sk }).await?;
    }
    Ok(())
}

fn write(item: &mut Attributes, reason: Option<&str>, cooldown_ms: Option<i64>) {
    if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
        item.put("reason", item::text(reason));
    }
    if let Some(cooldown) = cooldown_ms {
        item.put("cooldown", item::number(cooldown));
    }
}

/// Brings the watch list up to date with records of the topic from one source.
///
/// # Errors
/// When the table does not answer: the batch has to be delivered again.
pub async fn absorb(table: &Table, source: &Source, records: &[ListRecord]) -> Result<Effort, Error> {
    let mut by_ssid: BTreeMap<&Ssid, Vec<&ListRecord>> = BTreeMap::new();
    for record in records {
        by_ssid.entry(&record.ssid).or_default().push(record);
    }
    let changes: Vec<WatchChange<'_>> = by_ssid
        .into_iter()
        .map(|(ssid, records)| WatchChange { key: key::watch_of_topic(ssid, source), records })
        .collect();
    merge::apply(table, &changes).await
}

/// The records of one SSID from one source, by offset.
struct WatchChange<'a> {
    key: Key,
    records: Vec<&'a ListRecord>,
}

impl Change for WatchChange<'_> {
    fn key(&self) -> &Key {
        &self.key
    }

    fn fold(
        &self,
        old: Option<&Attributes>,
        _forgotten_before: EventTime,
    ) -> Result<Option<Attributes>, Error> {
        let seen = merge::seen(old)?;
        let is_deleted = |item: &Attributes| Ok::<_, Error>(item.optional_number::<u8>("deleted")?.is_some());
        let mut made = match old {
            Some(item) if !is_deleted(item)? => Some(item.number::<EventTime>("made")?),
            _ => None,
        };
        let mut last: Option<&ListRecord> = None;
        for record in self.records.iter().filter(|record| record.offset > seen) {
            made = record.listed.is_some().then(|| made.unwrap_or(record.timestamp));
            last = Some(record);
        }
        let Some(last) = last else { return Ok(None) };
        let mut item = item::with_key(&self.key);
        item.put(SEEN, item::number(last.offset));
        item.put("written", item::number(last.timestamp));
        match (&last.listed, made) {
            (Some(listed), Some(made)) => {
                item.put("made", item::number(made));
                write(&mut item, listed.reason.as_deref(), listed.cooldown_ms);
            }
            _ => {
                item.put("deleted", item::number(1));
            }
        }
        Ok(Some(item))
    }
}
