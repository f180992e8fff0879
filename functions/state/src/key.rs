//! The keys of the table and of its indexes. What belongs to a device lies under one partition key.
//!
//! Tallies carry their generation (`1#…`), so that a rebuild can write the next one while this one serves. A `#` separates the
//! parts of a key; where a part is somebody else's bytes (an SSID) it is percent-encoded, so that no name can break out.

use domain::{Day, Mac, Origin, Pattern, Ssid, WatchId, Who};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::Source;
use crate::watchdog::Subject;

/// What stands for itself in a key: an SSID of plain text stays readable. At most 3 × 255 bytes, and a sort key holds 1,024.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b' ')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'+')
    .remove(b'&')
    .remove(b'!');

/// The primary key of an item.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Partition key.
    pub pk: String,
    /// Sort key.
    pub sk: String,
}

/// The two attributes that put an item into an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexKey {
    /// Attribute and value of the index's partition key.
    pub hash: (&'static str, String),
    /// Attribute and value of the index's sort key.
    pub range: (&'static str, String),
}

/// Index: who looked for an SSID, by last day and MAC.
pub const BY_SSID: &str = "by_ssid";
/// Index: who was here on a day.
pub const BY_DAY: &str = "by_day";

/// Index: what a device is called, by its address.
pub const BY_MAC: &str = "by_mac";
/// Index: devices by their folded name. All in one partition: a part of a name may stand anywhere in it.
pub const BY_LABEL: &str = "by_label";

/// Index: what is to be done, by time.
pub const DUE: &str = "due";

/// Partition key of what belongs to a device in a generation.
#[must_use]
pub fn device(generation: u32, mac: Mac) -> String {
    format!("{generation}#DEVICE#{mac}")
}

/// All frames of a device from a source.
#[must_use]
pub fn device_tally(generation: u32, mac: Mac, source: &Source) -> Key {
    Key { pk: device(generation, mac), sk: format!("TALLY#{source}") }
}

/// Frames of a device that named an SSID.
#[must_use]
pub fn ssid_tally(generation: u32, mac: Mac, ssid: &Ssid, source: &Source) -> Key {
    Key { pk: device(generation, mac), sk: format!("{}{source}", ssid_prefix(ssid)) }
}

/// What the sort keys of a device's items for an SSID begin with.
#[must_use]
pub fn ssid_prefix(ssid: &Ssid) -> String {
    format!("SSID#{}#", percent_encode(ssid.bytes(), ENCODED))
}

/// The SSID in the sort key of a device's item, if it is such an item.
#[must_use]
pub fn ssid_of(sk: &str) -> Option<Ssid> {
    let (encoded, _source) = sk.strip_prefix("SSID#")?.split_once('#')?;
    Ssid::new(percent_decode_str(encoded).collect::<Vec<u8>>()).ok()
}

/// Frames of a device on a day.
#[must_use]
pub fn day_tally(generation: u32, mac: Mac, day: Day, source: &Source) -> Key {
    Key { pk: device(generation, mac), sk: format!("DAY#{day}#{source}") }
}

/// Partition key of an SSID in index [`BY_SSID`].
#[must_use]
pub fn ssid_index_hash(generation: u32, ssid: &Ssid) -> String {
    format!("{generation}#SSID#{}", percent_encode(ssid.bytes(), ENCODED))
}

/// Sort key of a device in index [`BY_SSID`]: it changes at most once a day, so the index costs a write a day.
#[must_use]
pub fn ssid_index_range(last: Day, mac: Mac) -> String {
    format!("{last}#{mac}")
}

/// Place in index [`BY_SSID`].
#[must_use]
pub fn by_ssid(generation: u32, ssid: &Ssid, last: Day, mac: Mac) -> IndexKey {
    IndexKey {
        hash: ("ssid", ssid_index_hash(generation, ssid)),
        range: ("ssid_last_day", ssid_index_range(last, mac)),
    }
}

/// Place in index [`BY_DAY`].
#[must_use]
pub fn by_day(generation: u32, day: Day, mac: Mac) -> IndexKey {
    IndexKey { hash: ("day", day_index_hash(generation, day)), range: ("day_device", mac.to_string()) }
}

/// Partition key of a day in index [`BY_DAY`].
#[must_use]
pub fn day_index_hash(generation: u32, day: Day) -> String {
    format!("{generation}#DAY#{day}")
}

/// What a device's item counts (`TALLY`, `SSID#RNM0`, `DAY#2020-04-22`) and of which source, from its sort key.
#[must_use]
pub fn what_and_source(sk: &str) -> Option<(&str, Source)> {
    let (what, source) = sk.rsplit_once('#')?;
    Some((what, source.parse().ok()?))
}

/// How far a consumer group has come in a partition.
#[must_use]
pub fn progress(group: &str, topic: &str, partition: i32) -> Key {
    Key { pk: progress_of(group), sk: format!("{topic}/{partition}") }
}

/// Partition key of a consumer group's progress.
#[must_use]
pub fn progress_of(group: &str) -> String {
    format!("PROGRESS#{group}")
}

/// The mark that a device was forgotten.
#[must_use]
pub fn forget(mac: Mac) -> Key {
    alone(format!("FORGET#{mac}"))
}

/// What the topic of a collection says of a document.
#[must_use]
pub fn document(topic: &str, id: &str) -> Key {
    alone(format!("DOCUMENT#{topic}#{}", percent_encode(id.as_bytes(), ENCODED)))
}

/// Topic and `_id` of a document, from its partition key.
#[must_use]
pub fn topic_and_id(pk: &str) -> Option<(&str, String)> {
    let (topic, encoded) = pk.strip_prefix("DOCUMENT#")?.split_once('#')?;
    Some((topic, percent_decode_str(encoded).decode_utf8().ok()?.into_owned()))
}

/// Place in index [`BY_LABEL`], from a folded name. A sort key holds 1,024 bytes; of a longer name the beginning is found.
#[must_use]
pub fn by_label(folded: &str, mac: Mac) -> IndexKey {
    const MOST: usize = 1_000;
    let end = folded.floor_char_boundary(MOST);
    let label = format!("{}#{mac}", folded.get(..end).unwrap_or_default());
    IndexKey { hash: ("label_of", NAMES.to_owned()), range: ("label", label) }
}

/// Partition key of all names in index [`BY_LABEL`].
pub const NAMES: &str = "NAMES";

/// Folded name and device, from a sort key of index [`BY_LABEL`].
#[must_use]
pub fn folded_and_mac(range: &str) -> Option<(&str, Mac)> {
    let (folded, mac) = range.rsplit_once('#')?;
    Some((folded, mac.parse().ok()?))
}

/// Partition key of the names that a chat has given.
#[must_use]
pub fn names_of_chat(chat: i64) -> String {
    format!("NAMES#{chat}")
}

/// The name that a chat has given to a device.
#[must_use]
pub fn name_of_chat(chat: i64, mac: Mac) -> Key {
    Key { pk: names_of_chat(chat), sk: mac.to_string() }
}

/// The chat that has given a name, from the name's partition key.
#[must_use]
pub fn chat_of_names(pk: &str) -> Option<i64> {
    pk.strip_prefix("NAMES#")?.parse().ok()
}

/// Partition key of all watches.
pub const WATCHES: &str = "WATCHES";
/// What the sort keys of the topic's watches begin with.
pub const WATCHES_OF_TOPIC: &str = "TOPIC#";

/// A watch that was made in a chat.
#[must_use]
pub fn watch_of_chat(chat: i64, pattern: &Pattern) -> Key {
    let canonical = pattern.canonical();
    let sk = format!("{}{}", watches_of_chat(chat), percent_encode(&canonical, ENCODED));
    Key { pk: WATCHES.to_owned(), sk }
}

/// What the sort keys of a chat's watches begin with.
#[must_use]
pub fn watches_of_chat(chat: i64) -> String {
    format!("CHAT#{chat}#")
}

/// What a source of topic `ssid_alert_list` says of an SSID.
#[must_use]
pub fn watch_of_topic(ssid: &Ssid, source: &Source) -> Key {
    let sk = format!("{WATCHES_OF_TOPIC}{}#{source}", percent_encode(ssid.bytes(), ENCODED));
    Key { pk: WATCHES.to_owned(), sk }
}

/// Who made a watch, and its pattern, from its sort key; and the source that says so, of the topic's.
#[must_use]
pub fn origin_and_pattern(sk: &str) -> Option<(Origin, Pattern, Option<Source>)> {
    let decoded = |encoded: &str| percent_decode_str(encoded).collect::<Vec<u8>>();
    if let Some(rest) = sk.strip_prefix(WATCHES_OF_TOPIC) {
        let (encoded, source) = rest.split_once('#')?;
        let ssid = Ssid::new(decoded(encoded)).ok()?;
        return Some((Origin::Topic, Pattern::exact(ssid), Some(source.parse().ok()?)));
    }
    let (chat, encoded) = sk.strip_prefix("CHAT#")?.split_once('#')?;
    Some((Origin::Chat(chat.parse().ok()?), Pattern::of_canonical(&decoded(encoded))?, None))
}

/// Partition key of the chats that may ask.
pub const CHATS: &str = "CHATS";

/// A chat that may ask.
#[must_use]
pub fn chat(id: i64) -> Key {
    Key { pk: CHATS.to_owned(), sk: id.to_string() }
}

/// Partition key of what sensors say of themselves.
pub const SENSORS: &str = "SENSORS";

/// What a source says of a sensor.
#[must_use]
pub fn sensor(name: &str, source: &Source) -> Key {
    Key { pk: SENSORS.to_owned(), sk: format!("{}#{source}", percent_encode(name.as_bytes(), ENCODED)) }
}

/// The name of a sensor, from its sort key.
#[must_use]
pub fn sensor_of(sk: &str) -> Option<String> {
    let (encoded, _source) = sk.split_once('#')?;
    Some(percent_decode_str(encoded).decode_utf8().ok()?.into_owned())
}

/// Partition key of what the watchdog remembers.
pub const WATCHDOG: &str = "WATCHDOG";
/// Sort key of what it remembers of the way from Kafka into the table.
const WAY: &str = "WAY";

/// What the watchdog remembers of a subject.
#[must_use]
pub fn watchdog(subject: &Subject) -> Key {
    let sk = match subject {
        Subject::Sensor(name) => format!("SENSOR#{}", percent_encode(name.as_bytes(), ENCODED)),
        Subject::Way => WAY.to_owned(),
    };
    Key { pk: WATCHDOG.to_owned(), sk }
}

/// What is watched, from its sort key.
#[must_use]
pub fn subject_of(sk: &str) -> Option<Subject> {
    if sk == WAY {
        return Some(Subject::Way);
    }
    let name = percent_decode_str(sk.strip_prefix("SENSOR#")?).decode_utf8().ok()?;
    Some(Subject::Sensor(name.into_owned()))
}

/// Partition key of the outgoing webhooks.
pub const HOOKS: &str = "HOOKS";

/// An outgoing webhook.
#[must_use]
pub fn hook(id: &str) -> Key {
    Key { pk: HOOKS.to_owned(), sk: id.to_owned() }
}

/// The episode of a chat, a watch and a device.
#[must_use]
pub fn episode(chat: i64, watch: WatchId, who: Who) -> Key {
    Key { pk: format!("EPISODE#{chat}#{watch}"), sk: who.to_string() }
}

/// A message that is to be sent, or was.
#[must_use]
pub fn message(id: &str) -> Key {
    alone(format!("MESSAGE#{id}"))
}

/// When messages to a destination went out of late.
#[must_use]
pub fn outbox(destination: &str) -> Key {
    alone(format!("OUTBOX#{destination}"))
}

/// An update of Telegram that was, or is being, answered.
#[must_use]
pub fn update(id: i64) -> Key {
    alone(format!("UPDATE#{id}"))
}

/// A chat that is not allowed, and was told so.
#[must_use]
pub fn stranger(chat: i64) -> Key {
    alone(format!("STRANGER#{chat}"))
}

/// A code that lets a chat in, by its hash.
#[must_use]
pub fn code(sha256: &str) -> Key {
    alone(format!("CODE#{sha256}"))
}

/// An item that has its partition key for itself.
fn alone(pk: String) -> Key {
    let sk = pk.split('#').next().unwrap_or_default().to_owned();
    Key { pk, sk }
}

/// Place in index [`DUE`], from a time in milliseconds since 1970. The digits make times sort as numbers.
#[must_use]
pub fn due(due_in: &str, due_ms: i64) -> IndexKey {
    IndexKey { hash: ("due_in", due_in.to_owned()), range: ("due", due_range(due_ms)) }
}

/// Sort key of a time in index [`DUE`].
#[must_use]
pub fn due_range(due_ms: i64) -> String {
    format!("{:015}", due_ms.max(0))
}

/// Which generation serves.
#[must_use]
pub fn generation() -> Key {
    Key { pk: "GENERATION".to_owned(), sk: "GENERATION".to_owned() }
}

/// Who this table is.
#[must_use]
pub fn identity() -> Key {
    Key { pk: "TABLE".to_owned(), sk: "TABLE".to_owned() }
}

/// Partition key of what was quarantined of a topic, by the day of the Kafka timestamp.
#[must_use]
pub fn quarantine(topic: &str, day: Day) -> String {
    format!("QUARANTINE#{topic}#{day}")
}

/// A quarantined record. The digits make offsets sort as numbers.
#[must_use]
pub fn quarantined_record(day: Day, source: &Source, offset: i64) -> Key {
    Key { pk: quarantine(&source.topic, day), sk: format!("RECORD#{source}#{offset:020}") }
}

/// Where a quarantined record was, from its sort key.
#[must_use]
pub fn place_of_quarantined(sk: &str) -> Option<(Source, i64)> {
    let (source, offset) = sk.strip_prefix("RECORD#")?.rsplit_once('#')?;
    Some((source.parse().ok()?, offset.parse().ok()?))
}

/// How many records of a source were quarantined.
#[must_use]
pub fn quarantined_count(day: Day, source: &Source) -> Key {
    Key { pk: quarantine(&source.topic, day), sk: format!("COUNT#{source}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source() -> Source {
        Source { topic: "pcap".to_owned(), life: 1, partition: 3 }
    }

    #[test]
    fn keys_read_as_the_design_writes_them() {
        let mac = "a4:83:e7:4e:39:15".parse().unwrap();
        let ssid = Ssid::new(*b"RNM0").unwrap();
        assert_eq!(device(1, mac), "1#DEVICE#a4:83:e7:4e:39:15");
        assert_eq!(device_tally(1, mac, &source()).sk, "TALLY#pcap@1/3");
        assert_eq!(ssid_tally(1, mac, &ssid, &source()).sk, "SSID#RNM0#pcap@1/3");
        assert_eq!(day_tally(1, mac, Day::of(1_587_566_620_000), &source()).sk, "DAY#2020-04-22#pcap@1/3");
    }

    proptest! {
        #[test]
        fn no_ssid_breaks_out_of_its_key(bytes in prop::collection::vec(0_u8.., 1..=255)) {
            let ssid = Ssid::new(bytes).unwrap();
            let key = ssid_tally(1, Mac::new([0; 6]), &ssid, &source());
            prop_assert_eq!(ssid_of(&key.sk), Some(ssid));
            prop_assert!(key.sk.len() <= 1_024);
            prop_assert_eq!(key.sk.matches('#').count(), 2);
        }

        #[test]
        fn a_document_is_read_from_its_key(id in ".{1,300}") {
            let key = document("unifi.ace.user", &id);
            prop_assert_eq!(topic_and_id(&key.pk), Some(("unifi.ace.user", id)));
            prop_assert_eq!(key.sk, "DOCUMENT");
        }

        #[test]
        fn a_sensor_is_read_from_its_keys(name in ".{1,60}") {
            let key = sensor(&name, &source());
            prop_assert!(key.sk.len() <= 1_024);
            prop_assert_eq!(sensor_of(&key.sk), Some(name.clone()));
            let subject = Subject::Sensor(name);
            prop_assert_eq!(subject_of(&watchdog(&subject).sk), Some(subject));
            prop_assert_eq!(subject_of(&watchdog(&Subject::Way).sk), Some(Subject::Way));
        }

        #[test]
        fn a_name_is_read_from_its_place_in_the_index(label in ".{0,1500}") {
            let mac = Mac::new([0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15]);
            let place = by_label(&label, mac);
            let (folded, of) = folded_and_mac(&place.range.1).unwrap();
            prop_assert!(of == mac && label.starts_with(folded) && place.range.1.len() <= 1_024);
        }

        #[test]
        fn a_watch_is_read_from_its_key(bytes in prop::collection::vec(0_u8.., 1..=255)) {
            let ssid = Ssid::new(bytes).unwrap();
            let pattern = Pattern::exact(ssid.clone());
            let made_in_chat = watch_of_chat(-7, &pattern);
            prop_assert_eq!(origin_and_pattern(&made_in_chat.sk), Some((Origin::Chat(-7), pattern.clone(), None)));
            let of_topic = watch_of_topic(&ssid, &source());
            prop_assert_eq!(origin_and_pattern(&of_topic.sk), Some((Origin::Topic, pattern, Some(source()))));
            prop_assert!(of_topic.sk.len() <= 1_024);
        }
    }
}
