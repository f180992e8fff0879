//! How fast the agent reads a capture file, beside the fastest there is: libpcap's loop that looks at nothing.
//!
//! The file has 1,000,000 frames, 200,000 of them probe requests. CPU seconds are user and system, of all threads; the goal is at
//! least half of libpcap's rate, within 30 MB of memory.
//!
//! The agent is the optimised one. The loop is built with the tests: its own few instructions cost a tenth of libpcap's time there.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a benchmark's way to fail and to tell

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use probegram_tests::frames;
use probegram_tests::process::release_binary;

const FRAMES: u32 = 1_000_000;
const RUNS: usize = 5;
const RADIOTAP: u32 = 127;

fn main() {
    // cargo test runs benchmarks too, without this
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let agent = release_binary("capture-agent");
    let capture = capture();
    let bytes = capture.metadata().unwrap().len();
    println!("{FRAMES} frames, {} probe requests, {} MB", FRAMES / 5, bytes / 1_000_000);
    let libpcap = best("libpcap's pcap_next_ex loop", UsageWho::RUSAGE_SELF, || pcap_loop(&capture));
    let agent_time = best("capture-agent --read --output /dev/null", UsageWho::RUSAGE_CHILDREN, || {
        let mut command = Command::new(&agent);
        command.args(["--sensor", "bench", "--output", "/dev/null", "--read"]).arg(&capture);
        assert!(command.stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    });
    println!(
        "the agent reads at {:.2} of libpcap's rate (goal: 0.5)",
        libpcap.as_secs_f64() / agent_time.as_secs_f64()
    );
    // the greatest of all children, of which the agent is the only kind; it counts this process's own before the exec
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    println!(
        "the agent's peak memory: {:.1} MB (goal: 30 MB)",
        f64::from(i32::try_from(peak).unwrap()) / 1024.0
    );
}

/// Runs something a few times and prints the rates. Gives the CPU time of the fastest.
fn best(what: &str, who: UsageWho, mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let before = cpu(&getrusage(who).unwrap());
            run();
            cpu(&getrusage(who).unwrap()) - before
        })
        .collect();
    times.sort();
    let rate = |time: &Duration| f64::from(FRAMES) / time.as_secs_f64() / 1e6;
    let rates: Vec<String> = times.iter().map(|time| format!("{:.2}", rate(time))).collect();
    println!("{what}: {} million frames per CPU second", rates.join(", "));
    *times.first().unwrap()
}

fn cpu(usage: &Usage) -> Duration {
    [usage.user_time(), usage.system_time()].into_iter().map(duration).sum()
}

fn duration(time: TimeVal) -> Duration {
    let microseconds = time.tv_sec() * 1_000_000 + time.tv_usec();
    Duration::from_micros(u64::try_from(microseconds).unwrap())
}

fn pcap_loop(capture: &Path) {
    let mut capture = pcap::Capture::from_file(capture).unwrap();
    let mut frames = 0;
    while capture.next_packet().is_ok() {
        frames += 1;
    }
    assert_eq!(frames, FRAMES);
}

/// The file, the same every time: of five frames one is a probe request, the others are beacons and data of 60 to 300 bytes.
fn capture() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("million-frames.pcap");
    if path.exists() {
        return path;
    }
    let mut random = fastrand::Rng::with_seed(2020);
    // under another name until it is whole
    let unfinished = path.with_extension("unfinished");
    let mut file = BufWriter::new(File::create(&unfinished).unwrap());
    frames::write_pcap_header(&mut file, RADIOTAP).unwrap();
    for number in 0..FRAMES {
        let frame = if number % 5 == 0 {
            let source = [2, random.u8(..), random.u8(..), 0, 0, 1];
            let ssid = &b"a network's name"[..random.usize(0..=16)];
            frames::probe_request(source, ssid, random.u16(0..4096))
        } else {
            frames::other(if random.bool() { 0x80 } else { 0x88 }, random.usize(60..300))
        };
        let frame = frames::radiotap(random.i8(-95..-20), &frames::with_fcs(frame));
        frames::write_pcap_record(&mut file, 1_700_000_000_000_000 + u64::from(number) * 1_000, &frame)
            .unwrap();
    }
    file.flush().unwrap();
    std::fs::rename(&unfinished, &path).unwrap();
    path
}
