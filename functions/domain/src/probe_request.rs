//! Probe requests as they stand on the air: IEEE 802.11-2020, 9.3.3.1 (the format of management frames) and 9.3.3.9.

use crate::fingerprint::Fingerprint;
use crate::link_layer::Radio;
use crate::{EventTime, Mac, Probe, Ssid, SsidElement};

/// The first byte of the frame control field: protocol version 0, type 0 (management), subtype 4 (9.2.4.1).
const PROBE_REQUEST: u8 = 0x40;

/// Flags of the frame control field (9.2.4.1.1). In management frames the last says that an HT Control field is there.
const MORE_FRAGMENTS: u8 = 0x04;
const PROTECTED: u8 = 0x40;
const HT_CONTROL: u8 = 0x80;

/// Element identifiers (9.4.2.1).
const SSID: u8 = 0;
const DS_PARAMETER_SET: u8 = 3;

const FCS_LENGTH: usize = 4;

/// Whether the frame is a probe request: the frame control field suffices.
pub(crate) const fn is_probe_request(frame: &[u8]) -> bool {
    matches!(frame, [PROBE_REQUEST, _, ..])
}

/// Reads a probe request. What is cut off, encrypted or in another fragment is absent.
pub(crate) fn read(time: EventTime, radio: &Radio, frame: &[u8], original_length: usize) -> Probe {
    let header = Header::split(frame);
    let missing = original_length.saturating_sub(frame.len());
    let content = header
        .as_ref()
        .and_then(|(header, behind)| header.elements(behind))
        .map(|elements| if radio.has_fcs { without_fcs(elements, missing) } else { elements })
        .map(Content::read)
        .unwrap_or_default();
    let header = header.map(|(header, _)| header);
    Probe {
        time,
        source: header.as_ref().map(|header| header.transmitter),
        receiver: header.as_ref().map(|header| header.receiver),
        bssid: header.as_ref().map(|header| header.bssid),
        ssid: content.ssid,
        signal_dbm: radio.signal_dbm,
        channel: radio.channel.or(content.channel),
        sequence: header.as_ref().map(|header| header.sequence),
        // of a part of the elements it would be another one
        fingerprint: content.fingerprint.finish().filter(|_| missing == 0),
        sensor: None,
    }
}

/// The elements without the FCS behind them. It is the end of what was sent, not of what was captured: of a frame that was cut by
/// more than that nothing is taken away. A frame without room for one has none.
fn without_fcs(elements: &[u8], missing: usize) -> &[u8] {
    let captured_fcs = FCS_LENGTH.saturating_sub(missing);
    elements.len().checked_sub(captured_fcs).and_then(|length| elements.get(..length)).unwrap_or(elements)
}

/// The header of a management frame, 24 bytes.
struct Header {
    flags: u8,
    receiver: Mac,
    transmitter: Mac,
    bssid: Mac,
    sequence: u16,
}

impl Header {
    fn split(frame: &[u8]) -> Option<(Self, &[u8])> {
        let (&[_, flags, _, _], rest) = frame.split_first_chunk::<4>()?;
        let (&receiver, rest) = rest.split_first_chunk::<6>()?;
        let (&transmitter, rest) = rest.split_first_chunk::<6>()?;
        let (&bssid, rest) = rest.split_first_chunk::<6>()?;
        let (&sequence_control, rest) = rest.split_first_chunk::<2>()?;
        let header = Self {
            flags,
            receiver: Mac::new(receiver),
            transmitter: Mac::new(transmitter),
            bssid: Mac::new(bssid),
            // the lower four bits number the fragments
            sequence: u16::from_le_bytes(sequence_control) >> 4,
        };
        Some((header, rest))
    }

    /// The elements, where they can be read: not when they are encrypted, and not when the next fragment goes on with them. A
    /// fragment without its start is read as if it were whole.
    fn elements<'a>(&self, behind: &'a [u8]) -> Option<&'a [u8]> {
        if self.flags & (PROTECTED | MORE_FRAGMENTS) != 0 {
            return None;
        }
        behind.get(if self.flags & HT_CONTROL != 0 { 4 } else { 0 }..)
    }
}

/// What the elements say.
struct Content {
    ssid: SsidElement,
    channel: Option<u16>,
    fingerprint: Fingerprint,
}

impl Default for Content {
    fn default() -> Self {
        Self { ssid: SsidElement::Absent, channel: None, fingerprint: Fingerprint::default() }
    }
}

impl Content {
    /// Reads elements up to the first that runs beyond the frame. Of several SSIDs the first counts, also when it is empty.
    fn read(elements: &[u8]) -> Self {
        let mut content = Self::default();
        let mut has_ssid = false;
        let mut rest = elements;
        while let Some((&[identifier, length], behind)) = rest.split_first_chunk::<2>()
            && let Some((value, behind)) = behind.split_at_checked(length.into())
        {
            rest = behind;
            content.fingerprint.add(identifier, value);
            match (identifier, value) {
                (SSID, _) if !has_ssid => {
                    has_ssid = true;
                    // no more than an element holds, so what is no SSID is empty
                    content.ssid = Ssid::new(value).map_or(SsidElement::Wildcard, SsidElement::Named);
                }
                (DS_PARAMETER_SET, &[channel]) if channel != 0 && content.channel.is_none() => {
                    content.channel = Some(channel.into());
                }
                _ => {}
            }
        }
        content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(flags: u8, fragment: u8, body: &[u8]) -> Probe {
        let mut frame = vec![PROBE_REQUEST, flags, 0, 0];
        frame.extend([1; 6]);
        frame.extend([2; 6]);
        frame.extend([3; 6]);
        frame.extend([0xf0 | fragment, 0xff]);
        frame.extend(body);
        read(0, &Radio::default(), &frame, frame.len())
    }

    fn named(ssid: &[u8]) -> SsidElement {
        SsidElement::Named(Ssid::new(ssid).unwrap())
    }

    #[test]
    fn only_length_0_is_the_wildcard() {
        assert_eq!(probe(0, 0, b"\x00\x00").ssid, SsidElement::Wildcard);
        assert_eq!(probe(0, 0, b"\x00\x04\0\0\0\0").ssid, named(b"\0\0\0\0"));
        assert_eq!(probe(0, 0, b"").ssid, SsidElement::Absent);
        assert_eq!(probe(0, 0, b"\x01\x01\x02").ssid, SsidElement::Absent);
    }

    #[test]
    fn an_ssid_is_kept_whole_up_to_255_bytes() {
        let mut body = vec![SSID, 255];
        body.extend([b'a'; 255]);
        assert_eq!(probe(0, 0, &body).ssid, named(&[b'a'; 255]));
    }

    #[test]
    fn of_several_ssids_the_first_counts_also_when_it_is_empty() {
        assert_eq!(probe(0, 0, b"\x00\x01a\x00\x01b").ssid, named(b"a"));
        assert_eq!(probe(0, 0, b"\x00\x00\x00\x01b").ssid, SsidElement::Wildcard);
    }

    #[test]
    fn an_element_beyond_the_frame_ends_the_reading() {
        assert_eq!(probe(0, 0, b"\x00\x05RNM0").ssid, SsidElement::Absent);
        assert_eq!(probe(0, 0, b"\x00\x04RNM0\x03\x02\x0b").channel, None);
        assert_eq!(probe(0, 0, b"\x00\x04RNM0\x03\x02\x0b").ssid, named(b"RNM0"));
        assert_eq!(probe(0, 0, b"\xdd\xff\x00\x00\x04RNM0").ssid, SsidElement::Absent);
        // of a vendor's element, known to stop other parsers
        assert_eq!(probe(0, 0, b"\x00\x04RNM0\xdd\x08\x00\x50\xf2\x04\x10\x57\x00\x00").ssid, named(b"RNM0"));
    }

    #[test]
    fn an_ht_control_field_is_skipped() {
        assert_eq!(probe(HT_CONTROL, 0, b"\x00\x00\x00\x00\x00\x04RNM0").ssid, named(b"RNM0"));
        assert_eq!(probe(HT_CONTROL, 0, b"\x00\x00").ssid, SsidElement::Absent);
    }

    #[test]
    fn what_is_encrypted_or_goes_on_in_another_fragment_has_no_ssid() {
        let body = b"\x00\x04RNM0";
        assert_eq!(probe(PROTECTED, 0, body).ssid, SsidElement::Absent);
        assert_eq!(probe(PROTECTED, 0, body).fingerprint, None);
        assert_eq!(probe(MORE_FRAGMENTS, 0, body).ssid, SsidElement::Absent);
        assert_eq!(probe(0, 3, body).ssid, named(b"RNM0"));
        assert_eq!(probe(0, 3, body).sequence, Some(4095));
    }

    #[test]
    fn the_transmitter_is_address_2_whatever_the_direction() {
        for flags in 0..=0xff {
            let probe = probe(flags, 0, b"");
            assert_eq!(
                (probe.receiver, probe.source, probe.bssid),
                (Some(Mac::new([1; 6])), Some(Mac::new([2; 6])), Some(Mac::new([3; 6])))
            );
        }
    }

    #[test]
    fn a_frame_shorter_than_its_header_is_a_probe_request_of_nobody() {
        for length in 2..24 {
            let frame = &[&[PROBE_REQUEST][..], &[0; 22]].concat()[..length];
            let probe = read(0, &Radio::default(), frame, frame.len());
            assert_eq!((probe.source, probe.receiver, probe.bssid, probe.sequence), (None, None, None, None));
            assert_eq!((probe.ssid, probe.fingerprint), (SsidElement::Absent, None));
        }
    }

    #[test]
    fn the_channel_is_what_the_radio_says_before_what_the_frame_says() {
        assert_eq!(probe(0, 0, b"\x03\x01\x0b").channel, Some(11));
        assert_eq!(probe(0, 0, b"\x03\x01\x00\x03\x02\x01\x01").channel, None);
        let frame = [&[PROBE_REQUEST][..], &[0; 23], b"\x03\x01\x0b"].concat();
        let radio = Radio { channel: Some(6), ..Radio::default() };
        assert_eq!(read(0, &radio, &frame, frame.len()).channel, Some(6));
    }
}
