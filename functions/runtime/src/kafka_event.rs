//! A batch of Kafka records as a Lambda event source mapping delivers it.
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html>
//!
//! Borrowed and tolerant: `aws_lambda_events::KafkaEvent` fails a whole batch for one record that it does not like (a header
//! byte above 127, a timestamp of -1, a missing list of headers), and a batch that fails is delivered for ever.

use std::borrow::Cow;
use std::collections::BTreeMap;

use domain::plain_json::Walk;
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
    key: Option<Cow<'a, str>>,
    value: Option<Cow<'a, str>>,
}

/// A key or value of a record that is not Base64: its text as it stands in the event.
#[derive(Debug, PartialEq, Eq)]
pub struct NotBase64<'a>(pub &'a str);

impl Record<'_> {
    /// The key's bytes, decoded into `buffer`; `None` for a record without one.
    ///
    /// # Errors
    /// [`NotBase64`] with the text that stands there.
    pub fn key<'b>(&self, buffer: &'b mut Vec<u8>) -> Result<Option<&'b [u8]>, NotBase64<'_>> {
        decoded(self.key.as_deref(), buffer)
    }

    /// The value's bytes, decoded into `buffer`; `None` for a tombstone.
    ///
    /// # Errors
    /// [`NotBase64`] with the text that stands there.
    pub fn value<'b>(&self, buffer: &'b mut Vec<u8>) -> Result<Option<&'b [u8]>, NotBase64<'_>> {
        decoded(self.value.as_deref(), buffer)
    }
}

fn decoded<'t, 'b>(
    text: Option<&'t str>,
    buffer: &'b mut Vec<u8>,
) -> Result<Option<&'b [u8]>, NotBase64<'t>> {
    let Some(text) = text else { return Ok(None) };
    buffer.clear();
    base64_simd::STANDARD.decode_append(text.as_bytes(), buffer).map_err(|_why| NotBase64(text))?;
    Ok(Some(buffer))
}

impl<'a> KafkaEvent<'a> {
    /// Reads the event. A record that is not as Lambda writes it is left out and counted; it does not fail the others.
    ///
    /// # Errors
    /// When the event as a whole is something else.
    pub fn read(event: &'a RawValue) -> Result<Self, NotAKafkaEvent> {
        let records: Vec<RawRecord<'a>> =
            match walked(event.get()).map_or_else(|| serde_json::from_str(event.get()), Ok) {
                Ok(envelope) => envelope.into_records().collect(),
                // One record spoils the whole: read each by itself.
                Err(_one_is_odd) => serde_json::from_str::<Envelope<'a, &'a RawValue>>(event.get())?
                    .into_records()
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
                key: record.key,
                value: record.value,
            });
        }
        for records in batch.partitions.values_mut() {
            records.sort_unstable_by_key(|record| record.offset);
        }
        Ok(batch)
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct Envelope<'a, R> {
    #[serde(borrow)]
    records: BTreeMap<Cow<'a, str>, Vec<R>>,
}

impl<R> Envelope<'_, R> {
    fn into_records(self) -> impl Iterator<Item = R> {
        self.records.into_values().flatten()
    }
}

#[derive(Debug, PartialEq, Deserialize, Default)]
struct RawRecord<'a> {
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    partition: Option<i32>,
    offset: Option<i64>,
    timestamp: Option<i64>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
}

/// Reads an event of the plain shape, faster than the parser. `None` for every other, which the parser reads.
fn walked(event: &str) -> Option<Envelope<'_, RawRecord<'_>>> {
    let mut walk = Walk::new(event)?;
    let mut records = None;
    walk.object(|walk, name| match name {
        "records" => once(&mut records, partitions(walk)?),
        _ => text_or_null(walk).map(drop),
    })?;
    walk.end()?;
    Some(Envelope { records: records? })
}

fn partitions<'a>(walk: &mut Walk<'a>) -> Option<BTreeMap<Cow<'a, str>, Vec<RawRecord<'a>>>> {
    let mut partitions = BTreeMap::new();
    walk.object(|walk, name| {
        let mut records = Vec::new();
        walk.array(|walk| {
            records.push(record(walk)?);
            Some(())
        })?;
        partitions.insert(Cow::Borrowed(name), records).is_none().then_some(())
    })?;
    Some(partitions)
}

fn record<'a>(walk: &mut Walk<'a>) -> Option<RawRecord<'a>> {
    let (mut topic, mut partition, mut offset, mut timestamp) = (None, None, None, None);
    let (mut key, mut value) = (None, None);
    walk.object(|walk, name| match name {
        "topic" => once(&mut topic, Cow::Borrowed(walk.string()?)),
        "partition" => once(&mut partition, i32::try_from(walk.integer()?).ok()?),
        "offset" => once(&mut offset, walk.integer()?),
        "timestamp" => once(&mut timestamp, walk.integer()?),
        "key" => once(&mut key, text_or_null(walk)?.map(Cow::Borrowed)),
        "value" => once(&mut value, text_or_null(walk)?.map(Cow::Borrowed)),
        // a list of objects, each with a name and the bytes as numbers
        "headers" => {
            walk.array(|walk| walk.object(|walk, _name| walk.array(|walk| walk.integer().map(drop))))
        }
        _ => text_or_null(walk).map(drop),
    })?;
    Some(RawRecord { topic, partition, offset, timestamp, key: key.flatten(), value: value.flatten() })
}

fn text_or_null<'a>(walk: &mut Walk<'a>) -> Option<Option<&'a str>> {
    if walk.null() { Some(None) } else { walk.string().map(Some) }
}

/// A field that is there twice is an error for the parser.
fn once<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(records: &str) -> Box<RawValue> {
        RawValue::from_string(format!(
            r#"{{"eventSource":"SelfManagedKafka","records":{{"pcap-0":[{records}]}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn keys_and_values_are_decoded_and_tombstones_have_no_value() {
        let event = event(
            r#"{"topic":"pcap","partition":0,"offset":7,"timestamp":5,"timestampType":"CREATE_TIME","key":null,"value":"e30=","headers":[{"a":[-61,300]}]},
               {"topic":"pcap","partition":0,"offset":3,"timestamp":-1,"key":"Uk5NMA==","value":null},
               {"topic":"pcap","partition":0,"offset":8,"key":""},
               {"topic":"pcap","partition":0,"offset":9,"key":"!","value":"?"}"#,
        );
        let batch = KafkaEvent::read(&event).unwrap();
        let records = &batch.partitions[&("pcap".into(), 0)];
        let mut buffer = Vec::new();
        let read: Vec<_> = records
            .iter()
            .map(|record| {
                let key = record.key(&mut buffer).map(|key| key.map(<[u8]>::to_vec));
                let value = record.value(&mut buffer).map(|value| value.map(<[u8]>::to_vec));
                (record.offset, record.timestamp, key, value)
            })
            .collect();
        assert_eq!(
            read,
            [
                (3, -1, Ok(Some(b"RNM0".to_vec())), Ok(None)),
                (7, 5, Ok(None), Ok(Some(b"{}".to_vec()))),
                (8, -1, Ok(Some(Vec::new())), Ok(None)),
                (9, -1, Err(NotBase64("!")), Err(NotBase64("?")))
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

    /// What the walk answers must be what the parser answers. Returns whether it answered.
    fn walks_as_parsed(event: &str) -> bool {
        let Some(walked) = walked(event) else { return false };
        assert_eq!(walked, serde_json::from_str(event).unwrap(), "{event}");
        true
    }

    /// <https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html>, without its spaces.
    const OF_AWS: &str = r#"{"eventSource":"aws:kafka","eventSourceArn":"arn:aws:kafka:us-east-1:123456789012:cluster/vpc","bootstrapServers":"b-2.example.com:9092,b-1.example.com:9092","records":{"mytopic-0":[{"topic":"mytopic","partition":0,"offset":15,"timestamp":1545084650987,"timestampType":"CREATE_TIME","key":"abcDEFghiJKLmnoPQRstuVWXyz1234==","value":"SGVsbG8=","headers":[{"headerKey":[104,101,-61]}]},{"topic":"mytopic","partition":0,"offset":16,"timestamp":-1,"key":null,"value":null,"headers":[]}],"mytopic-1":[]}}"#;

    #[test]
    fn the_event_that_lambda_writes_is_walked_over() {
        assert!(walks_as_parsed(OF_AWS));
        assert!(walks_as_parsed(r#"{"records":{}}"#));
    }

    #[test]
    fn an_event_of_another_shape_is_left_to_the_parser() {
        for (from, to) in [
            ("\"partition\":0", "\"partition\":2147483648"),
            ("\"partition\":0", "\"partition\":null"),
            ("\"partition\":0", "\"partition\":00"),
            ("\"offset\":15", "\"offset\":15,\"offset\":15"),
            ("\"value\":null", "\"value\":null,\"value\":null"),
            ("\"key\":null", "\"key\":null,\"key\":null"),
            ("\"key\":null", "\"key\":7"),
            ("\"offset\":15", "\"offset\":-0"),
            ("\"mytopic-1\":[]", "\"mytopic-0\":[]"),
            ("}}", "},\"records\":{}}"),
            ("SGVsbG8=", "SGVsbG8\\u003d"),
            ("[]}}", "[]}} "),
        ] {
            let event = OF_AWS.replacen(from, to, 1);
            assert!(event != OF_AWS && walked(&event).is_none(), "{to}");
        }
    }

    /// A field of a record that may be missing, null, a text with or without escapes, or something else.
    fn fields(name: &'static str) -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[A-Za-z0-9+/=]{0,8}".prop_map(move |text| format!("\"{name}\":\"{text}\",")),
            1 => Just(format!("\"{name}\":null,")),
            1 => Just(format!("\"{name}\":\"UmE\\u003d\",")),
            1 => Just(format!("\"{name}\":7,")),
            2 => Just(String::new()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn the_walk_and_the_parser_agree_on_keys_and_values(
            key in fields("key"), again in prop_oneof![9 => Just(String::new()), 1 => fields("key")], value in fields("value"),
        ) {
            let event = format!(r#"{{"records":{{"t-0":[{{{key}{value}{again}"offset":1}}]}}}}"#);
            walks_as_parsed(&event);
        }

        #[test]
        fn the_walk_and_the_parser_agree_on_damaged_events(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4, any::<u8>()), 1..4),
        ) {
            let mut event = OF_AWS.as_bytes().to_vec();
            for (at, to, how, byte) in damage {
                let (at, to) = (at.index(event.len() + 1), to.index(event.len() + 1));
                match how {
                    0 => event.get_mut(at).map_or((), |old| *old ^= 1 << (byte % 8)),
                    1 => event.insert(at, *b"\"\\,:[]{}0\n".get(usize::from(byte % 10)).unwrap()),
                    2 => drop(event.drain(at.min(to)..at.max(to).min(at.min(to) + 60))),
                    _ => {
                        let again = event[at.min(to)..at.max(to)].to_vec();
                        event.splice(at..at, again);
                    }
                }
            }
            if let Ok(event) = String::from_utf8(event) {
                walks_as_parsed(&event);
            }
        }
    }
}
