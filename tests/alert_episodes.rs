//! Alerts under random schedules: whatever is delivered twice, late, re-cut, half-way or by two at once, whoever dies when, and
//! however Telegram fails, each matching record is told by exactly one message, and a message comes twice only where the process
//! died or an answer was lost between sending and noting it.
//!
//! Requests go through the SDK's client into an embedded DynamoDB, and calls of the Bot API through the bot's client; a schedule
//! decides which comes when and what becomes of it. `PROBEGRAM_SCHEDULES` says how many (1,000), `PROBEGRAM_SEED` runs one again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use delivery::{Post, Telegram};
use domain::{Mac, Origin, Pattern, Probe, Ssid, SsidElement, Watch, Who, record};
use fastrand::Rng;
use jiff::tz::TimeZone;
use probegram::embedded::Embedded;
use probegram::template::Template;
use probegram_tests::partition_log::{Partition, Reader};
use probegram_tests::scheduled_table::{Fate, ScheduledTable};
use probegram_tests::schedules;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use state::chats::{self, Role};
use state::messages::{Content, Destination, Message, MessageId, State};
use state::{messages, progress, watches};
use telegram::Client;
use telegram::client::{Call, TelegramError};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinHandle, LocalSet};

/// When a schedule begins: an afternoon in 2026.
const BEGIN_MS: i64 = 1_795_000_000_000;
const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const MAX_AGE_MS: i64 = 24 * HOUR_MS;
/// Nobody waits longer for an answer, of Telegram or of DynamoDB: far less than the lease of a message.
const PATIENCE_MS: i64 = 5 * 1000;
const GROUP: &str = "alert";
const CHATS: [i64; 2] = [7, -8];
/// One of them has made it up.
const MACS: [Mac; 4] = [
    Mac::new([0, 0, 0, 0, 0, 1]),
    Mac::new([0, 0, 0, 0, 0, 2]),
    Mac::new([2, 0, 0, 0, 0, 3]),
    Mac::new([2, 0, 0, 0, 0, 4]),
];

thread_local! {
    static NOW_MS: Cell<i64> = const { Cell::new(BEGIN_MS) };
}

fn now_ms() -> i64 {
    NOW_MS.get()
}

#[test]
fn every_matching_record_is_told_by_exactly_one_message() {
    let outcomes = schedules::run(1_000, run);
    let schedules = outcomes.len();
    let mut sum = Counts::default();
    outcomes.into_iter().for_each(|counts| sum.add(counts));
    eprintln!("{sum:?}");
    // a test in which nothing goes wrong shows nothing
    if schedules >= 1_000 {
        assert!(
            sum.records > 10_000 && sum.messages > 5_000 && sum.digests > 50 && sum.doubled > 50,
            "{sum:?}"
        );
        assert!(sum.deaths > 1_000 && sum.answers_lost > 500 && sum.edits > 500, "{sum:?}");
    }
}

/// What schedules had.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    records: usize,
    messages: usize,
    digests: usize,
    edits: usize,
    doubled: usize,
    deaths: usize,
    answers_lost: usize,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.messages += other.messages;
        self.digests += other.digests;
        self.edits += other.edits;
        self.doubled += other.doubled;
        self.deaths += other.deaths;
        self.answers_lost += other.answers_lost;
    }
}

fn run(seed: u64) -> Result<Counts, String> {
    NOW_MS.set(BEGIN_MS);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async { Schedule::new(seed).await.play().await })
}

/// A message as the chat has it.
#[derive(Debug, Clone)]
struct Said {
    chat: i64,
    /// The message's own id, of which its buttons tell; a digest has none.
    message: Option<MessageId>,
    text: String,
    edits: usize,
}

struct Schedule {
    random: Rng,
    table: ScheduledTable,
    context: Rc<alert::Context>,
    partitions: Vec<Partition>,
    calls: UnboundedReceiver<Call>,
    waiting_calls: Vec<Call>,
    /// Invocations that were given up and go on all the same, and rounds of the schedule.
    others: Vec<JoinHandle<bool>>,
    said: Vec<Said>,
    /// So often each message may have come twice: somebody died, or an answer was lost.
    excuses: BTreeMap<MessageId, usize>,
    /// Matching records that were not too old, by chat and device.
    truth: BTreeMap<(i64, Who), u64>,
    cooldown_ms: i64,
    clock: i64,
    counts: Counts,
}

impl Schedule {
    async fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let table = ScheduledTable::new(Embedded::open(None, &Template::read().unwrap()).unwrap());
        let (sender, calls) = unbounded_channel::<Call>();
        let telegram = Telegram::ready(Client::in_process(sender));
        let context = alert::Context {
            table: table.scheduled(),
            group: GROUP.to_owned(),
            post: Post::new(table.scheduled(), TimeZone::UTC, now_ms, telegram),
            watchdog: alert::Watchdog::of("aggregate"),
            max_age_ms: MAX_AGE_MS,
            now_ms,
        };
        let mut partitions: Vec<Partition> =
            (0..random.i32(1..=2)).map(|number| Partition::new("pcap", number, Reader::Commits)).collect();
        if random.bool() {
            partitions.push(Partition::new("pcap@spool-a1", 0, Reader::Progress));
        }
        let cooldown_ms = *random.choice([0, MINUTE_MS, 15 * MINUTE_MS].as_slice()).unwrap();
        for chat in CHATS {
            chats::allow(&table.direct(), chat, Role::Owner, None, BEGIN_MS - 1).await.unwrap();
            for pattern in ["RNM0", "RN*"] {
                let pattern = Pattern::read(pattern, false).unwrap();
                let made_ms = BEGIN_MS - 1;
                let watch = Watch { origin: Origin::Chat(chat), pattern, reason: None, made_ms, cooldown_ms };
                watches::set(&table.direct(), chat, &watch).await.unwrap();
            }
        }
        Self {
            random,
            table,
            context: Rc::new(context),
            partitions,
            calls,
            waiting_calls: Vec::new(),
            others: Vec::new(),
            said: Vec::new(),
            excuses: BTreeMap::new(),
            truth: BTreeMap::new(),
            cooldown_ms,
            clock: BEGIN_MS,
            counts: Counts::default(),
        }
    }

    async fn play(mut self) -> Result<Counts, String> {
        for _step in 0..self.random.usize(60..240) {
            self.settle().await;
            self.step().await;
        }
        self.finish().await?;
        self.compare().await?;
        Ok(self.counts)
    }

    /// Lets everybody run until all wait: for an answer, or for time to pass.
    async fn settle(&mut self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Ok(call) = self.calls.try_recv() {
            self.waiting_calls.push(call);
        }
        for index in 0..self.partitions.len() {
            self.collect(index).await;
        }
        self.others.retain(|other| !other.is_finished());
    }

    async fn step(&mut self) {
        let index = self.random.usize(..self.partitions.len());
        match self.random.u32(..100) {
            0..8 => {
                for _ in 0..self.random.usize(1..5) {
                    self.append(index);
                }
            }
            8..14 => {
                let later = *self.random.choice([500, 8_000, MINUTE_MS, 10 * MINUTE_MS].as_slice()).unwrap();
                self.pass(later).await;
            }
            14..18 => {
                // dies here, or times out and goes on unseen
                if let Some((invocation, _)) = self.partitions[index].in_flight.take() {
                    if self.random.bool() {
                        self.die(&invocation);
                    } else {
                        self.others.push(invocation);
                    }
                    self.find_place(index).await;
                }
            }
            18..20 => {
                if !self.others.is_empty() {
                    let other = self.others.swap_remove(self.random.usize(..self.others.len()));
                    self.die(&other);
                }
            }
            20..30 => self.invoke(index),
            30..34 => self.begin_round(),
            34..50 => self.answer_a_call(),
            _ => {
                for _ in 0..self.random.usize(1..8) {
                    self.answer_a_request();
                    self.settle().await;
                }
            }
        }
    }

    fn append(&mut self, index: usize) {
        self.clock += self.random.i64(0..300);
        NOW_MS.set(self.clock);
        let mac = self.random.choice(MACS).unwrap();
        let (ssid, matches): (SsidElement, bool) = match self.random.u32(..6) {
            0 => (SsidElement::Wildcard, false),
            1 => (SsidElement::Named(Ssid::new(*b"OTHER").unwrap()), false),
            2 => (SsidElement::Named(Ssid::new(*b"RN-2").unwrap()), true),
            _ => (SsidElement::Named(Ssid::new(*b"RNM0").unwrap()), true),
        };
        let too_old = self.random.u32(..10) == 0;
        let late = if too_old { 3 * MAX_AGE_MS } else { self.random.i64(0..20 * MINUTE_MS) };
        let time = self.clock - if self.random.bool() || too_old { late } else { 0 };
        let probe = Probe {
            time,
            source: Some(mac),
            receiver: None,
            bssid: None,
            ssid: ssid.clone(),
            signal_dbm: Some(-60),
            channel: None,
            sequence: None,
            fingerprint: None,
            sensor: Some("hall".to_owned()),
        };
        let mut value = Vec::new();
        record::encode(&probe, "hall", &mut value);
        self.partitions[index].append(self.clock, value, 0);
        if matches && !too_old {
            self.counts.records += 1;
            // a chat whose watches are "RNM0" and "RN*" has one episode a watch and device
            for chat in CHATS {
                *self.truth.entry((chat, Who::of(mac))).or_default() += 1;
            }
        }
    }

    /// Time passes. Nobody waits for an answer for long: what is under way by then is lost, or its answer is.
    async fn pass(&mut self, later: i64) {
        if later >= PATIENCE_MS {
            while !self.waiting_calls.is_empty() || self.table.waiting() > 0 {
                for call in std::mem::take(&mut self.waiting_calls) {
                    self.lose(call);
                }
                while self.table.waiting() > 0 {
                    let fate = if self.random.bool() { Fate::Lost } else { Fate::AnswerLost };
                    self.release(0, fate);
                }
                self.settle().await;
            }
        }
        self.clock += later;
        NOW_MS.set(self.clock);
    }

    fn invoke(&mut self, index: usize) {
        let size = self.random.usize(1..8);
        let Some((event, next)) = self.partitions[index].next_batch(size) else { return };
        let invocation = self.spawn(event);
        self.partitions[index].in_flight = Some((invocation, next));
    }

    fn begin_round(&mut self) {
        if self.others.len() < 3 {
            let event = RawValue::from_string(alert::handler::ROUND.to_owned()).unwrap();
            let round = self.spawn(event);
            self.others.push(round);
        }
    }

    fn spawn(&self, event: Box<RawValue>) -> JoinHandle<bool> {
        let context = Rc::clone(&self.context);
        tokio::task::spawn_local(async move { alert::handle(&event, &context).await.is_ok() })
    }

    /// An invocation dies: what it has sent and not noted may come again.
    fn die(&mut self, invocation: &JoinHandle<bool>) {
        invocation.abort();
        self.counts.deaths += 1;
        // whose it was cannot be told; what is noted already is not excused by it
        let said: BTreeSet<MessageId> = self.said.iter().filter_map(|said| said.message.clone()).collect();
        let waiting: BTreeSet<MessageId> = self.waiting_calls.iter().filter_map(message_of).collect();
        for id in said.union(&waiting) {
            if self.is_pending(id) {
                *self.excuses.entry(id.clone()).or_default() += 1;
            }
        }
    }

    fn is_pending(&self, id: &MessageId) -> bool {
        let table = self.table.direct();
        let found = futures::executor::block_on(messages::find(&table, std::slice::from_ref(id))).unwrap();
        found.iter().any(|message| message.state == State::Pending)
    }

    fn answer_a_call(&mut self) {
        if self.waiting_calls.is_empty() {
            return;
        }
        let call = self.waiting_calls.swap_remove(self.random.usize(..self.waiting_calls.len()));
        match self.random.u32(..20) {
            0 | 1 => self.lose(call),
            2 => refuse(call, not_sent()),
            3 => {
                let retry_after = Duration::from_secs(self.random.u64(1..40));
                refuse(call, TelegramError::TooManyRequests { retry_after });
            }
            4 if call.parameters.get("entities").is_some() => {
                refuse(call, TelegramError::BadEntities { description: "can't parse entities".to_owned() });
            }
            _ => {
                let result = self.carry_out(&call);
                drop(call.answer.send(Ok(result)));
            }
        }
    }

    /// Telegram does it, or does not, and nobody hears.
    fn lose(&mut self, call: Call) {
        self.counts.answers_lost += 1;
        if self.random.bool() {
            self.carry_out(&call);
            if let Some(id) = message_of(&call) {
                *self.excuses.entry(id).or_default() += 1;
            }
        }
        refuse(
            call,
            TelegramError::AnswerLost { method: "sendMessage", source: "the connection was closed".into() },
        );
    }

    /// What Telegram does.
    fn carry_out(&mut self, call: &Call) -> Value {
        let text = call.parameters["text"].as_str().unwrap_or_default().to_owned();
        match call.method {
            "sendMessage" => {
                let chat = call.parameters["chat_id"].as_i64().unwrap();
                self.said.push(Said { chat, message: message_of(call), text, edits: 0 });
                json!({"message_id": self.said.len()})
            }
            "editMessageText" => {
                let id = call.parameters["message_id"].as_u64().unwrap();
                let said = &mut self.said[usize::try_from(id).unwrap() - 1];
                said.text = text;
                said.edits += 1;
                self.counts.edits += 1;
                json!(true)
            }
            other => panic!("{other}"),
        }
    }

    fn answer_a_request(&mut self) {
        let waiting = self.table.waiting();
        if waiting == 0 {
            return;
        }
        let fate = match self.random.u32(..60) {
            0 => Fate::Lost,
            1 => Fate::AnswerLost,
            2..14 => Fate::Stale,
            _ => Fate::Answered,
        };
        let which = self.random.usize(..waiting);
        self.release(which, fate);
    }

    fn release(&mut self, which: usize, fate: Fate) {
        if matches!(fate, Fate::Lost | Fate::AnswerLost) {
            let (operation, body) = self.table.peek(which);
            let key = body["Key"]["pk"]["S"].as_str().unwrap_or_default();
            // the note that a message was sent: without it, or its answer, somebody may send it again
            let notes_it = body["ExpressionAttributeValues"][":sent"].is_object();
            if operation == "UpdateItem"
                && notes_it
                && let Some(id) = key.strip_prefix("MESSAGE#").and_then(MessageId::read)
            {
                *self.excuses.entry(id).or_default() += 1;
            }
        }
        self.table.release(which, fate, &mut self.random);
    }

    async fn collect(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        if partition.in_flight.as_ref().is_some_and(|(invocation, _)| invocation.is_finished()) {
            let (invocation, next) = partition.in_flight.take().unwrap();
            if invocation.await.unwrap() {
                partition.position = next;
            }
        }
    }

    /// Where a reader that keeps no position of its own goes on when it is started again: behind what it has read, if it was killed
    /// before it came to keep its position, and then it delivers again what is dealt with.
    async fn find_place(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        if partition.reader == Reader::Progress {
            let positions = progress::of_group(&self.table.direct(), GROUP).await.unwrap();
            let through =
                positions.iter().find(|at| at.topic == partition.topic).map_or(-1, |at| at.progress.through);
            partition.position = through + 1;
        }
    }

    /// No more trouble: everything is delivered, every zombie ends, and the schedule comes round until nothing is due.
    async fn finish(&mut self) -> Result<(), String> {
        let mut quiet_rounds = 0;
        for _ in 0..200_000 {
            self.settle().await;
            for index in 0..self.partitions.len() {
                self.invoke(index);
            }
            if !self.waiting_calls.is_empty() {
                let call = self.waiting_calls.swap_remove(self.random.usize(..self.waiting_calls.len()));
                let result = self.carry_out(&call);
                drop(call.answer.send(Ok(result)));
                quiet_rounds = 0;
                continue;
            }
            let waiting = self.table.waiting();
            if waiting > 0 {
                let which = self.random.usize(..waiting);
                self.release(which, Fate::Answered);
                continue;
            }
            let is_read = self.partitions.iter().all(Partition::is_done);
            if is_read && self.others.is_empty() {
                // leases end, minutes pass, and after some rounds in which nobody speaks nothing is left
                if quiet_rounds > 4 {
                    return Ok(());
                }
                quiet_rounds += 1;
                self.clock += 6 * MINUTE_MS; // more than half of the longest pause
                NOW_MS.set(self.clock);
                self.begin_round();
            }
        }
        Err("it does not come to an end".to_owned())
    }

    async fn compare(&mut self) -> Result<(), String> {
        let messages = self.all_messages().await;
        let mut told: BTreeMap<(i64, Who), u64> = BTreeMap::new();
        for message in &messages {
            self.counts.messages += 1;
            let sent: Vec<&Said> =
                self.said.iter().filter(|said| said.message.as_ref() == Some(&message.id)).collect();
            let Destination::Chat(chat) = message.to else { return Err("no webhook was there".to_owned()) };
            match (&message.state, &message.content) {
                (State::Sent { shown, .. }, Content::Alert(alert)) => {
                    *told.entry((chat, alert.who)).or_default() += alert.counted.count;
                    let last = sent.last().ok_or_else(|| format!("{} was never said", message.id))?;
                    let counted = format!("\n{} probes", alert.counted.count);
                    // of two that came, the one that was noted is edited
                    let tells = sent.iter().any(|said| said.text.contains(&counted));
                    if *shown != alert.counted.count
                        || last.chat != chat
                        || (alert.counted.count > 1 && !tells)
                    {
                        return Err(format!("{message:?} is told as {sent:?}"));
                    }
                }
                (State::Digested(digest), Content::Alert(alert)) => {
                    *told.entry((chat, alert.who)).or_default() += alert.counted.count;
                    let digest = messages.iter().find(|other| other.id == *digest);
                    if !digest.is_some_and(|digest| matches!(digest.state, State::Sent { .. })) {
                        return Err(format!("{message:?} is in a digest that was not sent: {digest:?}"));
                    }
                    // it may have been sent before it came into a digest: somebody died in between
                }
                (State::Sent { .. }, Content::Digest(_)) => {
                    self.counts.digests += 1;
                    let members =
                        messages.iter().filter(|other| other.state == State::Digested(message.id.clone()));
                    if members.count() == 0 {
                        return Err(format!("{} was sent, and tells nothing", message.id));
                    }
                }
                (State::Dropped(_), Content::Digest(_)) => {} // nothing was left for it
                other => return Err(format!("{} is left over: {other:?}", message.id)),
            }
            let doubled = sent.len().saturating_sub(usize::from(matches!(message.state, State::Sent { .. })));
            let excused = self.excuses.get(&message.id).copied().unwrap_or(0);
            if matches!(message.content, Content::Alert(_)) {
                self.counts.doubled += doubled;
                if doubled > excused {
                    return Err(format!(
                        "{} came {doubled} times too often, {excused} are excused",
                        message.id
                    ));
                }
            }
        }
        if told != self.truth {
            return Err(format!("cooldown {}: told {told:?}, should be {:?}", self.cooldown_ms, self.truth));
        }
        Ok(())
    }

    async fn all_messages(&self) -> Vec<Message> {
        let ids: Vec<MessageId> = self
            .table
            .partition_keys()
            .iter()
            .filter_map(|pk| MessageId::read(pk.strip_prefix("MESSAGE#")?))
            .collect();
        messages::find(&self.table.direct(), &ids).await.unwrap()
    }
}

/// The message that a call sends, by its buttons.
fn message_of(call: &Call) -> Option<MessageId> {
    if call.method != "sendMessage" {
        return None;
    }
    let data = call.parameters["reply_markup"]["inline_keyboard"][0][0]["callback_data"].as_str()?;
    MessageId::read(data.strip_prefix("mute:")?)
}

fn not_sent() -> TelegramError {
    TelegramError::NotSent { method: "sendMessage", source: "connection refused".into() }
}

fn refuse(call: Call, error: TelegramError) {
    // who asked may be dead
    drop(call.answer.send(Err(error)));
}
