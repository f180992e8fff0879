//! A heartbeat: what a sensor says of itself every 30 seconds in topic `sensors`, whose key is the sensor's name.
//!
//! The topic is compacted: the latest heartbeat of a sensor is all that counts, and one without a value says that the sensor is
//! no more. A heartbeat is small, is read tolerantly (a field that is missing has its default, one that is unknown is passed over), and
//! what it says in words is cut to a length that a chat bears.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::EventTime;

/// How often an agent sends one, in seconds.
pub const EVERY_S: u64 = 30;
/// More of anything is not kept of a heartbeat.
const MOST: usize = 32;
/// What is said in words has at most so many characters.
const LONGEST: usize = 500;
/// The kind of a trouble, a name or a version at most so many.
const LONGEST_NAME: usize = 80;

/// What a sensor says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// The sensor's name, as in its records.
    pub sensor: String,
    /// When it was made by the sensor's clock, in milliseconds since 1970; wrong while that is not set.
    pub time: EventTime,
    /// The version of the agent.
    pub version: String,
    /// For how many seconds the agent has run, by a clock that nobody sets.
    pub uptime_s: u64,
    /// Whether it is the last: the agent was told to stop.
    pub is_last: bool,
    /// Whether the sensor's clock can be believed.
    pub clock: Clock,
    /// Frames that are held until it can, in memory.
    pub held: u64,
    /// Each interface that it listens by.
    pub interfaces: Vec<Interface>,
    /// Probe requests of new random addresses that were dropped in a flood of them, since the start.
    pub flooded: u64,
    /// What waits to be sent.
    pub spool: Spool,
    /// The highest offset that Kafka has acknowledged, by partition of topic `pcap`, since the start.
    pub delivered: BTreeMap<i32, i64>,
    /// What is wrong now.
    pub troubles: Vec<Trouble>,
}

/// Whether a sensor's clock can be believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The kernel says that it is synchronised.
    Synchronized,
    /// It is not: frames are held until it is.
    Unsynchronized,
    /// It is not known to be, and is believed by setting.
    #[default]
    Trusted,
}

/// An interface that a sensor listens by. All counts are since the agent's start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether frames are taken from it now.
    pub is_listening: bool,
    /// The channels that it is tuned to in turn; empty when the agent does not tune it.
    pub channels: Vec<u16>,
    /// How long it stays on each, in milliseconds.
    pub dwell_ms: u64,
    /// Frames that the card gave, of all kinds.
    pub frames: u64,
    /// Seconds since the last of these.
    pub silent_s: u64,
    /// Probe requests that were heard, undamaged.
    pub probe_requests: u64,
    /// Probe requests whose frame check sequence is wrong.
    pub bad_fcs: u64,
    /// Frames behind a header that cannot be read.
    pub bad_header: u64,
    /// Frames that the kernel dropped because the agent was too slow.
    pub dropped_by_kernel: u64,
    /// Frames that the interface dropped.
    pub dropped_by_interface: u64,
    /// How often it was taken up again.
    pub recovered: u64,
}

/// What waits in a sensor's spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spool {
    /// Records that Kafka has not acknowledged; 0 without a Kafka.
    pub waiting: u64,
    /// How long the oldest of them has waited, in seconds.
    pub oldest_s: u64,
    /// The size of the spool on the disk, in bytes.
    pub bytes: u64,
    /// Records that were dropped by the spool's bounds, or because the disk could not be written, since the start.
    pub dropped: u64,
}

/// Something that is wrong at a sensor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// What kind of, in one word that stays the same while it lasts: `interface:wlan1`, `clock`, `disk`, `flood`, `kafka`.
    pub kind: String,
    /// In words: what is wrong, and what to do.
    pub reason: String,
}

/// Why a record of topic `sensors` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatError {
    /// It has no key that names a sensor.
    #[error("its key does not name a sensor: a name of 1 to 255 bytes of UTF-8")]
    NoSensor,
    /// Its value is no heartbeat.
    #[error("its value is no heartbeat: {0}")]
    NotAHeartbeat(String),
}

/// What a record of topic `sensors` says: of which sensor, and its heartbeat; `None` when the sensor is no more.
pub type Said = (String, Option<Heartbeat>);

/// Reads a record. The key is what names the sensor.
///
/// # Errors
/// [`HeartbeatError`].
pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Said, HeartbeatError> {
    let name = key.and_then(|key| std::str::from_utf8(key).ok());
    let sensor = name.filter(|name| (1..=255).contains(&name.len())).ok_or(HeartbeatError::NoSensor)?;
    let Some(value) = value else { return Ok((sensor.to_owned(), None)) };
    let mut heartbeat: Heartbeat =
        serde_json::from_slice(value).map_err(|error| HeartbeatError::NotAHeartbeat(error.to_string()))?;
    sensor.clone_into(&mut heartbeat.sensor);
    heartbeat.cut();
    Ok((sensor.to_owned(), Some(heartbeat)))
}

/// The value of a record.
#[must_use]
pub fn encode(heartbeat: &Heartbeat) -> Vec<u8> {
    let mut heartbeat = heartbeat.clone();
    heartbeat.cut();
    serde_json::to_vec(&heartbeat).unwrap_or_default() // numbers, texts and maps of these: it cannot fail
}

impl Heartbeat {
    /// Cuts what is longer than anybody needs.
    fn cut(&mut self) {
        shorten(&mut self.version, LONGEST_NAME);
        self.interfaces.truncate(MOST);
        for interface in &mut self.interfaces {
            shorten(&mut interface.name, LONGEST_NAME);
            interface.channels.truncate(256); // 1 to 255
        }
        while self.delivered.len() > 1_024 {
            self.delivered.pop_last();
        }
        self.troubles.truncate(MOST);
        for trouble in &mut self.troubles {
            shorten(&mut trouble.kind, LONGEST_NAME);
            shorten(&mut trouble.reason, LONGEST);
        }
    }
}

fn shorten(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_comes_back_as_it_was_sent() {
        let heartbeat = Heartbeat {
            sensor: "hallway".to_owned(),
            time: 1_795_560_000_000,
            version: "0.1.0".to_owned(),
            clock: Clock::Synchronized,
            interfaces: vec![Interface {
                name: "wlan1".to_owned(),
                is_listening: true,
                channels: vec![1, 6, 11],
                dwell_ms: 250,
                frames: 1_000,
                probe_requests: 10,
                ..Interface::default()
            }],
            delivered: BTreeMap::from([(0, 12), (2, 7)]),
            troubles: vec![Trouble { kind: "clock".to_owned(), reason: "set it".to_owned() }],
            ..Heartbeat::default()
        };
        let value = encode(&heartbeat);
        assert_eq!(decode(Some(b"hallway"), Some(&value)), Ok(("hallway".to_owned(), Some(heartbeat))));
    }

    #[test]
    fn what_is_missing_has_its_default_and_what_is_unknown_is_passed_over() {
        let (sensor, said) = decode(Some(b"attic"), Some(br#"{"sensor":"cellar","mood":"fine"}"#)).unwrap();
        let expected = Heartbeat { sensor: "attic".to_owned(), ..Heartbeat::default() };
        assert_eq!((sensor.as_str(), said), ("attic", Some(expected)), "the key names the sensor");
        assert_eq!(decode(Some(b"attic"), None), Ok(("attic".to_owned(), None)));
    }

    #[test]
    fn a_record_that_is_no_heartbeat_is_told_why() {
        for key in [None, Some(&b""[..]), Some(b"\xff"), Some(&[b'a'; 256])] {
            assert_eq!(decode(key, Some(b"{}")), Err(HeartbeatError::NoSensor));
        }
        for value in ["", "null", "7", "[", r#"{"time":"noon"}"#] {
            let error = decode(Some(b"attic"), Some(value.as_bytes())).unwrap_err();
            assert!(matches!(error, HeartbeatError::NotAHeartbeat(_)), "{value}: {error}");
        }
    }

    #[test]
    fn a_heartbeat_of_any_length_is_cut() {
        let trouble = Trouble { kind: "é".repeat(1_000), reason: "☕".repeat(100_000) };
        let huge = Heartbeat { troubles: vec![trouble; 1_000], ..Heartbeat::default() };
        let value = serde_json::to_vec(&huge).unwrap();
        let (_, read) = decode(Some(b"attic"), Some(&value)).unwrap();
        let value = encode(&read.unwrap());
        assert!(value.len() < 64 << 10, "{} bytes", value.len());
    }
}
