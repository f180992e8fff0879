//! The agent's spool as the log: a household needs no broker.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bot::status::Offsets;
use capture_agent::spool::SpoolReader;
use state::progress::Tracker;
use tokio::time::Instant;

use crate::event_source::{Batch, EventSource, LogRecord, TimestampType};
use crate::shutdown::Shutdown;

/// How often a spool is looked at for news.
const POLL: Duration = Duration::from_millis(100);
/// Read from the spool at a time.
const MAX_RECORDS: usize = 2_000;
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// A spool has one partition.
pub const PARTITION: i32 = 0;

/// The name of a spool's topic: apart from any topic of Kafka, and from any other spool.
#[must_use]
pub fn topic(topic: &str, spool_id: &str) -> String {
    format!("{topic}@spool-{spool_id}")
}

/// Feeds the function from the spool in a directory until it is stopped. A spool that is not there yet is waited for; one that
/// was replaced by a new one is another source.
///
/// # Errors
/// When the spool or the table cannot be read.
pub async fn run(source: &EventSource, directory: &Path, shutdown: &Shutdown) -> anyhow::Result<()> {
    let mut said = false;
    while !shutdown.is_pulled() {
        match open(directory)? {
            None => {
                source
                    .positions
                    .update(&source.group, &source.mapping.topic, |reader| reader.partitions_known = true);
                if !std::mem::replace(&mut said, true) {
                    tracing::info!(directory = %directory.display(), "no spool here yet: waiting for capture-agent");
                }
                pause(POLL, shutdown).await;
            }
            Some(reader) => follow(source, directory, reader, shutdown).await?,
        }
    }
    Ok(())
}

fn open(directory: &Path) -> anyhow::Result<Option<SpoolReader>> {
    SpoolReader::open_read_only(directory)
        .with_context(|| format!("cannot read the spool in {}", directory.display()))
}

/// Reads one spool until it is replaced or the program ends.
async fn follow(
    source: &EventSource,
    directory: &Path,
    reader: SpoolReader,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let topic = topic(&source.mapping.topic, reader.id());
    // The reader's position is the reader's own: it lies in the table, with what was counted.
    let through = Tracker::new(&source.table, &source.group, &topic, PARTITION).read().await?.through;
    let mut batch = Batch::new(&topic, PARTITION, through + 1);
    let tell = |next: i64, end: i64| {
        source.positions.update(&source.group, &topic, |reader| {
            reader.partitions_known = true;
            reader.partitions.insert(PARTITION, Offsets { next, end });
        });
    };
    tell(batch.next(), reader.end(&source.mapping.topic)?.max(batch.next()));
    source.positions.update(&source.group, &source.mapping.topic, |reader| reader.partitions_known = true);
    let mut delivered = batch.next();
    while !shutdown.is_pulled() {
        let end = reader.end(&source.mapping.topic)?;
        let mut full = false;
        let records = reader.read(&source.mapping.topic, batch.next() - 1, MAX_RECORDS, MAX_BYTES)?;
        if records.is_empty() && batch.next() < end {
            tracing::warn!(
                from = batch.next(),
                to = end,
                "the spool has dropped records before they were read"
            );
            batch.skip_to(end);
        }
        for record in records {
            let record = LogRecord {
                offset: record.offset,
                timestamp: record.timestamp,
                timestamp_type: TimestampType::CreateTime,
                key: record.key,
                value: Some(record.value),
                headers: Vec::new(),
            };
            if batch.take(record, &source.mapping).is_err() {
                full = true;
                break;
            }
        }
        if batch.is_empty() {
            delivered = batch.next();
        }
        tell(delivered, end.max(delivered));
        let due = batch.due(source.window());
        // While there is more, a batch becomes full at once: a window of 0 would cut it where the reading was.
        if full || (batch.next() >= end && due.is_some_and(|due| due <= Instant::now())) {
            if !source.deliver(&batch, shutdown).await {
                return Ok(());
            }
            delivered = batch.next();
            batch = Batch::new(&topic, PARTITION, delivered);
            tell(delivered, end.max(delivered));
        } else if batch.next() >= end {
            pause(due.map_or(POLL, |due| POLL.min(due - Instant::now())), shutdown).await;
            if open(directory)?.is_none_or(|now| now.id() != reader.id()) {
                tracing::warn!(directory = %directory.display(), "the spool was replaced by another");
                // What was read of the old one is nowhere else any more.
                source.deliver(&batch, shutdown).await;
                source.positions.update(&source.group, &topic, |reader| reader.partitions.clear());
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn pause(time: Duration, shutdown: &Shutdown) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = shutdown.wait() => {}
    }
}
