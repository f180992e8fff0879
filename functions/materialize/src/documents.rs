//! Topics `unifi.ace.user` and `unifi.ace.device`: what devices are called.

use domain::document_record;
use runtime::kafka_event::Record;
use state::documents::Told;

/// Reads what a record says of a document.
pub(crate) fn decode(record: &Record<'_>, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Told, String> {
    let said = document_record::decode(key, value).map_err(|why| why.to_string())?;
    Ok(Told { offset: record.offset, timestamp: record.timestamp, record: said })
}
