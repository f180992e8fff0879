//! A document of a UniFi controller, as it goes on from an export: with the fields that names are made of, and no other.

use std::collections::BTreeMap;

use bson::spec::ElementType;
use bson::{RawBson, RawDocument};
use domain::document_record::{self, DocumentRecord, MAX_TEXT_BYTES};
use domain::{Collection, Mac};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::unifi_record;

/// The fields of a document that go on. With `_id`, they are those that a name is made of.
const KEPT: [&str; 7] = ["hostname", "is_guest", "mac", "model", "name", "oui", "type"];
/// A field that devices alone have: whether the controller manages it.
const ADOPTED: &str = "adopted";
/// The longest `_id` that is looked into, in bytes of JSON.
const MAX_ID_BYTES: usize = 8 * 1024;

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

/// A value that can stand in a field of ours, as extended JSON.
fn json_of(value: RawBson) -> Value {
    match value {
        RawBson::String(text) => Value::String(text),
        RawBson::ObjectId(id) => json!({"$oid": id.to_hex()}),
        RawBson::Boolean(truth) => Value::Bool(truth),
        RawBson::Int32(number) => number.into(),
        RawBson::Int64(number) => number.into(),
        _ => Value::Null,
    }
}

/// The fields of a document that mean something here.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    id: Option<Value>,
    kept: BTreeMap<&'static str, Value>,
    says_adopted: bool,
}

/// The name of a field that means something here.
pub(crate) fn known(name: &str) -> Option<&'static str> {
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
            (_, Value::Bool(truth)) => Some(Value::Bool(truth)),
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
    pub(crate) fn set_json(&mut self, name: &'static str, raw: &RawValue) {
        let is_read =
            if name == "_id" { raw.get().len() <= MAX_ID_BYTES } else { !raw.get().starts_with(['{', '[']) };
        let value = is_read.then(|| serde_json::from_str(raw.get()).ok()).flatten();
        self.set(name, value.unwrap_or_default());
    }

    /// Reads a document of BSON.
    ///
    /// # Errors
    /// When it is damaged.
    pub(crate) fn of_bson(document: &RawDocument) -> Result<Self, bson::error::Error> {
        let mut fields = Self::default();
        for element in document.iter_elements() {
            let element = element?;
            let Some(name) = known(element.key().as_str()) else { continue };
            let value = match element.element_type() {
                // text that is no UTF-8 has a mark in the place of what is not
                ElementType::String | ElementType::ObjectId | ElementType::Boolean => {
                    element.value_utf8_lossy()?
                }
                ElementType::Int32 | ElementType::Int64 => element.value_utf8_lossy()?,
                _ => RawBson::Null,
            };
            fields.set(name, json_of(value));
        }
        Ok(fields)
    }

    /// Whether an object with these fields is a document.
    pub(crate) fn is_of_document(&self) -> bool {
        self.id.is_some() || self.kept.contains_key("mac")
    }

    /// Devices alone are adopted, and have both a model and a type.
    fn collection(&self) -> Collection {
        let is_device =
            self.says_adopted || (self.kept.contains_key("model") && self.kept.contains_key("type"));
        if is_device { Collection::Device } else { Collection::Client }
    }

    /// The document, if it is one of a device and can be kept. Without an `_id` that is text, a number or an `ObjectId`, its address is
    /// it: some answers of the API have none.
    pub(crate) fn exported(self, collection: Option<Collection>) -> Option<Exported> {
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
