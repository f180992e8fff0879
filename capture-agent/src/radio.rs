//! A card that listens: put into monitor mode, tuned from channel to channel, and opened by libpcap.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use domain::EventTime;
use domain::link_layer::{Captured, LinkType};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pcap::{Activated, Active, Capture, Linktype, Packet};

use crate::channels::{Channel, ChannelPlan, UnusableChannel};
use crate::wireless::{Card, Mode, Wireless, WirelessError};

/// Only probe requests leave the kernel (pcap-filter(7)).
const FILTER: &str = "type mgt subtype probe-req";
/// The most that is looked at of a frame: radiotap and all elements of a probe request.
const SNAPSHOT_BYTES: i32 = 4096;
/// What the kernel keeps while we are not looking: a second of 10,000 probe requests. It is this process's memory.
const KERNEL_BUFFER_BYTES: i32 = 4 << 20;
/// How long a frame, the wish to stop, or the time to change the channel, may go unseen.
const LONGEST_TIMEOUT: Duration = Duration::from_millis(100);

/// Why a radio cannot be heard. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RadioError {
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
        "{interface} gives {link_type} frames, not 802.11: its card is not in monitor mode; --set-monitor puts it there, and back at the end"
    )]
    NotIeee80211 {
        /// Its name.
        interface: String,
        /// What it gives instead.
        link_type: String,
    },
    /// The card has no monitor mode.
    #[error(
        "the card of {interface} cannot do monitor mode (driver: {driver}): use another card; `iw phy` lists what each can do"
    )]
    CannotMonitor {
        /// Its name.
        interface: String,
        /// The kernel's driver.
        driver: String,
    },
    /// The card cannot be asked or told something.
    #[error(transparent)]
    Wireless(#[from] WirelessError),
    /// The card cannot listen to a channel.
    #[error("{interface}: {why}")]
    Channel {
        /// Its name.
        interface: String,
        /// Why.
        why: UnusableChannel,
    },
    /// libpcap gave up.
    #[error("{interface} is not heard any more: {why}")]
    Ended {
        /// Its name.
        interface: String,
        /// What libpcap says.
        why: pcap::Error,
    },
    /// Somebody took it down.
    #[error("{0} is not heard any more: it was taken down; `ip link set {0} up` takes it up")]
    Down(String),
    /// It has vanished.
    #[error(
        "{0} is not heard any more: there is no such interface now; was its card pulled out, or is it called otherwise? `ip link` lists them"
    )]
    Gone(String),
    /// The card gives nothing.
    #[error("{interface} gave no frame of any kind for {}, last on channel {channel}: a stalled card, or one without an antenna; it is taken up anew", humantime::format_duration(*.silence))]
    Silent {
        /// Its name.
        interface: String,
        /// For how long.
        silence: Duration,
        /// The channel that it was tuned to.
        channel: String,
    },
}

/// How a card is to be used.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Whether to put it into monitor mode.
    pub set_monitor: bool,
    /// The channels, in turn; as it is tuned without.
    pub channels: Option<ChannelPlan>,
    /// How long to stay on each.
    pub dwell: Duration,
    /// Whether to take frames of all kinds, not probe requests alone.
    pub all_frames: bool,
}

/// Control of one interface, over all the times that it is taken up.
pub struct Control {
    interface: String,
    tuning: Tuning,
    wireless: Option<Wireless>,
    /// What it was before we put it into monitor mode.
    before: Option<Card>,
}

/// An interface that gives 802.11 frames.
pub struct Radio {
    capture: Capture<Active>,
    link_type: LinkType,
    hopping: Option<Hopping>,
    timeout: PollTimeout,
}

/// On which channel the card is, and until when.
struct Hopping {
    card: Card,
    channels: Vec<Channel>,
    /// Index of the present one.
    at: usize,
    until: Instant,
}

impl Control {
    /// Control of an interface, which is not touched yet.
    #[must_use]
    pub fn new(interface: &str, tuning: Tuning) -> Self {
        Self { interface: interface.to_owned(), tuning, wireless: None, before: None }
    }

    /// The interface's name.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// How long it stays on a channel.
    #[must_use]
    pub fn dwell(&self) -> Duration {
        self.tuning.dwell
    }

    /// Puts the card where it is to be, and listens.
    ///
    /// # Errors
    /// [`RadioError`].
    pub fn take_up(&mut self) -> Result<Radio, RadioError> {
        let hopping = self.prepare()?;
        let cannot = |why| RadioError::Open { interface: self.interface.clone(), why };
        let mut capture = Capture::from_device(self.interface.as_str())
            .map_err(cannot)?
            .snaplen(SNAPSHOT_BYTES)
            .buffer_size(KERNEL_BUFFER_BYTES)
            .timeout(i32::from(self.timeout_ms()))
            .open()
            .map_err(cannot)?;
        let link_type = link_type_of(&capture, &self.interface)?;
        if !self.tuning.all_frames
            && let Err(error) = capture.filter(FILTER, true)
        {
            tracing::info!(
                "{}: all frames are taken, libpcap has no filter for them: {error}",
                self.interface
            );
        }
        // libpcap would wait for ever for the first frame, as the kernel's timer runs from that on (pcap(3), "read timeout")
        let capture = capture.setnonblock().map_err(cannot)?;
        let mut radio = Radio { capture, link_type, hopping, timeout: PollTimeout::from(self.timeout_ms()) };
        self.hop(&mut radio)?;
        Ok(radio)
    }

    /// Tunes the card to its next channel when it is time to.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn hop(&mut self, radio: &mut Radio) -> Result<(), RadioError> {
        let Some(hopping) = &mut radio.hopping else { return Ok(()) };
        let now = Instant::now();
        if now < hopping.until {
            return Ok(());
        }
        let is_alone = hopping.channels.len() == 1;
        hopping.at = (hopping.at + 1) % hopping.channels.len().max(1);
        if let (Some(channel), Some(wireless)) = (hopping.channels.get(hopping.at), &mut self.wireless) {
            wireless.tune(&hopping.card, *channel)?;
        }
        // a card that stays on a channel is told so once
        hopping.until = now + if is_alone { Duration::from_secs(3600) } else { self.tuning.dwell };
        Ok(())
    }

    /// Puts the card back into the mode that it was in.
    fn put_back(&mut self) {
        let Some(before) = self.before.take() else { return };
        let Some(wireless) = &mut self.wireless else { return };
        // of another number it is another card, which has got the name since
        let card = match wireless.card(&self.interface) {
            Ok(card) if card.index == before.index => card,
            Ok(_) | Err(WirelessError::NoSuchInterface(_)) => return,
            Err(error) => return tracing::warn!("{} may be in monitor mode still: {error}", self.interface),
        };
        let put_back =
            wireless.set_mode(&card, before.mode).and_then(|()| wireless.set_up(&card, before.is_up));
        match put_back {
            Ok(()) => tracing::info!("{} is in {} mode again", self.interface, before.mode),
            Err(error) => tracing::warn!("{} may be in monitor mode still: {error}", self.interface),
        }
    }

    /// Sees that the card is in monitor mode and up, as far as that is our business, and has the channels. `None` when nobody wants it
    /// tuned.
    fn prepare(&mut self) -> Result<Option<Hopping>, RadioError> {
        if !self.tuning.set_monitor && self.tuning.channels.is_none() {
            return Ok(None);
        }
        let wireless = match &mut self.wireless {
            Some(wireless) => wireless,
            empty => empty.insert(Wireless::open()?),
        };
        let mut card = wireless.card(&self.interface)?;
        let interface = self.interface.clone();
        let channels = self.tuning.channels.as_ref().map(|plan| plan.resolve(&card.channels)).transpose();
        // before anything is changed
        let channels = channels.map_err(|why| RadioError::Channel { interface: interface.clone(), why })?;
        if card.mode != Mode::Monitor {
            if !card.can_monitor {
                let driver = card.driver.unwrap_or_else(|| "unknown".to_owned());
                return Err(RadioError::CannotMonitor { interface, driver });
            }
            if !self.tuning.set_monitor {
                let link_type = format!("{} mode's", card.mode);
                return Err(RadioError::NotIeee80211 { interface, link_type });
            }
            // first: it may be set and then not be taken up
            self.before = Some(card.clone());
            wireless.set_mode(&card, Mode::Monitor)?;
            card = wireless.card(&interface)?;
        } else if !card.is_up && self.tuning.set_monitor {
            wireless.set_up(&card, true)?;
        }
        Ok(channels.map(|channels| Hopping {
            card,
            at: channels.len().saturating_sub(1), // the next is the first
            channels,
            until: Instant::now(),
        }))
    }

    fn timeout_ms(&self) -> u16 {
        let timeout = if self.tuning.channels.is_some() { self.tuning.dwell / 4 } else { LONGEST_TIMEOUT };
        u16::try_from(timeout.clamp(Duration::from_millis(10), LONGEST_TIMEOUT).as_millis()).unwrap_or(100)
    }
}

/// However listening ends.
impl Drop for Control {
    fn drop(&mut self) {
        self.put_back();
    }
}

impl Radio {
    /// Waits a moment for frames. What wakes it, or that nothing does, shows when the next is asked for.
    pub fn wait(&self) {
        let mut capture = [PollFd::new(self.capture.as_fd(), PollFlags::POLLIN)];
        if let Err(error) = poll(&mut capture, self.timeout) {
            tracing::debug!("poll(2): {error}"); // a signal
        }
    }

    /// A frame; `None` when there is none just now.
    ///
    /// # Errors
    /// What libpcap says.
    pub fn frame(&mut self) -> Result<Option<(Captured<'_>, Packet<'_>)>, pcap::Error> {
        match self.capture.next_packet() {
            Ok(packet) => {
                let captured = captured(&packet, self.link_type);
                Ok(Some((captured, packet)))
            }
            Err(pcap::Error::TimeoutExpired) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the capture's frames begin with, as libpcap calls it.
    #[must_use]
    pub fn libpcap_link_type(&self) -> Linktype {
        self.capture.get_datalink()
    }

    /// The capture of libpcap.
    #[must_use]
    pub fn capture(&self) -> &Capture<Active> {
        &self.capture
    }

    /// Frames that the kernel, and that the interface, dropped since it was taken up.
    pub fn missed(&mut self) -> (u64, u64) {
        match self.capture.stats() {
            Ok(stats) => (stats.dropped.into(), stats.if_dropped.into()),
            Err(error) => {
                tracing::debug!("libpcap does not tell what was missed: {error}");
                (0, 0)
            }
        }
    }

    /// The channels that it is tuned to in turn.
    #[must_use]
    pub fn channels(&self) -> &[Channel] {
        self.hopping.as_ref().map_or(&[], |hopping| &hopping.channels)
    }

    /// The channel that it is on, for people.
    #[must_use]
    pub fn channel(&self) -> String {
        let channel = self.hopping.as_ref().and_then(|hopping| hopping.channels.get(hopping.at));
        channel.map_or_else(|| "that somebody else set".to_owned(), Channel::to_string)
    }
}

fn link_type_of<T: Activated>(capture: &Capture<T>, interface: &str) -> Result<LinkType, RadioError> {
    let link_type = capture.get_datalink();
    LinkType::from_dlt(link_type.0).ok_or_else(|| RadioError::NotIeee80211 {
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
