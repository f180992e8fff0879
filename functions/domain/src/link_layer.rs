//! What a capture holds in front of an 802.11 frame, and the way through it to a [`Probe`].
//!
//! Every one of these bytes comes from the air or from a file of unknown origin. Nothing here panics, allocates (but the SSID)
//! or reads beyond what was captured; the rules agree with Wireshark's, which were measured on real and damaged captures.

use crate::probe_request::{self, is_probe_request};
use crate::{EventTime, Probe, avs, ppi, prism, radiotap};

/// What the bytes of a captured frame begin with: the link types of <https://www.tcpdump.org/linktypes.html> that hold 802.11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// 105: the 802.11 frame itself.
    Ieee80211,
    /// 119: a Prism monitor mode header; some drivers put an AVS header or none there.
    Prism,
    /// 127: a radiotap header.
    Radiotap,
    /// 163: an AVS monitor mode header.
    Avs,
    /// 192: a Per-Packet Information header.
    Ppi,
}

impl LinkType {
    /// The link type of this number, as libpcap and capture files give it; `None` when it holds no 802.11.
    #[must_use]
    pub const fn from_dlt(dlt: i32) -> Option<Self> {
        match dlt {
            105 => Some(Self::Ieee80211),
            119 => Some(Self::Prism),
            127 => Some(Self::Radiotap),
            163 => Some(Self::Avs),
            192 => Some(Self::Ppi),
            _ => None,
        }
    }
}

/// What a wrong frame check sequence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FcsPolicy {
    /// The frame was damaged on the air: it is rejected.
    Verify,
    /// Nothing: in an anonymised capture the addresses were changed and the FCS was not.
    Ignore,
}

/// A frame as it was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captured<'a> {
    /// When it was heard.
    pub time: EventTime,
    /// What `bytes` begins with.
    pub link_type: LinkType,
    /// What was captured, from the first byte of the capture's header.
    pub bytes: &'a [u8],
    /// How many bytes the frame had, header included, before the capture cut it.
    pub original_length: usize,
}

/// Why a captured frame gives no [`Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejected {
    /// Another frame than a probe request, or one that holds no 802.11.
    #[error("not a probe request")]
    NotAProbeRequest,
    /// A probe request that was damaged on the air.
    #[error("the frame check sequence is wrong")]
    BadFcs,
    /// The header in front of the 802.11 frame is cut or contradicts itself.
    #[error("the capture's header in front of the frame is damaged")]
    BadHeader,
}

/// Reads a captured frame. The sensor is left `None`.
///
/// # Errors
/// [`Rejected`] when it is no probe request, or a damaged one.
pub fn decode(captured: &Captured<'_>, fcs: FcsPolicy) -> Result<Probe, Rejected> {
    let (radio, frame) = open(captured.link_type, captured.bytes)?;
    if !is_probe_request(frame) {
        return Err(Rejected::NotAProbeRequest);
    }
    let header_length = captured.bytes.len() - frame.len();
    // some writers give an original length below what they captured
    let original_length = captured.original_length.saturating_sub(header_length).max(frame.len());
    if fcs == FcsPolicy::Verify && !is_undamaged(&radio, frame, original_length) {
        return Err(Rejected::BadFcs);
    }
    Ok(probe_request::read(captured.time, &radio, frame, original_length))
}

/// What a capture's header says about the reception of the frame behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Radio {
    /// Strength at the antenna in dBm.
    pub(crate) signal_dbm: Option<i8>,
    /// IEEE channel number to which the radio was tuned.
    pub(crate) channel: Option<u16>,
    /// The frame ends with its frame check sequence.
    pub(crate) has_fcs: bool,
    /// The radio saw that the frame check sequence is wrong.
    pub(crate) is_bad: bool,
}

/// Finds the 802.11 frame behind the capture's header, or headers: PPI may hold another one.
fn open(mut link_type: LinkType, mut bytes: &[u8]) -> Result<(Radio, &[u8]), Rejected> {
    let mut outer = Radio::default();
    // every round takes at least 8 bytes away
    loop {
        match link_type {
            LinkType::Ieee80211 => return Ok((outer, bytes)),
            LinkType::Radiotap => {
                let (header, frame) = radiotap::split(bytes).ok_or(Rejected::BadHeader)?;
                // nearly all frames on the air end here, before the fields are read
                if !is_probe_request(frame) {
                    return Err(Rejected::NotAProbeRequest);
                }
                return Ok((radiotap::read(header).ok_or(Rejected::NotAProbeRequest)?, frame));
            }
            LinkType::Avs => return avs::open(bytes).ok_or(Rejected::BadHeader),
            LinkType::Prism if avs::is_avs(bytes) => link_type = LinkType::Avs,
            LinkType::Prism => return prism::open(bytes).ok_or(Rejected::BadHeader),
            LinkType::Ppi => {
                let packet = ppi::open(bytes).ok_or(Rejected::BadHeader)?;
                let inner = LinkType::from_dlt(packet.dlt).filter(|_| !packet.is_aggregate);
                link_type = inner.ok_or(Rejected::NotAProbeRequest)?;
                (outer, bytes) = (packet.radio, packet.bytes);
            }
        }
    }
}

/// Whether the frame is as it was sent: by its FCS (IEEE 802.11-2020, 9.2.4.8) where there is one and all of the frame, else by
/// what the radio says.
fn is_undamaged(radio: &Radio, frame: &[u8], original_length: usize) -> bool {
    match frame.split_last_chunk::<4>() {
        Some((sent, fcs)) if radio.has_fcs && frame.len() == original_length => {
            crc32fast::hash(sent) == u32::from_le_bytes(*fcs)
        }
        _ => !radio.is_bad,
    }
}

/// The channel whose centre is at this frequency in MHz: IEEE 802.11-2020, 15.4.4.3 (2.4 GHz), 17.3.8.4.2 (5 GHz, and 4.9 GHz from
/// 4000 MHz on) and IEEE 802.11ax-2021, 27.3.23.2 (6 GHz).
#[must_use]
pub const fn channel_at(mhz: u32) -> Option<u16> {
    let channel = match mhz {
        2412..=2472 if (mhz - 2407).is_multiple_of(5) => (mhz - 2407) / 5,
        2484 => 14,
        4910..=4980 if mhz.is_multiple_of(5) => (mhz - 4000) / 5,
        5005..=5895 if mhz.is_multiple_of(5) => (mhz - 5000) / 5,
        5935 => 2,
        5955..=7115 if mhz.is_multiple_of(5) => (mhz - 5950) / 5,
        _ => return None,
    };
    #[expect(clippy::cast_possible_truncation)] // at most 233
    Some(channel as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Mac, Ssid, SsidElement};

    const PHONE: [u8; 6] = [0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15];

    /// A probe request for "RNM0" on channel 11 with sequence number 1234.
    fn frame() -> Vec<u8> {
        let mut frame = vec![0x40, 0, 0, 0];
        frame.extend([0xff; 6]);
        frame.extend(PHONE);
        frame.extend([0xff; 6]);
        frame.extend((1234_u16 << 4).to_le_bytes());
        frame.extend(b"\x00\x04RNM0\x01\x04\x02\x04\x0b\x16\x03\x01\x0b");
        frame
    }

    fn with_fcs(mut frame: Vec<u8>) -> Vec<u8> {
        let fcs = crc32fast::hash(&frame);
        frame.extend(fcs.to_le_bytes());
        frame
    }

    /// Flags, channel 6 (2437 MHz) and -75 dBm.
    fn radiotap(flags: u8, frame: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 15, 0, 0b10_1010, 0, 0, 0, flags, 0, 0x85, 0x09, 0xa0, 0, 0xb5];
        bytes.extend(frame);
        bytes
    }

    fn ppi(dlt: u32, flags: u8, frame: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 32, 0];
        bytes.extend(dlt.to_le_bytes());
        bytes.extend([2, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, flags, 0, 0, 0, 0x85, 0x09, 0, 0, 0, 0, 0xb5, 0]);
        bytes.extend(frame);
        bytes
    }

    fn avs(frame: &[u8]) -> Vec<u8> {
        let mut words = [0_u32; 16];
        (words[0], words[1], words[7], words[11], words[12]) =
            (0x8021_1001, 64, 6, 2, (-75_i32).cast_unsigned());
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
        bytes.extend(frame);
        bytes
    }

    fn prism(number: fn(u32) -> [u8; 4], code: u32, frame: &[u8]) -> Vec<u8> {
        let mut bytes = [number(code), number(144), [b'w'; 4], [0; 4], [0; 4], [0; 4]].concat();
        let identifier = |item: u32| if code == 0x44 { item << 16 | 0x44 } else { item << 12 | 0x41 };
        for item in 1..=10 {
            let value = match item {
                3 => 6,
                4 => (-75_i32).cast_unsigned(),
                _ => 7,
            };
            bytes.extend([number(identifier(item)), [0; 4], number(value)].concat());
        }
        bytes.extend(frame);
        bytes
    }

    fn read(link_type: LinkType, bytes: &[u8]) -> Result<Probe, Rejected> {
        let captured = Captured { time: 1_584_802_202_655, link_type, bytes, original_length: bytes.len() };
        decode(&captured, FcsPolicy::Verify)
    }

    #[test]
    fn a_probe_request_reads_alike_behind_every_header() {
        let expected = Probe {
            time: 1_584_802_202_655,
            source: Some(Mac::new(PHONE)),
            receiver: Some(Mac::new([0xff; 6])),
            bssid: Some(Mac::new([0xff; 6])),
            ssid: SsidElement::Named(Ssid::new(*b"RNM0").unwrap()),
            signal_dbm: Some(-75),
            channel: Some(6),
            sequence: Some(1234),
            fingerprint: read(LinkType::Ieee80211, &frame()).unwrap().fingerprint,
            sensor: None,
        };
        for (name, link_type, bytes) in [
            ("radiotap", LinkType::Radiotap, radiotap(0, &frame())),
            ("radiotap with FCS", LinkType::Radiotap, radiotap(0x10, &with_fcs(frame()))),
            ("PPI", LinkType::Ppi, ppi(105, 0, &frame())),
            ("PPI with FCS", LinkType::Ppi, ppi(105, 1, &with_fcs(frame()))),
            ("PPI in PPI", LinkType::Ppi, ppi(192, 0, &ppi(105, 0, &frame()))),
            ("radiotap in PPI", LinkType::Ppi, ppi(127, 1, &radiotap(0, &frame()))),
            ("AVS", LinkType::Avs, avs(&frame())),
            ("AVS where Prism is promised", LinkType::Prism, avs(&frame())),
            ("Prism, wlan-ng, little-endian", LinkType::Prism, prism(u32::to_le_bytes, 0x44, &frame())),
            ("Prism, wlan-ng, big-endian", LinkType::Prism, prism(u32::to_be_bytes, 0x44, &frame())),
            ("Prism, madwifi, little-endian", LinkType::Prism, prism(u32::to_le_bytes, 0x41, &frame())),
            ("Prism, madwifi, big-endian", LinkType::Prism, prism(u32::to_be_bytes, 0x41, &frame())),
        ] {
            assert_eq!(read(link_type, &bytes).as_ref(), Ok(&expected), "{name}");
        }
        let bare = Probe { signal_dbm: None, channel: Some(11), ..expected };
        for (name, link_type) in
            [("bare", LinkType::Ieee80211), ("bare where Prism is promised", LinkType::Prism)]
        {
            assert_eq!(read(link_type, &frame()).as_ref(), Ok(&bare), "{name}");
        }
    }

    #[test]
    fn a_wrong_fcs_rejects_the_frame_unless_it_is_ignored() {
        let mut damaged = with_fcs(frame());
        damaged[27] ^= 1; // a letter of the SSID
        for (link_type, bytes) in
            [(LinkType::Radiotap, radiotap(0x10, &damaged)), (LinkType::Ppi, ppi(105, 1, &damaged))]
        {
            let captured = Captured { time: 0, link_type, bytes: &bytes, original_length: bytes.len() };
            assert_eq!(decode(&captured, FcsPolicy::Verify), Err(Rejected::BadFcs));
            let probe = decode(&captured, FcsPolicy::Ignore).unwrap();
            assert_eq!(probe.ssid, SsidElement::Named(Ssid::new(*b"ROM0").unwrap()));
            // only a whole frame can be checked
            let cut = Captured { bytes: &bytes[..bytes.len() - 1], ..captured };
            assert_eq!(decode(&cut, FcsPolicy::Verify).unwrap().ssid, probe.ssid);
        }
    }

    #[test]
    fn the_radio_is_believed_about_a_bad_fcs_only_where_there_is_none_to_check() {
        assert_eq!(read(LinkType::Radiotap, &radiotap(0x40, &frame())), Err(Rejected::BadFcs));
        assert_eq!(read(LinkType::Ppi, &ppi(105, 4, &frame())), Err(Rejected::BadFcs));
        assert!(read(LinkType::Radiotap, &radiotap(0x50, &with_fcs(frame()))).is_ok());
        let bytes = radiotap(0x40, &frame());
        let captured =
            Captured { time: 0, link_type: LinkType::Radiotap, bytes: &bytes, original_length: bytes.len() };
        assert!(decode(&captured, FcsPolicy::Ignore).is_ok());
    }

    #[test]
    fn an_fcs_that_was_not_captured_takes_nothing_from_the_frame() {
        let mut frame = frame();
        frame.truncate(24 + 6);
        let whole = radiotap(0x10, &with_fcs(frame));
        for missing in 0..=4 {
            let bytes = &whole[..whole.len() - missing];
            let captured =
                Captured { time: 0, link_type: LinkType::Radiotap, bytes, original_length: whole.len() };
            let probe = decode(&captured, FcsPolicy::Verify).unwrap();
            assert_eq!(
                probe.ssid,
                SsidElement::Named(Ssid::new(*b"RNM0").unwrap()),
                "{missing} bytes missing"
            );
        }
    }

    #[test]
    fn other_frames_and_damaged_headers_are_told_apart() {
        for first in (0..=0xff).filter(|first| *first != 0x40) {
            let mut frame = frame();
            frame[0] = first;
            assert_eq!(read(LinkType::Ieee80211, &frame), Err(Rejected::NotAProbeRequest), "{first:#04x}");
            assert_eq!(
                read(LinkType::Radiotap, &radiotap(0, &frame)),
                Err(Rejected::NotAProbeRequest),
                "{first:#04x}"
            );
        }
        for (link_type, bytes, shortest) in [
            (LinkType::Radiotap, radiotap(0, &frame()), 15),
            (LinkType::Ppi, ppi(105, 0, &frame()), 32),
            (LinkType::Avs, avs(&frame()), 64),
            (LinkType::Prism, prism(u32::to_le_bytes, 0x44, &frame()), 144),
        ] {
            for length in 4..shortest {
                assert_eq!(
                    read(link_type, &bytes[..length]),
                    Err(Rejected::BadHeader),
                    "{link_type:?} {length}"
                );
            }
            assert_eq!(
                read(link_type, &bytes[..shortest + 1]),
                Err(Rejected::NotAProbeRequest),
                "{link_type:?}"
            );
            assert!(read(link_type, &bytes[..shortest + 2]).is_ok(), "{link_type:?}");
        }
        assert_eq!(read(LinkType::Ppi, &ppi(1, 0, &frame())), Err(Rejected::NotAProbeRequest));
    }

    #[test]
    fn ppi_in_ppi_without_end_ends() {
        let nested = [0, 0, 8, 0, 192, 0, 0, 0].repeat(32_768);
        assert_eq!(read(LinkType::Ppi, &nested), Err(Rejected::BadHeader));
    }

    #[test]
    fn an_original_length_below_the_captured_one_loses_nothing() {
        let mut bytes = radiotap(0x10, &with_fcs(frame()));
        let captured = Captured { time: 0, link_type: LinkType::Radiotap, bytes: &bytes, original_length: 0 };
        assert_eq!(decode(&captured, FcsPolicy::Verify).unwrap().source, Some(Mac::new(PHONE)));
        bytes[30] ^= 1;
        let captured = Captured { time: 0, link_type: LinkType::Radiotap, bytes: &bytes, original_length: 0 };
        assert_eq!(decode(&captured, FcsPolicy::Verify), Err(Rejected::BadFcs));
    }

    #[test]
    fn channels_follow_from_frequencies() {
        for (mhz, channel) in [
            (2412, Some(1)),
            (2472, Some(13)),
            (2484, Some(14)),
            (2413, None),
            (4920, Some(184)),
            (5180, Some(36)),
            (5885, Some(177)),
            (5935, Some(2)),
            (5955, Some(1)),
            (7115, Some(233)),
            (0, None),
            (65_535, None),
        ] {
            assert_eq!(channel_at(mhz), channel, "{mhz} MHz");
        }
    }

    proptest! {
        #[test]
        fn a_frame_that_was_cut_says_less_and_nothing_else(
            source: [u8; 6],
            ssid in proptest::collection::vec(0_u8.., 0..=255),
            signal: i8,
            sequence in 0_u16..4096,
            length in 0_usize..330,
        ) {
            let mut frame = vec![0x40, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
            frame.extend(source);
            frame.extend([0xff; 6]);
            frame.extend((sequence << 4 | 3).to_le_bytes());
            frame.extend([0, u8::try_from(ssid.len()).unwrap()]);
            frame.extend(&ssid);
            let mut bytes = radiotap(0x10, &with_fcs(frame));
            bytes[14] = signal.to_le_bytes()[0];
            let cut = &bytes[..length.min(bytes.len())];
            let captured = Captured { time: -1, link_type: LinkType::Radiotap, bytes: cut, original_length: bytes.len() };
            let Ok(probe) = decode(&captured, FcsPolicy::Verify) else {
                prop_assert!(cut.len() < 15 + 2);
                return Ok(());
            };
            let has_header = cut.len() >= 15 + 24;
            let has_ssid = cut.len() >= 15 + 26 + ssid.len();
            prop_assert_eq!(probe.source, has_header.then_some(Mac::new(source)));
            prop_assert_eq!(probe.sequence, has_header.then_some(sequence));
            prop_assert_eq!(probe.signal_dbm, Some(signal));
            prop_assert_eq!(probe.fingerprint.is_some(), cut.len() == bytes.len());
            prop_assert_eq!(probe.ssid, match Ssid::new(ssid) {
                _ if !has_ssid => SsidElement::Absent,
                Ok(ssid) => SsidElement::Named(ssid),
                Err(_) => SsidElement::Wildcard,
            });
        }

        #[test]
        fn any_bytes_are_read_or_rejected(bytes in proptest::collection::vec(0_u8.., 0..300), original_length: usize) {
            for dlt in [105, 119, 127, 163, 192] {
                let captured =
                    Captured { time: 0, link_type: LinkType::from_dlt(dlt).unwrap(), bytes: &bytes, original_length };
                let _probe_or_reason = decode(&captured, FcsPolicy::Ignore);
            }
        }
    }
}
