//! The record of a change data capture topic: what happened to a document of MongoDB. One decoder for what Debezium's connector
//! writes, in all its releases and settings, and MongoDB's own (Atlas) source connector.
//!
//! | value | says |
//! | --- | --- |
//! | `{"op":"u","after":"{…}","source":{…},…}` | the [envelope of Debezium]: `r` a snapshot found it, `c` and `u` it is so now, `d` it is gone |
//! | the same, `after` null | what an update changed: `patch` (the oplog's operators, before 2.0) or `updateDescription` |
//! | `{"operationType":"update","documentKey":{…},…}` | an [event of a change stream], from MongoDB's source connector |
//! | `{"_id":…,"mac":…}` | the document as it is now: [`ExtractNewDocumentState`], `publish.full.document.only` |
//! | the same, `_id` not first | what an update changed: that transformation puts `_id` behind the fields of an update without its document |
//! | `{"__deleted":true}` | gone, by `delete.tombstone.handling.mode=rewrite` |
//! | none, `null` | a tombstone |
//! | an empty one | nothing: an error, since `kcat` without `-Z` writes it for what should be a deletion |
//!
//! A document has `_id`, an envelope has none, so a document may have fields called `op` and `after`. Around each of these may be
//! `{"schema":…,"payload":…}` (`JsonConverter` with `schemas.enable=true`), and each may be a JSON string that holds it
//! (`JsonConverter` behind a connector that writes text).
//!
//! | key | `_id` |
//! | --- | --- |
//! | `{"id":"{\"$oid\": \"5a32…\"}"}`, `{"id":"\"5a4c022\""}` | Debezium: extended JSON as text. Its blanks are other ones in each release |
//! | `{"id":"5a32…"}` | the same behind `ExtractNewDocumentState`: the text itself |
//! | `{"_id":{"$oid":"5a32…"}}` | the document's key (`change.stream.document.key.as.key`) |
//! | `{"_id":{"_data":…}}` | none: the place in the change stream. The value says which document |
//! | `{"$oid":"5a32…"}`, `5a32…`, `Struct{id=…}` | what `ExtractField` and `StringConverter` make of these |
//!
//! Of a document only the fields of [`Document`] are read. All others, however large and deep, are passed over.
//!
//! [envelope of Debezium]: https://debezium.io/documentation/reference/stable/connectors/mongodb.html#mongodb-events
//! [event of a change stream]: https://www.mongodb.com/docs/manual/reference/change-events/
//! [`ExtractNewDocumentState`]: https://debezium.io/documentation/reference/stable/transformations/mongodb-event-flattening.html

use std::cell::OnceCell;
use std::fmt;
use std::io::Read as _;

use bson::oid::ObjectId;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::document::{Document, Field};
use crate::odd_numbers::OddNumbers;
use crate::schema_registry::{OfSchemaRegistry, Settings, registry_of_text};
use crate::ssid::is_unseen;

/// A document's `_id`: an ObjectId's 24 hexadecimal digits, a text as it stands, anything else as compact extended JSON. At most
/// [`MAX_ID_BYTES`] bytes.
pub type DocumentId = String;

/// The longest `_id` that is taken, in bytes. It becomes part of a key in the table.
pub const MAX_ID_BYTES: usize = 512;

/// What a record says happened to a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentRecord {
    /// Which document.
    pub id: DocumentId,
    /// The connector's order: when MongoDB changed it. `None` for what a snapshot read and where the record does not say.
    pub order: Option<SourceOrder>,
    /// What happened.
    pub change: Change,
}

/// When MongoDB changed a document: the seconds of its oplog, as milliseconds since 1970, and the place within that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceOrder {
    /// `source.ts_ms`
    pub ts_ms: i64,
    /// `source.ord`
    pub ord: i64,
}

/// What happened to a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A snapshot found it so.
    Snapshot(Document),
    /// It was changed, and is so now.
    Whole(Document),
    /// It is so now; what was changed is not said, or is nothing of ours.
    Now(Document),
    /// These fields changed; all others are as they were.
    Partial(Vec<Field>),
    /// It is gone.
    Deleted,
    /// The record has no value, by which Kafka forgets the document. Debezium writes one after each deletion.
    Tombstone,
}

/// The longest text that is kept of a field, in bytes; what is longer is cut. No name is as long, and texts become parts of keys.
pub const MAX_TEXT_BYTES: usize = 1024;

/// The longest `_id` that is looked into, in bytes of JSON: each byte of the longest one escaped, and blanks.
const MAX_ID_JSON_BYTES: usize = 8 * 1024;

/// The most characters of somebody's text that stand in an error.
const MAX_QUOTED_CHARS: usize = 40;

/// Why a record cannot be read, and what to do about it: the reason that stands beside it in the quarantine.
#[derive(Debug, thiserror::Error)]
pub enum NotADocumentRecord {
    /// Bytes that mean something only with a schema that a registry has.
    #[error("{0}")]
    SchemaRegistry(OfSchemaRegistry),
    /// Nothing says which document.
    #[error(
        "no _id: neither key nor value says which document it is. Let the key be the connector's own ({{\"id\":…}} of Debezium, \
         {{\"_id\":…}} of MongoDB's source connector with change.stream.document.key.as.key=true)"
    )]
    NoId,
    /// An `_id` that is none, or too long for the table.
    #[error("_id has {0} bytes: it needs 1 to {MAX_ID_BYTES}")]
    IdOfLength(usize),
    /// A struct of Connect as text, without an `_id` in it.
    #[error(
        "key is a structure of Kafka Connect without a document's id: let the connector write JSON \
         (key.converter=org.apache.kafka.connect.json.JsonConverter, key.converter.schemas.enable=false)"
    )]
    KeyOfAnotherForm,
    /// Neither a document nor a deletion: `kcat` writes it where its user most likely wanted to delete.
    #[error("value is empty: to delete a document write none at all (kcat -Z)")]
    EmptyValue,
    /// Neither JSON nor text.
    #[error("{place} is not UTF-8: let the connector write JSON, no BSON and no bytes")]
    NotText {
        /// `key` or `value`.
        place: &'static str,
    },
    /// It begins as JSON and is none.
    #[error("{place} is not JSON ({why}): it was damaged or cut off on its way")]
    NotJson {
        /// Where it stands.
        place: &'static str,
        /// What is wrong with it.
        why: serde_json::Error,
    },
    /// JSON, but of no connector that we know.
    #[error(
        "value has no form that is understood: the envelope of Debezium's MongoDB connector, the same behind \
         ExtractNewDocumentState, or a change stream's event or whole document of MongoDB's source connector, each as JSON"
    )]
    AnotherForm,
    /// An operation that no document can have had.
    #[error("op {0:?} is an operation that we don't know: a document's are r, c, u and d")]
    UnknownOperation(String),
    /// An event of a change stream that is about no document.
    #[error("operationType {0:?} is about the collection, not a document: nothing was changed by it")]
    AboutTheCollection(String),
    /// An update in a form that the oplog has had since, or never had.
    #[error(
        "patch has the operator {0:?}, which we don't know: $set and $unset are known. Debezium from 2.0 on reads change \
         streams, which have none"
    )]
    UnknownOperator(String),
    /// It says that a document is there now, without it.
    #[error("{operation} comes without the document: {field} is missing or null")]
    NoDocument {
        /// What is said to have happened.
        operation: String,
        /// Where the document should stand.
        field: &'static str,
    },
    /// A field holds something else than it should.
    #[error("{field} is not {expected}")]
    Malformed {
        /// The field's name in the record.
        field: &'static str,
        /// What it should have held.
        expected: &'static str,
    },
}

use NotADocumentRecord as Not;

/// Reads a record of a topic of documents in any of its forms.
///
/// # Errors
/// [`NotADocumentRecord`] when nothing can be made of it. The caller quarantines it.
pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<DocumentRecord, NotADocumentRecord> {
    let of = OfSchemaRegistry {
        key: key.and_then(registry_of_text),
        value: value.and_then(registry_of_text),
        settings: Settings::DOCUMENTS,
    };
    if of.key.is_some() || of.value.is_some() {
        return Err(Not::SchemaRegistry(of));
    }
    let id = match key {
        Some(key) => id_in_key(text_of(key, "key")?, Layers::ALL)?,
        None => None,
    };
    let said = match value {
        Some(value) => said(text_of(value, "value")?, Layers::ALL, id)?,
        None => Said { id, order: None, change: Change::Tombstone },
    };
    #[cfg(feature = "fault-points")]
    fault_point(&said.change);
    Ok(DocumentRecord { id: said.id.ok_or(Not::NoId)?, order: said.order, change: said.change })
}

fn text_of<'a>(bytes: &'a [u8], place: &'static str) -> Result<&'a str, NotADocumentRecord> {
    std::str::from_utf8(bytes).map(trimmed).map_err(|_why| Not::NotText { place })
}

/// Without a byte order mark and blanks around it, which editors and shells leave.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|character: char| character == '\u{feff}' || character.is_whitespace())
}

/// What may still be around something. Each is taken off once, so that nothing is looked into without end.
#[derive(Clone, Copy)]
struct Layers {
    /// A JSON string that holds JSON.
    string: bool,
    /// The envelope of Connect's `JsonConverter`.
    connect: bool,
}

impl Layers {
    const ALL: Self = Self { string: true, connect: true };
}

// The key

/// The `_id` that a key says, `None` when it says none.
fn id_in_key(key: &str, layers: Layers) -> Result<Option<DocumentId>, NotADocumentRecord> {
    if key.is_empty() || key == "null" {
        return Ok(None);
    }
    if key.starts_with('"') {
        let text = unquoted(key, "key")?;
        return match trimmed(&text) {
            inner if layers.string && inner.starts_with(['{', '"']) => {
                id_in_key(inner, Layers { string: false, ..layers })
            }
            "null" => Ok(None),
            _ => checked(text).map(Some),
        };
    }
    if !key.starts_with('{') {
        return match key.strip_prefix("Struct{") {
            Some(fields) => {
                let id = fields.strip_prefix("id=").and_then(|id| id.strip_suffix('}'));
                id_of_text(id.ok_or(Not::KeyOfAnotherForm)?)
            }
            None => checked(key.to_owned()).map(Some),
        };
    }
    let mended = OnceCell::new();
    let object = Object::read(key, "key", &mended)?;
    if let Some(payload) = object.payload_of_connect().filter(|_payload| layers.connect) {
        return id_in_key(payload, Layers { connect: false, ..layers });
    }
    if object.get("_data").is_some() {
        return Ok(None);
    }
    match (object.get("_id"), object.get("id")) {
        (Some(id), _) if is_place_in_stream(id) => Ok(None),
        (Some(id), _) => id_of_json(id.get(), "key"),
        (None, Some(id)) if object.names == 1 => match text_in(id, "key")? {
            Some(text) => id_of_text(&text),
            None => id_of_json(id.get(), "key"),
        },
        // a document may have an object as its `_id`
        _ => id_of_json(key, "key"),
    }
}

/// Whether this `_id` is a change stream's resume token, or MongoDB's source connector's while it copies what there is.
/// <https://www.mongodb.com/docs/manual/changeStreams/#resume-tokens>
fn is_place_in_stream(id: &RawValue) -> bool {
    let mended = OnceCell::new();
    id.get().starts_with('{')
        && Object::read(id.get(), "_id", &mended)
            .is_ok_and(|id| id.get("_data").is_some() || id.get("copyingData").is_some())
}

/// The `_id` in the text of Debezium's key: extended JSON, or the text itself behind `ExtractNewDocumentState`. That one is no
/// number, even if an ObjectId happens to have decimal digits alone.
fn id_of_text(text: &str) -> Result<Option<DocumentId>, NotADocumentRecord> {
    match trimmed(text) {
        "null" => Ok(None),
        json if json.starts_with(['{', '"']) => match id_of_json(json, "key") {
            Err(Not::NotJson { .. }) => checked(text.to_owned()).map(Some),
            id => id,
        },
        _ => checked(text.to_owned()).map(Some),
    }
}

/// An `_id` of extended JSON, as it is kept. `None` when it is null.
/// <https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/>
fn id_of_json(json: &str, place: &'static str) -> Result<Option<DocumentId>, NotADocumentRecord> {
    if json.len() > MAX_ID_JSON_BYTES {
        return Err(Not::IdOfLength(json.len()));
    }
    if json == "null" {
        return Ok(None);
    }
    if json.starts_with('"') {
        return checked(unquoted(json, place)?).map(Some);
    }
    if json.starts_with('{') {
        let mended = OnceCell::new();
        let object = Object::read(json, place, &mended)?;
        let is_wrapped = object.names == 1;
        if let Some(id) = object.text("$oid")?.filter(|_id| is_wrapped)
            && let Ok(id) = ObjectId::parse_str(id)
        {
            return Ok(Some(id.to_hex()));
        }
        let number = object.get("$numberLong").or(object.get("$numberInt")).filter(|_number| is_wrapped);
        if let Some(number) = number.and_then(|number| whole_number(number, place)) {
            return Ok(Some(number.to_string()));
        }
    }
    // in the order in which it stands: that of an object's fields tells two of them apart
    checked(without_blanks(json)).map(Some)
}

fn checked(id: String) -> Result<DocumentId, NotADocumentRecord> {
    if (1..=MAX_ID_BYTES).contains(&id.len()) { Ok(id) } else { Err(Not::IdOfLength(id.len())) }
}

// The value

/// What a value says.
struct Said {
    id: Option<DocumentId>,
    order: Option<SourceOrder>,
    change: Change,
}

/// What a value says, of the document that the key says.
fn said(value: &str, layers: Layers, id: Option<DocumentId>) -> Result<Said, NotADocumentRecord> {
    if value.is_empty() {
        return Err(Not::EmptyValue);
    }
    if value == "null" {
        return Ok(Said { id, order: None, change: Change::Tombstone });
    }
    if layers.string && value.starts_with('"') {
        let text = unquoted(value, "value")?;
        return said(trimmed(&text), Layers { string: false, ..layers }, id);
    }
    if !value.starts_with('{') {
        return Err(Not::AnotherForm);
    }
    let mended = OnceCell::new();
    let object = Object::read(value, "value", &mended)?;
    if let Some(payload) = object.payload_of_connect().filter(|_payload| layers.connect) {
        return said(payload, Layers { connect: false, ..layers }, id);
    }
    let has_any = |names: &[&str]| names.iter().any(|name| object.get(name).is_some());
    if object.get("_id").is_none()
        && has_any(&["source", "after", "before", "patch", "updateDescription", "filter"])
        && let Some(op) = object.text("op")?
    {
        return envelope(&object, &op, id);
    }
    // an `invalidate` names neither a document nor a collection
    if (has_any(&["documentKey", "ns"]) || object.get("_id").is_some_and(is_place_in_stream))
        && let Some(operation) = object.text("operationType")?
    {
        return event(&object, &operation, id);
    }
    unwrapped(&object, id)
}

/// The envelope of Debezium. What is there decides, not the release: all of them leave fields null that others fill.
fn envelope(object: &Object<'_>, op: &str, id: Option<DocumentId>) -> Result<Said, NotADocumentRecord> {
    let held: [Held; 4] = Default::default();
    let [of_after, of_patch, of_filter, of_before] = &held;
    let after = if op == "d" { None } else { object.document_in("after", of_after)? };
    let patch = if op == "u" && after.is_none() { object.document_in("patch", of_patch)? } else { None };
    let change = match (op, &after, &patch) {
        ("r", Some(after), _) => Change::Snapshot(after.document()?),
        ("u", Some(after), _) if object.get("updateDescription").is_some_and(|raw| raw.get() != "null") => {
            looked_up(object, after.document()?)?
        }
        ("c" | "u", Some(after), _) => Change::Whole(after.document()?),
        ("r" | "c", None, _) => {
            return Err(Not::NoDocument { operation: format!("op {op}"), field: "after" });
        }
        ("u", None, Some(patch)) => patched(patch)?,
        // of an update it may be null: the connector looks the document up later, and then it may be gone
        ("u", None, None) => Change::Partial(described(object)?),
        ("d", ..) => Change::Deleted,
        _ => return Err(Not::UnknownOperation(quoted(op))),
    };
    let id = match (id, after.or(patch)) {
        (Some(id), _) => Some(id),
        (None, Some(document)) if document.get("_id").is_some() => document.id()?,
        (None, _) => match object.document_in("filter", of_filter)? {
            Some(filter) => filter.id()?,
            None => object.document_in("before", of_before)?.map_or(Ok(None), |before| before.id())?,
        },
    };
    // a snapshot's place is the connector's clock, which is ahead of what it streams
    let order = if op == "r" { None } else { source_order(object) };
    Ok(Said { id, order, change })
}

/// `source.ts_ms` and `source.ord`.
fn source_order(object: &Object<'_>) -> Option<SourceOrder> {
    let mended = OnceCell::new();
    let source = object.get("source").filter(|source| source.get().starts_with('{'))?;
    let source = Object::read(source.get(), "source", &mended).ok()?;
    Some(SourceOrder { ts_ms: source.number("ts_ms")?, ord: source.number("ord").unwrap_or(0) })
}

/// What the oplog says of an update, as Debezium hands it on before 2.0: operators, or the document that takes the place of the old.
/// <https://debezium.io/documentation/reference/1.1/connectors/mongodb.html>
fn patched(patch: &Object<'_>) -> Result<Change, NotADocumentRecord> {
    if let Some(operator) = &patch.operator {
        return Err(Not::UnknownOperator(operator.clone()));
    }
    if patch.get("$set").is_none() && patch.get("$unset").is_none() {
        // `$v` is the form's version; the second form has all changes in `diff`
        let has_version = patch.get("$v").is_some();
        return match patch.get("diff") {
            Some(_) if has_version => Err(Not::UnknownOperator("diff".to_owned())),
            None if has_version && patch.get("_id").is_none() => Ok(Change::Partial(Vec::new())),
            _ => patch.document().map(Change::Whole),
        };
    }
    let held: [Held; 2] = Default::default();
    let mut fields = match patch.document_in("$set", &held[0])? {
        Some(set) => set.document_fields()?,
        None => Vec::new(),
    };
    if let Some(unset) = patch.document_in("$unset", &held[1])? {
        fields.extend(unset.fields.iter().filter_map(|(name, _)| gone(name)));
    }
    Ok(Change::Partial(fields))
}

/// The `updateDescription` of a change stream. Debezium has `updatedFields` as text.
/// <https://www.mongodb.com/docs/manual/reference/change-events/update/>
fn described(object: &Object<'_>) -> Result<Vec<Field>, NotADocumentRecord> {
    let held: [Held; 2] = Default::default();
    let [of_description, of_updated] = &held;
    let Some(description) = object.document_in("updateDescription", of_description)? else {
        return Ok(Vec::new());
    };
    let mut fields = match description.document_in("updatedFields", of_updated)? {
        Some(updated) => updated.document_fields()?,
        None => Vec::new(),
    };
    match description.get("removedFields").map(RawValue::get) {
        None | Some("null") => {}
        Some(names) if names.starts_with('[') => {
            let Removed(removed) =
                serde_json::from_str(names).map_err(|why| Not::NotJson { place: "removedFields", why })?;
            fields.extend(removed);
        }
        Some(_) => {
            return Err(Not::Malformed { field: "removedFields", expected: "an array of names, or null" });
        }
    }
    Ok(fields)
}

/// An update whose document was looked up later.
fn looked_up(object: &Object<'_>, document: Document) -> Result<Change, NotADocumentRecord> {
    Ok(if described(object)?.is_empty() { Change::Now(document) } else { Change::Whole(document) })
}

/// An event of a change stream, as MongoDB's source connector writes it.
fn event(object: &Object<'_>, operation: &str, id: Option<DocumentId>) -> Result<Said, NotADocumentRecord> {
    let held: [Held; 3] = Default::default();
    let [of_full, of_key, of_token] = &held;
    let full = match operation {
        "insert" | "replace" | "update" => object.document_in("fullDocument", of_full)?,
        _ => None,
    };
    // `startup.mode=copy_existing` writes what there is as inserts
    let is_copy = match object.get("_id") {
        Some(token) if token.get().starts_with('{') => {
            Object::read(token.get(), "_id", &of_token.mended)?.get("copyingData").map(RawValue::get)
                == Some("true")
        }
        _ => false,
    };
    let change = match (operation, &full) {
        ("insert" | "replace" | "update", Some(full)) if is_copy => Change::Snapshot(full.document()?),
        ("update", Some(full)) => looked_up(object, full.document()?)?,
        ("insert" | "replace", Some(full)) => Change::Whole(full.document()?),
        ("update", None) => Change::Partial(described(object)?),
        ("insert" | "replace", None) => {
            let operation = format!("operationType {operation}");
            return Err(Not::NoDocument { operation, field: "fullDocument" });
        }
        ("delete", _) => Change::Deleted,
        _ => return Err(Not::AboutTheCollection(quoted(operation))),
    };
    let id = match id {
        Some(id) => Some(id),
        None => match object.document_in("documentKey", of_key)?.filter(|key| key.get("_id").is_some()) {
            Some(key) => key.id()?,
            None => full.map_or(Ok(None), |full| full.id())?,
        },
    };
    let order = if is_copy { None } else { cluster_order(object) };
    Ok(Said { id, order, change })
}

/// `clusterTime`: the seconds of the oplog and the place within that second, the same two that Debezium hands on.
/// <https://www.mongodb.com/docs/manual/reference/bson-types/#timestamps>
fn cluster_order(object: &Object<'_>) -> Option<SourceOrder> {
    let held: [OnceCell<String>; 2] = Default::default();
    let object_in = |raw: &RawValue| raw.get().starts_with('{');
    let time = object.get("clusterTime").filter(|raw| object_in(raw))?;
    let time = Object::read(time.get(), "clusterTime", &held[0]).ok()?;
    let timestamp = time.get("$timestamp").filter(|raw| object_in(raw))?;
    let timestamp = Object::read(timestamp.get(), "clusterTime", &held[1]).ok()?;
    Some(SourceOrder { ts_ms: timestamp.number("t")?.checked_mul(1000)?, ord: timestamp.number("i")? })
}

/// A document without anything around it.
fn unwrapped(object: &Object<'_>, id: Option<DocumentId>) -> Result<Said, NotADocumentRecord> {
    let fields = object.document_fields()?;
    let has_id = object.get("_id").is_some();
    if fields.is_empty() && !has_id && object.get("__op").is_none() && object.get("__deleted").is_none() {
        return Err(Not::AnotherForm);
    }
    let op = object.text("__op")?;
    let is_deleted =
        object.get("__deleted").is_some_and(|deleted| ["true", "\"true\""].contains(&deleted.get()));
    let change = match op.as_deref() {
        _ if is_deleted => Change::Deleted,
        Some("d") => Change::Deleted,
        Some("r") => Change::Snapshot(fields.into_iter().collect()),
        // `_id` is the first field of every document in MongoDB; of an update without its document, the transformation appends it.
        // https://www.mongodb.com/docs/manual/core/document/#field-order
        _ if has_id && object.first != Some("_id") => Change::Partial(fields),
        Some("c") => Change::Whole(fields.into_iter().collect()),
        _ => Change::Now(fields.into_iter().collect()),
    };
    let id = match id {
        Some(id) => Some(id),
        None => object.id()?,
    };
    let order = match (object.number("__source_ts_ms"), object.number("__source_ord")) {
        (Some(ts_ms), Some(ord)) if op.as_deref() != Some("r") => Some(SourceOrder { ts_ms, ord }),
        _ => None,
    };
    Ok(Said { id, order, change })
}

/// What holds the texts that were in a field, while they are read.
#[derive(Default)]
struct Held {
    text: OnceCell<String>,
    mended: OnceCell<String>,
}

/// The names that mean something, at whatever place, in the order of their bytes.
const NAMES: [&str; 43] = [
    "$numberInt",
    "$numberLong",
    "$oid",
    "$set",
    "$timestamp",
    "$unset",
    "$v",
    "__deleted",
    "__op",
    "__source_ord",
    "__source_ts_ms",
    "_data",
    "_id",
    "after",
    "before",
    "clusterTime",
    "copyingData",
    "diff",
    "documentKey",
    "filter",
    "fullDocument",
    "hostname",
    "i",
    "id",
    "is_guest",
    "mac",
    "model",
    "name",
    "ns",
    "op",
    "operationType",
    "ord",
    "oui",
    "patch",
    "payload",
    "removedFields",
    "schema",
    "source",
    "t",
    "ts_ms",
    "type",
    "updateDescription",
    "updatedFields",
];

/// An object, as far as it can mean something here: the fields that we know as they stand there, of one that is there twice the
/// last. Of what is nested in it nothing is built, so no depth and no size is too much.
#[derive(Default)]
struct Object<'a> {
    /// How many names it has.
    names: usize,
    /// The first of them, if we know it.
    first: Option<&'static str>,
    fields: Vec<(&'static str, &'a RawValue)>,
    /// A name that begins as those of the oplog's operators do, and that we don't know.
    operator: Option<String>,
}

impl<'a> Object<'a> {
    /// Reads what begins as an object.
    ///
    /// The connector's driver writes a double that is no number as `NaN`, `Infinity` or `-Infinity`, which is no JSON
    /// (<https://www.rfc-editor.org/rfc/rfc8259#section-6>). None of our fields is a double, so it does not matter what these become.
    fn read(
        text: &'a str,
        place: &'static str,
        mended: &'a OnceCell<String>,
    ) -> Result<Self, NotADocumentRecord> {
        serde_json::from_str(text)
            .or_else(|why| match without_odd_numbers(text) {
                Some(text) => serde_json::from_str(mended.get_or_init(|| text)),
                None => Err(why),
            })
            .map_err(|why| Not::NotJson { place, why })
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, raw)| *raw)
    }

    /// What is in the envelope of Connect's `JsonConverter`, if this is one: these two fields and no other.
    fn payload_of_connect(&self) -> Option<&'a str> {
        (self.names == 2 && self.get("schema").is_some()).then(|| self.get("payload"))?.map(RawValue::get)
    }

    /// The text of a field, `None` if there is none.
    fn text(&self, name: &'static str) -> Result<Option<String>, NotADocumentRecord> {
        self.get(name).map_or(Ok(None), |raw| text_in(raw, name))
    }

    /// The whole number of a field, in any form that JSON has had for one. `None` if there is none.
    fn number(&self, name: &'static str) -> Option<i64> {
        let raw = self.get(name)?;
        let mended = OnceCell::new();
        if !raw.get().starts_with('{') {
            return whole_number(raw, name);
        }
        let wrapped = Object::read(raw.get(), name, &mended).ok()?;
        whole_number(wrapped.get("$numberLong").or(wrapped.get("$numberInt"))?, name)
    }

    /// The object in a field, as it stands there or as text. `None` if there is none, or null.
    fn document_in<'h>(
        &self,
        name: &'static str,
        held: &'h Held,
    ) -> Result<Option<Object<'h>>, NotADocumentRecord>
    where
        'a: 'h,
    {
        let Some(raw) = self.get(name) else { return Ok(None) };
        let json = match text_in(raw, name)? {
            Some(text) => trimmed(held.text.get_or_init(|| text)),
            None => raw.get(),
        };
        match json {
            "null" => Ok(None),
            json if json.starts_with('{') => Object::read(json, name, &held.mended).map(Some),
            _ => Err(Not::Malformed {
                field: name,
                expected: "a JSON object, or text that holds one, or null",
            }),
        }
    }

    /// The field `_id`, `None` if it is missing or null.
    fn id(&self) -> Result<Option<DocumentId>, NotADocumentRecord> {
        self.get("_id").map_or(Ok(None), |id| id_of_json(id.get(), "_id"))
    }

    /// Those of its fields that a document has.
    fn document_fields(&self) -> Result<Vec<Field>, NotADocumentRecord> {
        self.fields.iter().filter_map(|&(name, raw)| document_field(name, raw).transpose()).collect()
    }

    fn document(&self) -> Result<Document, NotADocumentRecord> {
        Ok(self.document_fields()?.into_iter().collect())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Object::default();
        while let Some(name) = map.next_key::<String>()? {
            let known = NAMES.binary_search(&name.as_str()).ok().and_then(|place| NAMES.get(place).copied());
            if object.names == 0 {
                object.first = known;
            }
            object.names += 1;
            let Some(known) = known else {
                map.next_value::<IgnoredAny>()?;
                if name.starts_with('$') && object.operator.is_none() {
                    object.operator = Some(quoted(&name));
                }
                continue;
            };
            let raw = map.next_value()?;
            match object.fields.iter_mut().find(|(name, _)| *name == known) {
                Some((_, earlier)) => *earlier = raw,
                None => object.fields.push((known, raw)),
            }
        }
        Ok(object)
    }
}

/// The fields of a document among the names of an array.
struct Removed(Vec<Field>);

impl<'de> Deserialize<'de> for Removed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RemovedVisitor)
    }
}

struct RemovedVisitor;

impl<'de> Visitor<'de> for RemovedVisitor {
    type Value = Removed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
        let mut removed = Vec::new();
        while let Some(name) = names.next_element::<&RawValue>()? {
            if !name.get().starts_with('"') {
                continue;
            }
            let name: String = serde_json::from_str(name.get()).map_err(serde::de::Error::custom)?;
            let field = gone(&name).filter(|field| !removed.contains(field));
            removed.extend(field);
        }
        Ok(Removed(removed))
    }
}

/// A field of a document that holds this now. `None` if no document of ours has such a field.
fn document_field(name: &'static str, raw: &RawValue) -> Result<Option<Field>, NotADocumentRecord> {
    let text = || text_in(raw, name);
    Ok(Some(match name {
        "mac" => Field::Mac(text()?.and_then(|mac| mac.parse().ok())),
        "name" => Field::Name(text()?.and_then(kept)),
        "hostname" => Field::Hostname(text()?.and_then(kept)),
        "oui" => Field::Oui(text()?.and_then(kept)),
        "is_guest" => Field::IsGuest(match text()? {
            Some(text) => truth(trimmed(&text)),
            None => truth(raw.get()),
        }),
        "model" => Field::Model(text()?.and_then(kept)),
        "type" => Field::Kind(text()?.and_then(kept)),
        _ => return Ok(None),
    }))
}

/// A field of a document that is no more there.
fn gone(name: &str) -> Option<Field> {
    Some(match name {
        "mac" => Field::Mac(None),
        "name" => Field::Name(None),
        "hostname" => Field::Hostname(None),
        "oui" => Field::Oui(None),
        "is_guest" => Field::IsGuest(None),
        "model" => Field::Model(None),
        "type" => Field::Kind(None),
        _ => return None,
    })
}

/// A text as it is kept: `None` if nobody could see it, cut where it is too long.
fn kept(mut text: String) -> Option<String> {
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    text.contains(|character| character != ' ' && !is_unseen(character)).then_some(text)
}

fn truth(text: &str) -> Option<bool> {
    [true, false].into_iter().find(|truth| text.eq_ignore_ascii_case(if *truth { "true" } else { "false" }))
}

/// A text, `None` if it is none.
fn text_in(raw: &RawValue, place: &'static str) -> Result<Option<String>, NotADocumentRecord> {
    if raw.get().starts_with('"') { unquoted(raw.get(), place).map(Some) } else { Ok(None) }
}

fn unquoted(json: &str, place: &'static str) -> Result<String, NotADocumentRecord> {
    serde_json::from_str(json).map_err(|why| Not::NotJson { place, why })
}

fn whole_number(raw: &RawValue, place: &'static str) -> Option<i64> {
    match text_in(raw, place).ok()? {
        Some(text) => text.parse().ok(),
        None => raw.get().parse().ok(),
    }
}

/// The beginning of somebody's text, for an error.
fn quoted(text: &str) -> String {
    text.chars().take(MAX_QUOTED_CHARS).collect()
}

/// JSON with a zero where numbers stand that JSON does not have. `None` if there are none.
fn without_odd_numbers(text: &str) -> Option<String> {
    let mut mended = String::with_capacity(text.len());
    OddNumbers::new(text.as_bytes()).read_to_string(&mut mended).ok()?;
    (mended != text).then_some(mended)
}

/// JSON without the blanks between its parts.
fn without_blanks(json: &str) -> String {
    let (mut in_string, mut is_escaped) = (false, false);
    let stays = |character: &char| {
        in_string ^= *character == '"' && !is_escaped;
        is_escaped = in_string && *character == '\\' && !is_escaped;
        in_string || !matches!(character, ' ' | '\t' | '\r' | '\n')
    };
    json.chars().filter(stays).collect()
}

/// Lets a test ask for a panic inside the decoder, to see that it ends in the quarantine. Not in builds for real use.
#[cfg(feature = "fault-points")]
#[expect(clippy::panic)]
fn fault_point(change: &Change) {
    let name = match change {
        Change::Snapshot(document) | Change::Whole(document) | Change::Now(document) => {
            document.name.as_deref()
        }
        Change::Partial(fields) => fields.iter().find_map(|field| match field {
            Field::Name(name) => name.as_deref(),
            _ => None,
        }),
        Change::Deleted | Change::Tombstone => None,
    };
    if name == Some("panic-in-the-decoder") {
        panic!("asked for by the record");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OID: &str = "5a32b0c9e4b047ede36a0001";
    /// A key of Debezium that says [`OID`].
    const KEY: &str = r#"{"id":"{\"$oid\": \"5a32b0c9e4b047ede36a0001\"}"}"#;

    /// The whole document that a value says.
    fn document_of(value: &str) -> Result<Document, String> {
        match change_of(value)? {
            Change::Whole(document) | Change::Now(document) => Ok(document),
            other => Err(format!("{other:?}")),
        }
    }

    /// What a record with the key of [`OID`] says of it, or why it cannot be read.
    fn change_of(value: &str) -> Result<Change, String> {
        read(Some(KEY), Some(value)).map(|record| {
            assert_eq!(record.id, OID);
            record.change
        })
    }

    fn read(key: Option<&str>, value: Option<&str>) -> Result<DocumentRecord, String> {
        decode(key.map(str::as_bytes), value.map(str::as_bytes)).map_err(|why| why.to_string())
    }

    fn id_of(key: Option<&str>, value: Option<&str>) -> Result<String, String> {
        read(key, value).map(|record| record.id)
    }

    fn json_text(text: &str) -> String {
        serde_json::json!(text).to_string()
    }

    fn in_connect(payload: &str) -> String {
        format!(r#"{{"schema":{{"type":"struct","optional":false}},"payload":{payload}}}"#)
    }

    fn named(name: &str) -> Document {
        Document { name: Some(name.to_owned()), ..Document::default() }
    }

    fn name(name: &str) -> Field {
        Field::Name(Some(name.to_owned()))
    }

    const ORDER: SourceOrder = SourceOrder { ts_ms: 1_587_634_300_000, ord: 7 };
    const SOURCE: &str =
        r#""source":{"version":"3.3.1.Final","ts_ms":1587634300000,"snapshot":"false","ord":7}"#;

    #[test]
    fn the_names_can_be_searched() {
        assert!(NAMES.is_sorted());
    }

    #[test]
    fn a_key_in_any_of_its_forms_says_the_id() {
        for (key, id) in [
            // Debezium 3.3 and 1.9, its manual, 1.1
            (r#"{"id":"{\"$oid\": \"5a32b0c9e4b047ede36a0001\"}"}"#, OID),
            (r#"{"id":"{\"$oid\" : \"5a32b0c9e4b047ede36a0001\"}"}"#, OID),
            (r#"{"id":"{ \"$oid\" : \"5a32b0c9e4b047ede36a0001\"}"}"#, OID),
            (r#"{ "id" : "{\"$oid\":\"5A32B0C9E4B047EDE36A0001\"}" }"#, OID),
            (r#"{"id":"\"5a4c022\""}"#, "5a4c022"),
            (r#"{"id":"{\"$numberLong\":\"1004\"}"}"#, "1004"),
            (r#"{"id":"{\"$numberInt\":\"-7\"}"}"#, "-7"),
            (r#"{"id":"1004"}"#, "1004"),
            (r#"{"id":1004}"#, "1004"),
            (r#"{"id":{"$oid":"5a32b0c9e4b047ede36a0001"}}"#, OID),
            // unwrapped: the text itself, which is no number even if it looks like one
            (r#"{"id":"5a32b0c9e4b047ede36a0001"}"#, OID),
            (r#"{"id":"596275826082730779519000"}"#, "596275826082730779519000"),
            (r#"{"id":"5962758260827307795190e1"}"#, "5962758260827307795190e1"),
            (r#"{"id":"{no json"}"#, "{no json"),
            (r#"{"id":"\"no json"}"#, "\"no json"),
            (r#"{"id":"küche – 📶"}"#, "küche – 📶"),
            (r#"{"id":" 7"}"#, " 7"),
            // MongoDB's source connector
            (r#"{"_id":{"$oid":"5a32b0c9e4b047ede36a0001"}}"#, OID),
            (r#"{"_id": "5a32b0c9e4b047ede36a0001"}"#, OID),
            (r#"{"_id":{"$oid":"5a32b0c9e4b047ede36a0001"},"site_id":"of the shard key"}"#, OID),
            (r#""{\"_id\": {\"$oid\": \"5a32b0c9e4b047ede36a0001\"}}""#, OID),
            // ExtractField, StringConverter
            (r#"{"$oid": "5a32b0c9e4b047ede36a0001"}"#, OID),
            (r#""{\"$oid\": \"5a32b0c9e4b047ede36a0001\"}""#, OID),
            (OID, OID),
            ("\u{feff} 5a32b0c9e4b047ede36a0001\r\n", OID),
            (r#""5a32b0c9e4b047ede36a0001""#, OID),
            (r#""\"5a4c022\"""#, "5a4c022"),
            ("596275826082730779519000", "596275826082730779519000"),
            ("1004", "1004"),
            (r#"Struct{id={"$oid": "5a32b0c9e4b047ede36a0001"}}"#, OID),
            ("Struct{id=5a32b0c9e4b047ede36a0001}", OID),
            // objects are as good as anything else
            (r#"{"id":"{\"b\": 1, \"a\": \" x \"}"}"#, r#"{"b":1,"a":" x "}"#),
            (r#"{ "site" : 1, "id" : 2 }"#, r#"{"site":1,"id":2}"#),
            (r#"{"_id":{"$binary":"AAAA","$type":"04"}}"#, r#"{"$binary":"AAAA","$type":"04"}"#),
            (r#"{"id":"{\"$oid\": \"none\"}"}"#, r#"{"$oid":"none"}"#),
            (
                r#"{"_id":{"$oid":"5a32b0c9e4b047ede36a0001","a":1}}"#,
                r#"{"$oid":"5a32b0c9e4b047ede36a0001","a":1}"#,
            ),
            (r#"{"_id":{"$numberLong":"5", "a":1}}"#, r#"{"$numberLong":"5","a":1}"#),
            (r#"{"_id":true}"#, "true"),
            (r#"{"_id":1.5}"#, "1.5"),
        ] {
            assert_eq!(id_of(Some(key), None), Ok(id.to_owned()), "{key}");
            // the key has the word
            assert_eq!(id_of(Some(key), Some(r#"{"_id":"other"}"#)), Ok(id.to_owned()), "{key}");
            if key.starts_with(['{', '"']) {
                assert_eq!(id_of(Some(&in_connect(key)), None), Ok(id.to_owned()), "{key}");
            }
        }
    }

    #[test]
    fn without_an_id_in_the_key_the_value_says_it() {
        let keys = [
            None,
            Some(""),
            Some(" "),
            Some("null"),
            Some(r#""null""#),
            Some(r#"{"id":null}"#),
            Some(r#"{"id":"null"}"#),
            Some(r#"{"_id":null}"#),
            Some(r#"{"schema":null,"payload":null}"#),
            Some(r#"{"_id":{"_data":"8263"}}"#),
            Some(r#""{\"_id\": {\"_data\": \"8263\"}}""#),
            Some(r#"{"_data":"8263"}"#),
            Some(r#"{"_id":{"_id":{"$oid":"5a32b0c9e4b047ede36a0001"},"copyingData":true}}"#),
        ];
        for (value, id) in [
            (r#"{"_id":"5a4c022","mac":"x"}"#, "5a4c022"),
            (r#"{"_id":{"$oid":"5a32b0c9e4b047ede36a0001"}}"#, OID),
            (r#"{"_id":1004}"#, "1004"),
            (r#"{"op":"r","after":"{\"_id\": {\"$oid\": \"5a32b0c9e4b047ede36a0001\"}}"}"#, OID),
            (r#"{"op":"c","after":{"_id":"a"},"filter":"{\"_id\":\"b\"}"}"#, "a"),
            (r#"{"op":"u","patch":"{\"_id\": \"a\",\"name\":\"x\"}"}"#, "a"),
            (
                r#"{"op":"u","patch":"{\"$set\":{\"_id\":\"b\"}}","filter":"{\"_id\" : {\"$numberLong\" : \"1004\"}}"}"#,
                "1004",
            ),
            (r#"{"op":"d","filter":"{\"_id\": \"a\"}"}"#, "a"),
            (r#"{"op":"d","before":"{\"_id\": \"a\"}","filter":null}"#, "a"),
            (
                r#"{"_id":{"_data":"8263"},"operationType":"delete","documentKey":{"_id":{"$oid":"5a32b0c9e4b047ede36a0001"}}}"#,
                OID,
            ),
            (r#"{"_id":{"_data":"8263"},"operationType":"insert","ns":{},"fullDocument":{"_id":"a"}}"#, "a"),
        ] {
            for key in keys {
                assert_eq!(id_of(key, Some(value)), Ok(id.to_owned()), "{key:?} {value}");
            }
            assert_eq!(id_of(Some(KEY), Some(value)), Ok(OID.to_owned()), "{value}");
        }
        for value in [
            None,
            Some("null"),
            Some(r#"{"_id":null,"mac":"x"}"#),
            Some(r#"{"mac":"x"}"#),
            Some(r#"{"op":"c","after":"{}"}"#),
            Some(r#"{"op":"d","source":{}}"#),
            Some(r#"{"op":"u","source":{}}"#),
            Some(r#"{"_id":{"_data":"8263"},"operationType":"delete","ns":{}}"#),
        ] {
            for key in keys {
                let why = id_of(key, value).unwrap_err();
                assert!(why.contains("change.stream.document.key.as.key=true"), "{key:?} {value:?}: {why}");
            }
        }
    }

    #[test]
    fn an_id_that_is_no_key_of_a_table_is_refused() {
        for (id, bytes) in [(String::new(), 0), ("é".repeat(257), 514)] {
            for (key, value) in [
                (Some(format!(r#"{{"id":"{id}"}}"#)), None),
                (Some(format!(r#"{{"_id":"{id}"}}"#)), None),
                (Some(format!(r#""{id}""#)), None),
                (None, Some(format!(r#"{{"_id":"{id}"}}"#))),
            ] {
                let why = id_of(key.as_deref(), value.as_deref()).unwrap_err();
                assert_eq!(why, format!("_id has {bytes} bytes: it needs 1 to 512"), "{key:?} {value:?}");
            }
        }
        let (longest, too_large) = ("é".repeat(256), "x".repeat(10_000));
        assert_eq!(id_of(Some(&longest), None), Ok(longest.clone()));
        let blanks = " ".repeat(10_000);
        for id in
            [format!("\"{too_large}\""), format!(r#"{{"a":"{too_large}"}}"#), format!(r#"{{"a":{blanks}1}}"#)]
        {
            let why = id_of(None, Some(&format!(r#"{{"_id":{id}}}"#))).unwrap_err();
            assert!(why.contains("_id has 10"), "{why}");
            // a field that is not looked at
            assert_eq!(id_of(Some("a"), Some(&format!(r#"{{"_id":{id}}}"#))), Ok("a".to_owned()));
        }
    }

    #[test]
    fn an_envelope_says_what_happened() {
        let (whole, snapshot) = (|name| Change::Whole(named(name)), |name| Change::Snapshot(named(name)));
        for (fields, change) in [
            (r#""op":"r","after":"{\"_id\": 1,\"name\": \"a\"}","patch":null"#, snapshot("a")),
            (r#""op":"c","after":"{\"_id\": 1,\"name\": \"a\"}","before":null"#, whole("a")),
            (r#""op":"c","after":{"_id":1,"name":"a"}"#, whole("a")),
            (r#""op":"u","after":"{\"name\": \"a\"}","patch":null"#, whole("a")),
            (r#""op":"u","after":"{\"name\": \"a\"}","patch":"{\"$set\":{\"name\":\"b\"}}""#, whole("a")),
            (
                r#""op":"u","after":"{\"name\": \"a\"}","updateDescription":{"updatedFields":"{\"name\":\"b\"}"}"#,
                whole("a"),
            ),
            (r#""op":"u","after":"{\"name\": \"a\"}","before":"{\"name\": \"b\"}""#, whole("a")),
            // Debezium before 2.0
            (r#""op":"u","after":null,"patch":"{\"_id\": 1,\"name\": \"a\"}""#, whole("a")),
            (r#""op":"u","after":null,"patch":"{\"$v\": 1,\"_id\": 1,\"name\": \"a\"}""#, whole("a")),
            (r#""op":"u","patch":"{\"_id\": 1,\"diff\": \"a\",\"name\": \"a\"}""#, whole("a")),
            (r#""op":"u","patch":"{\"$v\": 1}""#, Change::Partial(vec![])),
            (
                r#""op":"u","patch":"{\"$v\": 1,\"$set\": {\"name\": \"a\"}}""#,
                Change::Partial(vec![name("a")]),
            ),
            (
                r#""op":"u","patch":"{\"$set\": {\"name\": \"\", \"last_seen\": 5}}""#,
                Change::Partial(vec![Field::Name(None)]),
            ),
            (
                r#""op":"u","patch":"{\"$unset\": {\"hostname\": true, \"noted\": \"\"}, \"$set\": {\"name\": \"a\", \"fingerprint.override\": true}}""#,
                Change::Partial(vec![name("a"), Field::Hostname(None)]),
            ),
            (r#""op":"u","patch":{"$set":{"name":"a"}}"#, Change::Partial(vec![name("a")])),
            // change streams without the document
            (
                r#""op":"u","after":null,"updateDescription":{"removedFields":["hostname","noted"],"updatedFields":"{\"name\": \"a\"}","truncatedArrays":null}"#,
                Change::Partial(vec![name("a"), Field::Hostname(None)]),
            ),
            (
                r#""op":"u","updateDescription":{"removedFields":null,"updatedFields":{"name":"a"}}"#,
                Change::Partial(vec![name("a")]),
            ),
            (
                r#""op":"u","updateDescription":{"removedFields":[],"updatedFields":"{}"}"#,
                Change::Partial(vec![]),
            ),
            (
                r#""op":"u","updateDescription":{"removedFields":["a.name","n\u0061me","name"],"updatedFields":null}"#,
                Change::Partial(vec![Field::Name(None)]),
            ),
            // the document was gone before the connector looked it up
            (r#""op":"u","before":null,"after":null,"updateDescription":null"#, Change::Partial(vec![])),
            (r#""op":"u","after":"null","patch":" null ""#, Change::Partial(vec![])),
            (r#""op":"d","after":null,"patch":null,"filter":"{\"_id\": 1}""#, Change::Deleted),
            (r#""op":"d","before":"{\"_id\": 1,\"name\": \"a\"}""#, Change::Deleted),
            (r#""op":"d","after":"no document""#, Change::Deleted),
            (r#""op":"d""#, Change::Deleted),
        ] {
            let order = (!matches!(change, Change::Snapshot(_))).then_some(ORDER);
            let bare = format!("{{{fields},{SOURCE},\"ts_ms\":1,\"transaction\":null}}");
            let wrapped = in_connect(&bare);
            let texts = [json_text(&bare), json_text(&wrapped), in_connect(&json_text(&bare))];
            for value in texts.iter().chain([&bare, &wrapped, &format!("\u{feff}{bare}\r\n")]) {
                let record = read(Some(KEY), Some(value)).unwrap_or_else(|why| panic!("{value}: {why}"));
                assert_eq!((&record.change, record.order), (&change, order), "{value}");
            }
        }
    }

    #[test]
    fn an_update_is_none_of_a_snapshot_whatever_its_source_says() {
        for snapshot in ["true", r#""true""#, r#""last""#, "null"] {
            let value = |op| {
                format!(r#"{{"op":"{op}","after":"{{}}","source":{{"ts_ms":5,"snapshot":{snapshot}}}}}"#)
            };
            assert_eq!(change_of(&value("u")), Ok(Change::Whole(Document::default())));
            assert_eq!(change_of(&value("r")), Ok(Change::Snapshot(Document::default())));
        }
    }

    #[test]
    fn the_order_is_the_sources() {
        let order = |ts_ms, ord| Some(SourceOrder { ts_ms, ord });
        for (value, expected) in [
            (r#"{"op":"u","source":{"ts_ms":5000,"ord":3},"ts_ms":9}"#, order(5000, 3)),
            (r#"{"op":"u","source":{"ts_ms":5000},"ts_ms":9}"#, order(5000, 0)),
            (r#"{"op":"u","source":{"ts_ms":5000,"ord":null}}"#, order(5000, 0)),
            (r#"{"op":"d","source":{"ts_ms":{"$numberLong":"5000"},"ord":"3"}}"#, order(5000, 3)),
            (r#"{"op":"u","source":{"ts_ms":null,"ord":3},"ts_ms":9}"#, None),
            (r#"{"op":"u","source":{"ord":3}}"#, None),
            (r#"{"op":"u","source":null}"#, None),
            (r#"{"op":"u","source":7}"#, None),
            (r#"{"op":"u","source":{"ts_ms":99999999999999999999}}"#, None),
            (r#"{"op":"r","after":"{}","source":{"ts_ms":5000,"ord":-1}}"#, None),
            (r#"{"mac":"","__op":"u","__source_ts_ms":5000,"__source_ord":3}"#, order(5000, 3)),
            (r#"{"mac":"","__source_ts_ms":5000,"__source_ord":3}"#, order(5000, 3)),
            (r#"{"__deleted":true,"__source_ts_ms":5000,"__source_ord":3}"#, order(5000, 3)),
            (r#"{"mac":"","__op":"r","__source_ts_ms":5000,"__source_ord":3}"#, None),
            (r#"{"mac":"","__op":"u","__source_ts_ms":5000}"#, None),
            (r#"{"mac":"","__op":"u","__ts_ms":5000,"__source_ord":3}"#, None),
            (
                r#"{"operationType":"delete","ns":{},"clusterTime":{"$timestamp":{"t":5,"i":3}}}"#,
                order(5000, 3),
            ),
            (r#"{"operationType":"delete","ns":{},"clusterTime":{"$timestamp":{"t":5,"i":3.5}}}"#, None),
            (
                r#"{"operationType":"delete","ns":{},"clusterTime":{"$timestamp":{"t":9223372036854775807,"i":3}}}"#,
                None,
            ),
            (r#"{"operationType":"delete","ns":{},"clusterTime":{"$date":5000}}"#, None),
            (r#"{"operationType":"delete","ns":{},"clusterTime":"2020-04-23T00:00:00Z"}"#, None),
            (r#"{"operationType":"delete","ns":{},"clusterTime":7}"#, None),
            (r#"{"operationType":"delete","ns":{}}"#, None),
            ("null", None),
        ] {
            assert_eq!(read(Some(KEY), Some(value)).map(|record| record.order), Ok(expected), "{value}");
        }
    }

    #[test]
    fn an_event_of_a_change_stream_says_what_happened() {
        let full = r#""fullDocument":{"_id":{"$oid":"5a32b0c9e4b047ede36a0001"},"name":"a"}"#;
        for (fields, change) in [
            (format!(r#""operationType":"insert",{full}"#), Change::Whole(named("a"))),
            (format!(r#""operationType":"replace",{full}"#), Change::Whole(named("a"))),
            (format!(r#""operationType":"update",{full},"updateDescription":{{"updatedFields":{{"name":"b"}}}}"#), Change::Whole(named("a"))),
            (r#""operationType":"insert","fullDocument":"{\"name\": \"a\"}""#.to_owned(), Change::Whole(named("a"))),
            (
                r#""operationType":"update","updateDescription":{"updatedFields":{"name":"b","stat.x":1},"removedFields":["oui"],"truncatedArrays":[]}"#.to_owned(),
                Change::Partial(vec![name("b"), Field::Oui(None)]),
            ),
            (
                r#""operationType":"update","fullDocument":null,"updateDescription":{"updatedFields":"{\"name\": \"b\"}"}"#.to_owned(),
                Change::Partial(vec![name("b")]),
            ),
            (r#""operationType":"update","fullDocument":null"#.to_owned(), Change::Partial(vec![])),
            (r#""operationType":"delete""#.to_owned(), Change::Deleted),
        ] {
            let time = r#""clusterTime":{"$timestamp":{"t":1587634300,"i":7}}"#;
            let token = r#""_id":{"_data":"8263"}"#;
            let key = r#"{"_id":{"$oid":"5a32b0c9e4b047ede36a0001"}}"#;
            for ns in [format!(r#""documentKey":{key}"#), r#""ns":{"db":"ace","coll":"user"}"#.to_owned()] {
                let value = format!("{{{token},{fields},{ns},{time}}}");
                for value in [in_connect(&value), json_text(&value), in_connect(&json_text(&value)), value] {
                    let record = read(Some(key), Some(&value)).unwrap_or_else(|why| panic!("{value}: {why}"));
                    assert_eq!((record.id.as_str(), &record.change, record.order), (OID, &change, Some(ORDER)), "{value}");
                }
            }
            let copy = format!(r#"{{"_id":{{"_id":1,"copyingData":true}},{fields},"ns":{{}},{time}}}"#);
            let record = read(Some(KEY), Some(&copy)).unwrap();
            if let Change::Whole(document) = change {
                assert_eq!((record.change, record.order), (Change::Snapshot(document), None), "{copy}");
            }
        }
    }

    #[test]
    fn a_document_without_anything_around_it_is_so_now() {
        let mac = "a4:83:e7:4e:39:15".parse().ok();
        for (value, change) in [
            (r#"{"_id":"a","name":"a"}"#, Change::Now(named("a"))),
            (r#"{"_id":{"$oid":"5a32b0c9e4b047ede36a0001"},"x":1,"name":"a"}"#, Change::Now(named("a"))),
            (r#"{"_id":"a"}"#, Change::Now(Document::default())),
            (r#"{"name":"a"}"#, Change::Now(named("a"))),
            (r#"{"_id":"a","name":"a","__deleted":false,"__op":"u"}"#, Change::Now(named("a"))),
            (r#"{"_id":"a","name":"a","__deleted":"false","__op":"c"}"#, Change::Whole(named("a"))),
            (r#"{"_id":"a","name":"a","__op":"r"}"#, Change::Snapshot(named("a"))),
            // an update without its document
            (r#"{"name":"a","_id":"a"}"#, Change::Partial(vec![name("a")])),
            (
                r#"{"name":null,"mac":"a4:83:e7:4e:39:15","_id":"a"}"#,
                Change::Partial(vec![Field::Name(None), Field::Mac(mac)]),
            ),
            (r#"{"name":"a","_id":"a","__deleted":false,"__op":"u"}"#, Change::Partial(vec![name("a")])),
            (r#"{"last_seen":5,"_id":"a"}"#, Change::Partial(vec![])),
            // gone
            (r#"{"__deleted":true,"__op":"d"}"#, Change::Deleted),
            (r#"{"__deleted":"true"}"#, Change::Deleted),
            (r#"{"_id":"a","name":"a","__deleted":true}"#, Change::Deleted),
            (r#"{"_id":"a","__op":"d"}"#, Change::Deleted),
            // fields that an envelope has are the document's own where it has an _id
            (
                r#"{"_id":"a","op":"d","after":"{}","patch":"{}","source":{},"name":"a"}"#,
                Change::Now(named("a")),
            ),
            (r#"{"_id":"a","op":"t","source":1,"name":"a"}"#, Change::Now(named("a"))),
            (r#"{"_id":"a","operationType":"drop","name":"a"}"#, Change::Now(named("a"))),
            (r#"{"_id":"a","schema":1,"payload":2,"name":"a"}"#, Change::Now(named("a"))),
        ] {
            for value in [value, &in_connect(value), &json_text(value), &in_connect(&json_text(value))] {
                assert_eq!(change_of(value), Ok(change.clone()), "{value}");
            }
        }
    }

    #[test]
    fn no_value_is_a_tombstone() {
        for value in
            [None, Some("null"), Some(" null\n"), Some(r#"{"schema":null,"payload":null}"#), Some("\"null\"")]
        {
            for key in [KEY, &in_connect(KEY), r#"{"id":"5a32b0c9e4b047ede36a0001"}"#] {
                let record = read(Some(key), value).unwrap();
                assert_eq!(
                    record,
                    DocumentRecord { id: OID.to_owned(), order: None, change: Change::Tombstone }
                );
            }
        }
    }

    #[test]
    fn of_each_field_what_can_stand_there_is_kept() {
        let text = |text: &str| Some(text.to_owned());
        let mac = "a4:83:e7:4e:39:15".parse().ok();
        for (json, fields) in [
            (r#""mac":"a4:83:e7:4e:39:15""#, vec![Field::Mac(mac)]),
            (r#""mac":"A4-83-E7-4E-39-15""#, vec![Field::Mac(mac)]),
            (r#""mac":"a483e74e3915""#, vec![Field::Mac(mac)]),
            (r#""mac":"none""#, vec![Field::Mac(None)]),
            (r#""mac":7"#, vec![Field::Mac(None)]),
            (r#""name":"Robin's iPhone""#, vec![Field::Name(text("Robin's iPhone"))]),
            (
                r#""name":" O\"B\u0072ien \\ \t{x} \ud83d\udda8""#,
                vec![Field::Name(text(" O\"Brien \\ \t{x} 🖨"))],
            ),
            (r#""name":"""#, vec![Field::Name(None)]),
            (r#""name":"  ""#, vec![Field::Name(None)]),
            (r#""name":"\u200b\t \u202e""#, vec![Field::Name(None)]),
            (r#""name":null"#, vec![Field::Name(None)]),
            (r#""name":7"#, vec![Field::Name(None)]),
            (r#""name":{"a":"b"}"#, vec![Field::Name(None)]),
            (r#""name":["a"]"#, vec![Field::Name(None)]),
            (r#""name":"a","name":"b""#, vec![Field::Name(text("b"))]),
            (r#""name":"a","name":null"#, vec![Field::Name(None)]),
            (r#""n\u0061me":"a""#, vec![Field::Name(text("a"))]),
            (r#""fingerprint.name":"a","Name":"b","meta":{"name":"c"}"#, vec![]),
            (r#""hostname":"a","oui":"b""#, vec![Field::Hostname(text("a")), Field::Oui(text("b"))]),
            (r#""model":"U7PG2","type":"uap""#, vec![Field::Model(text("U7PG2")), Field::Kind(text("uap"))]),
            (r#""is_guest":true"#, vec![Field::IsGuest(Some(true))]),
            (r#""is_guest":false"#, vec![Field::IsGuest(Some(false))]),
            (r#""is_guest":"True""#, vec![Field::IsGuest(Some(true))]),
            (r#""is_guest":"FALSE ""#, vec![Field::IsGuest(Some(false))]),
            (r#""is_guest":"yes""#, vec![Field::IsGuest(None)]),
            (r#""is_guest":1"#, vec![Field::IsGuest(None)]),
            (r#""is_guest":null"#, vec![Field::IsGuest(None)]),
        ] {
            let document: Document = fields.iter().cloned().collect();
            let envelope = |op: &str, field: &str, json: &str| {
                format!(r#"{{"op":"{op}","{field}":{}}}"#, json_text(json))
            };
            for (value, change) in [
                (envelope("c", "after", &format!("{{{json}}}")), Change::Whole(document.clone())),
                (
                    envelope("u", "patch", &format!("{{\"$set\":{{{json}}}}}")),
                    Change::Partial(fields.clone()),
                ),
                (
                    format!(r#"{{"op":"u","updateDescription":{{"updatedFields":{{{json}}}}}}}"#),
                    Change::Partial(fields.clone()),
                ),
                (format!(r#"{{"_id":"a",{json}}}"#), Change::Now(document)),
                (format!(r#"{{{json},"_id":"a"}}"#), Change::Partial(fields)),
            ] {
                assert_eq!(change_of(&value), Ok(change), "{value}");
            }
        }
    }

    #[test]
    fn every_field_can_be_taken_away() {
        let removed =
            |names: &str| format!(r#"{{"op":"u","updateDescription":{{"removedFields":[{names}]}}}}"#);
        let all = [
            ("mac", Field::Mac(None)),
            ("name", Field::Name(None)),
            ("hostname", Field::Hostname(None)),
            ("oui", Field::Oui(None)),
            ("is_guest", Field::IsGuest(None)),
            ("model", Field::Model(None)),
            ("type", Field::Kind(None)),
        ];
        for (name, field) in all {
            assert_eq!(change_of(&removed(&format!("\"{name}\""))), Ok(Change::Partial(vec![field.clone()])));
            let unset = format!(r#"{{"op":"u","patch":"{{\"$v\":1,\"$unset\":{{\"{name}\":true}}}}"}}"#);
            assert_eq!(change_of(&unset), Ok(Change::Partial(vec![field])));
        }
        assert_eq!(change_of(&removed(r#"7,null,{"name":1},["name"]"#)), Ok(Change::Partial(vec![])));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        for (given, kept) in [
            ("x".repeat(1024), Some("x".repeat(1024))),
            ("x".repeat(1025), Some("x".repeat(1024))),
            (format!("x{}", "é".repeat(600)), Some(format!("x{}", "é".repeat(511)))),
            (" ".repeat(1024) + "x", None),
        ] {
            let document = Document { name: kept, ..Document::default() };
            assert_eq!(change_of(&format!(r#"{{"name":"{given}"}}"#)), Ok(Change::Now(document)));
        }
    }

    #[test]
    fn numbers_that_json_does_not_have_are_null() {
        let document =
            r#"{"_id": 1,"name": "NaN \" Infinity","x": NaN,"y": [-Infinity,Infinity, {"z": NaN}]}"#;
        let named = Ok(named("NaN \" Infinity"));
        for value in [
            document.to_owned(),
            in_connect(document),
            in_connect(&json_text(document)),
            format!(r#"{{"op":"c","after":{}}}"#, json_text(document)),
            format!(r#"{{"op":"c","after":{document}}}"#),
            format!(r#"{{"op":"u","patch":{}}}"#, json_text(document)),
            format!(r#"{{"operationType":"insert","ns":1,"fullDocument":{document}}}"#),
        ] {
            assert_eq!(document_of(&value), named, "{value}");
        }
        let partial = Change::Partial(vec![Field::Name(None), Field::Hostname(Some("a".to_owned()))]);
        let updated = r#"{"name":NaN,"hostname":"a"}"#;
        for value in [
            format!(r#"{{"op":"u","updateDescription":{{"updatedFields":{}}}}}"#, json_text(updated)),
            format!(r#"{{"op":"u","patch":{}}}"#, json_text(&format!(r#"{{"$set":{updated}}}"#))),
        ] {
            assert_eq!(change_of(&value), Ok(partial.clone()), "{value}");
        }
        for value in [r#"{"_id":"a","x":NaNs}"#, r#"{NaN:1}"#, r#"{"_id":"a","x":nan}"#] {
            assert!(change_of(value).unwrap_err().contains("not JSON"), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_what_to_do() {
        let form = "value has no form that is understood";
        let long = "x".repeat(100_000);
        let operation = format!(r#"{{"op":"{long}","source":{{}}}}"#);
        let operator = format!(r#"{{"op":"u","patch":"{{\"${long}\":1}}"}}"#);
        let of_collection = format!(r#"{{"operationType":"{long}","ns":{{}}}}"#);
        for (value, part) in [
            ("", "value is empty: to delete a document write none at all (kcat -Z)"),
            (" \r\n", "value is empty"),
            ("\"\"", "value is empty"),
            ("{", "value is not JSON (EOF"),
            (r#"{"op":"c","after":"{\"_id\": {\"$oid\""}"#, "after is not JSON (EOF"),
            (r#"{"op":"c","after":"{\"name\": \"\\ud83d\"}"}"#, "name is not JSON"),
            (r#"{"op":"c","after":"\ud83d"}"#, "after is not JSON"),
            (r#"{"_id":"a","name":"\udda8"}"#, "name is not JSON"),
            (r#"{"_id":"a"} {}"#, "value is not JSON (trailing"),
            (r#"{"_id":"a""#, "value is not JSON"),
            ("\"half", "value is not JSON"),
            ("7", form),
            ("true", form),
            ("[{\"_id\":\"a\"}]", form),
            ("some text", form),
            ("\"some text\"", form),
            ("NaN", form),
            (r#"{}"#, form),
            (r#"{"ts_ms":1}"#, form),
            (r#"{"status":"BEGIN","id":"a:1","event_count":null}"#, form),
            (r#"{"op":"c"}"#, form),
            (r#"{"op":null,"after":"{}"}"#, form),
            (r#"{"operationType":"insert","fullDocument":{}}"#, form),
            (r#"{"schema":null,"payload":7}"#, form),
            (r#"{"schema":null,"payload":"text"}"#, form),
            (&in_connect(&in_connect(r#"{"_id":"a"}"#)), form),
            (&json_text(&json_text(r#"{"_id":"a"}"#)), form),
            (&json_text(&in_connect(&json_text(r#"{"_id":"a"}"#))), form),
            (r#"{"op":"t","source":{}}"#, r#"op "t" is an operation that we don't know"#),
            (r#"{"op":"m","after":null}"#, r#"op "m" is an operation"#),
            (r#"{"op":"","source":{}}"#, r#"op "" is an operation"#),
            (&operation, "an operation that we don't know"),
            (
                r#"{"op":"c","after":null,"source":{}}"#,
                "op c comes without the document: after is missing or null",
            ),
            (r#"{"op":"r","source":{}}"#, "op r comes without the document"),
            (r#"{"op":"c","after":7}"#, "after is not a JSON object, or text that holds one, or null"),
            (r#"{"op":"c","after":"text"}"#, "after is not a JSON object"),
            (r#"{"op":"u","patch":[]}"#, "patch is not a JSON object"),
            (r#"{"op":"u","updateDescription":7}"#, "updateDescription is not a JSON object"),
            (r#"{"op":"u","updateDescription":{"updatedFields":7}}"#, "updatedFields is not a JSON object"),
            (
                r#"{"op":"u","updateDescription":{"removedFields":"name"}}"#,
                "removedFields is not an array of names, or null",
            ),
            (r#"{"op":"u","updateDescription":{"removedFields":["\ud800"]}}"#, "removedFields is not JSON"),
            (r#"{"op":"u","patch":"{\"$set\":7}"}"#, "$set is not a JSON object"),
            (r#"{"op":"u","patch":"{\"$unset\":\"name\"}"}"#, "$unset is not a JSON object"),
            (
                r#"{"op":"u","patch":"{\"$set\":{},\"$inc\":{\"a\":1},\"$mul\":{\"a\":1}}"}"#,
                r#"patch has the operator "$inc", which we don't know"#,
            ),
            (
                r#"{"op":"u","patch":"{\"$v\":2,\"diff\":{\"u\":{\"name\":\"a\"}}}"}"#,
                r#"the operator "diff""#,
            ),
            (&operator, "which we don't know"),
            (
                r#"{"operationType":"drop","ns":{"db":"ace"}}"#,
                r#"operationType "drop" is about the collection, not a document"#,
            ),
            (
                r#"{"_id":{"_data":"8263"},"operationType":"invalidate","clusterTime":7}"#,
                r#""invalidate" is about the collection"#,
            ),
            (r#"{"operationType":"invalidate","ns":null}"#, r#""invalidate" is about the collection"#),
            (r#"{"operationType":"rename","ns":{},"to":{}}"#, "is about the collection"),
            (r#"{"operationType":"dropDatabase","ns":{}}"#, "is about the collection"),
            (&of_collection, "is about the collection"),
            (
                r#"{"operationType":"insert","ns":{}}"#,
                "operationType insert comes without the document: fullDocument is missing",
            ),
            (
                r#"{"operationType":"replace","ns":{},"fullDocument":null}"#,
                "operationType replace comes without the document",
            ),
        ] {
            let why = change_of(value).expect_err(value);
            assert!(why.contains(part), "{part}: {why}");
            assert!(why.len() < 400 && !why.contains(&long), "{why}");
        }
        let text = "let the connector write JSON";
        for (key, part) in [
            ("{\"id\":\"half", "key is not JSON"),
            ("\"half", "key is not JSON"),
            (r#"{"id":"\ud800"}"#, "key is not JSON"),
            ("Struct{_data=8263}", text),
            ("Struct{id=half", text),
        ] {
            let why = id_of(Some(key), Some("{}")).unwrap_err();
            assert!(why.contains(part), "{part}: {why}");
        }
        for (key, value, place) in [(&b"a"[..], &b"caf\xe9"[..], "value"), (b"caf\xe9", b"{}", "key")] {
            let why = decode(Some(key), Some(value)).unwrap_err().to_string();
            assert!(why.contains(&format!("{place} is not UTF-8: {text}")), "{why}");
        }
    }

    #[test]
    fn what_needs_a_schema_registry_says_which_converter_to_set() {
        let glue = [&[3, 0][..], &[7; 16]].concat();
        let (set_key, set_value) =
            ("key.converter.schemas.enable=false", "value.converter.schemas.enable=false");
        for (key, value, is_of_key, is_of_value) in [
            (KEY.as_bytes(), Some(&b"\0\0\0\0\x07{}"[..]), false, true),
            (KEY.as_bytes(), Some(&glue), false, true),
            (b"\0\0\0\0\x07\x30", Some(b"\0\0\0\0\x08"), true, true),
            (b"\0\0\0\0\x07\x30", None, true, false),
            (&glue, Some(b"{}"), true, false),
        ] {
            let why = decode(Some(key), value).unwrap_err().to_string();
            assert_eq!(why.contains(set_key), is_of_key, "{key:?} {value:?}: {why}");
            assert_eq!(why.contains(set_value), is_of_value, "{key:?} {value:?}: {why}");
        }
    }

    #[test]
    fn depth_and_size_in_other_fields_are_no_danger() {
        let deep = |open: &str, close: &str| {
            format!("{}1{}", open.repeat(300_000 / open.len()), close.repeat(300_000 / open.len()))
        };
        let known =
            [r#"{"after":"#, r#"{"payload":"#, r#"{"_id":"#, r#"{"$set":"#].map(|open| deep(open, "}"));
        let large = format!("[{}0]", "\"x\\n\",".repeat(200_000));
        for nested in known.iter().chain([&deep("[", "]"), &deep(r#"{"a":"#, "}"), &large]) {
            let document =
                format!(r#"{{"_id":"a","name":"a","port_table":{nested},"x":NaN,"payload":{nested}}}"#);
            for value in [
                document.clone(),
                in_connect(&document),
                json_text(&document),
                format!(
                    r#"{{"op":"c","after":{},"source":{{"lsid":{nested}}},"transaction":{nested}}}"#,
                    json_text(&document)
                ),
                format!(r#"{{"operationType":"insert","ns":{nested},"fullDocument":{document}}}"#),
                format!(r#"{{"schema":{nested},"payload":{document}}}"#),
            ] {
                assert!(document_of(&value) == Ok(named("a")), "{}", quoted(&value));
            }
            // where it means something it is read or refused
            for value in [
                nested.clone(),
                format!(r#"{{"name":{nested}}}"#),
                format!(r#"{{"_id":{nested}}}"#),
                format!(r#"{{"op":{nested},"source":{nested}}}"#),
                format!(r#"{{"op":"u","source":{nested},"after":{nested}}}"#),
                format!(
                    r#"{{"op":"u","updateDescription":{{"removedFields":{nested},"updatedFields":{nested}}}}}"#
                ),
                format!(r#"{{"_id":{nested},"operationType":"delete","ns":1,"clusterTime":{nested}}}"#),
            ] {
                drop(read(Some(KEY), Some(&value)));
                drop(read(None, Some(&value)));
                assert!(read(Some(&value), None).is_err(), "no key is as long");
            }
        }
        for half in [
            "[".repeat(1_000_000),
            r#"{"op":"#.repeat(200_000),
            "\"".repeat(1_000_000),
            "NaN".repeat(300_000),
        ] {
            for value in [half.clone(), format!("{{\"x\":{half}"), format!("{{\"x\":\"{half}")] {
                assert!(read(Some(KEY), Some(&value)).is_err());
                assert!(read(Some(&value), None).is_err());
            }
        }
    }

    /// Pieces of which records of all forms are made, and other bytes.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let known = [
            "{",
            "}",
            "[",
            "]",
            "\"",
            "\\\"",
            ":",
            ",",
            "null",
            "true",
            "NaN",
            "1",
            " ",
            "\\ud800",
            "\u{feff}",
            "Struct{id=",
            "\"schema\":",
            "\"payload\":",
            "\"_id\":",
            "\"id\":",
            "\"op\":\"u\",",
            "\"op\":\"c\",",
            "\"after\":",
            "\"patch\":",
            "\"$set\":",
            "\"$unset\":",
            "\"$oid\":",
            "\"updateDescription\":",
            "\"updatedFields\":",
            "\"removedFields\":",
            "\"operationType\":\"update\",",
            "\"fullDocument\":",
            "\"documentKey\":",
            "\"name\":\"a\",",
            "\"mac\":",
            "\"is_guest\":",
            "\"__deleted\":",
            "\"5a32b0c9e4b047ede36a0001\"",
            "{\"_id\":1}",
            "\"{\\\"name\\\":\\\"a\\\"}\"",
        ];
        let piece = prop_oneof![
            6 => prop::sample::select(known.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..8),
        ];
        prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
    }

    fn texts(change: Change) -> Vec<String> {
        let documents = match change {
            Change::Snapshot(document) | Change::Whole(document) | Change::Now(document) => vec![document],
            Change::Partial(fields) => fields.into_iter().map(|field| Document::from_iter([field])).collect(),
            Change::Deleted | Change::Tombstone => vec![],
        };
        documents
            .into_iter()
            .flat_map(|document| {
                [document.name, document.hostname, document.oui, document.model, document.kind]
            })
            .flatten()
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn whatever_arrives_is_read_or_refused(
            key in prop::option::of(pieces()), value in prop::option::of(pieces()),
        ) {
            if let Ok(record) = decode(key.as_deref(), value.as_deref()) {
                prop_assert!((1..=MAX_ID_BYTES).contains(&record.id.len()));
                prop_assert!(texts(record.change).iter().all(|text| (1..=MAX_TEXT_BYTES).contains(&text.len())));
            }
        }

        #[test]
        fn any_name_comes_out_of_every_form(given in "[^\\x00-\\x20]([^\\x00]{0,40})?") {
            prop_assume!(!given.chars().all(is_unseen));
            let document = format!(r#"{{"_id":"a","name":{}}}"#, json_text(&given));
            for value in [
                document.clone(),
                in_connect(&document),
                json_text(&document),
                format!(r#"{{"op":"c","after":{}}}"#, json_text(&document)),
                format!(r#"{{"op":"u","patch":{}}}"#, json_text(&document)),
                format!(r#"{{"operationType":"insert","ns":{{}},"fullDocument":{document}}}"#),
            ] {
                prop_assert_eq!(document_of(&value), Ok(named(&given)));
            }
        }

        #[test]
        fn any_id_of_text_comes_back(given in "[^\\x00-\\x20{\"][^\\x00]{0,60}") {
            prop_assume!(given != "null" && !given.starts_with("Struct{") && !given.starts_with('\u{feff}'));
            prop_assume!(!given.starts_with(char::is_whitespace));
            let text = json_text(&given);
            for key in [
                format!(r#"{{"id":{}}}"#, json_text(&text)),
                format!(r#"{{"id":{text}}}"#),
                format!(r#"{{"_id":{text}}}"#),
                in_connect(&format!(r#"{{"id":{}}}"#, json_text(&text))),
                text.clone(),
                json_text(&text),
            ] {
                prop_assert_eq!(id_of(Some(&key), None), Ok(given.clone()), "{}", key);
            }
            prop_assert_eq!(id_of(None, Some(&format!(r#"{{"_id":{text}}}"#))), Ok(given));
        }

        /// `{"a":1}` with blanks is the same `_id` as without.
        #[test]
        fn blanks_between_the_parts_of_an_id_do_not_matter(blanks in prop::collection::vec("[ \\t\\r\\n]{0,3}", 9)) {
            let parts = ["{", "\"a\"", ":", "\" \\\" \"", ",", "\"b\"", ":", "1", "}"];
            let spaced: String = parts.iter().zip(&blanks).flat_map(|(part, blanks)| [*part, blanks.as_str()]).collect();
            prop_assert_eq!(id_of(Some(&format!(r#"{{"id":{}}}"#, json_text(&spaced))), None), Ok(parts.concat()));
        }
    }
}
