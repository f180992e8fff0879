//! How a digest is told: what messages would have said that were too many.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Ssid, Who};
use jiff::tz::TimeZone;
use runtime::zoned::{for_people, time_of_day};
use state::messages::Alert;
use telegram::{Text, limit};

use crate::alert_text::{name, reason};

/// The longest list of networks in a digest.
const MAX_LINES: usize = 20;

/// The text of a digest of these alerts.
pub(crate) fn text(alerts: &[&Alert], zone: &TimeZone) -> Text {
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
    }
    match lines.len().saturating_sub(MAX_LINES) {
        0 => text,
        more => text.plain(format!("\n\tand {more} more networks")),
    }
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
