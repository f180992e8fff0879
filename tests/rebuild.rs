//! What `probegram rebuild` promises, beside a running `probegram local` and alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use domain::{Mac, SsidElement};
use futures::executor::block_on;
use probegram_tests::kafka::Kafka;
use probegram_tests::local::{self, Local, encoded, fill_spool, probe, table};
use probegram_tests::process::{Running, Signal, binary};
use probegram_tests::until;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a program may take. It bounds a hang on a busy machine, nothing else.
const PATIENCE: Duration = Duration::from_secs(180);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const LAPTOP: Mac = Mac::new([0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15]);
const PHONE: Mac = Mac::new([0x62, 0x45, 0xb6, 0xc6, 0x7e, 0x03]);

/// Noon (UTC), some days ago.
fn noon(days_ago: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let today = i64::try_from(now.as_millis()).unwrap().div_euclid(DAY_MS) * DAY_MS;
    today - days_ago * DAY_MS + DAY_MS / 2
}

/// As many records of the laptop as of the phone, of yesterday.
fn records(numbers: std::ops::Range<i64>) -> Vec<Vec<u8>> {
    let of = |mac, number| encoded(&probe(mac, noon(1) + number, SsidElement::Wildcard));
    numbers.flat_map(|number| [of(LAPTOP, number), of(PHONE, number)]).collect()
}

fn command<O: AsRef<OsStr>>(data: &Path, options: &[O]) -> Command {
    let mut command = Command::new(binary("probegram"));
    command.args(["rebuild", "--data"]).arg(data).args(options).env_remove("RUST_LOG");
    command
}

/// Its exit code, and what it says.
fn rebuild<O: AsRef<OsStr>>(data: &Path, options: &[O]) -> (Option<i32>, String) {
    let mut program = Running::start(&mut command(data, options));
    let code = program.wait(PATIENCE).code();
    (code, program.stdout() + &program.stderr())
}

fn probe_count(local: &Local, mac: Mac) -> Value {
    let answer = local.device(mac);
    serde_json::from_str::<Value>(&answer.body).unwrap()["probe_count"].clone()
}

/// Waits until a generation serves; meanwhile a device must be answered as ever.
fn wait_for_generation(local: &Local, generation: u32, mac: Mac, least: i64) {
    until(PATIENCE, &format!("generation {generation}"), || {
        let count = probe_count(local, mac);
        assert!(count.as_i64().is_some_and(|count| count >= least), "a gap: {count}");
        (local.status()["generation"] == generation).then_some(())
    });
}

/// Takes a device out of a generation, as if its records had never been read.
fn lose(data: &Path, generation: u32, mac: Mac) {
    let pk = json!({"S": format!("{generation}#DEVICE#{mac}")});
    let query = json!({"TableName": "probegram", "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": pk}});
    let items = table(data, "Query", &query)["Items"].take();
    for item in items.as_array().unwrap() {
        let key = json!({"pk": item["pk"], "sk": item["sk"]});
        table(data, "DeleteItem", &json!({"TableName": "probegram", "Key": key}));
    }
    assert!(!items.as_array().unwrap().is_empty());
}

#[test]
fn a_rebuild_counts_what_is_missing_and_a_running_probegram_goes_over_to_it_and_back() {
    let Some(kafka) = Kafka::start() else { return };
    kafka.create_topic("pcap", 4);
    let servers = kafka.bootstrap_servers();
    let data = TempDir::new().unwrap();
    let on_kafka = ["--bootstrap-servers", &servers];
    kafka.produce("pcap", &records(0..100).join(&b'\n'));
    let local = Local::start(local::command(on_kafka).arg("--data").arg(data.path()));
    local.wait_until_caught_up(200);
    lose(data.path(), 1, PHONE);
    assert_eq!((probe_count(&local, LAPTOP), local.device(PHONE).status), (json!(100), 404));

    let (code, said) = rebuild(data.path(), &on_kafka);
    assert_eq!(code, Some(1), "{said}");
    for told in [
        "Writing generation 2, while generation 1 serves.",
        "Generation 2 has all that the log holds: 200 records.",
        "on all days",
        "devices  1 the same, 0 different, 0 only in generation 1, 1 only in generation 2",
        "frames   100 in generation 1, 200 in generation 2",
        "62:45:b6:c6:7e:03, in all: nothing in generation 1",
        "They differ, so generation 1 goes on serving",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!((&local.status()["generation"], local.device(PHONE).status), (&json!(1), 404));

    let (code, said) = rebuild(data.path(), &[&on_kafka[..], &["--accept"]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Going on with generation 2") && said.contains("Generation 2 serves."), "{said}");
    wait_for_generation(&local, 2, LAPTOP, 100);
    assert_eq!(probe_count(&local, PHONE), 100);
    kafka.produce("pcap", &records(100..150).join(&b'\n'));
    local.wait_until_caught_up(300);
    assert_eq!((probe_count(&local, LAPTOP), probe_count(&local, PHONE)), (json!(150), json!(150)));

    // back: its group takes up where it was, and only what was lost by hand is missing
    let (code, said) = rebuild(data.path(), &["--back"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Generation 1 serves again"), "{said}");
    wait_for_generation(&local, 1, LAPTOP, 100);
    until(PATIENCE, "generation 1 to catch up", || {
        (probe_count(&local, LAPTOP) == 150 && probe_count(&local, PHONE) == 50).then_some(())
    });
    local.wait_until_caught_up(300);
    assert_eq!((probe_count(&local, LAPTOP), probe_count(&local, PHONE)), (json!(150), json!(50)));

    // a generation that has served is its group's: another rebuild writes another one
    let (code, said) = rebuild(data.path(), &[&on_kafka[..], &["--no-flip"]].concat());
    assert_eq!(code, Some(1), "{said}");
    for told in [
        "Writing generation 3, while generation 1 serves.",
        "Generations up to 2 have served before and stay as they are.",
        "devices  1 the same, 1 different, 0 only in generation 1, 0 only in generation 3",
        "62:45:b6:c6:7e:03, in all: ",
        "Generation 1 goes on serving",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    let (code, said) = rebuild(data.path(), &["--back"]);
    assert_eq!(code, Some(0), "{said}");
    wait_for_generation(&local, 2, LAPTOP, 150);
    kafka.produce("pcap", &records(150..160).join(&b'\n'));
    local.wait_until_caught_up(320);
    assert_eq!((probe_count(&local, LAPTOP), probe_count(&local, PHONE)), (json!(160), json!(160)));
    let (code, said) = rebuild(data.path(), &on_kafka);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Going on with generation 3, while generation 2 serves."), "{said}");
    assert!(said.contains("devices  2 the same, 0 different"), "{said}");
    wait_for_generation(&local, 3, PHONE, 160);
    local.wait_until_caught_up(320);
    assert_eq!((probe_count(&local, LAPTOP), probe_count(&local, PHONE)), (json!(160), json!(160)));
    assert!(!local.program.stderr().contains("ERROR"), "{}", local.program.stderr());
}

#[test]
fn a_rebuild_and_the_generation_that_serves_agree_while_both_are_written() {
    let Some(kafka) = Kafka::start() else { return };
    kafka.create_topic("pcap", 3);
    let servers = kafka.bootstrap_servers();
    let data = TempDir::new().unwrap();
    let on_kafka = ["--bootstrap-servers", &servers];
    kafka.produce("pcap", &records(0..500).join(&b'\n'));
    let local = Local::start(local::command(on_kafka).arg("--data").arg(data.path()));
    local.wait_until_caught_up(1_000);
    let mut program = Running::start(&mut command(data.path(), &on_kafka));
    let mut sent = 500;
    while program.exit_status().is_none() {
        kafka.produce("pcap", &records(sent..sent + 5).join(&b'\n'));
        sent += 5;
    }
    let said = program.stdout() + &program.stderr();
    assert_eq!(program.wait(PATIENCE).code(), Some(0), "{said}");
    assert!(said.contains("devices  2 the same") && said.contains("Generation 2 serves."), "{said}");
    assert!(sent > 500, "nothing was sent meanwhile");
    wait_for_generation(&local, 2, LAPTOP, 500);
    local.wait_until_caught_up(2 * sent);
    assert_eq!((probe_count(&local, LAPTOP), probe_count(&local, PHONE)), (json!(sent), json!(sent)));
}

#[test]
fn a_rebuild_that_is_interrupted_or_killed_goes_on_and_ends_the_same() {
    let data = TempDir::new().unwrap();
    let mac = |number: i64| Mac::new([2, 0, 0, 0, u8::try_from(number % 64).unwrap(), 7]);
    let records: Vec<_> = (0..40_000)
        .map(|number| encoded(&probe(mac(number), noon(1 + number % 200) + number, SsidElement::Wildcard)))
        .collect();
    let end = fill_spool(data.path(), &records);
    let local = Local::in_directory(data.path());
    local.wait_until_caught_up(end);
    let counted: Vec<_> = (0..64).map(|number| local.device(mac(number))).collect();

    let get = json!({"TableName": "probegram", "Key": {"pk": {"S": "TABLE"}, "sk": {"S": "TABLE"}}});
    let id = table(data.path(), "GetItem", &get)["Item"]["id"]["S"].as_str().unwrap().to_owned();
    let group = json!({":pk": {"S": format!("PROGRESS#probegram-aggregate-{id}-2")}});
    let query = json!({"TableName": "probegram", "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": group});
    let through = || {
        let items = table(data.path(), "Query", &query)["Items"].take();
        items[0]["through"]["N"].as_str().map_or(0, |through| through.parse::<i64>().unwrap())
    };
    for (signal, code) in [(Signal::SIGINT, Some(130)), (Signal::SIGKILL, None)] {
        let before = through();
        let mut program = Running::start(&mut command::<&str>(data.path(), &[]));
        until(PATIENCE, "a batch that is counted", || {
            assert_eq!(program.exit_status(), None, "{}{}", program.stdout(), program.stderr());
            (through() > before).then_some(())
        });
        program.signal(signal);
        assert_eq!(program.wait(PATIENCE).code(), code, "{}{}", program.stdout(), program.stderr());
        assert!(!program.stdout().contains("has all that"), "in the middle: {}", program.stdout());
    }
    drop(local);
    let (code, said) = rebuild::<&str>(data.path(), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Going on with generation 2"), "{said}");
    assert!(said.contains("devices  64 the same, 0 different, 0 only"), "{said}");
    let local = Local::in_directory(data.path());
    local.wait_until_caught_up(end);
    assert_eq!(local.status()["generation"], 2);
    assert_eq!((0..64).map(|number| local.device(mac(number))).collect::<Vec<_>>(), counted);
}

#[test]
fn what_retention_has_cut_off_is_not_compared_and_said() {
    let Some(kafka) = Kafka::start() else { return };
    kafka.create_topic("pcap", 1);
    let servers = kafka.bootstrap_servers();
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
    for (days_ago, frames) in [(4, 5), (3, 6), (2, 7), (1, 8)] {
        for number in 0..frames {
            let time = noon(days_ago) + number;
            let value = encoded(&probe(LAPTOP, time, SsidElement::Wildcard));
            producer
                .send(BaseRecord::<[u8], _>::to("pcap").payload(&value).timestamp(time))
                .map_err(|(error, _)| error)
                .unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
    let data = TempDir::new().unwrap();
    let on_kafka = ["--bootstrap-servers", &servers];
    let local = Local::start(local::command(on_kafka).arg("--data").arg(data.path()));
    local.wait_until_caught_up(26);
    assert_eq!(probe_count(&local, LAPTOP), 26);

    // in the midst of the third day back
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
    let mut before = TopicPartitionList::new();
    before.add_partition_offset("pcap", 0, Offset::Offset(8)).unwrap();
    block_on(admin.delete_records(&before, &AdminOptions::new())).unwrap();
    let (code, said) = rebuild(data.path(), &on_kafka);
    assert_eq!(code, Some(0), "{said}");
    let day = domain::Day::of(noon(2));
    for told in [
        &format!("on the days that the log still holds whole, from {day} (UTC) on"),
        "devices  1 the same, 0 different, 0 only in generation 1, 0 only in generation 2",
        "frames   15 in generation 1, 15 in generation 2",
        "that is in generation 1 alone",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    wait_for_generation(&local, 2, LAPTOP, 18);
    assert_eq!(probe_count(&local, LAPTOP), 18);
}

#[test]
fn what_cannot_be_rebuilt_is_said_and_nothing_is_changed() {
    let data = TempDir::new().unwrap();
    let (code, said) = rebuild::<&str>(data.path(), &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("there is no table in"), "{said}");

    drop(Local::in_directory(data.path()));
    let (code, said) = rebuild::<&str>(data.path(), &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("there is no spool in") && said.contains("--spool"), "{said}");
    let (code, said) = rebuild(data.path(), &["--back"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("generation 1 is the first that serves"), "{said}");
    let (code, said) = rebuild(data.path(), &["--bootstrap-servers", "127.0.0.1:1"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("Kafka at 127.0.0.1:1 does not answer") && said.lines().count() == 1, "{said}");
    let Some(kafka) = Kafka::start() else { return };
    let (code, said) = rebuild(data.path(), &["--bootstrap-servers", &kafka.bootstrap_servers()]);
    assert_eq!(code, Some(2));
    assert!(said.contains("there is no topic pcap") && said.contains("probegram topics"), "{said}");
}
