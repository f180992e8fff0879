//! What a capture holds in front of an 802.11 frame, and the way through it to a [`Probe`].

use crate::{EventTime, Probe};

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
pub fn decode(_frame: &Captured<'_>, _fcs: FcsPolicy) -> Result<Probe, Rejected> {
    Err(Rejected::NotAProbeRequest)
}
