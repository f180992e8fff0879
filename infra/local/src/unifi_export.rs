//! What a UniFi controller knows of devices, as people get it out: files of MongoDB's tools and answers of the controller's API.
//!
//! | content | from |
//! | --- | --- |
//! | `{…}` behind `{…}`; `[{…},{…}]` | `mongoexport`, and with `--jsonArray`: [extended JSON] of each flavour |
//! | documents of [BSON], one behind the other | `mongodump` |
//! | `{"meta":{"rc":"ok"},"data":[{…}]}` | the API: `rest/user`, `stat/sta`, `stat/device` |
//! | `{"A NAME":{…}}`, `{"A NAME":[{…}]}` | documents that somebody keeps under names |
//!
//! The content decides, never the file's name. It is read as a stream, and of a document only the fields that names are made of are
//! kept: nothing else goes on from here.
//!
//! [extended JSON]: https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/
//! [BSON]: https://bsonspec.org/spec.html

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::path::Path;

use bson::spec::ElementType;
use bson::{Bson, RawDocument};
use capture_agent::input::{Input, is_standard_input};
use domain::document_record::{self, DocumentRecord, MAX_TEXT_BYTES};
use domain::{Collection, Mac};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::odd_numbers::OddNumbers;
use crate::unifi_record;

/// The fields of a document that go on. With `_id`, they are those that a name is made of.
const KEPT: [&str; 7] = ["hostname", "is_guest", "mac", "model", "name", "oui", "type"];
/// A field that devices alone have: whether the controller manages it.
const ADOPTED: &str = "adopted";
/// The longest `_id` that is looked into, in bytes of JSON or BSON. What is left out then is no controller's.
const MAX_ID_BYTES: usize = 8 * 1024;
/// The largest document that a server of MongoDB has: `BSONObjMaxInternalSize`.
const MAX_BSON_BYTES: u32 = (16 << 20) + (16 << 10);
/// The file is read in pieces of so many bytes.
const BUFFER_BYTES: usize = 1 << 16;
/// So many bytes tell what a file is.
const HEAD_BYTES: usize = 5;

/// A document, with the fields that names are made of.
#[derive(Debug, Clone)]
pub struct Exported {
    /// Where it is from.
    pub collection: Collection,
    /// What it says.
    pub record: DocumentRecord,
    /// The key of its records in a topic.
    pub key: String,
    /// The document as text, as it stands in its records.
    pub after: String,
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Export {
    /// Documents of devices.
    pub documents: Vec<Exported>,
    /// Documents without a MAC address, or with an `_id` that cannot be kept.
    pub left_out: u64,
}

/// A file that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
#[error("{file} {why}{}", Good(*.good))]
pub struct Unreadable {
    file: String,
    good: u64,
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error(
        "is neither JSON nor BSON: it has to be what mongoexport (without --type=csv) or mongodump wrote, or an answer of the \
         controller's API"
    )]
    AnotherForm,
    #[error("is compressed: gunzip it first, or let mongodump write it without --gzip")]
    Compressed,
    #[error("is an archive of mongodump: write a directory instead, with --out in place of --archive")]
    Archive,
    #[error("is UTF-16, as PowerShell writes it: save it as UTF-8")]
    Utf16,
    #[error("ends in the middle of a document, at line {0}: it was cut off on its way")]
    CutLine(usize),
    #[error("is damaged at line {line}, column {column} ({what})")]
    DamagedLine { line: usize, column: usize, what: String },
    #[error("ends in the middle of the document that begins at byte {0}: it was cut off on its way")]
    CutByte(u64),
    #[error("is damaged in the document that begins at byte {at} ({what})")]
    DamagedByte { at: u64, what: String },
    #[error("is a refusal of the controller ({0}): log in first, as --help shows")]
    Refusal(String),
}

/// How much of a file that cannot be read is good.
struct Good(u64);

impl fmt::Display for Good {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str("; the document before it is good, but a file is imported whole or not at all"),
            good => write!(f, "; the {good} documents before it are good, but a file is imported whole or not at all"),
        }
    }
}

/// What a file is, by its first bytes.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Nothing,
    Json { mark: usize },
    Bson,
}

/// Reads a file; `-` is standard input. `collection` says where all documents are from; without it each says so itself.
///
/// # Errors
/// [`Unreadable`] when it is none of the forms, is damaged, or ends too early.
pub fn read(path: &Path, collection: Option<Collection>) -> Result<Export, Unreadable> {
    let mut reading = Reading { export: Export::default(), collection, refusal: None };
    let outcome = Input::open(path).map_err(Why::Io).and_then(|input| reading.read(input));
    match outcome {
        Ok(()) => Ok(reading.export),
        Err(why) => {
            let name = path.display().to_string();
            let file = if is_standard_input(path) { "standard input".to_owned() } else { name };
            Err(Unreadable { file, good: reading.export.documents.len() as u64 + reading.export.left_out, why })
        }
    }
}

impl Form {
    fn of(head: &[u8]) -> Result<Self, Why> {
        match head {
            [] => Ok(Self::Nothing),
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(Why::Compressed),
            // <https://github.com/mongodb/mongo-tools/blob/master/common/archive/archive.go>
            [0x6d, 0xe2, 0x99, 0x81, ..] => Err(Why::Archive),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(Why::Utf16),
            // a document's length, of which the last byte is the highest: no text has one so low
            [_, _, _, 0 | 1, _] => Ok(Self::Bson),
            _ => {
                let (mark, text) = match head {
                    [0xef, 0xbb, 0xbf, text @ ..] => (3, text),
                    text => (0, text),
                };
                let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
                match first {
                    None | Some(b'{' | b'[') => Ok(Self::Json { mark }),
                    Some(_) => Err(Why::AnotherForm),
                }
            }
        }
    }
}

/// What is known of a file while it is read.
struct Reading {
    export: Export,
    collection: Option<Collection>,
    /// What the controller's API said in the place of documents.
    refusal: Option<String>,
}

impl Reading {
    fn read(&mut self, mut input: impl Read) -> Result<(), Why> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        input.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        let form = Form::of(&head)?;
        let whole = io::Cursor::new(head).chain(input);
        match form {
            Form::Nothing => Ok(()),
            Form::Json { mark } => {
                let mut text = whole;
                io::copy(&mut text.by_ref().take(mark as u64), &mut io::sink())?;
                self.read_json(text)
            }
            Form::Bson => self.read_bson(BufReader::with_capacity(BUFFER_BYTES, whole)),
        }
    }

    fn read_json(&mut self, text: impl Read) -> Result<(), Why> {
        let text = BufReader::with_capacity(BUFFER_BYTES, OddNumbers::new(text));
        let mut json = serde_json::Deserializer::from_reader(text);
        loop {
            match json.end() {
                Ok(()) => return Ok(()),
                Err(error) if error.is_io() => return Err(error.into()),
                // there is more
                Err(_trailing) => {}
            }
            Documents { reading: self, place: Place::Top }.deserialize(&mut json)?;
            if let Some(refusal) = self.refusal.take() {
                return Err(Why::Refusal(refusal));
            }
        }
    }

    fn read_bson(&mut self, mut documents: impl Read) -> Result<(), Why> {
        let mut at = 0;
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            documents.by_ref().take(4).read_to_end(&mut bytes)?;
            let length = match *bytes {
                [] => return Ok(()),
                [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
                _ => return Err(Why::CutByte(at)),
            };
            let damaged = |what: String| Why::DamagedByte { at, what };
            if !(5..=MAX_BSON_BYTES).contains(&length) {
                return Err(damaged(format!("no document has {length} bytes")));
            }
            documents.by_ref().take(u64::from(length) - 4).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != u64::from(length) {
                return Err(Why::CutByte(at));
            }
            let fields = RawDocument::from_bytes(&bytes).and_then(Fields::of_bson);
            self.take(fields.map_err(|error| damaged(error.to_string()))?);
            at += u64::from(length);
        }
    }

    /// Takes a document.
    fn take(&mut self, fields: Fields) {
        match fields.exported(self.collection) {
            Some(document) => self.export.documents.push(document),
            None => self.export.left_out += 1,
        }
    }
}

impl From<serde_json::Error> for Why {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Io => Self::Io(error.into()),
            serde_json::error::Category::Eof => Self::CutLine(line),
            _ => {
                let what = error.to_string();
                let place = format!(" at line {line} column {column}");
                let what = what.strip_suffix(&place).unwrap_or(&what).to_owned();
                Self::DamagedLine { line, column, what }
            }
        }
    }
}

/// Where in a file of JSON something stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing is around it: a document, a list of them, or an object that has them in it.
    Top,
    /// In a list: a document.
    Listed,
    /// Under a name in an object: a document, or a list of them, unless the object is one itself.
    Named,
}

/// Takes the documents that are in a piece of JSON.
struct Documents<'r> {
    reading: &'r mut Reading,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Documents<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Documents<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { reading, place } = self;
        let before = (reading.export.documents.len(), reading.export.left_out);
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            match known(&name) {
                Some(known) => fields.set_json(known, &map.next_value::<Box<RawValue>>()?),
                None if place != Place::Top => drop(map.next_value::<IgnoredAny>()?),
                None if name == "meta" => reading.refusal = refusal(&map.next_value::<Box<RawValue>>()?),
                None => map.next_value_seed(Documents { reading, place: Place::Named })?,
            }
        }
        if fields.is_of_document() {
            // what is in it are parts of it
            reading.export.documents.truncate(before.0);
            reading.export.left_out = before.1;
            reading.take(fields);
        } else if place == Place::Listed {
            reading.take(fields);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { reading, place } = self;
        let mut next = |reading| match place {
            Place::Listed => Ok::<_, A::Error>(list.next_element::<IgnoredAny>()?.map(drop)),
            Place::Top | Place::Named => list.next_element_seed(Documents { reading, place: Place::Listed }),
        };
        while next(&mut *reading)?.is_some() {}
        Ok(())
    }

    // what else stands in an object or a list means nothing

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// What an answer of the API says in the place of documents: `{"rc":"error","msg":"api.err.LoginRequired"}`.
fn refusal(meta: &RawValue) -> Option<String> {
    let meta: Value = serde_json::from_str(meta.get()).ok()?;
    let text = |name| meta.get(name).and_then(Value::as_str);
    (text("rc")? != "ok").then(|| telegram::limit::line(text("msg").unwrap_or("no reason given"), 100))
}

/// The fields of a document that mean something here.
#[derive(Debug, Default)]
struct Fields {
    id: Option<Value>,
    kept: BTreeMap<&'static str, Value>,
    says_adopted: bool,
}

fn known(name: &str) -> Option<&'static str> {
    KEPT.into_iter().chain(["_id", ADOPTED]).find(|known| *known == name)
}

impl Fields {
    fn set(&mut self, name: &'static str, value: Value) {
        let kept = match (name, value) {
            ("_id", value) => {
                self.id = Some(value).filter(|id| !id.is_null());
                return;
            }
            (ADOPTED, _) => {
                self.says_adopted = true;
                return;
            }
            ("is_guest", Value::Bool(is_guest)) => Some(Value::Bool(is_guest)),
            ("is_guest", _) => None,
            (_, Value::String(mut text)) => {
                text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
                Some(Value::String(text))
            }
            (_, _) => None,
        };
        match kept {
            Some(value) => drop(self.kept.insert(name, value)),
            None => drop(self.kept.remove(name)),
        }
    }

    /// Sets what stands there as JSON. A text that is no Unicode (half of a surrogate pair) counts as missing: it is not shown anyhow.
    fn set_json(&mut self, name: &'static str, raw: &RawValue) {
        let is_read = if name == "_id" { raw.get().len() <= MAX_ID_BYTES } else { !raw.get().starts_with(['{', '[']) };
        let value = is_read.then(|| serde_json::from_str(raw.get()).ok()).flatten();
        self.set(name, value.unwrap_or_default());
    }

    fn of_bson(document: &RawDocument) -> Result<Self, bson::error::Error> {
        let mut fields = Self::default();
        for element in document.iter_elements() {
            let element = element?;
            let Some(name) = known(element.key().as_str()) else { continue };
            let value = match element.element_type() {
                ElementType::String | ElementType::Boolean | ElementType::ObjectId => element.value_utf8_lossy()?,
                _ if name == "_id" && element.size() <= MAX_ID_BYTES => element.value_utf8_lossy()?,
                _ => bson::RawBson::Null,
            };
            fields.set(name, Bson::try_from(value)?.into_relaxed_extjson());
        }
        Ok(fields)
    }

    fn is_of_document(&self) -> bool {
        self.id.is_some() || self.kept.contains_key("mac")
    }

    /// Devices alone are adopted, and have both a model and a type.
    fn collection(&self) -> Collection {
        let is_device = self.says_adopted || (self.kept.contains_key("model") && self.kept.contains_key("type"));
        if is_device { Collection::Device } else { Collection::Client }
    }

    /// The document, if it is one of a device and can be kept. Without an `_id`, as some answers of the API are, its address is it.
    fn exported(self, collection: Option<Collection>) -> Option<Exported> {
        let collection = collection.unwrap_or_else(|| self.collection());
        let mac: Mac = self.kept.get("mac")?.as_str()?.parse().ok()?;
        let id = self.id.unwrap_or_else(|| Value::String(mac.to_string()));
        let (key, after) = (unifi_record::key(&id), unifi_record::after(&id, &self.kept));
        // the same for every present
        let value = unifi_record::snapshot(collection, &after, 0);
        let record = document_record::decode(Some(key.as_bytes()), Some(value.as_bytes())).ok()?;
        Some(Exported { collection, record, key, after })
    }
}
