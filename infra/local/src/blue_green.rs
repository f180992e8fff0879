//! `probegram rebuild --stack`: the two consumers of a stack, "blue" and "green". One writes the generation that serves; for a rebuild the
//! other is made, which reads the topic from its beginning and writes the next generation; when that serves, the first one is removed.
//!
//! Each step is an update of the stack by one parameter, and what is so is read from the stack and the table: where it was interrupted it goes on.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure};
use indicatif::HumanCount;
use state::Table;
use state::comparison::{self, Comparison, Side, Whole};
use state::generation::{self, Pointer, consumer_group};
use state::progress::{self, Position};
use state::tallies::Retention;

use crate::cli::Rebuild;
use crate::host::kafka_config;
use crate::log_extent;
use crate::rebuild::{Shown, before, decide, report};
use crate::said::say;
use crate::stack::Stack;

/// The parameters that say which generation each consumer writes.
const CONSUMERS: [&str; 2] = ["AggregateBlue", "AggregateGreen"];
/// How often it is looked how far the new consumer is.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Rebuilds, or goes back.
///
/// # Errors
/// When the stack or the table does not answer, or an update of the stack fails.
pub async fn run(options: &Rebuild, name: &str, table: &Table) -> anyhow::Result<ExitCode> {
    let stack = Stack::find(name).await?;
    let pointer = generation::pointer(table).await?;
    if options.back {
        return back(&stack, table, pointer).await;
    }
    let (old, new) = (pointer.serving, pointer.next());
    say(&format!("Generation {old} serves. A second consumer writes generation {new} meanwhile.\n"))?;
    let group = stack.output("AggregateGroup")?.to_owned();
    write_beside(&stack, old, new).await?;
    read_to_the_end(table, &consumer_group(&group, old), &consumer_group(&group, new)).await?;

    let outcome = match compared(options, &stack, table, pointer).await? {
        Some((comparison, whole)) => decide(options, table, pointer, &comparison, &whole).await?,
        None if options.accept && !options.no_flip => {
            decide(options, table, pointer, &Comparison::default(), &Whole::new()).await?
        }
        None => {
            say(&format!(
                "Nothing was compared: for that name the brokers, as in --bootstrap-servers. Generation {old} goes on serving; with \
                 --accept generation {new} serves uncompared.\n"
            ))?;
            ExitCode::FAILURE
        }
    };
    remove_others(&stack, table).await?;
    Ok(outcome)
}

/// Lets the generation serve that served before: its consumer is made again and reads what it has missed.
async fn back(stack: &Stack, table: &Table, pointer: Pointer) -> anyhow::Result<ExitCode> {
    let (serving, before) = (pointer.serving, before(pointer)?);
    let group = stack.output("AggregateGroup")?.to_owned();
    say(&format!("Generation {before} is brought up to date, while generation {serving} serves.\n"))?;
    write_beside(stack, serving, before).await?;
    read_to_the_end(table, &consumer_group(&group, serving), &consumer_group(&group, before)).await?;
    if !generation::flip(table, serving, before).await? {
        bail!("somebody else has just let another generation serve: look again with GET /v1/status");
    }
    say(&format!("Generation {before} serves again; answers come from it within 30 s.\n"))?;
    remove_others(&Stack::find(stack.name()).await?, table).await?;
    Ok(ExitCode::SUCCESS)
}

/// The generation that a consumer writes; `None` when it is not there.
fn written_by(stack: &Stack, consumer: &str) -> Option<u32> {
    stack.parameter(consumer).and_then(|generation| generation.parse().ok())
}

/// Has the consumer that does not write the serving generation write another one.
async fn write_beside(stack: &Stack, serving: u32, other: u32) -> anyhow::Result<()> {
    let of = CONSUMERS.map(|consumer| (consumer, written_by(stack, consumer)));
    if of.iter().any(|(_, written)| *written == Some(other)) {
        return Ok(()); // an earlier command has made it
    }
    ensure!(
        of.iter().any(|(_, written)| *written == Some(serving)),
        "no consumer of stack {} writes generation {serving}, which serves: set its parameter AggregateBlue to {serving} by `sam deploy`",
        stack.name()
    );
    let free = of.iter().find(|(_, written)| *written != Some(serving));
    let Some((consumer, written)) = free else { bail!("both consumers write generation {serving}") };
    if written.is_some() {
        // A mapping's consumer group cannot be changed: it is removed, and made anew.
        stack.update(&[(consumer, "")]).await?;
    }
    stack.update(&[(consumer, &other.to_string())]).await
}

/// Removes the consumers of generations that do not serve, so that a generation that was not taken costs nothing.
async fn remove_others(stack: &Stack, table: &Table) -> anyhow::Result<()> {
    let stack = Stack::find(stack.name()).await?;
    let serving = generation::serving(table).await?;
    for consumer in CONSUMERS {
        if written_by(&stack, consumer).is_some_and(|written| written != serving) {
            stack.update(&[(consumer, "")]).await?;
        }
    }
    say(&format!("The stack has one consumer again, which writes generation {serving}.\n"))
}

/// Returns when the new consumer has read everything that the old one has.
async fn read_to_the_end(table: &Table, old: &str, new: &str) -> anyhow::Result<()> {
    let mut shown = Shown::new();
    loop {
        // the old one first: it goes on meanwhile
        let goal = progress::of_group(table, old).await?;
        let reached = by_place(&progress::of_group(table, new).await?);
        let (mut done, mut all) = (0, 0);
        for (place, through) in by_place(&goal) {
            let at = reached.get(&place).copied().unwrap_or(-1);
            all += u64::try_from(through + 1).unwrap_or(0);
            done += u64::try_from(at.min(through) + 1).unwrap_or(0);
        }
        shown.show(done, all, true);
        if done >= all {
            shown.end();
            return say(&format!(
                "The new consumer has read what the old one has, up to {} offsets.\n",
                HumanCount(all)
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How far a group is in each partition of its topic. Of a topic that was made again one group counts more lives than the other.
fn by_place(positions: &[Position]) -> BTreeMap<(String, i32), i64> {
    let of = |at: &Position| ((at.topic.clone(), at.partition), at.progress.through);
    positions.iter().map(of).collect()
}

/// What the two generations say of the same records; `None` when nobody says where the log is, which tells what it still holds whole.
async fn compared(
    options: &Rebuild,
    stack: &Stack,
    table: &Table,
    pointer: Pointer,
) -> anyhow::Result<Option<(Comparison, Whole)>> {
    let Some(servers) = &options.log.bootstrap_servers else { return Ok(None) };
    let config = kafka_config(servers, options.log.kafka_config.as_deref())?;
    let topic = stack.parameter("PcapTopic").unwrap_or("pcap").to_owned();
    let extents = tokio::task::spawn_blocking(move || log_extent::of_topic(&config, &topic)).await??;
    let whole = log_extent::whole(&extents);
    let group = stack.output("AggregateGroup")?;
    let side = |generation| Side { generation, group: consumer_group(group, generation) };
    let days = stack.parameter("DayRetentionDays").and_then(|days| days.parse().ok());
    let days = days.unwrap_or(aggregate::Context::DAY_RETENTION_DAYS);
    let now_ms = runtime::clock::now_ms();
    let earliest = now_ms.saturating_sub(Retention::in_days(days, None).days_ms);
    let (old, new) = (side(pointer.serving), side(pointer.next()));
    let comparison = comparison::compare(table, &old, &new, &whole, earliest, now_ms).await?;
    say(&report(&comparison, &old, &new, &whole))?;
    Ok(Some((comparison, whole)))
}
