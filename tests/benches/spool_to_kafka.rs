//! How fast a capture file goes through the agent's spool to a real Kafka, beside the seed's `tshark | jq | kcat`.
//!
//! The same file and the same broker for both, one after the other. The time is that of the whole command, from its start to
//! its end by itself: the agent's until Kafka has acknowledged the last record. Then the agent once more to a broker that wants TLS and
//! a login by SCRAM-SHA-512, as the clouds do.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a benchmark's way to fail and to tell

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use probegram_tests::frames::{self, FRAMES};
use probegram_tests::kafka::Kafka;
use probegram_tests::process::release_binary;
use probegram_tests::secured_kafka::{Listener, PASSWORD, SecuredKafka, WRITER};
use tempfile::TempDir;

const RUNS: usize = 3;
const GOAL: f64 = 50.0;
/// Probe records per second over TLS.
const SECURED_GOAL: f64 = 100_000.0;

/// The seed's pipeline (its article, "streaming captured packets to Kafka"), reading a file and without the cloud's login.
const SEED: &str = "tshark -r \"$CAPTURE\" -T ek -l -e wlan.fc.type -e wlan.fc.type_subtype -e wlan_radio.channel \
    -e wlan_radio.signal_dbm -e wlan_radio.duration -e wlan.ra -e wlan.ra_resolved -e wlan.da -e wlan.da_resolved \
    -e wlan.ta -e wlan.ta_resolved -e wlan.sa -e wlan.sa_resolved -e wlan.staa -e wlan.staa_resolved -e wlan.tagged.all \
    -e wlan.tag.vendor.data -e wlan.tag.vendor.oui.type -e wlan.tag.oui -e wlan.ssid -e wlan.country_info.code \
    -e wps.device_name 2>/dev/null | grep timestamp | jq -c '{timestamp: .timestamp} + .layers' \
    | kcat -P -b \"$BOOTSTRAP_SERVERS\" -t seed";

fn main() {
    // cargo test runs benchmarks too, without this
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let agent = release_binary("capture-agent");
    let Some(kafka) = Kafka::start() else { return };
    let capture = frames::million();
    println!("{FRAMES} frames, {} probe requests", FRAMES / 5);
    let servers = kafka.bootstrap_servers();
    let times: Vec<Duration> =
        (0..RUNS).map(|run| through_the_spool(&agent, &capture, &kafka, &servers, "", run)).collect();
    let best = times.iter().min().unwrap();
    for time in &times {
        println!("capture-agent --read --spool --bootstrap-servers: {}", rate(*time));
    }
    let Some(missing) = ["tshark", "jq", "kcat"].into_iter().find(|program| !is_there(program)) else {
        let seed = seed(&capture, &kafka);
        println!("tshark | jq | kcat: {}", rate(seed));
        let factor = seed.as_secs_f64() / best.as_secs_f64();
        println!("the agent is {factor:.0} times as fast as the seed (goal: {GOAL})");
        drop(kafka);
        return secured(&agent, &capture);
    };
    println!("no comparison with the seed: {missing} is missing, `apt-get install {missing}`");
    drop(kafka);
    secured(&agent, &capture);
}

fn secured(agent: &Path, capture: &Path) {
    let Some(broker) = SecuredKafka::start() else { return };
    let (servers, login) =
        (broker.address(Listener::SaslTls), broker.login("SCRAM-SHA-512", WRITER, PASSWORD));
    let times: Vec<Duration> = (0..RUNS)
        .map(|run| through_the_spool(agent, capture, broker.kafka(), &servers, &login, run))
        .collect();
    for time in &times {
        println!("the same by TLS and SCRAM-SHA-512: {}", rate(*time));
    }
    let best = f64::from(FRAMES / 5) / times.iter().min().unwrap().as_secs_f64();
    println!("at best {best:.0} probe records per second by TLS and SCRAM-SHA-512 (goal: {SECURED_GOAL:.0})");
}

fn through_the_spool(
    agent: &Path,
    capture: &Path,
    kafka: &Kafka,
    servers: &str,
    settings: &str,
    run: usize,
) -> Duration {
    let topic = format!("agent-{run}");
    kafka.create_topic(&topic, 4);
    let spool = TempDir::new().unwrap();
    let mut command = Command::new(agent);
    command.arg("--read").arg(capture).arg("--spool").arg(spool.path());
    let properties = spool.path().join("kafka.properties");
    fs::write(&properties, settings).unwrap();
    command.args(["--log", "warn", "--bootstrap-servers", servers, "--topic", &topic]);
    command.arg("--kafka-config").arg(properties);
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).status().unwrap();
    let time = began.elapsed();
    assert!(status.success());
    assert_eq!(kafka.read_all(&topic).len(), usize::try_from(FRAMES / 5).unwrap());
    time
}

fn seed(capture: &Path, kafka: &Kafka) -> Duration {
    kafka.create_topic("seed", 4);
    let began = Instant::now();
    let status = Command::new("sh")
        .args(["-c", SEED])
        .env("CAPTURE", capture)
        .env("BOOTSTRAP_SERVERS", kafka.bootstrap_servers())
        .stdin(Stdio::null())
        .status()
        .unwrap();
    let time = began.elapsed();
    assert!(status.success());
    time
}

fn rate(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    format!("{:.0} frames per second ({seconds:.2} s)", f64::from(FRAMES) / seconds)
}

fn is_there(program: &str) -> bool {
    // what it answers does not matter: kcat knows no --version
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
