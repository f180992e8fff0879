//! How it is told that a sensor, or the way from it, is in trouble, and that it is well again: in the words of the seed's
//! `check_ingest` where it is that nothing comes in.

use domain::EventTime;
use domain::watchdog::{Piece, Reason, span};
use jiff::tz::TimeZone;
use runtime::zoned::for_people;
use state::messages::{Ingest, Notice};
use telegram::{Text, limit};

/// The longest name of a sensor.
const MAX_SENSOR_UNITS: usize = 100;
/// The longest piece of a reason.
const MAX_PIECE_UNITS: usize = 700;
/// The longest list in one message.
const MAX_LINES: usize = 30;
/// A reason in that list.
const MAX_LISTED_UNITS: usize = 80;

/// The text of a notice.
pub(crate) fn text(notice: &Notice, zone: &TimeZone) -> Text {
    let Some(ingest) = notice.ingest else {
        return Text::new().plain(sign(notice)).append(said(notice, zone));
    };
    Text::new()
        .plain(sign(notice))
        .plain(headline(notice, ingest, zone))
        .plain("\n\n")
        .append(said(notice, zone))
}

const fn sign(notice: &Notice) -> &'static str {
    if notice.well_since.is_some() { "✅" } else { "❌" }
}

/// The seed's words.
fn headline(notice: &Notice, ingest: Ingest, zone: &TimeZone) -> String {
    match (notice.well_since, ingest.latest) {
        (Some(_), Some(latest)) => {
            format!("pcap ingest looks good. Latest ingest time is {}", for_people(latest, zone))
        }
        (Some(_), None) => "pcap ingest looks good".to_owned(),
        (None, Some(latest)) => {
            format!("pcap ingest has stalled. Latest ingest time is {}", for_people(latest, zone))
        }
        (None, None) => "pcap ingest check failed. Latest ingest time is empty".to_owned(),
    }
}

/// What is wrong, or was, and of which sensor.
fn said(notice: &Notice, zone: &TimeZone) -> Text {
    let text = match &notice.sensor {
        Some(sensor) => Text::new().plain("Sensor ").code(limit::line(sensor, MAX_SENSOR_UNITS)).plain(": "),
        None => Text::new(),
    };
    let Some(well_since) = notice.well_since else { return text.append(reason(&notice.reason, zone)) };
    let after = span(well_since.saturating_sub(notice.since));
    text.plain(format!("well again after {after}\n\nIt was: ")).append(reason(&notice.reason, zone))
}

/// A reason with its times in a zone.
fn reason(reason: &Reason, zone: &TimeZone) -> Text {
    reason.pieces().iter().fold(Text::new(), |text, piece| match piece {
        Piece::Time(time) => text.plain(for_people(*time, zone)),
        Piece::Words(words) => {
            // what words begin and end with keeps them apart from the time beside them
            let line = limit::line(words, MAX_PIECE_UNITS);
            let blank = |is: bool| if is { " " } else { "" };
            let text = text.plain(blank(words.starts_with(' '))).plain(line);
            text.plain(blank(words.ends_with(' ') && words.trim().len() > 1))
        }
    })
}

/// The text of a message that tells of many.
pub(crate) fn digest(notices: &[&Notice], zone: &TimeZone) -> Text {
    let wrong = notices.iter().filter(|notice| notice.well_since.is_none()).count();
    let since = notices.iter().map(|notice| notice.since).min().unwrap_or_default();
    let mut text = Text::new().plain(format!(
        "{}{} and {} since {}: too many for a message each.",
        if wrong > 0 { "❌" } else { "✅" },
        plural(wrong, "trouble", "troubles"),
        plural(notices.len() - wrong, "recovery", "recoveries"),
        for_people(since, zone)
    ));
    for notice in notices.iter().take(MAX_LINES) {
        let line = match notice.well_since {
            Some(well) => format!("well again after {}", span(well.saturating_sub(notice.since))),
            None => limit::line(&in_words(&notice.reason, zone), MAX_LISTED_UNITS),
        };
        let sensor = limit::line(notice.sensor.as_deref().unwrap_or("Kafka"), 40);
        text = text.plain(format!("\n\t{}", sign(notice))).code(sensor).plain(format!(" : {line}"));
    }
    match notices.len().saturating_sub(MAX_LINES) {
        0 => text,
        more => text.plain(format!("\n\tand {more} more")),
    }
}

fn plural(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// A reason as one text.
fn in_words(reason: &Reason, zone: &TimeZone) -> String {
    reason.text(|time: EventTime| for_people(time, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-24 22:44:59 in London.
    const TIME: EventTime = 1_795_560_299_000;

    fn notice(sensor: Option<&str>, reason: Reason, ingest: Option<Ingest>) -> Notice {
        let (sensor, kind) = (sensor.map(str::to_owned), "heartbeat".to_owned());
        Notice { sensor, kind, reason, since: TIME, well_since: None, ingest, follows: None }
    }

    fn told(notice: &Notice) -> String {
        text(notice, &TimeZone::get("Europe/London").unwrap()).to_string()
    }

    #[test]
    fn that_nothing_comes_in_has_the_seeds_words() {
        let reason = Reason::new("no heartbeat for 3 min, the last one came at ").time(TIME);
        let mut stalled = notice(Some("hallway"), reason, Some(Ingest { latest: Some(TIME) }));
        assert_eq!(
            told(&stalled),
            "❌pcap ingest has stalled. Latest ingest time is 2026-11-24 22:44:59 GMT\n\n\
             Sensor hallway: no heartbeat for 3 min, the last one came at 2026-11-24 22:44:59 GMT"
        );
        stalled.well_since = Some(TIME + 12 * 60_000);
        assert_eq!(
            told(&stalled),
            "✅pcap ingest looks good. Latest ingest time is 2026-11-24 22:44:59 GMT\n\n\
             Sensor hallway: well again after 12 min\n\n\
             It was: no heartbeat for 3 min, the last one came at 2026-11-24 22:44:59 GMT"
        );
        let empty = notice(
            None,
            Reason::new("no record of topic pcap was counted yet"),
            Some(Ingest { latest: None }),
        );
        assert_eq!(
            told(&empty),
            "❌pcap ingest check failed. Latest ingest time is empty\n\nno record of topic pcap was counted yet"
        );
    }

    #[test]
    fn other_troubles_begin_with_the_sensor() {
        let reason = Reason::new("was stopped at ").time(TIME).words(" and was not started again");
        let mut stopped = notice(Some("hallway"), reason, None);
        let said = "was stopped at 2026-11-24 22:44:59 GMT and was not started again";
        assert_eq!(told(&stopped), format!("❌Sensor hallway: {said}"));
        stopped.well_since = Some(TIME + 45_000);
        assert_eq!(told(&stopped), format!("✅Sensor hallway: well again after 45 s\n\nIt was: {said}"));
    }

    #[test]
    fn hostile_words_disturb_nothing() {
        let reason = Reason::new("\n\n/forget\u{202e}".repeat(1_000));
        let text = told(&notice(Some(&"\n".repeat(255)), reason, None));
        assert!(limit::units(&text) < 1_000 && text.lines().count() == 1, "{text}");
        let many: Vec<Notice> = (0..500)
            .map(|number| notice(Some(&format!("{number:☕>255}")), Reason::new("🎉".repeat(500)), None))
            .collect();
        let text = digest(&many.iter().collect::<Vec<_>>(), &TimeZone::UTC);
        assert!(text.units() <= limit::MAX_UNITS && text.as_str().ends_with("\n\tand 470 more"));
        let mut two = many[..2].to_vec();
        two[1].well_since = Some(TIME);
        let text = digest(&two.iter().collect::<Vec<_>>(), &TimeZone::UTC);
        assert!(text.as_str().starts_with("❌1 trouble and 1 recovery since "), "{}", text.as_str());
    }
}
