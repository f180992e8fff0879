//! What `aggregate` carries for one core: the deployable program with its SDK calls, on batches as large as Lambda's 6 MB hold.
//!
//! The shape of the input is that of a comparison with Kafka Streams: records of 577 bytes, 2,000 devices of which few are heard
//! often and most seldom (Zipf), 3 partitions. Records are keyed by device, as the agent does; `--unkeyed` spreads them as
//! the seed's feed did. The function is a process of its own, and so is the DynamoDB: each one's CPU is told apart.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

#[path = "support/runtime_api.rs"]
mod runtime_api;

use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use domain::record::{self, Record};
use domain::tally::{DayTally, DeviceTally, Tally};
use domain::{Day, Mac, Probe, Ssid, SsidElement};
use nix::sys::resource::{UsageWho, getrusage};
use probegram::event_source::{Batch, LogRecord, TimestampType};
use probegram::template::Template;
use runtime::KafkaEvent;
use runtime_api::Function;
use rustc_hash::FxHashMap;
use serde_json::Value;
use serde_json::value::RawValue;

const RECORDS: usize = 200_000;
const RECORD_BYTES: usize = 577;
const DEVICES: usize = 2_000;
const PARTITIONS: usize = 3;
/// Full batches that show whether memory grows.
const BATCHES: usize = 1_000;
const TABLE: &str = "state";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == "dynamodb") {
        return serve_dynamodb();
    }
    let is_keyed = !arguments.iter().any(|argument| argument == "--unkeyed");
    let events = events(is_keyed);
    println!(
        "aggregate: {RECORDS} records of {RECORD_BYTES} bytes, {DEVICES} devices, {PARTITIONS} partitions, {}; {} batches",
        if is_keyed { "keyed by device" } else { "without keys" },
        events.len(),
    );
    measure_steps(&events);
    measure_function(&events);
}

/// The steps without I/O, in this process, batch by batch as the function takes them.
fn measure_steps(events: &[Box<RawValue>]) {
    let mut spent = [Duration::ZERO; 5];
    for event in events {
        let mut step = 0;
        let mut measure = |work: &mut dyn FnMut()| {
            let before = own_cpu();
            work();
            *spent.get_mut(step).unwrap() += own_cpu().saturating_sub(before);
            step += 1;
        };
        let mut batch = KafkaEvent::default();
        measure(&mut || batch = KafkaEvent::read(event).unwrap());
        let records = || batch.partitions.values().flatten();
        let mut buffer = Vec::new();
        measure(&mut || records().for_each(|record| assert!(black_box(record.value(&mut buffer)).is_ok())));
        let values: Vec<Vec<u8>> =
            records().map(|record| record.value(&mut buffer).unwrap().unwrap().to_vec()).collect();
        let mut probes: Vec<Probe> = Vec::with_capacity(values.len());
        measure(&mut || {
            for value in &values {
                if let Record::Probe(probe) = record::decode(value).unwrap() {
                    probes.push(probe);
                }
            }
        });
        measure(&mut || fold(&probes));
        measure(&mut || values.iter().for_each(|value| drop(black_box(record::parsed(value).unwrap()))));
    }
    let [envelope, base64, json, fold, parsed] = spent;
    for (step, cpu) in [("envelope", envelope), ("base64", base64), ("JSON", json), ("fold", fold)] {
        report(step, cpu, RECORDS);
    }
    report("decode and fold", envelope + base64 + json + fold, RECORDS);
    report("(JSON by the parser, for comparison)", parsed, RECORDS);
}

fn fold(probes: &[Probe]) {
    let mut devices: FxHashMap<Mac, DeviceTally> = FxHashMap::default();
    let mut days: FxHashMap<(Mac, Day), DayTally> = FxHashMap::default();
    let mut ssids: FxHashMap<(Mac, &Ssid), Tally> = FxHashMap::default();
    for probe in probes {
        let mac = probe.source.unwrap();
        devices.entry(mac).or_default().absorb(probe);
        days.entry((mac, Day::of(probe.time))).or_default().absorb(probe);
        if let SsidElement::Named(ssid) = &probe.ssid {
            ssids.entry((mac, ssid)).or_default().absorb(probe);
        }
    }
    black_box((devices, days, ssids));
}

/// The program as it is deployed.
fn measure_function(events: &[Box<RawValue>]) {
    let mut dynamodb = Command::new(std::env::current_exe().unwrap())
        .arg("dynamodb")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut endpoint = String::new();
    BufReader::new(dynamodb.stdout.take().unwrap()).read_line(&mut endpoint).unwrap();
    let mut function = Function::start(
        &release_binary("aggregate"),
        &[
            ("AWS_ENDPOINT_URL", endpoint.trim()),
            ("AWS_REGION", "eu-west-2"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("TABLE_NAME", TABLE),
            ("CONSUMER_GROUP", "aggregate"),
        ],
        Stdio::piped(),
    );
    let mut stdout = function.stdout();
    let idle = rss_kib(function.id());

    let mut run = |events: &mut dyn Iterator<Item = &Box<RawValue>>| {
        let mut effort = Effort::default();
        let before = (Instant::now(), cpu_of(function.id()), cpu_of(dynamodb.id()));
        for event in events {
            function.invoke(event.get()).unwrap();
            let mut metrics = String::new();
            stdout.read_line(&mut metrics).unwrap();
            let metrics: Value = serde_json::from_str(&metrics).unwrap();
            let count = |name: &str| metrics.get(name).and_then(Value::as_u64).unwrap();
            effort.records += count("RecordsFolded");
            effort.reads += count("ItemsRead");
            effort.writes += count("ItemsWritten");
        }
        effort.wall = before.0.elapsed();
        effort.function = cpu_of(function.id()).saturating_sub(before.1);
        effort.dynamodb = cpu_of(dynamodb.id()).saturating_sub(before.2);
        (effort, rss_kib(function.id()))
    };
    let (first, _) = run(&mut events.iter());
    first.report("the whole function");
    let (again, _) = run(&mut events.iter());
    again.report("the same again");
    assert_eq!(again.writes, 0, "a batch that was absorbed before writes nothing");

    let done = 2 * events.len();
    let (_, at_100) = run(&mut events.iter().cycle().take(100_usize.saturating_sub(done)));
    let (_, at_1000) = run(&mut events.iter().cycle().take(BATCHES - done.max(100)));
    println!("  memory: {idle} KiB idle, {at_100} KiB after 100 full batches, {at_1000} KiB after {BATCHES}");
    dynamodb.kill().unwrap();
    dynamodb.wait().unwrap();
}

#[derive(Default)]
struct Effort {
    records: u64,
    reads: u64,
    writes: u64,
    wall: Duration,
    function: Duration,
    dynamodb: Duration,
}

impl Effort {
    fn report(&self, what: &str) {
        let records = usize::try_from(self.records).unwrap();
        report(what, self.function, records);
        report("  DynamoDB beside it", self.dynamodb, records);
        println!(
            "    {:.2} s; {:.3} items read and {:.3} written a record",
            self.wall.as_secs_f64(),
            self.reads as f64 / self.records as f64,
            self.writes as f64 / self.records as f64
        );
        if self.writes > 0 {
            let an_item = self.function.as_secs_f64() * 1e6 / self.writes as f64;
            println!("    {an_item:.1} µs CPU of the function an item written, all in all");
        }
    }
}

/// The batches of all partitions.
fn events(is_keyed: bool) -> Vec<Box<RawValue>> {
    let mut mapping = Template::read().unwrap().mapping("AggregateBlueMapping").unwrap();
    mapping.filters.clear();
    let now_ms = runtime::clock::now_ms();
    let mut random = fastrand::Rng::with_seed(6);
    let zipf: Vec<f64> = (1..=DEVICES)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        })
        .collect();
    let mut partitions: Vec<Batch> =
        (0_i32..).take(PARTITIONS).map(|partition| Batch::new("pcap", partition, 0)).collect();
    let mut full = Vec::new();
    for number in 0..RECORDS {
        let drawn = random.f64() * zipf.last().unwrap();
        let device = zipf.partition_point(|sum| *sum < drawn);
        let partition = if is_keyed { device % PARTITIONS } else { random.usize(0..PARTITIONS) };
        let batch = partitions.get_mut(partition).unwrap();
        let value = one_record(&mut random, device, now_ms + i64::try_from(number).unwrap() - 1_000_000);
        let record = LogRecord {
            offset: batch.next(),
            timestamp: now_ms,
            timestamp_type: TimestampType::CreateTime,
            headers: Vec::new(),
            key: is_keyed.then(|| b"a4:83:e7:4e:39:15".to_vec()),
            value: Some(value),
        };
        if let Err(record) = batch.take(record, &mapping) {
            let next = Batch::new("pcap", i32::try_from(partition).unwrap(), batch.next());
            full.push(std::mem::replace(batch, next));
            batch.take(record, &mapping).unwrap();
        }
    }
    full.extend(partitions);
    full.iter().map(|batch| batch.event().unwrap()).collect()
}

/// A record in the form of 2020, with the fields that the seed had tshark write.
fn one_record(random: &mut fastrand::Rng, device: usize, time: i64) -> Vec<u8> {
    let low = u16::try_from(device).unwrap().to_be_bytes();
    let mac = Mac::new([0xa4, 0x83, 0xe7, 0, low[0], low[1]]);
    let ssid = match random.usize(0..5) {
        0 | 1 => String::new(),
        name => format!("Network-{:03}", (device * 7 + name) % 500),
    };
    let all = "ff:ff:ff:ff:ff:ff";
    let mut record = format!(
        r#"{{"timestamp":"{time}","wlan_fc_type":["0"],"wlan_fc_type_subtype":["4"],"wlan_radio_channel":["{}"],"wlan_radio_signal_dbm":["{}"],"wlan_radio_duration":["{}"],"wlan_ra":["{all}"],"wlan_ra_resolved":["Broadcast"],"wlan_da":["{all}"],"wlan_da_resolved":["Broadcast"],"wlan_ta":["{mac}"],"wlan_ta_resolved":["{mac}"],"wlan_sa":["{mac}"],"wlan_sa_resolved":["{mac}"],"wlan_bssid":["{all}"],"wlan_ssid":["{ssid}"],"wlan_tag_vendor_data":[""#,
        random.choice([1, 6, 11]).unwrap(),
        random.i8(-90..-30),
        random.u16(400..2000),
    );
    let filling = RECORD_BYTES.saturating_sub(record.len() + 3);
    record.extend(std::iter::repeat_with(|| random.digit(16)).take(filling));
    record.push_str("\"]}");
    assert_eq!(record.len(), RECORD_BYTES);
    record.into_bytes()
}

/// A DynamoDB with our table, in memory, on loopback: this program as its own child.
fn serve_dynamodb() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("http://{}", listener.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        let database = dynoxide::Database::memory().unwrap();
        let (table, _ttl) = Template::read().unwrap().table(TABLE).unwrap();
        database.create_table(serde_json::from_value(table).unwrap()).unwrap();
        dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()).await.unwrap();
    });
}

/// A function as `make build` leaves it, beside this program.
fn release_binary(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join(name);
    assert!(path.is_file(), "{} is missing: run `make build` first", path.display());
    path
}

/// User and system time of this process.
fn own_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    [usage.user_time(), usage.system_time()]
        .into_iter()
        .map(|time| Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap()))
        .sum()
}

/// User and system time of a process: proc_pid_stat(5), fields 14 and 15, in hundredths of a second.
fn cpu_of(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
    Duration::from_millis(fields.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

fn rss_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn report(step: &str, cpu: Duration, records: usize) {
    println!(
        "  {step:38} {:>7.0} ns CPU a record, {:>10.0} records/CPU s",
        cpu.as_nanos() as f64 / records as f64,
        records as f64 / cpu.as_secs_f64().max(1e-9)
    );
}
