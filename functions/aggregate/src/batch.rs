//! What the records of a batch are: folded, ignored or quarantined. No record can fail its batch.

use runtime::kafka_event::Record;
use runtime::probe_record::{self, Content};
use state::quarantine::{MAX_BYTES, MAX_RECORDS, Quarantined};
use state::tallies::Heard;

/// The records of one partition of a batch, sorted out.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// Probe requests to be folded.
    pub(crate) heard: Vec<Heard>,
    /// How many are no probe request, or have no source address.
    pub(crate) ignored: u64,
    /// Those that cannot be read.
    pub(crate) quarantined: Vec<Quarantined>,
}

/// Sorts records out, in the order of their offsets.
pub(crate) fn sort_out(records: &[Record<'_>]) -> Sorted {
    let mut sorted = Sorted::default();
    let mut buffer = Vec::new();
    for record in records {
        match probe_record::read(record, &mut buffer) {
            Content::Probe(mac, probe) => sorted.heard.push(Heard { offset: record.offset, mac, probe }),
            Content::Nothing => sorted.ignored += 1,
            Content::Unreadable(reason, value) => sorted.quarantine(record, reason, value),
        }
    }
    sorted
}

impl Sorted {
    fn quarantine(&mut self, record: &Record<'_>, reason: String, value: &[u8]) {
        // Beyond what is kept of a batch, only the number counts.
        let kept =
            if self.quarantined.len() < MAX_RECORDS { value.get(..MAX_BYTES).unwrap_or(value) } else { &[] };
        self.quarantined.push(Quarantined {
            offset: record.offset,
            timestamp: record.timestamp,
            reason,
            value: kept.to_vec(),
        });
    }
}

#[cfg(test)]
mod tests {
    use runtime::KafkaEvent;
    use serde_json::json;
    use serde_json::value::{RawValue, to_raw_value};

    use super::*;

    const NOW_MS: i64 = 1_584_802_202_655;

    /// The event of records with these values, written now.
    fn event(values: &[Option<String>]) -> Box<RawValue> {
        let records: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(offset, value)| {
                json!({"topic": "pcap", "partition": 0, "offset": offset, "timestamp": NOW_MS, "value": value})
            })
            .collect();
        to_raw_value(&json!({"records": {"pcap-0": records}})).unwrap()
    }

    fn sorted(values: &[Option<String>]) -> Sorted {
        let event = event(values);
        let event = KafkaEvent::read(&event).unwrap();
        sort_out(&event.partitions[&("pcap".into(), 0)])
    }

    fn value(json: &str) -> Option<String> {
        Some(base64_simd::STANDARD.encode_to_string(json))
    }

    fn probe(time: i64) -> Option<String> {
        value(&format!(
            r#"{{"timestamp":"{time}","wlan_fc_type_subtype":["4"],"wlan_sa":["a4:83:e7:4e:39:15"]}}"#
        ))
    }

    #[test]
    fn each_record_is_folded_ignored_or_quarantined() {
        let sorted = sorted(&[
            probe(NOW_MS),
            None,
            value(r#"{"timestamp":null}"#),
            value(r#"{"timestamp":"1584802202655","wlan_fc_type_subtype":["4"]}"#),
            value("poison"),
            Some("not base64!".to_owned()),
            probe(0),
            probe(NOW_MS + 6 * 60 * 1000),
        ]);
        assert_eq!(sorted.heard.iter().map(|heard| heard.offset).collect::<Vec<_>>(), [0]);
        assert_eq!(sorted.ignored, 3, "a tombstone, no frame, and a frame without a source address");
        let reasons: Vec<(i64, &str)> =
            sorted.quarantined.iter().map(|record| (record.offset, record.reason.as_str())).collect();
        assert!(reasons[0].1.contains("not a JSON object"), "{reasons:?}");
        assert!(reasons[1].1.contains("not base64"), "{reasons:?}");
        assert!(reasons[2].1.contains("before the year 2000"), "{reasons:?}");
        assert!(reasons[3].1.contains("360 s after"), "{reasons:?}");
        assert_eq!(sorted.quarantined[1].value, b"not base64!");
    }

    #[test]
    fn of_a_flood_of_unreadable_records_little_is_kept_and_all_is_counted() {
        let sorted = sorted(&vec![value(&"x".repeat(10_000)); 1_000]);
        assert_eq!(sorted.quarantined.len(), 1_000);
        let kept: Vec<usize> = sorted.quarantined.iter().map(|record| record.value.len()).collect();
        assert!(kept[..MAX_RECORDS].iter().all(|bytes| *bytes == MAX_BYTES));
        assert!(kept[MAX_RECORDS..].iter().all(|bytes| *bytes == 0));
    }
}
