//! AVS, the monitor mode header of older Linux drivers (wlan-ng, madwifi): "AVS Wireless LAN Monitor Mode Header", version 2.1.
//!
//! Big-endian, 64 bytes in version 1 and 80 in version 2, and it says itself how long it is.

use crate::link_layer::{Radio, channel_at};

/// The magic number without the version in its last three digits.
const COOKIE: u32 = 0x8021_1000;

/// The unit of the signal: dBm.
const DBM: u32 = 2;

/// Whether an AVS header stands here: some drivers put it where the link type promises Prism.
pub(crate) fn is_avs(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|magic| u32::from_be_bytes(*magic) & 0xffff_f000 == COOKIE)
}

/// Reads the header and finds the frame; `None` when they cannot be there. The magic number is not asked for beyond its version.
pub(crate) fn open(bytes: &[u8]) -> Option<(Radio, &[u8])> {
    let header: &[u8; 64] = bytes.first_chunk()?;
    let (_, frame) = bytes.split_at_checked(usize::try_from(word(header, 4)?).ok()?)?;
    let version = word(header, 0)?.wrapping_sub(COOKIE);
    let mut radio = Radio::default();
    if matches!(version, 1 | 2) {
        radio.channel = match word(header, 28)? {
            0 => None,
            channel @ 1..=255 => u16::try_from(channel).ok(),
            mhz @ 256..10_000 => channel_at(mhz),
            khz => channel_at(khz / 1000),
        };
        if word(header, 44)? == DBM {
            // a signed number of 32 bits that holds one of 8
            let [.., signal] = word(header, 48)?.to_be_bytes();
            radio.signal_dbm = Some(i8::from_be_bytes([signal]));
        }
    }
    Some((radio, frame))
}

fn word(header: &[u8], position: usize) -> Option<u32> {
    header.get(position..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u32, length: u32, channel: u32, unit: u32, signal: i32) -> Vec<u8> {
        let mut words = [0; 20];
        (words[0], words[1], words[7], words[11], words[12]) =
            (COOKIE | version, length, channel, unit, signal.cast_unsigned());
        words.into_iter().flat_map(u32::to_be_bytes).collect()
    }

    #[test]
    fn only_dbm_of_a_known_version_is_a_signal() {
        for (version, unit, expected) in
            [(1, DBM, Some(-75)), (2, DBM, Some(-75)), (3, DBM, None), (1, 1, None), (1, 3, None)]
        {
            let bytes = header(version, 64, 6, unit, -75);
            assert_eq!(open(&bytes).unwrap().0.signal_dbm, expected, "version {version}, unit {unit}");
        }
    }

    #[test]
    fn the_header_says_how_long_it_is() {
        assert_eq!(open(&header(2, 80, 6, DBM, 0)).unwrap().1.len(), 0);
        assert_eq!(open(&header(1, 64, 6, DBM, 0)).unwrap().1.len(), 16);
        assert_eq!(open(&header(2, 81, 6, DBM, 0)), None);
        assert_eq!(open(&header(2, u32::MAX, 6, DBM, 0)), None);
    }

    #[test]
    fn the_channel_is_a_number_or_a_frequency_in_mhz_or_khz() {
        for (value, channel) in
            [(0, None), (11, Some(11)), (2462, Some(11)), (5_180_000, Some(36)), (u32::MAX, None)]
        {
            assert_eq!(open(&header(1, 64, value, DBM, 0)).unwrap().0.channel, channel, "{value}");
        }
    }
}
