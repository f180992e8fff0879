//! Going over from one log to the other: from the agent's spool to Kafka, or back.
//!
//! What the table has counted from the spool is in Kafka too once the agent has drained the spool into it. Reading Kafka from its
//! beginning would count it twice, so a person has to say how to go on.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::bail;
use capture_agent::producer::KafkaSettingsError;
use capture_agent::spool::SpoolReader;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use state::Table;
use state::generation::{self, consumer_group};
use state::progress::{self, Position, Tracker};

use crate::cluster::Reason;
use crate::event_source::EventSource;
use crate::spool_source;

/// How to go on with another log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StartAt {
    /// Count what comes from now on; keep what was counted from the other log.
    End,
    /// Count all of the new log into a new generation, and let it serve when it is complete.
    Rebuild,
}

/// What to write, and what then serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The generation that is written.
    pub generation: u32,
    /// The generation that serves until the written one is complete, if that is another.
    pub replaces: Option<u32>,
}

/// Which log is read.
#[derive(Debug, Clone, Copy)]
pub enum Log<'a> {
    /// The agent's spool.
    Spool,
    /// A Kafka cluster.
    Kafka(&'a ClientConfig),
}

/// Decides which generation is written from this log.
///
/// # Errors
/// When the table was fed from the other log and nobody says how to go on, or the table or Kafka does not answer.
pub async fn plan(
    table: &Table,
    base_group: &str,
    topic: &str,
    log: Log<'_>,
    start_at: Option<StartAt>,
    now_ms: i64,
) -> anyhow::Result<Plan> {
    let pointer = generation::pointer(table).await?;
    let serving = pointer.serving;
    let go_on = Plan { generation: serving, replaces: None };
    if is_fed_from(table, base_group, serving, matches!(log, Log::Kafka(_))).await? {
        return Ok(go_on);
    }
    let rebuild = Plan { generation: pointer.next(), replaces: Some(serving) };
    if !progress::of_group(table, &consumer_group(base_group, rebuild.generation)).await?.is_empty() {
        tracing::info!(generation = rebuild.generation, "going on with the rebuild that was begun");
        return Ok(rebuild);
    }
    match (start_at.map_or_else(ask, Ok)?, log) {
        (StartAt::Rebuild, _) => Ok(rebuild),
        (StartAt::End, Log::Kafka(config)) => {
            for (partition, end) in ends(config, topic).await? {
                Tracker::new(table, &consumer_group(base_group, serving), topic, partition)
                    .begin_at(end, now_ms)
                    .await?;
            }
            Ok(go_on)
        }
        (StartAt::End, Log::Spool) => bail!("from Kafka back to a spool only --start-at rebuild is possible"),
    }
}

/// Lets alerts begin at the end of this log when they were fed from another: what both hold was told already.
///
/// # Errors
/// When the table or the log does not answer.
pub async fn begin_alerts(
    table: &Table,
    alert: &EventSource,
    log: Log<'_>,
    spool: &Path,
    now_ms: i64,
) -> anyhow::Result<()> {
    let positions = progress::of_group(table, &alert.group).await?;
    let is_kafka = matches!(log, Log::Kafka(_));
    let is_of_this_log = |position: &Position| position.topic.contains('@') != is_kafka;
    if positions.is_empty() || positions.iter().any(is_of_this_log) {
        return Ok(());
    }
    let topic = &alert.mapping.topic;
    let ends: Vec<(String, i32, i64)> = match log {
        Log::Kafka(config) => {
            let ends = ends(config, topic).await?;
            ends.into_iter().map(|(partition, end)| (topic.clone(), partition, end)).collect()
        }
        Log::Spool => match SpoolReader::open_read_only(spool)? {
            Some(reader) => {
                let name = spool_source::topic(topic, reader.id());
                vec![(name, spool_source::PARTITION, reader.end(topic)?)]
            }
            None => Vec::new(),
        },
    };
    for (topic, partition, end) in ends {
        Tracker::new(table, &alert.group, &topic, partition).begin_at(end, now_ms).await?;
    }
    tracing::info!("alerts go on with what comes from now on: the log is another than before");
    Ok(())
}

/// Whether a generation may be fed from this kind of log: it was so far, or from none yet.
///
/// # Errors
/// When the table does not answer.
pub async fn is_fed_from(
    table: &Table,
    base_group: &str,
    generation: u32,
    kafka: bool,
) -> Result<bool, state::Error> {
    let positions = progress::of_group(table, &consumer_group(base_group, generation)).await?;
    // Spools have an @ in their names. Once Kafka was read, what a spool holds beyond its position is, or will be, in Kafka too.
    let was_kafka = positions.iter().any(|at| !at.topic.contains('@'));
    Ok(positions.is_empty() || was_kafka == kafka)
}

/// Asks the person at the terminal.
fn ask() -> anyhow::Result<StartAt> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        bail!(
            "this table was fed from another log, and both may hold the same records. Say how to go on: \
             --start-at end (count what comes from now on) or --start-at rebuild (count the whole log anew)"
        );
    }
    let mut stderr = std::io::stderr();
    loop {
        write!(
            stderr,
            "This table was fed from another log, and both may hold the same records.\n\
             Count what comes from now on (end), or count the whole log anew (rebuild)? "
        )?;
        let mut answer = String::new();
        if std::io::stdin().read_line(&mut answer)? == 0 {
            bail!("no answer: nothing was changed");
        }
        match answer.trim() {
            "end" => return Ok(StartAt::End),
            "rebuild" => return Ok(StartAt::Rebuild),
            _ => writeln!(stderr, "Please answer end or rebuild.")?,
        }
    }
}

/// Where each partition of the topic ends now.
async fn ends(config: &ClientConfig, topic: &str) -> anyhow::Result<Vec<(i32, i64)>> {
    let (config, topic) = (config.clone(), topic.to_owned());
    // Kafka is waited for, and so may be credentials for a token
    tokio::task::spawn_blocking(move || ends_now(config, &topic)).await?
}

fn ends_now(mut config: ClientConfig, topic: &str) -> anyhow::Result<Vec<(i32, i64)>> {
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
    let servers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
    let reason = Reason::of(&mut config)?;
    let consumer: BaseConsumer<Reason> = config
        // it joins no group; librdkafka wants a name to look at offsets
        .set("group.id", "probegram-changeover")
        .set_log_level(RDKafkaLogLevel::Error)
        .create_with_context(reason.clone())
        .map_err(KafkaSettingsError::from)?;
    reason.prepare(&consumer);
    let failed = |error: KafkaError| reason.explain_to(&consumer, &servers, &error);
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(failed)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    partitions
        .map(|partition| {
            let (_first, end) = consumer.fetch_watermarks(topic, partition.id(), TIMEOUT).map_err(failed)?;
            Ok((partition.id(), end))
        })
        .collect()
}
