//! Prism, the monitor mode header of the first Linux drivers (wlan-ng, hostap, madwifi): <https://www.tcpdump.org/linktypes/LINKTYPE_IEEE802_11_PRISM.html>.
//!
//! 144 bytes whatever its length field says, in the byte order of the machine that captured: a message code and length, a device
//! name, then ten items of identifier, status, length and value.

use crate::link_layer::Radio;

const LENGTH: usize = 144;

/// The two drivers' message codes and their identifiers of the items that are read.
const WLAN_NG: u32 = 0x44;
const MADWIFI: u32 = 0x41;
const CHANNEL: [u32; 2] = [0x0003_0044, 0x0000_3041];
const RSSI: [u32; 2] = [0x0004_0044, 0x0000_4041];

/// Reads the header and finds the frame; `None` when the header is cut. Without a known message code there is no header: some
/// drivers announce Prism and give the bare frame.
pub(crate) fn open(bytes: &[u8]) -> Option<(Radio, &[u8])> {
    let code = *bytes.first_chunk::<4>()?;
    let number: fn([u8; 4]) -> u32 = if matches!(u32::from_be_bytes(code), WLAN_NG | MADWIFI) {
        u32::from_be_bytes
    } else if matches!(u32::from_le_bytes(code), WLAN_NG | MADWIFI) {
        u32::from_le_bytes
    } else {
        return Some((Radio::default(), bytes));
    };
    let (header, frame) = bytes.split_at_checked(LENGTH)?;
    let mut radio = Radio::default();
    for item in header.get(24..)?.as_chunks::<12>().0 {
        let [d0, d1, d2, d3, s0, s1, _, _, value @ ..] = *item;
        let (identifier, value) = (number([d0, d1, d2, d3]), number(value));
        // 0: the driver knows the value
        if [s0, s1] != [0, 0] {
            continue;
        }
        if CHANNEL.contains(&identifier) {
            radio.channel = u16::try_from(value).ok().filter(|channel| *channel != 0);
        } else if RSSI.contains(&identifier) {
            // a signed number of 32 bits that holds one of 8; the item named "signal" has another unit with every driver
            let [signal, ..] = value.to_le_bytes();
            radio.signal_dbm = Some(i8::from_le_bytes([signal]));
        }
    }
    Some((radio, frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(status: u8, signal: i32) -> Vec<u8> {
        let mut header = vec![0; LENGTH];
        header[..4].copy_from_slice(&WLAN_NG.to_le_bytes());
        header[4] = 0xff; // a length that is a lie
        header[60..64].copy_from_slice(&RSSI[0].to_le_bytes());
        header[64] = status;
        header[68..72].copy_from_slice(&signal.to_le_bytes());
        header
    }

    #[test]
    fn the_rssi_counts_where_the_driver_knows_it() {
        assert_eq!(open(&header(0, -75)).unwrap().0.signal_dbm, Some(-75));
        assert_eq!(open(&header(0, 181)).unwrap().0.signal_dbm, Some(-75));
        assert_eq!(open(&header(1, -75)).unwrap().0.signal_dbm, None);
    }

    #[test]
    fn the_header_is_144_bytes_whatever_it_says() {
        let mut bytes = header(0, -75);
        bytes.push(0x40);
        assert_eq!(open(&bytes).unwrap().1, [0x40]);
        assert_eq!(open(&bytes[..143]), None);
        assert_eq!(open(&bytes[..3]), None);
    }
}
