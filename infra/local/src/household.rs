//! Sample data: what a sensor in the hallway of a made-up household hears in a day that ends now, as a capture file.
//!
//! Laptops that name every network they have met, things that know one, phones that name none and change their address with
//! every scan, a visitor, and people who pass by. The same for the same end, so that a demo can be told again.

use std::io::{self, Write};

use domain::{EventTime, Mac};
use fastrand::Rng;

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The laptop of the household: it has been to many places.
pub const LAPTOP: Mac = Mac::new([0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15]);
/// A speaker that listens all day.
pub const SPEAKER: Mac = Mac::new([0x40, 0xb4, 0xcd, 0x58, 0x40, 0x8f]);
/// The home network.
pub const HOME: &str = "RNM0";
/// The network for guests, which one visitor looks for.
pub const GUESTS: &str = "RNM-GUEST";

/// A printer.
pub const PRINTER: Mac = Mac::new([0x00, 0x1b, 0xa9, 0x0d, 0x51, 0x7e]);
/// A vacuum cleaner.
pub const VACUUM: Mac = Mac::new([0x50, 0xec, 0x50, 0x33, 0x21, 0x09]);
/// Somebody's phone who comes to the door.
pub const VISITOR: Mac = Mac::new([0x78, 0x67, 0xd7, 0x48, 0xe5, 0xc7]);
const TRAVELS: [&[u8]; 8] = [
    b"FULLERS",
    b"skyclub",
    b"FreePubWiFi",
    b"_The Wheatley Free WiFi",
    b"CrossCountryWiFi",
    b"Marriott_PUBLIC",
    b"QConLondon2020",
    b"Caf\xe9 de la Gare",
];

/// One frame with the time at which it was heard.
struct Frame {
    time: EventTime,
    bytes: Vec<u8>,
}

struct Household {
    random: Rng,
    start: EventTime,
    frames: Vec<Frame>,
}

/// Writes the capture (pcap, radiotap) of the day before `end` (milliseconds since 1970). Returns how many frames it has.
///
/// # Errors
/// When the capture cannot be written.
pub fn write_capture(end: EventTime, capture: &mut impl Write) -> io::Result<usize> {
    let mut household = Household { random: Rng::with_seed(2020), start: end - DAY_MS, frames: Vec::new() };
    household.live();
    household.frames.retain(|frame| (end - DAY_MS..end).contains(&frame.time));
    household.frames.sort_by_key(|frame| frame.time);
    household.write(capture)
}

/// Writes the capture of a visitor's arrival at `now` (milliseconds since 1970), who looks for the network for guests. Returns how
/// many frames it has.
///
/// # Errors
/// When the capture cannot be written.
pub fn write_arrival(now: EventTime, capture: &mut impl Write) -> io::Result<usize> {
    let mut household = Household { random: Rng::with_seed(2021), start: now - DAY_MS, frames: Vec::new() };
    household.scan(VISITOR, now, -63, &[b"", GUESTS.as_bytes(), b"VM9654567"]);
    household.write(capture)
}

impl Household {
    fn write(&self, capture: &mut impl Write) -> io::Result<usize> {
        // https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html: little-endian, microseconds, link type 127
        capture.write_all(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        capture.write_all(&262_144_u32.to_le_bytes())?;
        capture.write_all(&127_u32.to_le_bytes())?;
        for frame in &self.frames {
            let field = |number: i64| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
            let length = i64::try_from(frame.bytes.len()).unwrap_or(i64::MAX);
            capture.write_all(&field(frame.time / SECOND_MS))?;
            capture.write_all(&field(frame.time % SECOND_MS * 1000))?;
            capture.write_all(&field(length))?;
            capture.write_all(&field(length))?;
            capture.write_all(&frame.bytes)?;
        }
        Ok(self.frames.len())
    }

    fn live(&mut self) {
        // at home in the evening before and this morning
        for hour in [0, 1, 2, 3, 13, 14, 20, 21, 22, 23] {
            for _scan in 0..4 {
                let at = self.sometime_in(hour);
                self.laptop_scans(LAPTOP, at, -58);
            }
        }
        for ten_minutes in 0..144 {
            let at = self.start + ten_minutes * 10 * MINUTE_MS + self.jitter(MINUTE_MS);
            self.scan(SPEAKER, at, -47, &[b"", HOME.as_bytes(), b"SKY45BE0"]);
        }
        for quarter in 0..96 {
            let at = self.start + quarter * 15 * MINUTE_MS + self.jitter(MINUTE_MS);
            self.scan(PRINTER, at, -66, &[HOME.as_bytes()]);
        }
        for hour in [10, 11] {
            let at = self.sometime_in(hour);
            self.scan(VACUUM, at, -71, &[b"", HOME.as_bytes()]);
        }
        // comes in the afternoon, and asks for the network for guests before being told its password
        for minute in [0, 4, 9, 31, 58] {
            let at = self.start + 19 * HOUR_MS + minute * MINUTE_MS;
            self.scan(VISITOR, at, -63, &[b"", GUESTS.as_bytes(), b"VM9654567"]);
        }
        // three phones: no names, and another address for every scan
        for _phone in 0..3 {
            for _scan in 0..30 {
                let (mac, at) = (self.random_mac(), self.start + self.jitter(DAY_MS));
                self.scan(mac, at, -55, &[b"", b""]);
            }
        }
        // people in the street: far away, once
        for _passer_by in 0..120 {
            let (mac, at) = (self.random_mac(), self.start + self.jitter(DAY_MS));
            self.scan(mac, at, -86, &[b""]);
        }
        // and what else is on the air
        for _frame in 0..2_000 {
            let time = self.start + self.jitter(DAY_MS);
            let signal = self.signal(-70);
            let acknowledgement = [&[0xd4, 0, 0, 0][..], &PRINTER.bytes()].concat();
            self.frames.push(Frame { time, bytes: on_air(signal, 1, &acknowledgement) });
        }
    }

    /// A laptop asks for any network, for home, and for some of those it has met.
    fn laptop_scans(&mut self, mac: Mac, at: EventTime, signal: i8) {
        self.scan(mac, at, signal, &[b"", HOME.as_bytes()]);
        for (rank, name) in TRAVELS.iter().enumerate() {
            if self.random.usize(..rank + 2) == 0 {
                self.scan(mac, at + SECOND_MS, signal, &[name]);
            }
        }
    }

    /// One scan: a probe request a name, 40 ms apart.
    fn scan(&mut self, mac: Mac, at: EventTime, signal: i8, names: &[&[u8]]) {
        let mut sequence = self.random.u16(..4096);
        for (name, time) in names.iter().zip((at..).step_by(40)) {
            let channel = [1, 6, 11].get(self.random.usize(..3)).copied().unwrap_or(1);
            let frame = probe_request(mac, name, channel, sequence);
            let bytes = on_air(self.signal(signal), channel, &frame);
            self.frames.push(Frame { time, bytes });
            sequence = (sequence + 1) % 4096;
        }
    }

    fn sometime_in(&mut self, hour: i64) -> EventTime {
        self.start + hour * HOUR_MS + self.jitter(HOUR_MS)
    }

    fn jitter(&mut self, range_ms: i64) -> i64 {
        self.random.i64(0..range_ms)
    }

    fn signal(&mut self, about: i8) -> i8 {
        about + self.random.i8(-6..=6)
    }

    /// An address that a phone has made up: locally administered, one device (IEEE 802-2014, 8.4).
    fn random_mac(&mut self) -> Mac {
        let mut bytes = [0; 6];
        self.random.fill(&mut bytes);
        let [first, ..] = &mut bytes;
        *first = *first & 0xfc | 0x02;
        Mac::new(bytes)
    }
}

/// A probe request (IEEE 802.11-2020, 9.3.3.9) with the elements that most have.
fn probe_request(mac: Mac, ssid: &[u8], channel: u8, sequence: u16) -> Vec<u8> {
    let broadcast = [0xff; 6];
    let mut frame = vec![0x40, 0, 0, 0];
    frame.extend(broadcast);
    frame.extend(mac.bytes());
    frame.extend(broadcast);
    frame.extend((sequence << 4).to_le_bytes());
    frame.extend([0, u8::try_from(ssid.len()).unwrap_or(u8::MAX)]);
    frame.extend(ssid);
    frame.extend([1, 4, 2, 4, 11, 22]); // supported rates
    frame.extend([50, 8, 12, 18, 24, 36, 48, 72, 96, 108]); // extended supported rates
    frame.extend([3, 1, channel]); // DSSS parameter set
    frame
}

/// A frame as a card in monitor mode gives it: radiotap with flags, channel and signal (<https://www.radiotap.org>), then the
/// frame and its FCS.
fn on_air(signal_dbm: i8, channel: u8, frame: &[u8]) -> Vec<u8> {
    let frequency = 2407 + 5 * u16::from(channel);
    let mut bytes = vec![0, 0, 15, 0, 0b0010_1010, 0, 0, 0];
    bytes.extend([0x10, 0]); // the FCS is there
    bytes.extend(frequency.to_le_bytes());
    bytes.extend(0x00a0_u16.to_le_bytes());
    bytes.extend(signal_dbm.to_le_bytes());
    bytes.extend(frame);
    bytes.extend(crc32fast::hash(frame).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_end_gives_the_same_day() {
        let capture = || {
            let mut bytes = Vec::new();
            let frames = write_capture(1_587_566_620_000, &mut bytes).unwrap();
            (frames, bytes)
        };
        assert_eq!(capture(), capture());
        assert!(capture().0 > 2_000);
    }
}
