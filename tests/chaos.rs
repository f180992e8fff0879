//! Everything that may go wrong between the radio and the table, with real parts: Apache Kafka, the deployed programs run by a
//! Lambda, DynamoDB over HTTP. After each scenario the table must equal a plain fold of what the topic held.
//!
//! `cargo test --workspace --test chaos` runs a short form of each scenario, `make chaos` the long form with the release
//! programs; `-- --only NAME` runs those whose name holds it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail
#![allow(clippy::print_stdout)] // and to tell

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use domain::record;
use domain::{Mac, Ssid, SsidElement};
use fastrand::Rng;
use probegram_tests::kafka::{NewRecord, Record};
use probegram_tests::local;
use probegram_tests::process::{self, Running, Signal};
use probegram_tests::proxy::{Call, Fate};
use probegram_tests::stage::{Outcome, SPOILED, Stage, is_spoiled};
use probegram_tests::until;
use serde_json::{Value, json};

/// It bounds a hang on a busy machine, nothing else.
const PATIENCE: Duration = Duration::from_secs(240);
const TOPIC: &str = "pcap";
/// Batches get as large as they come, so that the function has many items to write.
const FRAMES: u16 = 600;

/// A scenario: what is done, on how many brokers.
struct Scenario {
    name: &'static str,
    brokers: usize,
    play: fn(&mut Stage, &Form) -> Outcome,
}

/// How long a form of the scenarios.
struct Form {
    is_full: bool,
}

impl Form {
    /// So many in the long form, so many in the short.
    const fn of(&self, full: usize, short: usize) -> usize {
        if self.is_full { full } else { short }
    }
}

const SCENARIOS: [Scenario; 15] = [
    Scenario {
        name: "nothing happens; one table by deployed and by in-process functions",
        brokers: 1,
        play: nothing,
    },
    Scenario { name: "agent killed", brokers: 1, play: agent_killed },
    Scenario { name: "function killed between two writes", brokers: 1, play: function_killed },
    Scenario { name: "poller killed", brokers: 1, play: poller_killed },
    Scenario { name: "DynamoDB throttles, fails, hangs, loses answers", brokers: 1, play: dynamodb_fails },
    Scenario { name: "invocations time out and go on, come twice, are lost", brokers: 1, play: zombies },
    Scenario { name: "rebalances during batches", brokers: 1, play: rebalances },
    Scenario { name: "topic deleted and created again", brokers: 1, play: topic_created_again },
    Scenario { name: "log deleted under the consumer", brokers: 1, play: log_deleted },
    Scenario { name: "poison among good records", brokers: 1, play: poison },
    Scenario {
        name: "every record twice, every delivery twice and with others",
        brokers: 1,
        play: everything_twice,
    },
    Scenario { name: "clocks step", brokers: 1, play: clocks_step },
    Scenario { name: "all of it at once", brokers: 1, play: all_at_once },
    Scenario { name: "leading broker killed", brokers: 3, play: leader_killed },
    Scenario { name: "a broker away", brokers: 3, play: broker_away },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let form = Form { is_full: arguments.iter().any(|argument| argument == "--full") };
    let only = arguments.iter().skip_while(|argument| *argument != "--only").nth(1);
    let programs = if form.is_full { process::release_binary } else { process::binary };
    let is_chosen = |name: &str| only.is_none_or(|only| name.contains(only.as_str()));
    println!(
        "{:<68} {:>7} {:>6} {:>6} {:>5} {:>7} {:>6}",
        "scenario", "records", "poison", "kills", "lost", "doubled", "time"
    );
    let mut report = Report::default();
    let began = Instant::now();
    let mut set: Option<(usize, Stage)> = None;
    for scenario in SCENARIOS.iter().filter(|scenario| is_chosen(scenario.name)) {
        if set.as_ref().is_none_or(|(brokers, _)| *brokers != scenario.brokers) {
            drop(set.take()); // first, to have its memory back
            let Some(stage) = Stage::start(scenario.brokers, programs) else {
                return ExitCode::SUCCESS; // skipped, and said so
            };
            set = Some((scenario.brokers, stage));
        }
        let (_, stage) = set.as_mut().unwrap();
        let began = Instant::now();
        stage.kills.store(0, Ordering::SeqCst);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            stage.clear(4);
            (scenario.play)(stage, &form)
        }));
        let kills = stage.kills.load(Ordering::SeqCst);
        if outcome.is_err() {
            set = None; // nobody knows what still stands
        }
        report.add(scenario.name, outcome.ok(), kills, began.elapsed());
    }
    report.end(began.elapsed())
}

/// What has been played so far.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    failed: Vec<&'static str>,
    records: usize,
    kills: usize,
    lost: u64,
    doubled: u64,
}

impl Report {
    /// Tells of a scenario; without an outcome it came to no end.
    fn add(&mut self, name: &'static str, outcome: Option<Outcome>, kills: usize, took: Duration) {
        let outcome = outcome.unwrap_or_else(|| Outcome {
            differences: vec!["it came to no end, see above".to_owned()],
            ..Outcome::default()
        });
        let Outcome { records, quarantined, lost, doubled, differences } = outcome;
        let seconds = took.as_secs();
        let line = format!(
            "{name:<68} {records:>7} {quarantined:>6} {kills:>6} {lost:>5} {doubled:>7} {seconds:>4} s"
        );
        println!("{line}");
        differences.iter().take(5).for_each(|difference| println!("    {difference}"));
        if !differences.is_empty() {
            println!("    {} differences", differences.len());
            self.failed.push(name);
        }
        self.lines.push(line);
        self.records += records;
        self.kills += kills;
        self.lost += lost;
        self.doubled += doubled;
    }

    /// The table of all, and a line to end with.
    fn end(self, took: Duration) -> ExitCode {
        let Self { lines, failed, records, kills, lost, doubled } = self;
        println!("\n{}", lines.join("\n"));
        let verdict = match failed.as_slice() {
            [] => "all held".to_owned(),
            failed => format!("FAILED: {}", failed.join(", ")),
        };
        println!(
            "\n{} scenarios, {records} records, {kills} kills, {lost} records lost, {doubled} counted twice, {} s: {verdict}",
            lines.len(),
            took.as_secs()
        );
        if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The same capture through in-process functions and through the deployed programs.
fn nothing(stage: &mut Stage, form: &Form) -> Outcome {
    let deployed = Stage::ready(&mut stage.poller("poller"));
    let other = probegram_tests::dynamodb::Dynamodb::start(stage.runtime().handle());
    let mut in_process = local::command(["--bootstrap-servers", &stage.kafka.bootstrap_servers()]);
    in_process.args(["--dynamodb-endpoint", other.endpoint(), "--table", probegram_tests::dynamodb::TABLE]);
    let in_process = local::Local::start(in_process.envs(probegram_tests::lambda::ENVIRONMENT));
    for _ in 0..form.of(20, 3) {
        stage.hear(FRAMES);
    }
    let topic = stage.topic();
    let mut outcome = stage.outcome(std::slice::from_ref(&topic));
    in_process.wait_until_caught_up(i64::try_from(topic.len()).unwrap());
    let ours = stage.items("1#DEVICE#");
    outcome.differences.extend(probegram_tests::plain_fold::differences(&other.items("1#DEVICE#"), &ours));
    // and so are the answers of both bots
    let deployed = local::Local::at(deployed);
    let values = topic.iter().map(|record| String::from_utf8(record.value.clone().unwrap()).unwrap());
    let (macs, ssids) = local::heard_in(&values.collect::<Vec<_>>().join("\n"));
    let answers = |local: &local::Local| [local.devices(&macs), local.ssids(&ssids)].concat();
    let (deployed, in_process) = (answers(&deployed), answers(&in_process));
    if deployed != in_process || !deployed.iter().all(|answer| answer.status == 200) {
        outcome.differences.push(format!("the deployed bot answers otherwise: {deployed:?}, {in_process:?}"));
    }
    outcome
}

/// The agent is killed anywhere, and begun again with the same command.
fn agent_killed(stage: &mut Stage, form: &Form) -> Outcome {
    let _poller = Stage::ready(&mut stage.poller("poller"));
    let mut random = Rng::with_seed(1);
    let wanted = form.of(60, 8);
    let mut heard = BTreeSet::new();
    while stage.kills.load(Ordering::SeqCst) < wanted {
        let capture = stage.capture(FRAMES);
        heard.extend(stage.feed(&capture));
        loop {
            let mut agent = Running::start(&mut stage.agent(&capture));
            if stage.kills.load(Ordering::SeqCst) < wanted && random.u8(..5) > 0 {
                thread::sleep(Duration::from_millis(random.u64(..300)));
                let was_running = agent.exit_status().is_none();
                stage.kill(&mut agent);
                if was_running {
                    continue;
                }
            }
            assert!(agent.wait(PATIENCE).success(), "{}", agent.stderr());
            break;
        }
    }
    let topic = stage.topic();
    let mut outcome = stage.outcome(std::slice::from_ref(&topic));
    let arrived: BTreeSet<Vec<u8>> = topic.into_iter().filter_map(|record| record.value).collect();
    let missing = heard.difference(&arrived).count();
    if missing > 0 {
        outcome.differences.push(format!("{missing} of {} records never came to the topic", heard.len()));
    }
    outcome
}

/// At the n-th write since the last kill the function is killed: the write is lost, or is done and not answered.
fn kills_between_writes(stage: &Stage, wanted: usize, seed: u64) -> Arc<AtomicBool> {
    let (reaper, kills, done) =
        (stage.lambda.reaper(), Arc::clone(&stage.kills), Arc::new(AtomicBool::new(false)));
    let mut random = Rng::with_seed(seed);
    let (mut writes, mut next) = (0, random.usize(1..=30));
    let told = Arc::clone(&done);
    stage.table.plan(move |call| {
        if call.operation != "PutItem" || told.load(Ordering::SeqCst) {
            return Fate::Passed;
        }
        writes += 1;
        if writes < next {
            // slow enough to be met in the middle of a batch
            return Fate::Late(Duration::from_millis(2));
        }
        (writes, next) = (0, random.usize(1..=30));
        let kills = Arc::clone(&kills);
        let told = Arc::clone(&told);
        let kill = move || {
            let killed = reaper.kill_all();
            if kills.fetch_add(killed, Ordering::SeqCst) + killed >= wanted {
                told.store(true, Ordering::SeqCst);
            }
        };
        if random.bool() {
            kill();
            Fate::Lost
        } else {
            Fate::DoneThen(Box::new(kill))
        }
    });
    done
}

/// Hears captures until enough has happened; at most so many.
fn hear_until(stage: &Stage, mut done: impl FnMut() -> bool) {
    for _ in 0..400 {
        stage.hear(FRAMES);
        if done() {
            return;
        }
    }
    panic!("400 captures were heard, and still not enough had happened");
}

fn function_killed(stage: &mut Stage, form: &Form) -> Outcome {
    let _poller = Stage::ready(&mut stage.poller("poller"));
    let done = kills_between_writes(stage, form.of(100, 12), 2);
    hear_until(stage, || done.load(Ordering::SeqCst));
    stage.outcome(&[stage.topic()])
}

/// The poller is killed while batches are under way, and after some have failed, before they are delivered again.
fn poller_killed(stage: &mut Stage, form: &Form) -> Outcome {
    let mut random = Rng::with_seed(3);
    let wanted = form.of(40, 8);
    let mut poller = Stage::ready(&mut stage.poller("poller"));
    let mut dice = random.fork();
    stage.table.plan(move |call| match call.operation.as_str() {
        // nothing that the SDK tries again: the invocation fails
        "PutItem" if dice.u8(..100) < 3 => refused("ValidationException"),
        "PutItem" => Fate::Late(Duration::from_millis(5)),
        _ => Fate::Passed,
    });
    hear_until(stage, || {
        thread::sleep(Duration::from_millis(random.u64(..500)));
        stage.kill(&mut poller);
        poller = Running::start(&mut stage.poller("poller"));
        // sometimes killed even before it is ready
        if random.u8(..4) > 0 {
            poller.wait_for_line("ready ");
        }
        stage.kills.load(Ordering::SeqCst) >= wanted
    });
    stage.table.pass();
    poller.wait_for_line("ready ");
    stage.outcome(&[stage.topic()])
}

fn throttled(operation: &str) -> Fate {
    refused(match operation {
        "PutItem" => "ProvisionedThroughputExceededException",
        _ => "ThrottlingException",
    })
}

/// DynamoDB refuses a request for this reason.
fn refused(reason: &str) -> Fate {
    let kind = format!("com.amazonaws.dynamodb.v20120810#{reason}");
    Fate::Refused(400, json!({"__type": kind, "message": "asked for by the test"}).to_string())
}

/// Half of the keys of a read come back unprocessed.
fn partly_processed(call: &mut Call) -> Fate {
    let mut request: Value = serde_json::from_slice(&call.body).unwrap();
    let (table, wanted) = request["RequestItems"].as_object_mut().unwrap().iter_mut().next().unwrap();
    let table = table.clone();
    let keys = wanted["Keys"].as_array_mut().unwrap();
    let left = keys.split_off(keys.len().div_ceil(2));
    let mut unprocessed = wanted.clone();
    unprocessed["Keys"] = json!(left);
    call.body = request.to_string().into_bytes();
    Fate::Edited(Box::new(move |answer| {
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        if !unprocessed["Keys"].as_array().unwrap().is_empty() {
            answer["UnprocessedKeys"] = json!({table: unprocessed});
        }
        answer.to_string().into_bytes()
    }))
}

/// Troubles come in runs, so that the SDK's own retries do not hide them all.
fn dynamodb_fails(stage: &mut Stage, form: &Form) -> Outcome {
    let _poller = Stage::ready(&mut stage.poller("poller"));
    let (failures, hangs) = (Arc::new(AtomicUsize::new(0)), form.of(6, 1));
    let mut random = Rng::with_seed(4);
    let (count, mut hung) = (Arc::clone(&failures), 0);
    let (mut run, mut trouble) = (0, 0);
    stage.table.plan(move |call| {
        if run == 0 {
            if random.u8(..100) >= 8 {
                return Fate::Passed;
            }
            (run, trouble) = (random.u8(1..20), random.u8(..7));
        }
        run -= 1;
        count.fetch_add(1, Ordering::SeqCst);
        match trouble {
            0 => throttled(&call.operation),
            1 => Fate::Refused(
                500,
                json!({"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError"}).to_string(),
            ),
            2 => Fate::Lost,
            3 if hung < hangs => {
                // longer than the SDK waits for one attempt
                (hung, run) = (hung + 1, 0);
                Fate::Late(Duration::from_secs(6))
            }
            4 if call.operation == "BatchGetItem" => partly_processed(call),
            5 => refused("ValidationException"),
            _ => Fate::AnswerLost,
        }
    });
    let wanted = form.of(300, 60);
    hear_until(stage, || {
        // the poller pauses after a failure, longer after each: what is heard meanwhile meets no trouble
        thread::sleep(Duration::from_millis(500));
        failures.load(Ordering::SeqCst) >= wanted
    });
    stage.table.pass();
    stage.outcome(&[stage.topic()])
}

const TIMED_OUT: &str =
    r#"{"errorMessage":"Task timed out after 60.00 seconds","errorType":"Sandbox.Timedout"}"#;

/// Invocations overlap, with the same records and with other borders: the whole of a batch beside its first half.
fn zombies(stage: &mut Stage, form: &Form) -> Outcome {
    let _poller = Stage::ready(&mut stage.poller("poller"));
    let mut random = Rng::with_seed(5);
    let mut dice = random.fork();
    stage.table.plan(move |call| match call.operation.as_str() {
        // so that two who write the same items meet in any order
        "PutItem" => Fate::Late(Duration::from_millis(dice.u64(..60))),
        _ => Fate::Passed,
    });
    let troubles = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&troubles);
    stage.invoke.plan(move |call| {
        let fate = match random.u8(..10) {
            0..2 => Fate::AnsweredEarly(("x-amz-function-error", "Unhandled"), TIMED_OUT.to_owned()),
            2..5 => Fate::Beside(first_half(&call.body)),
            5 => Fate::Twice,
            6 => Fate::Lost,
            7 => Fate::AnswerLost,
            _ => return Fate::Passed,
        };
        count.fetch_add(1, Ordering::SeqCst);
        fate
    });
    let wanted = form.of(200, 25);
    hear_until(stage, || troubles.load(Ordering::SeqCst) >= wanted);
    stage.invoke.pass();
    stage.outcome(&[stage.topic()])
}

/// The event with the first half of each partition's records.
fn first_half(event: &[u8]) -> Vec<u8> {
    let mut event: Value = serde_json::from_slice(event).unwrap();
    for records in event["records"].as_object_mut().unwrap().values_mut() {
        let records = records.as_array_mut().unwrap();
        records.truncate(records.len().div_ceil(2));
    }
    event.to_string().into_bytes()
}

/// Other members of the group come, and go by the front door or by a kill, while batches are under way.
fn rebalances(stage: &mut Stage, form: &Form) -> Outcome {
    stage.table.plan(|call| match call.operation.as_str() {
        "PutItem" => Fate::Late(Duration::from_millis(50)),
        _ => Fate::Passed,
    });
    let _first = Stage::ready(&mut stage.poller("first"));
    let mut random = Rng::with_seed(6);
    for round in 0..form.of(12, 2) {
        let mut other = Running::start(&mut stage.poller(if round % 2 == 0 { "second" } else { "third" }));
        for _ in 0..3 {
            stage.hear(FRAMES);
        }
        // Kafka has given it partitions, whose batches are under way at the first
        until(PATIENCE, "a rebalance", || other.stderr().contains("partitions=[Start").then_some(()));
        thread::sleep(Duration::from_millis(random.u64(..1_500)));
        if random.bool() {
            stage.kill(&mut other);
        } else {
            other.signal(Signal::SIGTERM);
            assert!(other.wait(PATIENCE).success(), "{}", other.stderr());
        }
        stage.hear(FRAMES);
    }
    stage.outcome(&[stage.topic()])
}

fn topic_created_again(stage: &mut Stage, form: &Form) -> Outcome {
    let mut poller = Stage::ready(&mut stage.poller("poller"));
    let mut lives = Vec::new();
    for life in 0..form.of(8, 3) {
        if life > 0 {
            // under a poller that runs, and under one that is away
            if life % 2 == 0 {
                poller.signal(Signal::SIGTERM);
                assert!(poller.wait(PATIENCE).success(), "{}", poller.stderr());
            }
            stage.kafka.delete_topic(TOPIC);
            stage.kafka.create_topic(TOPIC, 4);
        }
        // at times longer than the one before, at times shorter
        for _ in 0..[2, 4, 1][life % 3] {
            stage.hear(FRAMES);
        }
        if life > 0 && life % 2 == 0 {
            poller = Stage::ready(&mut stage.poller("poller"));
        }
        lives.push(stage.topic());
        let so_far = stage.outcome(&lives);
        if !so_far.differences.is_empty() {
            return so_far;
        }
    }
    stage.outcome(&lives)
}

/// Notes which records come to the function.
fn note_deliveries(stage: &Stage) -> Arc<Mutex<BTreeSet<(i64, i64)>>> {
    let delivered: Arc<Mutex<BTreeSet<(i64, i64)>>> = Arc::default();
    let noted = Arc::clone(&delivered);
    stage.invoke.plan(move |call| {
        if let Ok(event) = serde_json::from_slice::<Value>(&call.body)
            && let Some(partitions) = event["records"].as_object()
        {
            let mut noted = noted.lock().unwrap();
            for record in partitions.values().flat_map(|records| records.as_array().unwrap()) {
                noted.insert((record["partition"].as_i64().unwrap(), record["offset"].as_i64().unwrap()));
            }
        }
        Fate::Passed
    });
    delivered
}

/// The oldest records are deleted: while the poller is away, and while the function stands still.
fn log_deleted(stage: &mut Stage, form: &Form) -> Outcome {
    let delivered = note_deliveries(stage);
    let mut history: Vec<Record> = Vec::new();
    for round in 0..form.of(6, 2) {
        let mut poller = Stage::ready(&mut stage.poller("poller"));
        stage.hear(FRAMES);
        let stands_still = round % 2 == 1;
        if stands_still {
            stage.table.plan(|call| throttled(&call.operation));
        } else {
            poller.signal(Signal::SIGTERM);
            assert!(poller.wait(PATIENCE).success(), "{}", poller.stderr());
        }
        for _ in 0..3 {
            stage.hear(FRAMES);
        }
        let held = stage.topic();
        let ends: Vec<(i32, i64)> = (0..4)
            .filter_map(|partition| held.iter().rfind(|record| record.partition == partition))
            .map(|last| (last.partition, last.offset))
            .collect();
        let oldest: Vec<(i32, i64)> = ends.iter().map(|(partition, last)| (*partition, last - 100)).collect();
        stage.kafka.delete_records_before(TOPIC, &oldest);
        let new = held.into_iter().filter(|record| !history.contains(record)).collect::<Vec<_>>();
        history.extend(new);
        if stands_still {
            stage.table.pass();
        } else {
            poller = Stage::ready(&mut stage.poller("poller"));
        }
        stage.hear(FRAMES);
        let held = stage.topic();
        let new: Vec<Record> = held.iter().filter(|record| !history.contains(record)).cloned().collect();
        history.extend(new);
        // what is still there has to come, and what is not may have come before
        let outcome = stage.outcome(std::slice::from_ref(&held));
        drop(outcome);
        drop(poller);
    }
    let delivered = delivered.lock().unwrap();
    let came = |record: &Record| delivered.contains(&(record.partition.into(), record.offset));
    let still_there = stage.topic();
    let skipped = still_there.iter().filter(|record| !came(record)).count();
    let mut absorbed: Vec<Record> = history.into_iter().filter(|record| came(record)).collect();
    absorbed.sort();
    let mut outcome = stage.outcome(&[absorbed]);
    if skipped > 0 {
        outcome.differences.push(format!("{skipped} records that the topic still holds never came"));
    }
    outcome
}

fn probe(stage: &Stage, number: i64) -> Vec<u8> {
    let mac = Mac::new([0xa4, 0x83, 0xe7, 0, 0, u8::try_from(number % 12).unwrap()]);
    let ssid = SsidElement::Named(Ssid::new(*b"RNM0").unwrap());
    let mut value = Vec::new();
    record::encode(&local::probe(mac, stage.now_ms() - 3_600_000 + number, ssid), "hallway", &mut value);
    value
}

fn poison(stage: &mut Stage, form: &Form) -> Outcome {
    let mut random = Rng::with_seed(7);
    let garbage: Vec<u8> = (0..900_000).map(|_| random.u8(..)).collect();
    let good = probe(stage, 0);
    let spoiled = [&good[..good.len() - 1], b",\"note\":\"", SPOILED, b"\"}"].concat();
    let deep = |inner: usize| {
        format!(r#"{{"wlan_fc_type_subtype":["4"],"wlan_ssid":{}{}}}"#, "[".repeat(inner), "]".repeat(inner))
    };
    let nulls = r#"{"timestamp":null,"wlan_fc_type_subtype":["4"],"wlan_sa":null,"wlan_ssid":null,"wlan_radio_signal_dbm":null}"#;
    let poison: Vec<Vec<u8>> = vec![
        b"not JSON".to_vec(),
        Vec::new(),
        garbage,
        deep(10_000).into_bytes(),
        deep(100).into_bytes(),
        spoiled,
        nulls.as_bytes().to_vec(),
        b"null".to_vec(),
        b"[null,null]".to_vec(),
        br#"{"timestamp":null}"#.to_vec(),
        br#"{"wlan_fc_type_subtype":["4"],"timestamp":"99999999999999","wlan_sa":["a4:83:e7:00:00:01"]}"#
            .to_vec(),
        br#"{"wlan_fc_type_subtype":["4"],"timestamp":"1","wlan_sa":["a4:83:e7:00:00:01"]}"#.to_vec(),
        br#"{"wlan_fc_type_subtype":["4"],"timestamp":"1e400"}"#.to_vec(),
        good[..good.len() / 2].to_vec(),
        [&good[..], &good[..]].concat(),
    ];
    // a value that is no base64 any more when it comes to the function, each time it comes
    stage.invoke.plan(|call| {
        let Ok(mut event) = serde_json::from_slice::<Value>(&call.body) else { return Fate::Passed };
        let partitions =
            event["records"].as_object_mut().into_iter().flat_map(|partitions| partitions.values_mut());
        for record in partitions.flat_map(|records| records.as_array_mut().unwrap()) {
            let value =
                record["value"].as_str().and_then(|value| base64_simd::STANDARD.decode_to_vec(value).ok());
            if value.is_some_and(|value| is_spoiled(&value)) {
                record["value"] = json!("!not base64!");
            }
        }
        call.body = event.to_string().into_bytes();
        Fate::Passed
    });
    let _poller = Stage::ready(&mut stage.poller("poller"));
    let mut number = 0;
    for _ in 0..form.of(10, 1) {
        let mut records = Vec::new();
        for value in &poison {
            for _ in 0..random.u8(..20) {
                number += 1;
                records.push(NewRecord {
                    value: Some(probe(stage, number)),
                    has_headers: random.bool(),
                    ..NewRecord::default()
                });
            }
            records.push(NewRecord { value: Some(value.clone()), ..NewRecord::default() });
            records.push(NewRecord { key: Some(b"a4:83:e7:00:00:01".to_vec()), ..NewRecord::default() });
        }
        random.shuffle(&mut records);
        // the last of each partition must reach the function, so that it is known when all have
        let end = (0..4).map(|partition| NewRecord {
            partition: Some(partition),
            value: Some(probe(stage, 0)),
            ..NewRecord::default()
        });
        records.extend(end);
        stage.kafka.produce_records(TOPIC, &records);
    }
    let outcome = stage.outcome(&[stage.topic()]);
    assert!(outcome.quarantined >= 12 * form.of(10, 1), "only {} were poison", outcome.quarantined);
    outcome
}

/// Each record lies in the topic twice, which is two; each batch is delivered twice and together with the last ones of the other
/// partitions, which is nothing.
fn everything_twice(stage: &mut Stage, form: &Form) -> Outcome {
    let mut last = serde_json::Map::new();
    stage.invoke.plan(move |call| {
        let Ok(mut event) = serde_json::from_slice::<Value>(&call.body) else { return Fate::Passed };
        let Some(partitions) = event["records"].as_object_mut() else { return Fate::Passed };
        last.extend(partitions.clone());
        partitions.extend(last.clone());
        call.body = event.to_string().into_bytes();
        Fate::Twice
    });
    let _poller = Stage::ready(&mut stage.poller("poller"));
    for _ in 0..form.of(10, 2) {
        stage.hear(FRAMES);
        let again: Vec<NewRecord> = stage
            .topic()
            .into_iter()
            .rev()
            .take(FRAMES.into())
            .map(|record| NewRecord { key: record.key, value: record.value, ..NewRecord::default() })
            .collect();
        stage.kafka.produce_records(TOPIC, &again);
    }
    stage.outcome(&[stage.topic()])
}

/// The clocks of the functions and of whoever dates records step, back and forth, while functions are killed.
///
/// Not those of programs with librdkafka: it waits by the wall clock through C11's `cnd_timedwait`, which libfaketime leaves alone.
fn clocks_step(stage: &mut Stage, form: &Form) -> Outcome {
    const HOUR_S: i64 = 60 * 60;
    let Some(library) = process::faketime() else { return Outcome::default() };
    let clock = tempfile::NamedTempFile::new().unwrap();
    let set = |offset_s: i64| std::fs::write(clock.path(), format!("{offset_s:+}")).unwrap();
    set(0);
    stage.configure(&[
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.path().to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]);
    let _poller = Stage::ready(&mut stage.poller("poller"));
    let done = kills_between_writes(stage, form.of(20, 3), 8);
    let offsets = [0, -2 * HOUR_S, HOUR_S / 2, -72 * HOUR_S, HOUR_S / 6, 0];
    for offset_s in offsets.into_iter().cycle().take(form.of(36, 6)) {
        set(offset_s);
        let capture = stage.capture(FRAMES);
        let dated = |value| NewRecord {
            timestamp: Some(stage.now_ms() + offset_s * 1_000),
            value: Some(value),
            ..NewRecord::default()
        };
        let records: Vec<NewRecord> = stage.feed(&capture).into_iter().map(dated).collect();
        stage.kafka.produce_records(TOPIC, &records);
    }
    set(0);
    done.store(true, Ordering::SeqCst);
    let outcome = stage.outcome(&[stage.topic()]);
    stage.configure(&[]);
    assert!(outcome.quarantined > 0, "a clock that is days late makes frames come from the future");
    outcome
}

/// Agent, functions and pollers are killed, batches come twice and late, DynamoDB fails, the group rebalances.
fn all_at_once(stage: &mut Stage, form: &Form) -> Outcome {
    let mut random = Rng::with_seed(9);
    let mut pollers = ["first", "second"].map(|member| Stage::ready(&mut stage.poller(member)));
    let (reaper, kills, mut dice) = (stage.lambda.reaper(), Arc::clone(&stage.kills), random.fork());
    stage.table.plan(move |call| match dice.u16(..1_000) {
        0..20 => throttled(&call.operation),
        20..40 => Fate::Lost,
        40..60 => Fate::AnswerLost,
        60..64 => {
            let kills = Arc::clone(&kills);
            Fate::DoneThen(Box::new(move || {
                kills.fetch_add(reaper.kill_all(), Ordering::SeqCst);
            }))
        }
        _ => Fate::Late(Duration::from_millis(dice.u64(..10))),
    });
    let mut dice = random.fork();
    stage.invoke.plan(move |_call| match dice.u8(..10) {
        0 => Fate::AnsweredEarly(("x-amz-function-error", "Unhandled"), TIMED_OUT.to_owned()),
        1 => Fate::Twice,
        2 => Fate::AnswerLost,
        _ => Fate::Passed,
    });
    for _ in 0..form.of(60, 8) {
        let capture = stage.capture(FRAMES);
        let mut agent = Running::start(&mut stage.agent(&capture));
        thread::sleep(Duration::from_millis(random.u64(..500)));
        stage.kill(&mut agent);
        let mut agent = Running::start(&mut stage.agent(&capture));
        let (which, member) = [(0, "first"), (1, "second")][random.usize(..2)];
        stage.kill(&mut pollers[which]);
        assert!(agent.wait(PATIENCE).success(), "{}", agent.stderr());
        pollers[which] = Running::start(&mut stage.poller(member));
    }
    // whoever could not even begin in all this begins now
    stage.table.pass();
    stage.invoke.pass();
    for (poller, member) in pollers.iter_mut().zip(["first", "second"]) {
        if poller.exit_status().is_some() {
            *poller = Running::start(&mut stage.poller(member));
        }
    }
    stage.outcome(&[stage.topic()])
}

/// A partition's leader that is not the controller too.
fn a_leader(stage: &Stage) -> usize {
    (0..4).map(|partition| stage.kafka.leader(TOPIC, partition)).find(|broker| *broker > 0).unwrap_or(1)
}

fn leader_killed(stage: &mut Stage, form: &Form) -> Outcome {
    let _poller = Stage::ready(&mut stage.poller("poller"));
    for _ in 0..form.of(8, 1) {
        let capture = stage.capture(FRAMES);
        let mut agent = Running::start(&mut stage.agent(&capture));
        let broker = a_leader(stage);
        stage.kafka.kill_broker(broker);
        stage.kills.fetch_add(1, Ordering::SeqCst);
        assert!(agent.wait(PATIENCE).success(), "{}", agent.stderr());
        stage.hear(FRAMES);
        stage.kafka.restart_broker(broker);
        stage.hear(FRAMES);
    }
    stage.outcome(&[stage.topic()])
}

fn broker_away(stage: &mut Stage, form: &Form) -> Outcome {
    let _poller = Stage::ready(&mut stage.poller("poller"));
    stage.hear(FRAMES);
    let broker = a_leader(stage);
    stage.kafka.kill_broker(broker);
    stage.kills.fetch_add(1, Ordering::SeqCst);
    let back = Instant::now() + Duration::from_secs(form.of(60, 1) as u64);
    while Instant::now() < back {
        stage.hear(FRAMES);
    }
    stage.kafka.restart_broker(broker);
    stage.hear(FRAMES);
    stage.outcome(&[stage.topic()])
}
