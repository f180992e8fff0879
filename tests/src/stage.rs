//! A stage for what may go wrong: a real Kafka, Lambda with the deployed programs, DynamoDB over HTTP, and between them proxies
//! through which a test makes trouble. `probegram local` is the event source mapping.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use probegram::template::{EventSourceMapping, Template};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::dynamodb::{Dynamodb, Items, TABLE};
use crate::frames::{probe_request, radiotap, with_fcs, write_pcap_header, write_pcap_record};
use crate::kafka::{Kafka, Record};
use crate::lambda::{ENVIRONMENT, Lambda};
use crate::plain_fold::{self, Fold};
use crate::process::Running;
use crate::proxy::Proxy;
use crate::until;

/// How long the table may take to be where the log is. It bounds a hang on a busy machine, nothing else.
const PATIENCE: Duration = Duration::from_secs(240);
/// The consumer group of the template, under which deployed functions keep their progress.
const GROUP: &str = "probegram-aggregate";
const TOPIC: &str = "pcap";
const RADIOTAP: u32 = 127;
/// The devices of a capture.
const DEVICES: u8 = 12;
/// What a record says whose value is no base64 any more when it comes to the function.
pub const SPOILED: &[u8] = b"spoiled-on-the-way";

/// Where the programs are found.
pub type Programs = fn(&str) -> PathBuf;

/// All the parts, wired.
pub struct Stage {
    /// The brokers.
    pub kafka: Kafka,
    /// Lambda.
    pub lambda: Lambda,
    /// Between the event source mapping and Lambda.
    pub invoke: Proxy,
    /// Between everybody and the table.
    pub table: Proxy,
    /// Programs that were killed, ours and brokers.
    pub kills: Arc<AtomicUsize>,
    dynamodb: RefCell<Dynamodb>,
    mapping: EventSourceMapping,
    programs: Programs,
    files: RefCell<TempDir>,
    captures: Cell<u32>,
    now_ms: i64,
    runtime: Runtime,
}

/// What a scenario has left behind, compared with what there should be.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Records that the topic held.
    pub records: usize,
    /// Records that could not be read.
    pub quarantined: usize,
    /// Probe requests that the table lacks.
    pub lost: u64,
    /// Probe requests that the table has beyond those that there were.
    pub doubled: u64,
    /// Everything that is not as it should be, a line each.
    pub differences: Vec<String>,
}

impl Stage {
    /// Starts everything with the functions deployed. None, and a line on standard error, where something is missing.
    ///
    /// # Panics
    /// If something does not come up.
    #[must_use]
    pub fn start(brokers: usize, programs: Programs) -> Option<Self> {
        let kafka = Kafka::with_brokers(brokers)?;
        let lambda = Lambda::start()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let dynamodb = Dynamodb::start(runtime.handle());
        let table = Proxy::start(runtime.handle(), dynamodb.endpoint());
        let invoke = Proxy::start(runtime.handle(), &lambda.endpoint());
        let mapping = Template::read()
            .and_then(|template| template.mapping("AggregateBlueMapping"))
            .expect("a mapping");
        let stage = Self {
            kafka,
            lambda,
            invoke,
            table,
            kills: Arc::default(),
            dynamodb: RefCell::new(dynamodb),
            mapping,
            programs,
            files: RefCell::new(TempDir::new().expect("a temporary folder")),
            captures: Cell::new(0),
            now_ms: runtime::clock::now_ms(),
            runtime,
        };
        let aggregate = stage.environment(&[("CONSUMER_GROUP", GROUP)]);
        stage.lambda.deploy("aggregate", &programs("aggregate"), &aggregate);
        let secret = "0".repeat(64);
        let bot = stage.environment(&[("AGGREGATE_GROUP", GROUP), ("WEBHOOK_SECRET_SHA256", &secret)]);
        stage.lambda.deploy("bot", &programs("bot"), &bot);
        stage.kafka.create_topic(TOPIC, 1); // for the first scenario to delete
        Some(stage)
    }

    fn environment(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut environment = vec![
            ("TABLE_NAME".to_owned(), TABLE.to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), self.table.endpoint()),
        ];
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        environment
    }

    /// Gives `aggregate` more in its environment, or with nothing what it usually has.
    pub fn configure(&self, more: &[(&str, &str)]) {
        let more = [&[("CONSUMER_GROUP", GROUP)], more].concat();
        self.lambda.configure("aggregate", &self.environment(&more));
        let _how_many = self.lambda.reaper().kill_all();
    }

    /// An empty topic, an empty table, no trouble: where a scenario begins.
    pub fn clear(&self, partitions: usize) {
        self.table.pass();
        self.invoke.pass();
        // what still runs must not write into the new table
        let _how_many = self.lambda.reaper().kill_all();
        self.kafka.delete_topic(TOPIC);
        self.kafka.create_topic(TOPIC, partitions);
        *self.dynamodb.borrow_mut() = Dynamodb::start(self.runtime.handle());
        self.table.lead_to(self.dynamodb.borrow().endpoint());
        *self.files.borrow_mut() = TempDir::new().expect("a temporary folder");
        self.captures.set(0);
    }

    /// What runs asynchronous code, for servers of a scenario's own.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// How records reach the function.
    #[must_use]
    pub fn mapping(&self) -> &EventSourceMapping {
        &self.mapping
    }

    /// The present, as of the start of the stage, in milliseconds since 1970.
    #[must_use]
    pub const fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// A program of this workspace.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new((self.programs)(name));
        command.env_remove("RUST_LOG").envs(ENVIRONMENT);
        command
    }

    /// The event source mapping as a member of its group, which invokes the deployed functions.
    ///
    /// # Panics
    /// If its configuration cannot be written.
    #[must_use]
    pub fn poller(&self, member: &str) -> Command {
        let mut command = self.program("probegram");
        command
            .args(["local", "--http", "127.0.0.1:0", "--batching-window", "0", "--table", TABLE])
            .args(["--bootstrap-servers", &self.kafka.bootstrap_servers(), "--kafka-config"])
            .arg(self.group_member(member))
            .args(["--dynamodb-endpoint", &self.table.endpoint(), "--functions", &self.invoke.endpoint()]);
        command
    }

    /// Settings of a member of a consumer group that is soon missed.
    fn group_member(&self, member: &str) -> PathBuf {
        let path = self.files.borrow().path().join(format!("{member}.properties"));
        let properties =
            format!("group.instance.id={member}\nsession.timeout.ms=6000\nheartbeat.interval.ms=500\n");
        fs::write(&path, properties).expect("a file of settings");
        path
    }

    /// Starts a program and waits until it says that it is ready.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn ready(command: &mut Command) -> Running {
        let mut program = Running::start(command);
        program.wait_for_line("ready ");
        program
    }

    /// A capture of so many probe requests, no two alike, heard in the last two days.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn capture(&self, frames: u16) -> PathBuf {
        let number = self.captures.replace(self.captures.get() + 1);
        let mut random = Rng::with_seed(number.into());
        let mut file = Vec::new();
        write_pcap_header(&mut file, RADIOTAP).expect("writing to memory");
        let begin = self.now_ms - 2 * 24 * 60 * 60 * 1000 + i64::from(number) * 97_000;
        for frame in 0..frames {
            let ssid: &[u8] = [&b""[..], b"RNM0", b"FULLERS", b"a name", b"caf\xe9"][random.usize(..5)];
            let mac = [0xa4, 0x83, 0xe7, 0, 0, random.u8(..DEVICES)];
            let frame_bytes =
                radiotap(random.i8(-90..-30), &with_fcs(probe_request(mac, ssid, frame % 4096)));
            let time = u64::try_from((begin + i64::from(frame)) * 1000).expect("a time after 1970");
            write_pcap_record(&mut file, time, &frame_bytes).expect("writing to memory");
        }
        let path = self.files.borrow().path().join(format!("{number}.pcap"));
        fs::write(&path, file).expect("a capture");
        path
    }

    /// The agent that takes a capture through its spool to Kafka.
    #[must_use]
    pub fn agent(&self, capture: &Path) -> Command {
        let mut command = self.program("capture-agent");
        command
            .args(["--sensor", "hallway", "--read"])
            .arg(capture)
            .arg("--spool")
            .arg(self.files.borrow().path().join("spool"))
            .args(["--bootstrap-servers", &self.kafka.bootstrap_servers(), "--topic", TOPIC]);
        command
    }

    /// The records of a capture, as the agent writes them.
    ///
    /// # Panics
    /// If the agent fails.
    #[must_use]
    pub fn feed(&self, capture: &Path) -> Vec<Vec<u8>> {
        let mut agent = self.program("capture-agent");
        agent.args(["--sensor", "hallway", "--output", "-", "--read"]).arg(capture);
        let output = agent.output().expect("the agent");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
            .stdout
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    }

    /// Takes a new capture to Kafka without a disturbance.
    ///
    /// # Panics
    /// If the agent fails.
    pub fn hear(&self, frames: u16) {
        let capture = self.capture(frames);
        let mut agent = Running::start(&mut self.agent(&capture));
        assert!(agent.wait(PATIENCE).success(), "{}", agent.stderr());
    }

    /// Kills a program, and counts it if it was still running.
    pub fn kill(&self, program: &mut Running) {
        if program.exit_status().is_none() {
            program.kill();
            self.kills.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// All records of the topic.
    #[must_use]
    pub fn topic(&self) -> Vec<Record> {
        self.kafka.read_all(TOPIC)
    }

    /// The items of the table whose partition key begins like this.
    #[must_use]
    pub fn items(&self, prefix: &str) -> Items {
        self.dynamodb.borrow().items(prefix)
    }

    /// Waits until every record of the topic's newest life is dealt with, and compares the table with a plain fold of all of its
    /// lives.
    ///
    /// # Panics
    /// If something waits for ever.
    #[must_use]
    pub fn outcome(&self, lives: &[Vec<Record>]) -> Outcome {
        let folds: Vec<Fold> = (1..)
            .zip(lives)
            .map(|(life, records)| plain_fold::fold(records, &self.mapping, life, is_spoiled))
            .collect();
        self.wait_until_absorbed(lives.len(), &folds.last().expect("a life of the topic").last);

        let mut expected = Items::new();
        for fold in &folds {
            expected.extend(fold.items.clone());
        }
        let actual = self.items("1#DEVICE#");
        let mut outcome = Outcome {
            records: lives.iter().map(Vec::len).sum(),
            quarantined: folds.iter().map(|fold| fold.quarantined).sum(),
            differences: plain_fold::differences(&expected, &actual),
            ..Outcome::default()
        };
        let count = |items: &Items, key| {
            items.get(key).map_or(0, |item| item["count"].parse::<u64>().expect("a count"))
        };
        let keys: BTreeSet<_> = expected.keys().chain(actual.keys()).collect();
        for key in keys.into_iter().filter(|(_, sk)| sk.starts_with("TALLY#")) {
            let (should, is) = (count(&expected, key), count(&actual, key));
            outcome.lost += should.saturating_sub(is);
            outcome.doubled += is.saturating_sub(should);
        }
        let quarantine = self.items("QUARANTINE#");
        let counted: usize = quarantine
            .iter()
            .filter(|((_, sk), _)| sk.starts_with("COUNT#"))
            .map(|(_, item)| item["count"].parse::<usize>().expect("a count"))
            .sum();
        if counted != outcome.quarantined {
            let wanted = outcome.quarantined;
            outcome.differences.push(format!("{counted} records in quarantine, there should be {wanted}"));
        }
        outcome
    }

    /// Waits until the group is through with these offsets, and nothing is under way any more.
    fn wait_until_absorbed(&self, life: usize, last: &BTreeMap<i32, i64>) {
        let mut behind = String::new();
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(PATIENCE, "a table that has caught up", || {
                let progress = self.items(&format!("PROGRESS#{GROUP}"));
                let is_through = |(partition, last): (&i32, &i64)| {
                    let key = (format!("PROGRESS#{GROUP}"), format!("{TOPIC}/{partition}"));
                    let Some(item) = progress.get(&key) else { return false };
                    item["life"] == life.to_string()
                        && item["through"].parse::<i64>().expect("an offset") >= *last
                };
                let idle = self.invoke.under_way() == 0 && self.table.under_way() == 0;
                behind = format!("{progress:?}, should be {last:?} of life {life}, idle: {idle}");
                (last.iter().all(is_through) && idle).then_some(())
            });
        }));
        assert!(told.is_ok(), "something waits for ever: {behind}");
    }
}

/// Whether a record says that.
#[must_use]
pub fn is_spoiled(value: &[u8]) -> bool {
    value.windows(SPOILED.len()).any(|window| window == SPOILED)
}
