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
