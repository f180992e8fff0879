//! Whether the system's clock can be believed, and the probe requests that are heard before it can.
//!
//! A Raspberry Pi has no clock that runs without power: it boots at the time of its last shutdown, or in 1970. Such a time would
//! be wrong for ever in what is counted. So what is heard is kept by a clock that nobody sets, and is dated when the time is known.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use domain::heartbeat::Clock;
use domain::{EventTime, Probe};

use crate::cli::ClockPolicy;

/// 2000-01-01 UTC. Nobody captured before: that clock was not set.
const YEAR_2000_MS: EventTime = 946_684_800_000;
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A live frame is younger than this, so one that seems not to be was dated by a clock that has been set since.
const OLDEST_MS: EventTime = 60_000;
/// Some 10 MB, or hours in a quiet home.
const MOST_HELD: usize = 50_000;

/// The system's clock.
#[derive(Debug)]
pub struct SystemClock {
    policy: ClockPolicy,
    asked: Option<Instant>,
    state: Clock,
}

impl SystemClock {
    /// A clock that is believed by this policy.
    #[must_use]
    pub fn new(policy: ClockPolicy) -> Self {
        Self { policy, asked: None, state: Clock::Unsynchronized }
    }

    /// Whether it can be believed, as of a second ago.
    pub fn state(&mut self) -> Clock {
        if self.asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY) {
            self.asked = Some(Instant::now());
            self.state = match self.policy {
                _ if now_ms() < YEAR_2000_MS => Clock::Unsynchronized,
                _ if is_synchronized() => Clock::Synchronized,
                ClockPolicy::Trust => Clock::Trusted,
                ClockPolicy::Wait => Clock::Unsynchronized,
            };
        }
        self.state
    }
}

/// Whether a time service keeps the clock right, as the kernel knows from adjtimex(2).
#[cfg(target_pointer_width = "64")]
#[must_use]
pub fn is_synchronized() -> bool {
    use rtime_clock::adjtime::{Timex, adjtimex};

    /// `TIME_ERROR`: nothing synchronises the clock. The kernel says so from boot on, after somebody has set the clock by hand, and when it
    /// has not heard from a time service for hours.
    const TIME_ERROR: i32 = 5;
    match adjtimex(&mut Timex::new()) {
        Ok(state) => state != TIME_ERROR,
        Err(error) => {
            tracing::debug!("the kernel does not tell whether the clock is synchronised: {error}");
            false
        }
    }
}

/// Whether systemd-timesyncd, the time service of Raspberry Pi OS, has set the clock since boot (systemd-timesyncd.service(8)). There is no safe
/// wrapper of adjtimex(2) for 32 bits; that somebody sets the clock by hand later is not noticed here.
#[cfg(not(target_pointer_width = "64"))]
#[must_use]
pub fn is_synchronized() -> bool {
    std::path::Path::new("/run/systemd/timesync/synchronized").exists()
}

/// The present by the system's clock, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> EventTime {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_millis().try_into().unwrap_or(EventTime::MAX),
        Err(before_1970) => -before_1970.duration().as_millis().try_into().unwrap_or(EventTime::MAX),
    }
}

/// The time of a frame that the kernel dated a moment ago, by a clock that may have been set since. `now_ms` is the present.
#[must_use]
pub const fn time_of_frame(kernel_ms: EventTime, now_ms: EventTime) -> EventTime {
    if (now_ms - kernel_ms).abs() <= OLDEST_MS { kernel_ms } else { now_ms }
}

/// What was heard before its time was known.
#[derive(Debug, Default)]
pub struct Held {
    probes: VecDeque<(Instant, Probe)>,
    lost: u64,
}

impl Held {
    /// Keeps one that the kernel dated by the same clock that says `now_ms`. Of too many the oldest is lost, and counted.
    pub fn keep(&mut self, probe: Probe, now: Instant, now_ms: EventTime) {
        let age = now_ms - time_of_frame(probe.time, now_ms);
        let heard = now.checked_sub(Duration::from_millis(age.try_into().unwrap_or(0))).unwrap_or(now);
        if self.probes.len() >= MOST_HELD {
            self.probes.pop_front();
            self.lost += 1;
        }
        self.probes.push_back((heard, probe));
    }

    /// All of them with their time, now that the clock says the right `now_ms`.
    pub fn date(&mut self, now: Instant, now_ms: EventTime) -> impl Iterator<Item = Probe> {
        self.probes.drain(..).map(move |(heard, mut probe)| {
            let age = now.saturating_duration_since(heard).as_millis();
            probe.time = now_ms.saturating_sub(age.try_into().unwrap_or(EventTime::MAX));
            probe
        })
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.probes.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.probes.is_empty()
    }

    /// How many were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::SsidElement;

    fn heard(time: EventTime) -> Probe {
        Probe {
            time,
            source: None,
            receiver: None,
            bssid: None,
            ssid: SsidElement::Wildcard,
            signal_dbm: None,
            channel: None,
            sequence: None,
            fingerprint: None,
            sensor: None,
        }
    }

    #[test]
    fn what_is_heard_in_1970_is_dated_when_the_time_is_known() {
        let (mut held, booted) = (Held::default(), Instant::now());
        held.keep(heard(20_000), booted + Duration::from_secs(20), 20_100);
        held.keep(heard(30_000), booted + Duration::from_secs(30), 30_000);
        let set = 1_795_560_000_000;
        let dated: Vec<_> = held.date(booted + Duration::from_secs(60), set).map(|probe| probe.time).collect();
        assert_eq!(dated, [set - 40_100, set - 30_000]);
        assert!(held.is_empty());
    }

    #[test]
    fn of_too_many_the_oldest_are_lost_and_counted() {
        let (mut held, now) = (Held::default(), Instant::now());
        for time in 0..MOST_HELD + 7 {
            held.keep(heard(time as EventTime), now, time as EventTime);
        }
        assert_eq!((held.len(), held.lost()), (MOST_HELD, 7));
    }

    #[test]
    fn a_frame_that_was_dated_before_the_clock_was_set_is_of_now() {
        assert_eq!(time_of_frame(1_795_560_000_000, 1_795_560_000_150), 1_795_560_000_000);
        assert_eq!(time_of_frame(20_000, 1_795_560_000_150), 1_795_560_000_150);
        assert_eq!(time_of_frame(1_795_560_000_000, 1_795_556_400_000), 1_795_556_400_000, "an hour back");
    }

    #[test]
    fn a_clock_is_believed_by_its_policy() {
        let waiting = SystemClock::new(ClockPolicy::Wait).state();
        let trusting = SystemClock::new(ClockPolicy::Trust).state();
        if is_synchronized() {
            assert_eq!((waiting, trusting), (Clock::Synchronized, Clock::Synchronized));
        } else {
            assert_eq!((waiting, trusting), (Clock::Unsynchronized, Clock::Trusted));
        }
    }
}
