//! A log in memory and who reads it, for tests that schedule deliveries: batches may be cut anywhere, come again, or overlap.

use serde_json::json;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;

/// A record of a log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp, milliseconds since 1970.
    pub timestamp: i64,
    /// Its value.
    pub value: Vec<u8>,
}

/// How a reader finds its place again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// By offsets committed after success.
    Commits,
    /// By the table's progress.
    Progress,
}

/// A partition of a log and who reads it.
#[derive(Debug)]
pub struct Partition {
    /// The topic's name.
    pub topic: &'static str,
    /// The partition, from 0.
    pub number: i32,
    /// How its reader finds its place again.
    pub reader: Reader,
    /// All of its records.
    pub log: Vec<Logged>,
    /// The offset from which the next batch is read.
    pub position: i64,
    /// The invocation that has a batch just now, and the offset after that.
    pub in_flight: Option<(JoinHandle<bool>, i64)>,
}

impl Partition {
    /// An empty one.
    #[must_use]
    pub const fn new(topic: &'static str, number: i32, reader: Reader) -> Self {
        Self { topic, number, reader, log: Vec::new(), position: 0, in_flight: None }
    }

    /// Writes a record behind the others, with `gap` offsets before it that hold none.
    pub fn append(&mut self, timestamp: i64, value: Vec<u8>, gap: i64) {
        let offset = self.log.last().map_or(0, |last| last.offset + 1) + gap;
        self.log.push(Logged { offset, timestamp, value });
    }

    /// What is not read yet.
    #[must_use]
    pub fn rest(&self) -> &[Logged] {
        &self.log[self.log.partition_point(|logged| logged.offset < self.position)..]
    }

    /// Whether everything is read and nobody is at work.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.in_flight.is_none() && self.rest().is_empty()
    }

    /// The event of the next batch, of at most so many records, and the offset after it; none while somebody is at work.
    #[must_use]
    pub fn next_batch(&self, size: usize) -> Option<(Box<RawValue>, i64)> {
        if self.in_flight.is_some() {
            return None;
        }
        let batch: Vec<Logged> = self.rest().iter().take(size).cloned().collect();
        let next = batch.last()?.offset + 1;
        Some((event(self.topic, self.number, &batch), next))
    }
}

/// A batch as Lambda delivers it.
///
/// # Panics
/// If it cannot be written as JSON.
#[must_use]
pub fn event(topic: &str, partition: i32, batch: &[Logged]) -> Box<RawValue> {
    let records: Vec<_> = batch
        .iter()
        .map(|logged| {
            let value = base64_simd::STANDARD.encode_to_string(&logged.value);
            json!({"topic": topic, "partition": partition, "offset": logged.offset, "timestamp": logged.timestamp,
                "timestampType": "CREATE_TIME", "value": value, "headers": []})
        })
        .collect();
    serde_json::value::to_raw_value(
        &json!({"eventSource": "SelfManagedKafka", "records": {format!("{topic}-{partition}"): records}}),
    )
    .expect("an event")
}
