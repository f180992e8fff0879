//! One invocation: a batch of Kafka records in, the table brought up to date.

use runtime::KafkaEvent;
use runtime::environment::{Environment, Incomplete};
use serde_json::value::RawValue;
use state::merge::Effort;
use state::progress::{Place, Tracker};
use state::tallies::Retention;
use state::{Generation, Source, Table, quarantine, tallies};

use crate::batch;
use crate::error::Error;

/// What the function works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The table.
    pub table: Table,
    /// The consumer group of the event source mapping: whose progress is kept.
    pub group: String,
    /// The generation of tallies that this function alone writes.
    pub generation: u32,
    /// How long tallies are kept.
    pub retention: Retention,
    /// The present in milliseconds since 1970.
    pub now_ms: fn() -> i64,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Probe requests that were folded, or had been before.
    pub folded: u64,
    /// Records that are no probe request, or have no source address.
    pub ignored: u64,
    /// Records that cannot be read.
    pub quarantined: u64,
    /// What it cost.
    pub effort: Effort,
}

impl Context {
    /// How long a device's days are kept, unless `DAY_RETENTION_DAYS` says otherwise.
    pub const DAY_RETENTION_DAYS: u32 = 400;

    /// The context that the function's environment describes: `TABLE_NAME` and `CONSUMER_GROUP`, and if they are to differ
    /// from what is usual `GENERATION`, `DAY_RETENTION_DAYS` and `TOTALS_RETENTION_DAYS` (for ever). The table is reached for
    /// only when that is complete.
    ///
    /// # Errors
    /// [`Incomplete`] names all variables that are missing or unreadable.
    pub async fn try_from_env(table: impl AsyncFnOnce(String) -> Table) -> Result<Self, Incomplete> {
        let mut environment = Environment::of_a_function();
        let name = environment.required("TABLE_NAME");
        let group = environment.required("CONSUMER_GROUP");
        let generation = environment.optional("GENERATION").unwrap_or(Generation::FIRST);
        let days = environment.optional("DAY_RETENTION_DAYS").unwrap_or(Self::DAY_RETENTION_DAYS);
        let retention = Retention::in_days(days, environment.optional("TOTALS_RETENTION_DAYS"));
        environment.check()?;
        let table = table(name).await;
        Ok(Self { table, group, generation, retention, now_ms: runtime::clock::now_ms })
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
    for ((topic, partition), records) in &batch.partitions {
        let places: Vec<Place> = records
            .iter()
            .map(|record| Place { offset: record.offset, timestamp: record.timestamp })
            .collect();
        let tracker = Tracker::new(&context.table, &context.group, topic, *partition);
        let progress = tracker.begin(&places).await?;
        let source = Source { topic: topic.to_string(), life: progress.life, partition: *partition };

        let ours = records.partition_point(|record| record.offset < progress.from);
        let sorted = batch::sort_out(records.get(ours..).unwrap_or_default());
        let now_ms = (context.now_ms)();
        report.effort += tallies::absorb(
            &context.table,
            context.generation,
            &source,
            &sorted.heard,
            context.retention,
            now_ms,
        )
        .await?;
        report.effort += quarantine::keep(&context.table, &source, &sorted.quarantined, now_ms).await?;
        if let Some(first) = sorted.quarantined.first() {
            tracing::warn!(%source, records = sorted.quarantined.len(), offset = first.offset, reason = first.reason,
                "records that cannot be read were quarantined");
        }
        tracker.advance(progress, &places).await?;

        report.folded += sorted.heard.len() as u64;
        report.ignored += sorted.ignored;
        report.quarantined += sorted.quarantined.len() as u64;
    }
    tracing::debug!(?report, "absorbed a batch");
    Ok(report)
}
