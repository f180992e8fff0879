//! Times as people and programs are told them.

use domain::EventTime;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// For people: `2020-04-18 17:04:27 BST`, in their time zone and with its name.
#[must_use]
pub fn for_people(time: EventTime, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(time) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        Err(_beyond_the_calendar) => format!("{time} ms after 1970"),
    }
}

/// For programs: `2020-04-18T16:04:27.000Z` (RFC 3339).
#[must_use]
pub fn for_programs(time: EventTime) -> Option<String> {
    let time = Timestamp::from_millisecond(time).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// A time zone by its IANA name.
#[derive(Debug, Clone)]
pub struct ZoneName(pub TimeZone);

impl std::str::FromStr for ZoneName {
    type Err = jiff::Error;

    fn from_str(name: &str) -> Result<Self, jiff::Error> {
        TimeZone::get(name).map(Self)
    }
}

/// The time of day alone, `18:21`, for what happened on the day that is told beside it.
#[must_use]
pub fn time_of_day(time: EventTime, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(time) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%H:%M").to_string(),
        Err(_beyond_the_calendar) => format!("{time} ms after 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_zone() {
        let time = 1_587_225_867_000;
        let london = TimeZone::get("Europe/London").unwrap();
        assert_eq!(for_people(time, &london), "2020-04-18 17:04:27 BST");
        assert_eq!(for_people(time, &TimeZone::UTC), "2020-04-18 16:04:27 UTC");
        assert_eq!(for_programs(time).unwrap(), "2020-04-18T16:04:27.000Z");
        assert_eq!(for_programs(1_587_225_867_987).unwrap(), "2020-04-18T16:04:27.987Z");
        assert_eq!(for_programs(i64::MAX), None);
    }
}
