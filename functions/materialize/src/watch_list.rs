//! Topic `ssid_alert_list`: which networks are watched.

use domain::list_record::{self, ListEntry};
use runtime::kafka_event::Record;
use state::watches::{ListRecord, Listed};

/// Reads what a record says of a network.
pub(crate) fn decode(
    record: &Record<'_>,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<ListRecord, String> {
    let ListEntry { ssid, listed } = list_record::decode(key, value).map_err(|why| why.to_string())?;
    let listed = listed.map(|listed| Listed { reason: listed.reason, cooldown_ms: listed.cooldown_ms });
    Ok(ListRecord { offset: record.offset, timestamp: record.timestamp, ssid, listed })
}
