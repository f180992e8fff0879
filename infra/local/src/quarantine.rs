//! `probegram quarantine`: what could not be read, and why.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;

use capture_agent::spool::PCAP;
use domain::Day;
use jiff::tz::TimeZone;
use runtime::zoned::{for_people, for_programs};
use state::generation::{self, consumer_group};
use state::quarantine::{self, KEPT_DAYS, Quarantined};
use state::{Source, Table, identity, progress};

use crate::cli::Quarantine;
use crate::stack::Stack;
use crate::table_socket;
use crate::template::Template;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Of a record's bytes so many characters are shown; all that is kept is in `--json`.
const SHOWN_CHARACTERS: usize = 200;

/// Lists what was quarantined, newest day first.
///
/// # Errors
/// When the table cannot be reached.
pub async fn run(options: Quarantine) -> anyhow::Result<ExitCode> {
    let template = Template::read()?;
    let opened = table_socket::open(&options.which, &template).await?;
    let group = template.mapping("AggregateBlueMapping")?.consumer_group;
    let zone = options.time_zone.map_or_else(TimeZone::system, |zone| zone.0);
    let asked = match (options.topic, &options.which.stack) {
        (Some(topic), _) => topic,
        (None, Some(stack)) => Stack::find(stack).await?.parameter("PcapTopic").unwrap_or(PCAP).to_owned(),
        (None, None) => PCAP.to_owned(),
    };
    let topics = topics(&opened.table, &group, &asked).await?;
    let now_ms = runtime::clock::now_ms();
    let mut stdout = std::io::stdout().lock();
    let (mut counted, mut kept) = (0, 0);
    for days_ago in 0..i64::from(options.days) {
        let day = Day::of(now_ms.saturating_sub(days_ago * DAY_MS));
        let (mut count, mut records) = (0, Vec::new());
        for topic in &topics {
            let (of_topic, kept) = quarantine::on_day(&opened.table, topic, day, now_ms).await?;
            count += of_topic;
            records.extend(kept);
        }
        records.sort_by_key(|(_, record)| std::cmp::Reverse((record.timestamp, record.offset)));
        // A record whose count was not yet written when its batch died is there all the same.
        count = count.max(records.len() as u64);
        counted += count;
        kept += records.len() as u64;
        if options.json {
            for (source, record) in &records {
                writeln!(stdout, "{}", for_program(source, record))?;
            }
        } else if count > 0 {
            write!(stdout, "{}", of_day(day, count, &records, &zone))?;
        }
    }
    if options.json {
        if counted > kept {
            tracing::warn!("{counted} records could not be read; the {kept} that are kept are listed");
        }
    } else if counted == 0 {
        writeln!(
            stdout,
            "Nothing of topic {} was quarantined in the last {} (by Kafka's time, UTC; kept for {KEPT_DAYS} days).",
            asked,
            days(options.days)
        )?;
    } else {
        writeln!(
            stdout,
            "Records are kept for {KEPT_DAYS} days. With a newer version that reads them, `probegram rebuild` counts them."
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The topic, and the spools that were read for it: each has a name of its own.
async fn topics(table: &Table, group: &str, topic: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut topics = BTreeSet::from([topic.to_owned()]);
    let base_group = format!("{group}-{}", identity::of(table).await?);
    let last = generation::serving(table).await?.saturating_add(1);
    for generation in 1..=last {
        let positions = progress::of_group(table, &consumer_group(&base_group, generation)).await?;
        let of_topic = |name: &str| name.split_once('@').is_some_and(|(of, _spool)| of == topic);
        topics.extend(positions.into_iter().map(|at| at.topic).filter(|name| of_topic(name)));
    }
    Ok(topics)
}

/// What people read about a day.
fn of_day(day: Day, count: u64, records: &[(Source, Quarantined)], zone: &TimeZone) -> String {
    let mut text = format!("{day} (UTC): {} could not be read", plural(count, "record"));
    let missing = count.saturating_sub(records.len() as u64);
    if missing > 0 {
        text += &format!(
            ", {} kept: of {missing} only the number is known, at most {} of a batch are kept",
            records.len(),
            quarantine::MAX_RECORDS
        );
    }
    text.push('\n');
    for (source, record) in records {
        text += &format!(
            "  {}  {source} offset {}\n    {}\n    {}\n",
            for_people(record.timestamp, zone),
            record.offset,
            record.reason.chars().map(escape).collect::<String>(),
            shown(&record.value)
        );
    }
    text.push('\n');
    text
}

/// Bytes as text on one line; what could steer a terminal is escaped.
fn shown(value: &[u8]) -> String {
    if value.is_empty() {
        return "(no bytes)".to_owned();
    }
    let mut escaped = String::new();
    for chunk in value.utf8_chunks() {
        escaped.extend(chunk.valid().chars().map(escape));
        escaped.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    let length = match value.len() {
        length if length == quarantine::MAX_BYTES => {
            format!("its first {length} bytes are kept")
        }
        length => plural(length as u64, "byte"),
    };
    match escaped.char_indices().nth(SHOWN_CHARACTERS) {
        Some((cut, _)) => format!("{}… ({length})", escaped.get(..cut).unwrap_or_default()),
        None => format!("{escaped} ({length})"),
    }
}

/// What is not printed as it is, as Rust writes it.
fn escape(character: char) -> String {
    match character {
        '"' | '\'' | '\\' => character.to_string(),
        other => other.escape_debug().to_string(),
    }
}

/// A record for programs, in one line.
fn for_program(source: &Source, record: &Quarantined) -> String {
    serde_json::json!({
        "topic": source.topic,
        "life": source.life,
        "partition": source.partition,
        "offset": record.offset,
        "timestamp": for_programs(record.timestamp),
        "reason": record.reason,
        "value_base64": base64_simd::STANDARD.encode_to_string(&record.value),
    })
    .to_string()
}

fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn days(days: u32) -> String {
    if days == 1 { "day".to_owned() } else { format!("{days} days") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_on_one_line_that_cannot_steer_a_terminal() {
        assert_eq!(shown(b""), "(no bytes)");
        assert_eq!(shown(b"a\n\x1b[2Jb"), r"a\n\u{1b}[2Jb (7 bytes)");
        assert_eq!(shown("né\u{9b}\"".as_bytes()), "né\\u{9b}\" (6 bytes)");
        assert_eq!(shown(b"\xff"), r"\xff (1 byte)");
        let long = shown(&[b'x'; quarantine::MAX_BYTES]);
        assert!(
            long.starts_with(&"x".repeat(SHOWN_CHARACTERS))
                && long.ends_with("xx… (its first 4096 bytes are kept)")
        );
    }
}
