//! What `probegram local` promises of Kafka, with a real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use domain::{Mac, SsidElement};
use probegram_tests::kafka::Kafka;
use probegram_tests::local::{self, Local, encoded, fill_spool, probe};
use probegram_tests::process::{Running, Signal};
use probegram_tests::until;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a program may take. It bounds a hang on a busy machine, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

const LAPTOP: Mac = Mac::new([0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15]);
const EVENING: i64 = 1_700_000_000_000;
const MISSING: &str = "there is no such topic yet";

/// Records of the laptop, in lines.
fn feed(records: std::ops::Range<i64>) -> Vec<u8> {
    lines(records).join(&b'\n')
}

fn lines(records: std::ops::Range<i64>) -> Vec<Vec<u8>> {
    records.map(|number| encoded(&probe(LAPTOP, EVENING + number, SsidElement::Wildcard))).collect()
}

fn on(kafka: &Kafka, data: &Path) -> Command {
    let mut command = local::command(["--bootstrap-servers", &kafka.bootstrap_servers(), "--data"]);
    command.arg(data);
    command
}

fn probe_count(local: &Local) -> Value {
    local.json(&format!("/v1/devices/{LAPTOP}"))["probe_count"].clone()
}

fn lives(local: &Local) -> Vec<Value> {
    local.status()["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|partition| partition["life"].clone())
        .collect()
}

fn ends_cleanly(mut local: Local) {
    local.program.signal(Signal::SIGTERM);
    assert_eq!(local.program.wait(PATIENCE).code(), Some(0), "{}", local.program.stderr());
}

#[test]
fn a_topic_that_appears_is_picked_up_and_one_that_is_created_again_is_counted_anew() {
    let Some(kafka) = Kafka::start() else { return };
    let data = TempDir::new().unwrap();
    let local = Local::start(&mut on(&kafka, data.path()));
    until(PATIENCE, "a missing topic to count as caught up", || {
        let status = local.status();
        (status["caught_up"] == true && status["partitions"] == json!([])).then_some(())
    });
    kafka.create_topic("pcap", 3);
    kafka.produce("pcap", &feed(0..60));
    local.wait_until_caught_up(60);
    assert_eq!((probe_count(&local), lives(&local)), (json!(60), vec![json!(1); 3]));

    // created again while it runs, and at once longer than it was
    kafka.delete_topic("pcap");
    kafka.create_topic("pcap", 3);
    kafka.produce("pcap", &feed(1_000..1_300));
    local.wait_until_caught_up(300);
    assert_eq!(
        (probe_count(&local), lives(&local)),
        (json!(360), vec![json!(2); 3]),
        "{}",
        local.program.stderr()
    );
    let stderr = local.program.stderr();
    let said = stderr.lines().filter(|line| line.contains(MISSING) && line.contains("probegram-aggregate"));
    assert_eq!(said.count(), 1, "{stderr}");

    // created again while it is away
    ends_cleanly(local);
    kafka.delete_topic("pcap");
    kafka.create_topic("pcap", 3);
    kafka.produce("pcap", &feed(2_000..2_090));
    let local = Local::start(&mut on(&kafka, data.path()));
    local.wait_until_caught_up(90);
    assert_eq!((probe_count(&local), lives(&local)), (json!(450), vec![json!(3); 3]));
    drop(local);

    // and what was read before is not read into the next life
    let local = Local::start(&mut on(&kafka, data.path()));
    local.wait_until_caught_up(90);
    assert_eq!((probe_count(&local), lives(&local)), (json!(450), vec![json!(3); 3]));
}

#[test]
fn brokers_that_are_away_are_waited_for_and_hold_up_no_end() {
    let Some(mut kafka) = Kafka::start() else { return };
    let (data, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    kafka.create_topic("pcap", 12);
    kafka.produce("pcap", &feed(0..100));
    let local = Local::start(&mut on(&kafka, data.path()));
    local.wait_until_caught_up(100);
    kafka.kill();
    let waiting = Local::start(&mut on(&kafka, other.path()));
    assert_eq!(waiting.status()["caught_up"], false);
    assert_eq!(probe_count(&local), 100);
    ends_cleanly(waiting);

    let waiting = Local::start(&mut on(&kafka, other.path()));
    kafka.restart();
    kafka.produce("pcap", &feed(100..150));
    for local in [&local, &waiting] {
        local.wait_until_caught_up(150);
        assert_eq!(probe_count(local), 150);
    }
    kafka.kill();
    ends_cleanly(local);
}

#[test]
fn what_holds_no_record_for_us_counts_as_dealt_with() {
    let Some(kafka) = Kafka::start() else { return };
    kafka.create_topic("pcap", 1);
    let good = encoded(&probe(LAPTOP, EVENING, SsidElement::Wildcard));
    for (name, aborted, value) in [("a", false, Some(&good)), ("b", true, Some(&good)), ("c", false, None)] {
        let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap_servers())
            .set("transactional.id", name)
            .create()
            .unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        let mut record = BaseRecord::<[u8], [u8]>::to("pcap").key(b"a4:83:e7:4e:39:15");
        if let Some(value) = value {
            record = record.payload(value);
        }
        producer.send(record).map_err(|(error, _record)| error).unwrap();
        producer.flush(PATIENCE).unwrap();
        if aborted { producer.abort_transaction(PATIENCE) } else { producer.commit_transaction(PATIENCE) }
            .unwrap();
    }
    let local =
        Local::start(&mut local::command(["--in-memory", "--bootstrap-servers", &kafka.bootstrap_servers()]));
    // three records and three markers
    local.wait_until_caught_up(6);
    assert_eq!(probe_count(&local), 1);
    kafka.produce("pcap", br#"{"timestamp":"1700000000000","wlan_fc_type_subtype":["29"]}"#);
    local.wait_until_caught_up(7);
    assert_eq!(local.status()["partitions"][0]["through"], 6);
}

#[test]
fn going_over_from_the_spool_to_kafka_asks_how_and_counts_nothing_twice() {
    let Some(kafka) = Kafka::start() else { return };
    kafka.create_topic("pcap", 2);
    let (keeps, anew) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for data in [&keeps, &anew] {
        let end = fill_spool(data.path(), &lines(0..10));
        let local = Local::in_directory(data.path());
        local.wait_until_caught_up(end);
        assert_eq!(probe_count(&local), 10);
        ends_cleanly(local);
    }
    // the agent has drained the spool, and there is more
    kafka.produce("pcap", &feed(0..30));

    let refused = |command: &mut Command| {
        let mut program = Running::start(command);
        assert_eq!(program.wait(PATIENCE).code(), Some(2), "{}", program.stderr());
        assert_eq!(program.stdout(), "");
        program.stderr()
    };
    let said = refused(&mut on(&kafka, keeps.path()));
    assert!(said.contains("--start-at end") && said.contains("--start-at rebuild"), "{said}");

    let local = Local::start(on(&kafka, keeps.path()).args(["--start-at", "end"]));
    local.wait_until_caught_up(30);
    assert_eq!(probe_count(&local), 10);
    kafka.produce("pcap", &feed(30..35));
    local.wait_until_caught_up(35);
    assert_eq!(probe_count(&local), 15);
    ends_cleanly(local);
    let local = Local::start(&mut on(&kafka, keeps.path()));
    local.wait_until_caught_up(35);
    assert_eq!(probe_count(&local), 15, "and after a start anew");
    ends_cleanly(local);
    // what comes into the spool now comes to Kafka too
    let end = fill_spool(keeps.path(), &lines(30..35));
    let said = refused(local::command(["--data"]).arg(keeps.path()));
    assert!(said.contains("--start-at"), "{said}");
    let said = refused(local::command(["--start-at", "end", "--data"]).arg(keeps.path()));
    assert!(said.contains("only --start-at rebuild is possible"), "{said}");

    let local = Local::start(on(&kafka, anew.path()).args(["--start-at", "rebuild"]));
    until(PATIENCE, "a rebuild that serves", || {
        local.program.stderr().contains("the rebuild is complete").then_some(())
    });
    ends_cleanly(local);
    let local = Local::start(&mut on(&kafka, anew.path()));
    local.wait_until_caught_up(35);
    assert_eq!((probe_count(&local), &local.status()["generation"]), (json!(35), &json!(2)));
    ends_cleanly(local);

    let local = Local::start(local::command(["--start-at", "rebuild", "--data"]).arg(keeps.path()));
    until(PATIENCE, "a rebuild that serves", || {
        local.program.stderr().contains("the rebuild is complete").then_some(())
    });
    ends_cleanly(local);
    let local = Local::in_directory(keeps.path());
    local.wait_until_caught_up(end);
    assert_eq!(probe_count(&local), 15);
}

#[test]
fn settings_that_do_not_work_are_told_by_name_and_without_their_values() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("kafka.properties");
    for (properties, told) in [
        ("# mine\n\nsecurity.protocol", "line 3"),
        ("sasl.pasword=hunter2", "sasl.pasword"),
        ("security.protocol=hunter2", "security.protocol"),
        ("sasl.jaas.config=org.apache.kafka username=\"a\" password=\"hunter2\";", "sasl.jaas.config"),
        ("sasl.mechanism=", "sasl.mechanism"),
        ("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.password=hunter2", "sasl.username"),
        ("security.protocol=SSL\nssl.ca.pem=hunter2", "ssl.ca.pem"),
    ] {
        fs::write(&file, properties).unwrap();
        let mut command =
            local::command(["--in-memory", "--bootstrap-servers", "127.0.0.1:1", "--kafka-config"]);
        let mut program = Running::start(command.arg(&file).env("RUST_LOG", "trace"));
        assert_eq!(program.wait(PATIENCE).code(), Some(2), "{properties}: {}", program.stderr());
        let said = program.stderr();
        assert!(said.contains(told) && !said.contains("……"), "{properties}: {said}");
        assert!(!said.contains("hunter2") && !program.stdout().contains("hunter2"), "{properties}: {said}");
    }
    let Some(kafka) = Kafka::start() else { return };
    // a broker that wants no password says something else than that
    fs::write(
        &file,
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=a\nsasl.password=hunter2",
    )
    .unwrap();
    let mut command =
        local::command(["--in-memory", "--bootstrap-servers", &kafka.bootstrap_servers(), "--kafka-config"]);
    let local = Local::start(command.arg(&file).env("RUST_LOG", "trace"));
    until(PATIENCE, "what is wrong", || local.program.stderr().contains("WARN Kafka").then_some(()));
    assert!(!local.program.stderr().contains("hunter2"), "{}", local.program.stderr());
    ends_cleanly(local);
}
