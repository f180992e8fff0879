//! The keys of the table and of its indexes. What belongs to a device lies under one partition key.
//!
//! Tallies carry their generation (`1#…`), so that a rebuild can write the next one while this one serves. A `#` separates the
//! parts of a key; where a part is somebody else's bytes (an SSID) it is percent-encoded, so that no name can break out.

use domain::{Day, Mac, Ssid};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::Source;

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
    Key { pk: format!("FORGET#{mac}"), sk: "FORGET".to_owned() }
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
    }
}
