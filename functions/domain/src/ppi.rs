//! PPI, Per-Packet Information, of older capture programs and AirPcap: "PPI Per-Packet Information Header", CACE 2007.
//!
//! Little-endian; a header of 8 bytes with the link type of what follows, then fields of type, length and content.

use crate::link_layer::{Radio, channel_at};

/// The fields are aligned to 4 bytes.
const ALIGNED: u8 = 0x01;

/// Field types.
const COMMON_802_11: u16 = 2;
const MAC_802_11N: u16 = 3;
const MAC_AND_PHY_802_11N: u16 = 4;

/// Of the common field's flags: the frame ends with its FCS, and the FCS check failed.
const HAS_FCS: u8 = 0x01;
const BAD_FCS: u8 = 0x04;

/// Of the 802.11n flags: a part of an A-MPDU.
const IS_AGGREGATE: u8 = 0x10;

/// What stands behind a PPI header.
pub(crate) struct Packet<'a> {
    pub(crate) radio: Radio,
    /// The link type of `bytes`.
    pub(crate) dlt: i32,
    /// Wireshark puts these together again, and probe requests are never sent so.
    pub(crate) is_aggregate: bool,
    pub(crate) bytes: &'a [u8],
}

/// Reads the header; `None` when it or one of its fields was not captured whole.
pub(crate) fn open(bytes: &[u8]) -> Option<Packet<'_>> {
    let (&[_version, flags, low, high, dlt @ ..], mut rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let mut radio = Radio::default();
    let mut is_aggregate = false;
    // The last field decides where the header ends, also where the header's length says otherwise.
    while bytes.len() - rest.len() < length {
        let (&[type_low, type_high, low, high], behind) = rest.split_first_chunk::<4>()?;
        let (content, behind) = behind.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
        match (u16::from_le_bytes([type_low, type_high]), content) {
            (COMMON_802_11, content) => read_common(content, &mut radio),
            (MAC_802_11N, [flags, ..]) if content.len() == 12 => is_aggregate |= flags & IS_AGGREGATE != 0,
            (MAC_AND_PHY_802_11N, [flags, ..]) if content.len() == 48 => {
                is_aggregate |= flags & IS_AGGREGATE != 0;
            }
            _ => {}
        }
        rest = behind;
        if flags & ALIGNED != 0 {
            let position = bytes.len() - rest.len();
            rest = rest.get(position.next_multiple_of(4) - position..)?;
        }
    }
    Some(Packet { radio, dlt: i32::from_le_bytes(dlt), is_aggregate, bytes: rest })
}

/// The 802.11-Common field: TSF timer (8 bytes), flags (2), rate (2), frequency in MHz (2), channel flags (2), FHSS (2), signal
/// and noise in dBm. Drivers that do not know the signal write 0 or -128.
fn read_common(content: &[u8], radio: &mut Radio) {
    let &[_, _, _, _, _, _, _, _, flags, _, _, _, low, high, _, _, _, _, signal, _] = content else { return };
    radio.has_fcs = flags & HAS_FCS != 0;
    radio.is_bad = flags & BAD_FCS != 0;
    radio.channel = channel_at(u16::from_le_bytes([low, high]).into()).or(radio.channel);
    if !matches!(signal, 0 | 0x80) {
        radio.signal_dbm = Some(i8::from_le_bytes([signal]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(flags: u8, signal: u8) -> Vec<u8> {
        vec![2, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, flags, 0, 0, 0, 0x3c, 0x14, 0, 0, 0, 0, signal, 0]
    }

    fn packet(flags: u8, length: usize, fields: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, flags];
        bytes.extend(u16::try_from(length).unwrap().to_le_bytes());
        bytes.extend(105_u32.to_le_bytes());
        bytes.extend(fields);
        bytes
    }

    #[test]
    fn drivers_that_do_not_know_the_signal_write_0_or_minus_128() {
        for (signals, expected) in [
            (&[0xb5][..], Some(-75)),
            (&[0], None),
            (&[0x80], None),
            (&[0xb5, 0xb6], Some(-74)),
            (&[0xb5, 0], Some(-75)),
        ] {
            let fields: Vec<u8> = signals.iter().flat_map(|signal| common(1, *signal)).collect();
            let bytes = packet(0, 8 + fields.len(), &fields);
            let packet = open(&bytes).unwrap();
            assert_eq!(packet.radio.signal_dbm, expected, "{signals:?}");
            assert_eq!((packet.radio.channel, packet.radio.has_fcs), (Some(36), true));
        }
    }

    #[test]
    fn the_last_field_says_where_the_frame_begins() {
        let mut fields = common(0, 0xb5);
        fields.extend([0x40, 0]);
        // the header's length ends within the field, or before it begins
        for (length, rest) in [(9, 2), (32, 2), (8, 26), (0, 26)] {
            assert_eq!(open(&packet(0, length, &fields)).unwrap().bytes.len(), rest, "{length}");
        }
        // beyond what was captured
        assert!(open(&packet(0, 40, &fields)).is_none());
    }

    #[test]
    fn fields_may_be_aligned_to_4_bytes() {
        let mut fields = vec![9, 0, 1, 0, 0xff, 0, 0, 0];
        fields.extend(common(0, 0xb5));
        fields.push(0x40);
        let bytes = packet(ALIGNED, 40, &fields);
        let packet = open(&bytes).unwrap();
        assert_eq!((packet.radio.signal_dbm, packet.bytes), (Some(-75), &[0x40][..]));
    }

    #[test]
    fn a_part_of_an_aggregate_is_told() {
        let mut fields = vec![3, 0, 12, 0];
        fields.extend([0; 12]);
        assert!(!open(&packet(0, 24, &fields)).unwrap().is_aggregate);
        fields[4] = IS_AGGREGATE;
        assert!(open(&packet(0, 24, &fields)).unwrap().is_aggregate);
    }
}
