//! One invocation: a batch of Kafka records in; the watch list, the names of devices and what sensors say brought up to date.

use std::collections::BTreeMap;

use domain::Collection;
use runtime::KafkaEvent;
use runtime::environment::{Environment, Incomplete};
use runtime::kafka_event::Record;
use serde_json::value::RawValue;
use state::merge::Effort;
use state::progress::{Place, Tracker};
use state::{Source, Table, documents, quarantine, sensors, watches};

use crate::batch::{self, Decode, Sorted};
use crate::error::Error;

/// What the function works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The table.
    pub table: Table,
    /// What the consumer groups of the event source mappings begin with: see [`Context::group`].
    pub group_prefix: String,
    /// What the topics are called.
    pub topics: Topics,
    /// The present in milliseconds since 1970.
    pub now_ms: fn() -> i64,
}

/// The topics that mean something here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// The watch list.
    pub watch_list: String,
    /// Clients of the UniFi controller.
    pub clients: String,
    /// The network's own devices, by the same.
    pub devices: String,
    /// What sensors say of themselves.
    pub sensors: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            watch_list: "ssid_alert_list".to_owned(),
            clients: "unifi.ace.user".to_owned(),
            devices: "unifi.ace.device".to_owned(),
            sensors: "sensors".to_owned(),
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that say that a network is watched, or how.
    pub listed: u64,
    /// Records that say that it is not any more.
    pub deleted: u64,
    /// Records that say something of a document.
    pub documents: u64,
    /// Records that say something of a sensor.
    pub sensors: u64,
    /// Records of a topic that means nothing here.
    pub ignored: u64,
    /// Records that cannot be read.
    pub quarantined: u64,
    /// What it cost.
    pub effort: Effort,
}

impl Context {
    /// The context that the function's environment describes: `TABLE_NAME` and `CONSUMER_GROUP_PREFIX`, and if topics are called
    /// otherwise than usual `WATCH_LIST_TOPIC`, `CLIENTS_TOPIC`, `DEVICES_TOPIC`, `SENSORS_TOPIC`. The table is reached for only when that is complete.
    ///
    /// # Errors
    /// [`Incomplete`] names all variables that are missing or unreadable.
    pub async fn try_from_env(table: impl AsyncFnOnce(String) -> Table) -> Result<Self, Incomplete> {
        let mut environment = Environment::of_a_function();
        let name = environment.required("TABLE_NAME");
        let group_prefix = environment.required("CONSUMER_GROUP_PREFIX");
        let usual = Topics::default();
        let mut topic = |variable, usual| environment.optional(variable).unwrap_or(usual);
        let topics = Topics {
            watch_list: topic("WATCH_LIST_TOPIC", usual.watch_list),
            clients: topic("CLIENTS_TOPIC", usual.clients),
            devices: topic("DEVICES_TOPIC", usual.devices),
            sensors: topic("SENSORS_TOPIC", usual.sensors),
        };
        environment.check()?;
        let table = table(name).await;
        Ok(Self { table, group_prefix, topics, now_ms: runtime::clock::now_ms })
    }

    /// The consumer group that reads a topic, whose progress is kept: Lambda wants another for each mapping.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/kafka-consumer-group-id.html>
    #[must_use]
    pub fn group(&self, topic: &str) -> String {
        format!("{}-{topic}", self.group_prefix)
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
    let topics = &context.topics;
    for ((topic, partition), records) in &batch.partitions {
        let partition = Partition { topic, number: *partition, records, context };
        match base(topic) {
            name if name == topics.watch_list => partition.absorb_watch_list(&mut report).await?,
            name if name == topics.clients => {
                partition.absorb_documents(Collection::Client, &mut report).await?;
            }
            name if name == topics.devices => {
                partition.absorb_documents(Collection::Device, &mut report).await?;
            }
            name if name == topics.sensors => partition.absorb_sensors(&mut report).await?,
            _ => *unknown.entry(topic).or_default() += records.len() as u64,
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

/// What a topic is called: that of a spool that is read directly has the spool's id behind it. See [`Source`].
fn base(topic: &str) -> &str {
    topic.split_once('@').map_or(topic, |(base, _spool)| base)
}

/// The records of one partition.
struct Partition<'a> {
    topic: &'a str,
    number: i32,
    records: &'a [Record<'a>],
    context: &'a Context,
}

impl Partition<'_> {
    /// Brings the watch list up to date.
    async fn absorb_watch_list(&self, report: &mut Report) -> Result<(), Error> {
        let table = &self.context.table;
        let sorted = self
            .absorb(crate::watch_list::decode, report, async |source, records| {
                watches::absorb(table, source, records).await
            })
            .await?;
        let listed = sorted.said.iter().filter(|record| record.listed.is_some()).count();
        report.listed += listed as u64;
        report.deleted += (sorted.said.len() - listed) as u64;
        Ok(())
    }

    /// Brings the documents of a collection up to date.
    async fn absorb_documents(&self, collection: Collection, report: &mut Report) -> Result<(), Error> {
        let (table, now_ms) = (&self.context.table, (self.context.now_ms)());
        let sorted = self
            .absorb(crate::documents::decode, report, async |source, records| {
                documents::absorb(table, source, collection, records, now_ms).await
            })
            .await?;
        report.documents += sorted.said.len() as u64;
        Ok(())
    }

    /// Brings what sensors say up to date.
    async fn absorb_sensors(&self, report: &mut Report) -> Result<(), Error> {
        let (table, now_ms) = (&self.context.table, (self.context.now_ms)());
        let sorted = self
            .absorb(crate::sensors::decode, report, async |source, records| {
                sensors::absorb(table, source, records, now_ms).await
            })
            .await?;
        report.sensors += sorted.said.len() as u64;
        Ok(())
    }

    /// Reads the records and has them absorbed, between the two looks at the progress.
    async fn absorb<T>(
        &self,
        decode: Decode<T>,
        report: &mut Report,
        absorb: impl AsyncFnOnce(&Source, &[T]) -> Result<Effort, state::Error>,
    ) -> Result<Sorted<T>, Error> {
        let table = &self.context.table;
        let place = |record: &Record<'_>| Place { offset: record.offset, timestamp: record.timestamp };
        let places: Vec<Place> = self.records.iter().map(place).collect();
        let tracker = Tracker::new(table, &self.context.group(base(self.topic)), self.topic, self.number);
        let progress = tracker.begin(&places).await?;
        let source = Source { topic: self.topic.to_owned(), life: progress.life, partition: self.number };

        let ours = self.records.partition_point(|record| record.offset < progress.from);
        let sorted = batch::sort_out(self.records.get(ours..).unwrap_or_default(), decode);
        report.effort += absorb(&source, &sorted.said).await?;
        let now_ms = (self.context.now_ms)();
        report.effort += quarantine::keep(table, &source, &sorted.quarantined, now_ms).await?;
        if let Some(first) = sorted.quarantined.first() {
            tracing::warn!(%source, records = sorted.quarantined.len(), offset = first.offset, reason = first.reason,
                "records that cannot be read were quarantined");
        }
        tracker.advance(progress, &places).await?;
        report.quarantined += sorted.quarantined.len() as u64;
        Ok(sorted)
    }
}
