//! The thread that sends the spool on to Kafka, from the acknowledged position on, and moves that position as Kafka
//! acknowledges.
//!
//! Nothing leaves by an error: what Kafka did not acknowledge is sent again, in this session of a producer or the next. What it
//! did acknowledge is not, unless the process dies before the position is on the disk.

use std::collections::HashSet;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use crate::in_flight::{Fate, InFlight};
use crate::producer::{Kafka, Remedy, remedy};
use crate::spool::{PCAP, SpoolError, SpoolReader, SpoolRecord};
use crate::spool_writer::Intake;

const RECORDS_A_READ: usize = 2_000;
const BYTES_A_READ: usize = 1 << 20;
/// So many records are handed over between two looks at what came back.
const RECORDS_A_POLL: usize = 256;

/// How long what is on its way may take when the agent is to stop.
const LAST_FLUSH: Duration = Duration::from_secs(5);
/// How often it is looked what came back, when nothing is left to send: the quieter, the less often.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(64);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The thread.
#[derive(Debug)]
pub struct Drain {
    order: Arc<(Mutex<Order>, Condvar)>,
    /// Disconnected when the thread ends.
    ended: Receiver<Never>,
    thread: JoinHandle<Drained>,
}

#[derive(Debug)]
enum Never {}

/// What the thread did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records that Kafka acknowledged.
    pub delivered: u64,
    /// Records that Kafka refuses and that were passed over.
    pub refused: u64,
    /// Whether all of the spool has been dealt with.
    pub is_complete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    GoOn,
    EndWhenAllIsSent,
    Stop,
}

impl Drain {
    /// Starts the thread. The spool exists: its writer was opened before.
    ///
    /// # Errors
    /// Why no thread can be started.
    pub fn start(kafka: Kafka, reader: SpoolReader, intake: Intake) -> Result<Self, SpoolError> {
        let order = Arc::new((Mutex::new(Order::GoOn), Condvar::new()));
        let acknowledged = reader.acknowledged(PCAP)?;
        let work = Work {
            reports: Arc::new(Mutex::new(Reports::after(acknowledged))),
            kafka,
            reader,
            intake,
            order: Arc::clone(&order),
            position: acknowledged,
            arrived: HashSet::new(),
            pause: FIRST_PAUSE,
        };
        let (running, ended) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("drain".to_owned())
            .spawn(move || {
                let _until_the_end: mpsc::Sender<Never> = running;
                work.run()
            })
            .map_err(|source| SpoolError::File { path: "a thread for Kafka".into(), source })?;
        Ok(Self { order, ended, thread })
    }

    /// Waits for a while until it has ended; whether it has.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        matches!(self.ended.recv_timeout(patience), Err(RecvTimeoutError::Disconnected))
    }

    /// Asks it to end when Kafka has all that is in the spool now.
    pub fn end_when_all_is_sent(&self) {
        self.give(Order::EndWhenAllIsSent);
    }

    /// Asks it to end within a few seconds; the rest stays in the spool.
    pub fn stop(&self) {
        self.give(Order::Stop);
    }

    /// Waits for its end.
    #[must_use]
    pub fn join(self) -> Drained {
        match self.thread.join() {
            Ok(drained) => drained,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn give(&self, order: Order) {
        let (current, changed) = &*self.order;
        *current.lock().unwrap_or_else(PoisonError::into_inner) = order;
        changed.notify_one();
    }
}

/// Why the session of one producer ended.
enum End {
    Complete,
    Stopped,
    /// A new producer is to go on.
    Trouble,
}

struct Work {
    kafka: Kafka,
    reader: SpoolReader,
    intake: Intake,
    order: Arc<(Mutex<Order>, Condvar)>,
    reports: Arc<Mutex<Reports>>,
    /// The offset up to which records have been handed to the producer.
    position: i64,
    /// Beyond the acknowledged position, but arrived all the same in an earlier session.
    arrived: HashSet<i64>,
    pause: Duration,
}

impl Work {
    fn run(mut self) -> Drained {
        loop {
            let before = self.reports().in_flight.acknowledged();
            let end = self.session().unwrap_or_else(|error| {
                tracing::error!("the spool cannot be read for Kafka: {error}");
                End::Trouble
            });
            let is_over = match end {
                End::Complete | End::Stopped => true,
                End::Trouble => self.begin_again(before),
            };
            self.publish();
            if is_over {
                let reports = self.reports();
                let is_complete = matches!(end, End::Complete);
                return Drained { delivered: reports.delivered, refused: reports.refused, is_complete };
            }
        }
    }

    fn session(&mut self) -> Result<End, SpoolError> {
        let one_by_one = self.reports().one_by_one;
        let context = Context { kafka: self.kafka.clone(), one_by_one, reports: Arc::clone(&self.reports) };
        let producer = match self.kafka.producer(one_by_one, context) {
            Ok(producer) => producer,
            Err(error) => {
                tracing::error!("{error}");
                return Ok(End::Trouble);
            }
        };
        if !self.wait_for_topic(&producer) {
            return Ok(End::Stopped);
        }
        let end = self.send_all(&producer);
        self.publish();
        end
    }

    fn send_all(&mut self, producer: &BaseProducer<Context>) -> Result<End, SpoolError> {
        let mut look_again_after = SHORTEST_LOOK;
        loop {
            let order = self.order();
            if order == Order::Stop {
                self.settle(producer, LAST_FLUSH);
                return Ok(End::Stopped);
            }
            if self.reports().trouble {
                self.settle(producer, LONGEST_PAUSE);
                return Ok(End::Trouble);
            }
            let records = self.reader.read(PCAP, self.position, RECORDS_A_READ, BYTES_A_READ)?;
            if records.is_empty() {
                let waiting = self.reports().in_flight.waiting();
                let is_idle = self.reports().in_flight.is_empty();
                if is_idle && order == Order::EndWhenAllIsSent {
                    return Ok(End::Complete);
                }
                if is_idle {
                    self.intake.wait_for_records(self.position, Duration::from_millis(100));
                    producer.poll(Duration::ZERO);
                } else {
                    producer.poll(look_again_after);
                    let is_quiet = self.reports().in_flight.waiting() == waiting;
                    look_again_after =
                        if is_quiet { (look_again_after * 2).min(LONGEST_LOOK) } else { SHORTEST_LOOK };
                }
            }
            for some in records.chunks(RECORDS_A_POLL) {
                for record in some {
                    if !self.send(producer, record) {
                        break;
                    }
                }
                producer.poll(Duration::ZERO);
            }
            self.publish();
        }
    }

    /// Hands a record to the producer. False when it was not taken, because it is time to stop or the producer is in trouble.
    fn send(&mut self, producer: &BaseProducer<Context>, record: &SpoolRecord) -> bool {
        if self.arrived.remove(&record.offset) {
            self.reports().in_flight.add(record.offset, Fate::Settled);
            self.position = record.offset;
            return true;
        }
        let sequence = self.reports().in_flight.add(record.offset, Fate::Waiting);
        self.position = record.offset;
        let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.kafka.topic, sequence)
            .payload(record.value.as_slice());
        if let Some(key) = &record.key {
            message = message.key(key.as_slice());
        }
        loop {
            match producer.send(message) {
                Ok(()) => return true,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), rejected))
                    if self.order() != Order::Stop && !self.reports().trouble =>
                {
                    message = rejected;
                    producer.poll(Duration::from_millis(1));
                    self.publish();
                }
                Err((error, _rejected)) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                    if code == RDKafkaErrorCode::QueueFull {
                        self.reports().in_flight.report(sequence, Fate::Failed);
                        self.reports().trouble = true;
                    } else {
                        producer.context().failed(sequence, code);
                    }
                    return !self.reports().trouble;
                }
            }
        }
    }

    /// Waits until Kafka can be reached and has the topic. False when it is time to stop.
    fn wait_for_topic(&self, producer: &BaseProducer<Context>) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            let found = producer.client().fetch_metadata(Some(&self.kafka.topic), Duration::from_secs(1));
            let trouble = match &found {
                Ok(metadata) => {
                    let topic = metadata.topics().first();
                    let error = topic.and_then(|topic| topic.error()).map(RDKafkaErrorCode::from);
                    match (topic, error) {
                        (_, Some(code)) => Some((code, String::new())),
                        (Some(topic), None) if !topic.partitions().is_empty() => None,
                        _ => Some((RDKafkaErrorCode::UnknownTopicOrPartition, String::new())),
                    }
                }
                Err(error) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                    Some((code, error.to_string()))
                }
            };
            // what stands behind a failure comes as an event of its own, and says more
            producer.poll(Duration::ZERO);
            let Some((code, reason)) = trouble else {
                self.reports().said = None;
                tracing::info!("connected to Kafka at {}", self.kafka.bootstrap_servers);
                return true;
            };
            producer.context().say(code, &reason);
            if self.waits_in_vain(pause) {
                return false;
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Waits for what is on its way, so that nothing is sent a second time for not having been waited for.
    fn settle(&self, producer: &BaseProducer<Context>, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.reports().in_flight.waiting() > 0 && Instant::now() < deadline {
            producer.poll(Duration::from_millis(10));
            self.publish();
            if patience > LAST_FLUSH && self.order() == Order::Stop {
                return self.settle(producer, LAST_FLUSH);
            }
        }
    }

    /// Goes back to the acknowledged position and pauses. True when it is time to stop instead.
    fn begin_again(&mut self, acknowledged_before: i64) -> bool {
        let mut reports = self.reports();
        let arrived = reports.in_flight.rewind();
        let acknowledged = reports.in_flight.acknowledged();
        reports.trouble = false;
        drop(reports);
        self.arrived.extend(arrived);
        self.arrived.retain(|offset| *offset > acknowledged);
        self.position = acknowledged;
        let is_over = self.waits_in_vain(self.pause);
        let has_progressed = acknowledged > acknowledged_before;
        self.pause = if has_progressed { FIRST_PAUSE } else { (self.pause * 2).min(LONGEST_PAUSE) };
        is_over
    }

    /// Pauses, unless it is time to stop.
    fn waits_in_vain(&self, pause: Duration) -> bool {
        let (order, changed) = &*self.order;
        let order = order.lock().unwrap_or_else(PoisonError::into_inner);
        let (order, _timeout) = changed
            .wait_timeout_while(order, pause, |order| *order != Order::Stop)
            .unwrap_or_else(PoisonError::into_inner);
        *order == Order::Stop
    }

    fn publish(&self) {
        let acknowledged = self.reports().in_flight.acknowledged();
        self.intake.acknowledge(acknowledged);
    }

    fn order(&self) -> Order {
        *self.order.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came back from Kafka.
#[derive(Debug)]
struct Reports {
    in_flight: InFlight,
    delivered: u64,
    refused: u64,
    one_by_one: bool,
    /// Something has to be sent again, by a new producer.
    trouble: bool,
    /// The error that was said last. It is not said again until something has arrived.
    said: Option<RDKafkaErrorCode>,
}

impl Reports {
    fn after(acknowledged: i64) -> Self {
        let in_flight = InFlight::after(acknowledged);
        Self { in_flight, delivered: 0, refused: 0, one_by_one: false, trouble: false, said: None }
    }
}

/// librdkafka's calls to us.
struct Context {
    kafka: Kafka,
    /// Of this producer: the rest of a refused batch still comes after the wish for the next.
    one_by_one: bool,
    reports: Arc<Mutex<Reports>>,
}

impl Context {
    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, sequence: usize, code: RDKafkaErrorCode) {
        let mut reports = self.reports();
        match remedy(code) {
            Remedy::Split if self.one_by_one => {
                reports.in_flight.report(sequence, Fate::Settled);
                reports.refused += 1;
                tracing::error!("Kafka refuses a record for good, and it was passed over: {code}");
            }
            Remedy::Split => {
                reports.in_flight.report(sequence, Fate::Failed);
                reports.trouble = true;
                if std::mem::replace(&mut reports.one_by_one, true) {
                    return;
                }
                tracing::warn!(
                    "Kafka refuses a batch ({code}); the records go one by one, which is slow: raise max.message.bytes of topic {}, or set batch.size in --kafka-config below it",
                    self.kafka.topic
                );
            }
            Remedy::SendAgain => {
                reports.in_flight.report(sequence, Fate::Failed);
                reports.trouble = true;
                drop(reports);
                self.say(code, "");
            }
        }
    }

    fn say(&self, code: RDKafkaErrorCode, reason: &str) {
        // consequences, of which the cause has been or will be said
        let is_consequence = matches!(
            code,
            RDKafkaErrorCode::PurgeQueue
                | RDKafkaErrorCode::PurgeInflight
                | RDKafkaErrorCode::MessageTimedOut
                | RDKafkaErrorCode::Fatal
        );
        let mut reports = self.reports();
        if is_consequence || reports.said == Some(code) || (reports.said.is_some() && is_general(code)) {
            tracing::debug!("{}", self.kafka.explain(code, reason));
            return;
        }
        reports.said = Some(code);
        tracing::warn!("{}", self.kafka.explain(code, reason));
    }
}

/// Says less than any other error.
fn is_general(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::OperationTimedOut
    )
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!("librdkafka: {facility}: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        if code == RDKafkaErrorCode::Fatal {
            tracing::warn!("Kafka's producer begins again: {reason}");
            self.reports().trouble = true;
            return;
        }
        self.say(code, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sequence: usize) {
        match result {
            Ok(_message) => {
                let mut reports = self.reports();
                reports.in_flight.report(sequence, Fate::Settled);
                reports.delivered += 1;
                reports.said = None;
            }
            Err((error, _message)) => {
                self.failed(sequence, error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::Connection;
    use crate::recorder::Recorded;
    use crate::spool::{Retention, Spool, WhenFull};
    use crate::spool_writer::SpoolWriter;
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::message::Message as _;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use rdkafka::{Offset, TopicPartitionList};

    const RECORDS: usize = 1_000;

    /// Spools some records and drains them into a cluster that answers the first requests to write with these errors. What the
    /// topic holds then, and what the drain says.
    fn drain_through(errors: &[RDKafkaRespErr]) -> (Vec<String>, Drained) {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("pcap", 1, 1).unwrap();
        cluster.request_errors(RDKafkaApiKey::Produce, errors);
        let directory = tempfile::tempdir().unwrap();
        let retention =
            Retention { bytes: 64 << 20, age: Duration::from_secs(3600), when_full: WhenFull::Refuse };
        let spool = Spool::open(directory.path(), retention).unwrap();
        let writer = SpoolWriter::start(spool, true).unwrap();
        for number in 0..RECORDS {
            let value = number.to_string();
            writer.intake().push(Recorded { key: Some(b"key"), value: value.as_bytes() }, 0).unwrap();
        }
        assert!(writer.flush(Duration::from_secs(60)));
        let kafka = Kafka::new(Connection {
            bootstrap_servers: cluster.bootstrap_servers(),
            topic: "pcap".to_owned(),
            sensors_topic: "sensors".to_owned(),
            properties: Vec::new(),
        })
        .unwrap();
        let reader = SpoolReader::open_read_only(directory.path()).unwrap().unwrap();
        let drain = Drain::start(kafka, reader, writer.intake()).unwrap();
        drain.end_when_all_is_sent();
        let drained = drain.join();
        let spool = writer.finish().unwrap().spool;
        assert_eq!(spool.acknowledged(PCAP).unwrap(), i64::try_from(RECORDS).unwrap());
        (read_all(&cluster.bootstrap_servers(), RECORDS - usize::try_from(drained.refused).unwrap()), drained)
    }

    fn read_all(bootstrap_servers: &str, expected: usize) -> Vec<String> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("group.id", "unused")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut from_the_beginning = TopicPartitionList::new();
        from_the_beginning.add_partition_offset("pcap", 0, Offset::Beginning).unwrap();
        consumer.assign(&from_the_beginning).unwrap();
        let mut values = Vec::new();
        loop {
            match consumer.poll(Duration::from_secs(60)).unwrap() {
                Ok(message) => values.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap()),
                Err(KafkaError::PartitionEOF(_)) if values.len() >= expected => return values,
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn numbers() -> Vec<String> {
        (0..RECORDS).map(|number| number.to_string()).collect()
    }

    #[test]
    fn what_kafka_may_take_later_is_sent_again_and_arrives_once() {
        for error in [
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
        ] {
            let (mut values, drained) = drain_through(&[error]);
            let expected = Drained { delivered: RECORDS as u64, refused: 0, is_complete: true };
            assert_eq!(drained, expected, "{error:?}");
            values.sort_by_key(|value| value.parse::<usize>().unwrap());
            assert_eq!(values, numbers(), "{error:?}");
        }
    }

    #[test]
    fn a_batch_that_is_too_large_is_split_and_only_a_record_that_is_refused_alone_is_passed_over() {
        let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        let (values, drained) = drain_through(&[too_large]);
        assert_eq!(drained, Drained { delivered: RECORDS as u64, refused: 0, is_complete: true });
        assert_eq!(values, numbers());

        let (values, drained) = drain_through(&[too_large, too_large]);
        assert_eq!(drained, Drained { delivered: RECORDS as u64 - 1, refused: 1, is_complete: true });
        assert_eq!(values, numbers().split_off(1));
    }
}
