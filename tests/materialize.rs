//! Topic `ssid_alert_list` becomes the watch list: every form of a record, and whatever the delivery.
//!
//! Requests go through the SDK's client into an embedded DynamoDB. `PROBEGRAM_SEED` runs a single random schedule again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use domain::{Day, Origin, Pattern, Ssid, Watch};
use fastrand::Rng;
use materialize::{Context, Report, Topics, handle};
use probegram::embedded::Embedded;
use probegram::template::Template;
use probegram_tests::scheduled_table::{Fate, ScheduledTable};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use state::{Table, quarantine, watches};
use tokio::task::{JoinHandle, LocalSet};

/// An afternoon in 2026.
const BEGIN_MS: i64 = 1_795_000_000_000;
const TOPIC: &str = "ssid_alert_list";
const USUAL_MS: i64 = Watch::COOLDOWN_MS;

fn table() -> Table {
    Embedded::open(None, &Template::read().unwrap()).unwrap().table()
}

fn context(table: Table) -> Context {
    Context {
        table,
        group_prefix: "materialize".to_owned(),
        topics: Topics::default(),
        now_ms: || BEGIN_MS + 1_000_000,
    }
}

/// A record of a log.
#[derive(Debug, Clone)]
struct Logged {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// A record that was written as many milliseconds after the beginning as its offset says.
fn logged(offset: i64, key: impl AsRef<[u8]>, value: Option<&str>) -> Logged {
    Logged {
        offset,
        timestamp: BEGIN_MS + offset,
        key: Some(key.as_ref().to_vec()),
        value: value.map(|value| value.as_bytes().to_vec()),
    }
}

fn of_topic(topic: &str, partitions: &[(i32, &[Logged])]) -> Box<RawValue> {
    let base64 =
        |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| base64_simd::STANDARD.encode_to_string(bytes));
    let records: BTreeMap<String, Vec<_>> = partitions
        .iter()
        .map(|(partition, batch)| {
            let records = batch.iter().map(|logged| {
                json!({"topic": topic, "partition": partition, "offset": logged.offset, "timestamp": logged.timestamp,
                    "timestampType": "CREATE_TIME", "key": base64(&logged.key), "value": base64(&logged.value), "headers": []})
            });
            (format!("{topic}-{partition}"), records.collect())
        })
        .collect();
    to_raw_value(&json!({"eventSource": "SelfManagedKafka", "records": records})).unwrap()
}

fn event(partitions: &[(i32, &[Logged])]) -> Box<RawValue> {
    of_topic(TOPIC, partitions)
}

async fn deliver(context: &Context, batch: &[Logged]) -> Report {
    handle(&event(&[(0, batch)]), context).await.unwrap()
}

fn watch(ssid: impl AsRef<[u8]>, reason: Option<&str>, made_ms: i64, cooldown_ms: i64) -> Watch {
    Watch {
        origin: Origin::Topic,
        pattern: Pattern::exact(Ssid::new(ssid.as_ref()).unwrap()),
        reason: reason.map(str::to_owned),
        made_ms,
        cooldown_ms,
    }
}

/// What is watched: name and reason.
async fn list(context: &Context) -> Vec<(String, Option<String>)> {
    let watches = watches::all(&context.table).await.unwrap();
    watches.into_iter().map(|watch| (watch.pattern.to_string(), watch.reason)).collect()
}

fn named(list: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
    list.iter().map(|(name, reason)| ((*name).to_owned(), Some((*reason).to_owned()))).collect()
}

#[tokio::test]
async fn every_form_of_a_record_is_watched_for() {
    let connect =
        |payload: &str| format!(r#"{{"schema":{{"type":"string","optional":false}},"payload":{payload}}}"#);
    for (key, value, expected) in [
        (
            Some("RNM0".to_owned()),
            "home network".to_owned(),
            watch("RNM0", Some("home network"), BEGIN_MS, USUAL_MS),
        ),
        (Some("RNM0".to_owned()), "{}".to_owned(), watch("RNM0", None, BEGIN_MS, USUAL_MS)),
        (
            Some("RNM0".to_owned()),
            r#"{"REASON":"home network","COOLDOWN_S":60}"#.to_owned(),
            watch("RNM0", Some("home network"), BEGIN_MS, 60_000),
        ),
        (
            Some("\"RNM0\"".to_owned()),
            r#"{"reason":"home network","cooldown_s":0}"#.to_owned(),
            watch("RNM0", Some("home network"), BEGIN_MS, 0),
        ),
        (
            Some(connect("\"RNM0\"")),
            connect(r#"{"reason":"home network"}"#),
            watch("RNM0", Some("home network"), BEGIN_MS, USUAL_MS),
        ),
        (
            Some(connect(r#"{"ROWKEY":"RNM0"}"#)),
            connect("\"home network\""),
            watch("RNM0", Some("home network"), BEGIN_MS, USUAL_MS),
        ),
        (
            Some(r#"{"ssid":"Кафе ☕"}"#.to_owned()),
            "\"home\"".to_owned(),
            watch("Кафе ☕", Some("home"), BEGIN_MS, USUAL_MS),
        ),
        (
            None,
            r#"{"SSID":"RNM0","REASON":"home network"}"#.to_owned(),
            watch("RNM0", Some("home network"), BEGIN_MS, USUAL_MS),
        ),
    ] {
        let context = context(table());
        let record = Logged {
            offset: 0,
            timestamp: BEGIN_MS,
            key: key.clone().map(String::into_bytes),
            value: Some(value.clone().into_bytes()),
        };
        let report = deliver(&context, &[record]).await;
        assert_eq!((report.listed, report.quarantined), (1, 0), "{key:?} {value}");
        assert_eq!(watches::all(&context.table).await.unwrap(), [expected], "{key:?} {value}");
    }
    let context = context(table());
    deliver(&context, &[logged(0, b"caf\xe9", Some("no UTF-8"))]).await;
    assert_eq!(
        watches::all(&context.table).await.unwrap(),
        [watch(b"caf\xe9", Some("no UTF-8"), BEGIN_MS, USUAL_MS)]
    );
}

#[tokio::test]
async fn the_latest_record_of_a_name_holds_in_one_batch_and_in_many() {
    let log = [
        logged(0, "RNM0", Some("home")),
        logged(1, "RNM-GUEST", Some("guests")),
        logged(2, "\"RNM0\"", Some(r#"{"reason":"home network"}"#)),
    ];
    let expected = [
        watch("RNM-GUEST", Some("guests"), BEGIN_MS + 1, USUAL_MS),
        watch("RNM0", Some("home network"), BEGIN_MS, USUAL_MS),
    ];
    for size in 1..=3 {
        let context = context(table());
        for batch in log.chunks(size) {
            deliver(&context, batch).await;
        }
        assert_eq!(watches::all(&context.table).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn what_was_deleted_is_not_brought_back_by_an_older_record() {
    for deletion in [None, Some("null"), Some(r#"{"schema":null,"payload":null}"#)] {
        let context = context(table());
        let log = [logged(3, "RNM0", Some("home")), logged(4, "RNM0", deletion)];
        let report = deliver(&context, &log).await;
        assert_eq!((report.listed, report.deleted), (1, 1));
        assert_eq!(list(&context).await, []);
        deliver(&context, &log[..1]).await;
        assert_eq!(list(&context).await, []);
        deliver(&context, &[logged(5, "RNM0", Some("again"))]).await;
        assert_eq!(list(&context).await, named(&[("RNM0", "again")]));
    }
}

#[tokio::test]
async fn a_watch_counts_from_its_first_record_and_anew_after_a_deletion() {
    let context = context(table());
    for (record, made) in [
        (logged(0, "RNM0", Some("home")), Some(0)),
        (logged(7, "RNM0", Some("another reason")), Some(0)),
        (logged(8, "RNM0", None), None),
        (logged(9, "RNM0", Some("home")), Some(9)),
        (logged(10, "RNM0", Some(r#"{"reason":"home","cooldown_s":1}"#)), Some(9)),
    ] {
        deliver(&context, std::slice::from_ref(&record)).await;
        let watches = watches::all(&context.table).await.unwrap();
        assert_eq!(
            watches.first().map(|watch| watch.made_ms - BEGIN_MS),
            made,
            "after offset {}",
            record.offset
        );
    }
}

#[tokio::test]
async fn two_partitions_make_one_list() {
    let context = context(table());
    let (first, second) = (
        [logged(0, "RNM0", Some("home")), logged(1, "skyclub", Some("airport"))],
        [logged(0, "RNM-GUEST", Some("guests"))],
    );
    let report = handle(&event(&[(0, &first), (11, &second)]), &context).await.unwrap();
    assert_eq!(report.listed, 3);
    let all = [("RNM-GUEST", "guests"), ("RNM0", "home"), ("skyclub", "airport")];
    assert_eq!(list(&context).await, named(&all));
    // the same offset in one partition does not pass for that in the other
    deliver(&context, &[logged(2, "skyclub", None)]).await;
    handle(&event(&[(11, &[logged(1, "FULLERS", Some("pub"))])]), &context).await.unwrap();
    assert_eq!(list(&context).await, named(&[("FULLERS", "pub"), ("RNM-GUEST", "guests"), ("RNM0", "home")]));
}

#[tokio::test]
async fn a_topic_that_is_created_again_makes_the_list_anew() {
    let context = context(table());
    let old =
        [logged(0, "RNM0", Some("home")), logged(1, "RNM-GUEST", Some("guests")), logged(2, "FULLERS", None)];
    deliver(&context, &old).await;
    let later = Logged { timestamp: BEGIN_MS + 10, ..logged(0, "RNM-GUEST", Some("guests again")) };
    deliver(&context, std::slice::from_ref(&later)).await;
    assert_eq!(
        watches::all(&context.table).await.unwrap(),
        [watch("RNM-GUEST", Some("guests again"), later.timestamp, USUAL_MS)]
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_quarantined_and_the_batch_succeeds() {
    let context = context(table());
    let unreadable = [
        (
            Some(&b"RNM0"[..]),
            Some(&b"\0\0\0\0\x08\x02\x18home network"[..]),
            "VALUE_FORMAT='JSON' (key RNM0)",
        ),
        (Some(b"\0\0\0\0\x07\x08RNM0"), None, "KEY_FORMAT='KAFKA' (key \\x00\\x00\\x00\\x00\\x07\\x08RNM0)"),
        (Some(b"caf\xe9"), Some(b"\xff"), "value is not UTF-8"),
        (Some(b"RNM0"), Some(b"{\"reason\":"), "not a JSON object"),
        (None, Some(b"home network"), "no SSID: let the record's key be the network's name"),
        (Some(&[b'x'; 300]), Some(b"home network"), "at most 255 bytes, not 300 (key xxxx"),
        (Some(b"RNM0"), Some(b"panic-in-the-decoder"), "the decoder panicked"),
    ];
    let mut log: Vec<Logged> = (0..)
        .zip(unreadable)
        .map(|(offset, (key, value, _))| Logged {
            offset,
            timestamp: BEGIN_MS + offset,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
        })
        .collect();
    log.push(logged(7, "RNM-GUEST", Some("guests")));
    for _twice in 0..2 {
        let report = deliver(&context, &log).await;
        assert_eq!((report.listed, report.quarantined), (1, 7));
        let (count, records) =
            quarantine::on_day(&context.table, TOPIC, Day::of(BEGIN_MS), BEGIN_MS).await.unwrap();
        assert_eq!((count, records.len()), (7, 7), "counted once");
        for ((_, record), (_, value, reason)) in records.iter().zip(unreadable) {
            assert!(record.reason.contains(reason), "{reason}: {}", record.reason);
            assert_eq!(record.value, value.unwrap_or_default());
        }
        assert_eq!(list(&context).await, named(&[("RNM-GUEST", "guests")]));
    }
}

#[tokio::test]
async fn a_record_without_a_time_is_quarantined() {
    let context = context(table());
    let timeless = Logged { timestamp: -1, ..logged(0, "RNM0", Some("home")) };
    let report = deliver(&context, &[timeless, logged(1, "RNM-GUEST", Some("guests"))]).await;
    assert_eq!((report.listed, report.quarantined), (1, 1));
    assert_eq!(list(&context).await, named(&[("RNM-GUEST", "guests")]));
    let (_, records) = quarantine::on_day(&context.table, TOPIC, Day::of(-1), BEGIN_MS).await.unwrap();
    assert!(records[0].1.reason.contains("no Kafka timestamp"), "{}", records[0].1.reason);
}

#[tokio::test]
async fn a_key_or_value_that_is_not_base64_is_quarantined() {
    let context = context(table());
    let record = |offset: i64, key: &str, value: &str| json!({"topic": TOPIC, "partition": 0, "offset": offset, "timestamp": BEGIN_MS, "key": key, "value": value});
    let records = [record(0, "!", "e30="), record(1, "Uk5NMA==", "!"), record(2, "Uk5NMA==", "e30=")];
    let event = to_raw_value(&json!({"records": {"t-0": records}})).unwrap();
    let report = handle(&event, &context).await.unwrap();
    assert_eq!((report.listed, report.quarantined), (1, 2));
    let (_, records) = quarantine::on_day(&context.table, TOPIC, Day::of(BEGIN_MS), BEGIN_MS).await.unwrap();
    assert!(records[0].1.reason.contains("its key in the event is not base64 (key !)"));
    assert!(records[1].1.reason.contains("its value in the event is not base64 (key RNM0)"));
}

#[tokio::test]
async fn a_topic_that_means_nothing_is_ignored_and_leaves_nothing() {
    let context = context(table());
    let log = [logged(0, "RNM0", Some("home")), logged(1, "RNM0", None)];
    let report = handle(&of_topic("weather", &[(0, &log), (1, &log)]), &context).await.unwrap();
    assert_eq!(report, Report { ignored: 4, ..Report::default() });
    assert_eq!(list(&context).await, []);
    assert_eq!(state::progress::of_group(&context.table, &context.group("weather")).await.unwrap(), []);

    let topics = Topics { watch_list: "ssid_alert_list_01".to_owned(), ..Topics::default() };
    let renamed = Context { topics, ..context };
    let report = handle(&of_topic("ssid_alert_list_01", &[(0, &log[..1])]), &renamed).await.unwrap();
    assert_eq!((report.listed, report.ignored), (1, 0));
    assert_eq!(list(&renamed).await, named(&[("RNM0", "home")]));
}

#[tokio::test]
async fn what_was_listed_before_the_offset_at_which_a_group_begins_is_not_ours() {
    let context = context(table());
    let tracker = state::progress::Tracker::new(&context.table, &context.group(TOPIC), TOPIC, 0);
    tracker.begin_at(1, BEGIN_MS).await.unwrap();
    let log = [logged(0, "RNM0", Some("home")), logged(1, "RNM-GUEST", Some("guests"))];
    // both of a time at which the group had not begun, or the topic would pass for a new one
    let log = log.map(|logged| Logged { timestamp: BEGIN_MS - 1, ..logged });
    assert_eq!(deliver(&context, &log).await.listed, 1);
    assert_eq!(list(&context).await, named(&[("RNM-GUEST", "guests")]));
}

/// A log of few names, so that each has a history.
fn random_log(random: &mut Rng, names: &[&str], length: i64) -> Vec<Logged> {
    (0..length)
        .map(|offset| {
            let name = *random.choice(names).unwrap();
            let key = if random.bool() { name.to_owned() } else { format!("\"{name}\"") };
            match random.u32(..8) {
                0..3 => logged(offset, key, None),
                3 => logged(offset, key, Some("{poison")),
                4 => logged(offset, key, Some(&format!(r#"{{"cooldown_s":{offset}}}"#))),
                _ => logged(offset, key, Some(&format!("reason {offset}"))),
            }
        })
        .collect()
}

/// What a table over the logs says, the plain way.
fn folded(logs: &[Vec<Logged>]) -> Vec<Watch> {
    let mut watches: BTreeMap<String, Watch> = BTreeMap::new();
    for logged in logs.iter().flatten() {
        let name = String::from_utf8(logged.key.clone().unwrap()).unwrap().trim_matches('"').to_owned();
        let value = logged.value.clone().map(|value| String::from_utf8(value).unwrap());
        match value.as_deref() {
            None => drop(watches.remove(&name)),
            Some("{poison") => {}
            Some(value) => {
                let made_ms = watches.get(&name).map_or(logged.timestamp, |watch| watch.made_ms);
                let (reason, cooldown_ms) = match value.starts_with('{') {
                    true => (None, logged.offset * 1000),
                    false => (Some(value), USUAL_MS),
                };
                watches.insert(name.clone(), watch(name, reason, made_ms, cooldown_ms));
            }
        }
    }
    let mut watches: Vec<Watch> = watches.into_values().collect();
    watches.sort_by(|a, b| a.pattern.cmp(&b.pattern));
    watches
}

#[tokio::test]
async fn a_log_that_is_cut_and_delivered_again_at_every_border_ends_the_same() {
    for seed in 0..3 {
        let mut random = Rng::with_seed(seed);
        let log = random_log(&mut random, &["RNM0", "FULLERS"], 7);
        let expected = folded(std::slice::from_ref(&log));
        for border in 0..=log.len() {
            for again in 0..=border {
                let context = context(table());
                for batch in [&log[..border], &log[again..], &log[..border]] {
                    if !batch.is_empty() {
                        deliver(&context, batch).await;
                    }
                }
                let watches = watches::all(&context.table).await.unwrap();
                assert_eq!(watches, expected, "seed {seed}, cut at {border} and {again}");
            }
        }
    }
}

/// One partition of the topic, and how far it is read.
struct Partition {
    log: Vec<Logged>,
    position: usize,
    in_flight: Option<(JoinHandle<bool>, usize)>,
}

#[test]
fn whatever_overlaps_fails_or_is_delivered_again_the_list_ends_the_same() {
    let one = std::env::var("PROBEGRAM_SEED").ok().map(|text| text.parse::<u64>().expect("a number"));
    for seed in one.map_or(0..50, |seed| seed..seed + 1) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, overlapping(seed));
    }
}

/// Two partitions, each read by one invocation after the other, of which some are given up and go on all the same, beside what
/// comes after them. Answers come in any order, some are stale, some are lost.
async fn overlapping(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let table = ScheduledTable::new(Embedded::open(None, &Template::read().unwrap()).unwrap());
    let context = Rc::new(context(table.scheduled()));
    let mut partitions = [["RNM0", "FULLERS"], ["skyclub", "RNM-GUEST"]].map(|names| Partition {
        log: random_log(&mut random, &names, 12),
        position: 0,
        in_flight: None,
    });
    let invoke = |partition: usize, batch: &[Logged]| {
        let event = event(&[(i32::try_from(partition).unwrap(), batch)]);
        let context = Rc::clone(&context);
        tokio::task::spawn_local(async move { handle(&event, &context).await.is_ok() })
    };
    let mut zombies: Vec<JoinHandle<bool>> = Vec::new();
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(steps < 100_000, "seed {seed}: does not come to an end");
        // all run until they wait
        tokio::time::sleep(Duration::from_millis(1)).await;
        for partition in &mut partitions {
            if partition.in_flight.as_ref().is_some_and(|(invocation, _)| invocation.is_finished()) {
                let (invocation, next) = partition.in_flight.take().unwrap();
                if invocation.await.unwrap() {
                    partition.position = next;
                }
            }
        }
        zombies.retain(|zombie| !zombie.is_finished());
        let is_read = |partition: &Partition| {
            partition.in_flight.is_none() && partition.position == partition.log.len()
        };
        if zombies.is_empty() && partitions.iter().all(is_read) {
            break;
        }
        let index = random.usize(..2);
        let partition = &mut partitions[index];
        match random.u32(..10) {
            0 if steps < 400 => {
                // times out, and goes on unseen
                zombies.extend(partition.in_flight.take().map(|(invocation, _)| invocation));
            }
            1..4 if partition.in_flight.is_none() && partition.position < partition.log.len() => {
                let next = (partition.position + random.usize(1..5)).min(partition.log.len());
                // what was read before may be delivered again
                let from = random.usize(..=partition.position);
                let batch = &partition.log[from..next];
                if steps < 400 && random.bool() {
                    zombies.push(invoke(index, batch));
                }
                partition.in_flight = Some((invoke(index, batch), next));
            }
            _ => {
                let waiting = table.waiting();
                if waiting > 0 {
                    let fate = match random.u32(..20) {
                        0 if steps < 400 => Fate::Lost,
                        1 if steps < 400 => Fate::AnswerLost,
                        2..8 => Fate::Stale,
                        _ => Fate::Answered,
                    };
                    table.release(random.usize(..waiting), fate, &mut random);
                }
            }
        }
    }
    let logs = partitions.map(|partition| partition.log);
    let poison = logs.iter().flatten().filter(|logged| logged.value.as_deref() == Some(b"{poison")).count();
    let direct = table.direct();
    assert_eq!(watches::all(&direct).await.unwrap(), folded(&logs), "seed {seed}");
    let (count, _) = quarantine::on_day(&direct, TOPIC, Day::of(BEGIN_MS), BEGIN_MS).await.unwrap();
    assert_eq!(count, poison as u64, "seed {seed}");
}
