//! Kafka as the log: a consumer group, with one batch of a partition in flight.
//!
//! A partition is read from where the group's committed offset is, or from the table's progress where that is behind: so the
//! table and the position in the log are lost or kept together. A group without a commit begins at the beginning; what was
//! absorbed before is told apart by the guarded merge.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::Context as _;
use bot::status::Offsets;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use state::progress::{self, Position};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::event_source::{Batch, EventSource, LogRecord};
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
    let group = Group { source: source.clone(), handle: handle.clone(), told };
    let consumer: BaseConsumer<Group> = config
        .clone()
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
        .context("the Kafka configuration is not valid")?;
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
        said: HashSet::new(),
    };
    while !shutdown.is_pulled() {
        reading.step(&tidings, &finished);
    }
    Ok(())
}

/// What librdkafka tells beside records.
enum Told {
    /// Partitions and their first offsets: what replaces all that was assigned before.
    Assigned(Vec<(i32, i64)>),
    /// Where the partitions end.
    Ends(Vec<LogEnd>),
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
}

impl ClientContext for Group {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "Kafka");
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
            let starts = self.starts(consumer, partitions);
            let mut list = TopicPartitionList::new();
            for (partition, start) in starts {
                now_assigned.push((partition, start));
                if let Err(error) =
                    list.add_partition_offset(&self.source.mapping.topic, partition, Offset::Offset(start))
                {
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
    fn tell(&self, told: Told) {
        if self.told.send(told).is_err() {
            tracing::debug!("the reading has ended");
        }
    }

    /// Where each partition is read from.
    fn starts(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> Vec<(i32, i64)> {
        let committed = consumer.committed_offsets(partitions.clone(), TIMEOUT).unwrap_or_else(|error| {
            tracing::warn!(%error, "the group's offsets are not to be had: reading from the beginning");
            partitions.clone()
        });
        let absorbed =
            self.handle.block_on(progress::of_group(&self.source.function.table, &self.source.group));
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
                let start = match (commit, progress.map(|at| at.progress)) {
                    (Some(Offset::Offset(commit)), Some(at)) => commit.min(at.through + 1).max(at.from),
                    // Begun and without a commit: the topic may be a new one. What lies before `from` aggregate leaves out.
                    (_, Some(at)) if at.through >= at.from => 0,
                    (_, Some(at)) => at.from,
                    _ => 0,
                };
                (partition, start)
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
    /// All before it is dealt with.
    delivered: i64,
    /// The log's end when it was last asked for.
    end: i64,
    /// Whether everything that the broker has was read.
    at_end: bool,
}

/// A batch that was delivered.
struct Done {
    epoch: u64,
    partition: i32,
    next: i64,
}

struct Reading<'a> {
    source: &'a EventSource,
    consumer: BaseConsumer<Group>,
    handle: &'a Handle,
    shutdown: &'a Shutdown,
    partitions: BTreeMap<i32, Partition>,
    /// Counts assignments: what comes back from an earlier one is not ours any more.
    epoch: u64,
    done: Sender<Done>,
    /// What was said already, so that it is said once.
    said: HashSet<String>,
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
            self.commit(&done);
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
            Some(Heard::Error(error)) => self.say(&error),
        }
        true
    }

    fn assign(&mut self, assignment: &[(i32, i64)]) {
        self.epoch += 1;
        self.partitions = assignment
            .iter()
            .map(|&(partition, start)| {
                let state = Partition {
                    batch: Batch::new(&self.source.mapping.topic, partition, start),
                    waiting: VecDeque::new(),
                    waiting_bytes: 0,
                    paused: false,
                    in_flight: false,
                    delivered: start,
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
    fn commit(&mut self, done: &Done) {
        if done.epoch != self.epoch {
            return;
        }
        let Some(partition) = self.partitions.get_mut(&done.partition) else { return };
        partition.in_flight = false;
        partition.delivered = done.next;
        let mut resumes = false;
        partition.fill(self.source);
        if partition.paused && partition.waiting_bytes < MAX_WAITING_BYTES / 2 {
            partition.paused = false;
            resumes = true;
        }
        if resumes {
            self.pause_or_resume(done.partition, false);
        }
        let mut list = TopicPartitionList::new();
        let committed = list
            .add_partition_offset(&self.source.mapping.topic, done.partition, Offset::Offset(done.next))
            .and_then(|()| self.consumer.commit(&list, CommitMode::Async));
        if let Err(error) = committed {
            // It is delivered again after a restart, which changes nothing.
            tracing::warn!(%error, partition = done.partition, "an offset could not be committed");
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
            let (source, shutdown, done, epoch) =
                (self.source.clone(), self.shutdown.clone(), self.done.clone(), self.epoch);
            self.handle.spawn(async move {
                if source.deliver(&batch, &shutdown).await {
                    // An error means that the reading has ended: then the batch is delivered again, and was absorbed.
                    drop(done.send(Done { epoch, partition: number, next: batch.next() }));
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
        let missing = self.said.contains(MISSING) && self.partitions.is_empty();
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

    /// Says an error in the log, once.
    fn say(&mut self, error: &KafkaError) {
        let missing = error.rdkafka_error_code().is_some_and(|code| {
            matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
        });
        let key = if missing { MISSING.to_owned() } else { error.to_string() };
        if !self.said.insert(key) {
            return;
        }
        let topic = &self.source.mapping.topic;
        if missing {
            tracing::warn!(topic, "there is no such topic yet: it will be read when it appears");
        } else {
            tracing::warn!(%error, topic, "Kafka");
        }
    }
}

/// Under which a missing topic is remembered to have been said.
const MISSING: &str = "missing";

enum Heard {
    Record(i32, LogRecord),
    End(i32),
    Error(KafkaError),
}

fn record(message: &BorrowedMessage<'_>) -> LogRecord {
    LogRecord {
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
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
