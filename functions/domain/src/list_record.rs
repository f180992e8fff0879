//! The record of topic `ssid_alert_list`: a network's name as the key, why it is watched as the value; without a value it is watched
//! no more. One decoder for what ksqlDB, Kafka Connect, a producer of one's own and somebody with `kcat` write.
//!
//! | key | is the SSID |
//! | --- | --- |
//! | `RNM0` | its bytes as they are, UTF-8 or not: ksqlDB's `KAFKA` format, `StringConverter`, `kcat` |
//! | `"RNM0"` | `JsonConverter`. A name with quotes around it has to be written so, too: `"\"RNM0\""` |
//! | `{"ROWKEY":"RNM0"}`, `{"SSID":"RNM0"}` | an object of this one field, in any case: a struct of Connect, ksqlDB's `JSON` |
//! | `{"schema":…,"payload":…}` | `JsonConverter` with `schemas.enable=true`: the payload is one of the two above |
//! | none, or the empty one | the value's field `ROWKEY` or `SSID` |
//!
//! What looks like JSON and is none of these is a name as it stands: networks may be called `{"a":1}`.
//!
//! | value | says |
//! | --- | --- |
//! | none, `null` | watched no more |
//! | `{"REASON":"home network","COOLDOWN_S":60}` | both may be missing or null, in any case; other fields mean nothing here |
//! | `{"schema":…,"payload":…}` | what its payload says |
//! | an empty one | nothing: an error, since `kcat` without `-Z` writes it for what should be a deletion |
//! | `"home network"`, `home network` | the reason. Text that begins with `{` is never one, or half an object would be |

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Ssid;
use crate::schema_registry::{OfSchemaRegistry, Registry, Settings, registry_of_text};
use crate::ssid::NotAnSsid;
use crate::watch::MAX_REASON_CHARS;

/// The longest quiet time: longer than that, one wants to delete the watch.
const MAX_COOLDOWN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What a record says of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// Which network.
    pub ssid: Ssid,
    /// How it is watched; `None` when it is not any more.
    pub listed: Option<Listed>,
}

/// How a network is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Why: at most [`MAX_REASON_CHARS`] characters, and not empty.
    pub reason: Option<String>,
    /// The quiet time in milliseconds, at most 30 days, if it is not the usual one.
    pub cooldown_ms: Option<i64>,
}

/// Why a record cannot be read, and what to do about it: the reason that stands beside it in the quarantine.
#[derive(Debug, thiserror::Error)]
pub enum NotAListEntry {
    /// Bytes that mean something only with a schema that a registry has.
    #[error("{0}")]
    SchemaRegistry(OfSchemaRegistry),
    /// Nothing says which network.
    #[error("no SSID: let the record's key be the network's name, or its value an object with a field SSID")]
    NoSsid,
    /// Connect's envelope, without an SSID in it.
    #[error(
        "key is a structure of Kafka Connect without an SSID: let the network's name be the key \
         (transform ExtractField$Key, after ValueToKey if the name stands in the value)"
    )]
    KeyOfAnotherForm,
    /// What should be the network's name cannot be one.
    #[error("{place} is no network's name: {why}")]
    NotAnSsid {
        /// Where it stands.
        place: &'static str,
        /// What is wrong with it.
        why: NotAnSsid,
    },
    /// Neither a reason nor a deletion: `kcat` writes it where its user most likely wanted to delete.
    #[error("value is empty: to end a watch write none at all (kcat -Z), to make one give a reason, or {{}}")]
    EmptyValue,
    /// Neither JSON nor text.
    #[error("value is not UTF-8: write JSON such as {{\"reason\":\"home network\"}}, or the reason as text")]
    NotText,
    /// It begins as JSON and is none.
    #[error("value begins with {{ and is not a JSON object ({0}): a reason cannot begin so")]
    NotJson(serde_json::Error),
    /// A field holds something else than it should.
    #[error("{field} is not {expected}")]
    Malformed {
        /// The field's name in the record.
        field: &'static str,
        /// What it should have held.
        expected: &'static str,
    },
}

/// Reads a record of topic `ssid_alert_list` in any of its forms.
///
/// # Errors
/// [`NotAListEntry`] when nothing can be made of it. The caller quarantines it.
pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<ListEntry, NotAListEntry> {
    let of = OfSchemaRegistry {
        key: key.and_then(registry_of_key),
        value: value.and_then(registry_of_text),
        settings: Settings::LIST,
    };
    if of.key.is_some() || of.value.is_some() {
        return Err(NotAListEntry::SchemaRegistry(of));
    }
    let content = value.map_or(Ok(Content::Deleted), content)?;
    let (place, name) = match key.map_or(Ok(None), name_in_key)? {
        Some(name) => ("key", name),
        None => ("the value's SSID", Cow::Owned(content.name()?.ok_or(NotAListEntry::NoSsid)?.into_bytes())),
    };
    let listed = content.listed()?;
    #[cfg(feature = "fault-points")]
    fault_point(listed.as_ref());
    let ssid = Ssid::new(name.into_owned()).map_err(|why| NotAListEntry::NotAnSsid { place, why })?;
    Ok(ListEntry { ssid, listed })
}

/// The registry to which a key refers.
///
/// A name may have any bytes, and hidden networks send one of zeros alone. A key is taken for Confluent's form when a number such
/// as a registry gives stands in it – they count up from 1, or from 100001 in Confluent Cloud, so the first of its four bytes is
/// 0 and not all are – and something follows. No other rule is safe for the records that delete, which have no value to be told
/// by; and whoever watches for a name that begins with two zeros can write it as a JSON string.
fn registry_of_key(key: &[u8]) -> Option<Registry> {
    match key {
        [0, 0, 0, 0, 0, ..] => None,
        [0, 0, _, _, _, _, ..] => Some(Registry::Confluent),
        [3, 0 | 5, ..] if key.len() > 18 => Some(Registry::Glue),
        _ => None,
    }
}

/// The name that a key says, `None` when it says none.
fn name_in_key(key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, NotAListEntry> {
    let as_it_stands = || Ok(Some(Cow::Borrowed(key)).filter(|name| !name.is_empty()));
    let is_like_json = matches!(key, [b'"', .., b'"'] | [b'{', .., b'}']);
    let Some(text) = std::str::from_utf8(key).ok().filter(|_| is_like_json) else { return as_it_stands() };
    let bytes_of = |name: String| Some(Cow::<[u8]>::Owned(name.into_bytes())).filter(|name| !name.is_empty());
    match Json::read(text) {
        Ok(Json::Text(name)) => Ok(bytes_of(name)),
        Ok(Json::Object(fields)) => match fields.payload_of_connect() {
            Some(payload) => match Json::read(payload).map_err(|_odd| NotAListEntry::KeyOfAnotherForm)? {
                Json::Null => Ok(None),
                Json::Text(name) => Ok(bytes_of(name)),
                Json::Object(fields) => {
                    fields.only_name().map(bytes_of).ok_or(NotAListEntry::KeyOfAnotherForm)
                }
                Json::Other(_) => Err(NotAListEntry::KeyOfAnotherForm),
            },
            None => fields.only_name().map_or_else(as_it_stands, |name| Ok(bytes_of(name))),
        },
        Ok(Json::Null | Json::Other(_)) | Err(_) => as_it_stands(),
    }
}

/// What a value is.
enum Content<'a> {
    Deleted,
    Reason(String),
    Fields(Fields<'a>),
}

fn content(value: &[u8]) -> Result<Content<'_>, NotAListEntry> {
    let text = std::str::from_utf8(value).map_err(|_why| NotAListEntry::NotText)?.trim();
    if text.is_empty() {
        return Err(NotAListEntry::EmptyValue);
    }
    match Json::read(text) {
        Ok(Json::Null) => Ok(Content::Deleted),
        Ok(Json::Text(reason)) => Ok(Content::Reason(reason)),
        Ok(Json::Object(fields)) => match fields.payload_of_connect() {
            Some(payload) => match Json::read(payload).map_err(NotAListEntry::NotJson)? {
                Json::Null => Ok(Content::Deleted),
                Json::Text(reason) => Ok(Content::Reason(reason)),
                Json::Object(fields) => Ok(Content::Fields(fields)),
                Json::Other(_) => Err(malformed("payload", "an object with a reason, a text, or null")),
            },
            None => Ok(Content::Fields(fields)),
        },
        Err(why) if text.starts_with('{') => Err(NotAListEntry::NotJson(why)),
        Ok(Json::Other(_)) | Err(_) => Ok(Content::Reason(text.to_owned())),
    }
}

impl Content<'_> {
    /// The network's name, if it stands here and is not empty.
    fn name(&self) -> Result<Option<String>, NotAListEntry> {
        match self {
            Self::Deleted | Self::Reason(_) => Ok(None),
            Self::Fields(fields) => {
                Ok(text_in(fields.name, "SSID", "a text")?.filter(|name| !name.is_empty()))
            }
        }
    }

    fn listed(self) -> Result<Option<Listed>, NotAListEntry> {
        match self {
            Self::Deleted => Ok(None),
            Self::Reason(reason) => Ok(Some(Listed { reason: shortened(&reason), cooldown_ms: None })),
            Self::Fields(fields) => {
                let reason = text_in(fields.reason, "reason", "a text or null")?;
                Ok(Some(Listed {
                    reason: reason.and_then(|reason| shortened(&reason)),
                    cooldown_ms: cooldown_ms(fields.cooldown_s)?,
                }))
            }
        }
    }
}

/// A reason as it is kept.
fn shortened(reason: &str) -> Option<String> {
    let reason = reason.trim();
    (!reason.is_empty()).then(|| reason.chars().take(MAX_REASON_CHARS).collect())
}

fn text_in(
    field: Option<&RawValue>,
    name: &'static str,
    expected: &'static str,
) -> Result<Option<String>, NotAListEntry> {
    match field.map(|field| Json::read(field.get())) {
        None | Some(Ok(Json::Null)) => Ok(None),
        Some(Ok(Json::Text(text))) => Ok(Some(text)),
        _ => Err(malformed(name, expected)),
    }
}

/// Seconds, as a number or as text, in milliseconds.
fn cooldown_ms(field: Option<&RawValue>) -> Result<Option<i64>, NotAListEntry> {
    let malformed = || malformed("cooldown_s", "a number of seconds from 0 to 2592000 (30 days)");
    let text = match field.map(|field| Json::read(field.get())) {
        None | Some(Ok(Json::Null)) => return Ok(None),
        Some(Ok(Json::Text(text))) => text,
        Some(Ok(Json::Other(number))) => number.to_owned(),
        Some(_) => return Err(malformed()),
    };
    let seconds: f64 = text.trim().parse().map_err(|_no_number| malformed())?;
    let cooldown = Duration::try_from_secs_f64(seconds).map_err(|_out_of_range| malformed())?;
    if cooldown > MAX_COOLDOWN {
        return Err(malformed());
    }
    i64::try_from(cooldown.as_millis()).map(Some).map_err(|_too_long| malformed())
}

fn malformed(field: &'static str, expected: &'static str) -> NotAListEntry {
    NotAListEntry::Malformed { field, expected }
}

/// JSON, as far as it can mean something here: of what is nested in it nothing is built, so no depth and no size is too much.
enum Json<'a> {
    Null,
    Text(String),
    Object(Fields<'a>),
    /// Something else, as it stands. Whether it is JSON has not been looked at.
    Other(&'a str),
}

impl<'a> Json<'a> {
    /// Reads what begins as a text or an object, which is an error if it does not go on so.
    fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).map(Self::Text),
            Some(b'{') => serde_json::from_str(text).map(Self::Object),
            _ if text == "null" => Ok(Self::Null),
            _ => Ok(Self::Other(text)),
        }
    }
}

/// The fields of an object that we know, as they stand there. Of a field that is there twice, the last.
#[derive(Default)]
struct Fields<'a> {
    count: usize,
    schema: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    reason: Option<&'a RawValue>,
    cooldown_s: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    /// What is in the envelope of Connect's `JsonConverter`, if this is one: these two fields and no other.
    fn payload_of_connect(&self) -> Option<&'a str> {
        (self.count == 2 && self.schema.is_some()).then_some(self.payload)?.map(RawValue::get)
    }

    /// The name, if it is the only field; the empty one if it is null.
    fn only_name(&self) -> Option<String> {
        let name = (self.count == 1).then_some(self.name)?;
        text_in(Some(name?), "SSID", "a text").ok().map(Option::unwrap_or_default)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            fields.count += 1;
            let field = match name.as_str() {
                "schema" => &mut fields.schema,
                "payload" => &mut fields.payload,
                name if name.eq_ignore_ascii_case("rowkey") || name.eq_ignore_ascii_case("ssid") => {
                    &mut fields.name
                }
                name if name.eq_ignore_ascii_case("reason") => &mut fields.reason,
                name if name.eq_ignore_ascii_case("cooldown_s") => &mut fields.cooldown_s,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *field = Some(map.next_value()?);
        }
        Ok(fields)
    }
}

/// Lets a test ask for a panic inside the decoder, to see that it ends in the quarantine. Not in builds for real use.
#[cfg(feature = "fault-points")]
#[expect(clippy::panic)]
fn fault_point(listed: Option<&Listed>) {
    if listed.and_then(|listed| listed.reason.as_deref()) == Some("panic-in-the-decoder") {
        panic!("asked for by the record");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a record says, or why it cannot be read.
    fn read(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(Vec<u8>, Option<Listed>), String> {
        let entry = decode(key, value).map_err(|why| why.to_string())?;
        Ok((entry.ssid.bytes().to_vec(), entry.listed))
    }

    fn because(reason: &str) -> Option<Listed> {
        Some(Listed { reason: Some(reason.to_owned()), cooldown_ms: None })
    }

    #[test]
    fn a_key_in_any_of_its_forms_is_a_name() {
        let schema = r#"{"type":"string","optional":false}"#;
        for (key, name) in [
            ("RNM0", "RNM0"),
            (" RNM0 ", " RNM0 "),
            ("Кафе ☕", "Кафе ☕"),
            ("12345", "12345"),
            ("null", "null"),
            ("\"RNM0\"", "RNM0"),
            (r#""\"RNM0\"""#, "\"RNM0\""),
            (r#""\u0000\u0000\u0000\u0001xy""#, "\0\0\0\u{1}xy"),
            (r#"{"ROWKEY":"RNM0"}"#, "RNM0"),
            (r#"{"SSID":"RNM0"}"#, "RNM0"),
            (r#"{"ssid": "RNM0" }"#, "RNM0"),
            (&format!(r#"{{"schema":{schema},"payload":"RNM0"}}"#), "RNM0"),
            (&format!(r#"{{"payload":{{"ROWKEY":"RNM0"}},"schema":{schema}}}"#), "RNM0"),
            (r#"{"schema":null,"payload":{"ssid":"RNM0"}}"#, "RNM0"),
        ] {
            assert_eq!(read(Some(key.as_bytes()), Some(b"why")), Ok((name.into(), because("why"))), "{key}");
            assert_eq!(read(Some(key.as_bytes()), None), Ok((name.into(), None)), "{key}");
        }
        assert_eq!(read(Some(b"caf\xe9"), None), Ok((b"caf\xe9".to_vec(), None)));
    }

    #[test]
    fn a_name_that_only_looks_like_json_is_the_name() {
        for name in [
            "\"",
            "\"RNM0",
            "\"a\" or \"b\"",
            "\"RNM0\" ",
            r#""\ud800""#,
            "{",
            "{}",
            "{RNM0}",
            r#"{"a":1}"#,
            r#"{"id":"RNM0"}"#,
            r#"{"SSID":5}"#,
            r#"{"SSID":"RNM0","SITE":1}"#,
            r#"{"payload":"RNM0"}"#,
            "[\"RNM0\"]",
            "true",
        ] {
            assert_eq!(read(Some(name.as_bytes()), None), Ok((name.into(), None)));
        }
    }

    #[test]
    fn without_a_key_the_value_says_the_name() {
        let (value, said) = (br#"{"SSID":"RNM0","REASON":"why"}"#, Ok((b"RNM0".to_vec(), because("why"))));
        for key in [
            None,
            Some(&b""[..]),
            Some(b"\"\""),
            Some(br#"{"ROWKEY":null}"#),
            Some(br#"{"schema":null,"payload":null}"#),
        ] {
            assert_eq!(read(key, Some(value)), said, "{key:?}");
            for unsaid in [None, Some(&b"why"[..]), Some(br#"{"reason":"why"}"#), Some(br#"{"SSID":""}"#)] {
                let why = read(key, unsaid).unwrap_err();
                assert!(
                    why.contains("let the record's key be the network's name"),
                    "{key:?} {unsaid:?}: {why}"
                );
            }
        }
        assert_eq!(read(None, Some(br#"{"schema":{},"payload":{"rowkey":"RNM0","reason":"why"}}"#)), said);
        assert_eq!(read(None, Some(br#"{"SSID":5}"#)), Err("SSID is not a text".to_owned()));
        assert_eq!(
            read(Some(b"RNM1"), Some(value)),
            Ok((b"RNM1".to_vec(), because("why"))),
            "the key has the word"
        );
    }

    #[test]
    fn a_value_in_any_of_its_forms_says_why_or_no_more() {
        let listed = |reason: &str, cooldown_ms: Option<i64>| {
            Some(Listed { reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()), cooldown_ms })
        };
        for (value, said) in [
            (r#"{"reason":"home network"}"#, listed("home network", None)),
            (r#"{"REASON":"home network","cooldown_s":60}"#, listed("home network", Some(60_000))),
            (r#"{"Reason":"a","COOLDOWN_S":"1.5","other":[{}]}"#, listed("a", Some(1_500))),
            (r#"{"reason":null,"cooldown_s":null}"#, listed("", None)),
            (r#"{"reason":"","cooldown_s":0}"#, listed("", Some(0))),
            (r#"{"cooldown_s":2592000}"#, listed("", Some(2_592_000_000))),
            (r#"{"reason":"a","reason":"b"}"#, listed("b", None)),
            ("{}", listed("", None)),
            (" { \"reason\" : \"a\" } \r\n", listed("a", None)),
            (
                r#"{"schema":{"type":"struct"},"payload":{"REASON":"a","cooldown_s":1}}"#,
                listed("a", Some(1_000)),
            ),
            (r#"{"schema":{"type":"string"},"payload":"a"}"#, listed("a", None)),
            (r#"{"schema":null,"payload":null}"#, None),
            ("null", None),
            ("\"home network\"", listed("home network", None)),
            ("\"\"", listed("", None)),
            ("home network", listed("home network", None)),
            (" home network\r", listed("home network", None)),
            ("\"home\" network", listed("\"home\" network", None)),
            ("[home] network", listed("[home] network", None)),
            ("nullified", listed("nullified", None)),
            ("42", listed("42", None)),
        ] {
            assert_eq!(read(Some(b"RNM0"), Some(value.as_bytes())), Ok((b"RNM0".to_vec(), said)), "{value}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let long = "é".repeat(MAX_REASON_CHARS) + "x";
        for value in [long.clone(), format!("\"{long}\""), format!(r#"{{"reason":"{long}"}}"#)] {
            let (_, listed) = read(Some(b"RNM0"), Some(value.as_bytes())).unwrap();
            assert_eq!(listed.unwrap().reason.unwrap(), "é".repeat(MAX_REASON_CHARS));
        }
    }

    #[test]
    fn what_cannot_be_read_says_what_to_do() {
        let long = "x".repeat(256);
        let envelope = r#"{"schema":{"type":"struct"},"payload":{"id":5}}"#;
        for (key, value, part) in [
            ("RNM0", &b""[..], "value is empty: to end a watch write none at all (kcat -Z)"),
            ("RNM0", b" \n", "value is empty"),
            ("RNM0", b"caf\xe9", "value is not UTF-8"),
            ("RNM0", b"{\"reason\":\"half", "not a JSON object"),
            ("RNM0", b"{home}", "a reason cannot begin so"),
            ("RNM0", br#"{"reason":5}"#, "reason is not a text"),
            ("RNM0", br#"{"reason":{"a":"b"}}"#, "reason is not a text"),
            ("RNM0", br#"{"schema":null,"payload":7}"#, "payload is not"),
            ("RNM0", br#"{"cooldown_s":-1}"#, "cooldown_s is not a number of seconds"),
            ("RNM0", br#"{"cooldown_s":2592000.001}"#, "30 days"),
            ("RNM0", br#"{"cooldown_s":"NaN"}"#, "cooldown_s"),
            ("RNM0", br#"{"cooldown_s":"inf"}"#, "cooldown_s"),
            ("RNM0", br#"{"cooldown_s":1e400}"#, "cooldown_s"),
            ("RNM0", br#"{"cooldown_s":""}"#, "cooldown_s"),
            ("RNM0", br#"{"cooldown_s":true}"#, "cooldown_s"),
            ("RNM0", br#"{"cooldown_s":[1]}"#, "cooldown_s"),
            (&long, b"why", "key is no network's name: an SSID has at most 255 bytes, not 256"),
            (envelope, b"why", "ExtractField$Key"),
            (r#"{"schema":{"type":"int32"},"payload":5}"#, b"why", "ExtractField$Key"),
        ] {
            let why = read(Some(key.as_bytes()), Some(value)).unwrap_err();
            assert!(why.contains(part), "{part}: {why}");
        }
        let value = format!(r#"{{"SSID":"{long}"}}"#);
        let why = read(None, Some(value.as_bytes())).unwrap_err();
        assert!(why.contains("the value's SSID is no network's name"), "{why}");
    }

    /// `'RNM0'` and `('home network')` as the serializers of ksqlDB write them, with schemas 7 and 8.
    const AVRO_KEY: &[u8] = b"\0\0\0\0\x07\x08RNM0";
    const AVRO_VALUE: &[u8] = b"\0\0\0\0\x08\x02\x18home network";

    #[test]
    fn what_needs_a_schema_registry_says_which_converter_to_set() {
        let glue = [&[3, 0][..], &[7; 16], b"\x08RNM0"].concat();
        let zlib = [&[3, 5][..], &[7; 16]].concat();
        let (set_key, set_value) = ("key.converter=", "value.converter.schemas.enable=false");
        for (key, value, is_of_key, is_of_value) in [
            (&b"RNM0"[..], Some(AVRO_VALUE), false, true),
            (b"RNM0", Some(b"\0\0\0\0\x08"), false, true),
            (b"RNM0", Some(&zlib), false, true),
            (AVRO_KEY, Some(AVRO_VALUE), true, true),
            (AVRO_KEY, Some(b"home network"), true, false),
            (AVRO_KEY, None, true, false),
            (b"\0\0\x01\x86\xa1\0\x0a\x04RNM0", None, true, false),
            (b"\0\0\0\0\x07\"RNM0\"", None, true, false),
            (&glue, None, true, false),
        ] {
            let why = read(Some(key), value).unwrap_err();
            assert_eq!(why.contains(set_key), is_of_key, "{key:?} {value:?}: {why}");
            assert_eq!(why.contains(set_value), is_of_value, "{key:?} {value:?}: {why}");
        }
        assert_eq!(
            read(Some(b"RNM0"), Some(AVRO_VALUE)).unwrap_err(),
            "value is Avro (or Protobuf, or JSON Schema) of a schema registry: let the connector write JSON \
             (value.converter=org.apache.kafka.connect.json.JsonConverter, value.converter.schemas.enable=false), \
             in ksqlDB VALUE_FORMAT='JSON'"
        );
    }

    #[test]
    fn names_of_odd_bytes_are_not_taken_for_a_schema_registrys() {
        let of_uuids_length = [&[3, 0][..], &[b'x'; 16]].concat();
        for name in [
            &[0; 32][..],
            &[0; 5],
            b"\0RNM0 of mine",
            b"\0\0\0\0\x07",
            b"\x03RNM0 of mine, a long name",
            &of_uuids_length,
        ] {
            assert_eq!(read(Some(name), Some(b"why")), Ok((name.to_vec(), because("why"))));
        }
    }

    #[test]
    fn depth_and_size_are_no_danger() {
        let deep = |open: &str, close: &str| {
            format!("{}1{}", open.repeat(1_000_000 / open.len()), close.repeat(1_000_000 / open.len()))
        };
        for nested in
            [deep("[", "]"), deep(r#"{"a":"#, "}"), deep(r#"{"payload":"#, "}"), "[".repeat(1_000_000)]
        {
            let value = format!(r#"{{"reason":"why","other":{nested}}}"#);
            let listed = read(Some(b"RNM0"), Some(value.as_bytes()));
            assert!(listed.is_err() || listed == Ok((b"RNM0".to_vec(), because("why"))));
            for value in [
                nested.clone(),
                format!(r#"{{"reason":{nested}}}"#),
                format!(r#"{{"cooldown_s":{nested}}}"#),
                format!(r#"{{"schema":{nested},"payload":{nested}}}"#),
            ] {
                drop(read(Some(b"RNM0"), Some(value.as_bytes())));
                assert!(read(Some(value.as_bytes()), None).is_err(), "no name is as long");
            }
        }
    }

    /// Pieces of which records of all forms are made, and other bytes.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let known = [
            &b"{"[..],
            b"}",
            b"\"",
            b":",
            b",",
            b"null",
            b"\"schema\":",
            b"\"payload\":",
            b"\"SSID\":",
            b"\"reason\":",
            b"\"cooldown_s\":",
            b"\"RNM0\"",
            b"1e999",
            b"\\u00e9",
            b"\\ud800",
            b"\xff",
            b"\0\0\0\0\x07",
            b"\x03\0",
            b" ",
        ];
        let piece = prop_oneof![
            3 => prop::sample::select(known.to_vec()).prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..24),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn whatever_arrives_is_read_or_refused(
            key in prop::option::of(pieces()), value in prop::option::of(pieces()),
        ) {
            if let Ok(ListEntry { listed: Some(listed), .. }) = decode(key.as_deref(), value.as_deref()) {
                prop_assert!(listed.reason.is_none_or(|reason| !reason.is_empty()));
                prop_assert!(listed.cooldown_ms.is_none_or(|ms| (0..=2_592_000_000).contains(&ms)));
            }
        }

        #[test]
        fn any_name_comes_back_with_its_reason(
            name in prop::collection::vec(any::<u8>(), 1..=255), reason in "[^\\s{\"\0]([^\0]{0,40}[^\\s\0])?",
        ) {
            let is_like_json = matches!(name.first(), Some(b'"' | b'{'));
            let is_like_a_registrys = name.starts_with(&[0, 0]) || name.starts_with(&[3]);
            prop_assume!(!is_like_json && !is_like_a_registrys && reason != "null");
            let object = serde_json::json!({"reason": reason}).to_string();
            for value in [object.as_bytes(), reason.as_bytes()] {
                prop_assert_eq!(read(Some(&name), Some(value)), Ok((name.clone(), because(&reason))));
            }
        }

        #[test]
        fn any_name_of_characters_comes_back_as_json(name in "[^\0]{1,60}") {
            let text = serde_json::json!(name).to_string();
            for key in [
                text.clone(), format!(r#"{{"ROWKEY":{text}}}"#), format!(r#"{{"schema":null,"payload":{text}}}"#),
                format!(r#"{{"schema":{{}},"payload":{{"ssid":{text}}}}}"#),
            ] {
                prop_assert_eq!(read(Some(key.as_bytes()), None), Ok((name.clone().into_bytes(), None)));
            }
        }
    }
}
