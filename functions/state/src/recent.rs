//! What was looked for of late, by all: for questions that no index answers, such as a pattern with wildcards. Bounded, since it
//! reads device by device.

use std::collections::BTreeSet;

use domain::tally::Tally;
use domain::{Day, EventTime, Mac, Ssid};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::Error;
use crate::item::Item as _;
use crate::table::CONCURRENCY;
use crate::{Table, device, key};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const INDEX_PAGE: i32 = 200;
/// A device has an entry a day and source: more pages than this are not read, whoever fills them.
const MAX_PAGES: usize = 50;

/// What devices that were heard of late have looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recent {
    /// By device, in the order of their addresses: the SSIDs that it named since then, each with its tally over all time.
    pub devices: Vec<(Mac, Vec<(Ssid, Tally)>)>,
    /// Whether there were more devices than were asked for.
    pub is_cut: bool,
}

/// The SSIDs that devices have named since a time, of at most `limit` devices: those of the latest days.
///
/// # Errors
/// When the table does not answer.
pub async fn ssids(
    table: &Table,
    generation: u32,
    since_ms: EventTime,
    now_ms: i64,
    limit: usize,
) -> Result<Recent, Error> {
    let mut macs: BTreeSet<Mac> = BTreeSet::new();
    let mut is_cut = false;
    let mut pages = 0;
    let mut day = Day::of(now_ms);
    'days: while day >= Day::of(since_ms) {
        let hash = key::day_index_hash(generation, day);
        let mut below: Option<String> = None;
        loop {
            let entries = table
                .query_index(key::BY_DAY, ("day", &hash), "day_device", below.as_deref(), INDEX_PAGE)
                .await?;
            let Some(last) = entries.last() else { break };
            below = Some(last.text("day_device")?.to_owned());
            for entry in &entries {
                let mac =
                    entry.text("day_device")?.parse().map_err(|_no_mac| entry.unreadable("day_device"))?;
                if macs.len() >= limit && !macs.contains(&mac) {
                    is_cut = true;
                    break 'days;
                }
                macs.insert(mac);
            }
            pages += 1;
            if pages >= MAX_PAGES {
                is_cut = true;
                break 'days;
            }
        }
        day = Day::of(day.end().saturating_sub(2 * DAY_MS));
    }
    let questions: Vec<_> = macs.iter().map(|mac| device::look_up(table, generation, *mac, now_ms)).collect();
    let devices: Vec<_> = futures::stream::iter(questions).buffered(CONCURRENCY).try_collect().await?;
    let of_late = |device: device::Device| -> Vec<(Ssid, Tally)> {
        device.ssids.into_iter().filter(|(_, tally)| tally.last >= since_ms).collect()
    };
    let devices =
        macs.into_iter().zip(devices).filter_map(|(mac, device)| Some((mac, of_late(device?)))).collect();
    Ok(Recent { devices, is_cut })
}
