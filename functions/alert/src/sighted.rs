//! Which records of a batch somebody wants to hear of, by chat, watch and device.

use std::collections::BTreeMap;

use domain::{Sighting, SsidElement, Who};
use runtime::kafka_event::Record;
use runtime::probe_record::{self, Content};
use rustc_hash::FxHashMap;

use crate::watch_list::{Match, WatchList};

/// What the records of one partition of a batch are about.
#[derive(Debug, Default)]
pub(crate) struct Sighted {
    /// The records, by offset, of each device that a watch of a chat is about.
    pub(crate) by_case: BTreeMap<(i64, usize, Who), (Match, Vec<Sighting>)>,
    /// Records that somebody watches for.
    pub(crate) matched: u64,
    /// Records that are too old to be told.
    pub(crate) too_old: u64,
}

/// Sorts records out, in the order of their offsets. What cannot be read is `aggregate`'s to quarantine: it reads the same records.
pub(crate) fn sort_out(
    records: &[Record<'_>],
    list: &mut WatchList,
    max_age_ms: i64,
    now_ms: i64,
) -> Sighted {
    let mut sighted = Sighted::default();
    if list.is_empty() {
        return sighted;
    }
    let mut cases: FxHashMap<(Match, Who), Vec<Sighting>> = FxHashMap::default();
    let mut buffer = Vec::new();
    for record in records {
        let Content::Probe(mac, probe) = probe_record::read(record, &mut buffer) else { continue };
        let SsidElement::Named(ssid) = probe.ssid else { continue };
        let matches = list.matches(&ssid, record.timestamp);
        if matches.is_empty() {
            continue;
        }
        sighted.matched += 1;
        if now_ms.saturating_sub(probe.time) > max_age_ms {
            sighted.too_old += 1;
            continue;
        }
        let sighting = Sighting {
            offset: record.offset,
            time: probe.time,
            mac,
            ssid,
            signal_dbm: probe.signal_dbm,
            sensor: probe.sensor,
        };
        for of in matches.into_iter().filter(|of| !list.is_unwanted(*of, mac, now_ms)) {
            cases.entry((of, Who::of(mac))).or_default().push(sighting.clone());
        }
    }
    for (number, ((of, who), sightings)) in cases.into_iter().enumerate() {
        // in the order of the records, so that messages go out in it
        let first = sightings.first().map_or(0, |sighting| sighting.offset);
        sighted.by_case.insert((first, number, who), (of, sightings));
    }
    sighted
}
