//! What change data capture tells of documents ends in the right names, whatever the delivery and whatever the records hold.
//!
//! Requests go through the SDK's client into an embedded DynamoDB; a real Kafka is read by `probegram local`. Records of real
//! connectors stand in `../shared/events`, with the names to which the steps behind them lead. `PROBEGRAM_SCHEDULES` says how many
//! random schedules are run (300), `PROBEGRAM_SEED` runs a single one again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use std::{fs, iter};

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use domain::{Day, Mac};
use fastrand::Rng;
use materialize::{Context, Report, Topics, handle};
use probegram::embedded::{self, Embedded};
use probegram::template::Template;
use probegram_tests::alerting::wait_until_dealt_with;
use probegram_tests::kafka::{Kafka, NewRecord};
use probegram_tests::local::{self, Local};
use probegram_tests::scheduled_table::{Fate, ScheduledTable};
use probegram_tests::simulated_mongodb::{self, BEGIN_MS, CLIENTS, Connector, DEVICES, MACS};
use probegram_tests::{schedules, shared};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use state::names::{self, View};
use state::{Table, quarantine};
use tokio::task::{JoinHandle, LocalSet};

// The delivery

/// A record in its partition.
#[derive(Debug, Clone)]
struct Logged {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// The partitions of the topics, each with its records.
type Logs = BTreeMap<(String, i32), Vec<Logged>>;

fn open() -> Embedded {
    Embedded::open(None, &Template::read().unwrap()).unwrap()
}

fn context(table: Table) -> Context {
    Context {
        table,
        group_prefix: "materialize".to_owned(),
        topics: Topics::default(),
        // later than any record, also those of real connectors: an order of the future counts for nothing
        now_ms: || BEGIN_MS + 7 * 24 * 60 * 60 * 1000,
    }
}

fn event(topic: &str, partition: i32, batch: &[Logged]) -> Box<RawValue> {
    let base64 =
        |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| base64_simd::STANDARD.encode_to_string(bytes));
    let records: Vec<_> = batch
        .iter()
        .map(|logged| {
            json!({"topic": topic, "partition": partition, "offset": logged.offset, "timestamp": logged.timestamp,
                "timestampType": "CREATE_TIME", "key": base64(&logged.key), "value": base64(&logged.value), "headers": []})
        })
        .collect();
    to_raw_value(
        &json!({"eventSource": "SelfManagedKafka", "records": {format!("{topic}-{partition}"): records}}),
    )
    .unwrap()
}

async fn deliver(context: &Context, topic: &str, partition: i32, batch: &[Logged]) -> Report {
    handle(&event(topic, partition, batch), context).await.unwrap()
}

/// These keys and values as the records of a partition, a millisecond between any two.
fn logged<K: Into<Vec<u8>>, V: Into<Vec<u8>>>(
    records: impl IntoIterator<Item = (K, Option<V>)>,
) -> Vec<Logged> {
    (0..)
        .zip(records)
        .map(|(offset, (key, value))| Logged {
            offset,
            timestamp: BEGIN_MS + offset,
            key: Some(key.into()),
            value: value.map(Into::into),
        })
        .collect()
}

// The answer

/// What a device is called, and whether it is a guest where that is a client's name.
type Called = (String, Option<bool>);

/// What these devices are called; those without a name are left out.
async fn called(table: &Table, macs: impl IntoIterator<Item = Mac>) -> BTreeMap<Mac, Called> {
    let names = names::of(table, macs, View::All).await.unwrap();
    let best = |names: &names::Names| {
        let best = names.all().first()?;
        let is_client = best.origin == names::Origin::Topic(CLIENTS.to_owned());
        Some((best.label.clone(), names.is_guest.filter(|_is_guest| is_client)))
    };
    names.iter().filter_map(|(mac, names)| Some((*mac, best(names)?))).collect()
}

async fn label(table: &Table, mac: &str) -> Option<String> {
    called(table, [mac.parse().unwrap()]).await.into_values().next().map(|(label, _)| label)
}

async fn quarantined(table: &Table, topic: &str) -> (u64, Vec<String>) {
    let (count, records) = quarantine::on_day(table, topic, Day::of(BEGIN_MS), BEGIN_MS).await.unwrap();
    (count, records.into_iter().map(|(_, record)| record.reason).collect())
}

// Records of real connectors

/// The files of records, and what is true at the end.
struct Real {
    files: Vec<(String, Logs)>,
    called: BTreeMap<Mac, Called>,
    macs: BTreeSet<Mac>,
}

impl Real {
    fn read() -> Option<Self> {
        let folder = shared("events/debezium-real")?;
        let expected: Vec<Value> =
            serde_json::from_str(&fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
        let called: BTreeMap<Mac, Called> = expected
            .iter()
            .map(|row| {
                assert_eq!(row["must"], true, "{row}");
                let is_guest = row["is_guest"].as_bool().filter(|_is_guest| row["source"] == "user");
                let label = row["label"].as_str().unwrap().to_owned();
                (row["mac"].as_str().unwrap().parse().unwrap(), (label, is_guest))
            })
            .collect();
        assert_eq!(called.len(), 14);
        let macs: BTreeSet<Mac> = lines(&folder.join("steps.jsonl"))
            .iter()
            .flat_map(|step| [&step["doc"]["mac"], &step["u"]["$set"]["mac"]])
            .filter_map(|mac| mac.as_str()?.parse().ok())
            .collect();
        assert!(called.keys().all(|mac| macs.contains(mac)) && macs.len() > called.len());
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with('v'))
            .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), logs(&path)))
            .collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(files.len(), 10);
        Some(Self { files, called, macs })
    }

    /// What is wrong with the names in a table.
    async fn check(&self, table: &Table) -> Result<(), String> {
        let is = called(table, self.macs.iter().copied()).await;
        if is == self.called { Ok(()) } else { Err(difference(&is, &self.called)) }
    }
}

fn difference(is: &BTreeMap<Mac, Called>, should_be: &BTreeMap<Mac, Called>) -> String {
    let macs: BTreeSet<&Mac> = is.keys().chain(should_be.keys()).collect();
    let wrong = macs.into_iter().filter(|mac| is.get(mac) != should_be.get(mac));
    wrong.map(|mac| format!("{mac} is {:?}, not {:?}; ", is.get(mac), should_be.get(mac))).collect()
}

/// The JSON values of a file, one a line.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.split('\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The records of a file, by partition.
fn logs(path: &Path) -> Logs {
    let mut logs = Logs::new();
    for record in lines(path) {
        let topic = record["topic"].as_str().unwrap().to_owned();
        let partition = i32::try_from(record["partition"].as_i64().unwrap()).unwrap();
        let bytes = |part: &str| record[part].as_str().map(|text| text.as_bytes().to_vec());
        let log = logs.entry((topic, partition)).or_default();
        assert_eq!(record["offset"], log.len());
        log.push(Logged {
            offset: record["offset"].as_i64().unwrap(),
            timestamp: record["timestamp"].as_i64().unwrap(),
            key: bytes("key"),
            value: bytes("value"),
        });
    }
    logs
}

#[tokio::test]
async fn what_real_connectors_wrote_becomes_the_names_in_batches_of_any_size() {
    let Some(real) = Real::read() else { return };
    for (file, logs) in &real.files {
        for size in [usize::MAX, 1, 7] {
            let context = context(open().table());
            for ((topic, partition), log) in logs {
                for batch in log.chunks(size.min(log.len())) {
                    let report = deliver(&context, topic, *partition, batch).await;
                    assert_eq!((report.documents, report.quarantined), (batch.len() as u64, 0), "{file}");
                }
            }
            let checked = real.check(&context.table).await;
            assert_eq!(checked, Ok(()), "{file} in batches of {size}");
        }
    }
}

// A real Kafka

/// Writes the records as they lie in the partitions, lets a new installation read them, and asks it.
fn through_kafka(kafka: &Kafka, logs: &Logs, ask: impl FnOnce(&Local)) {
    for topic in [CLIENTS, DEVICES] {
        let of_topic: Vec<_> = logs.iter().filter(|((of, _), _)| of == topic).collect();
        let partitions = of_topic.iter().map(|((_, partition), _)| partition + 1).max().unwrap_or(1);
        kafka.create_topic(topic, usize::try_from(partitions).unwrap());
        let records = of_topic.iter().flat_map(|((_, partition), log)| {
            log.iter().map(|logged| NewRecord {
                partition: Some(*partition),
                key: logged.key.clone(),
                value: logged.value.clone(),
                ..NewRecord::default()
            })
        });
        kafka.produce_records(topic, &records.collect::<Vec<_>>());
    }
    let local =
        Local::start(&mut local::command(["--in-memory", "--bootstrap-servers", &kafka.bootstrap_servers()]));
    for topic in [CLIENTS, DEVICES] {
        let records: usize = logs.iter().filter(|((of, _), _)| of == topic).map(|(_, log)| log.len()).sum();
        wait_until_dealt_with(&local, topic, i64::try_from(records).unwrap());
    }
    ask(&local);
    drop(local);
    [CLIENTS, DEVICES].into_iter().for_each(|topic| kafka.delete_topic(topic));
}

/// What programs are told of a device: its name, and whether it is a guest where a client's name wins.
fn told(local: &Local, mac: Mac) -> Option<Called> {
    let answer = local.device(mac);
    if answer.status == 404 {
        return None;
    }
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer["name"], answer["names"][0]["label"], "{answer}");
    let is_guest = answer["is_guest"].as_bool().filter(|_is_guest| answer["names"][0]["origin"] == CLIENTS);
    Some((answer["name"].as_str()?.to_owned(), is_guest))
}

#[test]
fn what_real_connectors_wrote_becomes_the_names_through_a_real_kafka() {
    let Some(real) = Real::read() else { return };
    let Some(kafka) = Kafka::start() else { return };
    for (file, logs) in &real.files {
        through_kafka(&kafka, logs, |local| {
            let is = real.macs.iter().filter_map(|mac| Some((*mac, told(local, *mac)?))).collect();
            assert!(
                is == real.called,
                "{file}: {}\n{}",
                difference(&is, &real.called),
                local.program.stderr()
            );
        });
    }
    let Some((logs, should_be)) = samples() else { return };
    through_kafka(&kafka, &logs, |local| {
        for (mac, label) in should_be {
            assert_eq!(told(local, mac).map(|(label, _)| label), label, "{mac}");
        }
    });
}

/// What devices should be called.
type ShouldBe = Vec<(Mac, Option<String>)>;
/// Records of a document: key, value, and what it is called then.
type History = Vec<(String, Option<String>, Option<&'static str>)>;

/// Histories of documents as the manuals and other people's texts show their records, each history broken off after each of its
/// records; and what the devices are called then.
fn samples() -> Option<(Logs, ShouldBe)> {
    let mut histories: Vec<History> = Vec::new();
    for (file, names, labels) in [
        (
            "v1.1_docs_events.json",
            ["read", "update", "delete", "tombstone"],
            [Some("Anne (Kretchmar)"), Some("Anne Marie (Kretchmar)"), None, None],
        ),
        (
            "v3.x_docs_events.json",
            ["create", "update", "delete", "tombstone"],
            [Some("Anne (Kretchmar)"), Some("Anne Marie (Kretchmar)"), None, None],
        ),
    ] {
        let text = fs::read_to_string(shared(&format!("events/debezium/{file}"))?).unwrap();
        // customers of a shop there, clients of a controller here
        let text = text
            .replace("first_name", "name")
            .replace("last_name", "hostname")
            .replace("email", "mac")
            .replace("annek@noanswer.org", "44:65:0d:e0:94:66");
        let samples: Value = serde_json::from_str(&text).unwrap();
        let in_connect = |payload: &Value| json!({"schema": {"type": "struct"}, "payload": payload});
        for is_wrapped in [false, true] {
            let form = |sample: &Value| {
                let payload = sample.get("payload")?;
                Some(if is_wrapped { in_connect(payload) } else { payload.clone() }.to_string())
            };
            let record = |(name, label)| (form(&samples["key"]).unwrap(), form(&samples[name]), label);
            histories.push(names.into_iter().zip(labels).map(record).collect());
        }
    }
    let constructed = lines(&shared("events/constructed/unifi_debezium_events.jsonl")?);
    let labels = [
        Some("Robin's Kindle (kindle-1a2b)"),
        Some("Robin's Kindle (kindle-1a2b)"),
        Some("Robin's old Kindle (kindle-1a2b)"),
        Some("kindle-1a2b"),
        Some("Kindle (replaced) (kindle-1a2b)"),
        None,
        None,
        Some("kindle-1a2b"),
        Some("Kitchen Kindle (kindle-1a2b)"),
        Some("Kitchen Kindle (kindle-1a2b)"),
        None,
    ];
    let record = |(record, label): (&Value, _)| {
        let value = Some(&record["value"]).filter(|value| !value.is_null());
        (record["key"].to_string(), value.map(Value::to_string), label)
    };
    assert_eq!(constructed.len(), labels.len() + 1);
    histories.push(constructed.iter().zip(labels).map(record).collect());

    let mut records = Vec::new();
    let mut should_be = Vec::new();
    for history in &histories {
        for end in 1..=history.len() {
            let number = should_be.len();
            let (mac, id) =
                (format!("44:65:0d:00:00:{number:02x}"), format!("5f5cece71d464f073af2{number:04x}"));
            for (key, value, _) in &history[..end] {
                let mine = |text: &String| {
                    text.replace("44:65:0d:e0:94:66", &mac)
                        .replace("596e275826f08b2730779e1f", &id)
                        .replace("5f5cece71d464f073af2f483", &id)
                };
                records.push((mine(key), value.as_ref().map(mine)));
            }
            should_be.push((mac.parse().unwrap(), history[end - 1].2.map(str::to_owned)));
        }
    }
    let (key, value, _) = record((constructed.last().unwrap(), None));
    should_be.push(("78:8a:20:33:44:55".parse().unwrap(), Some("USG".to_owned())));
    let logs =
        [((CLIENTS.to_owned(), 0), logged(records)), ((DEVICES.to_owned(), 0), logged([(key, value)]))];
    Some((logs.into(), should_be))
}

#[tokio::test]
async fn the_records_of_the_manuals_become_the_names_that_they_show() {
    let Some((logs, should_be)) = samples() else { return };
    assert_eq!(should_be.len(), 4 * 4 + 11 + 1);
    for size in [1, 3, 1_000] {
        let context = context(open().table());
        for ((topic, partition), log) in &logs {
            for batch in log.chunks(size) {
                let report = deliver(&context, topic, *partition, batch).await;
                assert_eq!((report.documents, report.quarantined), (batch.len() as u64, 0));
            }
        }
        for (mac, should_be) in &should_be {
            assert_eq!(
                &label(&context.table, &mac.to_string()).await,
                should_be,
                "{mac} in batches of {size}"
            );
        }
    }
}

// Any delivery

/// A partition, and how far it is read.
struct Partition<'a> {
    topic: &'a str,
    number: i32,
    log: &'a [Logged],
    position: usize,
    in_flight: Option<(JoinHandle<bool>, usize)>,
}

/// Each partition is read by one invocation after the other, of which some die and some are given up and go on all the same, beside
/// what comes after them. Answers come in any order, some are stale, some are lost. Gives the table.
async fn deliver_at_random(random: &mut Rng, logs: &Logs) -> Result<Table, String> {
    /// From here on nothing goes wrong any more, so that it ends.
    const TROUBLE: u32 = 3_000;
    let table = ScheduledTable::new(open());
    let context = Rc::new(context(table.scheduled()));
    let mut partitions: Vec<Partition<'_>> = logs
        .iter()
        .map(|((topic, number), log)| Partition { topic, number: *number, log, position: 0, in_flight: None })
        .collect();
    let most = random.usize(2..20);
    let invoke = |partition: &Partition<'_>, batch: &[Logged]| {
        let event = event(partition.topic, partition.number, batch);
        let context = Rc::clone(&context);
        tokio::task::spawn_local(async move { handle(&event, &context).await.is_ok() })
    };
    let mut zombies: Vec<JoinHandle<bool>> = Vec::new();
    let mut steps = 0;
    loop {
        steps += 1;
        if steps > 100_000 {
            return Err("does not come to an end".to_owned());
        }
        // all run until they wait
        tokio::time::sleep(Duration::from_millis(1)).await;
        for partition in &mut partitions {
            if partition.in_flight.as_ref().is_some_and(|(invocation, _)| invocation.is_finished()) {
                let (invocation, next) = partition.in_flight.take().unwrap();
                match invocation.await {
                    Ok(true) => partition.position = next,
                    Ok(false) => {}
                    Err(why) => return Err(format!("an invocation ended with {why}")),
                }
            }
        }
        zombies.retain(|zombie| !zombie.is_finished());
        let is_read = |partition: &Partition<'_>| {
            partition.in_flight.is_none() && partition.position == partition.log.len()
        };
        if zombies.is_empty() && partitions.iter().all(is_read) {
            return Ok(table.direct());
        }
        let is_trouble = steps < TROUBLE;
        let index = random.usize(..partitions.len());
        let partition = &mut partitions[index];
        match random.u32(..30) {
            0 if is_trouble => {
                // times out, and goes on unseen
                zombies.extend(partition.in_flight.take().map(|(invocation, _)| invocation));
            }
            1 if is_trouble => {
                // dies; what it has asked for is on its way all the same
                if let Some((invocation, _)) = partition.in_flight.take() {
                    invocation.abort();
                }
            }
            2..12 if partition.in_flight.is_none() && partition.position < partition.log.len() => {
                let next = (partition.position + random.usize(1..=most)).min(partition.log.len());
                // what was read before may be delivered again
                let again =
                    if is_trouble && random.u32(..4) == 0 { random.usize(..=partition.position) } else { 0 };
                let batch = &partition.log[partition.position - again..next];
                if is_trouble && random.u32(..4) == 0 {
                    zombies.push(invoke(partition, batch));
                }
                partition.in_flight = Some((invoke(partition, batch), next));
            }
            _ => {
                let waiting = table.waiting();
                if waiting > 0 {
                    let fate = match random.u32(..40) {
                        0 if is_trouble => Fate::Lost,
                        1 if is_trouble => Fate::AnswerLost,
                        2..16 => Fate::Stale,
                        _ => Fate::Answered,
                    };
                    table.release(random.usize(..waiting), fate, random);
                }
            }
        }
    }
}

fn in_paused_time<T>(what: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, what)
}

#[test]
fn what_real_connectors_wrote_becomes_the_names_whatever_the_delivery() {
    const FILES: [&str; 5] = [
        "v3.3_full_schema",
        "v3.3_nofull_schema",
        "v1.1_schema",
        "v3.3_preimage_bare",
        "v3.3_unwrap_rewrite_schema",
    ];
    let Some(real) = Real::read() else { return };
    schedules::run(60, |seed| {
        let name = FILES[usize::try_from(seed).unwrap() % FILES.len()];
        let (_, logs) = real.files.iter().find(|(file, _)| file == name).unwrap();
        assert!(logs.len() >= 5, "{name} has {} partitions", logs.len());
        in_paused_time(async {
            let table = deliver_at_random(&mut Rng::with_seed(seed), logs).await?;
            real.check(&table).await.map_err(|why| format!("{name}: {why}"))
        })
    });
}

#[test]
fn the_names_are_those_that_mongodb_has_at_the_end_whatever_the_delivery() {
    schedules::run(300, |seed| {
        let mut random = Rng::with_seed(seed);
        let connector = random.choice(Connector::ALL).unwrap();
        let log = simulated_mongodb::log(&mut random, connector);
        let mut logs = Logs::new();
        for record in &log.records {
            let partition = logs.entry((record.topic.to_owned(), record.partition)).or_default();
            partition.push(Logged {
                offset: i64::try_from(partition.len()).unwrap(),
                timestamp: record.timestamp,
                key: Some(record.key.clone()),
                value: record.value.clone(),
            });
        }
        if logs.is_empty() {
            return Ok(());
        }
        let should_be: BTreeMap<Mac, Called> = log
            .called
            .iter()
            .map(|(mac, called)| (mac.parse().unwrap(), (called.label.clone(), called.is_guest)))
            .collect();
        in_paused_time(async {
            let table = deliver_at_random(&mut random, &logs).await?;
            let is = called(&table, MACS.map(|mac| mac.parse().unwrap())).await;
            if is != should_be {
                return Err(format!("{connector:?}: {}", difference(&is, &should_be)));
            }
            for topic in [CLIENTS, DEVICES] {
                let (count, _) = quarantined(&table, topic).await;
                let should_be = log.unreadable.get(topic).copied().unwrap_or_default();
                if count != should_be {
                    return Err(format!(
                        "{connector:?}: {count} records of {topic} quarantined, not {should_be}"
                    ));
                }
            }
            Ok(())
        })
    });
}

// Single cases of the above

const ID: &str = "5a32b0c9e4b047ede36a0001";
const PHONE: &str = "a4:83:e7:4e:39:15";

fn key(id: &str) -> String {
    json!({"id": json!({"$oid": id}).to_string()}).to_string()
}

/// A record of Debezium 3.3 that says that a document is so now.
fn envelope(op: &str, ord: i64, id: &str, document: &Value, description: &Value) -> String {
    let mut document = document.clone();
    let after = document.as_object_mut().map(|document| {
        let id = ("_id".to_owned(), json!({"$oid": id}));
        Value::Object(iter::once(id).chain(document.clone()).collect()).to_string()
    });
    json!({"before": null, "after": after, "updateDescription": description, "op": op, "ts_ms": BEGIN_MS, "transaction": null,
        "source": {"version": "3.3.1.Final", "ts_ms": BEGIN_MS, "snapshot": "false", "collection": "user", "ord": ord}})
    .to_string()
}

fn described(updated: &Value) -> Value {
    json!({"removedFields": null, "updatedFields": updated.to_string(), "truncatedArrays": null})
}

fn phone(name: &str) -> Value {
    json!({"mac": PHONE, "name": name})
}

/// Renamed at a place in MongoDB's order.
fn renamed(ord: i64, name: &str) -> (String, Option<String>) {
    (key(ID), Some(envelope("u", ord, ID, &phone(name), &described(&json!({"name": name})))))
}

/// Every order in which two partitions can be read, each record in a batch of its own: which of the two is next.
fn interleavings(a: usize, b: usize) -> Vec<Vec<bool>> {
    match (a, b) {
        (0, b) => vec![vec![true; b]],
        (a, 0) => vec![vec![false; a]],
        (a, b) => {
            let first = |which: bool, rest: Vec<Vec<bool>>| {
                rest.into_iter().map(move |rest| iter::once(which).chain(rest).collect())
            };
            first(false, interleavings(a - 1, b)).chain(first(true, interleavings(a, b - 1))).collect()
        }
    }
}

#[tokio::test]
async fn a_document_that_moves_to_another_partition_is_as_it_was_last() {
    let delete = |ord| (key(ID), Some(envelope("d", ord, ID, &Value::Null, &Value::Null)));
    let tombstone = || (key(ID), None);
    let create = |ord, name| (key(ID), Some(envelope("c", ord, ID, &phone(name), &Value::Null)));
    let found = |name| (key(ID), Some(envelope("r", -1, ID, &phone(name), &Value::Null)));
    let seen = |ord, name| {
        let last_seen = described(&json!({"last_seen": {"$numberLong": "1587765361"}}));
        (key(ID), Some(envelope("u", ord, ID, &phone(name), &last_seen)))
    };
    for (before, after, is) in [
        (vec![found("a"), renamed(1, "b")], vec![renamed(2, "c"), seen(3, "c")], Some("c")),
        // named as before in the meantime
        (vec![found("a"), renamed(1, "b"), seen(2, "b")], vec![renamed(3, "a")], Some("a")),
        (
            vec![found("a"), renamed(1, "b"), renamed(2, "a"), renamed(3, "b")],
            vec![renamed(4, "a")],
            Some("a"),
        ),
        (vec![found("a"), renamed(1, "b")], vec![delete(2), tombstone()], None),
        (vec![found("a"), delete(1), tombstone()], vec![create(2, "a")], Some("a")),
        (vec![found("a"), delete(1), tombstone(), create(2, "b")], vec![seen(3, "b")], Some("b")),
        (vec![create(1, "a"), delete(2), tombstone()], vec![create(3, "b"), delete(4), tombstone()], None),
        // a connector that was killed tells the last changes again, to the other partition
        (
            vec![create(1, "a"), delete(2), tombstone(), create(3, "b")],
            vec![delete(2), tombstone(), create(3, "b"), renamed(4, "c")],
            Some("c"),
        ),
    ] {
        let [before, after] = [before, after].map(logged);
        let last = before.last().unwrap().timestamp;
        let after: Vec<Logged> =
            after.into_iter().map(|logged| Logged { timestamp: logged.timestamp + last, ..logged }).collect();
        for order in interleavings(before.len(), after.len()) {
            let context = context(open().table());
            let (mut a, mut b) = (before.iter(), after.iter());
            for is_after in &order {
                let (partition, record) = if *is_after { (1, b.next()) } else { (0, a.next()) };
                deliver(&context, CLIENTS, partition, std::slice::from_ref(record.unwrap())).await;
            }
            let what = format!("{} and {} records, the second log at {order:?}", before.len(), after.len());
            assert_eq!(label(&context.table, PHONE).await.as_deref(), is, "{what}");
        }
    }
}

#[tokio::test]
async fn what_a_killed_connector_tells_again_changes_nothing_wherever_it_breaks_off() {
    let last = json!({"mac": PHONE, "name": "d"});
    let event = |op, ord, document: &Value, updated: Option<Value>| {
        let description = updated.map_or(Value::Null, |updated| described(&updated));
        (key(ID), Some(envelope(op, ord, ID, document, &description)))
    };
    let name = |name| Some(json!({"name": name}));
    let deletion = |ord| vec![event("d", ord, &Value::Null, None), (key(ID), None)];
    // as it is told at first, and as again: an update without its document, or with the document as it is by then
    for (then, again) in [(None, None), (None, Some(&last)), (Some(()), Some(&last))] {
        let told = |looked_up: Option<&Value>| {
            let document = |name| match (looked_up, then) {
                (Some(document), _) => document.clone(),
                (None, Some(())) => phone(name),
                (None, None) => Value::Null,
            };
            let mut events = vec![vec![event("c", 1, &phone("a"), None)]];
            events.push(vec![event("u", 2, &document("b"), name("b"))]);
            events.push(deletion(3));
            events.push(vec![event("c", 4, &phone("c"), None)]);
            events.push(deletion(5));
            events.push(vec![event("c", 6, &phone("c"), None)]);
            events.push(vec![event("u", 7, &document("d"), name("d"))]);
            events
        };
        let (first, events) = (told(None).concat(), told(again));
        for from in 0..events.len() {
            let again = events[from..].concat();
            for end in 1..=again.len() {
                let log = logged([&first[..], &again[..end]].concat());
                for size in [1, 4, 100] {
                    let context = context(open().table());
                    for batch in log.chunks(size) {
                        deliver(&context, CLIENTS, 0, batch).await;
                    }
                    let label = label(&context.table, PHONE).await;
                    assert_eq!(label.as_deref(), Some("d"), "{end} records again from event {from}");
                }
            }
        }
    }
}

/// An eventually consistent read may show an item as it was before the last write.
#[test]
fn a_name_given_back_at_once_is_not_lost_by_a_read_that_lags_behind() {
    let log = logged([renamed(1, "a"), renamed(2, "b"), renamed(3, "a")]);
    schedules::run(30, |seed| {
        let mut random = Rng::with_seed(seed);
        in_paused_time(async {
            let table = ScheduledTable::new(open());
            let context = Rc::new(context(table.scheduled()));
            for record in &log {
                let event = event(CLIENTS, 0, std::slice::from_ref(record));
                let context = Rc::clone(&context);
                let invocation =
                    tokio::task::spawn_local(async move { handle(&event, &context).await.is_ok() });
                for _ in 0..1_000 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    if table.waiting() > 0 {
                        table.release(0, Fate::Stale, &mut random);
                    }
                }
                assert!(invocation.await.unwrap());
            }
            match label(&table.direct(), PHONE).await.as_deref() {
                Some("a") => Ok(()),
                other => Err(format!("it is called {other:?}")),
            }
        })
    });
}

/// A look-up shows what is only told later: by then it is nothing new, and is the last change all the same.
#[tokio::test]
async fn of_two_documents_with_one_address_that_changed_last_wins_however_far_a_look_up_ran_ahead() {
    const OTHER: &str = "5a32b0c9e4b047ede36a0000";
    let other = |ord, name| {
        (key(OTHER), Some(envelope("u", ord, OTHER, &phone(name), &described(&json!({"name": name})))))
    };
    let seen = described(&json!({"last_seen": {"$numberLong": "1587765361"}}));
    for (log, is) in [
        // the third change is seen with the first
        (
            vec![
                (key(ID), Some(envelope("u", 1, ID, &phone("last"), &seen))),
                other(2, "other"),
                renamed(3, "last"),
            ],
            "last",
        ),
        // a snapshot takes time
        (
            vec![
                (key(ID), Some(envelope("r", -1, ID, &phone("last"), &Value::Null))),
                other(2, "other"),
                renamed(3, "last"),
            ],
            "last",
        ),
        (
            vec![
                (key(ID), Some(envelope("r", -1, ID, &phone("last"), &Value::Null))),
                other(2, "other"),
                (key(ID), Some(envelope("c", 3, ID, &phone("last"), &Value::Null))),
            ],
            "last",
        ),
        (
            vec![renamed(1, "first"), other(2, "other"), renamed(3, "last"), other(4, "other again")],
            "other again",
        ),
    ] {
        for size in 1..=log.len() {
            let context = context(open().table());
            for batch in logged(log.clone()).chunks(size) {
                deliver(&context, CLIENTS, 0, batch).await;
            }
            let label = label(&context.table, PHONE).await;
            assert_eq!(label.as_deref(), Some(is), "in batches of {size}: {log:#?}");
        }
    }
}

#[tokio::test]
async fn changes_of_what_nobody_sees_are_not_written() {
    const UPDATES: i64 = 50;
    let last_seen = |number: i64| json!({"$numberLong": (1_587_765_360 + number).to_string()});
    let mut whole = phone("Robin's iPhone");
    whole["hostname"] = json!("robins-iphone");
    let id = json!({"$oid": ID});
    let with_id = |number: i64| {
        let mut document = json!({"_id": id, "last_seen": last_seen(number)});
        document.as_object_mut().unwrap().extend(whole.as_object().unwrap().clone());
        document
    };
    let source = |number: i64| json!({"ts_ms": BEGIN_MS, "ord": number});
    let looked_up = |number| {
        let after = with_id(number).to_string();
        let description = described(&json!({"last_seen": last_seen(number)}));
        json!({"op": "u", "after": after, "updateDescription": description, "source": source(number)})
            .to_string()
    };
    let change = |number| {
        let description =
            described(&json!({"last_seen": last_seen(number), "uplink.mac": "80:2a:a8:00:01:02"}));
        json!({"op": "u", "after": null, "updateDescription": description, "source": source(number)})
            .to_string()
    };
    let patch = |number| {
        let patch = json!({"$v": 1, "$set": {"last_seen": last_seen(number)}, "$unset": {"noted": true}});
        json!({"op": "u", "after": null, "patch": patch.to_string(), "filter": null, "source": source(number)})
            .to_string()
    };
    // `_id` is first
    let flattened_with = |number: i64, more: &str| {
        let last_seen = 1_587_765_360 + number;
        format!(
            r#"{{"_id":"{ID}","mac":"{PHONE}","name":"Robin's iPhone","hostname":"robins-iphone","last_seen":{last_seen}{more}}}"#
        )
    };
    let flattened = |number| flattened_with(number, "");
    let flattened_with_order = |number| {
        let about =
            format!(r#","__deleted":false,"__op":"u","__source_ts_ms":{BEGIN_MS},"__source_ord":{number}"#);
        flattened_with(number, &about)
    };
    let event = |number: i64| {
        json!({"_id": {"_data": "82"}, "operationType": "update", "ns": {"db": "ace", "coll": "user"},
            "clusterTime": {"$timestamp": {"t": BEGIN_MS / 1_000, "i": number}}, "fullDocument": with_id(number),
            "updateDescription": {"updatedFields": {"last_seen": last_seen(number)}, "removedFields": []}})
        .to_string()
    };
    let forms: [(&str, &dyn Fn(i64) -> String); 6] = [
        ("looked up", &looked_up),
        ("changes", &change),
        ("oplog", &patch),
        ("flattened", &flattened),
        ("flattened with order", &flattened_with_order),
        ("change stream", &event),
    ];
    for (form, update) in forms {
        let context = context(open().table());
        let first = (key(ID), Some(envelope("c", 0, ID, &whole, &Value::Null)));
        let updates = (1..=UPDATES).map(|number| (key(ID), Some(update(number))));
        let log = logged(iter::once(first).chain(updates));
        let report = deliver(&context, CLIENTS, 0, &log[..1]).await;
        assert_eq!(report.effort.writes, 1, "{form}");
        for batch in log[1..].chunks(7) {
            let report = deliver(&context, CLIENTS, 0, batch).await;
            assert_eq!((report.documents, report.quarantined), (batch.len() as u64, 0), "{form}");
            assert_eq!(report.effort.writes, 0, "{form}");
        }
        let label = label(&context.table, PHONE).await;
        assert_eq!(label.as_deref(), Some("Robin's iPhone (robins-iphone)"), "{form}");
    }
}

// Records that should not be

/// What becomes of a record.
#[derive(Debug, Clone)]
enum Outcome {
    /// The device is called so.
    Called(String),
    /// It is read, and the device has no name.
    Nameless,
    /// It is quarantined, with this in the reason.
    Unreadable(&'static str),
}

use Outcome::{Called as IsCalled, Nameless, Unreadable};

/// Records of documents of their own, with what should become of each.
#[derive(Default)]
struct Cases {
    records: Vec<(Option<Vec<u8>>, Vec<u8>)>,
    outcomes: Vec<(Mac, Outcome)>,
}

impl Cases {
    /// `_id` and address of the next document.
    fn next(&self) -> (String, String) {
        let [.., high, low] = self.outcomes.len().to_be_bytes();
        (format!("5a32b0c9e4b047ede36b{high:02x}{low:02x}"), format!("78:67:d7:00:{high:02x}:{low:02x}"))
    }

    /// A record of the next document with its own key. In the value `ID` and `MAC` stand for its `_id` and address.
    fn add(&mut self, value: impl AsRef<[u8]>, outcome: Outcome) {
        let (id, _) = self.next();
        self.add_keyed(Some(key(&id).into_bytes()), value, outcome);
    }

    fn add_keyed(&mut self, key: Option<Vec<u8>>, value: impl AsRef<[u8]>, outcome: Outcome) {
        let (id, mac) = self.next();
        self.outcomes.push((mac.parse().unwrap(), outcome));
        self.records.push((key, replaced(&replaced(value.as_ref(), "ID", &id), "MAC", &mac)));
    }

    /// A document with these fields beside `_id`, as it stands there and in an envelope.
    fn add_document(&mut self, fields: &str, outcome: &Outcome) {
        let document = format!(r#"{{"_id":{{"$oid":"ID"}},{fields}}}"#);
        self.add(&document, outcome.clone());
        let envelope = format!(r#"{{"op":"c","after":{},"source":{{}}}}"#, Value::from(document.as_str()));
        self.add(envelope, outcome.clone());
    }

    fn add_named(&mut self, name: &str) {
        let name_in_json = Value::from(name);
        self.add_document(&format!(r#""mac":"MAC","name":{name_in_json}"#), &IsCalled(name.to_owned()));
    }

    fn log(&self) -> Vec<Logged> {
        (0..)
            .zip(&self.records)
            .map(|(offset, (key, value))| Logged {
                offset,
                timestamp: BEGIN_MS + offset,
                key: key.clone(),
                value: Some(value.clone()),
            })
            .collect()
    }

    /// Delivers all in batches of so many, and looks at what has become of each.
    async fn check(&self, context: &Context, size: usize) {
        let is_unreadable = |(_, outcome): &&(Mac, Outcome)| matches!(outcome, Unreadable(_));
        for (batch, outcomes) in self.log().chunks(size).zip(self.outcomes.chunks(size)) {
            let report = deliver(context, CLIENTS, 0, batch).await;
            let unreadable = outcomes.iter().filter(is_unreadable).count() as u64;
            let reports = (report.documents + report.quarantined, report.quarantined);
            assert_eq!(reports, (batch.len() as u64, unreadable), "{outcomes:?}");
        }
        let is = called(&context.table, self.outcomes.iter().map(|(mac, _)| *mac)).await;
        let (count, kept) =
            quarantine::on_day(&context.table, CLIENTS, Day::of(BEGIN_MS), BEGIN_MS).await.unwrap();
        assert_eq!(count, self.outcomes.iter().filter(is_unreadable).count() as u64, "each is counted once");
        let reasons: BTreeMap<i64, String> =
            kept.into_iter().map(|(_, record)| (record.offset, record.reason)).collect();
        for (offset, ((mac, outcome), (key, value))) in (0..).zip(self.outcomes.iter().zip(&self.records)) {
            let label = is.get(mac).map(|(label, _)| label.as_str());
            let shown = format!(
                "{:?} {}",
                key.as_ref().map(|key| String::from_utf8_lossy(&key[..key.len().min(200)]).into_owned()),
                String::from_utf8_lossy(&value[..value.len().min(300)])
            );
            match outcome {
                IsCalled(name) => assert_eq!(label, Some(name.as_str()), "{shown}"),
                Nameless => assert_eq!(label, None, "{shown}"),
                Unreadable(part) => {
                    assert_eq!(label, None, "{shown}");
                    let reason = reasons.get(&offset).unwrap_or_else(|| panic!("no reason: {shown}"));
                    assert!(reason.contains(part) && reason.len() < 1_000, "{part}: {reason}");
                }
            }
        }
    }
}

fn replaced(text: &[u8], what: &str, by: &str) -> Vec<u8> {
    if let Ok(text) = std::str::from_utf8(text) {
        return text.replace(what, by).into_bytes();
    }
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.windows(what.len()).position(|window| window == what.as_bytes()) {
        replaced.extend_from_slice(&rest[..place]);
        replaced.extend_from_slice(by.as_bytes());
        rest = &rest[place + what.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// No item comes near DynamoDB's 400 KB, and no key near its limits of 2,048 and 1,024 bytes.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
fn check_sizes(table: &Embedded) {
    const MOST: usize = 16 * 1024;
    let mut request = HttpRequest::new(SdkBody::from(json!({"TableName": embedded::TABLE}).to_string()));
    request.headers_mut().insert("x-amz-target", "DynamoDB_20120810.Scan");
    let answer = table.answer(&request).unwrap();
    let answer: Value = serde_json::from_slice(answer.body().bytes().unwrap()).unwrap();
    assert!(answer["LastEvaluatedKey"].is_null(), "more than a page: deliver less");
    let items = answer["Items"].as_array().unwrap();
    assert!(!items.is_empty());
    for item in items {
        let size = item.to_string().len();
        assert!(size < MOST, "an item has {size} bytes: {}", item["pk"]);
        for (name, most) in
            [("pk", 2_048), ("sk", 1_024), ("mac", 2_048), ("label_of", 2_048), ("label", 1_024)]
        {
            if let Some(value) = item.get(name) {
                assert!((1..=most).contains(&value["S"].as_str().unwrap().len()), "{name} is {value}");
            }
        }
    }
}

#[tokio::test]
async fn a_document_of_any_shape_has_its_name_or_none_and_fails_no_batch() {
    let mut cases = Cases::default();
    let usual = [
        ("mac", r#""MAC""#),
        ("name", r#""Name""#),
        ("hostname", r#""host""#),
        ("oui", r#""Oui""#),
        ("is_guest", "false"),
        ("model", r#""U7PG2""#),
        ("type", r#""uap""#),
    ];
    let odd = [
        "null",
        "7",
        "-1.5e300",
        "true",
        "[]",
        r#"["Name"]"#,
        "{}",
        r#"{"name":{"name":"x"}}"#,
        r#"{"$numberLong":"1"}"#,
        r#"{"$oid":"5a32b0c9e4b047ede36a0001"}"#,
        r#"{"$date":1587765360000}"#,
        r#""""#,
        r#""  ""#,
        r#""\u0000""#,
        r#""\u200b\u202e""#,
        "NaN",
        "-Infinity",
    ];
    for (field, _) in usual {
        let label = match field {
            "mac" => Nameless,
            "name" => IsCalled("host".to_owned()),
            "hostname" => IsCalled("Name".to_owned()),
            _ => IsCalled("Name (host)".to_owned()),
        };
        let with = |odd: Option<&str>| {
            let fields = usual.iter().filter_map(|(name, value)| {
                let value = if *name == field { odd? } else { *value };
                Some(format!(r#""{name}":{value}"#))
            });
            fields.collect::<Vec<_>>().join(",")
        };
        cases.add_document(&with(None), &label);
        for odd in odd {
            cases.add_document(&with(Some(odd)), &label);
        }
    }
    for (fields, outcome) in [
        (r#""x":1"#, Nameless),
        (r#""mac":"MAC""#, Nameless),
        (r#""mac":"MAC","oui":"Oui""#, IsCalled("nonguest_Oui".to_owned())),
        (r#""mac":"MAC","oui":"Oui","is_guest":"TRUE""#, IsCalled("guest_Oui".to_owned())),
        (r#""mac":"MAC","name":"a","name":"b""#, IsCalled("b".to_owned())),
        (r#""mac":"MAC","name":"a","name":null"#, Nameless),
        (r#""mac":"MAC","name":"a","":"","x":NaN,"y":[Infinity,-Infinity]"#, IsCalled("a".to_owned())),
        (r#""mac":"MAC","name":"\ud83d""#, Unreadable("is not JSON")),
        (r#""mac":"MAC","name":"\udda8\ud83d""#, Unreadable("is not JSON")),
        (r#""mac":"MAC","name":"a","x":nan"#, Unreadable("is not JSON")),
        (r#""mac":"MAC","name":"a","x":"\q""#, Unreadable("is not JSON")),
        (r#""mac":"MAC","name":"a","x":01"#, Unreadable("is not JSON")),
        (r#""mac":"MAC","name":'a'"#, Unreadable("is not JSON")),
        (r#""mac":"MAC","name":"a","x":undefined"#, Unreadable("is not JSON")),
    ] {
        cases.add_document(fields, &outcome);
    }
    let embedded = open();
    let context = context(embedded.table());
    cases.check(&context, 10).await;
    cases.check(&context, 25).await;
    check_sizes(&embedded);
}

#[tokio::test]
async fn a_name_of_any_text_is_as_it_was_given() {
    let mut cases = Cases::default();
    for name in [
        "📶",
        "👨‍👩‍👧‍👦🏳️‍🌈",
        "\u{202e}gnp.exe",
        "\u{2066}الهاتف\u{2069} של רובין",
        "a\u{200b}b\u{feff}c\u{ad}",
        "a\0b",
        "a\u{1b}[31mred\u{7}\u{8}",
        "two\r\nlines\u{2028}three",
        "\u{10ffff}\u{fffd}\u{fffe}",
        "𐍈𝔘𠜎",
        "*bold* _it_ <b>&amp;</b> `x` [a](tg://user?id=1) @all /status",
        r#"O"Brien \ "TV"	{x}"#,
        "' OR 1=1; --",
        "#",
        "a#78:67:d7:00:00:01",
        "null",
        "NaN",
        "\"",
        "{\"name\":\"x\"}",
    ] {
        cases.add_named(name);
    }
    cases.add_named(&"e\u{301}\u{302}".repeat(200));
    // cut where nobody reads on
    for (one, most) in [("x", 1_024), ("é", 512), ("📶", 256), ("\u{fdfa}", 341)] {
        let name = json!(one.repeat(5_000));
        cases.add_document(&format!(r#""mac":"MAC","name":{name}"#), &IsCalled(one.repeat(most)));
    }
    let long = json!("ﷺ".repeat(2_000));
    let label = format!("{0} ({0})", "ﷺ".repeat(341));
    cases.add_document(
        &format!(r#""mac":"MAC","name":{long},"hostname":{long},"oui":{long}"#),
        &IsCalled(label),
    );
    let embedded = open();
    let context = context(embedded.table());
    cases.check(&context, 10).await;
    cases.check(&context, 1_000).await;
    check_sizes(&embedded);
}

#[tokio::test]
async fn size_and_depth_are_no_danger() {
    const LARGE: usize = 15 * 1024 * 1024;
    let mut cases = Cases::default();
    let large = "x\\n".repeat(LARGE / 3);
    cases.add(
        format!(r#"{{"_id":{{"$oid":"ID"}},"mac":"MAC","name":"small","x":"{large}"}}"#),
        IsCalled("small".to_owned()),
    );
    cases.add(
        format!(r#"{{"_id":{{"$oid":"ID"}},"mac":"MAC","name":"{}"}}"#, "📶".repeat(LARGE / 4)),
        IsCalled("📶".repeat(256)),
    );
    let text = json!(format!(r#"{{"_id":{{"$oid":"ID"}},"mac":"MAC","x":"{large}","name":"small"}}"#));
    cases.add(format!(r#"{{"op":"c","after":{text},"source":{{}}}}"#), IsCalled("small".to_owned()));
    cases.add("{".repeat(LARGE), Unreadable("is not JSON"));
    cases.add("\0".repeat(LARGE), Unreadable("schema registry"));
    cases.add(large, Unreadable("no form that is understood"));
    cases.add_keyed(Some(vec![b'x'; LARGE]), r#"{"_id":"ID","mac":"MAC","name":"a"}"#, Unreadable("_id has"));
    cases.add_keyed(
        Some(key(&"x".repeat(LARGE)).into_bytes()),
        r#"{"_id":"ID","mac":"MAC","name":"a"}"#,
        Unreadable("_id has"),
    );
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"{"after":"#, "}"), (r#"[{"$set":"#, "}]")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        cases.add_document(
            &format!(r#""mac":"MAC","name":"deep","port_table":{deep},"payload":{deep}"#),
            &IsCalled("deep".to_owned()),
        );
        cases.add_document(
            &format!(r#""mac":"MAC","hostname":"host","name":{deep}"#),
            &IsCalled("host".to_owned()),
        );
    }
    let embedded = open();
    let context = context(embedded.table());
    cases.check(&context, 6).await;
    cases.check(&context, 10).await;
    check_sizes(&embedded);
}

#[tokio::test]
async fn what_is_no_text_no_json_or_cut_off_is_quarantined_and_the_others_have_their_names() {
    const DOCUMENT: &str = r#"{"_id":{"$oid":"ID"},"mac":"MAC","name":"Na\u00efve 📶"}"#;
    let called = || IsCalled("Na\u{ef}ve 📶".to_owned());
    let mut cases = Cases::default();
    for end in 0..DOCUMENT.len() {
        // without the end of the address there is no room for `MAC` to be replaced, which does not matter
        let reason = match end {
            0 => "value is empty",
            end if !DOCUMENT.is_char_boundary(end) => "value is not UTF-8",
            _ => "is not JSON",
        };
        cases.add(&DOCUMENT.as_bytes()[..end], Unreadable(reason));
        cases.add(DOCUMENT, called());
    }
    for (from, to) in [
        (&b"Na"[..], &b"N\xff"[..]),
        (b"Na", b"N\xc3\x28"),
        (b"Na", b"N\xed\xa0\xbd"),
        (b"Na", b"N\xf8\x88\x80\x80\x80"),
        (b"Na", b"N\xc0\x80"),
    ] {
        let place = DOCUMENT.find("Na").unwrap();
        let value = [&DOCUMENT.as_bytes()[..place], to, &DOCUMENT.as_bytes()[place + from.len()..]].concat();
        cases.add(value, Unreadable("value is not UTF-8"));
    }
    for (value, reason) in [
        ("7", "no form"),
        ("[]", "no form"),
        ("{}", "no form"),
        ("true", "no form"),
        ("just text", "no form"),
        (r#"{"op":"c","after":null,"source":{}}"#, "op c comes without the document"),
        (r#"{"op":"x","after":null,"source":{}}"#, "an operation that we don't know"),
        (r#"{"op":"u","patch":"{\"$inc\":{\"a\":1},\"$set\":{}}"}"#, "the operator"),
        (r#"{"operationType":"drop","ns":{"db":"ace"}}"#, "about the collection"),
        ("\0\0\0\0\u{7}\u{2}name", "schema registry"),
        (" ", "value is empty"),
    ] {
        cases.add(value, Unreadable(reason));
        cases.add(DOCUMENT, called());
    }
    for (key, outcome) in [
        (None, called()),
        (Some(""), called()),
        (Some("null"), called()),
        (Some("{}"), called()),
        (Some("no JSON at all"), called()),
        (Some("Struct{id=7}"), called()),
        (Some(r#"{"_id":{"_data":"82"}}"#), called()),
        (Some(r#"{"id":"half"#), Unreadable("key is not JSON")),
        (Some(r#""half"#), Unreadable("key is not JSON")),
        (Some("Struct{name=a}"), Unreadable("structure of Kafka Connect")),
        (Some("\0\0\0\0\u{7}\u{2}id"), Unreadable("schema registry")),
    ] {
        cases.add_keyed(key.map(|key| key.as_bytes().to_vec()), DOCUMENT, outcome);
    }
    cases.add_keyed(Some(b"caf\xe9".to_vec()), DOCUMENT, Unreadable("key is not UTF-8"));
    cases.add_keyed(None, r#"{"mac":"MAC","name":"a"}"#, Unreadable("no _id"));
    cases.add_keyed(None, r#"{"_id":null,"mac":"MAC","name":"a"}"#, Unreadable("no _id"));
    cases.add_keyed(None, r#"{"_id":"","mac":"MAC","name":"a"}"#, Unreadable("_id has 0 bytes"));
    let embedded = open();
    let context = context(embedded.table());
    cases.check(&context, 20).await;
    cases.check(&context, 7).await;
    check_sizes(&embedded);
}

#[tokio::test]
async fn an_id_of_any_type_is_one_document_however_it_is_spelled() {
    let long = json!("x".repeat(512)).to_string();
    let ids = [
        r#"{"$oid":"5a32b0c9e4b047ede36a0001"}"#,
        r#""5a4c022""#,
        r#""a \"b\" {c} \\ 📶#/%""#,
        "7",
        "-7.5",
        r#"{"$numberInt":"8"}"#,
        r#"{"$numberLong":"9007199254740993"}"#,
        r#"{"$numberDouble":"1.5"}"#,
        r#"{"$numberDecimal":"1E+3"}"#,
        "true",
        r#"{"$date":1587765360000}"#,
        r#"{"$date":{"$numberLong":"1587765360000"}}"#,
        r#"{"$binary":"FA7YEzXgQXSX9OxmzllH2w==","$type":"04"}"#,
        r#"{"$binary":{"base64":"FA7YEzXgQXSX9OxmzllH2w==","subType":"04"}}"#,
        r#"{"$uuid":"140ed813-35e0-4174-97f4-ec66ce5947db"}"#,
        r#"{"$regularExpression":{"pattern":"a b","options":"i"}}"#,
        r#"{"$timestamp":{"t":1,"i":2}}"#,
        r#"{"$code":"a"}"#,
        r#"{"$symbol":"a"}"#,
        r#"{"$undefined":true}"#,
        r#"{"$minKey":1}"#,
        r#"{"$maxKey":1}"#,
        r#"{"a":1,"b":{"c":"d  e","f":[null]}}"#,
        r#"{"b":1,"a":1}"#,
        &long,
    ];
    let embedded = open();
    let context = context(embedded.table());
    let mut records = Vec::new();
    let mac = |number: usize| format!("78:67:d7:00:00:{number:02x}");
    for (number, id) in ids.iter().enumerate() {
        let value = |name: &str| format!(r#"{{"_id":{id},"mac":"{}","name":"{name}"}}"#, mac(number));
        let spaced = id.replace("\":", "\" : ").replace('{', "{ ");
        let spaced = if id.starts_with('"') { (*id).to_owned() } else { spaced };
        let keys =
            [json!({"id": id}).to_string(), json!({"id": spaced}).to_string(), format!(r#"{{"_id":{id}}}"#)];
        for (key, name) in keys.into_iter().zip(["first", "second", "third"]) {
            records.push((key, Some(value(name))));
        }
    }
    for batch in logged(records).chunks(20) {
        let report = deliver(&context, CLIENTS, 0, batch).await;
        assert_eq!((report.documents, report.quarantined), (batch.len() as u64, 0));
    }
    for (number, id) in ids.iter().enumerate() {
        let names = names::of(&context.table, [mac(number).parse().unwrap()], View::All).await.unwrap();
        let labels: Vec<_> =
            names.values().flat_map(|names| names.all()).map(|name| name.label.as_str()).collect();
        assert_eq!(labels, ["third"], "{id}");
    }
    check_sizes(&embedded);
}

/// Cuts, doubles, turns or fills in bytes.
fn damaged(random: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    const PIECES: [&[u8]; 16] = [
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"null",
        b"NaN",
        b"\xff",
        b"\0",
        b"\\ud83d",
        b"\"name\":",
        b"\"_id\":",
        b"$set",
        b"\"op\":\"d\"",
        b"\xe2\x80\xae",
        b"1e999",
    ];
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(1..4) {
        let from = random.usize(..=bytes.len());
        let to = (from + random.usize(..40)).min(bytes.len());
        match random.u32(..6) {
            0 => bytes.truncate(from),
            1 => drop(bytes.drain(from..to)),
            2 => {
                let again = bytes[from..to].to_vec();
                bytes.splice(from..from, again);
            }
            3 if from < bytes.len() => bytes[from] ^= 1 << random.u32(..8),
            4 => bytes[from..to].reverse(),
            _ => {
                bytes.splice(from..from, random.choice(PIECES).unwrap().iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn damaged_records_fail_no_batch_and_take_no_other_name_away() {
    const WELL: &str = "00:1b:63:00:00:01";
    const ROUNDS: u64 = 40;
    let mut whole: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
    for connector in Connector::ALL {
        let log = simulated_mongodb::log(&mut Rng::with_seed(7), connector);
        whole.extend(log.records.into_iter().map(|record| (record.key, record.value)));
    }
    if let Some(real) = Real::read() {
        let records = real.files.iter().flat_map(|(_, logs)| logs.values().flatten());
        whole.extend(records.map(|logged| (logged.key.clone().unwrap(), logged.value.clone())));
    }
    schedules::run(ROUNDS, |seed| {
        let mut random = Rng::with_seed(seed);
        in_paused_time(async {
            let embedded = open();
            let context = context(embedded.table());
            let well = json!({"_id": "well", "mac": WELL, "name": "well"}).to_string();
            let mut records = vec![(b"well".to_vec(), Some(well.into_bytes()))];
            for _ in 0..150 {
                let (key, value) = random.choice(&whole).unwrap();
                let key = if random.u32(..3) == 0 { damaged(&mut random, key) } else { key.clone() };
                records.push((key, value.as_ref().map(|value| damaged(&mut random, value))));
            }
            let log = logged(records);
            let mut counts = [0, 0];
            for (size, count) in [50, 7].into_iter().zip(&mut counts) {
                for batch in log.chunks(size) {
                    let report =
                        handle(&event(CLIENTS, 0, batch), &context).await.map_err(|why| why.to_string())?;
                    if report.documents + report.quarantined != batch.len() as u64 {
                        return Err(format!("{report:?} of {} records", batch.len()));
                    }
                    *count += report.quarantined;
                }
                let (kept, _) = quarantined(&context.table, CLIENTS).await;
                if kept != *count {
                    return Err(format!("{kept} are counted, of {count}"));
                }
            }
            if label(&context.table, WELL).await.as_deref() != Some("well") {
                return Err("another name is gone".to_owned());
            }
            check_sizes(&embedded);
            if counts[0] == 0 { Err("nothing was damaged".to_owned()) } else { Ok(()) }
        })
    });
}

#[tokio::test]
async fn a_record_at_which_the_decoder_panics_is_quarantined() {
    let asks = "panic-in-the-decoder";
    let records = [
        (key(ID), Some(envelope("c", 1, ID, &phone("Robin's iPhone"), &Value::Null))),
        (key(ID), Some(envelope("u", 2, ID, &phone(asks), &described(&json!({"name": asks}))))),
        (key(ID), Some(envelope("u", 3, ID, &Value::Null, &described(&json!({"name": asks}))))),
        (key(ID), Some(json!({"_id": ID, "name": asks}).to_string())),
        (
            key("5a32b0c9e4b047ede36a0002"),
            Some(json!({"mac": "78:67:d7:48:e5:c7", "name": "laptop"}).to_string()),
        ),
    ];
    let context = context(open().table());
    for _twice in 0..2 {
        let report = deliver(&context, CLIENTS, 0, &logged(records.clone())).await;
        assert_eq!((report.documents, report.quarantined), (2, 3));
        let (count, reasons) = quarantined(&context.table, CLIENTS).await;
        assert_eq!((count, reasons.len()), (3, 3));
        assert!(reasons.iter().all(|reason| reason.contains("the decoder panicked")), "{reasons:?}");
        assert_eq!(label(&context.table, PHONE).await.as_deref(), Some("Robin's iPhone"));
        assert_eq!(label(&context.table, "78:67:d7:48:e5:c7").await.as_deref(), Some("laptop"));
    }
}
