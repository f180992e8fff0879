//! The question turned round: who looked for this network?

use std::collections::HashSet;

use domain::tally::Tally;
use domain::{Day, Mac, Ssid};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::Error;
use crate::item::Item as _;
use crate::table::CONCURRENCY;
use crate::{Table, device, forget, key, tallies};

/// A page is full when it holds this many devices and its last day is complete.
pub const PAGE: usize = 50;
/// A page never holds more than this, however many devices looked for an SSID on one day.
pub const MAX_PAGE: usize = 1_000;
const INDEX_PAGE: i32 = 200;

/// Devices that looked for an SSID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// One row a device, newest first.
    pub devices: Vec<(Mac, Tally)>,
    /// Ask for the page after this one with it. Opaque.
    pub next: Option<String>,
}

/// A page of the devices that looked for an SSID, newest first, from `after` (the [`Page::next`] of the page before).
///
/// The index sorts by the day of the last frame, so a page ends between two days. Only a day with more than [`MAX_PAGE`]
/// devices is cut, and then its pages are in order each for itself.
///
/// # Errors
/// When the table does not answer.
pub async fn look_up(
    table: &Table,
    generation: u32,
    ssid: &Ssid,
    after: Option<&str>,
    now_ms: i64,
) -> Result<Page, Error> {
    let hash = key::ssid_index_hash(generation, ssid);
    let mut below = after.map(str::to_owned);
    let mut devices: Vec<(Mac, Tally)> = Vec::new();
    let mut shown: HashSet<Mac> = HashSet::new();
    let next = 'page: loop {
        let entries = table
            .query_index(key::BY_SSID, ("ssid", &hash), "ssid_last_day", below.as_deref(), INDEX_PAGE)
            .await?;
        let mut places = Vec::with_capacity(entries.len());
        for entry in &entries {
            let range = entry.text("ssid_last_day")?;
            let (day, mac) = range.split_once('#').ok_or_else(|| entry.unreadable("ssid_last_day"))?;
            let mac: Mac = mac.parse().map_err(|_no_mac| entry.unreadable("ssid_last_day"))?;
            places.push((day, range, mac));
        }
        if places.is_empty() {
            break None;
        }
        let questions: Vec<_> =
            places.iter().map(|(_, _, mac)| of_device(table, generation, *mac, ssid, now_ms)).collect();
        let rows: Vec<Option<Tally>> =
            futures::stream::iter(questions).buffered(CONCURRENCY).try_collect().await?;
        for ((day, range, mac), row) in places.iter().zip(rows) {
            let day_before = below.as_deref().and_then(|below| below.split('#').next());
            if devices.len() >= MAX_PAGE {
                break 'page below;
            }
            if devices.len() >= PAGE && day_before.is_some_and(|before| before != *day) {
                break 'page day_before.map(|day| format!("{day}#"));
            }
            below = Some((*range).to_owned());
            let Some(tally) = row else { continue };
            // A device of several sources has several entries: it stands at the newest, which an earlier page may have shown.
            let newest = key::ssid_index_range(Day::of(tally.last), *mac);
            if after.is_none_or(|after| newest.as_str() < after) && shown.insert(*mac) {
                devices.push((*mac, tally));
            }
        }
    };
    devices.sort_by(|(a, heard_a), (b, heard_b)| heard_b.last.cmp(&heard_a.last).then_with(|| a.cmp(b)));
    Ok(Page { devices, next })
}

/// What a device's items of all sources say of an SSID.
async fn of_device(
    table: &Table,
    generation: u32,
    mac: Mac,
    ssid: &Ssid,
    now_ms: i64,
) -> Result<Option<Tally>, Error> {
    let pk = key::device(generation, mac);
    let prefix = key::ssid_prefix(ssid);
    let (items, mark) = futures::try_join!(table.query_prefix(&pk, &prefix), forget::mark(table, mac))?;
    let mut sum = Tally::default();
    for item in &items {
        if device::is_shown(item, mark, now_ms)? {
            sum.merge(&tallies::read(item)?);
        }
    }
    Ok((sum.count > 0).then_some(sum))
}
