//! Filter criteria of an event source mapping: which records reach the function.
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/kafka-filtering.html>
//!
//! A pattern is looked up in the record's text level by level: numbers are compared as they are written, and a value that is
//! nested however deep costs no stack.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Lambda takes no longer pattern.
const MAX_CHARACTERS: usize = 4096;

/// A pattern on a record's value. A record passes if one of its mapping's filters lets it.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// On the fields of a JSON value.
    Json(Fields),
    /// On a value that is plain text, as a whole.
    Text(Vec<Rule>),
}

/// What must hold for an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields {
    /// All of these, by the field's name.
    all: Vec<(String, Pattern)>,
    /// And one of these, if there are any (`$or`).
    either: Vec<Self>,
}

/// What must hold for a field.
#[derive(Debug, Clone, PartialEq)]
enum Pattern {
    /// It is an object, or a list with an object, for which this holds.
    Object(Fields),
    /// It is a leaf, or a list with a leaf, for which one of these holds.
    Leaf(Vec<Rule>),
}

/// A comparison. Each is one of Lambda's table of rules.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Null, empty, equals.
    Equals(Scalar<'static>),
    /// `equals-ignore-case`
    EqualsIgnoreCase(String),
    /// `anything-but`
    AnythingBut(Vec<Scalar<'static>>),
    /// `numeric`: all of these.
    Numeric(Vec<(Comparison, f64)>),
    /// `exists`
    Exists(bool),
    /// `prefix`
    Prefix(String),
    /// `suffix`
    Suffix(String),
}

/// How `numeric` compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A leaf of a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// A string, without its escapes.
    Text(Cow<'a, str>),
    /// A number, `true`, `false` or `null`, as it is written: to Lambda 300 and 300.0 differ.
    Verbatim(Cow<'a, str>),
}

impl Filter {
    /// Whether a record's value passes. A value of another format than the pattern's does, as on AWS: a function has to cope with
    /// text where it expects JSON, and with bytes that are no text at all.
    #[must_use]
    pub fn passes(&self, value: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(value) else { return true };
        match self {
            Self::Json(fields) => fields.hold_for(text).unwrap_or(true),
            Self::Text(rules) => {
                let is_json = text.trim_start().starts_with(['{', '['])
                    && serde_json::from_str::<IgnoredAny>(text).is_ok();
                is_json || any(rules, Some(&Scalar::Text(text.into())))
            }
        }
    }
}

impl Fields {
    /// Whether this holds for a JSON text: an object, a list with such an object, or else for nothing at all.
    fn hold_for(&self, text: &str) -> serde_json::Result<bool> {
        match first_byte(text) {
            Some(b'{') => self.hold_for_object(text),
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(text)?;
                let mut objects = elements
                    .iter()
                    .map(|element| element.get())
                    .filter(|text| text.starts_with('{'))
                    .peekable();
                if objects.peek().is_none() {
                    return self.hold_for_nothing();
                }
                for object in objects {
                    if self.hold_for_object(object)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            _ => {
                let _is_json: &RawValue = serde_json::from_str(text)?;
                self.hold_for_nothing()
            }
        }
    }

    fn hold_for_object(&self, object: &str) -> serde_json::Result<bool> {
        let found = self.find_in(object)?;
        for ((_name, pattern), value) in self.all.iter().zip(found) {
            if !pattern.holds_for(value.map(RawValue::get))? {
                return Ok(false);
            }
        }
        for fields in &self.either {
            if fields.hold_for_object(object)? {
                return Ok(true);
            }
        }
        Ok(self.either.is_empty())
    }

    /// Where there is no object, its fields do not exist.
    fn hold_for_nothing(&self) -> serde_json::Result<bool> {
        self.hold_for_object("{}")
    }

    /// The fields that the pattern names, in its order.
    fn find_in<'a>(&self, object: &'a str) -> serde_json::Result<Vec<Option<&'a RawValue>>> {
        let mut deserializer = serde_json::Deserializer::from_str(object);
        let found = deserializer.deserialize_map(Find(&self.all))?;
        deserializer.end()?;
        Ok(found)
    }
}

impl Pattern {
    fn holds_for(&self, text: Option<&str>) -> serde_json::Result<bool> {
        match (self, text) {
            (Self::Object(fields), Some(text)) => fields.hold_for(text),
            (Self::Object(fields), None) => fields.hold_for_nothing(),
            (Self::Leaf(rules), None) => Ok(any(rules, None)),
            (Self::Leaf(rules), Some(text)) => {
                let leaves = leaves_of(text)?;
                Ok(if leaves.is_empty() {
                    any(rules, None)
                } else {
                    leaves.iter().any(|leaf| any(rules, Some(leaf)))
                })
            }
        }
    }
}

/// The leaves that a JSON text is, or that lie in it as a list, however deep. An object is no leaf. Looks at each byte once: a
/// record may be a megabyte of brackets.
fn leaves_of(json: &str) -> serde_json::Result<Vec<Scalar<'_>>> {
    let mut leaves = Vec::new();
    let (mut rest, mut objects) = (json, 0_usize);
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b'"' => end_of_string(rest),
            b'{' | b'}' | b'[' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {
                match first {
                    b'{' => objects += 1,
                    b'}' => objects = objects.saturating_sub(1),
                    _ => {}
                }
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            _ => rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        if objects == 0 {
            leaves.push(Scalar::of(token)?);
        }
        rest = after;
    }
    Ok(leaves)
}

/// How long the string is that a JSON text begins with.
fn end_of_string(json: &str) -> usize {
    let mut escaped = false;
    let quote = json.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    quote.map_or(json.len(), |position| position + 2)
}

fn first_byte(text: &str) -> Option<u8> {
    text.bytes().find(|byte| !byte.is_ascii_whitespace())
}

fn any(rules: &[Rule], leaf: Option<&Scalar<'_>>) -> bool {
    rules.iter().any(|rule| rule.holds_for(leaf))
}

impl Rule {
    fn holds_for(&self, leaf: Option<&Scalar<'_>>) -> bool {
        let Some(leaf) = leaf else { return *self == Self::Exists(false) };
        let text = match leaf {
            Scalar::Text(text) => Some(text.as_ref()),
            Scalar::Verbatim(_) => None,
        };
        match self {
            Self::Equals(wanted) => leaf == wanted,
            Self::EqualsIgnoreCase(wanted) => {
                text.is_some_and(|text| text.to_lowercase() == wanted.to_lowercase())
            }
            Self::AnythingBut(unwanted) => !unwanted.contains(leaf),
            Self::Numeric(bounds) => leaf.number().is_some_and(|number| {
                bounds.iter().all(|(comparison, bound)| comparison.holds(number, *bound))
            }),
            Self::Exists(wanted) => *wanted,
            Self::Prefix(prefix) => text.is_some_and(|text| text.starts_with(prefix.as_str())),
            Self::Suffix(suffix) => text.is_some_and(|text| text.ends_with(suffix.as_str())),
        }
    }
}

impl Comparison {
    fn holds(self, number: f64, bound: f64) -> bool {
        match self {
            Self::Equal => number == bound,
            Self::Less => number < bound,
            Self::LessOrEqual => number <= bound,
            Self::Greater => number > bound,
            Self::GreaterOrEqual => number >= bound,
        }
    }
}

impl FromStr for Comparison {
    type Err = anyhow::Error;

    fn from_str(sign: &str) -> anyhow::Result<Self> {
        Ok(match sign {
            "=" => Self::Equal,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            other => bail!("numeric in a filter pattern compares by =, <, <=, > or >=, not by {other}"),
        })
    }
}

impl<'a> Scalar<'a> {
    /// Reads a leaf.
    fn of(text: &'a str) -> serde_json::Result<Self> {
        let text = text.trim();
        match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => Ok(Self::Text(plain.into())),
            Some(_escaped) => Ok(Self::Text(serde_json::from_str::<String>(text)?.into())),
            None => Ok(Self::Verbatim(serde_json::from_str::<&RawValue>(text)?.get().into())),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Verbatim(text) => text.parse().ok(),
            Self::Text(_) => None,
        }
    }

    fn into_owned(self) -> Scalar<'static> {
        match self {
            Self::Text(text) => Scalar::Text(text.into_owned().into()),
            Self::Verbatim(text) => Scalar::Verbatim(text.into_owned().into()),
        }
    }
}

/// Finds fields of an object by their names, in their order. Of a field that is there twice, the last.
struct Find<'p>(&'p [(String, Pattern)]);

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.0.len()];
        while let Some(place) = object.next_key_seed(PlaceOf(self.0))? {
            match place.and_then(|place| found.get_mut(place)) {
                Some(field) => *field = Some(object.next_value()?),
                None => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// The place of a name among those that are looked for.
struct PlaceOf<'p>(&'p [(String, Pattern)]);

impl<'de> DeserializeSeed<'de> for PlaceOf<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for PlaceOf<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|(wanted, _pattern)| wanted == name))
    }
}

impl FromStr for Filter {
    type Err = anyhow::Error;

    fn from_str(pattern: &str) -> anyhow::Result<Self> {
        let characters = pattern.chars().count();
        ensure!(
            characters <= MAX_CHARACTERS,
            "a filter pattern has at most {MAX_CHARACTERS} characters, this one has {characters}"
        );
        let Object(fields) =
            serde_json::from_str(pattern).context("a filter pattern is not a JSON object")?;
        let [(name, value)] = fields.as_slice() else {
            bail!("a filter pattern for Kafka is about the value alone: {pattern}")
        };
        ensure!(name == "value", "a filter pattern for Kafka is about the value, not about {name}");
        Ok(match first_byte(value.get()) {
            Some(b'[') => Self::Text(rules(value)?),
            _ => Self::Json(fields_of(value)?),
        })
    }
}

/// An object's fields as they are written.
struct Object(Vec<(String, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Object {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Object, A::Error> {
                let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some((name, value)) = object.next_entry::<String, _>()? {
                    if fields.iter().any(|(other, _value)| *other == name) {
                        return Err(A::Error::custom(format!("the field {name} is there twice")));
                    }
                    fields.push((name, value));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(All)
    }
}

fn fields_of(pattern: &RawValue) -> anyhow::Result<Fields> {
    let Object(written) = serde_json::from_str(pattern.get())
        .with_context(|| format!("in a filter pattern a field has an object or a list, not {pattern}"))?;
    ensure!(!written.is_empty(), "an object in a filter pattern names a field");
    let mut fields = Fields::default();
    for (name, value) in written {
        if name == "$or" {
            let either: Vec<Box<RawValue>> =
                serde_json::from_str(value.get()).context("$or in a filter pattern has a list of objects")?;
            ensure!(!either.is_empty(), "$or in a filter pattern has a list of objects");
            fields.either = either.iter().map(|value| fields_of(value)).collect::<anyhow::Result<_>>()?;
            continue;
        }
        let pattern = match first_byte(value.get()) {
            Some(b'[') => {
                Pattern::Leaf(rules(&value).with_context(|| format!("the filter pattern of {name}"))?)
            }
            _ => Pattern::Object(fields_of(&value)?),
        };
        fields.all.push((name, pattern));
    }
    Ok(fields)
}

fn rules(list: &RawValue) -> anyhow::Result<Vec<Rule>> {
    let rules: Vec<Box<RawValue>> = serde_json::from_str(list.get())?;
    ensure!(!rules.is_empty(), "an empty list in a filter pattern matches nothing");
    rules.iter().map(|rule| rule_of(rule)).collect()
}

fn rule_of(rule: &RawValue) -> anyhow::Result<Rule> {
    match first_byte(rule.get()) {
        Some(b'[') => bail!("a list in a list of a filter pattern has no meaning: {rule}"),
        Some(b'{') => {}
        _ => return Ok(Rule::Equals(Scalar::of(rule.get())?.into_owned())),
    }
    let Object(written) = serde_json::from_str(rule.get())?;
    let [(operator, operand)] = written.as_slice() else {
        bail!("one operator at a time in a filter pattern: {rule}")
    };
    let operand = operand.get();
    let text = || {
        serde_json::from_str::<String>(operand)
            .with_context(|| format!("{operator} in a filter pattern wants a text, not {operand}"))
    };
    Ok(match operator.as_str() {
        "equals-ignore-case" => Rule::EqualsIgnoreCase(text()?),
        "prefix" => Rule::Prefix(text()?),
        "suffix" => Rule::Suffix(text()?),
        "exists" => Rule::Exists(
            serde_json::from_str(operand)
                .with_context(|| format!("exists in a filter pattern is true or false, not {operand}"))?,
        ),
        "anything-but" => {
            let unwanted = leaves_of(operand)?;
            ensure!(
                !unwanted.is_empty(),
                "anything-but in a filter pattern wants texts or numbers, not {operand}"
            );
            Rule::AnythingBut(unwanted.into_iter().map(Scalar::into_owned).collect())
        }
        "numeric" => numeric(operand)?,
        other => bail!(
            "the operator {other} is none of Lambda's: equals-ignore-case, anything-but, numeric, exists, prefix, suffix"
        ),
    })
}

fn numeric(operand: &str) -> anyhow::Result<Rule> {
    let refused =
        || format!("numeric in a filter pattern is a list such as [\">\", 10, \"<=\", 20], not {operand}");
    let list: Vec<Value> = serde_json::from_str(operand).with_context(refused)?;
    let (pairs, rest) = list.as_chunks::<2>();
    ensure!(!pairs.is_empty() && rest.is_empty(), refused());
    let bounds = pairs.iter().map(|[sign, number]| {
        let sign = sign.as_str().with_context(refused)?;
        Ok((sign.parse()?, number.as_f64().with_context(refused)?))
    });
    Ok(Rule::Numeric(bounds.collect::<anyhow::Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pattern, and what passes it and what does not.
    type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

    #[rustfmt::skip] // a table
    const ROWS: &[Row] = &[
        // null, empty, equals
        (r#"{"a":[null]}"#, &[r#"{"a":null}"#, r#"{"a":[1,null]}"#], &["{}", r#"{"a":"null"}"#, r#"{"a":""}"#, r#"{"a":[]}"#]),
        (r#"{"a":[""]}"#, &[r#"{"a":""}"#], &["{}", r#"{"a":null}"#, r#"{"a":" "}"#]),
        (r#"{"a":["4","0x0004",4,true]}"#,
            &[r#"{"a":["4"]}"#, r#"{"a":"0x0004"}"#, r#"{ "a" : 4 }"#, r#"{"a":["1","4"]}"#, r#"{"a":true}"#, r#"{"a":"\u0034"}"#, r#"{"\u0061":"4"}"#],
            &[r#"{"a":["29"]}"#, r#"{"a":{}}"#, r#"{"a":{"4":"4"}}"#, r#"{"a":"true"}"#, r#"{"b":"4"}"#, "{}", "null", "[]", "4", r#""4""#]),
        // numbers are compared as they are written
        (r#"{"a":[300]}"#, &[r#"{"a":300}"#], &[r#"{"a":300.0}"#, r#"{"a":3.0e2}"#, r#"{"a":"300"}"#, r#"{"a":3e2}"#]),
        (r#"{"a":[300.0]}"#, &[r#"{"a":300.0}"#], &[r#"{"a":300}"#]),
        (r#"{"a":[12345678901234567890123]}"#, &[r#"{"a":12345678901234567890123}"#], &[r#"{"a":12345678901234567890124}"#]),
        (r#"{"a":[{"equals-ignore-case":"alice"}]}"#, &[r#"{"a":"ALICE"}"#, r#"{"a":"alice"}"#], &[r#"{"a":"alic"}"#, r#"{"a":1}"#, "{}"]),
        // and, or, or of fields
        (r#"{"a":["x"],"b":["y"]}"#, &[r#"{"b":"y","a":"x"}"#], &[r#"{"a":"x"}"#, r#"{"a":"x","b":"x"}"#]),
        (r#"{"$or":[{"a":["x"]},{"b":["y"]}]}"#, &[r#"{"a":"x"}"#, r#"{"b":"y","a":1}"#], &["{}", r#"{"a":"y","b":"x"}"#]),
        (r#"{"c":["z"],"$or":[{"a":["x"]},{"b":["y"]}]}"#, &[r#"{"a":"x","c":"z"}"#], &[r#"{"a":"x"}"#, r#"{"c":"z"}"#]),
        (r#"{"o":{"$or":[{"a":["x"]},{"b":["y"]}]}}"#, &[r#"{"o":{"b":"y"}}"#], &[r#"{"b":"y"}"#, r#"{"o":{}}"#]),
        // anything-but
        (r#"{"a":[{"anything-but":["x","y"]}]}"#, &[r#"{"a":"z"}"#, r#"{"a":1}"#, r#"{"a":["x","z"]}"#], &[r#"{"a":"x"}"#, r#"{"a":["x","y"]}"#, "{}", r#"{"a":[]}"#]),
        (r#"{"a":[{"anything-but":100}]}"#, &[r#"{"a":"100"}"#, r#"{"a":100.0}"#], &[r#"{"a":100}"#]),
        // numeric
        (r#"{"a":[{"numeric":["=",100]}]}"#, &[r#"{"a":100}"#, r#"{"a":100.0}"#, r#"{"a":1e2}"#], &[r#"{"a":"100"}"#, r#"{"a":101}"#, r#"{"a":true}"#, "{}"]),
        (r#"{"a":[{"numeric":[">",10,"<=",20]}]}"#, &[r#"{"a":10.5}"#, r#"{"a":20}"#, r#"{"a":[1,15]}"#], &[r#"{"a":10}"#, r#"{"a":20.1}"#, r#"{"a":[1,30]}"#]),
        (r#"{"a":[{"numeric":[">=",-1.5,"<",0]}]}"#, &[r#"{"a":-1.5}"#], &[r#"{"a":0}"#, r#"{"a":-2}"#]),
        // exists, for leaves alone
        (r#"{"a":[{"exists":true}]}"#, &[r#"{"a":null}"#, r#"{"a":0}"#, r#"{"a":[[1]]}"#], &["{}", r#"{"a":{"b":1}}"#, r#"{"a":[]}"#]),
        (r#"{"a":[{"exists":false}]}"#, &["{}", r#"{"a":{"b":1}}"#], &[r#"{"a":null}"#, r#"{"a":""}"#]),
        (r#"{"a":{"b":[{"exists":false}]}}"#, &["{}", r#"{"a":{}}"#, r#"{"a":1}"#, r#"{"a":[]}"#], &[r#"{"a":{"b":1}}"#]),
        // prefix and suffix
        (r#"{"a":[{"prefix":"us-"}]}"#, &[r#"{"a":"us-east-1"}"#, r#"{"a":["eu","us-"]}"#], &[r#"{"a":"us"}"#, r#"{"a":"a us-"}"#, "{}"]),
        (r#"{"a":[{"suffix":".png"},"x"]}"#, &[r#"{"a":"b.png"}"#, r#"{"a":"x"}"#], &[r#"{"a":"b.pn"}"#, r#"{"a":1}"#]),
        // lists: any element, and of objects each for itself
        (r#"{"a":{"b":[1],"c":[2]}}"#,
            &[r#"{"a":{"b":1,"c":2}}"#, r#"{"a":[7,{"b":0},{"b":1,"c":2}]}"#],
            &[r#"{"a":[{"b":1,"c":3},{"b":3,"c":2}]}"#, r#"{"a":[]}"#, r#"{"b":1,"c":2}"#]),
        (r#"{"a":[1]}"#, &[r#"{"a":[[0],[[1]]]}"#, r#"{"a":[ {"x":["]"]} , "\"[{\\", 1 ]}"#, r#"{"a":0,"a":1}"#], &[r#"{"a":[[0],[{"a":1}]]}"#]),
    ];

    #[test]
    fn all_of_lambdas_rules_hold_as_they_do_there() {
        for (pattern, passing, staying) in ROWS {
            let filter: Filter = format!(r#"{{"value":{pattern}}}"#).parse().unwrap();
            for value in *passing {
                assert!(filter.passes(value.as_bytes()), "{value} must pass {pattern}");
            }
            for value in *staying {
                assert!(!filter.passes(value.as_bytes()), "{value} must not pass {pattern}");
            }
        }
    }

    #[test]
    fn what_is_of_another_format_than_the_pattern_passes() {
        let json: Filter = r#"{"value":{"a":["x"]}}"#.parse().unwrap();
        for passes in [
            &b"not json"[..],
            b"",
            b"\xff{",
            b"{\"a\":\"y\xff\"}",
            b"{\"a\":\"y\"",
            b"{\"a\":\"y\"} z",
            b"{\"a\":01}",
        ] {
            assert!(json.passes(passes), "{}", passes.escape_ascii());
        }
        let text: Filter = r#"{"value":["on",{"prefix":"off "}]}"#.parse().unwrap();
        for passes in [&b"on"[..], b"off now", b"{\"a\":1}", b" [1]", b"\xff"] {
            assert!(text.passes(passes), "{}", passes.escape_ascii());
        }
        for stays in [&b"off"[..], b"", b"{on", b"4"] {
            assert!(!text.passes(stays), "{}", stays.escape_ascii());
        }
    }

    #[test]
    fn a_value_nested_ten_thousand_deep_costs_no_stack() {
        let nested = |open: &str, close: &str| {
            format!(r#"{{"a":{}1{},"b":"x"}}"#, open.repeat(10_000), close.repeat(10_000))
        };
        for pattern in [r#"{"value":{"b":["x"]}}"#, r#"{"value":{"a":[{"exists":true}],"b":["x"]}}"#] {
            let filter: Filter = pattern.parse().unwrap();
            assert!(filter.passes(nested("[", "]").as_bytes()), "{pattern}");
            let other: Filter = pattern.replace(r#""x""#, r#""y""#).parse().unwrap();
            assert!(!other.passes(nested("[", "]").as_bytes()), "{pattern}");
        }
        let filter: Filter = r#"{"value":{"a":{"c":{"c":[1]}},"b":["x"]}}"#.parse().unwrap();
        assert!(!filter.passes(nested(r#"{"c":"#, "}").as_bytes()));
    }

    #[test]
    fn what_lambda_would_refuse_is_refused_with_a_reason() {
        for (pattern, reason) in [
            ("x", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("{}", "about the value"),
            (r#"{"key":["a"]}"#, "not about key"),
            (r#"{"value":["a"],"key":["a"]}"#, "about the value alone"),
            (r#"{"value":"a"}"#, "an object or a list"),
            (r#"{"value":{}}"#, "names a field"),
            (r#"{"value":{"a":"b"}}"#, "an object or a list"),
            (r#"{"value":{"a":["b"],"a":["c"]}}"#, "twice"),
            (r#"{"value":{"a":[]}}"#, "matches nothing"),
            (r#"{"value":{"a":[["b"]]}}"#, "a list in a list"),
            (r#"{"value":{"a":[{"wildcard":"b*"}]}}"#, "the operator wildcard is none of Lambda's"),
            (r#"{"value":{"a":[{"prefix":"b","suffix":"c"}]}}"#, "one operator"),
            (r#"{"value":{"a":[{"prefix":1}]}}"#, "prefix in a filter pattern wants a text"),
            (r#"{"value":{"a":[{"exists":"yes"}]}}"#, "true or false"),
            (r#"{"value":{"a":[{"anything-but":{"prefix":"b"}}]}}"#, "texts or numbers"),
            (r#"{"value":{"a":[{"numeric":[">"]}]}}"#, "a list such as"),
            (r#"{"value":{"a":[{"numeric":["~",1]}]}}"#, "not by ~"),
            (r#"{"value":{"a":[{"numeric":[">","1"]}]}}"#, "a list such as"),
            (r#"{"value":{"$or":{"a":["b"]}}}"#, "$or"),
        ] {
            let error = format!("{:#}", pattern.parse::<Filter>().unwrap_err());
            assert!(error.contains(reason), "{pattern}: {error}");
        }
        let of_length = |length: usize| {
            let pattern = format!(r#"{{"value":{{"a":["{}"]}}}}"#, "ü".repeat(length - 20));
            pattern.parse::<Filter>().map(drop).map_err(|error| error.to_string())
        };
        let frame = r#"{"value":{"a":[""]}}"#.len();
        assert_eq!(frame, 20);
        assert_eq!(of_length(4096), Ok(()));
        assert!(of_length(4097).unwrap_err().contains("4097"));
    }
}
