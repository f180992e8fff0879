//! What Lambda's event source mapping does between a log and a function, whatever the log is.
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html>
//!
//! One batch of a partition at a time; a batch goes out when its window has passed, or it holds as many records or bytes as it
//! may; the same batch again, after growing pauses, until the function has succeeded; only then does the position move on.

use std::collections::BTreeMap;
use std::time::Duration;

use bot::status::Positions;
use serde::Serialize;
use serde_json::value::RawValue;
use state::Table;
use tokio::time::Instant;

use crate::function::Function;
use crate::shutdown::Shutdown;
use crate::template::EventSourceMapping;

/// The payload that Lambda takes at most, in bytes of the event's JSON.
const MAX_EVENT_BYTES: usize = 6 * 1024 * 1024;
/// The longest pause before a failed batch is delivered again.
const MAX_PAUSE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// A function and the mapping that feeds it, for one consumer group.
#[derive(Debug, Clone)]
pub struct EventSource {
    /// Topic, window, batch size and filters.
    pub mapping: EventSourceMapping,
    /// The consumer group, which carries the table's id.
    pub group: String,
    /// The function.
    pub function: Function,
    /// The table that it writes, which tells how far it has come.
    pub table: Table,
    /// Where the position is told.
    pub positions: Positions,
}

/// A record of the log.
#[derive(Debug, Clone)]
pub struct LogRecord {
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp, milliseconds since 1970, -1 for none.
    pub timestamp: i64,
    /// Who dated it.
    pub timestamp_type: TimestampType,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in their order: a name may come twice.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Who dated a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TimestampType {
    /// Its producer.
    CreateTime,
    /// The broker, when it came in.
    LogAppendTime,
    /// Nobody.
    NoTimestampType,
}

impl LogRecord {
    /// About how much memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| size_of::<(String, Vec<u8>)>() + name.len() + value.len());
        size_of::<Self>() + length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }
}

/// Records of one partition on their way to the function.
#[derive(Debug)]
pub struct Batch {
    topic: String,
    partition: i32,
    records: Vec<RecordJson>,
    bytes: usize,
    since: Option<Instant>,
    next: i64,
}

/// A record as it stands in the event.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordJson {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: i64,
    timestamp_type: TimestampType,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Missing for a tombstone, and not null.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// A map of one entry a header; bytes are signed, as Java has them.
    headers: Vec<BTreeMap<String, Vec<i8>>>,
}

impl Batch {
    /// An empty batch of a partition, before the record at `next`.
    #[must_use]
    pub fn new(topic: &str, partition: i32, next: i64) -> Self {
        Self { topic: topic.to_owned(), partition, records: Vec::new(), bytes: 0, since: None, next }
    }

    /// The offset after the last record that was taken, or filtered out.
    #[must_use]
    pub const fn next(&self) -> i64 {
        self.next
    }

    /// Moves past offsets that hold no record for us.
    pub fn skip_to(&mut self, next: i64) {
        self.next = self.next.max(next);
    }

    /// Whether nothing in it is for the function.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Takes a record, or passes over it when the mapping's filters say so. Gives it back when the batch is full.
    ///
    /// # Errors
    /// The record, for the next batch.
    pub fn take(&mut self, record: LogRecord, mapping: &EventSourceMapping) -> Result<(), LogRecord> {
        let passes = mapping.filters.is_empty()
            || record
                .value
                .as_deref()
                .is_none_or(|value| mapping.filters.iter().any(|filter| filter.passes(value)));
        if passes {
            let length =
                |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(4, |bytes| bytes.len().div_ceil(3) * 4 + 2);
            // at most six characters a byte: `-128, `
            let headers = record.headers.iter().map(|(name, value)| 2 * name.len() + 6 * value.len() + 20);
            let size =
                length(&record.key) + length(&record.value) + headers.sum::<usize>() + self.topic.len() + 150;
            let full = self.records.len() >= mapping.batch_size || self.bytes + size > MAX_EVENT_BYTES;
            if full && !self.records.is_empty() {
                return Err(record);
            }
            self.bytes += size;
            self.since.get_or_insert_with(Instant::now);
            let base64 = |bytes: Vec<u8>| base64_simd::STANDARD.encode_to_string(bytes);
            self.records.push(RecordJson {
                topic: self.topic.clone(),
                partition: self.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                timestamp_type: record.timestamp_type,
                key: record.key.map(base64),
                value: record.value.map(base64),
                headers: record
                    .headers
                    .into_iter()
                    .map(|(name, value)| {
                        BTreeMap::from([(name, value.into_iter().map(u8::cast_signed).collect())])
                    })
                    .collect(),
            });
        }
        self.next = record.offset + 1;
        Ok(())
    }

    /// How many records are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// When the batch goes out even if it is not full; `None` while it is empty.
    #[must_use]
    pub fn due(&self, window: Duration) -> Option<Instant> {
        self.since.map(|since| since + window)
    }

    /// The event as Lambda gives it to the function.
    ///
    /// # Errors
    /// None that is known: text and numbers can be written.
    pub fn event(&self) -> serde_json::Result<Box<RawValue>> {
        serde_json::value::to_raw_value(&serde_json::json!({
            "eventSource": "SelfManagedKafka",
            "bootstrapServers": "127.0.0.1:9092",
            "records": {format!("{}-{}", self.topic, self.partition): self.records},
        }))
    }
}

impl EventSource {
    /// How long a batch waits to become full.
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_secs(self.mapping.window_s)
    }

    /// Delivers a batch until the function has succeeded. `false` when it was stopped before.
    pub async fn deliver(&self, batch: &Batch, shutdown: &Shutdown) -> bool {
        if batch.is_empty() {
            return true;
        }
        let event = match batch.event() {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%error, "a batch cannot be written as JSON: please report this");
                shutdown.wait().await;
                return false;
            }
        };
        let mut pause = FIRST_PAUSE;
        loop {
            let attempt = tokio::select! {
                attempt = self.function.handle(&event) => attempt,
                () = shutdown.wait() => return false,
            };
            match attempt {
                Ok(()) => return true,
                Err(error) => tracing::warn!(
                    error = runtime::log::with_causes(&error),
                    topic = batch.topic,
                    partition = batch.partition,
                    next_try_in_ms = pause.as_millis(),
                    "a batch failed and will be delivered again"
                ),
            }
            let jitter = Duration::from_millis(fastrand::u64(0..100));
            tokio::select! {
                () = tokio::time::sleep(pause + jitter) => {}
                () = shutdown.wait() => return false,
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(batch_size: usize) -> EventSourceMapping {
        EventSourceMapping {
            function: "aggregate".to_owned(),
            topic: "pcap".to_owned(),
            consumer_group: "group".to_owned(),
            batch_size,
            window_s: 0,
            filters: vec![r#"{"value":{"subtype":["4"]}}"#.parse().unwrap()],
        }
    }

    fn record(offset: i64, value: &[u8]) -> LogRecord {
        LogRecord {
            offset,
            timestamp: 1,
            timestamp_type: TimestampType::CreateTime,
            key: None,
            value: Some(value.to_vec()),
            headers: Vec::new(),
        }
    }

    #[test]
    fn filtered_records_move_the_position_and_reach_nobody() {
        let mut batch = Batch::new("pcap", 3, 0);
        batch.take(record(0, br#"{"subtype":["29"]}"#), &mapping(10)).unwrap();
        assert!(batch.is_empty() && batch.due(Duration::ZERO).is_none());
        batch.take(record(5, br#"{"subtype":["4"]}"#), &mapping(10)).unwrap();
        assert_eq!(batch.next(), 6);
        let event: serde_json::Value = serde_json::from_str(batch.event().unwrap().get()).unwrap();
        assert_eq!(event["records"]["pcap-3"][0]["offset"], 5);
        assert_eq!(event["records"]["pcap-3"][0]["value"], "eyJzdWJ0eXBlIjpbIjQiXX0=");
        assert_eq!(event["records"]["pcap-3"][0]["headers"], serde_json::json!([]));
    }

    #[test]
    fn a_record_stands_in_the_event_as_lambda_writes_it() {
        let mut batch = Batch::new("pcap", 3, 0);
        let tombstone = LogRecord {
            value: None,
            key: Some(b"k".to_vec()),
            timestamp_type: TimestampType::LogAppendTime,
            headers: vec![("name".to_owned(), b"\xc3\xabA".to_vec()), ("name".to_owned(), Vec::new())],
            ..record(7, b"")
        };
        batch.take(tombstone, &mapping(10)).unwrap();
        let event: serde_json::Value = serde_json::from_str(batch.event().unwrap().get()).unwrap();
        let expected = serde_json::json!({
            "topic": "pcap", "partition": 3, "offset": 7, "timestamp": 1, "timestampType": "LOG_APPEND_TIME", "key": "aw==",
            "headers": [{"name": [-61, -85, 65]}, {"name": []}]
        });
        assert_eq!(event["records"]["pcap-3"][0], expected, "a tombstone has no value, not even null");
    }

    #[test]
    fn a_batch_holds_no_more_records_and_bytes_than_lambda_takes() {
        let mut batch = Batch::new("pcap", 0, 0);
        batch.take(record(0, b"x"), &mapping(1)).unwrap();
        assert_eq!(batch.take(record(1, b"x"), &mapping(1)).unwrap_err().offset, 1);

        let mut batch = Batch::new("pcap", 0, 0);
        let mut offset = 0;
        while batch.take(record(offset, &[b'x'; 900_000]), &mapping(10_000)).is_ok() {
            offset += 1;
        }
        assert_eq!(offset, 5);
        assert!(batch.event().unwrap().get().len() <= MAX_EVENT_BYTES);

        let mut batch = Batch::new("pcap", 0, 0);
        batch
            .take(record(0, &vec![b'x'; 2 * MAX_EVENT_BYTES]), &mapping(10))
            .expect("alone, whatever its size");
    }
}
