//! From a probe request in a real Kafka to its message in a chat: the programs as `make build` leaves them, with the windows of
//! `template.yaml`, and the Bot API server of the tests.
//!
//! Every fifth of a second a device is heard that looks for a network which one of many chats watches without a cooldown, so that it
//! has a message of its own and no chat has more than ten a minute. Beside that there are a hundred probe requests a second of which
//! some belong to episodes that go on, and most to nobody. Once the functions are in the process of `probegram local`, with its table
//! in a file; once they are deployed, and their table is a DynamoDB over HTTP.
// a benchmark's way to fail and to tell
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::cast_precision_loss)]

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use domain::{Mac, Origin, Pattern, Watch};
use fastrand::Rng;
use probegram::directory::DataDirectory;
use probegram::embedded::Embedded;
use probegram::template::Template;
use probegram_tests::alerting::{Bot, of_agent};
use probegram_tests::aws::config_at;
use probegram_tests::dynamodb::{Dynamodb, TABLE};
use probegram_tests::kafka::Kafka;
use probegram_tests::lambda::{ENVIRONMENT, Lambda};
use probegram_tests::local::Local;
use probegram_tests::process::release_binary;
use probegram_tests::telegram::Kind;
use probegram_tests::until;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use state::Table;
use state::chats::{self, Role};
use state::watches;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Beside the markers, a second.
const RATE: u32 = 100;
/// One in so many of them belongs to an episode.
const MATCHING: u32 = 20;
const MARKER_EVERY: Duration = Duration::from_millis(200);
/// With a marker in turn for each, a chat has five messages a minute.
const CHATS: u32 = 60;
const STEP: Duration = Duration::from_secs(180);
/// How long a message may take. It bounds a step that is more than the machine carries.
const PATIENCE: Duration = Duration::from_secs(120);
/// The chat whose episodes go on.
const BUSY: i64 = 1_000;
const BUSY_DEVICES: u8 = 5;
const PARTITIONS: usize = 3;
const SECRET: &str = "probegram/telegram";

fn main() {
    // cargo test runs benchmarks too, without this
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let Some(kafka) = Kafka::start() else { return };
    kafka.create_topic("ssid_alert_list", 1);
    kafka.create_topic("pcap", PARTITIONS);
    in_process(&kafka);
    kafka.delete_topic("pcap");
    kafka.create_topic("pcap", PARTITIONS);
    deployed(&kafka);
}

fn in_process(kafka: &Kafka) {
    let (bot, data) = (bot(), TempDir::new().unwrap());
    let runtime = runtime();
    {
        let directory = DataDirectory::open(data.path()).unwrap();
        let embedded = Embedded::open(Some(&directory.table()), &Template::read().unwrap()).unwrap();
        runtime.block_on(watch(&embedded.table()));
    }
    let mut command = local(kafka);
    let local = Local::start(bot.of(command.arg("--data").arg(data.path())));
    measure("in-process handlers", kafka, &bot, &local);
}

fn deployed(kafka: &Kafka) {
    let Some(lambda) = Lambda::start() else { return };
    let (bot, runtime) = (bot(), runtime());
    let dynamodb = Dynamodb::start(runtime.handle());
    runtime.block_on(async {
        let client = aws_sdk_secretsmanager::Client::new(&config_at(&lambda.endpoint()));
        client.create_secret().name(SECRET).secret_string(bot.telegram.token()).send().await.unwrap();
    });
    let (url, no_secret) = (bot.telegram.url(), "0".repeat(64));
    let functions: [(&str, &[(&str, &str)]); 4] = [
        ("aggregate", &[("CONSUMER_GROUP", "probegram-aggregate")]),
        ("bot", &[("AGGREGATE_GROUP", "probegram-aggregate"), ("WEBHOOK_SECRET_SHA256", &no_secret)]),
        ("materialize", &[("CONSUMER_GROUP_PREFIX", "probegram-materialize")]),
        (
            "alert",
            &[
                ("CONSUMER_GROUP", "probegram-alert"),
                ("AGGREGATE_GROUP", "probegram-aggregate"),
                ("TELEGRAM_SECRET", SECRET),
                ("TELEGRAM_API_URL", &url),
            ],
        ),
    ];
    for (name, environment) in functions {
        let own = [("TABLE_NAME", TABLE), ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.endpoint())];
        let of_aws = [("AWS_ENDPOINT_URL", lambda.endpoint())];
        let own =
            own.iter().chain(environment).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let of_aws = of_aws.map(|(name, value)| (name.to_owned(), value));
        lambda.deploy(name, &release_binary(name), &own.chain(of_aws).collect::<Vec<_>>());
    }
    let mut command = local(kafka);
    command
        .args(["--dynamodb-endpoint", dynamodb.endpoint(), "--table", TABLE])
        .args(["--functions", &lambda.endpoint()]);
    let local = Local::start(&mut command);
    runtime.block_on(watch(&Table::connect(&config_at(dynamodb.endpoint()), TABLE)));
    measure("deployed functions", kafka, &bot, &local);
}

/// `probegram local` as people run it.
fn local(kafka: &Kafka) -> Command {
    let mut command = Command::new(release_binary("probegram"));
    command
        .args(["local", "--http", "127.0.0.1:0", "--bootstrap-servers", &kafka.bootstrap_servers()])
        .envs(ENVIRONMENT)
        .env_remove("RUST_LOG");
    command
}

fn bot() -> Bot {
    let chats = (1..=i64::from(CHATS)).chain([BUSY]);
    Bot::start(&chats.map(|chat| (chat, Kind::Private)).collect::<Vec<_>>())
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Lets all chats in, each with a watch of its own.
async fn watch(table: &Table) {
    let now_ms = runtime::clock::now_ms();
    let busy = (BUSY, "Busy".to_owned(), Watch::COOLDOWN_MS);
    let markers = (1..=CHATS).map(|chat| (i64::from(chat), network(chat), 0));
    for (chat, name, cooldown_ms) in markers.chain([busy]) {
        chats::allow(table, chat, Role::Owner, None, now_ms).await.unwrap();
        let pattern = Pattern::read(&name, false).unwrap();
        let reason = Some("a marker".to_owned());
        let watch = Watch { origin: Origin::Chat(chat), pattern, reason, made_ms: now_ms, cooldown_ms };
        watches::set(table, chat, &watch).await.unwrap();
    }
}

/// The network that a chat watches.
fn network(chat: u32) -> String {
    format!("Marker-{chat}")
}

/// A marker that is on its way.
struct Sent {
    chat: i64,
    /// The number of its message in the chat.
    number: usize,
    since: Instant,
}

fn measure(what: &str, kafka: &Kafka, bot: &Bot, local: &Local) {
    let feed = Feed::to(kafka);
    let is_there = |sent: &Sent| bot.alerts(sent.chat).len() >= sent.number;
    // until the consumer groups are there, nothing is measured
    let first = feed.mark(0, bot);
    until(PATIENCE, "the first message", || is_there(&first).then_some(()));

    let stop = AtomicBool::new(false);
    let (mut latencies, mut under_way) = (Vec::new(), Vec::<Sent>::new());
    let (mut marked, mut heard) = (0, 0);
    let (began, before) = (Instant::now(), cpu(local));
    thread::scope(|scope| {
        let background = scope.spawn(|| feed.hum(&stop));
        while began.elapsed() < STEP || !under_way.is_empty() {
            if began.elapsed() < STEP && began.elapsed() >= MARKER_EVERY * marked {
                marked += 1;
                under_way.push(feed.mark(marked, bot));
            }
            under_way.retain(|sent| {
                let there = is_there(sent);
                if there {
                    latencies.push(sent.since.elapsed());
                }
                !there
            });
            if began.elapsed() > STEP + PATIENCE {
                println!("{} messages did not come", under_way.len());
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        heard = background.join().unwrap();
    });
    let took = began.elapsed().as_secs_f64();
    println!("{what}, {:.0} probe requests/s:", f64::from(heard + marked) / took);
    println!("  probe to message: {}", quantiles(&mut latencies));
    println!("  {} messages in {} chats", bot.telegram.all_messages().len(), CHATS + 1);
    println!("  {:.0} % of a core for probegram local", (cpu(local) - before).as_secs_f64() / took * 100.0);
}

/// Sends probe requests to the topic, keyed by device as the agent does.
struct Feed(ThreadedProducer<DefaultProducerContext>);

impl Feed {
    fn to(kafka: &Kafka) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.bootstrap_servers()).set("linger.ms", "1");
        Self(config.create().unwrap())
    }

    fn send(&self, mac: Mac, ssid: &str) {
        let (key, value) = (mac.to_string(), of_agent(mac, runtime::clock::now_ms(), ssid));
        until(PATIENCE, "room in the producer's queue", || {
            self.0.send(BaseRecord::to("pcap").key(&key).payload(&value)).ok()
        });
    }

    /// A device that is heard once looks for what the next chat watches.
    fn mark(&self, number: u32, bot: &Bot) -> Sent {
        let chat = number % CHATS + 1;
        let [_, a, b, c] = number.to_be_bytes();
        let before = bot.alerts(i64::from(chat)).len();
        let since = Instant::now();
        self.send(Mac::new([0, 0x1b, 0xa9, a, b, c]), &network(chat));
        Sent { chat: chat.into(), number: before + 1, since }
    }

    /// Everybody else, until told otherwise. How many they were.
    fn hum(&self, stop: &AtomicBool) -> u32 {
        let (mut random, mut number, began) = (Rng::with_seed(6), 0, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            if number % MATCHING == 0 {
                self.send(Mac::new([0xa4, 0x83, 0xe7, 0, 0, random.u8(..BUSY_DEVICES)]), "Busy");
            } else {
                let [high, low] = random.u16(..2_000).to_be_bytes();
                let name = format!("Network-{}", random.u8(..20));
                self.send(Mac::new([0xf0, 0xc3, 0x71, 0, high, low]), &name);
            }
            number += 1;
            let next = began + Duration::from_secs(1) * number / RATE;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        number
    }
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
    format!("p50 {:.0} ms, p99 {:.0} ms of {}", at(0.5), at(0.99), times.len())
}
