//! How a digest is told: what messages would have said that were too many.

use std::collections::BTreeMap;

use domain::{EventTime, Ssid};
use jiff::tz::TimeZone;
use runtime::zoned::{for_people, time_of_day};
use state::messages::Alert;
use telegram::{Text, limit};

use crate::alert_text::{name, reason};

/// The longest list of networks in a digest.
const MAX_LINES: usize = 20;

/// The text of a digest of these alerts.
pub(crate) fn text(alerts: &[&Alert], zone: &TimeZone) -> Text {
    #[derive(Default)]
    struct Line {
        devices: usize,
        probes: u64,
        reason: String,
    }
    let mut lines: BTreeMap<&Ssid, Line> = BTreeMap::new();
    let (mut first, mut last, mut devices) = (EventTime::MAX, EventTime::MIN, 0);
    for alert in alerts {
        let line = lines.entry(&alert.ssid).or_default();
        line.devices += alert.counted.addresses;
        line.probes += alert.counted.count;
        line.reason = reason(alert);
        devices += alert.counted.addresses;
        (first, last) = (first.min(alert.time), last.max(alert.counted.last));
    }
    let mut lines: Vec<(&Ssid, Line)> = lines.into_iter().collect();
    lines.sort_by(|(a, line_a), (b, line_b)| line_b.devices.cmp(&line_a.devices).then_with(|| a.cmp(b)));
    let mut text = Text::new().plain(format!(
        "📣 {} looked for watched networks from {} to {}: too many for a message each.",
        plural(devices as u64, "device"),
        for_people(first, zone),
        time_of_day(last, zone)
    ));
    for (ssid, line) in lines.iter().take(MAX_LINES) {
        text = text.plain("\n\t").code(name(ssid)).plain(format!(
            " : {}, {} ({})",
            plural(line.devices as u64, "device"),
            plural(line.probes, "probe"),
            limit::cut(&line.reason, 60)
        ));
    }
    match lines.len().saturating_sub(MAX_LINES) {
        0 => text,
        more => text.plain(format!("\n\tand {more} more networks")),
    }
}

fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
