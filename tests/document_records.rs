//! Records of real connectors come to the names that the steps behind them lead to.
//!
//! The records stand in `../shared/events`, as three releases of Debezium wrote them; `expected.json` there was computed from the
//! steps alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use domain::document_record::{self, Change, DocumentId, DocumentRecord, SourceOrder};
use domain::{Collection, Document, Mac};
use probegram_tests::shared;
use serde_json::Value;

/// A collection as the records say it is: the plainest fold, to which nothing may come twice or late without harm.
#[derive(Default)]
struct Kept {
    documents: BTreeMap<DocumentId, Document>,
    latest: BTreeMap<DocumentId, SourceOrder>,
}

impl Kept {
    fn apply(&mut self, record: DocumentRecord) {
        if let Some(order) = record.order {
            // the connector started anew and repeats what it wrote
            if self.latest.get(&record.id).is_some_and(|latest| order <= *latest) {
                return;
            }
            self.latest.insert(record.id.clone(), order);
        }
        match record.change {
            Change::Snapshot(document) | Change::Whole(document) | Change::Now(document) => {
                self.documents.insert(record.id, document);
            }
            Change::Partial(fields) => {
                let document = self.documents.entry(record.id).or_default();
                fields.into_iter().for_each(|field| document.set(field));
            }
            Change::Deleted | Change::Tombstone => {
                self.documents.remove(&record.id);
            }
        }
    }

    /// The label of each MAC: of several documents the one that changed last, those of a snapshot before all others.
    fn labels(&self, collection: Collection) -> BTreeMap<Mac, String> {
        let mut documents: Vec<_> = self.documents.iter().collect();
        documents.sort_by_key(|(id, _)| (self.latest.get(*id), *id));
        let mut labels = BTreeMap::new();
        for (_, document) in documents {
            let Some(mac) = document.mac else { continue };
            match document.label(collection) {
                Some(label) => labels.insert(mac, label),
                None => labels.remove(&mac),
            };
        }
        labels
    }
}

fn collection_of(topic: &str) -> Collection {
    [Collection::Client, Collection::Device]
        .into_iter()
        .find(|collection| topic.ends_with(collection.name()))
        .unwrap_or_else(|| panic!("{topic} is no topic of a collection"))
}

/// The JSON values of a file, one a line.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.split('\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_real_connectors_wrote_comes_to_the_names_of_the_steps_behind_it() {
    let Some(folder) = shared("events/debezium-real") else { return };
    let expected: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
    let expected: BTreeMap<Mac, String> = expected
        .iter()
        .map(|row| (row["mac"].as_str().unwrap().parse().unwrap(), row["label"].as_str().unwrap().to_owned()))
        .collect();
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with('v'));
    assert!(files.len() >= 10, "{} files", files.len());
    for file in files {
        let [mut clients, mut devices] = [Kept::default(), Kept::default()];
        for record in lines(&file) {
            let bytes = |part: &str| record[part].as_str().map(str::as_bytes);
            let read = document_record::decode(bytes("key"), bytes("value"))
                .unwrap_or_else(|why| panic!("{}: {why}: {record}", file.display()));
            match collection_of(record["topic"].as_str().unwrap()) {
                Collection::Client => clients.apply(read),
                Collection::Device => devices.apply(read),
            }
        }
        let mut labels = clients.labels(Collection::Client);
        labels.extend(devices.labels(Collection::Device));
        assert_eq!(labels, expected, "{}", file.display());
    }
}

/// The samples of Debezium's manual, with and without the schema around them.
#[test]
fn the_samples_of_the_manual_are_read() {
    for (file, sample, change) in [
        ("v1.1_docs_events.json", "read", Change::Snapshot(Document::default())),
        ("v1.1_docs_events.json", "update", Change::Partial(Vec::new())),
        ("v1.1_docs_events.json", "delete", Change::Deleted),
        ("v1.1_docs_events.json", "tombstone", Change::Tombstone),
        ("v3.x_docs_events.json", "create", Change::Whole(Document::default())),
        ("v3.x_docs_events.json", "update", Change::Now(Document::default())),
        ("v3.x_docs_events.json", "delete", Change::Deleted),
        ("v3.x_docs_events.json", "tombstone", Change::Tombstone),
    ] {
        let Some(path) = shared(&format!("events/debezium/{file}")) else { return };
        let samples: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let forms = |sample: &Value| match sample.get("payload") {
            Some(payload) => vec![
                payload.to_string(),
                serde_json::json!({"schema": {"type": "struct"}, "payload": payload}).to_string(),
            ],
            None => vec![sample.to_string()],
        };
        for key in forms(&samples["key"]) {
            for value in forms(&samples[sample]) {
                let read = document_record::decode(Some(key.as_bytes()), Some(value.as_bytes())).unwrap();
                assert_eq!(
                    (read.id.as_str(), &read.change),
                    ("596e275826f08b2730779e1f", &change),
                    "{value}"
                );
                let is_streamed = !matches!(change, Change::Snapshot(_) | Change::Tombstone);
                assert_eq!(read.order.map(|order| order.ts_ms), is_streamed.then_some(1_558_965_508_000));
                let unkeyed = document_record::decode(None, Some(value.as_bytes())).map(|read| read.id);
                assert_eq!(unkeyed.ok(), (change != Change::Tombstone).then(|| "1004".to_owned()), "{value}");
            }
        }
    }
}

#[test]
fn each_form_of_one_document_changes_it_as_it_says() {
    let Some(path) = shared("events/constructed/unifi_debezium_events.jsonl") else { return };
    let mut kept = Kept::default();
    let mut labels = Vec::new();
    for record in lines(&path) {
        let collection = collection_of(record["topic"].as_str().unwrap());
        let key = record["key"].to_string();
        let value = Some(&record["value"]).filter(|value| !value.is_null()).map(Value::to_string);
        let mut read =
            document_record::decode(Some(key.as_bytes()), value.as_deref().map(str::as_bytes)).unwrap();
        // all of them were given the same place in the oplog
        read.order = None;
        kept.apply(read);
        let name = kept.labels(collection).into_values().next();
        labels.push((record["label"].as_str().unwrap().to_owned(), name));
    }
    let expected = [
        ("1.x snapshot read, bare", Some("Robin's Kindle (kindle-1a2b)")),
        ("1.x snapshot read, JsonConverter schemas.enable=true", Some("Robin's Kindle (kindle-1a2b)")),
        ("1.x update $set rename (no after)", Some("Robin's old Kindle (kindle-1a2b)")),
        ("1.x update $unset name", Some("kindle-1a2b")),
        ("1.x update, whole-document replace in patch", Some("Kindle (replaced) (kindle-1a2b)")),
        ("1.x delete", None),
        ("tombstone", None),
        (">=2.x snapshot read", Some("kindle-1a2b")),
        (">=2.x update, update_full", Some("Kitchen Kindle (kindle-1a2b)")),
        (">=2.x update, change_streams (no after)", Some("Kitchen Kindle (kindle-1a2b)")),
        (">=2.x delete, no pre-image", None),
        ("ace.device read", Some("USG")),
    ]
    .map(|(label, name)| (label.to_owned(), name.map(str::to_owned)));
    assert_eq!(labels, expected);
}
