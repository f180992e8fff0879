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
    const FILES: u16 = 40;
    const FRAMES: u16 = 1_500;
    let directory = TempDir::new().unwrap();
    let captures: Vec<PathBuf> = (0..FILES).map(|number| capture(directory.path(), number, FRAMES)).collect();
    let (disturbed, undisturbed) = (TempDir::new().unwrap(), TempDir::new().unwrap());

    let mut random = Rng::with_seed(2020);
    let mut kills = HashMap::from([("agent", 0), ("local", 0), ("local before it was ready", 0)]);
    let start = || Running::start(local::command(["--data"]).arg(disturbed.path()));
    let mut host = start();
    for (number, capture) in (1..).zip(&captures) {
        let records = number * i64::from(FRAMES);
        let into_spool = |directory: &TempDir| {
            let mut agent = agent(capture);
            agent.arg("--spool").arg(directory.path());
            agent
        };
        while kills.values().sum::<u32>() < 50 {
            let mut agent = Running::start(&mut into_spool(&disturbed));
            thread::sleep(Duration::from_millis(random.u64(..120)));
            if random.u8(..3) == 0 {
                let was_ready = host.stdout().starts_with("ready ");
                assert!(host.exit_status().is_none(), "{}", host.stderr());
                host.kill();
                *kills.get_mut(if was_ready { "local" } else { "local before it was ready" }).unwrap() += 1;
                host = start();
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

    let feed = agent(&captures[0]).args(["--output", "-"]).output().unwrap().stdout;
    let (macs, ssids) = heard_in(std::str::from_utf8(&feed).unwrap());
    let end = i64::from(FILES) * i64::from(FRAMES) + 1;
    let told = [&disturbed, &undisturbed].map(|data| {
        let local = Local::in_directory(data.path());
        local.wait_until_caught_up(end);
        what_is_told(&local, &macs, &ssids)
    });
    assert_eq!(told[0], told[1]);
}
