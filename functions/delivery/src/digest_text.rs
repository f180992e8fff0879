//! How a digest is told: what messages would have said that were too many.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Mac, Ssid, Who};
use jiff::tz::TimeZone;
use runtime::zoned::{for_people, time_of_day};
use state::messages::Alert;
use state::names::Names;
use telegram::{Text, limit};

use crate::alert_text::{name, reason};

/// The longest list of networks in a digest.
const MAX_LINES: usize = 20;
/// So many of a network's devices are named.
const MAX_NAMED: usize = 3;
/// A name of a device in it.
const MAX_DEVICE_UNITS: usize = 40;

/// The text of a digest of these alerts; `names` is what devices are called.
pub(crate) fn text(alerts: &[&Alert], names: &BTreeMap<Mac, Names>, zone: &TimeZone) -> Text {
    let mut by_ssid: BTreeMap<&Ssid, Vec<&Alert>> = BTreeMap::new();
    for &alert in alerts {
        by_ssid.entry(&alert.ssid).or_default().push(alert);
    }
    let mut lines: Vec<(&Ssid, usize, Vec<&Alert>)> =
        by_ssid.into_iter().map(|(ssid, alerts)| (ssid, devices(&alerts), alerts)).collect();
    lines.sort_by(|(a, devices_a, _), (b, devices_b, _)| devices_b.cmp(devices_a).then_with(|| a.cmp(b)));
    let first = alerts.iter().map(|alert| alert.time).min().unwrap_or_default();
    let last = alerts.iter().map(|alert| alert.counted.last).max().unwrap_or_default();
    let mut text = Text::new().plain(format!(
        "📣 {} looked for watched networks from {} to {}: too many for a message each.",
        plural(devices(alerts) as u64, "device"),
        for_people(first, zone),
        time_of_day(last, zone)
    ));
    for (ssid, devices, alerts) in lines.iter().take(MAX_LINES) {
        let probes = alerts.iter().map(|alert| alert.counted.count).sum();
        text = text.plain("\n\t").code(name(ssid)).plain(format!(
            " : {}, {}",
            plural(*devices as u64, "device"),
            plural(probes, "probe")
        ));
        if let Some(alert) = alerts.last() {
            text = text.plain(format!(" ({})", limit::cut(&reason(alert), 60)));
        }
        let named = named(alerts, names);
        if !named.is_empty() {
            text = text.plain(" – among them ").code(named.join(", "));
        }
    }
    match lines.len().saturating_sub(MAX_LINES) {
        0 => text,
        more => text.plain(format!("\n\tand {more} more networks")),
    }
}

/// What the first devices that have a name are called.
fn named(alerts: &[&Alert], names: &BTreeMap<Mac, Names>) -> Vec<String> {
    let mut named: Vec<String> = Vec::new();
    for name in alerts.iter().filter_map(|alert| names.get(&alert.mac)?.best()) {
        let name = limit::line(name, MAX_DEVICE_UNITS);
        if named.len() < MAX_NAMED && !named.contains(&name) {
            named.push(name);
        }
    }
    named
}

/// How many devices there were: each counts once, and of passing phones each address of each episode.
fn devices(alerts: &[&Alert]) -> usize {
    let mut known = BTreeSet::new();
    let new = |alert: &&&Alert| match alert.who {
        Who::Device(mac) => known.insert(mac),
        Who::Passing => false,
    };
    let devices = alerts.iter().filter(new).count();
    let passing = alerts.iter().filter(|alert| alert.who == Who::Passing);
    devices + passing.map(|alert| alert.counted.addresses).sum::<usize>()
}

fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
