//! Tallies as items: probes in, one item a device, SSID and day, each guarded by what it has seen of its source.

use domain::tally::{Best, DayTally, DeviceTally, Signal, Tally};
use domain::{Day, EventTime, Mac, Probe, Ssid, SsidElement};
use rustc_hash::FxHashMap;

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::key::{self, Key};
use crate::merge::{self, Change, Effort, SEEN};
use crate::{Source, Table};

/// A probe request with its place in its source.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The record's offset.
    pub offset: i64,
    /// Who sent the frame.
    pub mac: Mac,
    /// The frame.
    pub probe: Probe,
}

/// How long tallies are kept, in milliseconds from the last event in them.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// A device's days.
    pub days_ms: i64,
    /// A device's totals and its SSIDs; `None` keeps them until the device is forgotten.
    pub totals_ms: Option<i64>,
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Retention {
    /// Retention in days: 400 for a device's days, and its totals as long as wanted.
    #[must_use]
    pub const fn in_days(days: u32, totals: Option<u32>) -> Self {
        let totals_ms = match totals {
            Some(totals) => Some(totals as i64 * DAY_MS),
            None => None,
        };
        Self { days_ms: days as i64 * DAY_MS, totals_ms }
    }
}

/// Folds the probes of one source into a generation's tallies. `now_ms` is the present, for what has expired.
///
/// # Errors
/// When the table does not answer, or answers too often that somebody else was quicker: the batch has to be delivered again.
pub async fn absorb(
    table: &Table,
    generation: u32,
    source: &Source,
    heard: &[Heard],
    retention: Retention,
    now_ms: i64,
) -> Result<Effort, Error> {
    let mut probes: FxHashMap<(Mac, Of<'_>), Vec<&Heard>> = FxHashMap::default();
    for one in heard {
        probes.entry((one.mac, Of::Device)).or_default().push(one);
        probes.entry((one.mac, Of::Day(Day::of(one.probe.time)))).or_default().push(one);
        if let SsidElement::Named(ssid) = &one.probe.ssid {
            probes.entry((one.mac, Of::Ssid(ssid))).or_default().push(one);
        }
    }
    let changes: Vec<TallyChange<'_>> = probes
        .into_iter()
        .map(|((mac, of), heard)| TallyChange {
            key: of.key(generation, mac, source),
            generation,
            mac,
            of,
            heard,
            retention,
            now_ms,
        })
        .collect();
    merge::apply(table, &changes).await
}

/// What of a device is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of<'a> {
    Device,
    Ssid(&'a Ssid),
    Day(Day),
}

impl Of<'_> {
    fn key(&self, generation: u32, mac: Mac, source: &Source) -> Key {
        match self {
            Self::Device => key::device_tally(generation, mac, source),
            Self::Ssid(ssid) => key::ssid_tally(generation, mac, ssid, source),
            Self::Day(day) => key::day_tally(generation, mac, *day, source),
        }
    }
}

struct TallyChange<'a> {
    key: Key,
    generation: u32,
    mac: Mac,
    of: Of<'a>,
    heard: Vec<&'a Heard>,
    retention: Retention,
    now_ms: i64,
}

impl Change for TallyChange<'_> {
    fn key(&self) -> &Key {
        &self.key
    }

    fn device(&self) -> Option<Mac> {
        Some(self.mac)
    }

    fn fold(
        &self,
        old: Option<&Attributes>,
        forgotten_before: EventTime,
    ) -> Result<Option<Attributes>, Error> {
        let seen = merge::seen(old)?;
        let new = self.heard.iter().filter(|one| one.offset > seen && one.probe.time >= forgotten_before);
        // An item that was put back after its device was forgotten, or that only waits for its deletion, starts anew.
        let begun = match old {
            Some(item)
                if item.is_expired(self.now_ms) || item.number::<EventTime>("first")? < forgotten_before =>
            {
                None
            }
            other => other,
        };
        let mut item = item::with_key(&self.key);
        let mut highest = seen;
        let new = new.inspect(|one| highest = highest.max(one.offset)).map(|one| &one.probe);
        let (index, expires) = match self.of {
            Of::Device => {
                let mut tally = begun.map_or(Ok(DeviceTally::default()), read_device)?;
                new.for_each(|probe| tally.absorb(probe));
                write_device(&tally, &mut item);
                (None, self.retention.totals_ms.map(|kept| tally.all.last.saturating_add(kept)))
            }
            Of::Ssid(ssid) => {
                let mut tally = begun.map_or(Ok(Tally::default()), read)?;
                new.for_each(|probe| tally.absorb(probe));
                write(&tally, &mut item);
                let index = key::by_ssid(self.generation, ssid, Day::of(tally.last), self.mac);
                (Some(index), self.retention.totals_ms.map(|kept| tally.last.saturating_add(kept)))
            }
            Of::Day(day) => {
                let mut tally = begun.map_or(Ok(DayTally::default()), read_day)?;
                new.for_each(|probe| tally.absorb(probe));
                write_day(&tally, &mut item);
                let index = key::by_day(self.generation, day, self.mac);
                (Some(index), Some(day.end().saturating_add(self.retention.days_ms)))
            }
        };
        if highest == seen {
            return Ok(None);
        }
        item.put(SEEN, item::number(highest));
        item.put_index(index);
        item.put_expiry(expires);
        // One that is expired already is not written: once deleted it could not guard itself against coming again.
        Ok((!item.is_expired(self.now_ms)).then_some(item))
    }
}

fn write(tally: &Tally, item: &mut Attributes) {
    item.put("count", item::number(tally.count));
    item.put("first", item::number(tally.first));
    item.put("last", item::number(tally.last));
    let Some(signal) = &tally.signal else { return };
    item.put("signal_count", item::number(signal.count));
    item.put("signal_sum_dbm", item::number(signal.sum_dbm));
    item.put("signal_weakest_dbm", item::number(signal.weakest_dbm));
    item.put("best_dbm", item::number(signal.best.dbm));
    item.put("best_time", item::number(signal.best.time));
    if let Some(sensor) = &signal.best.sensor {
        item.put("best_sensor", item::text(sensor));
    }
}

/// Reads a tally from its item.
pub(crate) fn read(item: &Attributes) -> Result<Tally, Error> {
    let signal = match item.optional_number("signal_count")? {
        None => None,
        Some(count) => Some(Signal {
            count,
            sum_dbm: item.number("signal_sum_dbm")?,
            weakest_dbm: item.number("signal_weakest_dbm")?,
            best: Best {
                dbm: item.number("best_dbm")?,
                time: item.number("best_time")?,
                sensor: item.optional_text("best_sensor").map(str::to_owned),
            },
        }),
    };
    Ok(Tally {
        count: item.number("count")?,
        first: item.number("first")?,
        last: item.number("last")?,
        signal,
    })
}

fn write_device(tally: &DeviceTally, item: &mut Attributes) {
    write(&tally.all, item);
    item.put("wildcard", item::number(tally.wildcard));
    item.put("no_ssid", item::number(tally.no_ssid));
}

/// Reads the tally of a device from its item.
pub(crate) fn read_device(item: &Attributes) -> Result<DeviceTally, Error> {
    Ok(DeviceTally { all: read(item)?, wildcard: item.number("wildcard")?, no_ssid: item.number("no_ssid")? })
}

fn write_day(tally: &DayTally, item: &mut Attributes) {
    write(&tally.all, item);
    let hours = tally.hours.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    item.put("hours", item::text(hours));
}

/// Reads the tally of a day from its item.
pub(crate) fn read_day(item: &Attributes) -> Result<DayTally, Error> {
    let mut hours = [0; 24];
    let mut counts = item.text("hours")?.split(' ');
    for hour in &mut hours {
        *hour = counts.next().and_then(|count| count.parse().ok()).ok_or_else(|| item.unreadable("hours"))?;
    }
    Ok(DayTally { all: read(item)?, hours })
}
