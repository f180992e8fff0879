//! What the agent costs a Raspberry Pi: memory and processor at a flood of frames, at a busy place, and when nothing is heard; while
//! Kafka is away, which is when it has most to keep.
//!
//! The air is a fake radio (root). Longer runs by `PROBEGRAM_SENSOR_SECONDS=600`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)] // as tests

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use capture_agent::spool::{PCAP, SpoolReader};
use probegram_tests::fake_radio::FakeRadio;
use probegram_tests::frames::{probe_request, radiotap, with_fcs};
use probegram_tests::process::{Running, Signal, release_binary};
use probegram_tests::until;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(100);

fn main() {
    // cargo test runs benchmarks too, without this
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seconds =
        std::env::var("PROBEGRAM_SENSOR_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    for frames_a_second in [10_000, 100, 0] {
        run(frames_a_second, Duration::from_secs(seconds));
    }
}

/// So many probe requests a second for a while; all must be in the spool then.
fn run(frames_a_second: usize, duration: Duration) {
    let mut radio = FakeRadio::plug_in().expect("a fake radio");
    let directory = TempDir::new().unwrap();
    let mut agent = Running::start(
        Command::new(release_binary("capture-agent"))
            .args([
                "--interface",
                &radio.interface,
                "--clock",
                "trust",
                "--bootstrap-servers",
                "127.0.0.1:1",
                "--spool",
            ])
            .arg(directory.path())
            .env_remove("RUST_LOG"),
    );
    until(PATIENCE, "the agent", || agent.stderr().contains("listening by").then_some(()));
    let air: Vec<Vec<u8>> = (0..10)
        .map(|device| {
            let ssid = format!("network {device}");
            radiotap(-50, &with_fcs(probe_request([0xa4, 0x83, 0xe7, 0, 0, device], ssid.as_bytes(), 1)))
        })
        .collect();
    let each = frames_a_second / 10 / air.len();
    let before = Usage::of(agent.id());
    let began = Instant::now();
    let mut sent = 0;
    for tick in 1_u32.. {
        for frame in air.iter().filter(|_| each > 0) {
            radio.send(frame, each);
            sent += each;
        }
        let next = TICK * tick;
        if next > duration {
            break;
        }
        thread::sleep(next.saturating_sub(began.elapsed()));
    }
    let took = began.elapsed();
    let after = Usage::of(agent.id());
    let end = || SpoolReader::open_read_only(directory.path()).ok()??.end(PCAP).ok();
    let kept = until(PATIENCE, "all in the spool", || end().filter(|end| *end > sent as i64 || sent == 0));
    agent.signal(Signal::SIGTERM);
    agent.wait(PATIENCE);
    assert!(!agent.stderr().contains("missed by the kernel"), "{}", agent.stderr());
    println!(
        "{frames_a_second} frames/s for {:.0} s, Kafka away: {} MB at most, {:.2} % of one core, {:.0} wake-ups/s, {} records kept",
        took.as_secs_f64(),
        after.peak_kb / 1_024,
        (after.cpu_s - before.cpu_s) / took.as_secs_f64() * 100.0,
        (after.wake_ups - before.wake_ups) as f64 / took.as_secs_f64(),
        kept.saturating_sub(1).max(0),
    );
}

/// What a process has used, by proc(5).
struct Usage {
    peak_kb: u64,
    cpu_s: f64,
    wake_ups: u64,
}

impl Usage {
    fn of(process: u32) -> Self {
        let number = |file: &str, name: &str| -> u64 {
            let text = fs::read_to_string(file).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let of_thread = |thread: &fs::DirEntry| {
            number(&format!("{}/status", thread.path().display()), "voluntary_ctxt_switches:")
        };
        let wake_ups = threads.map(|thread| of_thread(&thread.unwrap())).sum();
        // nanoseconds on a processor, of all threads: the first number of schedstat
        let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let nanoseconds: u64 = threads
            .map(|thread| fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap())
            .map(|text| text.split_whitespace().next().unwrap().parse::<u64>().unwrap())
            .sum();
        let peak_kb = number(&format!("/proc/{process}/status"), "VmHWM:");
        Self { peak_kb, cpu_s: nanoseconds as f64 / 1e9, wake_ups }
    }
}
