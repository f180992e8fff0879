//! A record of topic `pcap` as a function reads it: a probe request, nothing for us, or unreadable. No record can fail its batch.

use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::record::{self, Record as PcapRecord};
use domain::{Mac, Probe, event_time};

use crate::kafka_event::{NotBase64, Record};

/// What a record is.
#[derive(Debug)]
pub enum Content<'a> {
    /// A probe request, and who sent it.
    Probe(Mac, Probe),
    /// No probe request, or one without a source address.
    Nothing,
    /// It cannot be read, for this reason; and its bytes.
    Unreadable(String, &'a [u8]),
}

/// Reads a record; `buffer` is room for its bytes.
pub fn read<'b>(record: &'b Record<'_>, buffer: &'b mut Vec<u8>) -> Content<'b> {
    let value = match record.value(buffer) {
        Ok(Some(value)) => value,
        Ok(None) => return Content::Nothing, // a tombstone: topic pcap has no keys that could be deleted
        Err(NotBase64(text)) => {
            return Content::Unreadable("its value in the event is not base64".to_owned(), text.as_bytes());
        }
    };
    // A panic in the decoder is our mistake, and must not stop the partition for ever.
    match catch_unwind(AssertUnwindSafe(|| record::decode(value))) {
        Ok(Ok(PcapRecord::Probe(probe))) => {
            let Some(mac) = probe.source else { return Content::Nothing };
            match event_time::check(probe.time, record.timestamp) {
                Ok(()) => Content::Probe(mac, probe),
                Err(unlikely) => Content::Unreadable(unlikely.to_string(), value),
            }
        }
        Ok(Ok(PcapRecord::NotAProbeRequest)) => Content::Nothing,
        Ok(Err(error)) => Content::Unreadable(error.to_string(), value),
        Err(_panic) => {
            Content::Unreadable("the decoder panicked: please report this record".to_owned(), value)
        }
    }
}
