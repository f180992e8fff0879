//! What the table must hold: a plain fold of what a topic held, item by item. It knows nothing of batches, conditions,
//! redeliveries or sums of sums; it groups all records by the items they belong to and counts.

use std::collections::BTreeMap;

use domain::record::{self, Record as PcapRecord};
use domain::{Day, Probe, SsidElement, event_time};
use probegram::template::EventSourceMapping;
use state::{Source, key};

use crate::dynamodb::Items;
use crate::kafka::Record;

/// As long as `aggregate` keeps days unless told otherwise.
const DAY_RETENTION_MS: i64 = 400 * 24 * 60 * 60 * 1000;
const GENERATION: u32 = 1;

/// What comes out of a topic.
#[derive(Debug, Default)]
pub struct Fold {
    /// The items of devices.
    pub items: Items,
    /// Probe requests that were counted.
    pub folded: usize,
    /// Records that cannot be read.
    pub quarantined: usize,
    /// The last offset that reaches the function, by partition.
    pub last: BTreeMap<i32, i64>,
}

/// Folds one life of a topic. `is_spoiled` tells the records whose value is made unreadable on the way.
///
/// # Panics
/// If a record has no source address.
#[must_use]
pub fn fold(
    records: &[Record],
    mapping: &EventSourceMapping,
    life: u32,
    is_spoiled: impl Fn(&[u8]) -> bool,
) -> Fold {
    let mut fold = Fold::default();
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    for record in records {
        let value = record.value.as_deref();
        if value.is_some_and(|value| !mapping.filters.iter().any(|filter| filter.passes(value))) {
            continue;
        }
        let last = fold.last.entry(record.partition).or_insert(record.offset);
        *last = record.offset.max(*last);
        let Some(value) = value else { continue }; // a tombstone says nothing here
        let probe = match record::decode(value) {
            Ok(PcapRecord::Probe(probe)) if !is_spoiled(value) => probe,
            Ok(PcapRecord::NotAProbeRequest) if !is_spoiled(value) => continue,
            _ => {
                fold.quarantined += 1;
                continue;
            }
        };
        if event_time::check(probe.time, record.timestamp).is_err() {
            fold.quarantined += 1;
            continue;
        }
        fold.folded += 1;
        let source = Source { topic: mapping.topic.clone(), life, partition: record.partition };
        let mac = probe.source.expect("a source address");
        let day = Day::of(probe.time);
        let mut belongs = vec![
            (key::device_tally(GENERATION, mac, &source), Kind::Device),
            (key::day_tally(GENERATION, mac, day, &source), Kind::Day(day)),
        ];
        if let SsidElement::Named(ssid) = &probe.ssid {
            belongs.push((key::ssid_tally(GENERATION, mac, ssid, &source), Kind::Ssid));
        }
        for (key, kind) in belongs {
            let group = groups.entry((key.pk, key.sk)).or_insert_with(|| Group { kind, probes: Vec::new() });
            group.probes.push((record.offset, probe.clone()));
        }
    }
    fold.items = groups.into_iter().map(|(key, group)| (key, item(&group))).collect();
    fold
}

/// All probes that belong to an item, with their offsets.
struct Group {
    kind: Kind,
    probes: Vec<(i64, Probe)>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Device,
    Ssid,
    Day(Day),
}

fn item(Group { kind, probes }: &Group) -> BTreeMap<String, String> {
    let mut item = BTreeMap::new();
    let mut put = |name: &str, value: String| drop(item.insert(name.to_owned(), value));
    let all = || probes.iter().map(|(_, probe)| probe);
    let last = all().map(|probe| probe.time).max().expect("a probe");
    put("seen", probes.iter().map(|(offset, _)| offset).max().expect("a probe").to_string());
    put("count", probes.len().to_string());
    put("first", all().map(|probe| probe.time).min().expect("a probe").to_string());
    put("last", last.to_string());
    let heard: Vec<(i8, &Probe)> =
        all().filter_map(|probe| probe.signal_dbm.map(|signal| (signal, probe))).collect();
    if !heard.is_empty() {
        put("signal_count", heard.len().to_string());
        put("signal_sum_dbm", heard.iter().map(|(signal, _)| i64::from(*signal)).sum::<i64>().to_string());
        put("signal_weakest_dbm", heard.iter().map(|(signal, _)| signal).min().expect("one").to_string());
        let strongest = heard.iter().map(|(signal, _)| signal).max().expect("one");
        let best = heard.iter().filter(|(signal, _)| signal == strongest).map(|(_, probe)| probe);
        let best = best.min_by_key(|probe| (probe.time, probe.sensor.clone())).expect("one");
        put("best_dbm", strongest.to_string());
        put("best_time", best.time.to_string());
        if let Some(sensor) = &best.sensor {
            put("best_sensor", sensor.clone());
        }
    }
    let of_a_kind = |wanted: &SsidElement| all().filter(|probe| probe.ssid == *wanted).count().to_string();
    let mac = probes[0].1.source.expect("a source address");
    match *kind {
        Kind::Device => {
            put("wildcard", of_a_kind(&SsidElement::Wildcard));
            put("no_ssid", of_a_kind(&SsidElement::Absent));
        }
        Kind::Ssid => {
            let SsidElement::Named(ssid) = &probes[0].1.ssid else { panic!("grouped by SSID") };
            put("ssid", key::ssid_index_hash(GENERATION, ssid));
            put("ssid_last_day", key::ssid_index_range(Day::of(last), mac));
        }
        Kind::Day(day) => {
            let in_hour = |hour: usize| all().filter(|probe| event_time::hour(probe.time) == hour).count();
            put("hours", (0..24).map(|hour| in_hour(hour).to_string()).collect::<Vec<_>>().join(" "));
            put("day", format!("{GENERATION}#DAY#{day}"));
            put("day_device", mac.to_string());
            put("expires", ((day.end() + DAY_RETENTION_MS) / 1000).to_string());
        }
    }
    item
}

/// What differs between the items that must be there and those that are, a line each, none when they are equal.
#[must_use]
pub fn differences(expected: &Items, actual: &Items) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, item) in expected {
        match actual.get(key) {
            None => lines.push(format!("{key:?} is missing: {item:?}")),
            Some(found) if found != item => {
                lines.push(format!("{key:?} is\n    {found:?} and should be\n    {item:?}"));
            }
            Some(_) => {}
        }
    }
    lines.extend(
        actual
            .keys()
            .filter(|key| !expected.contains_key(*key))
            .map(|key| format!("{key:?} should not be there")),
    );
    lines
}
