//! When a frame was heard, and the calendar days (UTC) that times belong to.

use std::fmt;

/// When a frame was heard: milliseconds since 1970-01-01 UTC, by the clock of the capture.
pub type EventTime = i64;

/// 2000-01-01 UTC. A frame dated before it comes from a clock that was never set: a Raspberry Pi boots in 1970.
const EARLIEST: EventTime = 946_684_800_000;
/// How far ahead of the Kafka timestamp a frame may be dated: clocks differ by seconds, not by more.
const TOLERANCE_MS: i64 = 5 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// The time of a frame cannot be true. It would spoil the first or last time of a device for ever: these never heal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnlikelyTime {
    /// Before 2000.
    #[error("dated before the year 2000: was the sensor's clock set?")]
    TooEarly,
    /// After its record was written.
    #[error("dated {0} s after its record was written: is the sensor's clock right?")]
    Future(i64),
    /// The record carries no Kafka timestamp to compare with.
    #[error("its record has no Kafka timestamp")]
    NoTimestamp,
}

/// Whether a frame's time can be true: not before 2000 and at most 5 minutes ahead of the Kafka timestamp of its record
/// (milliseconds since 1970; negative means none). Old times are right: a replay has them.
///
/// # Errors
/// [`UnlikelyTime`] says what is wrong.
pub fn check(time: EventTime, kafka_timestamp: i64) -> Result<(), UnlikelyTime> {
    if time < EARLIEST {
        return Err(UnlikelyTime::TooEarly);
    }
    if kafka_timestamp < 0 {
        return Err(UnlikelyTime::NoTimestamp);
    }
    match time.saturating_sub(kafka_timestamp) {
        ahead if ahead > TOLERANCE_MS => Err(UnlikelyTime::Future(ahead / 1000)),
        _ => Ok(()),
    }
}

/// A calendar day, UTC. Printed as `2020-04-22`; the text sorts as the days do from the year 0 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    /// The day to which a time belongs.
    #[must_use]
    pub const fn of(time: EventTime) -> Self {
        Self(time.div_euclid(DAY_MS))
    }

    /// The first moment after the day.
    #[must_use]
    pub const fn end(self) -> EventTime {
        self.0.saturating_add(1).saturating_mul(DAY_MS)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0.saturating_mul(DAY_MS)) {
            Ok(midnight) => write!(f, "{}", midnight.strftime("%Y-%m-%d")),
            Err(_beyond_the_year_9999) => f.write_str("9999-12-31"),
        }
    }
}

/// The hour of the day, UTC, 0 to 23.
#[must_use]
pub fn hour(time: EventTime) -> usize {
    usize::try_from(time.rem_euclid(DAY_MS) / HOUR_MS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_cannot_be_true_are_told() {
        let now = 1_584_802_202_655;
        assert_eq!(check(now, now), Ok(()));
        assert_eq!(check(EARLIEST, now), Ok(()), "a replay is old");
        assert_eq!(check(now + TOLERANCE_MS, now), Ok(()));
        assert_eq!(check(now + TOLERANCE_MS + 1, now), Err(UnlikelyTime::Future(300)));
        assert_eq!(check(EARLIEST - 1, now), Err(UnlikelyTime::TooEarly));
        assert_eq!(check(i64::MAX, 0), Err(UnlikelyTime::Future(i64::MAX / 1000)));
        assert_eq!(check(now, -1), Err(UnlikelyTime::NoTimestamp));
    }

    #[test]
    fn days_and_hours_are_utc() {
        let time = 1_587_566_620_000; // 2020-04-22 14:43:40 UTC
        assert_eq!(Day::of(time).to_string(), "2020-04-22");
        assert_eq!(hour(time), 14);
        assert_eq!(Day::of(-1).to_string(), "1969-12-31");
        assert_eq!(hour(-1), 23);
        assert_eq!(Day::of(i64::MAX).to_string(), "9999-12-31");
        assert_eq!(Day::of(Day::of(time).end()).to_string(), "2020-04-23");
    }
}
