//! What `probegram unifi-import` makes of the exports of a UniFi controller: in the table, and in the topics of a real Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bson::oid::ObjectId;
use domain::Mac;
use domain::document_record::{self, Change, DocumentRecord};
use probegram::embedded::Embedded;
use probegram::template::Template;
use probegram_tests::kafka::{Kafka, NewRecord, Record};
use probegram_tests::local::Local;
use probegram_tests::process::{Running, Signal, binary};
use probegram_tests::shared;
use serde_json::{Value, json};
use state::names::{self, View};
use tempfile::TempDir;

/// How long the command may take. It bounds a hang, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

const USERS: &str = "unifi.ace.user";
const DEVICES: &str = "unifi.ace.device";
const PHONE: &str = "a4:83:e7:4e:39:15";
const SPEAKER: &str = "40:b4:cd:58:40:8f";
const GUEST: &str = "78:67:d7:48:e5:c7";
const ATTIC: &str = "80:2a:a8:00:01:02";

/// What is asserted to leave no controller.
const SECRET: &str = "x_authkey-of-the-device";

/// A controller's clients, as the API gives them.
fn clients() -> Vec<Value> {
    let client = |number: u8, mac: &str, name: Option<&str>, hostname: Option<&str>, is_guest: bool| {
        let mut client = json!({
            "_id": id(number), "mac": mac, "oui": "Apple", "is_guest": is_guest, "first_seen": 1_598_100_273_i64 + i64::from(number),
            "ip": "192.168.0.2", "note": SECRET, "fingerprint": {"name": "no name", "mac": "00:11:22:33:44:55", "ids": [1, 2.5]},
            "history": [{"mac": "00:11:22:33:44:55"}], "wifi_tx_attempts": -1,
        });
        for (field, text) in [("name", name), ("hostname", hostname)] {
            if let Some(text) = text {
                client[field] = json!(text);
            }
        }
        client
    };
    vec![
        client(1, PHONE, Some("Robin's \u{1f4f1} \"phone\""), Some("robins-iphone"), false),
        client(2, SPEAKER, Some(""), Some("kitchen"), false),
        client(3, GUEST, None, None, true),
    ]
}

fn devices() -> Vec<Value> {
    vec![json!({
        "_id": id(9), "mac": ATTIC, "name": "Attic AP", "model": "U7PG2", "type": "uap", "adopted": true, "x_authkey": SECRET,
        "port_table": [{"mac": "00:11:22:33:44:55", "name": "eth0"}],
    })]
}

/// Their lines by `--dry-run`.
const LINES: [&str; 4] = [
    "a4:83:e7:4e:39:15 Robin's \u{1f4f1} \"phone\" (robins-iphone)",
    "40:b4:cd:58:40:8f kitchen",
    "78:67:d7:48:e5:c7 guest_Apple",
    "80:2a:a8:00:01:02 Attic AP",
];

fn id(number: u8) -> String {
    ObjectId::from_bytes([number; 12]).to_hex()
}

/// A document as MongoDB has it, and its JSON.
#[derive(Clone, Copy)]
enum Flavour {
    /// Of `mongoexport` from 4.2 on.
    Relaxed,
    Canonical,
    /// Of `mongoexport` before, with the numbers that are none in JSON.
    Strict,
}

fn mongoexport(documents: &[Value], flavour: Flavour) -> Vec<String> {
    let line = |document: &Value| {
        let mut document = document.clone();
        let id = document["_id"].clone();
        document["_id"] = json!({ "$oid": id });
        if let Some(seen) = document.get("first_seen").cloned() {
            document["first_seen"] = match flavour {
                Flavour::Relaxed => seen,
                _ => json!({"$numberLong": seen.to_string()}),
            };
        }
        match flavour {
            Flavour::Strict => {
                document["odd"] = json!(["N", "+I", "-I"]);
                let text = document.to_string().replace(r#"{"$oid":"#, r#"{ "$oid" : "#);
                text.replace(r#"["N","+I","-I"]"#, "[ NaN, +Infinity, -Infinity ]")
            }
            _ => document.to_string(),
        }
    };
    documents.iter().map(line).collect()
}

fn mongodump(documents: &[Value]) -> Vec<u8> {
    documents.iter().flat_map(|document| bson_of(document).to_vec().unwrap()).collect()
}

fn bson_of(document: &Value) -> bson::Document {
    let field = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) if name == "_id" => bson::Bson::ObjectId(ObjectId::parse_str(text).unwrap()),
            value => bson_value(value),
        };
        (name.clone(), value)
    };
    document.as_object().unwrap().iter().map(field).collect()
}

fn bson_value(value: &Value) -> bson::Bson {
    match value {
        Value::Null => bson::Bson::Null,
        Value::Bool(truth) => bson::Bson::Boolean(*truth),
        Value::Number(number) if number.is_f64() => bson::Bson::Double(number.as_f64().unwrap()),
        Value::Number(number) => bson::Bson::Int64(number.as_i64().unwrap()),
        Value::String(text) => bson::Bson::String(text.clone()),
        Value::Array(values) => bson::Bson::Array(values.iter().map(bson_value).collect()),
        Value::Object(_) => bson::Bson::Document(bson_of(value)),
    }
}

/// The command's exit code, and what it says on standard output and standard error.
fn import<O: AsRef<OsStr>>(files: &[&Path], options: &[O]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary("probegram"));
    command.arg("unifi-import").args(files).args(options).env_remove("RUST_LOG").env_remove("HOME");
    let mut program = Running::start(&mut command);
    let code = program.wait(PATIENCE).code();
    (code, program.stdout(), program.stderr())
}

/// The same into the table of a directory, which must be right.
fn import_into(data: &Path, files: &[&Path], options: &[&str]) -> String {
    let options = [options, &["--data", data.to_str().unwrap()]].concat();
    let (code, said, errors) = import(files, &options);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    said
}

/// The lines of `--dry-run`, and the summary.
fn dry_run(files: &[&Path]) -> (Vec<String>, String) {
    let (code, said, summary) = import(files, &["--dry-run"]);
    assert_eq!(code, Some(0), "{said}{summary}");
    (said.lines().map(str::to_owned).collect(), summary)
}

/// A directory with an empty table.
fn empty_table() -> TempDir {
    let data = TempDir::new().unwrap();
    drop(Embedded::open(Some(&data.path().join("state.db")), &Template::read().unwrap()).unwrap());
    data
}

/// What the table in a directory calls these.
fn names(data: &Path, macs: &[&str]) -> BTreeMap<String, Option<String>> {
    let embedded = Embedded::open(Some(&data.join("state.db")), &Template::read().unwrap()).unwrap();
    let wanted: Vec<Mac> = macs.iter().map(|mac| mac.parse().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(names::of(&embedded.table(), wanted.iter().copied(), View::All)).unwrap();
    let name =
        |mac: Mac| (mac.to_string(), found.get(&mac).and_then(|names| names.best().map(str::to_owned)));
    wanted.into_iter().map(name).collect()
}

fn called(names: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    names.iter().map(|(mac, name)| ((*mac).to_owned(), name.map(str::to_owned))).collect()
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
    let file = directory.join(name);
    fs::write(&file, content).unwrap();
    file
}

#[test]
fn every_form_of_an_export_says_the_same_whatever_the_file_is_called() {
    let directory = TempDir::new().unwrap();
    let all = [clients(), devices()].concat();
    let lines = |flavour| mongoexport(&all, flavour).join("\n") + "\n";
    let named: serde_json::Map<_, _> =
        (0..).zip(&all).map(|(number, one)| (format!("N{number}"), one.clone())).collect();
    let forms: [(&str, Vec<u8>); 11] = [
        ("relaxed", lines(Flavour::Relaxed).into()),
        ("canonical", lines(Flavour::Canonical).into()),
        ("strict", lines(Flavour::Strict).into()),
        ("array", format!("[{}]\n", mongoexport(&all, Flavour::Relaxed).join(",")).into()),
        ("pretty", all.iter().map(|one| format!("{one:#}\n")).collect::<String>().into()),
        ("marked", format!("\u{feff}{}", lines(Flavour::Relaxed)).into()),
        ("bson", mongodump(&all)),
        ("answer", json!({"meta": {"rc": "ok", "count": 4}, "data": all}).to_string().into()),
        ("data-first", format!(r#"{{"data":{},"meta":{{"rc":"ok"}}}}"#, json!(all)).into()),
        ("named", Value::Object(named).to_string().into()),
        ("samples", json!({"_note": "quoted", "samples": all}).to_string().into()),
    ];
    for (form, content) in forms {
        let file = write(directory.path(), "user.json", content);
        let (said, summary) = dry_run(&[&file]);
        assert_eq!(said, LINES, "{form}");
        assert!(summary.contains("3 clients and 1 device\n"), "{form}: {summary}");
        assert!(summary.contains("3 clients and 1 device. Nothing was written."), "{form}: {summary}");
    }
}

#[test]
fn a_directory_of_mongodump_and_standard_input_are_read() {
    let dump = TempDir::new().unwrap();
    let ace = dump.path().join("ace");
    fs::create_dir(&ace).unwrap();
    // only where it is from says that this one is a client
    let odd = json!({"_id": id(4), "mac": "00:1b:a9:0d:51:7e", "name": "Printer", "model": "x", "type": "y"});
    write(&ace, "user.bson", mongodump(&[clients(), vec![odd]].concat()));
    write(&ace, "device.bson", mongodump(&devices()));
    write(&ace, "setting.bson", "not looked at");
    for directory in [dump.path(), &ace] {
        let (said, summary) = dry_run(&[directory]);
        assert_eq!(said, [LINES[0], LINES[1], LINES[2], "00:1b:a9:0d:51:7e Printer", LINES[3]]);
        assert!(summary.contains("4 clients and 1 device. Nothing was written."), "{summary}");
    }
    let (code, _, errors) = import(&[&dump.path().join("ace"), dump.path()], &["--collection", "hotspot"]);
    assert!(code == Some(2) && errors.contains("user, device"), "{errors}");

    let file = write(dump.path(), "answer", json!({"meta": {"rc": "ok"}, "data": clients()}).to_string());
    let mut command = Command::new(binary("probegram"));
    command.args(["unifi-import", "-", "--dry-run"]).stdin(Stdio::from(File::open(&file).unwrap()));
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().collect::<Vec<_>>(), &LINES[..3]);

    fs::remove_file(ace.join("user.bson")).unwrap();
    fs::remove_file(ace.join("device.bson")).unwrap();
    let (code, _, errors) = import(&[dump.path()], &["--dry-run"]);
    assert!(code == Some(2) && errors.contains("neither user.bson nor device.bson"), "{errors}");
}

#[test]
fn names_come_into_the_table_and_follow_the_next_import() {
    let data = empty_table();
    let (mut users, all) = (clients(), [PHONE, SPEAKER, GUEST, ATTIC]);
    let file = write(data.path(), "user.json", mongoexport(&users, Flavour::Relaxed).join("\n"));
    let of_devices = write(data.path(), "device.bson", mongodump(&devices()));
    let said = import_into(data.path(), &[&file, &of_devices], &[]);
    for told in [
        "user.json: 3 clients and 0 devices\n",
        "device.bson: 0 clients and 1 device\n",
        "Imported 3 clients and 1 device into the table in ",
        "Ask the bot for one by its name: Robin's \u{1f4f1} \"phone\" (robins-iphone)\n",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(!said.contains("stay"), "{said}");
    let phone = "Robin's \u{1f4f1} \"phone\" (robins-iphone)";
    let first = called(&[
        (PHONE, Some(phone)),
        (SPEAKER, Some("kitchen")),
        (GUEST, Some("guest_Apple")),
        (ATTIC, Some("Attic AP")),
    ]);
    assert_eq!(names(data.path(), &all), first);

    // a rename, by another way out of the controller, which says nothing of one of them
    users[0]["name"] = json!("Alice's phone");
    users.truncate(2);
    let answer = write(data.path(), "answer", json!({"meta": {"rc": "ok"}, "data": users}).to_string());
    let said = import_into(data.path(), &[&answer], &[]);
    assert!(
        said.contains("1 that this export does not name stays; --remove-missing takes it away.\n"),
        "{said}"
    );
    let renamed = [
        (PHONE, Some("Alice's phone (robins-iphone)")),
        (SPEAKER, Some("kitchen")),
        (GUEST, Some("guest_Apple")),
        (ATTIC, Some("Attic AP")),
    ];
    assert_eq!(names(data.path(), &all), called(&renamed));

    // of devices it has nothing, so they stay
    let said = import_into(data.path(), &[&answer], &["--remove-missing"]);
    assert!(said.contains("Took away 1 that this export does not name.\n"), "{said}");
    let removed = [renamed[0], renamed[1], (GUEST, None), renamed[3]];
    assert_eq!(names(data.path(), &all), called(&removed));
    let said = import_into(data.path(), &[&answer], &["--remove-missing"]);
    assert!(said.contains("Took away 0 "), "{said}");

    // it comes back, and the first name with it
    import_into(data.path(), &[&file], &[]);
    assert_eq!(names(data.path(), &all), first);
}

#[test]
fn a_running_probegram_local_shares_its_table() {
    let data = TempDir::new().unwrap();
    let mut local = Local::in_directory(data.path());
    let file = write(data.path(), "both.json", [mongodump(&clients()), mongodump(&devices())].concat());
    let said = import_into(data.path(), &[&file], &[]);
    assert!(said.contains("Imported 3 clients and 1 device"), "{said}");
    local.program.signal(Signal::SIGTERM);
    assert_eq!(local.program.wait(PATIENCE).code(), Some(0), "{}", local.program.stderr());
    assert_eq!(
        names(data.path(), &[SPEAKER, ATTIC]),
        called(&[(SPEAKER, Some("kitchen")), (ATTIC, Some("Attic AP"))])
    );
}

#[test]
fn many_documents_are_taken_in_batches_and_the_last_of_two_counts() {
    let data = empty_table();
    let mac = |number: u32| format!("02:00:00:00:{:02x}:{:02x}", number / 256, number % 256);
    let one = |number: u32, name: String| json!({"_id": format!("{number:024x}"), "mac": mac(number), "name": name});
    let users: Vec<Value> = (0..2_500)
        .map(|number| one(number, format!("phone {number}")))
        .chain([one(7, "the last".to_owned())])
        .collect();
    let file = write(data.path(), "users", mongodump(&users));
    let said = import_into(data.path(), &[&file], &[]);
    assert!(said.contains("Imported 2,500 clients into"), "{said}");
    let (first, twice, last) = (mac(0), mac(7), mac(2_499));
    assert_eq!(
        names(data.path(), &[&first, &twice, &last]),
        called(&[(&first, Some("phone 0")), (&twice, Some("the last")), (&last, Some("phone 2499"))])
    );
    let few = write(data.path(), "few", mongodump(&users[..500]));
    let said = import_into(data.path(), &[&few], &["--remove-missing"]);
    assert!(said.contains("Took away 2,000 that"), "{said}");
    assert_eq!(names(data.path(), &[&last]), called(&[(&last, None)]));
}

#[test]
fn a_file_that_cannot_be_read_to_its_end_is_said_and_nothing_is_imported() {
    let data = empty_table();
    let good = write(data.path(), "device.bson", mongodump(&devices()));
    let users = mongoexport(&clients(), Flavour::Relaxed);
    let cut_json = users.join("\n");
    let dump = mongodump(&clients());
    let second = mongodump(&clients()[..1]).len();
    let mut bent = dump.clone();
    bent[second + 4] = 0x77; // no type has this number
    let broken_line = format!("{}\n{}x\n{}\n", users[0], users[1], users[2]);
    let in_answer = json!({"meta": {"rc": "ok"}, "data": clients()}).to_string();
    let refused = json!({"meta": {"rc": "error", "msg": "api.err.LoginRequired"}, "data": []}).to_string();
    let cases: [(Vec<u8>, &[&str]); 11] = [
        (
            cut_json.as_bytes()[..cut_json.len() - 9].into(),
            &["in the middle of a document, at line 3", "the 2 documents before"],
        ),
        (broken_line.into(), &["damaged at line 2, column", "the 2 documents before"]),
        (
            in_answer.as_bytes()[..in_answer.len() - 300].into(),
            &["in the middle of a document, at line 1", "the 2 documents before"],
        ),
        (
            dump[..dump.len() - 1].into(),
            &["in the middle of the document that begins at byte", "the 2 documents before"],
        ),
        (
            dump[..second + 2].into(),
            &[&format!("begins at byte {second}: it was cut off"), "the document before it is good"],
        ),
        (
            bent,
            &[
                &format!("damaged in the document that begins at byte {second} ("),
                "the document before it is good",
            ],
        ),
        (refused.into(), &["api.err.LoginRequired", "log in first"]),
        (b"<!DOCTYPE html>".into(), &["neither JSON nor BSON"]),
        (b"\x1f\x8b\x08\0\0\0\0\0".into(), &["gunzip it first"]),
        (b"\x6d\xe2\x99\x81\0\0\0".into(), &["--out in place of --archive"]),
        (b"\xff\xfe{\0\"\0".into(), &["save it as UTF-8"]),
    ];
    for (content, told) in cases {
        let file = write(data.path(), "damaged", content);
        let options = ["--data", data.path().to_str().unwrap()];
        let (code, said, errors) = import(&[&good, &file], &options);
        assert_eq!((code, said.as_str(), errors.lines().count()), (Some(2), "", 1), "{errors}");
        for told in told {
            assert!(errors.contains(told) && errors.contains("damaged "), "{told}: {errors}");
        }
        assert_eq!(names(data.path(), &[ATTIC]), called(&[(ATTIC, None)]), "{errors}");
    }
    let missing = data.path().join("nowhere.json");
    let (code, _, errors) = import(&[&missing], &["--dry-run"]);
    assert!(code == Some(2) && errors.contains("nowhere.json cannot be read: No such file"), "{errors}");
}

#[test]
fn odd_documents_harm_nobody_and_are_counted() {
    let directory = TempDir::new().unwrap();
    let mut lines = mongoexport(&clients()[..1], Flavour::Relaxed);
    for odd in [
        r#"{"_id":"1","name":"no address"}"#,
        r#"{"_id":"2","mac":null,"name":"none either"}"#,
        r#"{"_id":"3","mac":"sony-vaio"}"#,
        r#"{"_id":{"$binary":{"base64":"AA==","subType":"00"}},"mac":"00:00:00:00:00:01","name":{"x":1},"hostname":["y"],"is_guest":"no"}"#,
        r#"{"mac":"00-00-00-00-00-02","name":"half of a pair \ud83d","hostname":"whole"}"#,
        r#"{"_id":"6","mac":"00:00:00:00:00:03","name":"\u001b[2Jone\nline\u202e"}"#,
    ] {
        lines.push(odd.to_owned());
    }
    lines.push(format!(r#"{{"_id":"7","mac":"00:00:00:00:00:04","name":"{}"}}"#, "long ".repeat(3_000_000)));
    let file = write(directory.path(), "odd", lines.join("\n"));
    let mut invalid = mongodump(&[json!({"_id": id(5), "mac": "00:00:00:00:00:05", "name": "caf?"})]);
    let place = invalid.iter().position(|byte| *byte == b'?').unwrap();
    invalid[place] = 0xe9;
    let invalid = write(directory.path(), "invalid", invalid);
    let (said, summary) = dry_run(&[&file, &invalid]);
    assert_eq!(
        said[..4],
        [LINES[0], "00:00:00:00:00:01 (no name)", "00:00:00:00:00:02 whole", "00:00:00:00:00:03 [2Jone line"]
    );
    assert!(said[4].starts_with("00:00:00:00:00:04 long long") && said[4].ends_with('…'), "{}", said[4]);
    assert_eq!(said[5], "00:00:00:00:00:05 caf\u{fffd}");
    assert!(summary.contains("odd: 5 clients and 0 devices; 3 left out, without a MAC address"), "{summary}");
    assert!(summary.contains("6 clients (1 without a name). Nothing was written."), "{summary}");

    for content in ["", "[]", "{}", r#"{"meta":{"rc":"ok"},"data":[]}"#, r#"{"data":[{"name":"nobody"}]}"#] {
        let nothing = write(directory.path(), "nothing", content);
        let (code, said, errors) = import(&[&nothing], &["--dry-run"]);
        assert_eq!((code, said.as_str()), (Some(2), ""), "{content}");
        assert!(
            errors.contains("nothing: 0 clients and 0 devices") && errors.contains("no device to import"),
            "{errors}"
        );
    }
}

#[test]
fn the_shared_samples_are_read() {
    let Some(samples) = shared("events/unifi") else { return };
    let files = ["aiounifi_clients.json", "aiounifi_devices_used_fields.json", "issue_samples.json"];
    let paths: Vec<_> = files.iter().map(|file| samples.join(file)).collect();
    let paths: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
    let (said, summary) = dry_run(&paths);
    assert_eq!(
        said.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from([
            "ac:cc:de:12:34:56 camera-acccde123456",
            "00:00:00:00:00:01 Client 1 (client)",
            "80:2a:a8:00:01:02 ACCESS POINT AC PRO",
            "78:8a:20:33:44:55 USG",
            "fc:ec:da:11:22:33 Switch 16",
            "f0:9f:11:22:33:44 Switch 8",
            "dc:4f:22:d3:36:ee Geeni Plug 1 (ESP_D336EE)",
            "00:00:00:00:00:00 04---Upper-Stairs",
        ])
    );
    assert!(summary.contains("4 clients and 4 devices. Nothing was written."), "{summary}");
}

#[test]
fn a_table_that_is_not_there_is_said_and_not_made() {
    let data = TempDir::new().unwrap();
    let files = TempDir::new().unwrap();
    let file = write(files.path(), "user.json", mongoexport(&clients(), Flavour::Relaxed).join("\n"));
    let (code, _, errors) = import(&[&file], &["--data", data.path().to_str().unwrap()]);
    assert!(code == Some(2) && errors.contains("there is no table in"), "{errors}");
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
    for conflict in [&["--data", "x", "--bootstrap-servers", "y"][..], &["--dry-run", "--remove-missing"]] {
        assert_eq!(import(&[&file], conflict).0, Some(2), "{conflict:?}");
    }
}

fn decoded(record: &Record) -> DocumentRecord {
    document_record::decode(record.key.as_deref(), record.value.as_deref()).unwrap()
}

fn key(id: &str) -> Vec<u8> {
    format!(r#"{{"id":"{{\"$oid\": \"{id}\"}}"}}"#).into_bytes()
}

#[test]
fn a_topic_gets_the_records_that_debezium_would_write() {
    let Some(kafka) = Kafka::start() else { return };
    let servers = kafka.bootstrap_servers();
    let to_kafka = |files: &[&Path], options: &[&str]| {
        import(files, &[&["--bootstrap-servers", servers.as_str()], options].concat())
    };
    let directory = TempDir::new().unwrap();
    let users = write(directory.path(), "user.json", mongoexport(&clients(), Flavour::Strict).join("\n"));
    let both = [mongodump(&clients()), mongodump(&devices())].concat();
    let both = write(directory.path(), "both.bson", both);

    kafka.create_topic(USERS, 3);
    let (code, said, errors) = to_kafka(&[&both], &[]);
    assert_eq!((code, errors.lines().count()), (Some(2), 1), "{said}{errors}");
    assert!(
        errors.contains("there is no topic unifi.ace.device") && errors.contains("topics --bootstrap"),
        "{errors}"
    );
    assert_eq!(kafka.read_all(USERS), [], "nothing is written to one if there is not the other");
    kafka.create_topic(DEVICES, 1);

    let (code, said, errors) = to_kafka(&[&both], &[]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    let told = format!("Imported 3 clients and 1 device to topics {USERS} and {DEVICES} at {servers}.\n");
    assert!(said.contains(&told) && said.contains("ask the bot for one by its name: Robin"), "{said}");
    let [device] = &kafka.read_all(DEVICES)[..] else { panic!("one record") };
    assert_eq!(device.key.as_deref(), Some(&key(&id(9))[..]));
    let text = String::from_utf8(device.value.clone().unwrap()).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let after = r#"{"_id": {"$oid": "090909090909090909090909"},"mac": "80:2a:a8:00:01:02","model": "U7PG2","name": "Attic AP","type": "uap"}"#;
    assert_eq!(value["after"], after);
    let now = value["ts_ms"].as_i64().unwrap();
    let escaped = json!(after);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        text,
        format!(
            r#"{{"before":null,"after":{escaped},"updateDescription":null,"source":{{"version":"probegram {version}","connector":"mongodb","name":"unifi","ts_ms":{now},"snapshot":"true","db":"ace","collection":"device","ord":-1}},"op":"r","ts_ms":{now},"transaction":null}}"#
        )
    );
    let first = kafka.read_all(USERS);
    assert_eq!(first.len(), 3);
    for record in first.iter().chain([device]) {
        let text = String::from_utf8(record.value.clone().unwrap()).unwrap();
        assert!(!text.contains(SECRET) && !text.contains("192.168") && !text.contains("00:11:22"), "{text}");
    }
    let ids = |records: &[Record]| records.iter().map(|record| decoded(record).id).collect::<BTreeSet<_>>();
    assert_eq!(ids(&first), BTreeSet::from([id(1), id(2), id(3)]));

    // what Kafka does not take is said
    let config = write(directory.path(), "kafka.properties", "message.max.bytes=1000");
    let mut users_of_much = clients();
    users_of_much[1]["name"] = json!("name ".repeat(200));
    let much = write(directory.path(), "much", mongodump(&users_of_much));
    let (code, said, errors) = to_kafka(&[&much], &["--kafka-config", config.to_str().unwrap()]);
    assert_eq!((code, errors.lines().count()), (Some(2), 1), "{said}{errors}");
    assert!(errors.contains("does not take a record of topic unifi.ace.user"), "{errors}");
    assert!(errors.contains("records, and the same command may be typed again"), "{errors}");

    // the same, by another tool, lies beside it under the same keys
    let (code, _, errors) = to_kafka(&[&users], &[]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let twice = kafka.read_all(USERS);
    for record in &first {
        let same = |other: &&Record| other.key == record.key && other.partition == record.partition;
        let again = twice.iter().rfind(same).unwrap();
        assert!(again.offset > record.offset, "{twice:?}");
        assert_eq!(decoded(again), decoded(record));
    }
}

#[test]
fn what_is_missing_is_taken_out_of_the_topic_under_the_keys_that_it_has_there() {
    let Some(kafka) = Kafka::start() else { return };
    let servers = kafka.bootstrap_servers();
    kafka.create_topic("users", 3);
    let record = |partition, key: &[u8], value: Option<&str>| NewRecord {
        partition: Some(partition),
        key: Some(key.to_vec()),
        value: value.map(|value| value.as_bytes().to_vec()),
        ..NewRecord::default()
    };
    let there = |id: &str| format!(r#"{{"_id":{{"$oid":"{id}"}},"mac":"00:00:00:00:00:01"}}"#);
    // as an older release spells it
    let old_key = format!(r#"{{"id":"{{ \"$oid\" : \"{}\"}}"}}"#, id(21)).into_bytes();
    kafka.produce_records(
        "users",
        &[
            record(0, &key(&id(1)), Some(&there(&id(1)))),
            record(2, &old_key, Some(&there(&id(21)))),
            record(1, &key(&id(22)), Some(&there(&id(22)))),
            record(1, &key(&id(22)), None),
            record(1, &key(&id(23)), None),
            record(0, b"poison", Some("{poison")),
        ],
    );
    let before = kafka.read_all("users");
    let directory = TempDir::new().unwrap();
    let file = write(directory.path(), "user.bson", mongodump(&clients()));
    let options = ["--bootstrap-servers", servers.as_str(), "--clients-topic", "users", "--remove-missing"]
        .map(str::to_owned);
    let (code, said, errors) = import(&[&file], &options);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("Took away 1 that this export does not name.\n"), "{said}");
    assert!(said.contains("Passed over 1 record"), "{said}");
    let all = kafka.read_all("users");
    assert_eq!(all.len(), before.len() + 3 + 1);
    let gone: Vec<&Record> =
        all.iter().filter(|record| record.key.as_deref() == Some(&old_key[..])).collect();
    assert_eq!(gone.iter().map(|record| record.partition).collect::<Vec<_>>(), [2, 2]);
    assert_eq!((decoded(gone[1]).change, &gone[1].value), (Change::Tombstone, &None));

    let (code, said, _) = import(&[&file], &options);
    assert!(code == Some(0) && said.contains("Took away 0 "), "{said}");
}

#[test]
fn real_documents_get_the_keys_and_say_what_debezium_has_said() {
    let Some(samples) = shared("events/debezium-real/v3.3_full_bare.jsonl") else { return };
    let Some(kafka) = Kafka::start() else { return };
    let of_debezium: BTreeMap<String, DocumentRecord> = fs::read_to_string(samples)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|record| {
            let (key, value) = (record["key"].as_str()?, record["value"].as_str()?);
            let record = document_record::decode(Some(key.as_bytes()), Some(value.as_bytes())).ok()?;
            let is_of_device = matches!(&record.change, Change::Snapshot(document) if document.mac.is_some());
            is_of_device.then(|| (format!("{key}\n{value}"), record))
        })
        .collect();
    assert!(of_debezium.len() > 5);
    let exported: String = of_debezium
        .keys()
        .map(|record| serde_json::from_str::<Value>(record.split_once('\n').unwrap().1).unwrap())
        .map(|value| value["after"].as_str().unwrap().to_owned() + "\n")
        .collect();
    for topic in [USERS, DEVICES] {
        kafka.create_topic(topic, 1);
    }
    let directory = TempDir::new().unwrap();
    let file = write(directory.path(), "export", exported);
    let (code, said, errors) = import(&[&file], &["--bootstrap-servers", &kafka.bootstrap_servers()]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    let ours: BTreeMap<String, DocumentRecord> = [USERS, DEVICES]
        .iter()
        .flat_map(|topic| kafka.read_all(topic))
        .map(|record| (String::from_utf8(record.key.clone().unwrap()).unwrap(), decoded(&record)))
        .collect();
    let theirs: BTreeMap<String, DocumentRecord> = of_debezium
        .into_iter()
        .map(|(text, record)| (text.split_once('\n').unwrap().0.to_owned(), record))
        .collect();
    assert_eq!(ours, theirs);
}

#[test]
fn a_cluster_that_is_away_or_refuses_is_one_clear_line() {
    let directory = TempDir::new().unwrap();
    let file = write(directory.path(), "user.bson", mongodump(&clients()));
    let (code, said, errors) = import(&[&file], &["--bootstrap-servers", "127.0.0.1:1"]);
    assert_eq!((code, errors.lines().count()), (Some(2), 1), "{said}{errors}");
    assert!(errors.contains("Kafka at 127.0.0.1:1 does not answer"), "{errors}");
}
