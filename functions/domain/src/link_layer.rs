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
pub(crate) const fn channel_at(mhz: u32) -> Option<u16> {
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
