//! A batch of Kafka records as a Lambda event source mapping delivers it.
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html>
//!
//! Borrowed and tolerant: `aws_lambda_events::KafkaEvent` fails a whole batch for one record that it does not like (a header
//! byte above 127, a timestamp of -1, a missing list of headers), and a batch that fails is delivered for ever.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The event is not that of a Kafka event source mapping.
#[derive(Debug, thiserror::Error)]
#[error("not an event of a Kafka event source mapping: is the function invoked by something else?")]
pub struct NotAKafkaEvent(#[from] serde_json::Error);

/// A batch, by partition.
#[derive(Debug, Default)]
pub struct KafkaEvent<'a> {
    /// The records of each topic partition, by offset.
    pub partitions: BTreeMap<(Cow<'a, str>, i32), Vec<Record<'a>>>,
    /// Records without a place (topic, partition, offset), which Kafka cannot have sent. Nothing can be done with them.
    pub misplaced: usize,
}

/// A Kafka record in a batch.
#[derive(Debug)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp, milliseconds since 1970; -1 for none.
    pub timestamp: i64,
    value: Option<Cow<'a, str>>,
}

/// A value of a record that is not Base64: its text as it stands in the event.
#[derive(Debug, PartialEq, Eq)]
pub struct NotBase64<'a>(pub &'a str);

impl Record<'_> {
    /// The value's bytes, decoded into `buffer`; `None` for a tombstone.
    ///
    /// # Errors
    /// [`NotBase64`] with the text that stands there.
    pub fn value<'b>(&self, buffer: &'b mut Vec<u8>) -> Result<Option<&'b [u8]>, NotBase64<'_>> {
        let Some(text) = self.value.as_deref() else { return Ok(None) };
        buffer.clear();
        base64_simd::STANDARD.decode_append(text.as_bytes(), buffer).map_err(|_why| NotBase64(text))?;
        Ok(Some(buffer))
    }
}

impl<'a> KafkaEvent<'a> {
    /// Reads the event. A record that is not as Lambda writes it is left out and counted; it does not fail the others.
    ///
    /// # Errors
    /// When the event as a whole is something else.
    pub fn read(event: &'a RawValue) -> Result<Self, NotAKafkaEvent> {
        let records: Vec<RawRecord<'a>> =
            match serde_json::from_str::<Envelope<'a, RawRecord<'a>>>(event.get()) {
                Ok(envelope) => envelope.records.into_values().flatten().collect(),
                // One record spoils the whole: read each by itself.
                Err(_one_is_odd) => serde_json::from_str::<Envelope<'a, &'a RawValue>>(event.get())?
                    .records
                    .into_values()
                    .flatten()
                    .map(|record| serde_json::from_str(record.get()).unwrap_or_default())
                    .collect(),
            };
        let mut batch = Self::default();
        for record in records {
            let (Some(topic), Some(partition), Some(offset)) =
                (record.topic, record.partition, record.offset)
            else {
                batch.misplaced += 1;
                continue;
            };
            let timestamp = record.timestamp.unwrap_or(-1);
            let place = (topic, partition);
            batch.partitions.entry(place).or_default().push(Record {
                offset,
                timestamp,
                value: record.value,
            });
        }
        for records in batch.partitions.values_mut() {
            records.sort_unstable_by_key(|record| record.offset);
        }
        Ok(batch)
    }
}

#[derive(Deserialize)]
struct Envelope<'a, R> {
    #[serde(borrow)]
    records: BTreeMap<Cow<'a, str>, Vec<R>>,
}

#[derive(Deserialize, Default)]
struct RawRecord<'a> {
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    partition: Option<i32>,
    offset: Option<i64>,
    timestamp: Option<i64>,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(records: &str) -> Box<RawValue> {
        RawValue::from_string(format!(
            r#"{{"eventSource":"SelfManagedKafka","records":{{"pcap-0":[{records}]}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn values_are_decoded_and_tombstones_have_none() {
        let event = event(
            r#"{"topic":"pcap","partition":0,"offset":7,"timestamp":5,"timestampType":"CREATE_TIME","value":"e30=","headers":[{"a":[-61,300]}]},
               {"topic":"pcap","partition":0,"offset":3,"timestamp":-1,"value":null},
               {"topic":"pcap","partition":0,"offset":8},
               {"topic":"pcap","partition":0,"offset":9,"value":"?"}"#,
        );
        let batch = KafkaEvent::read(&event).unwrap();
        let records = &batch.partitions[&("pcap".into(), 0)];
        let mut buffer = Vec::new();
        let read: Vec<_> = records
            .iter()
            .map(|record| {
                (
                    record.offset,
                    record.timestamp,
                    record.value(&mut buffer).map(|value| value.map(<[u8]>::to_vec)),
                )
            })
            .collect();
        assert_eq!(
            read,
            [
                (3, -1, Ok(None)),
                (7, 5, Ok(Some(b"{}".to_vec()))),
                (8, -1, Ok(None)),
                (9, -1, Err(NotBase64("?")))
            ]
        );
    }

    #[test]
    fn one_odd_record_does_not_fail_the_others() {
        let event = event(
            r#"{"topic":"pcap","partition":0,"offset":1,"value":"e30="},{"topic":"pcap","partition":"x","offset":2},null,7,
               {"topic":"pcap","partition":0,"offset":3,"timestamp":1.5,"value":{}}"#,
        );
        let batch = KafkaEvent::read(&event).unwrap();
        assert_eq!(batch.partitions[&("pcap".into(), 0)].len(), 1);
        assert_eq!(batch.misplaced, 4);
    }

    #[test]
    fn another_event_is_refused() {
        for other in [r#"{"Records":[]}"#, "{}", "null", r#"{"records":[]}"#] {
            assert!(KafkaEvent::read(&RawValue::from_string(other.to_owned()).unwrap()).is_err(), "{other}");
        }
    }
}
