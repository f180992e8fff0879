//! What a month costs on AWS, from effort that is measured: the tables of `infra/cost/README.md`.
//!
//! Days of made-up places go through the real handlers, in batches as the event source mappings of `template.yaml` cut them, against
//! an embedded DynamoDB that tells the units of each request. Time passes there only while all wait, so that it is known how long an
//! invocation waits for DynamoDB. What it computes is the CPU time of the programs that `make build` leaves, given the same batches.
// a benchmark's way to fail and to tell
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

#[path = "cost/counted_table.rs"]
mod counted_table;
#[path = "cost/place.rs"]
mod place;
#[path = "cost/prices.rs"]
mod prices;
#[path = "../../infra/local/benches/support/runtime_api.rs"]
mod runtime_api;

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use alert::Watchdog;
use bot::context::SecretHash;
use bot::status::Positions;
use counted_table::{CountedTable, Units};
use delivery::{Post, Telegram as Bot};
use domain::heartbeat::{self, Clock, Heartbeat, Interface};
use domain::{Mac, Origin, Pattern, Watch};
use http::{HeaderMap, HeaderValue, Method, Uri};
use jiff::tz::TimeZone;
use place::{FRAMES_A_SCAN, Feed, PLACES, Place, Sent};
use probegram::event_source::{Batch, LogRecord, TimestampType};
use probegram::http_api;
use probegram::template::{EventSourceMapping, Template};
use probegram_tests::alerting::of_agent;
use probegram_tests::aws::config_at;
use probegram_tests::dynamodb::TABLE;
use probegram_tests::process::{cpu_time, release_binary};
use probegram_tests::telegram::{Kind, Telegram};
use runtime_api::Function;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use state::chats::{self, Role};
use state::tallies::Retention;
use state::{Generation, Table, watches};
use tokio::runtime::Runtime;

/// A noon in 2026; the days that are replayed begin then.
const BEGIN_MS: i64 = 1_795_000_000_000;
const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A month has so many.
const DAYS: f64 = 30.0;
const OWNER: i64 = 12_345;
/// What is watched, and looked for by nobody but who is told of.
const WATCHED: [&str; 3] = ["RNM-GUEST", "skyclub", "FreePubWiFi"];

/// `MemorySize` of all functions, in GB.
const MEMORY_GB: f64 = 0.25;
/// The share of a virtual CPU that a function has: 1,769 MB have one.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>
const CPU_SHARE: f64 = 256.0 / 1769.0;
/// How long Lambda takes to tell of the event source mappings, once a round. Assumed.
const LIST_MAPPINGS_MS: f64 = 50.0;
/// How long Telegram takes. Assumed.
const TELEGRAM_MS: f64 = 300.0;
/// What Lambda itself logs of an invocation, START, END and REPORT, in bytes.
const PLATFORM_LOG_BYTES: f64 = 350.0;
/// What CloudWatch adds to each line. <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutLogEvents.html>
const LOG_LINE_BYTES: f64 = 26.0;
/// Of a part of a day, so many batches and records at most are given to the programs whose CPU is measured.
const MEASURED_BATCHES: usize = 300;
const MEASURED_RECORDS: usize = 10_000;

static NOW_MS: AtomicI64 = AtomicI64::new(BEGIN_MS);

fn now_ms() -> i64 {
    NOW_MS.load(Ordering::Relaxed)
}

fn main() {
    // cargo test runs benchmarks too, without this
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let watching = Watching::of_the_template();
    let mut months = Vec::new();
    let mut home_without_keys = None;
    for place in PLACES {
        let mut keyed = Month::of(place, true, Turned::default());
        keyed.rest = Rest::of(place);
        println!("\n### {}, {} probe requests a day\n", place.name, thousands(place.probes_a_day));
        println!("Effort for a million probe requests:\n");
        println!(
            "| function | feed | invocations | write units | of these indexes | read units | billed ms an invocation | GB-s |"
        );
        println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        keyed.print_effort("keyed");
        let without_keys = Month::of(place, false, Turned::default());
        without_keys.print_effort("without keys");
        home_without_keys.get_or_insert(without_keys);
        months.push(keyed);
    }
    let told = alert_told(&months[0].rest.round);
    months.iter_mut().for_each(|month| month.rest.alert_told = told);

    println!("\n### What does not depend on probe requests\n");
    println!("| what | write units | read units | billed ms |");
    println!("| --- | ---: | ---: | ---: |");
    for month in &months {
        let Rest { round, heartbeat, .. } = &month.rest;
        println!("| a round of the schedule, {} | {} |", month.place.name, round.cells());
        println!("| a heartbeat, {} | {} |", month.place.name, heartbeat.cells());
    }
    println!("| a question to the bot | {} |", months[0].rest.question.cells());
    println!("| an alert from its first message to its close | {} |", told.cells());

    println!("\n### A month, in US dollars\n");
    print_bills(&months, &watching);

    println!("\n### A quiet home, turned\n");
    println!("| what | DynamoDB and Lambda, US dollars a month |");
    println!("| --- | ---: |");
    let home = PLACES[0];
    let one_partition = Place { partitions: 1, replayed_partitions: 1, ..home };
    let turned = |aggregate_s, alert_s| Turned { aggregate_s, alert_s };
    let variants = [
        ("window of aggregate 60 s", Month::of(home, true, turned(Some(60), None))),
        ("window of aggregate 300 s", Month::of(home, true, turned(Some(300), None))),
        ("window of alert 5 s", Month::of(home, true, turned(None, Some(5)))),
        ("one partition of topic pcap", Month::of(one_partition, true, Turned::default())),
        ("without keys", home_without_keys.unwrap()),
    ];
    println!("| as it is | {:.2} |", months[0].dynamodb_and_lambda(&watching));
    for (what, mut month) in variants {
        month.rest = months[0].rest;
        println!("| {what} | {:.2} |", month.dynamodb_and_lambda(&watching));
    }
}

/// Windows that are other than those of `template.yaml`, in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Turned {
    aggregate_s: Option<u64>,
    alert_s: Option<u64>,
}

/// What something took.
#[derive(Debug, Clone, Copy, Default)]
struct Effort {
    invocations: f64,
    units: Units,
    /// Billed, with the waiting and the computing.
    billed_ms: f64,
    log_bytes: f64,
}

impl std::ops::AddAssign for Effort {
    fn add_assign(&mut self, other: Self) {
        self.invocations += other.invocations;
        self.units += other.units;
        self.billed_ms += other.billed_ms;
        self.log_bytes += other.log_bytes;
    }
}

impl std::ops::Mul<f64> for Effort {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        Self {
            invocations: self.invocations * times,
            units: self.units * times,
            billed_ms: self.billed_ms * times,
            log_bytes: self.log_bytes * times,
        }
    }
}

impl Effort {
    fn gb_seconds(&self) -> f64 {
        self.billed_ms / 1e3 * MEMORY_GB
    }

    fn cells(&self) -> String {
        format!("{:.1} | {:.1} | {:.0}", self.units.writes, self.units.reads, self.billed_ms)
    }
}

/// What a place's days cost.
struct Month {
    place: Place,
    /// A day of each.
    aggregate: Effort,
    alert: Effort,
    rest: Rest,
    /// By how much the table grows in a day, in bytes.
    bytes_a_day: f64,
    /// Metrics that the functions have sent.
    metrics: BTreeSet<String>,
}

/// What does not depend on probe requests, one of each.
#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    round: Effort,
    heartbeat: Effort,
    question: Effort,
    alert_told: Effort,
}

/// A batch of a log, when it goes out.
struct Due {
    at_ms: i64,
    records: usize,
    event: Box<RawValue>,
}

/// An installation in this process.
struct House {
    counted: CountedTable,
    aggregate: aggregate::Context,
    alert: alert::Context,
    materialize: materialize::Context,
    bot: bot::Context,
}

impl House {
    async fn new(post: impl FnOnce(Table) -> Post) -> Self {
        let counted = CountedTable::open();
        let table = counted.table();
        watch(&table).await;
        let post = post(table.clone());
        let house = Self {
            aggregate: aggregate::Context {
                table: table.clone(),
                group: "probegram-aggregate".to_owned(),
                generation: Generation::FIRST,
                retention: Retention::in_days(400, None),
                now_ms,
            },
            alert: alert::Context {
                table: table.clone(),
                group: "probegram-alert".to_owned(),
                post: post.clone(),
                watchdog: Watchdog::of("probegram-aggregate"),
                max_age_ms: DAY_MS,
                now_ms,
            },
            materialize: materialize::Context {
                table: table.clone(),
                group_prefix: "probegram-materialize".to_owned(),
                topics: materialize::Topics::default(),
                now_ms,
            },
            bot: bot::Context {
                generation: Generation::of(table.clone()),
                post,
                table,
                aggregate_group: "probegram-aggregate".to_owned(),
                secrets: vec![SecretHash::of(b"secret")],
                time_zone: TimeZone::UTC,
                open_to_this_machine: true,
                positions: Positions::default(),
                now_ms,
            },
            counted,
        };
        house.counted.take();
        house
    }

    async fn aggregate(&self, event: &RawValue) {
        aggregate::handle(event, &self.aggregate).await.unwrap();
    }

    async fn alert(&self, event: &RawValue) {
        alert::handle(event, &self.alert).await.unwrap();
    }

    /// Carries invocations out, each at its time. What they took but for the computing.
    async fn run<'a>(&self, batches: &'a [Due], handle: impl AsyncFn(&'a RawValue)) -> Effort {
        let mut waited = Duration::ZERO;
        for batch in batches {
            NOW_MS.store(batch.at_ms, Ordering::Relaxed);
            let since = tokio::time::Instant::now();
            handle(&batch.event).await;
            waited += since.elapsed();
        }
        Effort {
            invocations: batches.len() as f64,
            units: self.counted.take(),
            billed_ms: waited.as_secs_f64() * 1e3,
            log_bytes: 0.0,
        }
    }
}

/// Lets a chat in, which watches three networks.
async fn watch(table: &Table) {
    chats::allow(table, OWNER, Role::Owner, None, now_ms()).await.unwrap();
    for name in WATCHED {
        let pattern = Pattern::read(name, false).unwrap();
        let (reason, cooldown_ms) = (Some("who is that?".to_owned()), Watch::COOLDOWN_MS);
        let watch = Watch { origin: Origin::Chat(OWNER), pattern, reason, made_ms: now_ms(), cooldown_ms };
        watches::set(table, OWNER, &watch).await.unwrap();
    }
}

/// A runtime whose time passes when all wait.
fn paused() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

impl Month {
    /// All but the rest.
    fn of(place: Place, is_keyed: bool, turned: Turned) -> Self {
        NOW_MS.store(BEGIN_MS, Ordering::Relaxed);
        let template = Template::read().unwrap();
        let [mut aggregates, mut alerts] =
            ["AggregateBlueMapping", "AlertMapping"].map(|mapping| template.mapping(mapping).unwrap());
        aggregates.window_s = turned.aggregate_s.unwrap_or(aggregates.window_s);
        alerts.window_s = turned.alert_s.unwrap_or(alerts.window_s);
        let (runtime, mut cpu) = (paused(), Computing::start());
        let house =
            runtime.block_on(House::new(|table| Post::new(table, TimeZone::UTC, now_ms, Bot::none())));
        let aggregate = |batches: &[Due]| {
            runtime.block_on(house.run(batches, async |event| house.aggregate(event).await))
        };

        // who is there every day is known, and heard for the first time today
        let mut feed = Feed::new(&place, is_keyed);
        let before = cut(feed.roll_call(&place, BEGIN_MS - DAY_MS), &aggregates);
        aggregate(&before);
        let first = cut(feed.roll_call(&place, BEGIN_MS - HOUR_MS), &aggregates);
        let stored = house.counted.stored_bytes();
        let of_first = aggregate(&first);
        let mut month = Self {
            place,
            aggregate: of_first * place.times(),
            alert: Effort::default(),
            rest: Rest::default(),
            bytes_a_day: (house.counted.stored_bytes() - stored) as f64 * place.times(),
            metrics: BTreeSet::new(),
        };
        cpu.aggregate.prepare(&before);
        cpu.aggregate.prepare(&first);

        let mut begin_ms = BEGIN_MS;
        for period in place.periods {
            let times = period.times() * place.times();
            let heard = feed.hear(&place, period, begin_ms);
            let stored = house.counted.stored_bytes();
            let batches = cut(heard.clone(), &aggregates);
            let mut effort = aggregate(&batches);
            cpu.aggregate.add_to(&mut effort, &batches);
            month.aggregate += effort * times;
            month.bytes_a_day += house.counted.stored_bytes().saturating_sub(stored) as f64 * times;

            let batches = cut(heard, &alerts);
            let mut effort = runtime.block_on(house.run(&batches, async |event| house.alert(event).await));
            cpu.alert.add_to(&mut effort, &batches);
            month.alert += effort * times;
            begin_ms += i64::from(period.replayed_minutes) * MINUTE_MS;
        }
        month.metrics = cpu.metrics();
        month
    }

    fn print_effort(&self, feed: &str) {
        for (function, day) in [("aggregate", self.aggregate), ("alert", self.alert)] {
            let million = day * (1e6 / self.place.probes_a_day);
            println!(
                "| {function} | {feed} | {} | {} | {} | {} | {:.0} | {} |",
                thousands(million.invocations),
                thousands(million.units.writes),
                thousands(million.units.of_indexes),
                thousands(million.units.reads),
                day.billed_ms / day.invocations,
                thousands(million.gb_seconds()),
            );
        }
    }
}

impl Rest {
    /// A while in which nothing happens but rounds and heartbeats; and some questions.
    fn of(place: Place) -> Self {
        const MINUTES: i64 = 20;
        NOW_MS.store(BEGIN_MS, Ordering::Relaxed);
        let (runtime, mut cpu) = (paused(), Computing::start());
        let house =
            runtime.block_on(House::new(|table| Post::new(table, TimeZone::UTC, now_ms, Bot::none())));
        let known = Mac::new([0xa4, 0x83, 0xe7, 0, 0, 3]);
        let heard = vec![(0, record(0, BEGIN_MS, None, Some(of_agent(known, BEGIN_MS, "RNM0"))))];
        let template = Template::read().unwrap();
        let heard = cut(heard, &template.mapping("AggregateBlueMapping").unwrap());
        runtime.block_on(house.run(&heard, async |event| house.aggregate(event).await));

        let mut said = Vec::new();
        for half_minute in 0..2 * MINUTES {
            for sensor in 0..i64::from(place.sensors) {
                let at = BEGIN_MS + half_minute * MINUTE_MS / 2 + sensor * 700;
                said.push((0, heartbeat_of(sensor, at, half_minute * i64::from(place.sensors) + sensor)));
            }
        }
        let heartbeats = cut(said, &template.mapping("SensorsMapping").unwrap());
        let round = |minute| Due { at_ms: BEGIN_MS + minute * MINUTE_MS, records: 0, event: round() };
        let rounds: Vec<Due> = (1..=MINUTES).map(round).collect();
        // in the order of time: what a round finds is what the sensors have just said
        let (mut of_heartbeats, mut of_rounds) = (Effort::default(), Effort::default());
        let mut next = 0;
        for round in &rounds {
            let due = heartbeats[next..].iter().take_while(|batch| batch.at_ms <= round.at_ms).count();
            of_heartbeats += runtime.block_on(house.run(&heartbeats[next..next + due], async |event| {
                materialize::handle(event, &house.materialize).await.unwrap();
            }));
            next += due;
            let one = std::slice::from_ref(round);
            of_rounds += runtime.block_on(house.run(one, async |event| house.alert(event).await));
        }
        cpu.materialize.add_to(&mut of_heartbeats, &heartbeats[..next]);
        cpu.alert.add_to(&mut of_rounds, &rounds);
        of_rounds.billed_ms += LIST_MAPPINGS_MS * MINUTES as f64;

        let texts = [format!("/device {known}"), "/today".to_owned(), "/status".to_owned()];
        let questions: Vec<Due> = texts
            .iter()
            .zip(1..)
            .map(|(text, number)| Due { at_ms: now_ms(), records: 1, event: update(text, number) })
            .collect();
        let mut asked = runtime.block_on(house.run(&questions, async |event| {
            let request = serde_json::from_str(event.get()).unwrap();
            let answer = http_api::text(bot::handle(&request, &house.bot).await);
            assert!(answer.contains("sendMessage"), "{answer}");
        }));
        cpu.bot.add_to(&mut asked, &questions);
        Self {
            round: of_rounds * (1.0 / MINUTES as f64),
            // each of the sensors' in an invocation of its own, at the most
            heartbeat: of_heartbeats * (1.0 / (2.0 * MINUTES as f64 * f64::from(place.sensors))),
            question: asked * (1.0 / questions.len() as f64),
            alert_told: Effort::default(),
        }
    }
}

/// The event of the schedule.
fn round() -> Box<RawValue> {
    RawValue::from_string(alert::handler::ROUND.to_owned()).unwrap()
}

/// An alert with the frames that follow it and its end, as far as it costs more than rounds do anyway. Real time passes: Telegram is
/// another thread's.
fn alert_told(of_round: &Effort) -> Effort {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let telegram = Telegram::start();
    telegram.add_chat(OWNER, Kind::Private);
    let client = telegram::Client::new(&telegram.url(), telegram.token().into()).unwrap();
    let begin_ms = now_ms();
    let mut effort = Effort::default();
    runtime.block_on(async {
        let house = House::new(|table| Post::new(table, TimeZone::UTC, now_ms, Bot::ready(client))).await;
        let visitor = Mac::new([0x78, 0x67, 0xd7, 0x48, 0xe5, 0xc7]);
        let sent: Vec<Sent> = (0..3)
            .map(|scan| {
                let at = begin_ms + scan * 4 * MINUTE_MS;
                let value = Some(of_agent(visitor, at, WATCHED[0]));
                (0, record(scan, at, None, value))
            })
            .collect();
        let alerts = Template::read().unwrap().mapping("AlertMapping").unwrap();
        let batches = cut(sent, &alerts);
        let mut next = 0;
        let mut rounds = 0.0;
        for minute in 1..=40 {
            let until = begin_ms + minute * MINUTE_MS;
            let due = batches[next..].iter().take_while(|batch| batch.at_ms <= until).count();
            effort += house.run(&batches[next..next + due], async |event| house.alert(event).await).await;
            next += due;
            let round = [Due { at_ms: until, records: 0, event: round() }];
            effort += house.run(&round, async |event| house.alert(event).await).await;
            rounds += 1.0;
        }
        // the rounds of a house without sensors, in which nothing is due
        let idle = [(); 10].map(|()| Due { at_ms: now_ms(), records: 0, event: round() });
        let idle = house.run(&idle, async |event| house.alert(event).await).await * (rounds / 10.0);
        effort.units += idle.units * -1.0;
    });
    let messages = telegram.all_messages().len() as f64;
    assert!(messages >= 1.0, "nobody was told");
    effort.invocations = 3.0;
    // the message and its edit
    effort.billed_ms = effort.units.requests * counted_table::LATENCY.as_secs_f64() * 1e3 + 2.0 * TELEGRAM_MS;
    effort.log_bytes = of_round.log_bytes * 3.0;
    effort
}

fn record(offset: i64, at: i64, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> LogRecord {
    let timestamp_type = TimestampType::LogAppendTime;
    LogRecord { offset, timestamp: at, timestamp_type, key, value, headers: Vec::new() }
}

/// What a sensor that is well says of itself.
fn heartbeat_of(sensor: i64, at: i64, offset: i64) -> LogRecord {
    let card = Interface {
        name: "wlan1".to_owned(),
        is_listening: true,
        channels: vec![1, 6, 11],
        dwell_ms: 250,
        frames: 123_456_789,
        probe_requests: 6_780_000,
        ..Interface::default()
    };
    let heartbeat = Heartbeat {
        sensor: format!("hallway-{sensor}"),
        time: at,
        version: "0.1.0".to_owned(),
        uptime_s: u64::try_from((at - BEGIN_MS) / 1000).unwrap() + 1_000_000,
        clock: Clock::Synchronized,
        interfaces: vec![card],
        ..Heartbeat::default()
    };
    record(offset, at, Some(heartbeat.sensor.clone().into_bytes()), Some(heartbeat::encode(&heartbeat)))
}

/// Somebody writes to the bot, as API Gateway hands it over.
fn update(text: &str, number: i64) -> Box<RawValue> {
    let update = json!({"update_id": number, "message": {"message_id": 1, "date": 0,
        "chat": {"id": OWNER, "type": "private", "first_name": "Robin"}, "text": text}});
    let mut headers = HeaderMap::new();
    headers.insert("x-telegram-bot-api-secret-token", HeaderValue::from_static("secret"));
    let uri = Uri::from_static("/telegram");
    let request = http_api::request(Method::POST, &uri, headers, update.to_string().as_bytes());
    serde_json::value::to_raw_value(&request).unwrap()
}

/// The batches that a mapping makes of a log, in the order in which they go out. Lambda may put batches of several partitions into
/// one invocation; here each has its own, so that it costs rather too much than too little.
fn cut(log: Vec<Sent>, mapping: &EventSourceMapping) -> Vec<Due> {
    let window_ms = i64::try_from(mapping.window_s).unwrap() * 1000;
    let mut due = Vec::new();
    let mut partitions: Vec<(Batch, i64)> = Vec::new();
    let mut flush = |partition: i32, batch: &mut Batch, at_ms: i64| {
        let full = std::mem::replace(batch, Batch::new(&mapping.topic, partition, batch.next()));
        if !full.is_empty() {
            due.push(Due { at_ms, records: full.len(), event: full.event().unwrap() });
        }
    };
    for (partition, record) in log {
        let number = usize::try_from(partition).unwrap();
        while partitions.len() <= number {
            let next = i32::try_from(partitions.len()).unwrap();
            partitions.push((Batch::new(&mapping.topic, next, 0), 0));
        }
        let (batch, since) = &mut partitions[number];
        let at = record.timestamp;
        if !batch.is_empty() && at >= *since + window_ms {
            flush(partition, batch, *since + window_ms);
        }
        let was_empty = batch.is_empty();
        if let Err(record) = batch.take(record, mapping) {
            flush(partition, batch, at);
            batch.take(record, mapping).unwrap();
            *since = at;
        } else if was_empty {
            *since = at;
        }
    }
    for (number, (mut batch, since)) in partitions.into_iter().enumerate() {
        flush(i32::try_from(number).unwrap(), &mut batch, since + window_ms);
    }
    due.sort_by_key(|batch| batch.at_ms);
    due
}

/// The programs that are deployed, which compute. Each has a table of its own: one does not see how far another has come.
struct Computing {
    aggregate: Program,
    alert: Program,
    materialize: Program,
    bot: Program,
    // after the programs, which end first
    _runtime: Runtime,
}

impl Computing {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let [aggregate, alert, materialize, bot] =
            ["aggregate", "alert", "materialize", "bot"].map(|name| Program::start(name, &runtime));
        Self { aggregate, alert, materialize, bot, _runtime: runtime }
    }

    /// The metrics that they have sent, each with its function.
    fn metrics(&self) -> BTreeSet<String> {
        let programs = [&self.aggregate, &self.alert, &self.materialize, &self.bot];
        programs.into_iter().flat_map(|program| program.metrics.iter().cloned()).collect()
    }
}

/// A function as `make build` leaves it, which runs.
struct Program {
    name: &'static str,
    function: Function,
    output: tempfile::NamedTempFile,
    read: usize,
    metrics: BTreeSet<String>,
}

impl Program {
    fn start(name: &'static str, runtime: &Runtime) -> Self {
        let endpoint = runtime.block_on(async {
            let database = dynoxide::Database::memory().unwrap();
            let (request, _ttl) = Template::read().unwrap().table(TABLE).unwrap();
            database.create_table(serde_json::from_value(request).unwrap()).unwrap();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()));
            watch(&Table::connect(&config_at(&endpoint), TABLE)).await;
            endpoint
        });
        let environment = [
            ("AWS_REGION", "eu-west-2"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", &endpoint),
            ("TABLE_NAME", TABLE),
            ("CONSUMER_GROUP", "probegram"),
            ("CONSUMER_GROUP_PREFIX", "probegram-materialize"),
            ("AGGREGATE_GROUP", "probegram-aggregate"),
            ("TELEGRAM_SECRET", "nobody is told of anything"),
            ("WEBHOOK_SECRET_SHA256", "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"),
        ];
        let output = tempfile::NamedTempFile::new().unwrap();
        let stdout = Stdio::from(output.reopen().unwrap());
        let mut function = Function::start(&release_binary(name), &environment, stdout);
        // the first invocation connects
        let first = if name == "bot" {
            update("/help", 1)
        } else {
            RawValue::from_string(r#"{"records":{}}"#.to_owned()).unwrap()
        };
        function.invoke(first.get()).unwrap();
        let mut program = Self { name, function, output, read: 0, metrics: BTreeSet::new() };
        program.new_lines();
        program
    }

    /// Gives it batches that are not measured.
    fn prepare(&mut self, batches: &[Due]) {
        for batch in batches {
            self.function.invoke(batch.event.get()).unwrap();
        }
        self.new_lines();
    }

    /// Adds what invocations compute, and log, to what they wait for. Lambda counts whole milliseconds.
    fn add_to(&mut self, effort: &mut Effort, batches: &[Due]) {
        let (mut number, mut records) = (0, 0);
        let before = cpu_time(self.function.id());
        for batch in batches.iter().take(MEASURED_BATCHES) {
            self.function.invoke(batch.event.get()).unwrap();
            number += 1;
            records += batch.records;
            if records > MEASURED_RECORDS {
                break;
            }
        }
        let spent = cpu_time(self.function.id()).saturating_sub(before).as_secs_f64() * 1e3;
        let lines = self.new_lines();
        let each = 1.0 / f64::from(number);
        effort.billed_ms += effort.invocations * (spent * each / CPU_SHARE + 0.5);
        let logged = lines.iter().map(|line| line.len() as f64 + LOG_LINE_BYTES).sum::<f64>() * each;
        effort.log_bytes += effort.invocations * (logged + PLATFORM_LOG_BYTES);
    }

    /// What it has written since this was asked last. Notes the metrics in it.
    fn new_lines(&mut self) -> Vec<String> {
        let text = fs::read_to_string(self.output.path()).unwrap();
        let lines: Vec<String> = text.get(self.read..).unwrap().lines().map(str::to_owned).collect();
        self.read = text.len();
        for line in &lines {
            let line: Value = serde_json::from_str(line).unwrap();
            let declared = line["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten();
            let declared = declared.flat_map(|one| one["Metrics"].as_array().into_iter().flatten());
            let names = declared.map(|metric| format!("{} {}", self.name, metric["Name"].as_str().unwrap()));
            self.metrics.extend(names);
        }
        lines
    }
}

/// What of the template watches over an installation, and costs by the piece.
struct Watching {
    /// Metrics that alarms look at.
    alarm_metrics: f64,
    dashboards: f64,
}

impl Watching {
    fn of_the_template() -> Self {
        let template = Template::read().unwrap();
        // one by its name, or all that an expression is made of
        let looked_at = |alarm: &Value| {
            let metrics = alarm["Metrics"].as_array().into_iter().flatten();
            metrics.filter(|metric| metric.get("MetricStat").is_some()).count().max(1) as f64
        };
        Self {
            alarm_metrics: template
                .of_type("AWS::CloudWatch::Alarm")
                .map(|(_, alarm)| looked_at(alarm))
                .sum(),
            dashboards: template.of_type("AWS::CloudWatch::Dashboard").count() as f64,
        }
    }
}

/// A line of a bill: what it is for, what it costs, and what it costs an account that has used nothing of what is free.
type Line = (String, f64, f64);

impl Month {
    /// Invocations, units and milliseconds of all functions in a month.
    fn total(&self) -> Effort {
        let mut day = self.aggregate;
        day += self.alert;
        day += self.rest.round * (24.0 * 60.0);
        day += self.rest.heartbeat * (f64::from(self.place.sensors) * 24.0 * 120.0);
        day += self.rest.question * self.place.questions_a_day;
        day += self.rest.alert_told * self.place.alerts_a_day;
        day * DAYS
    }

    fn bill(&self, watching: &Watching) -> Vec<Line> {
        use prices::{
            ALARM_METRIC, DASHBOARD, GB_SECOND, HTTP_MILLION, INVOCATIONS_MILLION, LOGS_GB, METRIC,
            READS_MILLION, RECOVERY_GB, STORAGE_GB, WRITES_MILLION, free,
        };
        const GB: f64 = 1e9;
        let total = self.total();
        // as it is after a month
        let stored = self.bytes_a_day * DAYS / GB;
        let logged = total.log_bytes / GB;
        let metrics = self.metrics.len() as f64;
        let line = |what: &str, amount: f64, free: f64, price: f64| {
            (what.to_owned(), amount * price, (amount - free).max(0.0) * price)
        };
        vec![
            line("DynamoDB, writes", total.units.writes / 1e6, 0.0, WRITES_MILLION),
            line("DynamoDB, reads", total.units.reads / 1e6, 0.0, READS_MILLION),
            line("DynamoDB, storage after a month", stored, free::STORAGE_GB, STORAGE_GB),
            line("DynamoDB, point-in-time recovery after a month", stored, 0.0, RECOVERY_GB),
            line(
                "Lambda, invocations",
                total.invocations / 1e6,
                free::INVOCATIONS / 1e6,
                INVOCATIONS_MILLION,
            ),
            line("Lambda, GB-s", total.gb_seconds(), free::GB_SECONDS, GB_SECOND),
            line("HTTP API", self.place.questions_a_day * DAYS / 1e6, 0.0, HTTP_MILLION),
            line("CloudWatch, logs", logged, free::LOGS_GB, LOGS_GB),
            line("CloudWatch, metrics", metrics, free::METRICS, METRIC),
            line("CloudWatch, alarms", watching.alarm_metrics, free::ALARM_METRICS, ALARM_METRIC),
            line("CloudWatch, dashboard", watching.dashboards, free::DASHBOARDS, DASHBOARD),
        ]
    }
}

impl Month {
    /// The first lines of a bill, of an account that has used nothing of what is free.
    fn dynamodb_and_lambda(&self, watching: &Watching) -> f64 {
        let lines = self.bill(watching).into_iter();
        lines
            .filter(|(what, _, _)| what.starts_with("DynamoDB") || what.starts_with("Lambda"))
            .map(|line| line.1)
            .sum()
    }
}

fn print_bills(months: &[Month], watching: &Watching) {
    let names: Vec<String> = months.iter().map(|month| format!("{} | free tier", month.place.name)).collect();
    println!("| | {} |", names.join(" | "));
    println!("| --- {}|", "| ---: | ---: ".repeat(months.len()));
    let bills: Vec<Vec<Line>> = months.iter().map(|month| month.bill(watching)).collect();
    let money = |of: &dyn Fn(&Line) -> [f64; 2], rows: &[&Line]| {
        let cells = rows.iter().flat_map(|line| of(line)).map(|dollars| format!("{dollars:.2}"));
        cells.collect::<Vec<_>>().join(" | ")
    };
    for row in 0..bills[0].len() {
        let rows: Vec<&Line> = bills.iter().map(|bill| &bill[row]).collect();
        println!("| {} | {} |", rows[0].0, money(&|(_, all, beyond)| [*all, *beyond], &rows));
    }
    let sums: Vec<Line> = bills
        .iter()
        .map(|bill| {
            let sum = |of: fn(&Line) -> f64| bill.iter().map(of).sum();
            (String::new(), sum(|line| line.1), sum(|line| line.2))
        })
        .collect();
    println!(
        "| **all** | {} |",
        money(&|(_, all, beyond)| [*all, *beyond], &sums.iter().collect::<Vec<_>>())
    );
    println!();
    for month in months {
        let total = month.total();
        println!(
            "* {}: {} invocations, {} GB-s, {} write units, {} read units, {:.2} GB of logs a month; the table grows by {:.3} GB a month",
            month.place.name,
            thousands(total.invocations),
            thousands(total.gb_seconds()),
            thousands(total.units.writes),
            thousands(total.units.reads),
            total.log_bytes / 1e9,
            month.bytes_a_day * DAYS / 1e9,
        );
    }
    let metrics = &months[0].metrics;
    println!(
        "* {} metrics of our own: {}; alarms look at {} metrics",
        metrics.len(),
        metrics.iter().cloned().collect::<Vec<_>>().join(", "),
        watching.alarm_metrics
    );
    println!("* a scan is {FRAMES_A_SCAN} frames");
}

/// With commas, and no more digits than mean something.
fn thousands(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
