//! Frames from a radio, by libpcap.

use std::sync::atomic::{AtomicBool, Ordering};

use domain::EventTime;
use domain::link_layer::{Captured, LinkType};
use pcap::{Activated, Active, Capture, Packet};

use crate::recorder::Recorder;
use crate::spool_writer::Intake;

/// Only probe requests leave the kernel (pcap-filter(7)).
const FILTER: &str = "type mgt subtype probe-req";
/// The most that is looked at of a frame: radiotap and all elements of a probe request.
const SNAPSHOT_BYTES: i32 = 4096;
/// What the kernel keeps while we are not looking.
const KERNEL_BUFFER_BYTES: i32 = 8 << 20;
/// How long a frame, or the wish to stop, may go unseen.
const TIMEOUT_MS: i32 = 100;
/// 2000-01-01 UTC. Nobody captured before: that clock was not set.
const YEAR_2000_MS: EventTime = 946_684_800_000;

/// Why a radio cannot be heard.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The interface is not there, or not for us.
    #[error(
        "cannot listen by {interface}: {why}; capturing needs root, or `setcap cap_net_raw,cap_net_admin=eip` on this program, and `ip link` lists the interfaces"
    )]
    Open {
        /// Its name.
        interface: String,
        /// What libpcap says.
        why: pcap::Error,
    },
    /// The card is not in monitor mode.
    #[error(
        "{interface} gives {link_type} frames, not 802.11: put the card into monitor mode, `ip link set {interface} down; iw dev {interface} set type monitor; ip link set {interface} up; iw dev {interface} set channel 6`"
    )]
    NotIeee80211 {
        /// Its name.
        interface: String,
        /// What it gives instead.
        link_type: String,
    },
    /// It was heard until then.
    #[error("the capture ended: {0}")]
    Ended(pcap::Error),
}

/// What a capture was like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Frames with a time before 2000, which were not kept: the clock was not set.
    pub undated: u64,
    /// Frames that the kernel or the card dropped because we were too slow.
    pub missed: u64,
}

/// An interface that gives 802.11 frames.
pub struct Radio {
    capture: Capture<Active>,
    link_type: LinkType,
}

impl Radio {
    /// Opens an interface whose card is in monitor mode.
    ///
    /// # Errors
    /// [`LiveError`].
    pub fn open(interface: &str) -> Result<Self, LiveError> {
        let cannot = |why| LiveError::Open { interface: interface.to_owned(), why };
        let mut capture = Capture::from_device(interface)
            .map_err(cannot)?
            .snaplen(SNAPSHOT_BYTES)
            .buffer_size(KERNEL_BUFFER_BYTES)
            .timeout(TIMEOUT_MS)
            .open()
            .map_err(cannot)?;
        let link_type = link_type_of(&capture, interface)?;
        capture.filter(FILTER, true).map_err(cannot)?;
        Ok(Self { capture, link_type })
    }

    /// Pushes the records of what is heard, until it is time to stop or nothing more is taken.
    ///
    /// # Errors
    /// [`LiveError::Ended`].
    pub fn run(
        mut self,
        recorder: &mut Recorder,
        intake: &Intake,
        stop: &AtomicBool,
    ) -> Result<Heard, LiveError> {
        let mut heard = Heard::default();
        while !stop.load(Ordering::Relaxed) {
            let packet = match self.capture.next_packet() {
                Ok(packet) => packet,
                Err(pcap::Error::TimeoutExpired) => continue,
                Err(error) => return Err(LiveError::Ended(error)),
            };
            let frame = captured(&packet, self.link_type);
            if frame.time < YEAR_2000_MS {
                heard.undated += 1;
                continue;
            }
            if let Some(record) = recorder.record(&frame)
                && intake.push(record, 0).is_err()
            {
                break;
            }
        }
        match self.capture.stats() {
            Ok(stats) => heard.missed = u64::from(stats.dropped) + u64::from(stats.if_dropped),
            Err(error) => tracing::debug!("libpcap does not tell what was missed: {error}"),
        }
        Ok(heard)
    }
}

fn link_type_of<T: Activated>(capture: &Capture<T>, interface: &str) -> Result<LinkType, LiveError> {
    let link_type = capture.get_datalink();
    LinkType::from_dlt(link_type.0).ok_or_else(|| LiveError::NotIeee80211 {
        interface: interface.to_owned(),
        link_type: link_type.get_name().unwrap_or_else(|_no_name| link_type.0.to_string()),
    })
}

fn captured<'a>(packet: &Packet<'a>, link_type: LinkType) -> Captured<'a> {
    let time = packet.header.ts;
    Captured {
        time: EventTime::from(time.tv_sec) * 1_000 + EventTime::from(time.tv_usec) / 1_000,
        link_type,
        bytes: packet.data,
        original_length: packet.header.len.try_into().unwrap_or(usize::MAX),
    }
}
