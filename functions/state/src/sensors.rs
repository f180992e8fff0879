//! What sensors say of themselves: topic `sensors` as a table.
//!
//! The latest record of a key holds, one without a value says that the sensor is no more. An item belongs to one sensor and one source
//! and is guarded by its offset as any other: a sensor's clock may be set back, its offsets are not. Of several sources (a spool that
//! was replaced, a topic that was made again) what came last holds. The end of a sensor stays as a tombstone for two weeks, so that an
//! older heartbeat, delivered late or lying in another partition, cannot bring it back.
//!
//! A sensor that nobody ends is given up by the watchdog when it was silent for as long, and forgotten after as long again.

use std::collections::{BTreeMap, BTreeSet};

use domain::heartbeat::{self, Heartbeat};
use domain::{EventTime, watchdog};

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::key::{self, Key};
use crate::merge::{self, Change, Effort, SEEN};
use crate::{Source, Table};

/// What a record of topic `sensors` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp, in milliseconds since 1970.
    pub timestamp: i64,
    /// Of which sensor.
    pub sensor: String,
    /// What the sensor says; `None` when it is no more.
    pub heartbeat: Option<Heartbeat>,
}

/// A sensor by its latest heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sensor {
    /// What it said last; its name is in it.
    pub heartbeat: Heartbeat,
    /// When that came into Kafka or the spool, in milliseconds since 1970.
    pub heard_ms: EventTime,
}

/// All sensors that are not given up, by their names, as of now. What cannot be read is left out, and the log says so: it must not
/// hold up the others.
///
/// # Errors
/// When the table does not answer.
pub async fn all(table: &Table, now_ms: i64) -> Result<Vec<Sensor>, Error> {
    with_given_up(table, now_ms).await.map(|(sensors, _given_up)| sensors)
}

/// As [`all`], and the names of those that are given up and were not ended.
///
/// # Errors
/// When the table does not answer.
pub async fn with_given_up(table: &Table, now_ms: i64) -> Result<(Vec<Sensor>, BTreeSet<String>), Error> {
    let mut latest: BTreeMap<String, (EventTime, Option<Heartbeat>)> = BTreeMap::new();
    for item in table.query(key::SENSORS, " ").await? {
        match read(&item) {
            Ok((sensor, heard_ms, heartbeat)) => {
                let known = latest.entry(sensor).or_insert((heard_ms, None));
                if heard_ms >= known.0 {
                    *known = (heard_ms, heartbeat);
                }
            }
            Err(error) => tracing::error!(%error, "what a sensor said cannot be read"),
        }
    }
    let (mut sensors, mut given_up) = (Vec::new(), BTreeSet::new());
    for (name, (heard_ms, heartbeat)) in latest {
        match heartbeat {
            None => {}
            Some(heartbeat) if now_ms.saturating_sub(heard_ms) < watchdog::GIVEN_UP_MS => {
                sensors.push(Sensor { heartbeat, heard_ms });
            }
            Some(_) => {
                given_up.insert(name);
            }
        }
    }
    Ok((sensors, given_up))
}

fn read(item: &Attributes) -> Result<(String, EventTime, Option<Heartbeat>), Error> {
    let sensor = key::sensor_of(item.text("sk")?).ok_or_else(|| item.unreadable("sk"))?;
    let heard_ms = item.number("heard")?;
    let Some(text) = item.optional_text("heartbeat") else { return Ok((sensor, heard_ms, None)) };
    let read = heartbeat::decode(Some(sensor.as_bytes()), Some(text.as_bytes()));
    let (sensor, heartbeat) = read.map_err(|_no_heartbeat| item.unreadable("heartbeat"))?;
    Ok((sensor, heard_ms, heartbeat))
}

/// Brings the sensors up to date with records of the topic from one source.
///
/// # Errors
/// When the table does not answer: the batch has to be delivered again.
pub async fn absorb(table: &Table, source: &Source, records: &[Told], now_ms: i64) -> Result<Effort, Error> {
    // by offset: the last of a sensor is all that counts
    let mut last: BTreeMap<&str, &Told> = BTreeMap::new();
    for record in records {
        let known = last.entry(&record.sensor).or_insert(record);
        if record.offset > known.offset {
            *known = record;
        }
    }
    let changes: Vec<SensorChange<'_>> = last
        .into_iter()
        .map(|(sensor, last)| SensorChange { key: key::sensor(sensor, source), last, now_ms })
        .collect();
    merge::apply(table, &changes).await
}

/// The last record of a sensor from one source.
struct SensorChange<'a> {
    key: Key,
    last: &'a Told,
    now_ms: i64,
}

impl Change for SensorChange<'_> {
    fn key(&self) -> &Key {
        &self.key
    }

    fn fold(
        &self,
        old: Option<&Attributes>,
        _forgotten_before: EventTime,
    ) -> Result<Option<Attributes>, Error> {
        if self.last.offset <= merge::seen(old)? {
            return Ok(None);
        }
        let mut item = item::with_key(&self.key);
        item.put(SEEN, item::number(self.last.offset));
        // Nobody is heard in the future: what a clock that is ahead says would hide all silence until then.
        let heard_ms = self.last.timestamp.min(self.now_ms);
        item.put("heard", item::number(heard_ms));
        match &self.last.heartbeat {
            Some(heartbeat) => {
                let text = String::from_utf8(heartbeat::encode(heartbeat)).unwrap_or_default(); // JSON is UTF-8
                item.put("heartbeat", item::text(text));
                item.put_expiry(Some(heard_ms.saturating_add(2 * watchdog::GIVEN_UP_MS)));
            }
            None => item.put_expiry(Some(self.now_ms.saturating_add(watchdog::GIVEN_UP_MS))),
        }
        Ok(Some(item))
    }
}
