//! Episodes: a device that looks for a watched network is told of once, however many frames its scans have.
//!
//! An episode begins with a probe request and goes on while no two are further apart than the watch's cooldown, by event time: so
//! it is the same whenever, and in whatever pieces, the records arrive.

use std::collections::BTreeSet;
use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::{EventTime, Mac, Ssid};

/// A probe request that names a watched network, with its place in its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The record's offset in its source.
    pub offset: i64,
    /// When it was heard.
    pub time: EventTime,
    /// Who sent it.
    pub mac: Mac,
    /// What it named.
    pub ssid: Ssid,
    /// Its strength in dBm.
    pub signal_dbm: Option<i8>,
    /// Who heard it.
    pub sensor: Option<String>,
}

/// Whose episode it is. Phones that change their address with every scan share one: each would be told as somebody new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// A device by its own address.
    Device(Mac),
    /// All with locally administered addresses.
    Passing,
}

impl Who {
    /// Whose episode a frame of this address belongs to.
    #[must_use]
    pub const fn of(mac: Mac) -> Self {
        if mac.is_locally_administered() { Self::Passing } else { Self::Device(mac) }
    }
}

/// As in the table's keys.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(mac) => write!(f, "{mac}"),
            Self::Passing => f.write_str("PASSING"),
        }
    }
}

/// What has happened in an episode so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// Probe requests heard.
    pub count: u64,
    /// When the first was.
    pub first: EventTime,
    /// When the last was.
    pub last: EventTime,
    /// The different addresses.
    pub addresses: Addresses,
}

impl Episode {
    /// The episode that begins with this one.
    #[must_use]
    pub fn open(sighting: &Sighting) -> Self {
        let mut addresses = Addresses::default();
        addresses.insert(sighting.mac);
        Self { count: 1, first: sighting.time, last: sighting.time, addresses }
    }

    /// Whether a probe request at this time belongs to it. One from before its end does too, late as it may be: it needs no message
    /// of its own. With a cooldown of 0 each has its own episode.
    #[must_use]
    pub const fn covers(&self, time: EventTime, cooldown_ms: i64) -> bool {
        cooldown_ms > 0 && time <= self.last.saturating_add(cooldown_ms)
    }

    /// Adds one that belongs to it.
    pub fn absorb(&mut self, sighting: &Sighting) {
        self.count = self.count.saturating_add(1);
        self.first = self.first.min(sighting.time);
        self.last = self.last.max(sighting.time);
        self.addresses.insert(sighting.mac);
    }
}

/// How many different addresses there were, exact up to [`Addresses::MAX`]. Kept as hashes of four bytes: the addresses themselves
/// would make the item large, and nobody asks for them again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses(BTreeSet<u32>);

impl Addresses {
    /// More are not told apart: 4 KB of an item.
    pub const MAX: usize = 1_000;

    fn insert(&mut self, mac: Mac) {
        if self.0.len() < Self::MAX {
            let [a, b, c, d, ..] = xxh3_64(&mac.bytes()).to_be_bytes();
            self.0.insert(u32::from_be_bytes([a, b, c, d]));
        }
    }

    /// How many; [`Self::MAX`] means that or more.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Four bytes each.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|hash| hash.to_be_bytes()).collect()
    }

    /// What [`Self::to_bytes`] has written.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let (hashes, _rest) = bytes.as_chunks::<4>();
        Self(hashes.iter().map(|hash| u32::from_be_bytes(*hash)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn sighting(time: EventTime, mac: [u8; 6]) -> Sighting {
        let ssid = Ssid::new(*b"RNM0").unwrap();
        Sighting { offset: 0, time, mac: Mac::new(mac), ssid, signal_dbm: None, sensor: None }
    }

    #[test]
    fn an_episode_lasts_while_nobody_is_silent_for_long() {
        let mut episode = Episode::open(&sighting(0, [0; 6]));
        assert!(episode.covers(15 * MINUTE, 15 * MINUTE) && !episode.covers(15 * MINUTE + 1, 15 * MINUTE));
        episode.absorb(&sighting(10 * MINUTE, [0; 6]));
        assert!(episode.covers(25 * MINUTE, 15 * MINUTE), "from the last one");
        assert!(episode.covers(-60 * MINUTE, 15 * MINUTE), "what comes late belongs to it");
        assert!(!episode.covers(10 * MINUTE, 0), "without a cooldown each is its own");
        assert_eq!((episode.count, episode.first, episode.last), (2, 0, 10 * MINUTE));
    }

    #[test]
    fn passing_phones_share_an_episode_and_are_counted() {
        assert_eq!(Who::of(Mac::new([0xa4, 0, 0, 0, 0, 1])).to_string(), "a4:00:00:00:00:01");
        assert_eq!(Who::of(Mac::new([0x62, 0, 0, 0, 0, 1])), Who::Passing);
        let mut episode = Episode::open(&sighting(0, [2, 0, 0, 0, 0, 0]));
        for number in 0..2_000_u16 {
            let [high, low] = number.to_be_bytes();
            episode.absorb(&sighting(1, [2, 0, 0, 0, high, low]));
            episode.absorb(&sighting(2, [2, 0, 0, 0, high, low]));
        }
        assert_eq!((episode.count, episode.addresses.count()), (4_001, Addresses::MAX));
        let bytes = episode.addresses.to_bytes();
        assert_eq!((bytes.len(), Addresses::from_bytes(&bytes)), (4_000, episode.addresses));
    }
}
