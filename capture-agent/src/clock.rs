//! Whether the system's clock can be believed, and the probe requests that are heard before it can.
//!
//! A Raspberry Pi has no clock that runs without power: it boots at the time of its last shutdown, or in 1970. Such a time would
//! be wrong for ever in what is counted. So what is heard is kept by a clock that nobody sets, and is dated when the time is known.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use domain::heartbeat::Clock;
use domain::{EventTime, Probe};
use nix::time::ClockId;

use crate::cli::ClockPolicy;

/// 2000-01-01 UTC. Nobody captured before: that clock was not set.
const YEAR_2000_MS: EventTime = 946_684_800_000;
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A clock that goes ahead or back by more than this was set.
const STEP_MS: EventTime = 500;
/// Frames that the kernel dated by the clock as it was before may still lie in its buffer.
const JUST_NOW: Duration = Duration::from_secs(10);
/// Some 10 MB, or hours in a quiet home.
const MOST_HELD: usize = 50_000;

/// The system's clock.
///
/// Once it was synchronised it is believed until somebody sets it: a sensor whose line is away for days hears no time service (the kernel
/// then calls the clock unsynchronised after nine hours), and its crystal is wrong by a few seconds at most.
#[derive(Debug)]
pub struct SystemClock {
    policy: ClockPolicy,
    asked: Option<Asked>,
    state: Clock,
    set_at: Option<Duration>,
}

/// The two clocks of the kernel at one moment: the one that people set, in milliseconds since 1970, and the one that nobody does, since boot.
#[derive(Debug, Clone, Copy)]
struct Asked {
    now_ms: EventTime,
    since_boot: Duration,
}

impl SystemClock {
    /// A clock that is believed by this policy.
    #[must_use]
    pub fn new(policy: ClockPolicy) -> Self {
        Self { policy, asked: None, state: Clock::Unsynchronized, set_at: None }
    }

    /// Whether it can be believed, as of a second ago.
    pub fn state(&mut self) -> Clock {
        let now = Asked { now_ms: now_ms(), since_boot: since_boot() };
        let before = self.asked.filter(|asked| now.since_boot >= asked.since_boot);
        let was_set = before.is_some_and(|before| before.is_set_until(now));
        if was_set {
            self.set_at = Some(now.since_boot);
        }
        if was_set || before.is_none_or(|before| now.since_boot - before.since_boot >= ASK_EVERY) {
            let was_believed = self.state == Clock::Synchronized && !was_set;
            self.asked = Some(now);
            self.state = match self.policy {
                _ if now.now_ms < YEAR_2000_MS => Clock::Unsynchronized,
                _ if was_believed || is_synchronized() => Clock::Synchronized,
                ClockPolicy::Trust => Clock::Trusted,
                ClockPolicy::Wait => Clock::Unsynchronized,
            };
        }
        self.state
    }

    /// The time of a frame that the kernel dated a moment ago. If the clock has been set since, that is now.
    #[must_use]
    pub fn time_of_frame(&self, kernel_ms: EventTime, now_ms: EventTime) -> EventTime {
        let was_set = self.set_at.is_some_and(|at| since_boot().saturating_sub(at) <= JUST_NOW);
        if was_set && (now_ms - kernel_ms).abs() > STEP_MS { now_ms } else { kernel_ms }
    }
}

impl Asked {
    /// Whether somebody has set the clock by more than it may be wrong since.
    fn is_set_until(self, now: Self) -> bool {
        let passed = now.since_boot.saturating_sub(self.since_boot).as_millis();
        let passed = EventTime::try_from(passed).unwrap_or(EventTime::MAX);
        // a time service slews by at most 500 ppm (adjtimex(2))
        let slewed = passed / 1_000;
        (now.now_ms - self.now_ms - passed).abs() > STEP_MS + slewed
    }
}

/// The time since boot, suspended or not, by a clock that nobody sets (clock_gettime(2)).
fn since_boot() -> Duration {
    ClockId::CLOCK_BOOTTIME.now().map_or(Duration::ZERO, Duration::from)
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

/// What was heard before its time was known.
#[derive(Debug, Default)]
pub struct Held {
    /// With the time since boot at which each was heard.
    probes: VecDeque<(Duration, Probe)>,
    lost: u64,
}

impl Held {
    /// Keeps one that was heard so long ago. Of too many the oldest is lost, and counted.
    pub fn keep(&mut self, probe: Probe, age: Duration) {
        self.keep_at(probe, since_boot().saturating_sub(age));
    }

    fn keep_at(&mut self, probe: Probe, heard: Duration) {
        if self.probes.len() >= MOST_HELD {
            self.probes.pop_front();
            self.lost += 1;
        }
        self.probes.push_back((heard, probe));
    }

    /// All of them with their time, now that the clock says the right `now_ms`.
    pub fn date(&mut self, now_ms: EventTime) -> impl Iterator<Item = Probe> {
        self.date_at(since_boot(), now_ms)
    }

    fn date_at(&mut self, now: Duration, now_ms: EventTime) -> impl Iterator<Item = Probe> {
        self.probes.drain(..).map(move |(heard, mut probe)| {
            let age = now.saturating_sub(heard).as_millis();
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

    const SET: EventTime = 1_795_560_000_000;

    #[test]
    fn what_is_heard_in_1970_is_dated_when_the_time_is_known() {
        let mut held = Held::default();
        held.keep_at(heard(20_000), Duration::from_millis(19_900));
        held.keep_at(heard(30_000), Duration::from_secs(30));
        let dated: Vec<_> = held.date_at(Duration::from_secs(60), SET).map(|probe| probe.time).collect();
        assert_eq!(dated, [SET - 40_100, SET - 30_000]);
        assert!(held.is_empty());
    }

    #[test]
    fn of_too_many_the_oldest_are_lost_and_counted() {
        let mut held = Held::default();
        for time in 0..MOST_HELD + 7 {
            held.keep(heard(time as EventTime), Duration::ZERO);
        }
        assert_eq!((held.len(), held.lost()), (MOST_HELD, 7));
    }

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_goes_on() {
        let before = Asked { now_ms: SET, since_boot: Duration::from_secs(100) };
        let after = |seconds: u64, now_ms| Asked { now_ms, since_boot: Duration::from_secs(100 + seconds) };
        assert!(!before.is_set_until(after(60, SET + 60_000)), "it goes on");
        assert!(!before.is_set_until(after(60, SET + 60_030)), "it is slewed");
        assert!(!before.is_set_until(after(36_000, SET + 36_001_000)), "a long sleep");
        assert!(before.is_set_until(after(1, SET + 1_000 - 3_600_000)), "an hour back");
        assert!(before.is_set_until(after(1, SET + 1_000 + 5_000)), "five seconds ahead");
    }

    #[test]
    fn a_frame_that_waited_keeps_its_time_unless_the_clock_was_set_meanwhile() {
        let mut clock = SystemClock::new(ClockPolicy::Trust);
        assert_eq!(clock.time_of_frame(SET, SET + 65_000), SET, "we were stopped for a minute");
        clock.set_at = Some(since_boot());
        assert_eq!(clock.time_of_frame(20_000, SET), SET, "it was dated in 1970");
        assert_eq!(clock.time_of_frame(SET - 100, SET), SET - 100);
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
