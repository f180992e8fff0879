//! `probegram rebuild`: counts the whole log anew into the next generation, compares it with the one that serves, and lets it serve.
//!
//! The group of the new generation reads the log from its beginning while the group of the old one goes on: each generation is
//! written by its own group alone. Where a rebuild was interrupted it goes on, since that group has its position.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use delivery::Telegram;
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::tz::TimeZone;
use rdkafka::config::ClientConfig;
use state::comparison::{self, Comparison, Difference, Side, Whole};
use state::generation::{self, Pointer};
use state::tallies::Retention;
use state::{Table, progress};
use tokio::task::JoinSet;

use crate::blue_green;
use crate::changeover::is_fed_from;
use crate::cli::Rebuild;
use crate::host::{self, Host, Mappings, kafka_config};
use crate::log_extent::{self, Extent};
use crate::said::say;
use crate::shutdown::{self, INTERRUPTED, Signals};
use crate::table_socket;
use crate::template::Template;

/// How often it is looked how far it is, and how often that is said without a terminal.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const SAY_EVERY: Duration = Duration::from_secs(5);
/// As long as nobody reads a new generation, full batches are worth a wait.
const WINDOW_S: u64 = 1;
/// A rebuild that was killed is no member of its group any more after this time, and the next one gets its partitions.
const SESSION_TIMEOUT_MS: &str = "10000";

/// Where the records are.
#[derive(Debug, Clone)]
enum Log {
    Spool(PathBuf),
    Kafka(ClientConfig),
}

/// Rebuilds, or goes back.
///
/// # Errors
/// When the table or the log cannot be reached.
pub async fn run(options: Rebuild) -> anyhow::Result<ExitCode> {
    let template = Template::read()?;
    let mappings = Mappings::read(&template, materialize::Topics::default(), Some(WINDOW_S))?;
    let topic = mappings.aggregate.topic.clone();
    let opened = table_socket::open(&options.which, &template).await?;
    let table = &opened.table;
    if let Some(stack) = &options.which.stack {
        return blue_green::run(&options, stack, table).await;
    }
    if options.which.dynamodb_endpoint.is_some() {
        let name = &options.which.table;
        // the group of a stack's functions: `AggregateGroup` in template.yaml
        let is_of_stack = !progress::of_group(table, &format!("{name}-aggregate")).await?.is_empty();
        ensure!(
            !is_of_stack,
            "{name} is the table of a stack, whose functions write it: name that instead, with --stack"
        );
    }
    let retention = Retention::in_days(options.day_retention, options.totals_retention);
    let host = Host::new(table.clone(), mappings, retention, TimeZone::UTC, Telegram::none()).await?;
    let pointer = generation::pointer(table).await?;
    if options.back {
        return back(&host, table, pointer).await;
    }
    let log = Log::of(&options)?;
    let extents = log.extents(&topic).await?;
    announce(&host, table, pointer, &log).await?;

    let next = pointer.next();
    let mut signals = Signals::listen()?;
    let (trigger, stop) = shutdown::channel();
    let mut feeds: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let (kafka, spool) = match log.clone() {
        Log::Kafka(config) => (Some(config), PathBuf::new()),
        Log::Spool(directory) => (None, directory),
    };
    host::feed(host.aggregate(next), kafka, spool, &stop, &mut feeds);
    let work = async {
        let read = read_to_the_end(&host, next, &extents).await;
        say(&format!("Generation {next} has all that the log holds: {} records.\n", HumanCount(read)))?;
        let whole = log_extent::whole(&log.extents(&topic).await?);
        let side = |generation| Side { generation, group: host.group(generation) };
        let now_ms = runtime::clock::now_ms();
        let (old, new) = (side(pointer.serving), side(next));
        let earliest = now_ms.saturating_sub(retention.days_ms);
        let comparison = comparison::compare(table, &old, &new, &whole, earliest, now_ms).await?;
        say(&report(&comparison, &old, &new, &whole))?;
        decide(&options, table, pointer, &comparison, &whole).await
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        failure = host::failed(&mut feeds) => failure.map(|()| ExitCode::FAILURE),
        () = signals.wait() => say("Interrupted: nothing is lost, type the command again and it goes on here.\n")
            .map(|()| ExitCode::from(INTERRUPTED)),
    };
    trigger.pull();
    while feeds.join_next().await.is_some() {}
    outcome
}

impl Log {
    fn of(options: &Rebuild) -> anyhow::Result<Self> {
        let Some(servers) = &options.log.bootstrap_servers else {
            let directory = options.log.spool.clone().map_or_else(|| options.which.data(), Ok)?;
            return Ok(Self::Spool(directory));
        };
        let mut config = kafka_config(servers, options.log.kafka_config.as_deref())?;
        // As a member without a name it leaves its group at its end, and takes no place of a `probegram local` on this machine.
        config.remove("group.instance.id");
        if config.get("session.timeout.ms").is_none() {
            config.set("session.timeout.ms", SESSION_TIMEOUT_MS);
        }
        Ok(Self::Kafka(config))
    }

    async fn extents(&self, topic: &str) -> anyhow::Result<Vec<Extent>> {
        match self {
            Self::Spool(directory) => log_extent::of_spool(directory, topic),
            Self::Kafka(config) => {
                let (config, topic) = (config.clone(), topic.to_owned());
                tokio::task::spawn_blocking(move || log_extent::of_topic(&config, &topic)).await?
            }
        }
    }
}

/// The generation that served before this one.
///
/// # Errors
/// When there is none.
pub(crate) fn before(pointer: Pointer) -> anyhow::Result<u32> {
    let serving = pointer.serving;
    let before = pointer.before.or_else(|| serving.checked_sub(1).filter(|before| *before > 0));
    before.with_context(|| {
        format!("generation {serving} is the first that serves: there is none to go back to")
    })
}

/// Lets the generation serve that served before.
async fn back(host: &Host, table: &Table, pointer: Pointer) -> anyhow::Result<ExitCode> {
    let (serving, before) = (pointer.serving, before(pointer)?);
    if !generation::flip(table, serving, before).await? {
        bail!("somebody else has just let another generation serve: look again with GET /v1/status");
    }
    say(&format!(
        "Generation {before} serves again. A `probegram local` that runs goes over to it within 30 s, and reads what came meanwhile.\n\
         Generation {serving} stays in the table: `probegram rebuild --back` once more returns to it.\n"
    ))?;
    let was_kafka = |group: String| async move {
        let positions = progress::of_group(table, &group).await?;
        anyhow::Ok(positions.first().map(|at| !at.topic.contains('@')))
    };
    if let (Some(now), Some(then)) =
        (was_kafka(host.group(before)).await?, was_kafka(host.group(serving)).await?)
        && now != then
    {
        say(&format!(
            "It is fed from {}: a `probegram local` that reads the other log ends, start it again for this one.\n",
            if now { "Kafka" } else { "the spool" }
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what is about to happen.
async fn announce(host: &Host, table: &Table, pointer: Pointer, log: &Log) -> anyhow::Result<()> {
    let (serving, next) = (pointer.serving, pointer.next());
    let begun = !progress::of_group(table, &host.group(next)).await?.is_empty();
    let verb = if begun { "Going on with" } else { "Writing" };
    let mut text = format!("{verb} generation {next}, while generation {serving} serves.\n");
    if next > serving + 1 {
        writeln!(text, "Generations up to {} have served before and stay as they are.", next - 1)?;
    }
    if !is_fed_from(table, &host.group(1), serving, matches!(log, Log::Kafka(_))).await? {
        writeln!(
            text,
            "Generation {serving} is fed from another log: its records are not the same ones, so nothing is compared. A `probegram \
             local` that runs ends when generation {next} serves: start it again for this log."
        )?;
    }
    say(&text)
}

/// Returns when the new generation has everything that the log holds; shows how far it is. How many records that are.
async fn read_to_the_end(host: &Host, generation: u32, extents: &[Extent]) -> u64 {
    let group = host.group(generation);
    let mut shown = Shown::new();
    let mut said_shared = false;
    let began = Instant::now();
    loop {
        let at = host.positions.offsets(&group);
        let (mut done, mut all) = (0, 0);
        let mut known = 0;
        for extent in extents {
            let position = at
                .iter()
                .find(|(topic, partition, _)| *topic == extent.topic && *partition == extent.partition)
                .map(|(_, _, offsets)| *offsets);
            known += usize::from(position.is_some());
            let end = position.map_or(extent.end, |at| at.end.max(extent.end));
            all += end.saturating_sub(extent.first).max(0).unsigned_abs();
            let next = position.map_or(extent.first, |at| at.next.min(end));
            done += next.saturating_sub(extent.first).max(0).unsigned_abs();
        }
        shown.show(done, all, known == extents.len());
        if known == extents.len() && host.is_caught_up(generation) {
            shown.end();
            return all;
        }
        if known < extents.len()
            && began.elapsed() > 2 * SAY_EVERY
            && !std::mem::replace(&mut said_shared, true)
        {
            tracing::warn!(
                partitions = extents.len(),
                ours = known,
                "Kafka has not given all partitions yet: does another program write the same generation?"
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How far it is, as a bar on a terminal and in plain lines elsewhere.
pub(crate) struct Shown {
    bar: Option<ProgressBar>,
    /// When it was first known where it begins, and where.
    began: Option<(Instant, u64)>,
    said: Instant,
}

impl Shown {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
            let template = "{bar:30} {human_pos} of {human_len} records, {per_sec}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, began: None, said: Instant::now() }
    }

    pub(crate) fn show(&mut self, done: u64, all: u64, is_known: bool) {
        if !is_known {
            return;
        }
        if self.began.is_none()
            && let Some(bar) = &self.bar
        {
            // what an earlier run has read says nothing about the speed of this one
            bar.set_position(done);
            bar.reset_eta();
        }
        let (since, from) = *self.began.get_or_insert_with(|| (Instant::now(), done));
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_position(done);
        } else if self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            let text = line(done, all, done.saturating_sub(from), since.elapsed());
            // whoever has closed standard error does not want to know
            drop(writeln!(std::io::stderr(), "{text}"));
        }
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How far it is, in a line.
fn line(done: u64, all: u64, read: u64, took: Duration) -> String {
    let per_second = u128::from(read) * 1000 / took.as_millis().max(1);
    let left = match u64::try_from(per_second) {
        Ok(per_second) if per_second > 0 => {
            let left = Duration::from_secs(all.saturating_sub(done) / per_second);
            format!("about {} left", HumanDuration(left))
        }
        _ => "waiting".to_owned(),
    };
    format!("{} of {} records, {per_second} records/s, {left}", HumanCount(done), HumanCount(all))
}

/// What the two generations say of the same records.
pub(crate) fn report(comparison: &Comparison, old: &Side, new: &Side, whole: &Whole) -> String {
    let (old, new) = (old.generation, new.generation);
    let days = match whole.values().min() {
        Some(Some(day)) => format!("on the days that the log still holds whole, from {day} (UTC) on"),
        _ => "on all days: the log holds everything that was ever in it".to_owned(),
    };
    let Comparison { equal, moving, different, only_old, only_new, frames_old, frames_new, examples } =
        comparison;
    let mut text = format!("Compared with generation {old} {days}:\n");
    if equal + different + only_old + only_new == 0 {
        text += "  neither has a device on these days\n";
        return text;
    }
    text += &format!("  devices  {} the same", HumanCount(*equal));
    if *moving > 0 {
        text += &format!(" ({} of them as far as both have read)", HumanCount(*moving));
    }
    text += &format!(
        ", {} different, {} only in generation {old}, {} only in generation {new}\n  \
         frames   {} in generation {old}, {} in generation {new}\n",
        HumanCount(*different),
        HumanCount(*only_old),
        HumanCount(*only_new),
        HumanCount(*frames_old),
        HumanCount(*frames_new)
    );
    for difference in examples {
        text += &example(difference, old, new);
    }
    if examples.len() == comparison::EXAMPLES {
        text += "  …\n";
    }
    text
}

fn example(difference: &Difference, old: u32, new: u32) -> String {
    let what = match difference.what.split_once('#') {
        Some(("SSID", name)) => format!("network {name}"),
        Some(("DAY", day)) => day.to_owned(),
        _ => "in all".to_owned(),
    };
    let frames =
        |count: Option<u64>| count.map_or("nothing".to_owned(), |count| HumanCount(count).to_string());
    let hint = if difference.old == difference.new { " (times or signal differ)" } else { "" };
    format!(
        "  {}, {what}: {} in generation {old}, {} in generation {new}{hint}\n",
        difference.mac,
        frames(difference.old),
        frames(difference.new)
    )
}

/// Lets the new generation serve, or says why not.
pub(crate) async fn decide(
    options: &Rebuild,
    table: &Table,
    pointer: Pointer,
    comparison: &Comparison,
    whole: &Whole,
) -> anyhow::Result<ExitCode> {
    let (old, new) = (pointer.serving, pointer.next());
    if options.no_flip {
        say(&format!(
            "Generation {old} goes on serving. Without --no-flip this command goes on with generation {new}.\n"
        ))?;
        return Ok(if comparison.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if !comparison.is_equal() && !options.accept {
        say(&format!(
            "They differ, so generation {old} goes on serving. If generation {new} is the right one, as after a decoder was mended, \
             type the command again with --accept.\n"
        ))?;
        return Ok(ExitCode::FAILURE);
    }
    let flipped =
        generation::flip(table, old, new).await.context("generation could not be taken into service")?;
    if !flipped && generation::serving(table).await? != new {
        bail!("somebody else has let another generation serve meanwhile: see GET /v1/status");
    }
    let mut text = format!(
        "Generation {new} serves. What runs goes over to it within 30 s; nothing is asked of it.\n\
         Generation {old} stays in the table: its days expire by themselves, and `probegram rebuild --back` returns to it.\n"
    );
    if whole.values().any(Option::is_some) {
        text += &format!(
            "What the log holds no more, generation {new} does not know: that is in generation {old} alone.\n"
        );
    }
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_has_a_rate_and_a_time() {
        assert_eq!(
            line(120_000, 1_000_000, 60_000, Duration::from_secs(2)),
            "120,000 of 1,000,000 records, 30000 records/s, about 29 seconds left"
        );
        assert_eq!(line(0, 10, 0, Duration::ZERO), "0 of 10 records, 0 records/s, waiting");
    }
}
