//! Classic pcap: one header, one link type, then records of 16 bytes and a frame
//! (<https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/>).

use std::io::Read;

use domain::EventTime;
use domain::link_layer::{Captured, LinkType};
use pcap_parser::nom::{Err, Needed};
use pcap_parser::{parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified, parse_pcap_header};

use super::{Frames, MAX_FRAME, ReadError, Window};

const HEADER_LENGTH: usize = 24;
/// A record's header at its longest, that of the modified format.
const RECORD_HEADER_LENGTH: usize = 24;

/// The link type; the bits above say how long an FCS is, which Wireshark does not follow either.
const LINK_TYPE: i32 = 0x03ff_ffff;

/// Reads the file that begins in the window.
pub(super) fn read<E, R: Read, F>(window: &mut Window<R>, frames: &mut Frames<F>) -> Result<(), ReadError<E>>
where
    F: FnMut(u64, Captured<'_>) -> Result<(), E>,
{
    window.fill(HEADER_LENGTH)?;
    let header = match parse_pcap_header(window.data()) {
        Ok((_, header)) => header,
        // the magic number is right, and then the file ends
        Result::Err(Err::Incomplete(_)) if window.data().len() >= 4 => return Result::Err(frames.cut()),
        Result::Err(_) => return Result::Err(ReadError::NotACapture),
    };
    window.consume(HEADER_LENGTH);
    let link_type = header.network.0 & LINK_TYPE;
    let link_type = LinkType::from_dlt(link_type).ok_or(ReadError::NotIeee80211 { link_type })?;
    let parse = match (header.is_modified_format(), header.is_bigendian()) {
        (true, _) => parse_pcap_frame_modified,
        (false, true) => parse_pcap_frame_be,
        (false, false) => parse_pcap_frame,
    };
    let fractions_in_a_millisecond = if header.is_nanosecond_precision() { 1_000_000 } else { 1_000 };
    loop {
        let data = window.data();
        match parse(data) {
            Ok((rest, record)) if record.data.len() <= MAX_FRAME => {
                // Unsigned seconds reach until 2106. A fraction of more than a second is taken as it stands.
                let time = EventTime::from(record.ts_sec) * 1_000
                    + EventTime::from(record.ts_usec / fractions_in_a_millisecond);
                frames.next(Some(link_type), time, record.data, record.origlen)?;
                let length = data.len() - rest.len();
                window.consume(length);
            }
            Result::Err(Err::Incomplete(Needed::Size(missing)))
                if data.len() + missing.get() <= RECORD_HEADER_LENGTH + MAX_FRAME =>
            {
                let wanted = data.len() + missing.get();
                if !window.fill(wanted)? {
                    return if window.data().is_empty() { Ok(()) } else { Result::Err(frames.cut()) };
                }
            }
            Ok(_) | Result::Err(_) => return Result::Err(frames.damaged("its length cannot be")),
        }
    }
}
