//! From a probe request in a real Kafka to its place in the table: `probegram local` as `make build` leaves it, with its embedded
//! table in a file and no batching window, so that what is measured is the work and not the wait for a full batch.
//!
//! At a rate of records a second a probe of its own device is sent now and then and asked for over HTTP until it is there; these
//! questions and others give the times of lookups. Then a topic is full before the program starts.
// a benchmark's way to fail and to tell
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::cast_precision_loss)]

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use domain::{Mac, Ssid, SsidElement};
use fastrand::Rng;
use probegram_tests::kafka::Kafka;
use probegram_tests::local::{Local, encoded, probe};
use probegram_tests::process::release_binary;
use probegram_tests::until;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use serde_json::Value;
use tempfile::TempDir;

const RATES: [u32; 3] = [30, 1_000, 10_000];
const STEP: Duration = Duration::from_secs(20);
/// How long a probe may take to its place. It bounds a step that is more than the machine carries.
const PATIENCE: Duration = Duration::from_secs(20);
const FULL_TOPIC: u32 = 300_000;
const DEVICES: u16 = 2_000;
const PARTITIONS: usize = 3;

fn main() {
    // cargo test runs benchmarks too, without this
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let Some(kafka) = Kafka::start() else { return };
    for rate in RATES {
        at_rate(&kafka, rate);
    }
    full_topic(&kafka);
}

/// The program with a table of its own. It reads topic `pcap` and no other, so that is made anew for each step.
fn start(kafka: &Kafka, data: &TempDir) -> Local {
    let mut command = Command::new(release_binary("probegram"));
    command
        .args(["local", "--http", "127.0.0.1:0", "--batching-window", "0", "--data"])
        .arg(data.path())
        .args(["--bootstrap-servers", &kafka.bootstrap_servers()])
        .env_remove("RUST_LOG");
    Local::start(&mut command)
}

fn at_rate(kafka: &Kafka, rate: u32) {
    kafka.create_topic("pcap", PARTITIONS);
    let data = TempDir::new().unwrap();
    let local = start(kafka, &data);
    let feed = Feed::to(kafka);
    // until the consumer group is there, nothing is measured
    feed.send(marker(0));
    seen(&local, marker(0));

    let (stop, before) = (AtomicBool::new(false), cpu(&local));
    let began = Instant::now();
    let (mut latencies, mut lookups, mut sent) = (Vec::new(), Vec::new(), 0);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut random = Rng::with_seed(6);
            let mut number = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                feed.send(device(&mut random));
                number += 1;
                thread::sleep(
                    (began + Duration::from_secs(1) * number / rate)
                        .saturating_duration_since(Instant::now()),
                );
            }
            number
        });
        let mut random = Rng::with_seed(7);
        for number in 1.. {
            if began.elapsed() > STEP {
                break;
            }
            let since = Instant::now();
            feed.send(marker(number));
            let Some(questions) = try_seen(&local, marker(number)) else { break };
            latencies.push(since.elapsed());
            lookups.extend(questions);
            lookups.push(ask(&local, device(&mut random)).1);
        }
        stop.store(true, Ordering::Relaxed);
        sent = sender.join().unwrap();
    });
    let (took, spent, absorbed) = (began.elapsed().as_secs_f64(), cpu(&local) - before, through(&local));
    println!(
        "{rate} records/s: {:.0} sent and {:.0} carried a second",
        f64::from(sent) / took,
        absorbed as f64 / took
    );
    println!("  probe to table: {}", quantiles(&mut latencies));
    println!("  lookups:        {}", quantiles(&mut lookups));
    println!(
        "  {:.0} % of a core for Kafka's client, the functions and the table",
        spent.as_secs_f64() / took * 100.0
    );
    drop(local);
    kafka.delete_topic("pcap");
}

fn full_topic(kafka: &Kafka) {
    kafka.create_topic("pcap", PARTITIONS);
    let feed = Feed::to(kafka);
    let mut random = Rng::with_seed(6);
    (0..FULL_TOPIC).for_each(|_| feed.send(device(&mut random)));
    feed.0.flush(Duration::from_secs(60)).unwrap();

    let data = TempDir::new().unwrap();
    let began = Instant::now();
    let local = start(kafka, &data);
    let mut lookups = Vec::new();
    until(Duration::from_secs(300), "the end of the topic", || {
        lookups.push(ask(&local, device(&mut random)).1);
        (through(&local) >= i64::from(FULL_TOPIC)).then_some(())
    });
    let (took, spent) = (began.elapsed().as_secs_f64(), cpu(&local).as_secs_f64());
    println!("a topic of {FULL_TOPIC} records, as fast as it goes:");
    let total = f64::from(FULL_TOPIC);
    println!(
        "  {:.0} records/s, {:.0} records/CPU s of Kafka's client, the functions and the table",
        total / took,
        total / spent
    );
    println!("  lookups:        {}", quantiles(&mut lookups));
}

/// Sends probe requests to the topic, keyed by device as the agent does.
struct Feed(ThreadedProducer<DefaultProducerContext>);

impl Feed {
    fn to(kafka: &Kafka) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.bootstrap_servers()).set("linger.ms", "1");
        Self(config.create().unwrap())
    }

    fn send(&self, mac: Mac) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let name = format!("Network-{}", fastrand::u8(0..3));
        let ssid = SsidElement::Named(Ssid::new(name.into_bytes()).unwrap());
        let value = encoded(&probe(mac, i64::try_from(now.as_millis()).unwrap(), ssid));
        let key = mac.to_string();
        until(PATIENCE, "room in the producer's queue", || {
            self.0.send(BaseRecord::to("pcap").key(&key).payload(&value)).ok()
        });
    }
}

/// One of the devices, few of which are heard often (Zipf): the inverse of the integral of 1/x.
fn device(random: &mut Rng) -> Mac {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 2,000")]
    let rank = f64::from(DEVICES).powf(random.f64()) as u16;
    let [high, low] = rank.to_be_bytes();
    Mac::new([0xa4, 0x83, 0xe7, 0, high, low])
}

/// A device that is heard once.
fn marker(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    Mac::new([0, 0x1b, a, b, c, d])
}

fn seen(local: &Local, mac: Mac) {
    assert!(try_seen(local, mac).is_some(), "{mac} did not come into the table\n{}", local.program.stderr());
}

/// Asks for a device until it is in the table: the times of the questions, or none if it did not come.
fn try_seen(local: &Local, mac: Mac) -> Option<Vec<Duration>> {
    let deadline = Instant::now() + PATIENCE;
    let mut questions = Vec::new();
    while Instant::now() < deadline {
        let (is_there, took) = ask(local, mac);
        questions.push(took);
        if is_there {
            return Some(questions);
        }
        thread::sleep(Duration::from_millis(2));
    }
    None
}

fn ask(local: &Local, mac: Mac) -> (bool, Duration) {
    let began = Instant::now();
    (local.device(mac).status == 200, began.elapsed())
}

/// How many records are in the table, by its progress.
fn through(local: &Local) -> i64 {
    let status = local.status();
    let next = |partition: &Value| partition["through"].as_i64().map_or(0, |through| through + 1);
    status["partitions"].as_array().unwrap().iter().map(next).sum()
}

/// CPU time of the program: proc_pid_stat(5), fields 14 and 15, in hundredths of a second.
fn cpu(local: &Local) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", local.program.id())).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
    Duration::from_millis(fields.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

fn quantiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |quantile: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the list")]
        let position = (times.len() as f64 * quantile) as usize;
        times.get(position).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    format!("p50 {:.1} ms, p99 {:.1} ms of {}", at(0.5), at(0.99), times.len())
}
