//! Killed at any moment, the programs go on as if nothing had happened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use capture_agent::spool::{PCAP, Retention, Spool, SpoolReader, WhenFull};
use domain::{Mac, Ssid};
use fastrand::Rng;
use probegram_tests::frames::{pcap, probe_request, radiotap, with_fcs};
use probegram_tests::kafka::Kafka;
use probegram_tests::local::{self, Answer, Local, heard_in};
use probegram_tests::process::{Running, binary};
use tempfile::TempDir;

const RADIOTAP: u32 = 127;
/// Bounds a hang, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

/// A capture of so many probe requests of 12 devices, no two alike. Files of different `number` are of different times.
fn capture(directory: &Path, number: u16, frames: u16) -> PathBuf {
    let mut random = Rng::with_seed(number.into());
    let frames: Vec<_> = (0..frames)
        .map(|frame| {
            let ssid: &[u8] = [&b""[..], b"RNM0", b"FULLERS", b"caf\xe9"][random.usize(..4)];
            // the last bytes of the address and the sequence number tell the frame from all others
            let mac = [0xa4, 0x83, 0xe7, 0, 0, random.u8(..12)];
            radiotap(random.i8(-90..-30), &with_fcs(probe_request(mac, ssid, frame % 4096)))
        })
        .collect();
    let path = directory.join(format!("{number}.pcap"));
    fs::write(&path, pcap(RADIOTAP, &frames)).unwrap();
    path
}

fn agent(capture: &Path) -> Command {
    let mut agent = Command::new(binary("capture-agent"));
    agent.args(["--sensor", "hallway", "--read"]).arg(capture).env_remove("RUST_LOG");
    agent
}

fn finish(command: &mut Command) {
    let mut agent = Running::start(command);
    assert!(agent.wait(PATIENCE).success(), "{}", agent.stderr());
}

/// Whether a killed import had come to its end: then nobody would begin it again.
fn is_imported(spool: &Path, capture: &Path, records: i64) -> bool {
    let Some(reader) = SpoolReader::open_read_only(spool).unwrap() else { return false };
    if reader.end(PCAP).unwrap() <= records {
        return false;
    }
    drop(reader);
    let day = Duration::from_secs(24 * 60 * 60);
    let spool =
        Spool::open(spool, Retention { bytes: 1 << 30, age: day, when_full: WhenFull::Refuse }).unwrap();
    let path = fs::canonicalize(capture).unwrap();
    spool.import_position(path.as_os_str().as_bytes(), 0).unwrap().is_none()
}

fn what_is_told(local: &Local, macs: &BTreeSet<Mac>, ssids: &BTreeSet<Ssid>) -> Vec<Answer> {
    let answers = [local.devices(macs), local.ssids(ssids)].concat();
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    answers
}

#[test]
fn fifty_kills_between_capture_and_table_change_no_answer() {
    const FRAMES: u16 = 1_500;
    let directory = TempDir::new().unwrap();
    let (disturbed, undisturbed) = (TempDir::new().unwrap(), TempDir::new().unwrap());

    let mut random = Rng::with_seed(2020);
    let mut kills = HashMap::from([("agent", 0), ("local", 0), ("local before it was ready", 0)]);
    let start = || Running::start(local::command(["--data"]).arg(disturbed.path()));
    let mut host = start();
    let mut files = 0;
    // so many files at most: whoever is quick enough takes many in before a kill comes
    while kills.values().sum::<u32>() < 50 && files < 400 {
        let capture = &capture(directory.path(), files, FRAMES);
        files += 1;
        let records = i64::from(files) * i64::from(FRAMES);
        let into_spool = |directory: &TempDir| {
            let mut agent = agent(capture);
            agent.arg("--spool").arg(directory.path());
            agent
        };
        while kills.values().sum::<u32>() < 50 {
            let mut agent = Running::start(&mut into_spool(&disturbed));
            thread::sleep(Duration::from_millis(random.u64(..80)));
            while random.u8(..3) == 0 {
                let was_ready = host.stdout().starts_with("ready ");
                assert!(host.exit_status().is_none(), "{}", host.stderr());
                host.kill();
                *kills.get_mut(if was_ready { "local" } else { "local before it was ready" }).unwrap() += 1;
                host = start();
                thread::sleep(Duration::from_millis(random.u64(..60)));
            }
            let ended = agent.exit_status();
            agent.kill();
            match ended {
                Some(status) => assert!(status.success(), "{}", agent.stderr()),
                None => *kills.get_mut("agent").unwrap() += 1,
            }
            if ended.is_some() || is_imported(disturbed.path(), capture, records) {
                break;
            }
        }
        if !is_imported(disturbed.path(), capture, records) {
            finish(&mut into_spool(&disturbed));
        }
        finish(&mut into_spool(&undisturbed));
    }
    eprintln!("kills: {kills:?}");
    assert!(
        kills.values().sum::<u32>() >= 50,
        "the captures were taken in before there were enough kills: {kills:?}"
    );
    assert!(kills["agent"] >= 10 && kills["local"] >= 5, "{kills:?}");
    host.kill();

    let first = directory.path().join("0.pcap");
    let feed = agent(&first).args(["--output", "-"]).output().unwrap().stdout;
    let (macs, ssids) = heard_in(std::str::from_utf8(&feed).unwrap());
    let end = i64::from(files) * i64::from(FRAMES) + 1;
    let told = [&disturbed, &undisturbed].map(|data| {
        let local = Local::in_directory(data.path());
        local.wait_until_caught_up(end);
        what_is_told(&local, &macs, &ssids)
    });
    assert_eq!(told[0], told[1]);
}

#[test]
fn with_kafka_between_nothing_is_missing_and_only_what_was_unacknowledged_is_doubled() {
    const FILES: u16 = 20;
    const FRAMES: u16 = 1_000;
    let Some(kafka) = Kafka::start() else { return };
    kafka.create_topic(PCAP, 4);
    let directory = TempDir::new().unwrap();
    let captures: Vec<PathBuf> = (0..FILES).map(|number| capture(directory.path(), number, FRAMES)).collect();
    let (spool, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let servers = kafka.bootstrap_servers();
    let to_kafka = |capture: &Path| {
        let mut agent = agent(capture);
        agent.arg("--spool").arg(spool.path()).args(["--bootstrap-servers", &servers]);
        agent
    };
    let start =
        || Running::start(local::command(["--bootstrap-servers", &servers, "--data"]).arg(data.path()));

    let mut random = Rng::with_seed(2021);
    let (mut kills_of_agent, mut kills_of_host) = (0, 0);
    let mut may_be_doubled: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut host = start();
    for (number, capture) in (1..).zip(&captures) {
        let records = number * i64::from(FRAMES);
        while kills_of_agent + kills_of_host < 30 {
            let mut agent = Running::start(&mut to_kafka(capture));
            thread::sleep(Duration::from_millis(random.u64(..400)));
            if random.bool() {
                assert!(host.exit_status().is_none(), "{}", host.stderr());
                host.kill();
                host = start();
                kills_of_host += 1;
            }
            let ended = agent.exit_status();
            agent.kill();
            if let Some(status) = ended {
                assert!(status.success(), "{}", agent.stderr());
                break;
            }
            kills_of_agent += 1;
            let reader = SpoolReader::open_read_only(spool.path()).unwrap();
            let Some(reader) = reader else { continue }; // killed before there was one
            let acknowledged = reader.acknowledged(PCAP).unwrap();
            for record in reader.read(PCAP, acknowledged, usize::MAX >> 1, usize::MAX).unwrap() {
                *may_be_doubled.entry(record.value).or_default() += 1;
            }
            drop(reader);
            if is_imported(spool.path(), capture, records) {
                break;
            }
        }
        if !is_imported(spool.path(), capture, records) {
            finish(&mut to_kafka(capture));
        }
    }
    eprintln!("kills: {kills_of_agent} of the agent, {kills_of_host} of probegram local");
    assert!(kills_of_agent >= 5 && kills_of_host >= 5, "{kills_of_agent}, {kills_of_host}");
    host.kill();

    let mut times_in_kafka: HashMap<Vec<u8>, usize> = HashMap::new();
    let in_kafka = kafka.read_all(PCAP);
    for record in &in_kafka {
        *times_in_kafka.entry(record.value.clone().unwrap()).or_default() += 1;
    }
    let feed =
        agent(&captures[0]).args(captures[1..].iter()).args(["--output", "-"]).output().unwrap().stdout;
    let feed = String::from_utf8(feed).unwrap();
    let mut times_heard: HashMap<&[u8], usize> = HashMap::new();
    for line in feed.lines() {
        *times_heard.entry(line.as_bytes()).or_default() += 1;
    }
    assert_eq!(times_heard.len(), times_in_kafka.len());
    for (record, heard) in times_heard {
        let found = times_in_kafka.get(record).copied().unwrap_or_default();
        let most = heard + may_be_doubled.get(record).copied().unwrap_or_default();
        assert!((heard..=most).contains(&found), "{found} times, {heard} to {most} are right: {record:?}");
    }

    let (macs, ssids) = heard_in(&feed);
    let mut undisturbed = local::command(["--in-memory", "--bootstrap-servers", &servers]);
    let mut disturbed = local::command(["--bootstrap-servers", &servers, "--data"]);
    let told = [&mut undisturbed, disturbed.arg(data.path())].map(|command| {
        let local = Local::start(command);
        local.wait_until_caught_up(i64::try_from(in_kafka.len()).unwrap());
        what_is_told(&local, &macs, &ssids)
    });
    assert_eq!(told[0], told[1]);
}
