//! Two generations side by side: does a rebuild say of the same records what the serving generation says?
//!
//! Both are written while they are compared, and neither reads at the other's pace. So items are compared one by one: where both
//! have absorbed nothing beyond what both groups have read of their partition, they must be equal; where one is ahead, it must
//! hold what the other holds and perhaps more. Of the log's beginning retention has cut off what one generation still holds: so
//! only days count whose records are all still there, and totals of devices that were first heard on such a day.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::{Day, EventTime, Mac};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::Error;
use crate::item::{Attributes, Item as _};
use crate::merge::SEEN;
use crate::progress::{self, Position};
use crate::table::CONCURRENCY;
use crate::{Table, device, forget, key};

/// Of the differences so many are told by name.
pub const EXAMPLES: usize = 10;
const INDEX_PAGE: i32 = 1_000;

/// A generation and the group that writes it.
#[derive(Debug, Clone)]
pub struct Side {
    /// Its number.
    pub generation: u32,
    /// The consumer group.
    pub group: String,
}

/// From which day on the log holds every record, by topic and partition. `None`: from its beginning on.
pub type Whole = BTreeMap<(String, i32), Option<Day>>;

/// What two generations say of the same records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Devices of which both say the same.
    pub equal: u64,
    /// Of those, devices that were heard since one of the two has read on: what both have agrees.
    pub moving: u64,
    /// Devices of which they say different things.
    pub different: u64,
    /// Devices that only the old one has.
    pub only_old: u64,
    /// Devices that only the new one has.
    pub only_new: u64,
    /// Frames on the days that were compared.
    pub frames_old: u64,
    /// The same in the new one.
    pub frames_new: u64,
    /// The first differences.
    pub examples: Vec<Difference>,
}

/// An item that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whose it is.
    pub mac: Mac,
    /// What it counts: `TALLY`, `SSID#RNM0` or `DAY#2020-04-22`.
    pub what: String,
    /// Frames in the old generation; `None` where there is no item.
    pub old: Option<u64>,
    /// Frames in the new generation.
    pub new: Option<u64>,
}

impl Comparison {
    /// Whether both say the same.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.different == 0 && self.only_old == 0 && self.only_new == 0
    }
}

/// Compares two generations on the days that the log still holds whole, none before `earliest`.
///
/// # Errors
/// When the table does not answer.
pub async fn compare(
    table: &Table,
    old: &Side,
    new: &Side,
    whole: &Whole,
    earliest: EventTime,
    now_ms: EventTime,
) -> Result<Comparison, Error> {
    // Before any item: one that is written meanwhile has seen more than this.
    let (old_at, new_at) =
        futures::try_join!(progress::of_group(table, &old.group), progress::of_group(table, &new.group))?;
    let common = Common { old: by_partition(&old_at), new: by_partition(&new_at), whole };
    let devices = devices(table, [old.generation, new.generation], &common, earliest, now_ms).await?;
    let questions: Vec<_> = devices
        .into_iter()
        .map(|mac| of_device(table, mac, [old.generation, new.generation], &common, now_ms))
        .collect();
    let mut verdicts = futures::stream::iter(questions).buffered(CONCURRENCY);
    let mut sum = Comparison::default();
    while let Some(verdict) = verdicts.try_next().await? {
        sum.add(verdict);
    }
    Ok(sum)
}

/// How far both groups are.
struct Common<'a> {
    old: HashMap<(&'a str, i32), &'a Position>,
    new: HashMap<(&'a str, i32), &'a Position>,
    whole: &'a Whole,
}

fn by_partition(positions: &[Position]) -> HashMap<(&str, i32), &Position> {
    positions.iter().map(|at| ((at.topic.as_str(), at.partition), at)).collect()
}

/// What two generations say of a device.
#[derive(Default)]
struct Verdict {
    old_items: u64,
    new_items: u64,
    frames_old: u64,
    frames_new: u64,
    is_moving: bool,
    differences: Vec<Difference>,
}

impl Comparison {
    fn add(&mut self, verdict: Verdict) {
        self.frames_old += verdict.frames_old;
        self.frames_new += verdict.frames_new;
        let of = if verdict.differences.is_empty() {
            self.moving += u64::from(verdict.is_moving);
            &mut self.equal
        } else if verdict.new_items == 0 {
            &mut self.only_old
        } else if verdict.old_items == 0 {
            &mut self.only_new
        } else {
            &mut self.different
        };
        // A device without an item on these days was in the index alone.
        *of += u64::from(verdict.old_items + verdict.new_items > 0);
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(verdict.differences.into_iter().take(room));
    }
}

/// All devices heard on the days that are compared.
async fn devices(
    table: &Table,
    generations: [u32; 2],
    common: &Common<'_>,
    earliest: EventTime,
    now_ms: EventTime,
) -> Result<BTreeSet<Mac>, Error> {
    // Where a log is whole its records may be of any day.
    let first = common.whole.values().map(|day| day.unwrap_or(Day::of(earliest))).min();
    let mut devices = BTreeSet::new();
    let Some(mut day) = first.map(|day| day.max(Day::of(earliest))) else { return Ok(devices) };
    while day <= Day::of(now_ms) {
        for generation in generations {
            let hash = key::day_index_hash(generation, day);
            let mut below: Option<String> = None;
            loop {
                let page = table
                    .query_index(key::BY_DAY, ("day", &hash), "day_device", below.as_deref(), INDEX_PAGE)
                    .await?;
                let Some(last) = page.last() else { break };
                below = Some(last.text("day_device")?.to_owned());
                for entry in &page {
                    let mac = entry.text("day_device")?;
                    devices.insert(mac.parse().map_err(|_no_mac| entry.unreadable("day_device"))?);
                }
            }
        }
        day = Day::of(day.end());
    }
    Ok(devices)
}

async fn of_device(
    table: &Table,
    mac: Mac,
    [old, new]: [u32; 2],
    common: &Common<'_>,
    now_ms: EventTime,
) -> Result<Verdict, Error> {
    let (old_pk, new_pk) = (key::device(old, mac), key::device(new, mac));
    let (mark, old_items, new_items) =
        futures::try_join!(forget::mark(table, mac), table.query(&old_pk, " "), table.query(&new_pk, " "))?;
    let mut pairs: BTreeMap<Place, [Option<Attributes>; 2]> = BTreeMap::new();
    for (side, items, positions) in [(0, old_items, &common.old), (1, new_items, &common.new)] {
        for item in items {
            if !device::is_shown(&item, mark, now_ms)? {
                continue;
            }
            let (what, source) =
                key::what_and_source(item.text("sk")?).ok_or_else(|| item.unreadable("sk"))?;
            // Items of a topic that was deleted since hold nothing that is still in the log.
            let at = positions.get(&(source.topic.as_str(), source.partition));
            if at.is_some_and(|at| at.progress.life != source.life) {
                continue;
            }
            let place = Place { what: what.to_owned(), topic: source.topic, partition: source.partition };
            if let Some(of_side) = pairs.entry(place).or_default().get_mut(side) {
                *of_side = Some(item);
            }
        }
    }
    let mut verdict = Verdict::default();
    for (place, [old, new]) in &pairs {
        verdict.look_at(mac, place, old.as_ref(), new.as_ref(), common)?;
    }
    Ok(verdict)
}

/// What an item counts, and of which partition.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    what: String,
    topic: String,
    partition: i32,
}

impl Verdict {
    fn look_at(
        &mut self,
        mac: Mac,
        place: &Place,
        old: Option<&Attributes>,
        new: Option<&Attributes>,
        common: &Common<'_>,
    ) -> Result<(), Error> {
        let Some(whole_from) = common.whole.get(&(place.topic.clone(), place.partition)) else {
            return Ok(());
        };
        if let Some(from) = whole_from {
            for item in [old, new].into_iter().flatten() {
                if Day::of(item.number("first")?) < *from {
                    return Ok(());
                }
            }
        }
        self.old_items += u64::from(old.is_some());
        self.new_items += u64::from(new.is_some());
        let count = |item: Option<&Attributes>| item.map(|item| item.number::<u64>("count")).transpose();
        let (old_count, new_count) = (count(old)?, count(new)?);
        if place.what.starts_with("DAY#") {
            self.frames_old += old_count.unwrap_or_default();
            self.frames_new += new_count.unwrap_or_default();
        }
        let partition = (place.topic.as_str(), place.partition);
        let through = |positions: &HashMap<(&str, i32), &Position>| {
            positions.get(&partition).map_or(-1, |at| at.progress.through)
        };
        let (old_through, new_through) = (through(&common.old), through(&common.new));
        let read_by_both = old_through.min(new_through);
        let seen = |item: Option<&Attributes>| item.map_or(Ok(-1), |item| item.number::<i64>(SEEN));
        let (old_seen, new_seen) = (seen(old)?, seen(new)?);
        let agrees = if old_seen.max(new_seen) <= read_by_both {
            old.map(tally) == new.map(tally)
        } else {
            self.is_moving = true;
            if old_seen > new_seen { holds(old, new)? } else { holds(new, old)? }
        };
        if !agrees {
            let what = place.what.clone();
            self.differences.push(Difference { mac, what, old: old_count, new: new_count });
        }
        Ok(())
    }
}

/// Whether the item that is ahead holds what the other does.
fn holds(ahead: Option<&Attributes>, other: Option<&Attributes>) -> Result<bool, Error> {
    let (Some(ahead), Some(other)) = (ahead, other) else { return Ok(other.is_none()) };
    Ok(ahead.number::<u64>("count")? >= other.number::<u64>("count")?
        && ahead.number::<i64>("first")? <= other.number::<i64>("first")?
        && ahead.number::<i64>("last")? >= other.number::<i64>("last")?)
}

/// What an item says, without where it lies and when it expires.
fn tally(item: &Attributes) -> Attributes {
    let mut tally = item.clone();
    tally.retain(|name, _value| !matches!(name.as_str(), "pk" | "sk" | "expires" | "ssid" | "day" | SEEN));
    tally
}
