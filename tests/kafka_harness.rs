//! The harness itself: what other tests build on must hold.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use probegram_tests::kafka::{Kafka, Record};
use probegram_tests::process::{Running, Signal};

fn values(records: &[Record]) -> BTreeSet<&[u8]> {
    records.iter().filter_map(|record| record.value.as_deref()).collect()
}

#[test]
fn records_without_a_key_spread_survive_a_kill_and_end_with_their_topic() {
    let Some(mut kafka) = Kafka::start() else { return };
    let lines: Vec<String> = (0..1_000).map(|number| format!("line {number}")).collect();
    kafka.create_topic("pcap", 12);
    kafka.produce("pcap", lines.join("\n").as_bytes());

    let records = kafka.read_all("pcap");
    assert_eq!(records.len(), lines.len());
    assert_eq!(values(&records), lines.iter().map(|line| line.as_bytes()).collect());
    assert!(records.iter().all(|record| record.key.is_none()));
    let partitions: BTreeSet<i32> = records.iter().map(|record| record.partition).collect();
    assert_eq!(partitions, (0..12).collect());

    let address = kafka.bootstrap_servers();
    kafka.kill();
    kafka.restart();
    assert_eq!(kafka.bootstrap_servers(), address);
    assert_eq!(kafka.read_all("pcap"), records);

    kafka.delete_topic("pcap");
    kafka.create_topic("pcap", 1);
    assert_eq!(kafka.read_all("pcap"), []);
    kafka.produce("pcap", b"first\n");
    let read = kafka.read_all("pcap");
    let first = Record {
        partition: 0,
        offset: 0,
        timestamp: read[0].timestamp,
        key: None,
        value: Some(b"first".to_vec()),
    };
    assert_eq!(read, [first]);
}

#[test]
fn two_brokers_run_side_by_side() {
    let (Some(one), Some(other)) = (Kafka::start(), Kafka::start()) else { return };
    one.create_topic("pcap", 1);
    other.create_topic("pcap", 1);
    one.produce("pcap", b"here\n");
    assert_eq!(one.read_all("pcap").len(), 1);
    assert_eq!(other.read_all("pcap"), []);
}

#[test]
fn a_line_is_waited_for_until_it_is_whole() {
    let script = "printf 'rea'; printf 'dy http://127.0.0.1:80'; sleep 0.1; echo 80; exec sleep 600";
    let mut program = Running::start(Command::new("sh").args(["-c", script]));
    assert_eq!(program.wait_for_line("ready "), "http://127.0.0.1:8080");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.wait(Duration::from_secs(60)).code(), None);
}

#[test]
#[should_panic(expected = "ended with exit status: 3")]
fn a_program_that_ends_without_the_line_says_why() {
    Running::start(Command::new("sh").args(["-c", "echo no >&2; exit 3"])).wait_for_line("ready ");
}

#[test]
fn a_program_is_gone_with_its_guard() {
    let mut program = Running::start(Command::new("sleep").arg("600"));
    let id = program.id().to_string();
    assert!(program.exit_status().is_none());
    drop(program);
    assert!(!Command::new("kill").args(["-0", &id]).output().unwrap().status.success());
}
