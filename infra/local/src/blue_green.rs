//! `probegram rebuild --stack`: the two consumers of a stack, "blue" and "green". One writes the generation that serves; for a rebuild the
//! other is made, which reads the topic from its beginning and writes the next generation; when that serves, the first one is removed.
//!
//! Each step is an update of the stack by one parameter, and what is so is read from the stack and the table: where it was interrupted it goes on.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use indicatif::HumanCount;
use rdkafka::config::ClientConfig;
use state::Table;
use state::comparison::{self, Comparison, Side, Whole};
use state::generation::{self, Pointer, consumer_group};
use state::progress::{self, Position};
use state::tallies::Retention;

use crate::cli::Rebuild;
use crate::log_extent::{self, Extent};
use crate::rebuild::{Shown, before, decide, report};
use crate::said::say;
use crate::stack::Stack;
use crate::stack_kafka::kafka_of;

/// The parameters that say which generation each consumer writes.
const CONSUMERS: [&str; 2] = ["AggregateBlue", "AggregateGreen"];
/// How often it is looked how far the new consumer is.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After so many looks at the table without an answer it is given up.
const MOST_LOST: u32 = 30;
/// A consumer that has not moved for so long is told of. Lambda needs minutes to make a mapping.
const STALLED_AFTER: Duration = Duration::from_secs(5 * 60);

/// Rebuilds, goes back, or stops what was begun.
///
/// # Errors
/// When the stack or the table does not answer, or an update of the stack fails.
pub async fn run(options: &Rebuild, name: &str, table: &Table) -> anyhow::Result<ExitCode> {
    let stack = Stack::find(name).await?;
    let pointer = generation::pointer(table).await?;
    let is_decided = is_decided(&stack, pointer, options.back);
    if options.stop || is_decided {
        if is_decided {
            say(&format!(
                "Generation {} serves already, by a command that was interrupted: this ends it.\n",
                pointer.serving
            ))?;
        }
        remove_others(&stack, table).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let log = Log::of(options, &stack).await?;
    let (old, new) = if options.back {
        let (serving, before) = (pointer.serving, before(pointer)?);
        say(&format!("Generation {before} is brought up to date, while generation {serving} serves.\n"))?;
        if log
            .has_lost(
                &progress::of_group(table, &consumer_group(stack.output("AggregateGroup")?, before)).await?,
            )
            .await?
        {
            say(&format!(
                "The topic no longer holds all that came since generation {before} was left: that will be missing in it.\n"
            ))?;
        }
        (serving, before)
    } else {
        let (serving, next) = (pointer.serving, pointer.next());
        say(&format!(
            "Generation {serving} serves. A second consumer writes generation {next} meanwhile.\n"
        ))?;
        (serving, next)
    };
    write_beside(&stack, old, new).await?;
    let stack = Stack::find(name).await?;
    let work = async {
        read_to_the_end(&stack, table, &log, old, new).await?;
        if options.back {
            return back(table, old, new).await;
        }
        let Some(whole) = log.whole().await? else {
            if options.accept && !options.no_flip {
                return decide(options, table, pointer, &Comparison::default(), &Whole::new()).await;
            }
            say(&format!(
                "Nothing was compared: for that name the brokers, as in --bootstrap-servers. Generation {old} goes on serving; with \
                 --accept generation {new} serves uncompared.\n"
            ))?;
            return Ok(ExitCode::FAILURE);
        };
        let comparison = compared(&stack, table, &whole, old, new).await?;
        decide(options, table, pointer, &comparison, &whole).await
    };
    let outcome = work.await.with_context(|| {
        format!(
            "the second consumer is there and goes on writing generation {new}. Type the command again when this is mended, or \
             `probegram rebuild --stack {name} --stop`, which removes it"
        )
    })?;
    remove_others(&stack, table).await?;
    Ok(outcome)
}

/// Whether an earlier command has let another generation serve, and was interrupted before it removed the consumer of the one before. A
/// rebuild goes to a higher generation, and the way back to a lower one.
fn is_decided(stack: &Stack, pointer: Pointer, back: bool) -> bool {
    let is_written =
        |generation| CONSUMERS.iter().any(|consumer| written_by(stack, consumer) == Some(generation));
    let has_gone_back = pointer.before.is_some_and(|before| before > pointer.serving);
    pointer.before.is_some_and(is_written) && is_written(pointer.serving) && has_gone_back == back
}

/// Lets the generation serve that served before: its consumer has read what it had missed.
async fn back(table: &Table, serving: u32, before: u32) -> anyhow::Result<ExitCode> {
    if !generation::flip(table, serving, before).await? {
        bail!("somebody else has just let another generation serve: look again with GET /v1/status");
    }
    say(&format!("Generation {before} serves again; answers come from it within 30 s.\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The log that the consumers read, as far as it can be asked.
struct Log {
    kafka: Option<ClientConfig>,
    topic: String,
}

impl Log {
    /// Brokers and login are the stack's own where nothing else is said. Of Amazon MSK a stack does not know the brokers.
    async fn of(options: &Rebuild, stack: &Stack) -> anyhow::Result<Self> {
        let servers = options.log.bootstrap_servers.as_deref();
        let is_known = servers.is_some()
            || stack.parameter("BootstrapServers").is_some_and(|servers| !servers.is_empty());
        let kafka = match is_known {
            true => Some(kafka_of(stack, servers, options.log.kafka_config.as_deref()).await?),
            false => None,
        };
        let log = Self { kafka, topic: stack.parameter("PcapTopic").unwrap_or("pcap").to_owned() };
        // what cannot be reached is told before hours are spent
        let _extents = log.extents().await?;
        Ok(log)
    }

    /// Where each partition begins and ends; `None` where the brokers are not known.
    async fn extents(&self) -> anyhow::Result<Option<Vec<Extent>>> {
        let Some(config) = self.kafka.clone() else { return Ok(None) };
        let topic = self.topic.clone();
        Ok(Some(tokio::task::spawn_blocking(move || log_extent::of_topic(&config, &topic)).await??))
    }

    /// Whether records are gone that came after these positions.
    async fn has_lost(&self, positions: &[Position]) -> anyhow::Result<bool> {
        let extents = self.extents().await?.unwrap_or_default();
        Ok(positions.iter().any(|at| {
            extents
                .iter()
                .any(|extent| extent.partition == at.partition && extent.first > at.progress.through + 1)
        }))
    }

    /// Since when it holds everything.
    async fn whole(&self) -> anyhow::Result<Option<Whole>> {
        Ok(self.extents().await?.map(|extents| log_extent::whole(&extents)))
    }
}

/// The generation that a consumer writes; `None` when it is not there.
fn written_by(stack: &Stack, consumer: &str) -> Option<u32> {
    stack.parameter(consumer).and_then(|generation| generation.parse().ok())
}

/// Has the consumer that does not write the serving generation write another one.
async fn write_beside(stack: &Stack, serving: u32, other: u32) -> anyhow::Result<()> {
    let of = CONSUMERS.map(|consumer| (consumer, written_by(stack, consumer)));
    ensure!(
        of.iter().any(|(_, written)| *written == Some(serving)),
        "no consumer of stack {} writes generation {serving}, which serves. Deploy it with AggregateBlue and AggregateGreen empty, and \
         then with AggregateBlue {serving}: a consumer's group cannot be changed, so it has to be made anew",
        stack.name()
    );
    if of.iter().any(|(_, written)| *written == Some(other)) {
        return Ok(()); // an earlier command has made it
    }
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
    let of = CONSUMERS.map(|consumer| (consumer, written_by(&stack, consumer)));
    ensure!(
        of.iter().any(|(_, written)| *written == Some(serving)),
        "no consumer of stack {} writes generation {serving}, which serves: nothing was removed",
        stack.name()
    );
    for (consumer, written) in of {
        if written.is_some_and(|written| written != serving) {
            stack.update(&[(consumer, "")]).await?;
        }
    }
    say(&format!("The stack has one consumer, which writes generation {serving}.\n"))
}

/// Returns when the new consumer has read everything that the old one has and that the log still holds.
async fn read_to_the_end(stack: &Stack, table: &Table, log: &Log, old: u32, new: u32) -> anyhow::Result<()> {
    let base = stack.output("AggregateGroup")?;
    let (old, new) = (consumer_group(base, old), consumer_group(base, new));
    let mut shown = Shown::new();
    let mut extents = log.extents().await?;
    let (mut lost, mut moved, mut before) = (0, Instant::now(), 0);
    loop {
        // the old one first: it goes on meanwhile
        let looked = async {
            Ok::<_, state::Error>((
                progress::of_group(table, &old).await?,
                progress::of_group(table, &new).await?,
            ))
        };
        let (goal, reached) = match looked.await {
            Ok(both) => both,
            // a look that finds no answer says nothing of the consumer
            Err(_) if lost < MOST_LOST => {
                lost += 1;
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            Err(error) => return Err(error).context("the table does not answer"),
        };
        lost = 0;
        let (done, all) = done_of(&goal, &reached, extents.as_deref());
        shown.show(done, all, true);
        if done >= all {
            shown.end();
            return say(&format!(
                "The new consumer has read what the old one has, up to {} offsets.\n",
                HumanCount(all)
            ));
        }
        if done != before {
            (moved, before) = (Instant::now(), done);
        } else if moved.elapsed() > STALLED_AFTER {
            moved = Instant::now();
            // retention may have taken away what was waited for
            extents = log.extents().await?;
            say(&stalled(stack, &new, extents.is_some()).await)?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How many offsets the new consumer has read of those that the old one has and that are there. Of a topic that was made again one group
/// counts more lives than the other; of partitions whose records are all gone nothing can be read.
fn done_of(goal: &[Position], reached: &[Position], extents: Option<&[Extent]>) -> (u64, u64) {
    let reached = by_place(reached);
    let (mut done, mut all) = (0, 0);
    for (place, through) in by_place(goal) {
        let first = extents.map_or(Some(0), |extents| {
            extents.iter().find(|extent| extent.partition == place.1).map(|extent| extent.first)
        });
        let Some(first) = first.filter(|first| *first <= through) else { continue };
        let at = reached.get(&place).copied().unwrap_or(-1).min(through);
        all += u64::try_from(through + 1 - first).unwrap_or(0);
        done += u64::try_from(at + 1 - first).unwrap_or(0);
    }
    (done, all)
}

/// Why the new consumer may not get on.
async fn stalled(stack: &Stack, group: &str, is_log_known: bool) -> String {
    let minutes = STALLED_AFTER.as_secs() / 60;
    let mut text = format!(
        "Nothing has moved for {minutes} minutes. `probegram doctor --stack {}` says how its mappings are.",
        stack.name()
    );
    let lambda = aws_sdk_lambda::Client::new(stack.config());
    for (logical, id) in stack.resources_of_type("AWS::Lambda::EventSourceMapping") {
        let Ok(mapping) = lambda.get_event_source_mapping().uuid(id).send().await else { continue };
        let of_amazon =
            mapping.amazon_managed_kafka_event_source_config().and_then(|it| it.consumer_group_id());
        let of_others =
            mapping.self_managed_kafka_event_source_config().and_then(|it| it.consumer_group_id());
        if of_amazon.or(of_others) == Some(group) {
            let (state, result) = (
                mapping.state().unwrap_or("unknown"),
                mapping.last_processing_result().unwrap_or("none yet"),
            );
            text += &format!(" {logical} is {state}, its last result: {result}.");
        }
    }
    if !is_log_known {
        text += " Where retention has deleted a partition's records, they are waited for in vain: --bootstrap-servers tells what is there.";
    }
    text + "\n"
}

/// How far a group is in each partition of its topic.
fn by_place(positions: &[Position]) -> BTreeMap<(String, i32), i64> {
    let of = |at: &Position| ((at.topic.clone(), at.partition), at.progress.through);
    positions.iter().map(of).collect()
}

/// What the two generations say of the same records.
async fn compared(
    stack: &Stack,
    table: &Table,
    whole: &Whole,
    old: u32,
    new: u32,
) -> anyhow::Result<Comparison> {
    let group = stack.output("AggregateGroup")?;
    let side = |generation| Side { generation, group: consumer_group(group, generation) };
    let days = stack.parameter("DayRetentionDays").and_then(|days| days.parse().ok());
    let days = days.unwrap_or(aggregate::Context::DAY_RETENTION_DAYS);
    let now_ms = runtime::clock::now_ms();
    let earliest = now_ms.saturating_sub(Retention::in_days(days, None).days_ms);
    let (old, new) = (side(old), side(new));
    let comparison = comparison::compare(table, &old, &new, whole, earliest, now_ms).await?;
    say(&report(&comparison, &old, &new, whole))?;
    Ok(comparison)
}
