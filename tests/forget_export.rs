//! What `probegram export` and `probegram forget` promise, beside a running `probegram local`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use domain::{Mac, Ssid, SsidElement};
use jiff::Timestamp;
use probegram_tests::local::{Local, encoded, fill_spool, probe, table};
use probegram_tests::process::{Running, Signal, binary};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use wiremock::matchers::header;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const LAPTOP: Mac = Mac::new([0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15]);
const PHONE: Mac = Mac::new([0x62, 0x45, 0xb6, 0xc6, 0x7e, 0x03]);
/// What must not be said: the address and the key of a webhook, and the hash of an owner's code.
const SECRETS: [&str; 3] = ["https://hook.example/s3cr3t", "k3y-0f-the-h00k", "c0de-0f-the-0wner"];

type Items = BTreeMap<(String, String), Map<String, Value>>;

/// All items but those in which a program writes down while it waits how far it has come.
fn scan(data: &Path) -> Items {
    let mut request = json!({"TableName": "probegram"});
    let mut all = Items::new();
    loop {
        let answer = table(data, "Scan", &request);
        for item in answer["Items"].as_array().unwrap() {
            let mut item = item.as_object().unwrap().clone();
            let mut key = |name| item.remove(name).unwrap()["S"].as_str().unwrap().to_owned();
            all.insert((key("pk"), key("sk")), item);
        }
        match answer.get("LastEvaluatedKey") {
            None | Some(Value::Null) => break,
            Some(key) => request["ExclusiveStartKey"] = key.clone(),
        }
    }
    all.retain(|(pk, _), _| !pk.starts_with("PROGRESS#") && !pk.starts_with("WATCHDOG"));
    all
}

/// The exit code, standard output, and standard error.
fn probegram(data: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary("probegram"));
    let output = command.args(arguments).arg("--data").arg(data).env_remove("RUST_LOG").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn export(data: &Path, devices: &[&str]) -> Items {
    let (code, lines, said) = probegram(data, &[&["export"], devices].concat());
    assert_eq!(code, Some(0), "{said}");
    for secret in SECRETS {
        assert!(!lines.contains(secret) && !said.contains(secret), "{secret} is said: {lines}");
    }
    let mut items = Items::new();
    for line in lines.lines() {
        let mut line: Map<String, Value> = serde_json::from_str(line).unwrap();
        let mut key = |name| line.remove(name).unwrap().as_str().unwrap().to_owned();
        let key = (key("pk"), key("sk"));
        if !key.0.starts_with("PROGRESS#") && !key.0.starts_with("WATCHDOG") {
            assert_eq!(items.insert(key, line), None, "an item twice");
        }
    }
    items
}

/// Whether an exported value says what the table does.
fn says(name: &str, exported: &Value, attribute: &Value) -> bool {
    let (kind, value) = attribute.as_object().unwrap().iter().next().unwrap();
    match (kind.as_str(), exported) {
        ("N", Value::String(time)) => {
            let ms = time.parse::<Timestamp>().unwrap().as_millisecond();
            let number = if name == "expires" { ms / 1000 } else { ms };
            value.as_str() == Some(number.to_string().as_str())
        }
        ("N", number) => value.as_str() == Some(number.to_string().as_str()),
        ("S" | "BOOL", same) => same == value,
        // how lists, maps and bytes are told has unit tests
        (_, other) => !other.is_null(),
    }
}

/// A table with something of everything, and how many records the spool holds.
fn fill(data: &Path) -> (Local, i64) {
    let now = runtime::clock::now_ms();
    let named = |ssid: &[u8]| SsidElement::Named(Ssid::new(ssid.to_vec()).unwrap());
    let mut records = Vec::new();
    for days_ago in 1..4 {
        for mac in [LAPTOP, PHONE] {
            let time = now - days_ago * DAY_MS;
            for ssid in [SsidElement::Wildcard, named(b"RNM0"), named(b"caf\xe9")] {
                records.push(encoded(&probe(mac, time, ssid)));
            }
        }
    }
    let end = fill_spool(data, &records);
    let local = Local::in_directory(data);
    local.wait_until_caught_up(end);
    let [url, key, code] = SECRETS;
    let mut items = vec![
        json!({"pk": {"S": "HOOKS"}, "sk": {"S": "h1"}, "url": {"S": url}, "signing_key": {"S": key}, "name": {"S": "door"}}),
        json!({"pk": {"S": format!("CODE#{code}")}, "sk": {"S": "CODE"}}),
        json!({"pk": {"S": "OTHERS"}, "sk": {"S": "of a later version"}, "is": {"BOOL": true}}),
        json!({"pk": {"S": "CHATS"}, "sk": {"S": "77"}, "muted": {"L": [{"S": LAPTOP.to_string()}]}}),
    ];
    for mac in [LAPTOP, PHONE].map(|mac| mac.to_string()) {
        items.extend([
            json!({"pk": {"S": "NAMES#77"}, "sk": {"S": mac}, "name": {"S": "mine"}}),
            json!({"pk": {"S": format!("DOCUMENT#unifi.ace.user#{mac}")}, "sk": {"S": "DOCUMENT"}, "says": {"S": mac}}),
            json!({"pk": {"S": "EPISODE#77#1"}, "sk": {"S": mac}, "count": {"N": "3"}}),
            json!({"pk": {"S": "QUARANTINE#pcap#2020-04-22"}, "sk": {"S": format!("RECORD#pcap@1/0#{mac}")}, "says": {"S": mac.to_uppercase()}}),
        ]);
    }
    for item in items {
        table(data, "PutItem", &json!({"TableName": "probegram", "Item": item}));
    }
    (local, end)
}

fn holds(key: &(String, String), item: &Map<String, Value>, mac: Mac) -> bool {
    format!("{key:?}{}", json!(item)).to_lowercase().contains(&mac.to_string())
}

#[test]
fn an_export_is_the_whole_table_without_its_secrets_and_that_of_a_device_what_is_about_it() {
    let data = TempDir::new().unwrap();
    let (_local, _) = fill(data.path());
    let mut there = scan(data.path());
    there.retain(|(pk, _), _| !pk.starts_with("CODE#"));
    let exported = export(data.path(), &[]);
    assert_eq!(exported.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>());
    for (key, item) in &there {
        let line = &exported[key];
        for (name, attribute) in item {
            match line.get(name) {
                Some(value) => assert!(says(name, value, attribute), "{key:?} {name}: {value}, {attribute}"),
                None => {
                    assert!(key.0 == "HOOKS" && ["url", "signing_key"].contains(&name.as_str()), "{name}")
                }
            }
        }
        let more = |name: &&String| {
            !item.contains_key(*name) && !["kind", "network", "network_hex"].contains(&name.as_str())
        };
        assert_eq!(line.keys().find(more), None, "{key:?}");
    }
    let of_laptop = export(data.path(), &["A4-83-E7-4E-39-15"]);
    let about: Vec<_> =
        there.iter().filter(|(key, item)| holds(key, item, LAPTOP)).map(|(key, _)| key).collect();
    assert_eq!(of_laptop.keys().collect::<Vec<_>>(), about);
}

#[test]
fn a_forgotten_device_is_gone_in_rebuilds_too_and_counts_again_when_it_is_heard_again() {
    let data = TempDir::new().unwrap();
    let (local, end) = fill(data.path());
    let before = scan(data.path());
    let (code, _, said) = probegram(data.path(), &["forget", "no address", "--yes"]);
    assert!(code == Some(2) && said.contains("no address"), "{said}");
    let (code, _, said) = probegram(data.path(), &["forget", "a4:83:e7:4e:39:15"]);
    assert!(code != Some(0) && said.contains("--yes"), "{said}");
    assert_eq!(scan(data.path()), before, "it was not said that it is meant");

    for _again in 0..2 {
        let (code, told, said) = probegram(data.path(), &["forget", "A4-83-E7-4E-39-15", "--yes"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(told.contains("a4:83:e7:4e:39:15 is forgotten"), "{told}");
        let after = scan(data.path());
        let left = after.iter().filter(|(key, item)| holds(key, item, LAPTOP)).map(|(key, _)| key.0.as_str());
        let document = format!("DOCUMENT#unifi.ace.user#{LAPTOP}");
        assert_eq!(left.collect::<Vec<_>>(), ["CHATS", &document, &format!("FORGET#{LAPTOP}")]);
        for (key, item) in before.iter().filter(|(key, item)| !holds(key, item, LAPTOP)) {
            assert_eq!(after.get(key), Some(item), "{key:?}");
        }
    }
    let phone = local.device(PHONE);
    assert_eq!(phone.status, 200, "{phone:?}: {}", local.program.stderr());

    let (code, told, said) = probegram(data.path(), &["rebuild"]);
    assert_eq!(code, Some(0), "{told}{said}");
    assert!(told.contains("Generation 2 serves."), "{told}");
    let of_laptop = format!("DEVICE#{LAPTOP}");
    let tallies = |data: &Path| scan(data).keys().filter(|(pk, _)| pk.ends_with(&of_laptop)).count();
    assert_eq!(tallies(data.path()), 0, "a rebuild has brought it back");

    fill_spool(data.path(), &[encoded(&probe(LAPTOP, runtime::clock::now_ms(), SsidElement::Wildcard))]);
    local.wait_until_caught_up(end + 1);
    assert_eq!(local.json(&format!("/v1/devices/{LAPTOP}"))["probe_count"], 1);
}

#[test]
fn an_exported_file_is_its_owner_s_alone_and_nobody_s_file_is_written_over() {
    let data = TempDir::new().unwrap();
    let (_local, _) = fill(data.path());
    let path = data.path().join("mine.jsonl");
    let (code, told, said) = probegram(data.path(), &["export", "--output", path.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    let lines = fs::read_to_string(&path).unwrap().lines().count();
    assert!(told.contains(&format!("{lines} of ")), "{told}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, _, said) = probegram(data.path(), &["export", "--output", path.to_str().unwrap()]);
    assert!(code != Some(0) && said.contains("is there already"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_interrupted_leaves_no_file() {
    let dynamodb = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_json(json!({"Table": {"TableStatus": "ACTIVE"}}));
    let describe = header("x-amz-target", "DynamoDB_20120810.DescribeTable");
    Mock::given(describe).respond_with(answer).mount(&dynamodb).await;
    let scan = header("x-amz-target", "DynamoDB_20120810.Scan");
    let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(600));
    Mock::given(scan).respond_with(late).mount(&dynamodb).await;
    let folder = TempDir::new().unwrap();
    let mut export = Command::new(binary("probegram"));
    export
        .args(["export", "--dynamodb-endpoint", &dynamodb.uri(), "--output"])
        .arg(folder.path().join("x.jsonl"));
    export.env_remove("RUST_LOG").envs([
        ("AWS_REGION", "eu-west-2"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "y"),
    ]);
    let mut export = Running::start(&mut export);
    let is_asked = async {
        let of_scan = |request: &Request| request.headers["x-amz-target"] == "DynamoDB_20120810.Scan";
        while !dynamodb.received_requests().await.unwrap().iter().any(of_scan) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_asked).await.expect("a scan");
    export.signal(Signal::SIGINT);
    assert_eq!(export.wait(Duration::from_secs(60)).code(), Some(130), "{}", export.stderr());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "half an export is left");
}
