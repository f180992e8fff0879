//! All that the table holds, item by item: for the people whose data it is, and to find a device wherever it stands.
//!
//! It reads the whole table (a Scan), which no answer to a person in a chat does: an operator's command may.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::Mac;

use crate::error::Error;
use crate::item::Item as _;
use crate::key::Key;
use crate::table::Table;

/// An item, without what is secret in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// What it is: `device`, `network`, `day`, `document`, `name`, `watch`, `chat`, …
    pub kind: &'static str,
    /// Its key.
    pub key: Key,
    /// Its other attributes.
    pub attributes: BTreeMap<String, Value>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number, in DynamoDB's digits.
    Number(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Yes or no.
    Flag(bool),
    /// Null.
    Nothing,
    /// A list or a set.
    List(Vec<Value>),
    /// A map.
    Map(BTreeMap<String, Value>),
}

/// Kinds by what a partition key begins with; those of a device's partition are told by their sort keys.
const KINDS: [(&str, &str); 17] = [
    ("CHATS", "chat"),
    ("CODE#", "code"),
    ("DOCUMENT#", "document"),
    ("EPISODE#", "episode"),
    ("FORGET#", "forgotten"),
    ("GENERATION", "generation"),
    ("HOOKS", "hook"),
    ("IDENTITY", "identity"),
    ("MESSAGE#", "message"),
    ("NAMES#", "name"),
    ("OUTBOX#", "outbox"),
    ("PROGRESS#", "progress"),
    ("QUARANTINE#", "quarantine"),
    ("SENSORS", "sensor"),
    ("UPDATE#", "update"),
    ("WATCHDOG", "watchdog"),
    ("WATCHES", "watch"),
];

/// Attributes that let somebody act: the addresses and keys of outgoing webhooks.
const SECRET: [&str; 2] = ["url", "signing_key"];

/// A page of the table, in no order but that what has one partition key comes together; and from where the next goes on, if there is one.
/// Codes for owners and invitations are left out, and so are the addresses and keys of outgoing webhooks.
///
/// # Errors
/// When the table does not answer.
pub async fn page(table: &Table, after: Option<&Key>) -> Result<(Vec<Exported>, Option<Key>), Error> {
    let (items, next) = table.scan(after).await?;
    let mut page = Vec::with_capacity(items.len());
    for item in items {
        let key = Key { pk: item.text("pk")?.to_owned(), sk: item.text("sk")?.to_owned() };
        let kind = kind(&key);
        if kind == "code" {
            continue;
        }
        let is_shown =
            |name: &str| !(matches!(name, "pk" | "sk") || kind == "hook" && SECRET.contains(&name));
        let shown = item.into_iter().filter(|(name, _)| is_shown(name));
        let attributes = shown.map(|(name, attribute)| (name, value(attribute))).collect();
        page.push(Exported { kind, key, attributes });
    }
    Ok((page, next))
}

/// Deletes an item.
///
/// # Errors
/// When the table does not answer.
pub async fn delete(table: &Table, key: &Key) -> Result<(), Error> {
    table.delete(key).await
}

fn kind(key: &Key) -> &'static str {
    if key.pk.split_once('#').is_some_and(|(generation, rest)| {
        generation.bytes().all(|digit| digit.is_ascii_digit()) && rest.starts_with("DEVICE#")
    }) {
        return match key.sk.split_once('#') {
            Some(("SSID", _)) => "network",
            Some(("DAY", _)) => "day",
            _ => "device",
        };
    }
    let of_pk = KINDS.iter().find(|(begin, _)| key.pk.starts_with(begin));
    of_pk.map_or("other", |(_, kind)| kind)
}

fn value(attribute: AttributeValue) -> Value {
    match attribute {
        AttributeValue::S(text) => Value::Text(text),
        AttributeValue::N(number) => Value::Number(number),
        AttributeValue::B(bytes) => Value::Bytes(bytes.into_inner()),
        AttributeValue::Bool(flag) => Value::Flag(flag),
        AttributeValue::L(list) => Value::List(list.into_iter().map(value).collect()),
        AttributeValue::Ss(texts) => Value::List(texts.into_iter().map(Value::Text).collect()),
        AttributeValue::Ns(numbers) => Value::List(numbers.into_iter().map(Value::Number).collect()),
        AttributeValue::Bs(all) => {
            Value::List(all.into_iter().map(|bytes| Value::Bytes(bytes.into_inner())).collect())
        }
        AttributeValue::M(map) => {
            Value::Map(map.into_iter().map(|(name, attribute)| (name, value(attribute))).collect())
        }
        _ => Value::Nothing,
    }
}

impl Exported {
    /// Whether the address of a device stands anywhere in it, as text or as its six bytes.
    #[must_use]
    pub fn mentions(&self, mac: Mac) -> bool {
        let text = mac.to_string();
        let stands_in = |part: &str| part.to_ascii_lowercase().contains(&text);
        stands_in(&self.key.pk)
            || stands_in(&self.key.sk)
            || self.attributes.values().any(|value| value.mentions(&text, &mac.bytes()))
    }
}

impl Value {
    fn mentions(&self, text: &str, bytes: &[u8]) -> bool {
        match self {
            Self::Text(part) => part.to_ascii_lowercase().contains(text),
            Self::Bytes(part) => {
                let holds = |of: &[u8]| part.windows(of.len()).any(|window| window.eq_ignore_ascii_case(of));
                holds(bytes) || holds(text.as_bytes())
            }
            Self::List(values) => values.iter().any(|value| value.mentions(text, bytes)),
            Self::Map(values) => values.values().any(|value| value.mentions(text, bytes)),
            Self::Number(_) | Self::Flag(_) | Self::Nothing => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_told_by_its_key() {
        for (pk, sk, is) in [
            ("1#DEVICE#a4:83:e7:4e:39:15", "TALLY#pcap@1/3", "device"),
            ("12#DEVICE#a4:83:e7:4e:39:15", "SSID#RNM0#pcap@1/3", "network"),
            ("1#DEVICE#a4:83:e7:4e:39:15", "DAY#2020-04-22#pcap@1/3", "day"),
            ("DOCUMENT#unifi.ace.user#596e27", "DOCUMENT", "document"),
            ("NAMES#7", "a4:83:e7:4e:39:15", "name"),
            ("WATCHES", "x", "watch"),
            ("WATCHDOG", "x", "watchdog"),
        ] {
            assert_eq!(kind(&Key { pk: pk.to_owned(), sk: sk.to_owned() }), is, "{pk}");
        }
    }

    #[test]
    fn a_device_is_found_wherever_it_stands() {
        let mac: Mac = "a4:83:e7:4e:39:15".parse().unwrap();
        let nested = Value::Map(BTreeMap::from([(
            "who".to_owned(),
            Value::List(vec![Value::Text("A4:83:E7:4E:39:15 was here".to_owned())]),
        )]));
        for (value, found) in [
            (nested, true),
            (Value::Bytes(vec![1, 0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15]), true),
            (Value::Bytes(b"{\"wlan_sa\":[\"a4:83:e7:4e:39:15\"]}".to_vec()), true),
            (Value::Text("a4:83:e7:4e:39:16".to_owned()), false),
            (Value::Bytes(vec![1, 2]), false),
            (Value::Number("5".to_owned()), false),
        ] {
            let item = Exported {
                kind: "other",
                key: Key { pk: "x".to_owned(), sk: "y".to_owned() },
                attributes: BTreeMap::from([("a".to_owned(), value)]),
            };
            assert_eq!(item.mentions(mac), found, "{item:?}");
        }
    }
}
