//! Topic `sensors`: what sensors say of themselves.

use domain::heartbeat;
use runtime::kafka_event::Record;
use state::sensors::Told;

/// Reads what a record says of a sensor.
pub(crate) fn decode(record: &Record<'_>, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Told, String> {
    let (sensor, heartbeat) = heartbeat::decode(key, value).map_err(|why| why.to_string())?;
    Ok(Told { offset: record.offset, timestamp: record.timestamp, sensor, heartbeat })
}
