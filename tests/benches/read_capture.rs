//! How fast the agent reads a capture file, beside the fastest there is: libpcap's loop that looks at nothing.
//!
//! The file has 1,000,000 frames, 200,000 of them probe requests. CPU seconds are user and system, of all threads; the goal is at
//! least half of libpcap's rate, within 30 MB of memory.
//!
//! The agent is the optimised one. The loop is built with the tests: its own few instructions cost a tenth of libpcap's time there.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a benchmark's way to fail and to tell

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use probegram_tests::frames::{self, FRAMES};
use probegram_tests::process::release_binary;

const RUNS: usize = 5;

fn main() {
    // cargo test runs benchmarks too, without this
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let agent = release_binary("capture-agent");
    let capture = frames::million();
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
