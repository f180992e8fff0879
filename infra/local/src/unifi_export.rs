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

use std::fmt;
use std::io::{self, BufReader, Read};
use std::path::Path;

use bson::RawDocument;
use capture_agent::input::{Input, is_standard_input};
use domain::Collection;
use domain::odd_numbers::OddNumbers;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::unifi_document::{Exported, Fields, known};

/// The largest document that a server of MongoDB has: `BSONObjMaxInternalSize`.
const MAX_BSON_BYTES: u32 = (16 << 20) + (16 << 10);
/// The file is read in pieces of so many bytes.
const BUFFER_BYTES: usize = 1 << 16;
/// So many bytes tell what a file is.
const HEAD_BYTES: usize = 5;

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
            good => write!(
                f,
                "; the {good} documents before it are good, but a file is imported whole or not at all"
            ),
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
            Err(Unreadable {
                file,
                good: reading.export.documents.len() as u64 + reading.export.left_out,
                why,
            })
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

    /// Reads an object: what may be the fields of a document, and the documents that are in it.
    fn read_object<'de, A: MapAccess<'de>>(
        &mut self,
        object: &mut A,
        place: Place,
        fields: &mut Fields,
    ) -> Result<(), A::Error> {
        while let Some(name) = object.next_key::<String>()? {
            match known(&name) {
                Some(known) => fields.set_json(known, &object.next_value::<Box<RawValue>>()?),
                None if place != Place::Top => drop(object.next_value::<IgnoredAny>()?),
                None if name == "meta" => self.refusal = refusal(&object.next_value::<Box<RawValue>>()?),
                None => object.next_value_seed(Documents { reading: self, place: Place::Named })?,
            }
        }
        Ok(())
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
        let outcome = reading.read_object(&mut map, place, &mut fields);
        if fields.is_of_document() {
            // what is in it are parts of it
            reading.export.documents.truncate(before.0);
            reading.export.left_out = before.1;
        }
        outcome?;
        if fields.is_of_document() || place == Place::Listed {
            reading.take(fields);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { reading, place } = self;
        match place {
            Place::Listed => while list.next_element::<IgnoredAny>()?.is_some() {},
            Place::Top | Place::Named => {
                while list.next_element_seed(Documents { reading, place: Place::Listed })?.is_some() {}
            }
        }
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

#[cfg(test)]
mod tests {
    use bson::doc;
    use fastrand::Rng;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Export, Why> {
        let mut reading = Reading { export: Export::default(), collection: None, refusal: None };
        reading.read(bytes).map(|()| reading.export)
    }

    #[test]
    fn a_file_is_what_its_beginning_says() {
        let of = |head: &[u8]| Form::of(head).map_err(|why| why.to_string());
        assert_eq!(of(b""), Ok(Form::Nothing));
        // a length of 0x7b, which is a brace, and the same in text
        assert_eq!(of(b"\x7b\0\0\0\x07"), Ok(Form::Bson));
        assert_eq!(of(b"{\"_id"), Ok(Form::Json { mark: 0 }));
        assert_eq!(of(b"\n [{\""), Ok(Form::Json { mark: 0 }));
        assert_eq!(of(b"\xef\xbb\xbf[]"), Ok(Form::Json { mark: 3 }));
        for (head, told) in [
            (&b"\x1f\x8b\x08\0\0"[..], "gunzip it first"),
            (b"\x6d\xe2\x99\x81\0", "--out in place of --archive"),
            (b"\xff\xfe{\0\"", "UTF-16"),
            (b"mac,n", "neither JSON nor BSON"),
            (b"<!DOC", "neither JSON nor BSON"),
        ] {
            assert!(of(head).unwrap_err().contains(told), "{head:?}");
        }
    }

    #[test]
    fn damage_anywhere_is_an_error_or_another_text_and_never_a_panic() {
        let document = doc! {
            "_id": bson::oid::ObjectId::from_bytes([7; 12]), "mac": "a4:83:e7:4e:39:15", "name": "Robin", "is_guest": false,
            "first_seen": 1_i64, "fingerprint": { "ids": [1, 2.5, "x"] }, "type": bson::Regex {
                pattern: "a".try_into().unwrap(), options: "i".try_into().unwrap()
            },
        };
        let bson = document.to_vec().unwrap().repeat(2);
        let json = br#"{"meta":{"rc":"ok"},"data":[{"_id":"1","mac":"a4:83:e7:4e:39:15","name":"R\u00f6bin","x":[NaN,{"a":-1e5}]}]}"#;
        let mut random = Rng::with_seed(4);
        let mut errors = 0;
        for good in [&bson[..], json] {
            assert!(!read(good).unwrap().documents.is_empty());
            for _ in 0..20_000 {
                let mut damaged = good.to_vec();
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(..damaged.len());
                    damaged[at] = random.u8(..);
                }
                damaged.truncate(random.usize(damaged.len() / 2..=damaged.len()));
                errors += usize::from(read(&damaged).is_err());
            }
        }
        assert!(errors > 10_000, "{errors}");
    }
}
