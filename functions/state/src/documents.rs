//! The documents of a UniFi controller, as change data capture tells of them: what devices are called.
//!
//! An item is a document, whichever partitions told of it: a connector's upgrade, or more partitions, move a document to another
//! one. It keeps how far it has absorbed each source, and beside that the greatest order of MongoDB (`source.ts_ms`, `source.ord`)
//! among the changes that it took: a connector that was killed tells old changes again, under new offsets and after newer ones.
//! Sources are not ordered among each other; there the Kafka timestamp tells what is older.
//!
//! A record that changes nothing that we keep is not written, and leaves no mark: a controller changes `last_seen` all the time.
//! That is safe. What is now was made by the last change that was written; records after it changed nothing then, and change
//! nothing when they come again; those before it have a lower offset, or a lower order.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::document_record::{Change as What, DocumentRecord, SourceOrder};
use domain::{Collection, Document, EventTime};

use crate::error::Error;
use crate::folded::folded;
use crate::item::{self, Attributes, Item as _};
use crate::key::{self, Key};
use crate::merge::{self, Change, Effort, NOTHING_SEEN};
use crate::{Source, Table};

/// How long a deletion is kept, in days: so that what was written before it, and is read after it, does not bring the document back.
pub const DELETED_KEPT_DAYS: i64 = 14;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How far MongoDB's clock may be ahead of Kafka's.
const MAX_AHEAD_MS: i64 = DAY_MS;
/// Counts the writes of an item.
const VERSION: &str = "version";

/// A record and its place in its source.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp, in milliseconds since 1970.
    pub timestamp: i64,
    /// What it says.
    pub record: DocumentRecord,
}

/// Brings documents of a collection up to date with records from one source. `now_ms` is the present.
///
/// # Errors
/// When the table does not answer: the batch has to be delivered again.
pub async fn absorb(
    table: &Table,
    source: &Source,
    collection: Collection,
    records: &[Told],
    now_ms: i64,
) -> Result<Effort, Error> {
    let mut by_id: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
    for told in records {
        by_id.entry(&told.record.id).or_default().push(told);
    }
    let source_text = source.to_string();
    let changes: Vec<DocumentChange<'_>> = by_id
        .into_iter()
        .map(|(id, records)| DocumentChange {
            key: key::document(&source.topic, id),
            source: &source_text,
            collection,
            records,
            now_ms,
        })
        .collect();
    merge::apply(table, &changes).await
}

/// The ids of all documents of a topic that are there and name a device.
///
/// # Errors
/// When the table does not answer.
pub async fn living_ids(table: &Table, topic: &str) -> Result<Vec<String>, Error> {
    let (entries, _) = table.query_entries(key::BY_LABEL, ("label_of", key::NAMES), usize::MAX).await?;
    let of_topic = |entry: &Attributes| {
        let (of, id) = entry.optional_text("pk").and_then(key::topic_and_id)?;
        (of == topic).then_some(id)
    };
    Ok(entries.iter().filter_map(of_topic).collect())
}

/// The records of one document from one source, by offset.
struct DocumentChange<'a> {
    key: Key,
    source: &'a str,
    collection: Collection,
    records: Vec<&'a Told>,
    now_ms: i64,
}

impl Change for DocumentChange<'_> {
    const GUARD: &'static str = VERSION;
    const READS_AS_OF_NOW: bool = true;

    fn key(&self) -> &Key {
        &self.key
    }

    fn fold(
        &self,
        old: Option<&Attributes>,
        _forgotten_before: EventTime,
    ) -> Result<Option<Attributes>, Error> {
        let mut kept = old.map_or(Ok(Kept::default()), Kept::read)?;
        let mut is_changed = false;
        for told in &self.records {
            is_changed |= kept.absorb(self.source, told, self.now_ms);
        }
        Ok(is_changed.then(|| kept.write(&self.key, self.collection, self.now_ms)))
    }
}

/// What a document's item keeps.
#[derive(Debug, Default, Clone, PartialEq)]
struct Kept {
    version: i64,
    seen: BTreeMap<String, i64>,
    state: State,
    written: Written,
    /// The greatest order of MongoDB among the changes that were taken.
    order: Option<SourceOrder>,
    /// The source of the last record that was taken, and that record's Kafka timestamp.
    last: Option<(String, i64)>,
    /// A deletion was passed over since it is an old one: the tombstone that Kafka has after it means nothing, too.
    passes_tombstone: bool,
}

#[derive(Debug, Default, Clone, PartialEq)]
enum State {
    #[default]
    Unknown,
    Living(Document),
    Deleted,
}

/// When a document was last written, in an order that holds among documents: what a snapshot read is older than any change.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Written(Option<SourceOrder>);

impl Kept {
    /// Takes a record; whether it said anything new.
    ///
    /// A clock that runs ahead must not make what comes after it look old: a Kafka timestamp counts as no later than `now_ms`, and an
    /// order that is far ahead of that as none.
    fn absorb(&mut self, source: &str, told: &Told, now_ms: i64) -> bool {
        let DocumentRecord { order, change, .. } = &told.record;
        let timestamp = told.timestamp.min(now_ms);
        let is_possible = |order: &SourceOrder| order.ts_ms <= timestamp.saturating_add(MAX_AHEAD_MS);
        let order = order.filter(is_possible);
        if told.offset <= self.seen.get(source).copied().unwrap_or(NOTHING_SEEN) {
            return false;
        }
        let is_older = |(last, newest): &(String, i64)| last != source && timestamp < *newest;
        if self.last.as_ref().is_some_and(is_older) {
            return false;
        }
        // Two changes in one transaction have the same order: only a lower one is an old one.
        let is_repeated = matches!((order, self.order), (Some(order), Some(taken)) if order < taken);
        let said = if is_repeated {
            let deletes = *change == What::Deleted && matches!(self.state, State::Living(_));
            let is_first = deletes && !self.passes_tombstone;
            self.passes_tombstone |= deletes;
            is_first
        } else {
            self.take(change, order, timestamp)
        };
        // what changes nothing leaves no mark, but for the first from another source: what that one told before is old now
        let is_marked = said || self.last.as_ref().is_some_and(|(last, _)| last != source);
        if is_marked {
            self.seen.insert(source.to_owned(), told.offset);
            self.last = Some((source.to_owned(), timestamp));
        }
        is_marked
    }

    fn take(&mut self, change: &What, order: Option<SourceOrder>, timestamp: i64) -> bool {
        let new = match (change, &self.state) {
            (What::Tombstone, _) if self.passes_tombstone => {
                self.passes_tombstone = false;
                return true;
            }
            (What::Tombstone, State::Deleted) => return false,
            (What::Tombstone | What::Deleted, _) => State::Deleted,
            (What::Snapshot(document) | What::Whole(document) | What::Now(document), _) => {
                State::Living(document.clone())
            }
            // its end is on the way, or has come
            (What::Partial(_), State::Deleted) => return false,
            (What::Partial(fields), state) => {
                let mut document = match state {
                    State::Living(document) => document.clone(),
                    State::Unknown | State::Deleted => Document::default(),
                };
                fields.iter().for_each(|field| document.set(field.clone()));
                if *state == State::Unknown && document == Document::default() {
                    return false;
                }
                State::Living(document)
            }
        };
        let is_later_deletion = new == State::Deleted && order > self.order;
        // a look-up has shown it before, or a snapshot
        let is_ours = match change {
            What::Whole(_) => true,
            What::Partial(fields) => !fields.is_empty(),
            _ => false,
        };
        let is_later_change = is_ours && order > self.written.0;
        if new == self.state && !is_later_deletion && !is_later_change {
            return false;
        }
        self.state = new;
        self.passes_tombstone = false;
        self.order = self.order.max(order);
        if !matches!(change, What::Snapshot(_)) {
            let by_kafka = SourceOrder { ts_ms: timestamp, ord: 0 };
            self.written = self.written.max(Written(Some(order.unwrap_or(by_kafka))));
        }
        true
    }

    fn read(item: &Attributes) -> Result<Self, Error> {
        let order = |ts: &str, ord: &str| match item.optional_number(ts)? {
            Some(ts_ms) => Ok::<_, Error>(Some(SourceOrder { ts_ms, ord: item.number(ord)? })),
            None => Ok(None),
        };
        let is_deleted = item.optional_number::<u8>("deleted")?.is_some();
        Ok(Self {
            version: item.number(VERSION)?,
            seen: merge::seen_by_source(item)?,
            state: if is_deleted { State::Deleted } else { State::Living(read_document(item)?) },
            written: written(item)?,
            order: order("order_ts_ms", "order_ord")?,
            last: match item.optional_text("last_source") {
                Some(source) => Some((source.to_owned(), item.number("last_timestamp")?)),
                None => None,
            },
            passes_tombstone: item.optional_number::<u8>("passes_tombstone")?.is_some(),
        })
    }

    fn write(&self, key: &Key, collection: Collection, now_ms: i64) -> Attributes {
        let mut item = item::with_key(key);
        item.put(VERSION, item::number(self.version.saturating_add(1)));
        item.put("collection", item::text(collection.name()));
        merge::put_seen_by_source(&mut item, &self.seen);
        let mut put_order = |order: Option<SourceOrder>, ts: &str, ord: &str| {
            if let Some(SourceOrder { ts_ms, ord: place }) = order {
                item.put(ts, item::number(ts_ms));
                item.put(ord, item::number(place));
            }
        };
        put_order(self.written.0, "written_ts_ms", "written_ord");
        put_order(self.order, "order_ts_ms", "order_ord");
        if let Some((source, timestamp)) = &self.last {
            item.put("last_source", item::text(source));
            item.put("last_timestamp", item::number(timestamp));
        }
        if self.passes_tombstone {
            item.put("passes_tombstone", item::number(1));
        }
        match &self.state {
            State::Living(document) => write_document(document, collection, &mut item),
            State::Unknown | State::Deleted => {
                item.put("deleted", item::number(1));
                item.put_expiry(Some(now_ms.saturating_add(DELETED_KEPT_DAYS * DAY_MS)));
            }
        }
        item
    }
}

fn write_document(document: &Document, collection: Collection, item: &mut Attributes) {
    let Document { mac, name, hostname, oui, is_guest, model, kind } = document;
    let texts = [("name", name), ("hostname", hostname), ("oui", oui), ("model", model), ("kind", kind)];
    for (attribute, text) in texts {
        if let Some(text) = text {
            item.put(attribute, item::text(text));
        }
    }
    if let Some(is_guest) = is_guest {
        item.put("is_guest", AttributeValue::Bool(*is_guest));
    }
    if let Some(mac) = mac {
        // the only attribute of index by_mac
        item.put("mac", item::text(mac.to_string()));
        item.put_index(document.label(collection).map(|label| key::by_label(&folded(&label), *mac)));
    }
}

fn read_document(item: &Attributes) -> Result<Document, Error> {
    let text = |name| item.optional_text(name).map(str::to_owned);
    let mac = item.optional_text("mac").map(str::parse).transpose();
    Ok(Document {
        mac: mac.map_err(|_no_mac| item.unreadable("mac"))?,
        name: text("name"),
        hostname: text("hostname"),
        oui: text("oui"),
        is_guest: item.get("is_guest").and_then(|value| value.as_bool().ok()).copied(),
        model: text("model"),
        kind: text("kind"),
    })
}

fn written(item: &Attributes) -> Result<Written, Error> {
    Ok(Written(match item.optional_number("written_ts_ms")? {
        Some(ts_ms) => Some(SourceOrder { ts_ms, ord: item.number("written_ord")? }),
        None => None,
    }))
}

/// A document that is there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Living {
    pub(crate) topic: String,
    pub(crate) id: String,
    pub(crate) collection: Collection,
    pub(crate) written: Written,
    pub(crate) document: Document,
}

impl Living {
    /// Reads a document from its item; `None` when it was deleted.
    pub(crate) fn read(item: &Attributes) -> Result<Option<Self>, Error> {
        if item.optional_number::<u8>("deleted")?.is_some() {
            return Ok(None);
        }
        let (topic, id) = key::topic_and_id(item.text("pk")?).ok_or_else(|| item.unreadable("pk"))?;
        let collection = match item.text("collection")? {
            name if name == Collection::Client.name() => Collection::Client,
            name if name == Collection::Device.name() => Collection::Device,
            _ => return Err(item.unreadable("collection")),
        };
        let (topic, document) = (topic.to_owned(), read_document(item)?);
        Ok(Some(Self { topic, id, collection, written: written(item)?, document }))
    }
}

#[cfg(test)]
mod tests {
    use domain::document::Field;

    use super::*;

    const NOW_MS: i64 = 1_000_000;
    const A: &str = "unifi.ace.user@1/0";
    const B: &str = "unifi.ace.user@1/1";

    fn document(name: &str) -> Document {
        Document {
            mac: Some("a4:83:e7:4e:39:15".parse().unwrap()),
            name: Some(name.to_owned()),
            ..Document::default()
        }
    }

    fn told(offset: i64, timestamp: i64, order: Option<i64>, change: What) -> Told {
        let order = order.map(|ord| SourceOrder { ts_ms: 1_000, ord });
        Told { offset, timestamp, record: DocumentRecord { id: "1".to_owned(), order, change } }
    }

    fn whole(name: &str) -> What {
        What::Whole(document(name))
    }

    fn rename(name: &str) -> What {
        What::Partial(vec![Field::Name(Some(name.to_owned()))])
    }

    /// What an item that has absorbed these is called, and how many of them were written.
    fn absorbed(records: &[(&str, Told)]) -> (Option<String>, usize) {
        let mut kept = Kept::default();
        let mut writes = 0;
        for (source, told) in records {
            if kept.absorb(source, told, NOW_MS) {
                writes += 1;
                let item = kept.write(&key::document("unifi.ace.user", "1"), Collection::Client, 0);
                let read = Kept::read(&item).unwrap();
                assert_eq!(
                    (read.version, &read),
                    (kept.version + 1, &Kept { version: read.version, ..kept.clone() })
                );
                kept = read;
            }
            assert!(!kept.absorb(source, told, NOW_MS), "twice is once");
        }
        let name = match kept.state {
            State::Living(document) => document.name,
            State::Unknown | State::Deleted => None,
        };
        (name, writes)
    }

    #[test]
    fn what_changes_nothing_that_is_kept_is_not_written() {
        let nothing = || What::Partial(Vec::new());
        let log = [
            (A, told(0, 1, None, nothing())),
            (A, told(1, 1, None, What::Snapshot(document("a")))),
            (A, told(2, 2, Some(1), nothing())),
            (A, told(3, 3, Some(2), What::Now(document("a")))),
            (A, told(4, 4, Some(3), rename("b"))),
            (A, told(5, 5, Some(4), What::Now(document("b")))),
        ];
        assert_eq!(absorbed(&log), (Some("b".to_owned()), 2));
        // but somebody who writes the same again has written it last
        let again = (A, told(6, 6, Some(5), rename("b")));
        assert_eq!(absorbed(&[&log[..], &[again]].concat()), (Some("b".to_owned()), 3));
    }

    #[test]
    fn a_connector_that_repeats_itself_changes_nothing() {
        let log = [
            (A, told(0, 1, Some(1), whole("a"))),
            (A, told(1, 2, Some(2), rename("b"))),
            (A, told(2, 3, Some(3), rename("c"))),
            // killed, and started again
            (A, told(3, 4, Some(1), whole("a"))),
            (A, told(4, 5, Some(2), rename("b"))),
        ];
        assert_eq!(absorbed(&log), (Some("c".to_owned()), 3));
    }

    #[test]
    fn an_old_deletion_and_its_tombstone_do_not_end_what_was_made_since() {
        let log = [
            (A, told(0, 1, Some(1), whole("a"))),
            (A, told(1, 2, Some(2), What::Deleted)),
            (A, told(2, 2, None, What::Tombstone)),
            (A, told(3, 3, Some(3), whole("b"))),
            (A, told(4, 4, Some(2), What::Deleted)),
            (A, told(5, 4, None, What::Tombstone)),
        ];
        assert_eq!(absorbed(&log).0.as_deref(), Some("b"));
        let end = (A, told(6, 5, None, What::Tombstone));
        assert_eq!(absorbed(&[&log[..], &[end]].concat()).0, None, "one without a deletion does");
    }

    #[test]
    fn two_changes_of_one_transaction_both_count() {
        let log = [(A, told(0, 1, Some(1), rename("a"))), (A, told(1, 1, Some(1), rename("b")))];
        assert_eq!(absorbed(&log), (Some("b".to_owned()), 2));
    }

    #[test]
    fn what_was_deleted_stays_so_however_late_what_was_before_is_read() {
        // the topic got more partitions, and the document another one
        let before =
            [(A, told(0, 1, None, What::Snapshot(document("a")))), (A, told(1, 2, Some(1), whole("b")))];
        let after = [(B, told(0, 3, Some(2), What::Deleted)), (B, told(1, 3, None, What::Tombstone))];
        for log in [[&before[..], &after].concat(), [&after[..], &before].concat()] {
            assert_eq!(absorbed(&log).0, None);
        }
        let anew = (B, told(2, 4, Some(3), whole("c")));
        assert_eq!(absorbed(&[&after[..], &[anew], &before].concat()).0.as_deref(), Some("c"));
    }

    #[test]
    fn a_look_up_that_finds_nothing_is_no_end_and_no_beginning() {
        let log = [
            (A, told(0, 1, Some(1), whole("a"))),
            (A, told(1, 2, Some(2), rename("plug"))),
            (A, told(2, 3, Some(3), What::Deleted)),
            (A, told(3, 4, Some(4), rename("ghost"))),
        ];
        assert_eq!(absorbed(&log[..2]).0.as_deref(), Some("plug"));
        assert_eq!(absorbed(&log).0, None);
    }

    #[test]
    fn a_clock_that_ran_ahead_does_not_make_all_that_follows_old() {
        let ahead = SourceOrder { ts_ms: NOW_MS + 2 * DAY_MS, ord: 1 };
        let wrong = DocumentRecord { id: "1".to_owned(), order: Some(ahead), change: whole("a") };
        let log = [
            (B, Told { offset: 0, timestamp: NOW_MS + 2 * DAY_MS, record: wrong }),
            (A, told(0, NOW_MS, Some(1), rename("b"))),
            (A, told(1, NOW_MS, Some(2), rename("c"))),
        ];
        assert_eq!(absorbed(&log).0.as_deref(), Some("c"));
    }

    #[test]
    fn a_second_snapshot_says_what_is_now() {
        let log = [
            (A, told(0, 1, Some(5), whole("a"))),
            (A, told(1, 2, None, What::Snapshot(document("b")))),
            (A, told(2, 3, Some(4), rename("older than a"))),
        ];
        assert_eq!(absorbed(&log).0.as_deref(), Some("b"));
    }
}
