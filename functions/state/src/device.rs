//! The question the seed's bot asks: what has this device been looking for?

use std::collections::BTreeMap;

use domain::tally::{DayTally, DeviceTally, Tally};
use domain::{EventTime, Mac, Ssid};

use crate::error::Error;
use crate::forget;
use crate::item::{Attributes, Item as _};
use crate::{Table, key, tallies};

/// What was heard of a device, over all sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// All its frames.
    pub tally: DeviceTally,
    /// By named SSID: most frames first, then by the SSIDs' bytes.
    pub ssids: Vec<(Ssid, Tally)>,
}

impl Device {
    /// Adds what was heard of another device.
    pub fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        let mut ssids: BTreeMap<Ssid, Tally> = std::mem::take(&mut self.ssids).into_iter().collect();
        for (ssid, tally) in &other.ssids {
            ssids.entry(ssid.clone()).or_default().merge(tally);
        }
        self.ssids = most_frames_first(ssids);
    }
}

/// Those with most frames first, then by the SSIDs' bytes.
fn most_frames_first(ssids: BTreeMap<Ssid, Tally>) -> Vec<(Ssid, Tally)> {
    let mut ssids: Vec<(Ssid, Tally)> = ssids.into_iter().collect();
    ssids.sort_by(|(a, heard_a), (b, heard_b)| heard_b.count.cmp(&heard_a.count).then_with(|| a.cmp(b)));
    ssids
}

/// Looks a device up in a generation: one Query, and one read of its forget-mark. `None` when nothing was heard of it.
///
/// # Errors
/// When the table does not answer.
pub async fn look_up(table: &Table, generation: u32, mac: Mac, now_ms: i64) -> Result<Option<Device>, Error> {
    let pk = key::device(generation, mac);
    // Days sort before SSIDs and totals, and are not asked for here.
    let (items, mark) = futures::try_join!(table.query(&pk, "SSID#"), forget::mark(table, mac))?;
    let mut device = Device::default();
    let mut ssids: BTreeMap<Ssid, Tally> = BTreeMap::new();
    for item in &items {
        if !is_shown(item, mark, now_ms)? {
            continue;
        }
        match key::ssid_of(item.text("sk")?) {
            Some(ssid) => ssids.entry(ssid).or_default().merge(&tallies::read(item)?),
            None => device.tally.merge(&tallies::read_device(item)?),
        }
    }
    device.ssids = most_frames_first(ssids);
    Ok((device.tally.all.count > 0).then_some(device))
}

/// Some of the SSIDs that a device has looked for, those of late first, from at most `limit` items; and whether there may be more. Who
/// only wants a few names must not read all of a device that makes up a new one for every frame.
///
/// # Errors
/// When the table does not answer.
pub async fn some_ssids(
    table: &Table,
    generation: u32,
    mac: Mac,
    limit: i32,
    now_ms: i64,
) -> Result<(Vec<Ssid>, bool), Error> {
    let pk = key::device(generation, mac);
    let (items, mark) = futures::try_join!(table.query_some(&pk, "SSID#", limit), forget::mark(table, mac))?;
    let mut latest: BTreeMap<Ssid, EventTime> = BTreeMap::new();
    for item in &items {
        if is_shown(item, mark, now_ms)?
            && let Some(ssid) = key::ssid_of(item.text("sk")?)
        {
            let last = latest.entry(ssid).or_insert(EventTime::MIN);
            *last = item.number::<EventTime>("last")?.max(*last);
        }
    }
    let mut ssids: Vec<(Ssid, EventTime)> = latest.into_iter().collect();
    ssids.sort_by(|(a, last_a), (b, last_b)| last_b.cmp(last_a).then_with(|| a.cmp(b)));
    let may_be_more = i32::try_from(items.len()).is_ok_and(|found| found >= limit);
    Ok((ssids.into_iter().map(|(ssid, _)| ssid).collect(), may_be_more))
}

/// The days on which a device was heard, by their name (`2020-04-22`, UTC).
///
/// # Errors
/// When the table does not answer.
pub async fn days(
    table: &Table,
    generation: u32,
    mac: Mac,
    now_ms: i64,
) -> Result<BTreeMap<String, DayTally>, Error> {
    let pk = key::device(generation, mac);
    let (items, mark) = futures::try_join!(table.query_prefix(&pk, "DAY#"), forget::mark(table, mac))?;
    let mut days: BTreeMap<String, DayTally> = BTreeMap::new();
    for item in &items {
        if is_shown(item, mark, now_ms)? {
            let day = item.text("sk")?.split('#').nth(1).ok_or_else(|| item.unreadable("sk"))?;
            days.entry(day.to_owned()).or_default().merge(&tallies::read_day(item)?);
        }
    }
    Ok(days)
}

/// Whether an item counts: not one that waits for its deletion, nor one that an overlapping fold put back after its device was
/// forgotten.
pub(crate) fn is_shown(item: &Attributes, forgotten_before: EventTime, now_ms: i64) -> Result<bool, Error> {
    Ok(!item.is_expired(now_ms) && item.number::<EventTime>("first")? >= forgotten_before)
}
