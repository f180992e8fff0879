//! Kafka as the log: a consumer group, with one batch of a partition in flight.
//!
//! A partition is read from where the group's committed offset is, or from the table's progress where that is behind: so the
//! table and the position in the log are lost or kept together. A group without a commit begins at the beginning; what was
//! absorbed before is told apart by the guarded merge.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::bail;
use bot::status::Offsets;
use capture_agent::msk_iam::Tokens;
use capture_agent::producer::KafkaSettingsError;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _, Timestamp};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use state::progress::{self, Position};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::event_source::{Batch, EventSource, LogRecord, TimestampType};
use crate::shutdown::Shutdown;

/// How long one look at the log takes at most.
const POLL: Duration = Duration::from_millis(100);
/// So much is taken from Kafka between two looks at what is due.
const EVENTS_A_STEP: usize = 1_000;
/// How long a question to the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often the client tells where the log ends. Asked for, it would take as long as the broker waits for records of all
/// partitions (fetch.wait.max.ms), and meanwhile nothing would be read.
const STATISTICS_MS: &str = "500";
/// Bytes of a partition that wait for the batch before them, before its reading is paused.
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;

/// Feeds the function from a topic until it is stopped. Blocks: it wants a thread of its own.
///
/// # Errors
/// When the configuration is not one. Brokers that are away are waited for.
pub fn run(
    source: &EventSource,
    config: &ClientConfig,
    handle: &Handle,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let (told, tidings) = channel();
    let mut config = config.clone();
    let tokens = Tokens::of(&mut config).map_err(KafkaSettingsError::from)?;
    let group =
        Group { source: source.clone(), handle: handle.clone(), told, said: Mutex::default(), tokens };
    let consumer: Arc<BaseConsumer<Group>> = Arc::new(
        config
            .set("group.id", &source.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            // Where the log begins later than the position: retention was quicker than we.
            .set("auto.offset.reset", "earliest")
            // how soon a topic that did not exist is noticed
            .set("topic.metadata.refresh.interval.ms", "5000")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", "16384")
            .set("statistics.interval.ms", STATISTICS_MS)
            .set_log_level(RDKafkaLogLevel::Warning)
            .create_with_context(group)
            .map_err(KafkaSettingsError::from)?,
    );
    consumer.subscribe(&[&source.mapping.topic])?;
    let (done, finished) = channel();
    let mut reading = Reading {
        source,
        consumer,
        handle,
        shutdown,
        partitions: BTreeMap::new(),
        epoch: 0,
        done,
        is_missing: false,
        fatal: None,
    };
    while !shutdown.is_pulled() {
        reading.step(&tidings, &finished);
        if let Some(error) = reading.fatal.take() {
            bail!(
                "Kafka lets us read no more ({error}): does another probegram on this machine read for the same table?"
            );
        }
    }
    Ok(())
}

/// What librdkafka tells beside records.
enum Told {
    /// What replaces all that was assigned before.
    Assigned(Vec<Start>),
    /// Where the partitions end.
    Ends(Vec<LogEnd>),
}

/// Where the reading of a partition begins.
#[derive(Debug)]
struct Start {
    partition: i32,
    offset: i64,
    /// Whether the group has committed an offset of it.
    is_committed: bool,
}

/// Where a partition ends, as of the last answer of its broker.
struct LogEnd {
    partition: i32,
    /// The offset after the newest record; negative while it is not known.
    end: i64,
    /// Where the reading last came to an end, which counts what holds no record (markers of transactions, retention).
    read_to: i64,
}

/// What librdkafka tells the group.
struct Group {
    source: EventSource,
    handle: Handle,
    told: Sender<Told>,
    /// The errors that were said since partitions were assigned.
    said: Mutex<HashSet<String>>,
    tokens: Tokens,
}

impl ClientContext for Group {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.tokens.generate()
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PartitionEOF) => {}
            Some(code) if is_missing(code) => {} // the reading says it, once
            _ if !Tokens::is_said(reason) => {}
            _ => {
                // A broker that is away is away every second.
                if self.said().insert(error.to_string()) {
                    tracing::warn!(%error, reason, "Kafka");
                }
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.source.mapping.topic) else { return };
        let of = |(&partition, told): (&i32, &rdkafka::statistics::Partition)| LogEnd {
            partition,
            end: told.hi_offset,
            read_to: told.eof_offset,
        };
        self.tell(Told::Ends(topic.partitions.iter().map(of).collect()));
    }
}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let mut now_assigned = Vec::new();
        let outcome = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.said().clear();
            now_assigned = self.starts(consumer, partitions);
            let mut list = TopicPartitionList::new();
            for Start { partition, offset, .. } in &now_assigned {
                let topic = &self.source.mapping.topic;
                if let Err(error) = list.add_partition_offset(topic, *partition, Offset::Offset(*offset)) {
                    tracing::error!(%error, partition, "a partition cannot be read");
                }
            }
            consumer.assign(&list)
        } else {
            consumer.unassign()
        };
        if let Err(error) = outcome {
            tracing::error!(%error, "partitions could not be assigned");
        }
        self.tell(Told::Assigned(now_assigned));
    }
}

impl Group {
    fn said(&self) -> MutexGuard<'_, HashSet<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, told: Told) {
        if self.told.send(told).is_err() {
            tracing::debug!("the reading has ended");
        }
    }

    /// Where each partition is read from.
    fn starts(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> Vec<Start> {
        let committed = consumer.committed_offsets(partitions.clone(), TIMEOUT).unwrap_or_else(|error| {
            tracing::warn!(%error, "the group's offsets are not to be had: reading from the beginning");
            partitions.clone()
        });
        let absorbed = self.handle.block_on(progress::of_group(&self.source.table, &self.source.group));
        let absorbed: Vec<Position> = absorbed.unwrap_or_else(|error| {
            tracing::warn!(%error, "the table's progress is not to be had: reading from the beginning");
            Vec::new()
        });
        let topic = &self.source.mapping.topic;
        partitions
            .elements()
            .iter()
            .map(|element| {
                let partition = element.partition();
                let commit = committed.find_partition(topic, partition).map(|element| element.offset());
                let progress = absorbed.iter().find(|at| at.topic == *topic && at.partition == partition);
                let offset = match (commit, progress.map(|at| at.progress)) {
                    (Some(Offset::Offset(commit)), Some(at)) => commit.min(at.through + 1).max(at.from),
                    // Begun and without a commit: the topic may be a new one. What lies before `from` aggregate leaves out.
                    (_, Some(at)) if at.through >= at.from => 0,
                    (_, Some(at)) => at.from,
                    _ => 0,
                };
                Start { partition, offset, is_committed: matches!(commit, Some(Offset::Offset(_))) }
            })
            .collect()
    }
}

/// A partition that is ours to read.
struct Partition {
    batch: Batch,
    /// Records for the batches after this one.
    waiting: VecDeque<LogRecord>,
    waiting_bytes: usize,
    paused: bool,
    in_flight: bool,
    /// Whether the group has committed an offset of it.
    is_committed: bool,
    /// All before it is dealt with.
    delivered: i64,
    /// The log's end when it was last asked for.
    end: i64,
    /// Whether everything that the broker has was read.
    at_end: bool,
}

/// A batch that was delivered, or need not be.
struct Done {
    epoch: u64,
    partition: i32,
    next: i64,
    outcome: Outcome,
}

/// What became of the offset after a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Committed,
    /// The batch is delivered again after a restart, which changes nothing.
    NotCommitted,
    /// The group's offset of the partition is gone, and with it the topic that the batch was of.
    TopicGone,
}

struct Reading<'a> {
    source: &'a EventSource,
    consumer: Arc<BaseConsumer<Group>>,
    handle: &'a Handle,
    shutdown: &'a Shutdown,
    partitions: BTreeMap<i32, Partition>,
    /// Counts assignments: what comes back from an earlier one is not ours any more.
    epoch: u64,
    done: Sender<Done>,
    /// Whether the topic was missing, which is said once.
    is_missing: bool,
    /// After which nothing is read any more.
    fatal: Option<KafkaError>,
}

impl Reading<'_> {
    fn step(&mut self, tidings: &Receiver<Told>, finished: &Receiver<Done>) {
        let mut wait = POLL;
        for _event in 0..EVENTS_A_STEP {
            if !self.hear(wait, tidings) {
                break;
            }
            wait = Duration::ZERO;
        }
        while let Ok(done) = finished.try_recv() {
            self.finish(&done);
        }
        self.send_what_is_due();
        self.tell();
    }

    /// Takes what comes next from Kafka, if anything does within the time.
    fn hear(&mut self, wait: Duration, tidings: &Receiver<Told>) -> bool {
        let heard = match self.consumer.poll(wait) {
            None => None,
            Some(Ok(message)) => Some(Heard::Record(message.partition(), record(&message))),
            Some(Err(KafkaError::PartitionEOF(partition))) => Some(Heard::End(partition)),
            Some(Err(error)) => Some(Heard::Error(error)),
        };
        // What was heard belongs to the assignment that came with it.
        while let Ok(told) = tidings.try_recv() {
            match told {
                Told::Assigned(assignment) => self.assign(&assignment),
                Told::Ends(ends) => self.note_ends(&ends),
            }
        }
        match heard {
            None => return false,
            Some(Heard::Record(partition, record)) => self.take(partition, record),
            Some(Heard::End(partition)) => {
                if let Some(partition) = self.partitions.get_mut(&partition) {
                    partition.at_end = true;
                }
            }
            Some(Heard::Error(error @ KafkaError::MessageConsumptionFatal(_))) => self.fatal = Some(error),
            Some(Heard::Error(error)) => self.say(&error),
        }
        true
    }

    fn assign(&mut self, assignment: &[Start]) {
        self.epoch += 1;
        self.partitions = assignment
            .iter()
            .map(|&Start { partition, offset, is_committed }| {
                let state = Partition {
                    batch: Batch::new(&self.source.mapping.topic, partition, offset),
                    waiting: VecDeque::new(),
                    waiting_bytes: 0,
                    paused: false,
                    in_flight: false,
                    is_committed,
                    delivered: offset,
                    end: i64::MAX,
                    at_end: false,
                };
                (partition, state)
            })
            .collect();
        tracing::info!(partitions = ?assignment, group = self.source.group, "reading partitions from these offsets");
    }

    fn take(&mut self, number: i32, record: LogRecord) {
        let Some(partition) = self.partitions.get_mut(&number) else { return };
        partition.at_end = false;
        partition.waiting_bytes += record.bytes();
        partition.waiting.push_back(record);
        partition.fill(self.source);
        if partition.waiting_bytes > MAX_WAITING_BYTES && !partition.paused {
            partition.paused = true;
            self.pause_or_resume(number, true);
        }
    }

    fn pause_or_resume(&self, partition: i32, pause: bool) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.source.mapping.topic, partition);
        let outcome = if pause { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        if let Err(error) = outcome {
            tracing::warn!(%error, partition, "a partition could not be paused or resumed");
        }
    }

    /// Moves past a delivered batch.
    fn finish(&mut self, done: &Done) {
        if done.epoch != self.epoch {
            return;
        }
        if done.outcome == Outcome::TopicGone {
            self.begin_again();
            return;
        }
        let Some(partition) = self.partitions.get_mut(&done.partition) else { return };
        partition.in_flight = false;
        partition.is_committed |= done.outcome == Outcome::Committed;
        partition.delivered = done.next;
        partition.fill(self.source);
        if partition.paused && partition.waiting_bytes < MAX_WAITING_BYTES / 2 {
            partition.paused = false;
            self.pause_or_resume(done.partition, false);
        }
    }

    /// Joins the group anew, which asks where to begin.
    fn begin_again(&mut self) {
        let topic = &self.source.mapping.topic;
        tracing::warn!(topic, "the topic was deleted and created again: it is read from its beginning");
        self.epoch += 1;
        self.partitions.clear();
        self.consumer.unsubscribe();
        if let Err(error) = self.consumer.subscribe(&[topic]) {
            tracing::error!(%error, topic, "the topic cannot be read any more: please start again");
        }
    }

    fn send_what_is_due(&mut self) {
        let window = self.source.window();
        for (&number, partition) in &mut self.partitions {
            if partition.in_flight {
                continue;
            }
            if partition.batch.is_empty() {
                // What was filtered out is dealt with.
                partition.delivered = partition.delivered.max(partition.batch.next());
                continue;
            }
            let full = !partition.waiting.is_empty();
            let due = partition.batch.due(window).is_some_and(|due| due <= Instant::now());
            if !full && !due {
                continue;
            }
            let next = partition.batch.next();
            let batch =
                std::mem::replace(&mut partition.batch, Batch::new(&self.source.mapping.topic, number, next));
            partition.in_flight = true;
            let place = Place {
                consumer: Arc::clone(&self.consumer),
                topic: self.source.mapping.topic.clone(),
                partition: number,
                was_committed: partition.is_committed,
            };
            let (source, shutdown, done, epoch) =
                (self.source.clone(), self.shutdown.clone(), self.done.clone(), self.epoch);
            self.handle.spawn(async move {
                if let Some(outcome) = deliver(&source, &batch, place, &shutdown).await {
                    // An error means that the reading has ended: then the batch is delivered again, and was absorbed.
                    drop(done.send(Done { epoch, partition: number, next: batch.next(), outcome }));
                }
            });
        }
    }

    fn note_ends(&mut self, ends: &[LogEnd]) {
        for told in ends {
            let Some(partition) = self.partitions.get_mut(&told.partition) else { continue };
            if told.end >= 0 {
                partition.end = told.end;
            }
            let idle = partition.waiting.is_empty() && partition.batch.is_empty() && !partition.in_flight;
            if partition.at_end && idle {
                partition.batch.skip_to(told.read_to);
            }
        }
    }

    /// Tells where we are.
    fn tell(&self) {
        let known = !self.partitions.is_empty()
            && self.partitions.values().all(|partition| partition.end != i64::MAX);
        let missing = self.is_missing && self.partitions.is_empty();
        self.source.positions.update(&self.source.group, &self.source.mapping.topic, |reader| {
            reader.partitions_known = known || missing;
            reader.partitions = self
                .partitions
                .iter()
                .filter(|(_, partition)| partition.end != i64::MAX)
                .map(|(&number, partition)| {
                    (
                        number,
                        Offsets { next: partition.delivered, end: partition.end.max(partition.delivered) },
                    )
                })
                .collect();
        });
    }

    /// Says that the topic is missing, once. Any other error the group says.
    fn say(&mut self, error: &KafkaError) {
        if error.rdkafka_error_code().is_some_and(is_missing)
            && !std::mem::replace(&mut self.is_missing, true)
        {
            let topic = &self.source.mapping.topic;
            let group = &self.source.group;
            tracing::warn!(topic, group, "there is no such topic yet: it will be read when it appears");
        }
    }
}

const fn is_missing(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
}

/// Delivers a batch and commits the offset after it; `None` when it was stopped before.
///
/// A topic that was deleted and created again with as many records is read on in the middle, without an error. But the group's
/// offsets go with the topic: so it is looked, after a batch was read, whether the one that was committed is still there.
async fn deliver(source: &EventSource, batch: &Batch, place: Place, shutdown: &Shutdown) -> Option<Outcome> {
    let place = Arc::new(place);
    if place.was_committed && !is_still_there(&place, shutdown).await? {
        return Some(Outcome::TopicGone);
    }
    if !source.deliver(batch, shutdown).await {
        return None;
    }
    let next = batch.next();
    let outcome = ask(&place, move |place| place.commit(next)).await?;
    Some(outcome.unwrap_or_else(|error| {
        tracing::warn!(%error, partition = place.partition, "an offset could not be committed");
        Outcome::NotCommitted
    }))
}

/// Whether the offset that was committed is still there; asked until there is an answer, `None` when it was stopped before.
async fn is_still_there(place: &Arc<Place>, shutdown: &Shutdown) -> Option<bool> {
    loop {
        match ask(place, Place::is_committed).await? {
            Ok(is_committed) => return Some(is_committed),
            Err(error) => tracing::debug!(%error, "the group's offset is not to be had"),
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = shutdown.wait() => return None,
        }
    }
}

/// Asks the broker in a thread that may wait; `None` when the program ends.
async fn ask<T: Send + 'static>(
    place: &Arc<Place>,
    question: impl FnOnce(&Place) -> KafkaResult<T> + Send + 'static,
) -> Option<KafkaResult<T>> {
    let place = Arc::clone(place);
    tokio::task::spawn_blocking(move || question(&place)).await.ok()
}

/// A partition whose offset is the group's.
struct Place {
    consumer: Arc<BaseConsumer<Group>>,
    topic: String,
    partition: i32,
    was_committed: bool,
}

impl Place {
    fn is_committed(&self) -> KafkaResult<bool> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, self.partition);
        let committed = self.consumer.committed_offsets(list, TIMEOUT)?;
        let place = committed.find_partition(&self.topic, self.partition);
        Ok(place.is_some_and(|place| matches!(place.offset(), Offset::Offset(_))))
    }

    fn commit(&self, next: i64) -> KafkaResult<Outcome> {
        if self.was_committed && !self.is_committed()? {
            return Ok(Outcome::TopicGone);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, self.partition, Offset::Offset(next))?;
        self.consumer.commit(&list, CommitMode::Sync)?;
        Ok(Outcome::Committed)
    }
}

enum Heard {
    Record(i32, LogRecord),
    End(i32),
    Error(KafkaError),
}

fn record(message: &BorrowedMessage<'_>) -> LogRecord {
    let (timestamp, timestamp_type) = match message.timestamp() {
        Timestamp::CreateTime(time) => (time, TimestampType::CreateTime),
        Timestamp::LogAppendTime(time) => (time, TimestampType::LogAppendTime),
        Timestamp::NotAvailable => (-1, TimestampType::NoTimestampType),
    };
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    LogRecord {
        offset: message.offset(),
        timestamp,
        timestamp_type,
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers
            .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
            .collect(),
    }
}

impl Partition {
    /// Moves waiting records into the batch while it has room.
    fn fill(&mut self, source: &EventSource) {
        while let Some(record) = self.waiting.pop_front() {
            let bytes = record.bytes();
            match self.batch.take(record, &source.mapping) {
                Ok(()) => self.waiting_bytes -= bytes,
                Err(record) => {
                    self.waiting.push_front(record);
                    return;
                }
            }
        }
    }
}
