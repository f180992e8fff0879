//! Control of an 802.11 card, as `iw` and `ip link` do it: by netlink, from our own process, so that `CAP_NET_ADMIN` is all it takes.
//!
//! The numbers are those of linux/nl80211.h, which also says what each request needs.

use std::fmt::{self, Debug};
use std::io;
use std::path::{Path, PathBuf};

use neli::consts::nl::{GenlId, NlType, NlmF};
use neli::consts::rtnl::{Iff, Ifla, RtAddrFamily, Rtm};
use neli::consts::socket::NlFamily;
use neli::err::{DeError, SocketError};
use neli::genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, Nlattr, NlattrBuilder};
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::rtnl::{IfinfomsgBuilder, RtattrBuilder};
use neli::socket::synchronous::NlSocketHandle;
use neli::types::{Buffer, GenlBuffer, RtBuffer};
use neli::utils::Groups;
use neli::{FromBytesWithInput, Size, ToBytes};

pub use crate::channels::{Channel, ChannelPlan, ChannelPlanError, UnusableChannel};

/// `nl80211_commands`
mod command {
    pub(super) const GET_WIPHY: u8 = 1;
    pub(super) const SET_WIPHY: u8 = 2;
    pub(super) const GET_INTERFACE: u8 = 5;
    pub(super) const SET_INTERFACE: u8 = 6;
    pub(super) const GET_REG: u8 = 31;
}

/// `nl80211_attrs`, `nl80211_band_attr`, `nl80211_frequency_attr`
mod attr {
    pub(super) const WIPHY: u16 = 1;
    pub(super) const IFINDEX: u16 = 3;
    pub(super) const IFTYPE: u16 = 5;
    pub(super) const WIPHY_BANDS: u16 = 22;
    pub(super) const SUPPORTED_IFTYPES: u16 = 32;
    pub(super) const REG_ALPHA2: u16 = 33;
    pub(super) const WIPHY_FREQ: u16 = 38;
    pub(super) const WIPHY_CHANNEL_TYPE: u16 = 39;
    pub(super) const SPLIT_WIPHY_DUMP: u16 = 174;
    pub(super) const BAND_FREQS: u16 = 1;
    pub(super) const FREQUENCY_FREQ: u16 = 1;
    pub(super) const FREQUENCY_DISABLED: u16 = 2;
}

/// `NL80211_CHAN_NO_HT`: 20 MHz. Probe requests are sent so that everybody understands them.
const CHANNEL_NO_HT: u32 = 0;
/// `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID` and `CTRL_ATTR_FAMILY_NAME` of linux/genetlink.h: which number nl80211 has here.
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// The most messages of one answer. A card with three bands takes some 150.
const MAX_MESSAGES: usize = 10_000;
/// `IFNAMSIZ` without the NUL at the end (linux/if.h).
const MAX_NAME_BYTES: usize = 15;
/// `ENODEV` and `ERFKILL` of asm-generic/errno.h, for which the standard library has no names.
const ENODEV: i32 = 19;
const ERFKILL: i32 = 132;

/// Why a card cannot be asked or told something.
#[derive(Debug, thiserror::Error)]
pub enum WirelessError {
    /// No interface has this name, or it has vanished since.
    #[error(
        "there is no interface {0}: `ip link` lists those that are there; a card that came loose is listed again a moment after it is plugged in"
    )]
    NoSuchInterface(String),
    /// The interface is no 802.11 card, or its driver does not speak nl80211.
    #[error(
        "{0} is no Wi-Fi card, or its driver is too old to be controlled (no nl80211): `iw dev` lists those that are"
    )]
    NotWireless(String),
    /// `CAP_NET_ADMIN` is missing.
    #[error(
        "not permitted to {0}: run as root, or type `sudo setcap cap_net_raw,cap_net_admin=eip` and the path of this program"
    )]
    NotPermitted(String),
    /// Somebody, or a switch, has turned the radio off.
    #[error(
        "cannot {0}: the radio is switched off; `rfkill list` says how, `sudo rfkill unblock wifi` switches it on unless it is a switch on the case"
    )]
    SwitchedOff(String),
    /// Somebody took the interface down.
    #[error("{0} is down: `sudo ip link set {0} up` takes it up")]
    Down(String),
    /// The card is needed otherwise.
    #[error(
        "cannot {0}: the card is busy; if another program holds it, `nmcli device set IFACE managed no` keeps NetworkManager away, and `iw dev` shows whether another interface of the same card is connected"
    )]
    Busy(String),
    /// The driver cannot do that.
    #[error(
        "cannot {0}: the card's driver does not know how; `iw phy` lists what it can, look there for `* monitor`"
    )]
    NotSupported(String),
    /// Anything else that the kernel refuses.
    #[error("cannot {what}: {why}; `dmesg | tail` may say more")]
    Netlink {
        /// What was wanted.
        what: String,
        /// What the kernel says.
        why: io::Error,
    },
}

/// What an interface is used for (`nl80211_iftype`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Gives every frame that it hears.
    Monitor,
    /// Connects to a network, as cards do unless told otherwise.
    Managed,
    /// An access point, a mesh and others, by number.
    Other(u32),
}

impl Mode {
    const fn from_iftype(iftype: u32) -> Self {
        match iftype {
            2 => Self::Managed,
            6 => Self::Monitor,
            other => Self::Other(other),
        }
    }

    const fn iftype(self) -> u32 {
        match self {
            Self::Managed => 2,
            Self::Monitor => 6,
            Self::Other(iftype) => iftype,
        }
    }
}

/// As `iw` calls it.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Monitor => f.write_str("monitor"),
            Self::Managed => f.write_str("managed"),
            Self::Other(3) => f.write_str("AP"),
            Self::Other(iftype) => write!(f, "type {iftype}"),
        }
    }
}

/// An 802.11 card by one of its interfaces, as it was when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The interface's number. It stays when the interface gets another name.
    pub index: u32,
    /// The interface's name.
    pub name: String,
    /// What it is used for.
    pub mode: Mode,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// The card's number: several interfaces may share one card.
    pub phy: u32,
    /// Whether the driver says that it can do monitor mode.
    pub can_monitor: bool,
    /// The channels that the regulatory domain allows to be listened to, by frequency. Those where the card must not send by itself
    /// (radar, no initiating radiation) are among them: we only listen.
    pub channels: Vec<Channel>,
    /// The kernel's driver, as `ath9k_htc`. Virtual cards may have none.
    pub driver: Option<String>,
}

/// Two netlink sockets, for `nl80211` and for links.
///
/// neli's router would look after the numbers of messages, but has a thread that wakes up ten times a second.
pub struct Wireless {
    nl80211: Connection,
    route: Connection,
}

impl Wireless {
    /// Opens the sockets. Asking needs no rights, telling needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// [`WirelessError::Netlink`].
    pub fn open() -> Result<Self, WirelessError> {
        let open = |family| {
            Connection::open(family)
                .map_err(|why| WirelessError::Netlink { what: "open a netlink socket".to_owned(), why })
        };
        Ok(Self { nl80211: open(NlFamily::Generic)?, route: open(NlFamily::Route)? })
    }

    /// A card by the name of its interface.
    ///
    /// # Errors
    /// [`WirelessError::NoSuchInterface`], [`WirelessError::NotWireless`], or that netlink does not answer.
    pub fn card(&mut self, interface: &str) -> Result<Card, WirelessError> {
        let cannot = |why| refusal(interface, format!("ask about {interface}"), why);
        let (index, is_up) = self.link(interface)?;
        let found = match self.nl80211(command::GET_INTERFACE, NlmF::ACK, [number(attr::IFINDEX, index)]) {
            Ok(found) => found,
            // no nl80211 in this kernel, or an interface that is none of its own (net/wireless/nl80211.c)
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
                    || error.raw_os_error() == Some(ENODEV) =>
            {
                return Err(WirelessError::NotWireless(interface.to_owned()));
            }
            Err(error) => return Err(cannot(error)),
        };
        let used = |attribute| {
            let found = found.first().ok_or_else(|| unexpected("nothing"))?.attrs().get_attr_handle();
            found.get_attr_payload_as::<u32>(attribute).map_err(unexpected)
        };
        let phy = used(attr::WIPHY).map_err(cannot)?;
        let mode = Mode::from_iftype(used(attr::IFTYPE).map_err(cannot)?);

        // In parts, as iw asks: a kernel cuts an answer in one part where it gets too long for old programs.
        let parts = self
            .nl80211(command::GET_WIPHY, NlmF::DUMP, [number(attr::WIPHY, phy), flag(attr::SPLIT_WIPHY_DUMP)])
            .map_err(cannot)?;
        let mut card = Card {
            index,
            name: interface.to_owned(),
            mode,
            is_up,
            phy,
            can_monitor: false,
            channels: Vec::new(),
            driver: driver(interface),
        };
        for part in &parts {
            add_capabilities(&mut card, part).map_err(|error| cannot(unexpected(error)))?;
        }
        card.channels.sort_unstable_by_key(|channel| channel.mhz);
        Ok(card)
    }

    /// Sets what the interface is used for. It is taken down for that; up again if it was, and for monitor mode in any case.
    ///
    /// # Errors
    /// [`WirelessError`]: what the kernel refuses. The interface is then as it was, if it can be.
    pub fn set_mode(&mut self, card: &Card, mode: Mode) -> Result<(), WirelessError> {
        self.set_up(card, false)?;
        let attributes = [number(attr::IFINDEX, card.index), number(attr::IFTYPE, mode.iftype())];
        let set = self
            .nl80211(command::SET_INTERFACE, NlmF::ACK, attributes)
            .map_err(|why| refusal(&card.name, format!("set {} to {mode} mode", card.name), why));
        let up = if card.is_up || (set.is_ok() && mode == Mode::Monitor) {
            self.set_up(card, true)
        } else {
            Ok(())
        };
        set.and(up) // the first error says more
    }

    /// Takes the interface up or down, as `ip link set IFACE up` does.
    ///
    /// # Errors
    /// [`WirelessError`]: what the kernel refuses.
    pub fn set_up(&mut self, card: &Card, up: bool) -> Result<(), WirelessError> {
        let cannot =
            |why| refusal(&card.name, format!("take {} {}", card.name, if up { "up" } else { "down" }), why);
        let index = card.index.try_into().map_err(|error| cannot(unexpected(error)))?;
        let request = IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified).ifi_index(index);
        let request = if up { request.up() } else { request.down() };
        let request = request.build().map_err(|error| cannot(unexpected(error)))?;
        self.route.ask(Rtm::Newlink, NlmF::ACK, request).map_err(cannot)?;
        Ok(())
    }

    /// Listens to a channel, 20 MHz wide. The interface must be in monitor mode and up, and no other interface of the same card
    /// may be up unless it is in monitor mode too: there is one radio in it.
    ///
    /// # Errors
    /// [`WirelessError`]: what the kernel refuses.
    pub fn tune(&mut self, card: &Card, channel: Channel) -> Result<(), WirelessError> {
        let attributes = [
            number(attr::IFINDEX, card.index),
            number(attr::WIPHY_FREQ, channel.mhz),
            number(attr::WIPHY_CHANNEL_TYPE, CHANNEL_NO_HT),
        ];
        let tuned = self.nl80211(command::SET_WIPHY, NlmF::ACK, attributes);
        tuned.map_err(|why| {
            match refusal(&card.name, format!("tune {} to channel {channel}", card.name), why) {
                // the kernel says the same of an interface that is down, and of one that has another name now
                WirelessError::Busy(what) => match self.link(&card.name) {
                    Ok((_, true)) => WirelessError::Busy(what),
                    Ok((_, false)) => WirelessError::Down(card.name.clone()),
                    Err(error) => error,
                },
                other => other,
            }
        })?;
        Ok(())
    }

    /// The country whose rules the card follows, in two letters (ISO 3166-1); `00` is what is allowed everywhere, which a system has
    /// that was not told where it is. `None` if the kernel does not say.
    pub fn regulatory_domain(&mut self, card: &Card) -> Option<String> {
        let answer = self.nl80211(command::GET_REG, NlmF::ACK, [number(attr::WIPHY, card.phy)]).ok()?;
        let attributes = answer.first()?.attrs().get_attr_handle();
        let country = attributes.get_attribute(attr::REG_ALPHA2)?.nla_payload().as_ref();
        country.get(..2).and_then(|letters| String::from_utf8(letters.to_vec()).ok())
    }

    /// An interface's number, and whether it is up.
    fn link(&mut self, interface: &str) -> Result<(u32, bool), WirelessError> {
        let none = || WirelessError::NoSuchInterface(interface.to_owned());
        if !is_interface_name(interface) {
            return Err(none());
        }
        let mut ask = || -> io::Result<_> {
            let name = RtattrBuilder::default().rta_type(Ifla::Ifname).rta_payload(interface).build();
            let request = IfinfomsgBuilder::default()
                .ifi_family(RtAddrFamily::Unspecified)
                .rtattrs(RtBuffer::from_iter([name.map_err(unexpected)?]))
                .build()
                .map_err(unexpected)?;
            self.route.ask(Rtm::Getlink, NlmF::ACK, request)
        };
        let links = ask().map_err(|why| refusal(interface, format!("ask about {interface}"), why))?;
        let link = links.first().ok_or_else(none)?;
        let index = u32::try_from(*link.ifi_index()).map_err(|_negative| none())?;
        Ok((index, link.ifi_flags().contains(Iff::UP)))
    }

    fn nl80211<const N: usize>(
        &mut self,
        command: u8,
        flags: NlmF,
        attributes: [io::Result<Attribute>; N],
    ) -> io::Result<Vec<Message>> {
        // Asked for each time: the number is another's after the module was taken out and put in again.
        let request = message(GET_FAMILY, [text(FAMILY_NAME, "nl80211")])?;
        let family = self.nl80211.ask(GenlId::Ctrl, NlmF::ACK, request)?;
        let family = family.first().ok_or_else(|| unexpected("nothing"))?.attrs().get_attr_handle();
        let family: u16 = family.get_attr_payload_as(FAMILY_ID).map_err(unexpected)?;
        self.nl80211.ask(GenlId::from(family), flags, message(command, attributes)?)
    }
}

type Message = Genlmsghdr<u8, u16>;
type Attribute = Nlattr<u16, Buffer>;

/// What a part of the answer to `GET_WIPHY` says of the card.
fn add_capabilities(card: &mut Card, part: &Message) -> Result<(), DeError> {
    let part = part.attrs().get_attr_handle();
    // an old kernel that does not know the filter tells of all cards
    if part.get_attr_payload_as::<u32>(attr::WIPHY)? != card.phy {
        return Ok(());
    }
    if let Some(modes) = part.get_attribute(attr::SUPPORTED_IFTYPES) {
        let modes = modes.get_attr_handle::<u16>()?;
        let monitor = Mode::Monitor.iftype();
        card.can_monitor |= modes.iter().any(|mode| u32::from(*mode.nla_type().nla_type()) == monitor);
    }
    let Some(bands) = part.get_attribute(attr::WIPHY_BANDS) else { return Ok(()) };
    for band in bands.get_attr_handle::<u16>()?.iter() {
        let band = band.get_attr_handle::<u16>()?;
        let Some(frequencies) = band.get_attribute(attr::BAND_FREQS) else { continue };
        for frequency in frequencies.get_attr_handle::<u16>()?.iter() {
            let frequency = frequency.get_attr_handle::<u16>()?;
            let is_disabled = frequency.get_attribute(attr::FREQUENCY_DISABLED).is_some();
            let channel = Channel::at(frequency.get_attr_payload_as(attr::FREQUENCY_FREQ)?);
            card.channels.extend(channel.filter(|_| !is_disabled));
        }
    }
    Ok(())
}

fn message<const N: usize>(command: u8, attributes: [io::Result<Attribute>; N]) -> io::Result<Message> {
    let attributes = attributes.into_iter().collect::<io::Result<GenlBuffer<_, _>>>()?;
    GenlmsghdrBuilder::default().cmd(command).version(1).attrs(attributes).build().map_err(unexpected)
}

fn number(attribute: u16, value: u32) -> io::Result<Attribute> {
    build_attribute(attribute, value)
}

fn text(attribute: u16, value: &str) -> io::Result<Attribute> {
    build_attribute(attribute, value)
}

fn flag(attribute: u16) -> io::Result<Attribute> {
    build_attribute(attribute, ())
}

fn build_attribute(attribute: u16, value: impl Size + ToBytes) -> io::Result<Attribute> {
    let attribute = AttrTypeBuilder::default().nla_type(attribute).build().map_err(unexpected)?;
    NlattrBuilder::default().nla_type(attribute).nla_payload(value).build().map_err(unexpected)
}

/// A netlink socket whose requests are answered before the next is sent.
struct Connection {
    socket: NlSocketHandle,
    sequence: u32,
}

impl Connection {
    fn open(family: NlFamily) -> io::Result<Self> {
        let socket = NlSocketHandle::connect(family, None, Groups::empty()).map_err(as_io)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The answer to a request, message by message; an error is the kernel's `errno`.
    fn ask<T, P>(&mut self, kind: T, flags: NlmF, request: P) -> io::Result<Vec<P>>
    where
        T: NlType + Debug,
        P: Size + ToBytes + FromBytesWithInput<Input = usize> + Debug + Clone,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let request = NlmsghdrBuilder::default()
            .nl_type(kind)
            .nl_flags(NlmF::REQUEST | flags)
            .nl_seq(self.sequence)
            .nl_payload(NlPayload::Payload(request))
            .build()
            .map_err(unexpected)?;
        self.socket.send(&request).map_err(as_io)?;

        let mut answer = Vec::new();
        while answer.len() < MAX_MESSAGES {
            let (messages, _groups) = self.socket.recv::<T, P>().map_err(as_io)?;
            for message in messages {
                let mut message = message.map_err(as_io)?;
                // what is left of an answer that could not be read
                if *message.nl_seq() != self.sequence {
                    continue;
                }
                if let Some(error) = message.get_err() {
                    return Err(from_kernel(*error.error()));
                }
                match message.nl_payload() {
                    NlPayload::Ack(_) | NlPayload::Empty => return Ok(answer),
                    NlPayload::DumpExtAck(end) if *end.error() < 0 => return Err(from_kernel(*end.error())),
                    NlPayload::DumpExtAck(_) => return Ok(answer),
                    _ => answer.extend(message.get_payload().cloned()),
                }
            }
        }
        Err(unexpected("too many messages"))
    }
}

/// Netlink has errors as negative numbers.
fn from_kernel(error: i32) -> io::Error {
    io::Error::from_raw_os_error(error.saturating_neg())
}

fn as_io(error: SocketError) -> io::Error {
    match error {
        SocketError::Io(error) => {
            error.raw_os_error().map_or_else(|| unexpected(&error), io::Error::from_raw_os_error)
        }
        other => unexpected(other),
    }
}

fn unexpected(what: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("netlink answered unexpectedly: {what}"))
}

/// What the kernel's error means for a person, and what to do about it.
fn refusal(interface: &str, what: String, why: io::Error) -> WirelessError {
    match (why.kind(), why.raw_os_error()) {
        (_, Some(ENODEV)) => WirelessError::NoSuchInterface(interface.to_owned()),
        (_, Some(ERFKILL)) => WirelessError::SwitchedOff(what),
        (io::ErrorKind::PermissionDenied, _) => WirelessError::NotPermitted(what),
        (io::ErrorKind::ResourceBusy | io::ErrorKind::NetworkDown, _) => WirelessError::Busy(what),
        (io::ErrorKind::Unsupported, _) => WirelessError::NotSupported(what),
        _ => WirelessError::Netlink { what, why },
    }
}

/// Whether a card's radio is switched off, by the card's own entry in `rfkill list`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwitchedOff {
    /// By a program: `rfkill unblock wifi` ends it.
    pub soft: bool,
    /// By a switch on the case, or by the firmware.
    pub hard: bool,
}

impl SwitchedOff {
    /// As it is now. A card without such an entry is never switched off.
    #[must_use]
    pub fn read(interface: &str) -> Self {
        of_interface(interface)
            .map_or_else(Self::default, |directory| Self::read_in(&directory.join("phy80211")))
    }

    /// By what the kernel shows of a card, `/sys/class/ieee80211/phyN` (Documentation/ABI/stable/sysfs-class-rfkill).
    fn read_in(card: &Path) -> Self {
        let mut off = Self::default();
        let entries = std::fs::read_dir(card).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"rfkill")) {
            let is_set =
                |name| std::fs::read_to_string(entry.path().join(name)).is_ok_and(|text| text.trim() == "1");
            off.soft |= is_set("soft");
            off.hard |= is_set("hard");
        }
        off
    }
}

/// All frames that the card gave since it is there, whatever became of them: one that hears nothing stands still.
#[must_use]
pub fn frames_received(interface: &str) -> Option<u64> {
    let count = std::fs::read_to_string(of_interface(interface)?.join("statistics/rx_packets")).ok()?;
    count.trim().parse().ok()
}

/// The number of the interface that has this name now.
#[must_use]
pub fn index(interface: &str) -> Option<u32> {
    std::fs::read_to_string(of_interface(interface)?.join("ifindex")).ok()?.trim().parse().ok()
}

/// Whether an interface is up: `IFF_UP` of linux/if.h. `None` if it is not there.
#[must_use]
pub fn is_up(interface: &str) -> Option<bool> {
    let flags = std::fs::read_to_string(of_interface(interface)?.join("flags")).ok()?;
    let flags = u32::from_str_radix(flags.trim().strip_prefix("0x")?, 16).ok()?;
    Some(flags & 1 != 0)
}

/// The kernel's driver of an interface, as `ath9k_htc`.
fn driver(interface: &str) -> Option<String> {
    let link = std::fs::read_link(of_interface(interface)?.join("device/driver")).ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

/// What the kernel shows of an interface.
fn of_interface(interface: &str) -> Option<PathBuf> {
    is_interface_name(interface).then(|| Path::new("/sys/class/net").join(interface))
}

/// Whether an interface can have this name: `dev_valid_name` of net/core/dev.c. What passes is no path either.
fn is_interface_name(name: &str) -> bool {
    let forbidden = |byte: u8| byte == b'/' || byte == b':' || byte == 0 || byte.is_ascii_whitespace();
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name != "." && name != ".." && !name.bytes().any(forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_path_or_too_long_is_no_interface() {
        for name in ["wlan0", "wlx00c0cab2f3d1", "mon-0.5", "...", "радио"] {
            assert!(is_interface_name(name), "{name:?}");
        }
        for name in
            ["", ".", "..", "../../etc", "a/b", "wlan0:1", "wlan 0", "wlan0\0", "wlan0\n", "wlx00c0cab2f3d12"]
        {
            assert!(!is_interface_name(name), "{name:?}");
            assert_eq!(frames_received(name), None, "{name:?}");
        }
    }

    #[test]
    fn an_interface_that_is_not_there_and_one_that_is_no_card_are_told_apart() {
        let mut wireless = Wireless::open().unwrap();
        for name in ["none0", "../lo", "a-name-that-is-too-long"] {
            let refused = wireless.card(name).unwrap_err();
            assert!(matches!(&refused, WirelessError::NoSuchInterface(told) if told == name), "{refused:?}");
        }
        let refused = wireless.card("lo").unwrap_err();
        assert!(matches!(&refused, WirelessError::NotWireless(told) if told == "lo"), "{refused:?}");
    }

    #[test]
    fn frames_of_an_interface_are_counted() {
        let before = frames_received("lo").unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"frame", socket.local_addr().unwrap()).unwrap();
        assert!(frames_received("lo").unwrap() > before);
    }

    #[test]
    fn the_switches_of_a_card_are_read() {
        let card = tempfile::tempdir().unwrap();
        assert_eq!(SwitchedOff::read_in(card.path()), SwitchedOff::default());
        for (entry, soft, hard) in [("rfkill0", "0\n", "0\n"), ("rfkill3", "1\n", "0\n")] {
            let entry = card.path().join(entry);
            std::fs::create_dir(&entry).unwrap();
            std::fs::write(entry.join("soft"), soft).unwrap();
            std::fs::write(entry.join("hard"), hard).unwrap();
        }
        assert_eq!(SwitchedOff::read_in(card.path()), SwitchedOff { soft: true, hard: false });
    }

    #[test]
    fn what_the_kernel_refuses_is_told_with_what_mends_it() {
        for (errno, mends) in [
            (1, "setcap"),
            (16, "nmcli"),
            (100, "nmcli"),
            (132, "rfkill unblock wifi"),
            (95, "iw phy"),
            (19, "ip link"),
        ] {
            let told = refusal("wlan1", "tune wlan1".to_owned(), from_kernel(-errno)).to_string();
            assert!(told.contains(mends), "{errno}: {told}");
        }
    }

    fn nest(kind: u16, nested: &[Attribute]) -> Attribute {
        nested.iter().fold(flag(kind).unwrap(), |whole, part| whole.nest(part).unwrap())
    }

    #[test]
    fn channels_that_the_regulatory_domain_forbids_are_left_out() {
        let frequency = |position, mhz, disabled: bool| {
            let mut parts = vec![number(attr::FREQUENCY_FREQ, mhz).unwrap()];
            parts.extend(disabled.then(|| flag(attr::FREQUENCY_DISABLED).unwrap()));
            nest(position, &parts)
        };
        let band = |number, frequencies: &[Attribute]| nest(number, &[nest(attr::BAND_FREQS, frequencies)]);
        let bands = nest(
            attr::WIPHY_BANDS,
            &[
                band(0, &[frequency(0, 2412, false), frequency(1, 2484, true)]),
                band(1, &[frequency(0, 5180, false)]),
                band(2, &[frequency(0, 58_320, false)]),
            ],
        );
        let modes = |kinds: &[u16]| {
            nest(attr::SUPPORTED_IFTYPES, &kinds.iter().map(|kind| flag(*kind).unwrap()).collect::<Vec<_>>())
        };
        let part = |phy, attribute: Attribute| message(3, [number(attr::WIPHY, phy), Ok(attribute)]).unwrap();

        let mut card = Card {
            index: 3,
            name: "wlan0".to_owned(),
            mode: Mode::Managed,
            is_up: true,
            phy: 1,
            can_monitor: false,
            channels: Vec::new(),
            driver: None,
        };
        add_capabilities(&mut card, &part(1, bands)).unwrap();
        add_capabilities(&mut card, &part(1, modes(&[2, 3]))).unwrap();
        add_capabilities(&mut card, &part(0, modes(&[2, 6]))).unwrap();
        assert_eq!(card.channels, [Channel { number: 1, mhz: 2412 }, Channel { number: 36, mhz: 5180 }]);
        assert!(!card.can_monitor, "another card can");
        add_capabilities(&mut card, &part(1, modes(&[2, 6]))).unwrap();
        assert!(card.can_monitor);
    }
}
