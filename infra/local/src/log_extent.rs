//! What of a log is there: where each partition begins and ends, and since when it holds everything.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use capture_agent::producer::KafkaSettingsError;
use capture_agent::spool::SpoolReader;
use domain::Day;
use rdkafka::Message as _;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use state::comparison::Whole;

use crate::cluster::{self, Reason};
use crate::spool_source;

/// How long an answer of the cluster may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A frame may be this much later than the time at which the log took it: `domain::event_time`.
const AHEAD_MS: i64 = 5 * 60 * 1000;

/// A partition of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The topic, as it stands in a source's name.
    pub topic: String,
    /// The partition, from 0.
    pub partition: i32,
    /// The offset of the oldest record.
    pub first: i64,
    /// The offset after the newest record.
    pub end: i64,
    /// The log's time of the oldest record, if older ones are gone.
    pub cut_at: Option<i64>,
}

/// From which day on the log holds every record, by partition.
#[must_use]
pub fn whole(extents: &[Extent]) -> Whole {
    let whole_from = |extent: &Extent| {
        let cut_at = extent.cut_at?;
        // the rest of that day, and of the next one's first minutes, may be gone
        let day = Day::of(cut_at.saturating_add(AHEAD_MS));
        Some(Day::of(day.end()))
    };
    extents.iter().map(|extent| ((extent.topic.clone(), extent.partition), whole_from(extent))).collect()
}

/// The extent of the agent's spool in a directory.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn of_spool(directory: &Path, topic: &str) -> anyhow::Result<Vec<Extent>> {
    let reader = SpoolReader::open_read_only(directory)
        .with_context(|| format!("cannot read the spool in {}", directory.display()))?
        .with_context(|| {
            format!("there is no spool in {}: name its directory with --spool", directory.display())
        })?;
    let (first, end) = (reader.first(topic)?, reader.end(topic)?);
    let oldest = reader.read(topic, first - 1, 1, 1)?;
    // A spool's offsets begin at 1. Another topic may have had that one: then this is more careful than it need be.
    let cut_at = (first > 1).then(|| oldest.first().map_or(i64::MAX - AHEAD_MS, |record| record.timestamp));
    Ok(vec![Extent { topic: spool_source::topic(topic, reader.id()), partition: 0, first, end, cut_at }])
}

/// The extent of a topic. Blocks.
///
/// # Errors
/// When the cluster does not answer, or has no such topic.
pub fn of_topic(config: &ClientConfig, topic: &str) -> anyhow::Result<Vec<Extent>> {
    let servers = config.get("bootstrap.servers").unwrap_or_default();
    let mut config = config.clone();
    let reason = Reason::of(&mut config)?;
    let consumer: BaseConsumer<Reason> = config
        // it joins no group; librdkafka wants a name to look at offsets
        .set("group.id", "probegram-extent")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set_log_level(RDKafkaLogLevel::Error)
        .create_with_context(reason.clone())
        .map_err(KafkaSettingsError::from)?;
    reason.prepare(&consumer);
    let failed = |error: KafkaError| reason.explain_to(&consumer, servers, &error);
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(failed)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
        .map(|partition| partition.id())
        .collect();
    ensure!(
        !partitions.is_empty(),
        "there is no topic {topic} at {servers}: `probegram topics --create` makes it, and capture-agent fills it"
    );
    let mut extents = Vec::new();
    let mut cut = TopicPartitionList::new();
    for partition in partitions {
        let (first, end) = consumer.fetch_watermarks(topic, partition, TIMEOUT).map_err(failed)?;
        let is_cut = first > 0;
        if is_cut && first < end {
            cut.add_partition_offset(topic, partition, Offset::Offset(first)).map_err(failed)?;
        }
        // until its oldest record is known: nothing of it is certain to be there
        let cut_at = is_cut.then_some(i64::MAX - AHEAD_MS);
        extents.push(Extent { topic: topic.to_owned(), partition, first, end, cut_at });
    }
    let mut unread = cut.count();
    consumer.assign(&cut).map_err(failed)?;
    let deadline = Instant::now() + TIMEOUT;
    while unread > 0 && Instant::now() < deadline {
        let (partition, time) = match consumer.poll(Duration::from_millis(100)) {
            None => continue,
            Some(Ok(message)) => (message.partition(), message.timestamp().to_millis()),
            // what is left of it holds no record
            Some(Err(KafkaError::PartitionEOF(partition))) => (partition, None),
            Some(Err(error)) if cluster::is_of_a_group(&error) => continue,
            Some(Err(error)) => return Err(failed(error)),
        };
        let mut one = TopicPartitionList::new();
        one.add_partition(topic, partition);
        consumer.pause(&one).map_err(failed)?;
        let known = extents.iter_mut().find(|extent| extent.partition == partition);
        if let Some(extent) = known
            && cut.find_partition(topic, partition).is_some()
            && extent.cut_at == Some(i64::MAX - AHEAD_MS)
        {
            unread -= 1;
            extent.cut_at = Some(time.unwrap_or(i64::MAX - AHEAD_MS - 1));
        }
    }
    Ok(extents)
}
