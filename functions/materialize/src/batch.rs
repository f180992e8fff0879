//! The records of a batch, read one by one. No record can fail its batch: one that cannot be read is quarantined with the reason.

use std::panic::{AssertUnwindSafe, catch_unwind};

use runtime::kafka_event::{NotBase64, Record};
use state::quarantine::{MAX_BYTES, MAX_RECORDS, Quarantined};

/// Of an unreadable record's key at most this many bytes are shown: it stands in the reason.
const MAX_KEY_BYTES: usize = 64;

/// The records of one partition of a batch, sorted out.
#[derive(Debug)]
pub(crate) struct Sorted<T> {
    /// What they say.
    pub(crate) said: Vec<T>,
    /// Those that cannot be read.
    pub(crate) quarantined: Vec<Quarantined>,
}

/// What reads key and value of a record.
pub(crate) type Decode<T> = fn(&Record<'_>, Option<&[u8]>, Option<&[u8]>) -> Result<T, String>;

/// Sorts records out, in the order of their offsets.
pub(crate) fn sort_out<T>(records: &[Record<'_>], decode: Decode<T>) -> Sorted<T> {
    let mut sorted = Sorted { said: Vec::new(), quarantined: Vec::new() };
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for record in records {
        match read(record, decode, &mut key, &mut value) {
            Ok(said) => sorted.said.push(said),
            Err(Unreadable { why, key, value }) => sorted.quarantine(record, &why, key, value),
        }
    }
    sorted
}

/// A record that cannot be read.
struct Unreadable<'a> {
    why: String,
    key: Option<&'a [u8]>,
    value: &'a [u8],
}

/// Reads a record; the buffers are room for its bytes.
fn read<'b, T>(
    record: &'b Record<'_>,
    decode: Decode<T>,
    key: &'b mut Vec<u8>,
    value: &'b mut Vec<u8>,
) -> Result<T, Unreadable<'b>> {
    let (key, value) = match (record.key(key), record.value(value)) {
        (Ok(key), Ok(value)) => (key, value),
        (Err(NotBase64(text)), value) => {
            let value = value.ok().flatten().unwrap_or_default();
            let why = "its key in the event is not base64".to_owned();
            return Err(Unreadable { why, key: Some(text.as_bytes()), value });
        }
        (Ok(key), Err(NotBase64(text))) => {
            let why = "its value in the event is not base64".to_owned();
            return Err(Unreadable { why, key, value: text.as_bytes() });
        }
    };
    let unreadable = |why: String| Unreadable { why, key, value: value.unwrap_or_default() };
    if record.timestamp < 0 {
        // it tells which of two partitions says the newer thing, and a watch is about what came no earlier than itself
        return Err(unreadable(
            "it has no Kafka timestamp: write it with a producer of Kafka 0.10 or later".to_owned(),
        ));
    }
    // A panic in the decoder is our mistake, and must not stop the partition for ever.
    match catch_unwind(AssertUnwindSafe(|| decode(record, key, value))) {
        Ok(said) => said.map_err(unreadable),
        Err(_panic) => Err(unreadable("the decoder panicked: please report this record".to_owned())),
    }
}

impl<T> Sorted<T> {
    fn quarantine(&mut self, record: &Record<'_>, why: &str, key: Option<&[u8]>, value: &[u8]) {
        // Beyond what is kept of a batch, only the number counts.
        let kept =
            if self.quarantined.len() < MAX_RECORDS { value.get(..MAX_BYTES).unwrap_or(value) } else { &[] };
        self.quarantined.push(Quarantined {
            offset: record.offset,
            timestamp: record.timestamp,
            reason: format!("{why} ({})", shown(key)),
            value: kept.to_vec(),
        });
    }
}

/// The key for people: the value alone does not say what it is about.
fn shown(key: Option<&[u8]>) -> String {
    let Some(key) = key else { return "without a key".to_owned() };
    match key.get(..MAX_KEY_BYTES) {
        Some(start) if start.len() < key.len() => format!("key {}…", start.escape_ascii()),
        _ => format!("key {}", key.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use runtime::KafkaEvent;
    use serde_json::json;
    use serde_json::value::to_raw_value;
    use state::watches::ListRecord;

    use super::*;
    use crate::watch_list;

    /// These keys and values, sorted out as the records of one partition, written at the time 5.
    fn sorted(records: &[(Option<&str>, Option<&str>)]) -> Sorted<ListRecord> {
        let base64 =
            |text: &Option<&str>| text.map(|text| base64_simd::STANDARD.encode_to_string(text.as_bytes()));
        let records: Vec<_> = (0..)
            .zip(records)
            .map(|(offset, (key, value))| {
                json!({"topic": "t", "partition": 0, "offset": offset, "timestamp": 5, "key": base64(key), "value": base64(value)})
            })
            .collect();
        let event = to_raw_value(&json!({"records": {"t-0": records}})).unwrap();
        sort_out(&KafkaEvent::read(&event).unwrap().partitions[&("t".into(), 0)], watch_list::decode)
    }

    #[test]
    fn each_record_is_listed_or_quarantined() {
        let sorted = sorted(&[
            (Some("RNM0"), Some("home")),
            (Some("RNM0"), Some("{poison")),
            (None, Some("home")),
            (Some("RNM0"), None),
        ]);
        let list: Vec<_> = sorted
            .said
            .iter()
            .map(|record| (record.offset, record.timestamp, record.ssid.bytes(), record.listed.is_some()))
            .collect();
        assert_eq!(list, [(0, 5, &b"RNM0"[..], true), (3, 5, b"RNM0", false)]);
        let reasons: Vec<_> =
            sorted.quarantined.iter().map(|record| (record.offset, record.reason.as_str())).collect();
        assert_eq!(reasons.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1, 2]);
        assert!(reasons[0].1.ends_with("(key RNM0)"), "{reasons:?}");
        assert!(reasons[1].1.ends_with("(without a key)"), "{reasons:?}");
    }

    #[test]
    fn of_a_flood_of_unreadable_records_little_is_kept_and_all_is_counted() {
        let (key, value) = ("\u{1b}".repeat(10_000), "x".repeat(10_000));
        let sorted = sorted(&vec![(Some(key.as_str()), Some(value.as_str())); 1_000]);
        assert_eq!(sorted.quarantined.len(), 1_000);
        let kept: Vec<usize> = sorted.quarantined.iter().map(|record| record.value.len()).collect();
        assert!(kept[..MAX_RECORDS].iter().all(|bytes| *bytes == MAX_BYTES));
        assert!(kept[MAX_RECORDS..].iter().all(|bytes| *bytes == 0));
        let shown = format!("(key {}…)", "\\x1b".repeat(MAX_KEY_BYTES));
        assert!(sorted.quarantined[0].reason.ends_with(&shown), "{}", sorted.quarantined[0].reason);
    }
}
