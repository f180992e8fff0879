//! One invocation: a batch of Kafka records in, the watch list brought up to date.

use std::collections::BTreeMap;

use runtime::KafkaEvent;
use runtime::environment::{Environment, Incomplete};
use runtime::kafka_event::Record;
use serde_json::value::RawValue;
use state::merge::Effort;
use state::progress::{Place, Tracker};
use state::{Source, Table, quarantine, watches};

use crate::batch;
use crate::error::Error;

/// What the function works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The table.
    pub table: Table,
    /// The consumer group of the event source mapping: whose progress is kept.
    pub group: String,
    /// The topic that is the watch list.
    pub watch_list_topic: String,
    /// The present in milliseconds since 1970.
    pub now_ms: fn() -> i64,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that say that a network is watched, or how.
    pub listed: u64,
    /// Records that say that it is not any more.
    pub deleted: u64,
    /// Records of a topic that means nothing here.
    pub ignored: u64,
    /// Records that cannot be read.
    pub quarantined: u64,
    /// What it cost.
    pub effort: Effort,
}

impl Context {
    /// The topic that is the watch list, unless `WATCH_LIST_TOPIC` says otherwise.
    pub const WATCH_LIST_TOPIC: &str = "ssid_alert_list";

    /// The context that the function's environment describes: `TABLE_NAME` and `CONSUMER_GROUP`, and if it is to differ from what
    /// is usual `WATCH_LIST_TOPIC`. The table is reached for only when that is complete.
    ///
    /// # Errors
    /// [`Incomplete`] names all variables that are missing or unreadable.
    pub async fn try_from_env(table: impl AsyncFnOnce(String) -> Table) -> Result<Self, Incomplete> {
        let mut environment = Environment::of_a_function();
        let name = environment.required("TABLE_NAME");
        let group = environment.required("CONSUMER_GROUP");
        let watch_list_topic =
            environment.optional("WATCH_LIST_TOPIC").unwrap_or_else(|| Self::WATCH_LIST_TOPIC.to_owned());
        environment.check()?;
        let table = table(name).await;
        Ok(Self { table, group, watch_list_topic, now_ms: runtime::clock::now_ms })
    }
}

/// Absorbs a batch. Returns only when every item of every record is written, or was already past it.
///
/// # Errors
/// When the table does not answer: the batch has to be delivered again, which changes nothing that was written.
pub async fn handle(event: &RawValue, context: &Context) -> Result<Report, Error> {
    let batch = KafkaEvent::read(event)?;
    if batch.misplaced > 0 {
        tracing::error!(
            records = batch.misplaced,
            "records without topic, partition or offset were left out"
        );
    }
    let mut report = Report::default();
    let mut unknown: BTreeMap<&str, u64> = BTreeMap::new();
    for ((topic, partition), records) in &batch.partitions {
        if *topic == context.watch_list_topic {
            absorb_watch_list(topic, *partition, records, context, &mut report).await?;
        } else {
            *unknown.entry(topic).or_default() += records.len() as u64;
        }
    }
    if !unknown.is_empty() {
        // No progress is kept of them: should the function learn what they say, nothing of it has been passed over.
        tracing::warn!(?unknown, "records of topics that mean nothing to this function were ignored");
        report.ignored = unknown.values().sum();
    }
    tracing::debug!(?report, "absorbed a batch");
    Ok(report)
}

/// Brings the watch list up to date with the records of one partition.
async fn absorb_watch_list(
    topic: &str,
    partition: i32,
    records: &[Record<'_>],
    context: &Context,
    report: &mut Report,
) -> Result<(), Error> {
    let places: Vec<Place> =
        records.iter().map(|record| Place { offset: record.offset, timestamp: record.timestamp }).collect();
    let tracker = Tracker::new(&context.table, &context.group, topic, partition);
    let progress = tracker.begin(&places).await?;
    let source = Source { topic: topic.to_owned(), life: progress.life, partition };

    let ours = records.partition_point(|record| record.offset < progress.from);
    let sorted = batch::sort_out(records.get(ours..).unwrap_or_default());
    let now_ms = (context.now_ms)();
    report.effort += watches::absorb(&context.table, &source, &sorted.list).await?;
    report.effort += quarantine::keep(&context.table, &source, &sorted.quarantined, now_ms).await?;
    if let Some(first) = sorted.quarantined.first() {
        tracing::warn!(%source, records = sorted.quarantined.len(), offset = first.offset, reason = first.reason,
            "records that cannot be read were quarantined");
    }
    tracker.advance(progress, &places).await?;

    let listed = sorted.list.iter().filter(|record| record.listed.is_some()).count();
    report.listed += listed as u64;
    report.deleted += (sorted.list.len() - listed) as u64;
    report.quarantined += sorted.quarantined.len() as u64;
    Ok(())
}
