//! What is counted. Nearly everything is the same value, a [`Tally`]; only the key under which it is kept differs.
//!
//! Each is a commutative monoid over probes: any order and any split of the probes give the same value, so records may come
//! late and items of several sources may be added when they are read.

use std::cmp::Reverse;

use crate::event_time::{self, EventTime};
use crate::{Probe, SsidElement};

/// Frames heard: how many, from when to when, how strong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Frames heard. Two sensors hearing one frame are two.
    pub count: u64,
    /// Event time of the earliest.
    pub first: EventTime,
    /// Event time of the latest.
    pub last: EventTime,
    /// Strength of those that had one.
    pub signal: Option<Signal>,
}

/// How strong frames were, in dBm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Frames with a signal.
    pub count: u64,
    /// Their sum in dBm, for the mean.
    pub sum_dbm: i64,
    /// The weakest in dBm.
    pub weakest_dbm: i8,
    /// The strongest.
    pub best: Best,
}

/// The strongest frame. Of equally strong ones the earlier counts, then the one of the smaller sensor name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Best {
    /// Strength in dBm.
    pub dbm: i8,
    /// Event time of the frame.
    pub time: EventTime,
    /// The sensor that heard it, where the record names one.
    pub sensor: Option<String>,
}

/// The tally of nothing.
impl Default for Tally {
    fn default() -> Self {
        Self { count: 0, first: EventTime::MAX, last: EventTime::MIN, signal: None }
    }
}

impl Tally {
    /// Adds one frame.
    pub fn absorb(&mut self, probe: &Probe) {
        self.count = self.count.saturating_add(1);
        self.first = self.first.min(probe.time);
        self.last = self.last.max(probe.time);
        if let Some(dbm) = probe.signal_dbm {
            self.add_signal(1, dbm.into(), dbm, (Reverse(dbm), probe.time, probe.sensor.as_deref()));
        }
    }

    /// Adds what another source has counted.
    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        if let Some(other) = &other.signal {
            self.add_signal(other.count, other.sum_dbm, other.weakest_dbm, other.best.rank());
        }
    }

    fn add_signal(&mut self, count: u64, sum_dbm: i64, weakest_dbm: i8, best: Rank<'_>) {
        let Some(signal) = &mut self.signal else {
            self.signal = Some(Signal { count, sum_dbm, weakest_dbm, best: Best::of(best) });
            return;
        };
        signal.count = signal.count.saturating_add(count);
        signal.sum_dbm = signal.sum_dbm.saturating_add(sum_dbm);
        signal.weakest_dbm = signal.weakest_dbm.min(weakest_dbm);
        // the sensor's name is copied only for a new best: most frames are none
        if best < signal.best.rank() {
            signal.best = Best::of(best);
        }
    }
}

/// The smallest wins: the strongest, the earliest, the smallest name.
type Rank<'a> = (Reverse<i8>, EventTime, Option<&'a str>);

impl Best {
    fn rank(&self) -> Rank<'_> {
        (Reverse(self.dbm), self.time, self.sensor.as_deref())
    }

    fn of((Reverse(dbm), time, sensor): Rank<'_>) -> Self {
        Self { dbm, time, sensor: sensor.map(str::to_owned) }
    }
}

impl Signal {
    /// The mean in dBm, to one decimal.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean of counts below 2^53")]
    pub fn mean_dbm(&self) -> f64 {
        (self.sum_dbm as f64 / self.count.max(1) as f64 * 10.0).round() / 10.0
    }
}

/// All frames of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceTally {
    /// All of them.
    pub all: Tally,
    /// Those that asked for any network.
    pub wildcard: u64,
    /// Those without an SSID element.
    pub no_ssid: u64,
}

impl DeviceTally {
    /// Adds one frame.
    pub fn absorb(&mut self, probe: &Probe) {
        self.all.absorb(probe);
        match probe.ssid {
            SsidElement::Named(_) => {}
            SsidElement::Wildcard => self.wildcard = self.wildcard.saturating_add(1),
            SsidElement::Absent => self.no_ssid = self.no_ssid.saturating_add(1),
        }
    }

    /// Adds what another source has counted.
    pub fn merge(&mut self, other: &Self) {
        self.all.merge(&other.all);
        self.wildcard = self.wildcard.saturating_add(other.wildcard);
        self.no_ssid = self.no_ssid.saturating_add(other.no_ssid);
    }
}

/// The frames of a device on one day (UTC).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DayTally {
    /// All of them.
    pub all: Tally,
    /// By hour of the day, UTC.
    pub hours: [u64; 24],
}

impl DayTally {
    /// Adds one frame.
    pub fn absorb(&mut self, probe: &Probe) {
        self.all.absorb(probe);
        if let Some(hour) = self.hours.get_mut(event_time::hour(probe.time)) {
            *hour = hour.saturating_add(1);
        }
    }

    /// Adds what another source has counted.
    pub fn merge(&mut self, other: &Self) {
        self.all.merge(&other.all);
        for (hour, more) in self.hours.iter_mut().zip(other.hours) {
            *hour = hour.saturating_add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Ssid;

    fn probes() -> impl Strategy<Value = Vec<Probe>> {
        let ssid = prop_oneof![
            Just(SsidElement::Wildcard),
            Just(SsidElement::Absent),
            Just(SsidElement::Named(Ssid::new(*b"RNM0").unwrap())),
        ];
        let probe = (0..200_000_000_i64, prop::option::of(-90_i8..-85), prop::option::of("[ab]"), ssid)
            .prop_map(|(time, signal_dbm, sensor, ssid)| Probe {
                time,
                signal_dbm,
                sensor,
                ssid,
                source: None,
                receiver: None,
                bssid: None,
                channel: None,
                sequence: None,
                fingerprint: None,
            });
        prop::collection::vec(probe, 0..40)
    }

    fn fold(probes: &[Probe]) -> (DeviceTally, DayTally) {
        probes.iter().fold(Default::default(), |(mut device, mut day), probe| {
            device.absorb(probe);
            day.absorb(probe);
            (device, day)
        })
    }

    proptest! {
        #[test]
        fn any_order_and_any_split_give_the_same_tally(probes in probes(), split in 0..40_usize, seed: u64) {
            let whole = fold(&probes);
            let mut shuffled = probes.clone();
            let mut state = seed;
            for index in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shuffled.swap(index, (state >> 33) as usize % (index + 1));
            }
            let (left, right) = shuffled.split_at(split.min(shuffled.len()));
            let (mut device, mut day) = fold(right);
            device.merge(&fold(left).0);
            day.merge(&fold(left).1);
            prop_assert_eq!((device, day), whole);
        }
    }

    #[test]
    fn the_mean_is_of_the_frames_that_had_a_signal() {
        let signal = |count, sum_dbm| Signal {
            count,
            sum_dbm,
            weakest_dbm: -83,
            best: Best { dbm: -41, time: 0, sensor: None },
        };
        assert_eq!(signal(3, -199).mean_dbm(), -66.3);
        assert_eq!(signal(1, -66).mean_dbm(), -66.0);
    }
}
