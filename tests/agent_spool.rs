//! The agent as people run it: files and standard input into the spool and on to Kafka, killed, stopped, full and refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test's way to fail

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use capture_agent::spool::{PCAP, Retention, Spool, SpoolReader, SpoolRecord, WhenFull};
use probegram_tests::frames::{other, pcap, probe_request, radiotap, with_fcs};
use probegram_tests::kafka::Kafka;
use probegram_tests::process::{Running, Signal, binary};
use probegram_tests::until;
use tempfile::TempDir;

const RADIOTAP: u32 = 127;
/// Bounds a hang, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

fn agent() -> Command {
    let mut agent = Command::new(binary("capture-agent"));
    agent.args(["--sensor", "test"]).env_remove("RUST_LOG");
    agent
}

/// A capture of so many frames, every second one a probe request, no two alike.
fn capture(directory: &TempDir, frames: u32) -> PathBuf {
    let beacon = radiotap(-60, &with_fcs(other(0x80, 120)));
    let frames: Vec<Vec<u8>> = (0..frames)
        .map(|number| {
            if number % 2 == 1 {
                return beacon.clone();
            }
            let [_, a, b, c] = number.to_be_bytes();
            let ssid = format!("network {}", number % 7);
            let sequence = u16::try_from(number % 4096).unwrap();
            radiotap(-50, &with_fcs(probe_request([0xa4, 0x83, 0xe7, a, b, c], ssid.as_bytes(), sequence)))
        })
        .collect();
    let path = directory.path().join("capture.pcap");
    fs::write(&path, pcap(RADIOTAP, &frames)).unwrap();
    path
}

fn lines(files: &[&Path]) -> Vec<Vec<u8>> {
    let output = agent().args(["--output", "-", "--read"]).args(files).output().unwrap();
    output.stdout.split_inclusive(|&byte| byte == b'\n').map(|line| line[..line.len() - 1].to_vec()).collect()
}

fn import(capture: &Path, spool: &Path) -> Command {
    let mut import = agent();
    import.arg("--read").arg(capture).arg("--spool").arg(spool);
    import
}

fn records(spool: &Path) -> Vec<SpoolRecord> {
    let Some(reader) = SpoolReader::open_read_only(spool).unwrap() else { return Vec::new() };
    reader.read(PCAP, 0, usize::try_from(i64::MAX).unwrap(), usize::MAX).unwrap()
}

fn values(spool: &Path) -> Vec<Vec<u8>> {
    records(spool).into_iter().map(|record| record.value).collect()
}

/// Says where two feeds part, and not all they hold.
fn assert_same(found: &[Vec<u8>], expected: &[Vec<u8>]) {
    let parted = found.iter().zip(expected).position(|(found, expected)| found != expected);
    let from = parted.and_then(|place| expected.iter().position(|line| *line == found[place]));
    assert!(
        found.len() == expected.len() && parted.is_none(),
        "{} records, not {}; from {parted:?} on those from {from:?}",
        found.len(),
        expected.len()
    );
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command again and again and kills it at random moments until it ends by itself. What was seen after each kill.
fn kill_until_done<T>(
    seed: u64,
    longest: Duration,
    mut command: impl FnMut() -> Command,
    mut seen: impl FnMut() -> T,
) -> Vec<T> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kills = Vec::new();
    // the later, the longer: it surely ends
    for round in 1_u32.. {
        let mut running = Running::start(&mut command());
        let longest = longest * (1 + round / 25);
        thread::sleep(longest.mul_f64(random.f64()));
        let status = running.exit_status().unwrap_or_else(|| running.kill());
        // once it has said what it did, its import has ended, and the same command would count again
        if running.stderr().contains(" probe requests") {
            assert!(status.code().is_none_or(|code| code == 0), "{}", running.stderr());
            break;
        }
        assert_eq!(status.code(), None, "{}", running.stderr());
        kills.push(seen());
    }
    kills
}

#[test]
fn an_import_that_is_killed_again_and_again_gives_what_an_undisturbed_one_gives() {
    let directory = TempDir::new().unwrap();
    let (capture, spool) = (capture(&directory, 150_000), directory.path().join("spool"));
    let kills =
        kill_until_done(1, Duration::from_millis(300), || import(&capture, &spool), || records(&spool).len());
    assert!(
        kills.iter().any(|&records| 0 < records && records < 100_000),
        "no kill hit the middle: {kills:?}"
    );
    assert_same(&values(&spool), &lines(&[&capture]));
}

#[test]
fn an_import_of_several_files_goes_on_where_it_was_and_counts_again_only_when_begun_again() {
    let directory = TempDir::new().unwrap();
    let (capture, spool) = (capture(&directory, 60_000), directory.path().join("spool"));
    let twice = || {
        let mut twice = agent();
        twice.arg("--read").args([&capture, &capture]).arg("--spool").arg(&spool);
        twice
    };
    kill_until_done(2, Duration::from_millis(150), twice, || ());
    let expected = lines(&[&capture, &capture]);
    assert_same(&values(&spool), &expected);
    assert!(twice().output().unwrap().status.success());
    assert_eq!(values(&spool).len(), expected.len() * 2);
}

#[test]
fn a_file_that_changed_since_its_import_was_interrupted_is_read_from_its_beginning() {
    let directory = TempDir::new().unwrap();
    let (capture, spool) = (capture(&directory, 120_000), directory.path().join("spool"));
    let full = import(&capture, &spool).args(["--spool-bytes", "16MiB"]).output().unwrap();
    assert_eq!(full.status.code(), Some(1), "{}", stderr(&full));
    let taken = values(&spool).len();
    let shorter = pcap(RADIOTAP, &[radiotap(-50, &with_fcs(probe_request([2; 6], b"new", 1)))]);
    fs::write(&capture, shorter).unwrap();
    let changed = import(&capture, &spool).output().unwrap();
    assert!(changed.status.success(), "{}", stderr(&changed));
    assert!(stderr(&changed).contains("has changed"), "{}", stderr(&changed));
    assert_eq!(values(&spool).len(), taken + 1);
}

#[test]
fn a_full_spool_stops_an_import_and_more_room_lets_it_go_on() {
    let directory = TempDir::new().unwrap();
    let (capture, spool) = (capture(&directory, 120_000), directory.path().join("spool"));
    let full = import(&capture, &spool).args(["--spool-bytes", "16MiB"]).output().unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(stderr(&full).contains("raise --spool-bytes"), "{}", stderr(&full));
    let taken = values(&spool).len();
    assert!(0 < taken && taken < 60_000, "{taken}");
    let done = import(&capture, &spool).output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    assert_same(&values(&spool), &lines(&[&capture]));
}

#[test]
fn a_second_agent_on_a_spool_is_turned_away() {
    let directory = TempDir::new().unwrap();
    let capture = capture(&directory, 10);
    let spool = directory.path().join("spool");
    let retention = Retention {
        bytes: Retention::LEAST_BYTES,
        age: Duration::from_secs(1_000_000),
        when_full: WhenFull::Refuse,
    };
    let first = Spool::open(&spool, retention).unwrap();
    let second = import(&capture, &spool).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("in use by another capture-agent"), "{}", stderr(&second));
    drop(first);
    assert!(import(&capture, &spool).output().unwrap().status.success());
}

#[test]
fn a_cut_file_gives_what_was_before_the_cut_and_is_told_by_its_frame() {
    let directory = TempDir::new().unwrap();
    let capture = capture(&directory, 100);
    let whole = lines(&[&capture]);
    let bytes = fs::read(&capture).unwrap();
    fs::write(&capture, &bytes[..bytes.len() / 2]).unwrap();
    let printed = agent().args(["--output", "-", "--read"]).arg(&capture).output().unwrap();
    assert_eq!(printed.status.code(), Some(2));
    let cut = lines(&[&capture]);
    assert!(!cut.is_empty() && whole.starts_with(&cut));
    let spool = directory.path().join("spool");
    let kept = import(&capture, &spool).output().unwrap();
    assert_eq!(kept.status.code(), Some(2));
    assert_eq!(values(&spool), cut);
    for output in [printed, kept] {
        let told: Vec<String> =
            stderr(&output).lines().filter(|line| line.contains("damaged")).map(str::to_owned).collect();
        assert_eq!(told.len(), 1, "{}", stderr(&output));
        assert!(told[0].contains("capture.pcap") && told[0].contains("at frame "), "{}", told[0]);
    }
    let again = import(&capture, &spool).output().unwrap();
    assert_eq!((again.status.code(), values(&spool).len()), (Some(2), cut.len() * 2), "its import had ended");
}

#[test]
fn what_is_no_capture_is_said_and_the_next_file_is_read() {
    let directory = TempDir::new().unwrap();
    let capture = capture(&directory, 10);
    let nothing = directory.path().join("nothing");
    let text = directory.path().join("text");
    fs::write(&text, "not a capture at all, whatever its name").unwrap();
    let output = agent()
        .args(["--output", "-", "--read"])
        .args([&nothing, &text, &directory.path().to_owned(), &capture])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout.iter().filter(|&&byte| byte == b'\n').count(), 5);
    assert_eq!(stderr(&output).lines().count(), 4, "{}", stderr(&output));
}

#[test]
fn a_closed_pipe_ends_the_agent_quietly() {
    let directory = TempDir::new().unwrap();
    let capture = capture(&directory, 20_000);
    let mut running = agent()
        .args(["--output", "-", "--read"])
        .arg(&capture)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn an_output_that_is_one_of_the_inputs_is_refused_before_it_is_emptied() {
    let directory = TempDir::new().unwrap();
    let capture = capture(&directory, 10);
    let before = fs::read(&capture).unwrap();
    let refused = agent().arg("--read").arg(&capture).arg("--output").arg(&capture).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(fs::read(&capture).unwrap(), before);
}

#[test]
fn a_capture_that_still_goes_on_is_neither_held_back_nor_lost_when_the_agent_is_stopped() {
    let directory = TempDir::new().unwrap();
    let capture = fs::read(capture(&directory, 101)).unwrap();
    let spool = directory.path().join("spool");
    let mut spooling = import(Path::new("-"), &spool).stdin(Stdio::piped()).spawn().unwrap();
    let mut printing = agent()
        .args(["--read", "-", "--output", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut spooled, mut printed) = (spooling.stdin.take().unwrap(), printing.stdin.take().unwrap());
    spooled.write_all(&capture).unwrap();
    printed.write_all(&capture).unwrap();
    until(PATIENCE, "51 records", || (records(&spool).len() == 51).then_some(()));
    let mut lines = BufReader::new(printing.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().take(51).all(|line| line.is_ok()));
    drop(printed);
    assert!(printing.wait().unwrap().success());

    // its standard input stays open and gives nothing
    let signalled = Command::new("kill").args(["-TERM", &spooling.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    assert_eq!(spooling.wait().unwrap().code(), Some(1));
    drop(spooled);
    assert_eq!(records(&spool).len(), 51);
}

#[test]
fn an_interface_that_gives_no_802_11_is_refused_with_what_to_do() {
    let directory = TempDir::new().unwrap();
    let output = agent().args(["--interface", "lo", "--spool"]).arg(directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    // the latter where the test may not capture at all
    assert!(
        stderr(&output).contains("--set-monitor") || stderr(&output).contains("setcap"),
        "{}",
        stderr(&output)
    );
}

/// How often each value is in the topic.
fn copies(kafka: &Kafka, topic: &str) -> HashMap<Vec<u8>, usize> {
    let mut copies = HashMap::new();
    for record in kafka.read_all(topic) {
        *copies.entry(record.value.unwrap()).or_default() += 1;
    }
    copies
}

#[test]
fn kafka_gets_every_record_keyed_by_its_source_and_once_even_when_it_dies_meanwhile() {
    let Some(mut kafka) = Kafka::start() else { return };
    kafka.create_topic("pcap", 4);
    let directory = TempDir::new().unwrap();
    let (capture, spool) = (capture(&directory, 150_000), directory.path().join("spool"));
    let send = || {
        let mut send = import(&capture, &spool);
        // far less room than there are records: the import has to wait for Kafka
        send.args(["--spool-bytes", "16MiB", "--bootstrap-servers", &kafka.bootstrap_servers()]);
        send
    };
    let mut sending = Running::start(&mut send());
    until(PATIENCE, "the first acknowledged records", || {
        let reader = SpoolReader::open_read_only(&spool).ok()??;
        (reader.acknowledged(PCAP).ok()? > 0).then_some(())
    });
    kafka.kill();
    kafka.restart();
    assert_eq!(sending.wait(PATIENCE).code(), Some(0), "{}", sending.stderr());
    assert_eq!(sending.stdout(), "");

    let copies = copies(&kafka, "pcap");
    let expected = lines(&[&capture]);
    assert!(expected.iter().all(|line| copies.get(line) == Some(&1)), "{}", sending.stderr());
    assert_eq!(copies.len(), expected.len());
    let by_key =
        kafka.read_all("pcap").into_iter().map(|record| (record.key, record.value, record.partition));
    for (key, value, _partition) in by_key.take(1_000) {
        let text = String::from_utf8(value.unwrap()).unwrap();
        let source = format!("\"wlan_sa\":[\"{}\"]", String::from_utf8(key.unwrap()).unwrap());
        assert!(text.contains(&source), "{source} {text}");
    }
}

#[test]
fn an_agent_that_is_killed_doubles_at_most_what_was_not_acknowledged_and_misses_nothing() {
    let Some(kafka) = Kafka::start() else { return };
    kafka.create_topic("pcap", 4);
    let directory = TempDir::new().unwrap();
    let (capture, spool) = (capture(&directory, 100_000), directory.path().join("spool"));
    let send = || {
        let mut send = import(&capture, &spool);
        send.args(["--bootstrap-servers", &kafka.bootstrap_servers()]);
        send
    };
    let unacknowledged = kill_until_done(3, Duration::from_millis(400), send, || {
        let reader = SpoolReader::open_read_only(&spool).unwrap();
        reader.map_or(0..0, |reader| reader.acknowledged(PCAP).unwrap() + 1..reader.end(PCAP).unwrap())
    });
    let copies = copies(&kafka, "pcap");
    let records = records(&spool);
    assert_same(&values(&spool), &lines(&[&capture]));
    assert_eq!(copies.len(), records.len(), "missing or made up");
    for record in records {
        let most = 1 + unacknowledged.iter().filter(|unknown| unknown.contains(&record.offset)).count();
        let found = copies[&record.value];
        assert!((1..=most).contains(&found), "offset {}: {found} times, not 1 to {most}", record.offset);
    }
}

#[test]
fn a_stopped_agent_keeps_the_rest_in_the_spool_and_a_topic_that_comes_later_is_found() {
    let Some(kafka) = Kafka::start() else { return };
    let directory = TempDir::new().unwrap();
    let (capture, spool) = (capture(&directory, 2_000), directory.path().join("spool"));
    let send = || {
        let mut send = import(&capture, &spool);
        send.args(["--bootstrap-servers", &kafka.bootstrap_servers(), "--topic", "late"]);
        send
    };
    let mut sending = Running::start(&mut send());
    until(PATIENCE, "that the topic is missing is said", || {
        sending.stderr().contains("no topic late").then_some(())
    });
    until(PATIENCE, "all in the spool", || (records(&spool).len() == 1_000).then_some(()));
    sending.signal(Signal::SIGTERM);
    assert_eq!(sending.wait(PATIENCE).code(), Some(1));
    assert!(sending.stderr().contains("waits in the spool"), "{}", sending.stderr());

    let mut sending = Running::start(&mut send());
    until(PATIENCE, "that the topic is missing is said", || {
        sending.stderr().contains("no topic late").then_some(())
    });
    kafka.create_topic("late", 1);
    assert_eq!(sending.wait(PATIENCE).code(), Some(0), "{}", sending.stderr());
    assert_eq!(sending.stderr().matches("no topic late").count(), 1, "{}", sending.stderr());
    assert_eq!(kafka.read_all("late").len(), 1_000);
    assert_eq!(records(&spool).len(), 1_000);
}

/// A request that takes longer than its timeout is sent again as it is, so it has to be small enough for the line. Four kilobytes a
/// second and ten seconds for a request are one kilobyte and forty, four times as fast. Nothing times out: what is sent again may come
/// twice.
#[test]
fn over_a_bad_line_everything_arrives_sooner_or_later_and_nothing_is_held_up_by_it() {
    let Some((kafka, line, servers)) = Kafka::behind_a_slow_line() else { return };
    kafka.create_topic("pcap", 1);
    kafka.create_topic("sensors", 1);
    let directory = TempDir::new().unwrap();
    let (capture, spool) = (capture(&directory, 8_000), directory.path().join("spool"));
    line.narrow(4 << 10);
    let mut sending =
        Running::start(import(&capture, &spool).args(["--bootstrap-servers", &servers]).args([
            "-X",
            "socket.timeout.ms=10000",
            "-X",
            "compression.codec=none",
        ]));
    until(PATIENCE, "all in the spool", || (records(&spool).len() == 4_000).then_some(()));
    let acknowledged = || SpoolReader::open_read_only(&spool).ok()??.acknowledged(PCAP).ok();
    let some = until(PATIENCE, "some records with Kafka", || acknowledged().filter(|offset| *offset > 0));
    until(PATIENCE, "more of them", || acknowledged().filter(|offset| *offset > some));
    assert!(acknowledged() < Some(4_000), "the line was not narrow");
    assert_eq!(sending.stderr().matches(" WARN ").count(), 0, "{}", sending.stderr());
    line.widen();
    assert_eq!(sending.wait(PATIENCE).code(), Some(0), "{}", sending.stderr());
    let copies = copies(&kafka, "pcap");
    assert_same(&values(&spool), &lines(&[&capture]));
    assert!(values(&spool).iter().all(|value| copies.get(value) == Some(&1)), "{}", sending.stderr());
    assert_eq!(copies.len(), 4_000);
}
