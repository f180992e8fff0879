//! What the records of a batch are: folded, ignored or quarantined. No record can fail its batch.

use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::event_time;
use domain::record::{self, Record as PcapRecord};
use runtime::kafka_event::{NotBase64, Record};
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
        let value = match record.value(&mut buffer) {
            Ok(Some(value)) => value,
            Ok(None) => {
                sorted.ignored += 1; // a tombstone: topic pcap has no keys that could be deleted
                continue;
            }
            Err(NotBase64(text)) => {
                sorted.quarantine(record, "its value in the event is not base64".to_owned(), text.as_bytes());
                continue;
            }
        };
        // A panic in the decoder is our mistake, and must not stop the partition for ever.
        let decoded = catch_unwind(AssertUnwindSafe(|| record::decode(value)));
        let probe = match decoded {
            Ok(Ok(PcapRecord::Probe(probe))) => probe,
            Ok(Ok(PcapRecord::NotAProbeRequest)) => {
                sorted.ignored += 1;
                continue;
            }
            Ok(Err(error)) => {
                sorted.quarantine(record, error.to_string(), value);
                continue;
            }
            Err(_panic) => {
                sorted.quarantine(
                    record,
                    "the decoder panicked: please report this record".to_owned(),
                    value,
                );
                continue;
            }
        };
        let Some(mac) = probe.source else {
            sorted.ignored += 1;
            continue;
        };
        match event_time::check(probe.time, record.timestamp) {
            Ok(()) => sorted.heard.push(Heard { offset: record.offset, mac, probe }),
            Err(unlikely) => sorted.quarantine(record, unlikely.to_string(), value),
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
