//! A topic of a controller's documents: which are there, and writing to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use capture_agent::producer::KafkaSettingsError;
use domain::document_record::{self, Change, DocumentId};
use indicatif::ProgressBar;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientContext, Message as _};

use crate::cluster::{self, Reason};

/// How long an answer of the cluster may take, and how long nothing may come of a topic that has more.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long Kafka may take to acknowledge a record.
const DELIVERY_TIMEOUT_MS: &str = "30000";
/// So long a call of librdkafka waits.
const TICK: Duration = Duration::from_millis(100);

/// A topic at a cluster.
#[derive(Debug, Clone)]
pub struct Topic {
    config: ClientConfig,
    servers: String,
    name: String,
}

/// Where a topic has records of a document: a key, of which each release of Debezium has its own form, and a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whereabouts {
    /// The key.
    pub key: Vec<u8>,
    /// The partition.
    pub partition: i32,
}

/// A record to be written.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value; `None` is a tombstone.
    pub value: Option<String>,
    /// The partition; without one that in which Debezium would put it.
    pub partition: Option<i32>,
}

/// The documents of a topic.
#[derive(Debug, Default)]
pub struct Documents {
    known: BTreeMap<DocumentId, Known>,
    /// So many records cannot be read.
    pub unreadable: u64,
}

/// What a topic says of a document.
#[derive(Debug)]
struct Known {
    is_there: bool,
    /// Kafka timestamp, partition and offset of the record that said so.
    latest: (i64, i32, i64),
    whereabouts: BTreeSet<Whereabouts>,
}

impl Topic {
    /// The topic of this name.
    #[must_use]
    pub fn new(config: &ClientConfig, servers: &str, name: &str) -> Self {
        let mut config = config.clone();
        config.set_log_level(RDKafkaLogLevel::Error);
        Self { config, servers: servers.to_owned(), name: name.to_owned() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sees whether the topic is there. Blocks.
    ///
    /// # Errors
    /// When it is not, or the cluster does not answer.
    pub fn check(&self) -> anyhow::Result<()> {
        self.partitions(&self.consumer()?.0).map(drop)
    }

    /// Reads the topic from its beginning to what is its end now. Blocks.
    ///
    /// # Errors
    /// When the cluster does not answer, or nothing comes for a while.
    pub fn documents(&self) -> anyhow::Result<Documents> {
        let (consumer, reason) = self.consumer()?;
        let failed = |error: &KafkaError| reason.explain_to(&consumer, &self.servers, error);
        let mut ends = BTreeMap::new();
        let mut from = TopicPartitionList::new();
        for partition in self.partitions(&consumer)? {
            let (first, end) =
                consumer.fetch_watermarks(&self.name, partition, TIMEOUT).map_err(|error| failed(&error))?;
            if first < end {
                ends.insert(partition, end);
                from.add_partition_offset(&self.name, partition, Offset::Offset(first))?;
            }
        }
        consumer.assign(&from)?;
        let mut documents = Documents::default();
        let mut heard = Instant::now();
        while !ends.is_empty() {
            ensure!(
                heard.elapsed() < TIMEOUT,
                "Kafka at {} stopped answering while topic {} was read",
                self.servers,
                self.name
            );
            match consumer.poll(TICK) {
                None => continue,
                Some(Ok(message)) => {
                    let partition = message.partition();
                    let Some(end) = ends.get(&partition) else { continue };
                    if message.offset() < *end {
                        documents.take(&message);
                    }
                    if message.offset() + 1 >= *end {
                        ends.remove(&partition);
                    }
                }
                // what stands before the end is a mark of a transaction, or was compacted away
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(ends.remove(&partition)),
                Some(Err(error)) if cluster::is_of_a_group(&error) => continue,
                Some(Err(error)) => return Err(failed(&error)),
            }
            heard = Instant::now();
        }
        Ok(documents)
    }

    /// Writes records, and returns when Kafka has all of them on all of its replicas that are in sync. Blocks.
    ///
    /// # Errors
    /// When the cluster does not take one.
    pub fn write(&self, records: &[NewRecord], progress: &ProgressBar) -> anyhow::Result<()> {
        let mut config = self.config.clone();
        let context = Deliveries { reason: Reason::of(&mut config)?, ..Deliveries::default() };
        config
            .set("acks", "all")
            .set("enable.idempotence", "true") // neither twice nor in another order
            .set("allow.auto.create.topics", "false") // it was there a moment ago
            .set("message.timeout.ms", DELIVERY_TIMEOUT_MS)
            .set("partitioner", "murmur2_random"); // as Debezium's producer, which is of Java
        let producer: BaseProducer<Deliveries> =
            config.create_with_context(context.clone()).map_err(KafkaSettingsError::from)?;
        let refused = || match context.refused() {
            Some(error) => Err(self.refusal(&error, &context, records.len())),
            None => Ok(()),
        };
        for record in records {
            let mut waiting = BaseRecord::to(&self.name).key(&record.key);
            waiting.payload = record.value.as_deref();
            waiting.partition = record.partition;
            // librdkafka has room again when it has delivered some, or given them up
            while let Err((error, again)) = producer.send(waiting) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(self.refusal(&error, &context, records.len()));
                }
                waiting = again;
                producer.poll(TICK);
                progress.set_position(context.taken());
                refused()?;
            }
        }
        // each ends by its acknowledgement or by its timeout
        while producer.in_flight_count() > 0 {
            producer.poll(TICK);
            progress.set_position(context.taken());
            refused()?;
        }
        refused()
    }

    fn consumer(&self) -> anyhow::Result<(BaseConsumer<Reason>, Reason)> {
        let mut config = self.config.clone();
        let reason = Reason::of(&mut config)?;
        let consumer = config
            // it joins no group and keeps no position; librdkafka wants a name
            .set("group.id", "probegram-unifi-import")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create_with_context(reason.clone())
            .map_err(KafkaSettingsError::from)?;
        reason.prepare(&consumer);
        Ok((consumer, reason))
    }

    /// Of all topics together: asked for by its name, one that is missing may be made by the broker.
    fn partitions(&self, consumer: &BaseConsumer<Reason>) -> anyhow::Result<Vec<i32>> {
        let metadata = consumer
            .fetch_metadata(None, TIMEOUT)
            .map_err(|error| consumer.context().explain_to(consumer, &self.servers, &error))?;
        let found = metadata.topics().iter().find(|topic| topic.name() == self.name);
        match found.map(|topic| topic.partitions()) {
            Some([]) | None => Err(self.missing()),
            Some(partitions) => Ok(partitions.iter().map(|partition| partition.id()).collect()),
        }
    }

    fn missing(&self) -> anyhow::Error {
        let Self { name, servers, .. } = self;
        anyhow!(
            "there is no topic {name} at {servers}, or this user may not see it: `probegram topics --bootstrap-servers {servers} --create` \
             makes those with the usual names"
        )
    }

    fn refusal(&self, error: &KafkaError, context: &Deliveries, of: usize) -> anyhow::Error {
        let Self { name, servers, .. } = self;
        let why = match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition,
            ) => self.missing(),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                anyhow!("this user may not write to topic {name}: allow it WRITE and DESCRIBE")
            }
            Some(RDKafkaErrorCode::ClusterAuthorizationFailed) => anyhow!(
                "Kafka at {servers} forbids idempotent writing: allow this user IDEMPOTENT_WRITE on the cluster"
            ),
            Some(RDKafkaErrorCode::MessageTimedOut) | None => context.reason.explain(servers, error),
            Some(other) => anyhow!("Kafka at {servers} does not take a record of topic {name}: {other}"),
        };
        anyhow!(
            "{why}; it has taken {} of {of} records, and the same command may be typed again",
            context.taken()
        )
    }
}

impl Documents {
    /// The documents that are there, and where.
    pub fn living(&self) -> impl Iterator<Item = (&DocumentId, &BTreeSet<Whereabouts>)> {
        self.known.iter().filter(|(_, known)| known.is_there).map(|(id, known)| (id, &known.whereabouts))
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let Ok(record) = document_record::decode(message.key(), message.payload()) else {
            self.unreadable += 1;
            return;
        };
        let at = (message.timestamp().to_millis().unwrap_or_default(), message.partition(), message.offset());
        let known = self.known.entry(record.id).or_insert_with(|| Known {
            is_there: matches!(record.change, Change::Partial(_)),
            latest: at,
            whereabouts: BTreeSet::new(),
        });
        if let Some(key) = message.key() {
            known.whereabouts.insert(Whereabouts { key: key.to_vec(), partition: message.partition() });
        }
        // as the table has it: a partition has an order, and between two of them Kafka's time tells
        let is_newer = if known.latest.1 == at.1 { known.latest.2 <= at.2 } else { known.latest.0 <= at.0 };
        if !is_newer {
            return;
        }
        known.latest = at;
        match record.change {
            Change::Snapshot(_) | Change::Whole(_) | Change::Now(_) => known.is_there = true,
            // it does not bring back what is gone
            Change::Partial(_) => {}
            Change::Deleted | Change::Tombstone => known.is_there = false,
        }
    }
}

/// Counts what Kafka has taken, and keeps the first refusal.
#[derive(Clone, Default)]
struct Deliveries {
    reason: Reason,
    taken: Arc<AtomicU64>,
    refused: Arc<Mutex<Option<KafkaError>>>,
}

impl Deliveries {
    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn refused(&self) -> Option<KafkaError> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reason.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reason.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.reason.generate_oauth_token(config)
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_message) => drop(self.taken.fetch_add(1, Ordering::Relaxed)),
            Err((error, _message)) => {
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.get_or_insert_with(|| error.clone());
            }
        }
    }
}
