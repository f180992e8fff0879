//! A document as Debezium writes it to a topic: its connector from 2.0 on, by `JsonConverter` without schemas. What stands in the
//! topic, or goes into the table, is then read in one way, whoever has written it.
//! <https://debezium.io/documentation/reference/stable/connectors/mongodb.html#mongodb-events>

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use domain::Collection;
use serde_json::Value;

/// The key of a document's records: its `_id` as text of extended JSON, `{"id":"{\"$oid\": \"5a32…\"}"}`.
#[must_use]
pub fn key(id: &Value) -> String {
    format!(r#"{{"id":{}}}"#, Value::String(extended(id)))
}

/// The document as text of extended JSON, with the blanks that Debezium has.
#[must_use]
pub fn after(id: &Value, fields: &BTreeMap<&str, Value>) -> String {
    let mut text = format!(r#"{{"_id": {}"#, extended(id));
    for (name, value) in fields {
        text += &format!(r#","{name}": {value}"#);
    }
    text + "}"
}

/// The record of a document that a snapshot found. `now_ms` is the present.
#[must_use]
pub fn snapshot(collection: Collection, after: &str, now_ms: i64) -> String {
    envelope(collection, "r", &Value::String(after.to_owned()), now_ms)
}

/// The record of a document that was changed to this.
#[must_use]
pub fn update(collection: Collection, after: &str, now_ms: i64) -> String {
    envelope(collection, "u", &Value::String(after.to_owned()), now_ms)
}

fn envelope(collection: Collection, op: &str, after: &Value, now_ms: i64) -> String {
    let (snapshot, ord) = if op == "r" { ("true", -1) } else { ("false", 1) };
    format!(
        r#"{{"before":null,"after":{after},"updateDescription":null,"source":{{"version":"probegram {}","connector":"mongodb","name":"unifi","ts_ms":{now_ms},"snapshot":"{snapshot}","db":"ace","collection":"{}","ord":{ord}}},"op":"{op}","ts_ms":{now_ms},"transaction":null}}"#,
        env!("CARGO_PKG_VERSION"),
        collection.name(),
    )
}

/// An `_id` as extended JSON. The controller's API gives an `ObjectId` as its digits alone: it becomes one again, so that the document
/// has one key, whichever way it was got.
fn extended(id: &Value) -> String {
    let digits = match id {
        Value::String(text) => Some(text),
        Value::Object(wrapped) if wrapped.len() == 1 => match wrapped.get("$oid") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        _ => None,
    };
    match digits.and_then(|digits| ObjectId::parse_str(digits).ok()) {
        Some(id) => format!(r#"{{"$oid": "{}"}}"#, id.to_hex()),
        None => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use domain::Document;
    use domain::document_record::{Change, decode};
    use serde_json::json;

    use super::*;

    const ID: &str = "5a32b0c9e4b047ede36ad001";

    #[test]
    fn an_object_id_has_one_key_in_every_form_and_a_text_its_own() {
        let expected = r#"{"id":"{\"$oid\": \"5a32b0c9e4b047ede36ad001\"}"}"#;
        for id in [json!(ID), json!({"$oid": ID}), json!(ID.to_uppercase())] {
            assert_eq!(key(&id), expected, "{id}");
        }
        assert_eq!(key(&json!("5a4c022")), r#"{"id":"\"5a4c022\""}"#);
    }

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let id = json!({"$oid": ID});
        let fields = BTreeMap::from([
            ("mac", json!("a4:83:e7:4e:39:15")),
            ("name", json!("Robin's \"phone\" \u{1f6ce}\n")),
            ("is_guest", json!(true)),
        ]);
        let after = after(&id, &fields);
        assert!(
            after.starts_with(r#"{"_id": {"$oid": "5a32b0c9e4b047ede36ad001"},"is_guest": true,"mac": "a4"#)
        );
        let document = Document {
            mac: Some("a4:83:e7:4e:39:15".parse().unwrap()),
            name: Some("Robin's \"phone\" \u{1f6ce}\n".to_owned()),
            is_guest: Some(true),
            ..Document::default()
        };
        let (key, found) = (key(&id), snapshot(Collection::Client, &after, 5));
        let record = decode(Some(key.as_bytes()), Some(found.as_bytes())).unwrap();
        assert_eq!((record.id.as_str(), record.order, record.change), (ID, None, Change::Snapshot(document)));
    }
}
