//! What a watch would have told already: the best hint that a name was written as devices write it.

use domain::tally::Tally;
use domain::{Day, EventTime, Mac, Pattern, Ssid};
use state::{recent, ssid};

use crate::asking::Asking;
use crate::error::Error;

const DAYS: i64 = 7;
const SPAN_MS: i64 = DAYS * 24 * 60 * 60 * 1000;
/// An index answers for one name; so many of its devices are counted.
const MAX_DEVICES: u64 = 1_000;
/// Nothing but reading device by device answers for a pattern; so many are read.
const MAX_READ: usize = 300;

/// What was counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Matched {
    devices: u64,
    probes: u64,
    /// The earliest probe of those.
    first: Option<EventTime>,
    /// Why there may be more.
    cut: Option<Cut>,
}

#[derive(Debug, PartialEq, Eq)]
enum Cut {
    /// So many devices looked for the one name.
    Counted,
    /// So many devices were heard at all.
    Read,
}

impl Matched {
    fn add(&mut self, tally: &Tally) {
        self.probes = self.probes.saturating_add(tally.count);
        self.first = Some(self.first.map_or(tally.first, |first| first.min(tally.first)));
    }
}

/// What a pattern would have matched of late, in words.
pub(crate) async fn tell(asking: &Asking<'_>, pattern: &Pattern) -> Result<String, Error> {
    let generation = asking.context.generation.serving().await?;
    let since = asking.now_ms.saturating_sub(SPAN_MS);
    let matched = match pattern.ssid() {
        Some(ssid) => of_name(asking, generation, ssid, since).await?,
        None => of_pattern(asking, generation, pattern, since).await?,
    };
    Ok(matched.in_words(since))
}

async fn of_name(
    asking: &Asking<'_>,
    generation: u32,
    name: &Ssid,
    since: EventTime,
) -> Result<Matched, Error> {
    let mut matched = Matched::default();
    let mut after: Option<String> = None;
    loop {
        let page = ssid::look_up(asking.table(), generation, name, after.as_deref(), asking.now_ms).await?;
        let is_over = page.devices.iter().any(|(_, tally)| tally.last < since);
        let of_late: Vec<&(Mac, Tally)> =
            page.devices.iter().filter(|(_, tally)| tally.last >= since).collect();
        for (_, tally) in of_late {
            if matched.devices >= MAX_DEVICES {
                matched.cut = Some(Cut::Counted);
                return Ok(matched);
            }
            matched.devices += 1;
            matched.add(tally);
        }
        // a page is newest first, and so are the pages
        match page.next {
            Some(next) if !is_over => after = Some(next),
            _ => return Ok(matched),
        }
    }
}

async fn of_pattern(
    asking: &Asking<'_>,
    generation: u32,
    pattern: &Pattern,
    since: EventTime,
) -> Result<Matched, Error> {
    let recent = recent::ssids(asking.table(), generation, since, asking.now_ms, MAX_READ).await?;
    let mut matched = Matched { cut: recent.is_cut.then_some(Cut::Read), ..Matched::default() };
    for (_mac, ssids) in &recent.devices {
        let mut of_device = ssids.iter().filter(|(ssid, _)| pattern.matches(ssid)).peekable();
        matched.devices += u64::from(of_device.peek().is_some());
        of_device.for_each(|(_, tally)| matched.add(tally));
    }
    Ok(matched)
}

impl Matched {
    fn in_words(&self, since: EventTime) -> String {
        let among = match self.cut {
            Some(Cut::Read) => format!(", among the {MAX_READ} devices that I looked at: there were more"),
            _ => String::new(),
        };
        let Some(first) = self.first else {
            return format!("It would have matched nothing in the last {DAYS} days{among}.");
        };
        let more = if self.cut == Some(Cut::Counted) { "more than " } else { "" };
        let (devices, probes) = (count(self.devices, "device"), count(self.probes, "probe"));
        if first >= since {
            return format!(
                "It would have matched {more}{probes} of {devices} in the last {DAYS} days{among}."
            );
        }
        // a tally counts since its first: what of it lies in the last days is not known
        format!(
            "It would have matched {more}{devices} in the last {DAYS} days ({more}{probes} since {}){among}.",
            Day::of(first)
        )
    }
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said() {
        let since = 1_587_562_620_000;
        let matched = |devices, probes, first, cut| Matched { devices, probes, first, cut }.in_words(since);
        for (told, words) in [
            (matched(0, 0, None, None), "It would have matched nothing in the last 7 days."),
            (
                matched(1, 1, Some(since), None),
                "It would have matched 1 probe of 1 device in the last 7 days.",
            ),
            (
                matched(3, 12, Some(since), None),
                "It would have matched 12 probes of 3 devices in the last 7 days.",
            ),
            (
                matched(3, 40, Some(since - 1), None),
                "It would have matched 3 devices in the last 7 days (40 probes since 2020-04-22).",
            ),
            (
                matched(1_000, 4_000, Some(since), Some(Cut::Counted)),
                "It would have matched more than 4000 probes of 1000 devices in the last 7 days.",
            ),
            (
                matched(2, 4, Some(since), Some(Cut::Read)),
                "It would have matched 4 probes of 2 devices in the last 7 days, among the 300 devices that I looked at: there were more.",
            ),
        ] {
            assert_eq!(told, words);
        }
    }
}
