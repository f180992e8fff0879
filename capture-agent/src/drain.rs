//! The thread that sends the spool on to Kafka, from the acknowledged position on, and moves that position as Kafka
//! acknowledges.
//!
//! Nothing leaves by an error: what Kafka did not acknowledge is sent again, in this session of a producer or the next. What it
//! did acknowledge is not, unless the process dies before the position is on the disk.
//!
//! Beside the records it sends heartbeats, of which only the newest matters: at most one is on its way, and what becomes of it holds
//! nothing up.

use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use crate::in_flight::{Fate, InFlight};
use crate::kafka_trouble::{self, Cause, Trouble};
use crate::msk_iam::Tokens;
use crate::producer::{Kafka, Remedy, remedy};
use crate::spool::{PCAP, SENSORS, SpoolError, SpoolReader, SpoolRecord};
use crate::spool_writer::Intake;
use crate::window::Window;

/// After so many timeouts at one broker, without anything acknowledged meanwhile, requests are made smaller.
const TIMEOUTS: u32 = 2;
const RECORDS_A_READ: usize = 2_000;
const BYTES_A_READ: usize = 1 << 20;
/// So many records are handed over between two looks at what came back.
const RECORDS_A_POLL: usize = 256;
/// How long what is on its way may take when the agent is to stop.
const LAST_FLUSH: Duration = Duration::from_secs(5);
/// How often it is looked what came back, when nothing is left to send: the quieter, the less often.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(64);
/// How long nothing may happen before it is looked whether something did.
const IDLE_LOOK: Duration = Duration::from_millis(250);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a trouble that may be a mere consequence waits for the cause to be told, or to be over.
const WAIT_FOR_THE_CAUSE: Duration = Duration::from_secs(5);
/// A setting that is wrong at one of several brokers is not said again sooner, though records go through meanwhile.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// A trouble that wants mending and lasts so long has a new producer made, which reads keys and certificates anew.
const READ_CERTIFICATES_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// So long records may be on their way while nothing is acknowledged, before that is said: librdkafka tries again by itself, and tells of
/// neither a broker that does not answer nor one whose replicas are too few.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the first question for the topic waits for its answer, and how long a later one. One that is given up takes the connection
/// with it, so on a slow line the second has to wait longer; and while it waits the agent cannot be stopped.
const FIRST_QUESTION: Duration = Duration::from_secs(1);
const LONGEST_QUESTION: Duration = Duration::from_secs(5);
/// How often librdkafka is listened to while a topic is waited for: it asks for tokens.
const LISTEN_EVERY: Duration = Duration::from_secs(1);
/// How often a heartbeat that Kafka refuses is tried again.
const FIRST_HEARTBEAT_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_HEARTBEAT_PAUSE: Duration = Duration::from_secs(300);
/// How often it is looked for a new one.
const HEARTBEAT_LOOK: Duration = Duration::from_millis(500);

/// The thread.
#[derive(Debug)]
pub struct Drain {
    order: Arc<(Mutex<Order>, Condvar)>,
    reports: Arc<Mutex<Reports>>,
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

/// How it goes, while it goes. Clones are the same.
#[derive(Debug, Clone)]
pub struct DrainStatus {
    reports: Arc<Mutex<Reports>>,
}

impl DrainStatus {
    /// The highest offset that Kafka has acknowledged, by partition of the topic of the records, since the start.
    #[must_use]
    pub fn delivered(&self) -> BTreeMap<i32, i64> {
        lock(&self.reports).offsets.clone()
    }

    /// How many records Kafka has acknowledged since the start.
    #[must_use]
    pub fn delivered_records(&self) -> u64 {
        lock(&self.reports).delivered
    }

    /// What is wrong, in the words that were said, as long as it is; what hinders heartbeats alone only when nothing else is wrong.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let reports = lock(&self.reports);
        let holds = reports.troubles.holds.as_ref().or(reports.heartbeats.holds.as_ref());
        holds.map(|trouble| trouble.line.clone())
    }
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
        Self::start_with(kafka, reader, intake, SILENCE)
    }

    fn start_with(
        kafka: Kafka,
        reader: SpoolReader,
        intake: Intake,
        silence: Duration,
    ) -> Result<Self, SpoolError> {
        let order = Arc::new((Mutex::new(Order::GoOn), Condvar::new()));
        let acknowledged = reader.acknowledged(PCAP)?;
        // what an earlier run said of itself is no news
        let heartbeat = reader.end(SENSORS)? - 1;
        let reports = Arc::new(Mutex::new(Reports::after(acknowledged, heartbeat)));
        let work = Work {
            reports: Arc::clone(&reports),
            kafka,
            reader,
            intake,
            order: Arc::clone(&order),
            position: acknowledged,
            heard_of: heartbeat,
            look_for_heartbeat: None,
            arrived: HashSet::new(),
            pause: FIRST_PAUSE,
            try_one: false,
            window: Window::default(),
            silence,
        };
        let (running, ended) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("drain".to_owned())
            .spawn(move || {
                let _until_the_end: mpsc::Sender<Never> = running;
                work.run()
            })
            .map_err(|source| SpoolError::File { path: "a thread for Kafka".into(), source })?;
        Ok(Self { order, reports, ended, thread })
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> DrainStatus {
        DrainStatus { reports: Arc::clone(&self.reports) }
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
    /// The offset of the newest heartbeat that was seen in the spool.
    heard_of: i64,
    /// When it is looked for a newer one.
    look_for_heartbeat: Option<Instant>,
    /// Beyond the acknowledged position, but arrived all the same in an earlier session.
    arrived: HashSet<i64>,
    pause: Duration,
    /// After a session that brought nothing on: a single record goes first, and the rest when Kafka has it.
    try_one: bool,
    /// How many may be on their way.
    window: Window,
    /// How long nothing may be acknowledged before that is said.
    silence: Duration,
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
        let one_by_one = {
            let mut reports = self.reports();
            // of the producer before
            reports.is_fatal = false;
            reports.troubles.wants_mending = false;
            reports.heartbeats.on_its_way = None;
            reports.one_by_one
        };
        let context = Context { kafka: self.kafka.clone(), one_by_one, reports: Arc::clone(&self.reports) };
        let producer = match self.kafka.producer(one_by_one, context) {
            Ok(producer) => producer,
            Err(error) => {
                // a file of keys or certificates that is there no longer
                let line = error.to_string();
                self.reports().troubles.complain(Trouble { cause: Cause::Tls, line });
                return Ok(End::Trouble);
            }
        };
        let end = match self.wait_for_topic(&producer)? {
            None => self.send_all(&producer),
            Some(end) => Ok(end),
        };
        if !matches!(end, Ok(End::Trouble)) {
            self.send_last_heartbeat(&producer)?;
        }
        self.publish();
        end
    }

    fn send_all(&mut self, producer: &BaseProducer<Context>) -> Result<End, SpoolError> {
        let mut look_again_after = SHORTEST_LOOK;
        let acknowledged_before = self.reports().in_flight.acknowledged();
        // questions for the topic may have been among them
        self.reports().timed_out.clear();
        loop {
            self.look_at_troubles(producer);
            self.send_heartbeat(producer)?;
            let order = self.order();
            if order == Order::Stop {
                self.settle(producer, LAST_FLUSH);
                return Ok(End::Stopped);
            }
            self.look_at_timeouts();
            if self.reports().begin_again {
                self.settle(producer, LONGEST_PAUSE);
                return Ok(End::Trouble);
            }
            let (waiting, acknowledged) = {
                let in_flight = &self.reports().in_flight;
                (in_flight.waiting(), in_flight.acknowledged())
            };
            self.try_one &= acknowledged == acknowledged_before;
            let most = match (self.try_one, waiting) {
                (true, 0) => 1,
                (true, _) => 0,
                (false, _) => self.window.room(waiting).min(RECORDS_A_READ),
            };
            let is_full = most == 0 && !self.try_one;
            self.window.note(self.position, acknowledged, is_full, Instant::now());
            let records = self.reader.read(PCAP, self.position, most, BYTES_A_READ)?;
            if records.is_empty() {
                let is_idle = self.reports().in_flight.is_empty();
                if is_idle && order == Order::EndWhenAllIsSent {
                    return Ok(End::Complete);
                }
                if is_idle {
                    self.reports().silent_since = None;
                    self.intake.wait_for_records(self.position.max(self.heard_of), IDLE_LOOK);
                    self.look_for_heartbeat = None;
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
        let mut message = message(&self.kafka.topic, sequence, record);
        let mut look_again_after = SHORTEST_LOOK;
        loop {
            match producer.send(message) {
                Ok(()) => return true,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), rejected))
                    if self.order() != Order::Stop && !self.reports().begin_again =>
                {
                    message = rejected;
                    producer.poll(look_again_after);
                    look_again_after = (look_again_after * 2).min(LONGEST_LOOK);
                    self.look_at_troubles(producer);
                    self.publish();
                }
                Err((error, _rejected)) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                    if code == RDKafkaErrorCode::QueueFull {
                        self.reports().in_flight.report(sequence, Fate::Failed);
                        self.reports().begin_again = true;
                    } else {
                        producer.context().failed(sequence, code);
                    }
                    return !self.reports().begin_again;
                }
            }
        }
    }

    /// Waits until Kafka can be reached and has the topic. How the session ends if that does not come about.
    fn wait_for_topic(&mut self, producer: &BaseProducer<Context>) -> Result<Option<End>, SpoolError> {
        let mut pause = FIRST_PAUSE;
        let mut patience = FIRST_QUESTION;
        loop {
            // librdkafka asks for a token by an event, and connects when it has one
            producer.poll(SHORTEST_LOOK);
            let found = producer.client().fetch_metadata(Some(&self.kafka.topic), patience);
            patience = (patience * 2).min(LONGEST_QUESTION);
            let trouble = match &found {
                Ok(metadata) => {
                    self.reports().troubles.is_reached(&self.kafka);
                    let topic = metadata.topics().first();
                    let error = topic.and_then(|topic| topic.error()).map(RDKafkaErrorCode::from);
                    match (topic, error) {
                        (_, Some(code)) => Some(self.kafka.explain_answer(&self.kafka.topic, code)),
                        (Some(topic), None) if !topic.partitions().is_empty() => None,
                        _ => {
                            let missing = RDKafkaErrorCode::UnknownTopicOrPartition;
                            Some(self.kafka.explain_answer(&self.kafka.topic, missing))
                        }
                    }
                }
                Err(error) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                    Some(self.kafka.explain_answer(&self.kafka.topic, code))
                }
            };
            // what stands behind a failure comes as an event of its own, and says more
            producer.poll(LONGEST_LOOK);
            let Some(trouble) = trouble else {
                let mut reports = self.reports();
                reports.troubles.has_topic(&self.kafka);
                // whatever was wrong in this session before
                reports.begin_again = false;
                return Ok(None);
            };
            {
                let mut reports = self.reports();
                reports.troubles.complain(trouble);
                // that nothing is acknowledged has this reason, and begins to count when it is over
                reports.silent_since = None;
            }
            // what is fatal stays unsaid: who may not see the topic is given no producer's id either, and has one thing to mend
            self.reports().troubles.say_what_is_due();
            if found.is_err() {
                // not for what an earlier session noted: over a slow line the first answer may take longer than one question waits
                if self.reports().troubles.wants_mending {
                    return Ok(Some(if self.order() == Order::Stop { End::Stopped } else { End::Trouble }));
                }
                if self.waits_in_vain(FIRST_PAUSE) {
                    return Ok(Some(End::Stopped));
                }
                continue;
            }
            let ask_again_at = Instant::now() + pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
            while Instant::now() < ask_again_at {
                // without a topic for records a heartbeat is what tells of it
                self.look_for_heartbeat = None;
                self.send_heartbeat(producer)?;
                producer.poll(LONGEST_LOOK);
                let rest = ask_again_at.saturating_duration_since(Instant::now());
                if self.waits_in_vain(rest.min(LISTEN_EVERY)) {
                    return Ok(Some(End::Stopped));
                }
            }
        }
    }

    /// What became of a trouble that was not said yet, and what librdkafka calls fatal.
    fn look_at_troubles(&self, producer: &BaseProducer<Context>) {
        let is_fatal = std::mem::take(&mut self.reports().is_fatal);
        if is_fatal {
            let found = producer.client().fatal_error();
            let (code, reason) = found.unwrap_or((RDKafkaErrorCode::Fatal, String::new()));
            producer.context().say(code, &reason);
            self.reports().begin_again = true;
        }
        let mut reports = self.reports();
        reports.troubles.say_what_is_due();
        reports.look_at_silence(&self.kafka, self.silence, Instant::now());
    }

    /// Whether a broker did not answer in time although it was asked again: then the line is taken for a bad one, over which the same
    /// requests would time out for ever. The next attempt, with smaller ones, may double what arrived and whose answer did not; so it is
    /// only made where it helps.
    fn look_at_timeouts(&mut self) {
        let mut reports = lock(&self.reports);
        if !reports.timed_out.values().any(|times| *times >= TIMEOUTS) {
            return;
        }
        reports.timed_out.clear();
        if self.window.is_open(reports.in_flight.waiting()) {
            reports.begin_again = true;
            self.window.close();
        }
    }

    /// Sends the newest heartbeat that Kafka has not got, unless one is on its way or was refused a moment ago.
    fn send_heartbeat(&mut self, producer: &BaseProducer<Context>) -> Result<(), SpoolError> {
        let now = Instant::now();
        if self.look_for_heartbeat.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.look_for_heartbeat = Some(now + HEARTBEAT_LOOK);
        let newest = self.reader.end(SENSORS)? - 1;
        self.heard_of = self.heard_of.max(newest);
        let mut reports = self.reports();
        let heartbeats = &mut reports.heartbeats;
        let is_due = heartbeats.not_before.is_none_or(|at| at <= now);
        if newest <= heartbeats.acknowledged || heartbeats.on_its_way.is_some() || !is_due {
            return Ok(());
        }
        drop(reports);
        // several may wait, but librdkafka needs no older one
        let Some(record) = self.reader.read(SENSORS, newest - 1, 1, BYTES_A_READ)?.pop() else {
            return Ok(());
        };
        self.reports().heartbeats.on_its_way = Some(record.offset);
        if let Err((error, _rejected)) = producer.send(message(&self.kafka.sensors_topic, 0, &record)) {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            producer.context().heartbeat_failed(code);
        }
        Ok(())
    }

    /// Sends the newest heartbeat when it is time to stop, if Kafka takes it within a moment.
    fn send_last_heartbeat(&mut self, producer: &BaseProducer<Context>) -> Result<(), SpoolError> {
        let deadline = Instant::now() + LAST_FLUSH;
        loop {
            self.look_for_heartbeat = None;
            self.send_heartbeat(producer)?;
            let reports = self.reports();
            let heartbeats = &reports.heartbeats;
            let Troubles { holds, unsaid, .. } = &reports.troubles;
            let is_hopeless = holds.is_some() || unsaid.is_some() || heartbeats.holds.is_some();
            if heartbeats.on_its_way.is_none() || is_hopeless || Instant::now() > deadline {
                return Ok(());
            }
            drop(reports);
            producer.poll(Duration::from_millis(10));
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
        reports.begin_again = false;
        drop(reports);
        self.arrived.extend(arrived);
        self.arrived.retain(|offset| *offset > acknowledged);
        self.position = acknowledged;
        let is_over = self.waits_in_vain(self.pause);
        let has_progressed = acknowledged > acknowledged_before;
        self.try_one = !has_progressed;
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
        lock(&self.reports)
    }
}

fn lock(reports: &Mutex<Reports>) -> MutexGuard<'_, Reports> {
    reports.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message<'a>(
    topic: &'a str,
    sequence: usize,
    record: &'a SpoolRecord,
) -> BaseRecord<'a, [u8], [u8], usize> {
    let mut message =
        BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, sequence).payload(record.value.as_slice());
    if let Some(key) = &record.key {
        message = message.key(key.as_slice());
    }
    message
}

/// What came back from Kafka.
#[derive(Debug)]
struct Reports {
    in_flight: InFlight,
    delivered: u64,
    offsets: BTreeMap<i32, i64>,
    refused: u64,
    one_by_one: bool,
    /// Something has to be sent again, by a new producer.
    begin_again: bool,
    /// librdkafka will send no more by this producer; it knows why.
    is_fatal: bool,
    /// So many times requests were not answered in time since something was acknowledged, by broker.
    timed_out: BTreeMap<String, u32>,
    /// Since when records are on their way, or were to be sent again, and nothing is acknowledged.
    silent_since: Option<Instant>,
    troubles: Troubles,
    heartbeats: Heartbeats,
}

impl Reports {
    fn after(acknowledged: i64, heartbeat: i64) -> Self {
        Self {
            in_flight: InFlight::after(acknowledged),
            delivered: 0,
            offsets: BTreeMap::new(),
            refused: 0,
            one_by_one: false,
            begin_again: false,
            is_fatal: false,
            timed_out: BTreeMap::new(),
            silent_since: None,
            troubles: Troubles::default(),
            heartbeats: Heartbeats {
                acknowledged: heartbeat,
                on_its_way: None,
                not_before: None,
                pause: FIRST_HEARTBEAT_PAUSE,
                holds: None,
            },
        }
    }

    /// Says that nothing is acknowledged when it has been so for too long and nothing else is known to be wrong.
    fn look_at_silence(&mut self, kafka: &Kafka, most: Duration, now: Instant) {
        if self.in_flight.waiting() == 0 {
            return;
        }
        let since = *self.silent_since.get_or_insert(now);
        let Troubles { holds: None, unsaid: None, .. } = self.troubles else { return };
        if now.saturating_duration_since(since) >= most {
            self.troubles.complain(kafka.is_silent(most));
        }
    }
}

/// Where the heartbeats are.
#[derive(Debug)]
struct Heartbeats {
    acknowledged: i64,
    on_its_way: Option<i64>,
    /// When the next may be tried, after one was refused.
    not_before: Option<Instant>,
    pause: Duration,
    /// Why they are refused, as it was said.
    holds: Option<Trouble>,
}

/// What is wrong on the way, and what of it was said: each once as long as it lasts, and once when it is well again.
#[derive(Debug, Default)]
struct Troubles {
    /// What holds, as it was said.
    holds: Option<Trouble>,
    since: Option<Instant>,
    /// What may be a mere consequence, and since when.
    unsaid: Option<(Instant, Trouble)>,
    /// When what was said, since the last time that all was well or not long ago.
    said: Vec<(Cause, Instant)>,
    /// Which broker could not be reached, and when.
    one_away: Option<(Instant, String)>,
    /// Whether this producer has met something that lasts until a setting is mended.
    wants_mending: bool,
    has_connected: bool,
}

impl Troubles {
    /// Notes what is wrong, and says it if it is news.
    fn complain(&mut self, trouble: Trouble) {
        self.wants_mending |= trouble.cause.wants_mending();
        if trouble.cause == Cause::BrokerAway {
            // where others are there nothing is wrong
            tracing::debug!("{}", trouble.line);
            self.one_away = Some((Instant::now(), trouble.line));
            return;
        }
        if trouble.cause.is_vague() {
            // all that is known of a silence is that there must be a reason
            let holds = self.holds.as_ref().filter(|trouble| trouble.cause != Cause::Silence);
            match (holds, &mut self.unsaid) {
                (None, Some((_since, unsaid))) if unsaid.cause == Cause::Unreachable => *unsaid = trouble,
                (None, Some(_more_telling)) => {}
                (None, unsaid @ None) => *unsaid = Some((Instant::now(), trouble)),
                (Some(_said), _) => tracing::debug!("{}", trouble.line),
            }
            return;
        }
        self.say(trouble);
    }

    fn say(&mut self, trouble: Trouble) {
        self.unsaid = None;
        let was_said = self.said.iter().any(|(cause, _at)| *cause == trouble.cause);
        if was_said {
            tracing::debug!("{}", trouble.line);
        } else {
            self.said.push((trouble.cause, Instant::now()));
            tracing::warn!("{}; the records wait in the spool", trouble.line);
        }
        if self.holds.is_none() {
            self.since = Some(Instant::now());
        }
        self.holds = Some(trouble);
    }

    /// Says what nothing more telling came after.
    fn say_what_is_due(&mut self) {
        let is_due = |(since, _trouble): &mut (Instant, Trouble)| since.elapsed() >= WAIT_FOR_THE_CAUSE;
        let Some((_since, trouble)) = self.unsaid.take_if(is_due) else { return };
        match self.one_away.take() {
            Some((at, line)) if trouble.cause == Cause::Unreachable && at.elapsed() < LONGEST_PAUSE => {
                self.say(Trouble { line, ..trouble });
            }
            _ => self.say(trouble),
        }
    }

    /// A broker answers.
    fn is_reached(&mut self, kafka: &Kafka) {
        self.unsaid = None;
        let is_over =
            |trouble: &mut Trouble| !trouble.cause.is_of_writing() && !trouble.cause.is_of_the_topic();
        if self.holds.take_if(is_over).is_some() {
            self.over();
            tracing::info!("Kafka at {} can be reached again", kafka.bootstrap_servers);
        } else if !self.has_connected {
            tracing::info!("connected to Kafka at {}", kafka.bootstrap_servers);
        }
        self.has_connected = true;
    }

    /// The topic is there.
    fn has_topic(&mut self, kafka: &Kafka) {
        if self.holds.take_if(|trouble| trouble.cause.is_of_the_topic()).is_some() {
            self.over();
            tracing::info!("Kafka at {} has topic {} now", kafka.bootstrap_servers, kafka.topic);
        }
    }

    /// Kafka has taken something.
    fn is_taken(&mut self, kafka: &Kafka, of_records: bool) {
        self.unsaid = None;
        let is_over = |trouble: &mut Trouble| {
            of_records || !trouble.cause.is_of_writing() && !trouble.cause.is_of_the_topic()
        };
        if self.holds.take_if(is_over).is_some() {
            self.over();
            tracing::info!("Kafka at {} takes records again", kafka.bootstrap_servers);
        }
    }

    fn over(&mut self) {
        self.since = None;
        self.said.retain(|(cause, at)| *cause != Cause::Unreachable && at.elapsed() < SAY_AGAIN_AFTER);
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
        lock(&self.reports)
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
                reports.begin_again = true;
                if std::mem::replace(&mut reports.one_by_one, true) {
                    return;
                }
                tracing::warn!(
                    "Kafka refuses a batch ({code}); the records go one by one, which is slow: raise max.message.bytes of topic {}, or set batch.size in --kafka-config below it",
                    self.kafka.topic
                );
            }
            Remedy::Mend | Remedy::SendAgain => {
                reports.in_flight.report(sequence, Fate::Failed);
                reports.begin_again = true;
                drop(reports);
                self.say(code, "");
            }
        }
    }

    /// Says what is wrong with the way of the records.
    fn say(&self, code: RDKafkaErrorCode, reason: &str) {
        // consequences, of which the cause has been or will be said
        let is_consequence = matches!(
            code,
            RDKafkaErrorCode::PurgeQueue
                | RDKafkaErrorCode::PurgeInflight
                | RDKafkaErrorCode::MessageTimedOut
                | RDKafkaErrorCode::Fatal
        );
        if is_consequence {
            tracing::debug!("{code}: {reason}");
            return;
        }
        // may look at the broker, and takes its time
        let trouble = self.kafka.explain(&self.kafka.topic, code, reason);
        let mut reports = self.reports();
        let lasts =
            reports.troubles.since.is_some_and(|since| since.elapsed() >= READ_CERTIFICATES_AGAIN_AFTER);
        reports.begin_again |= lasts && trouble.cause.wants_mending();
        reports.troubles.complain(trouble);
    }

    fn heartbeat_failed(&self, code: RDKafkaErrorCode) {
        let trouble = self.kafka.explain(&self.kafka.sensors_topic, code, "");
        let mut reports = self.reports();
        let heartbeats = &mut reports.heartbeats;
        heartbeats.on_its_way = None;
        if matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
            return;
        }
        heartbeats.not_before = Some(Instant::now() + heartbeats.pause);
        heartbeats.pause = (heartbeats.pause * 2).min(LONGEST_HEARTBEAT_PAUSE);
        if remedy(code) == Remedy::SendAgain {
            tracing::debug!("a heartbeat was not taken: {code}");
            return;
        }
        if heartbeats.holds.as_ref().is_none_or(|held| held.cause != trouble.cause) {
            tracing::warn!("{}; records go on without heartbeats", trouble.line);
        }
        heartbeats.holds = Some(trouble);
    }

    fn heartbeat_taken(&self) {
        let mut reports = self.reports();
        let heartbeats = &mut reports.heartbeats;
        if let Some(offset) = heartbeats.on_its_way.take() {
            heartbeats.acknowledged = heartbeats.acknowledged.max(offset);
        }
        heartbeats.not_before = None;
        heartbeats.pause = FIRST_HEARTBEAT_PAUSE;
        if heartbeats.holds.take().is_some() {
            tracing::info!("topic {} takes heartbeats again", self.kafka.sensors_topic);
        }
        reports.troubles.is_taken(&self.kafka, false);
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!("librdkafka: {facility}: {message}");
        if let Some(broker) = kafka_trouble::timed_out_broker(facility, message) {
            *self.reports().timed_out.entry(broker.to_owned()).or_default() += 1;
        }
        if kafka_trouble::is_of_interest(message) {
            let (_thread, reason) = message.split_once("]: ").unwrap_or(("", message));
            self.say(RDKafkaErrorCode::BrokerTransportFailure, reason);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        if matches!(code, RDKafkaErrorCode::Fatal | RDKafkaErrorCode::ClusterAuthorizationFailed) {
            self.reports().is_fatal = true;
        } else if Tokens::is_said(reason) {
            self.say(code, reason);
        }
    }

    fn generate_oauth_token(
        &self,
        _oauthbearer_config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.kafka.tokens.generate()
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sequence: usize) {
        match result {
            Ok(message) if message.topic() == self.kafka.sensors_topic => self.heartbeat_taken(),
            Ok(message) => {
                let mut reports = self.reports();
                reports.in_flight.report(sequence, Fate::Settled);
                reports.delivered += 1;
                reports.timed_out.clear();
                reports.silent_since = None;
                // unknown where the broker says that it had the record already
                if message.offset() >= 0 {
                    let newest = reports.offsets.entry(message.partition()).or_default();
                    *newest = message.offset().max(*newest);
                }
                reports.troubles.is_taken(&self.kafka, true);
            }
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                if message.topic() == self.kafka.sensors_topic {
                    self.heartbeat_failed(code);
                } else {
                    self.failed(sequence, code);
                }
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
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use rdkafka::{Offset, TopicPartitionList};

    const RECORDS: usize = 1_000;

    type Cluster = MockCluster<'static, DefaultProducerContext>;

    /// A cluster that answers the first requests to write with these errors.
    fn cluster(errors: &[RDKafkaRespErr]) -> Cluster {
        let cluster = Cluster::new(1).unwrap();
        cluster.create_topic("pcap", 1, 1).unwrap();
        cluster.request_errors(RDKafkaApiKey::Produce, errors);
        cluster
    }

    /// Spools some records and begins to drain them into a cluster.
    fn drain_into(cluster: &Cluster, silence: Duration) -> (tempfile::TempDir, SpoolWriter, Drain) {
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
        let drain = Drain::start_with(kafka, reader, writer.intake(), silence).unwrap();
        drain.end_when_all_is_sent();
        (directory, writer, drain)
    }

    /// Spools some records and drains them into a cluster that answers the first requests to write with these errors. What the
    /// topic holds then, and what the drain says.
    fn drain_through(errors: &[RDKafkaRespErr]) -> (Vec<String>, Drained) {
        let cluster = cluster(errors);
        let (_directory, writer, drain) = drain_into(&cluster, SILENCE);
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

    /// librdkafka tries such requests again by itself and tells nobody.
    #[test]
    fn that_nothing_is_acknowledged_is_said_as_long_as_it_is_so() {
        let cluster = cluster(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 1_000]);
        let (_directory, writer, drain) = drain_into(&cluster, Duration::from_millis(200));
        let status = drain.status();
        let hang = Instant::now() + Duration::from_secs(60);
        let trouble = loop {
            if let Some(trouble) = status.trouble() {
                break trouble;
            }
            assert!(Instant::now() < hang, "nothing is said");
            thread::yield_now();
        };
        assert!(trouble.contains("has acknowledged nothing for 0 s though records"), "{trouble}");
        assert_eq!(status.delivered_records(), 0);
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        let expected = Drained { delivered: RECORDS as u64, refused: 0, is_complete: true };
        assert_eq!(drain.join(), expected);
        assert_eq!(status.trouble(), None);
        drop(writer.finish().unwrap());
    }

    #[test]
    fn silence_is_said_after_its_time_when_records_wait_and_nothing_else_is_wrong() {
        let kafka = Kafka::new(Connection {
            bootstrap_servers: "127.0.0.1:1".to_owned(),
            topic: "pcap".to_owned(),
            sensors_topic: "sensors".to_owned(),
            properties: Vec::new(),
        })
        .unwrap();
        let (begin, mut reports) = (Instant::now(), Reports::after(0, 0));
        let cause = |reports: &Reports| reports.troubles.holds.as_ref().map(|trouble| trouble.cause);
        let look = |reports: &mut Reports, seconds| {
            reports.look_at_silence(&kafka, SILENCE, begin + Duration::from_secs(seconds));
            cause(reports)
        };
        assert_eq!(look(&mut reports, 0), None);
        // nothing was on its way until now
        let first = reports.in_flight.add(1, Fate::Waiting);
        assert_eq!(look(&mut reports, 100), None);
        assert_eq!(look(&mut reports, 159), None);
        assert_eq!(look(&mut reports, 160), Some(Cause::Silence));
        // what is known holds instead, and alone
        reports.troubles.say(Trouble { cause: Cause::Unreachable, line: String::new() });
        assert_eq!(look(&mut reports, 170), Some(Cause::Unreachable));
        reports.troubles.is_taken(&kafka, true);
        reports.in_flight.report(first, Fate::Settled);
        reports.silent_since = None;
        assert_eq!(look(&mut reports, 300), None);
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
