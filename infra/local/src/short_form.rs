//! CloudFormation's YAML as the JSON that it stands for: `!Ref X` is `{"Ref": "X"}`, `!If [a, b, c]` is `{"Fn::If": [a, b, c]}`.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html>

use std::fmt;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use serde_saphyr::Tagged;

/// A template's document, from YAML or JSON.
///
/// # Errors
/// When it is neither.
pub fn read(text: &str) -> anyhow::Result<Value> {
    let node: Tagged<Node> = serde_saphyr::from_str(text).context("the template is not YAML")?;
    Ok(long_form(node))
}

/// A value whose parts keep their tags.
enum Node {
    Plain(Value),
    Sequence(Vec<Tagged<Node>>),
    Mapping(Vec<(String, Tagged<Node>)>),
}

fn long_form(Tagged(node, tag): Tagged<Node>) -> Value {
    let value = match node {
        Node::Plain(value) => value,
        Node::Sequence(items) => items.into_iter().map(long_form).collect(),
        Node::Mapping(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, long_form(value))).collect())
        }
    };
    // the tags of YAML itself begin with `tag:yaml.org`
    let Some(name) = tag.as_deref().and_then(|tag| tag.strip_prefix('!')) else { return value };
    match (name, value) {
        ("Ref" | "Condition", value) => json!({name: value}),
        // the only short form that is written otherwise than the long one
        ("GetAtt", Value::String(path)) => {
            let (resource, attribute) = path.split_once('.').unwrap_or((&path, ""));
            json!({"Fn::GetAtt": [resource, attribute]})
        }
        (name, value) => Value::Object(Map::from_iter([(format!("Fn::{name}"), value)])),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyNode;
        impl<'de> Visitor<'de> for AnyNode {
            type Value = Node;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a part of a template")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Plain(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Plain(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Plain(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Plain(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Plain(value.into()))
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Plain(Value::Null))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut sequence = Vec::new();
                while let Some(item) = items.next_element()? {
                    sequence.push(item);
                }
                Ok(Node::Sequence(sequence))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    fields.push(entry);
                }
                Ok(Node::Mapping(fields))
            }
        }
        deserializer.deserialize_any(AnyNode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_written_out() {
        let yaml = "a: !If [UseMsk, !Ref Arn, !Ref AWS::NoValue]\nb: !GetAtt Table.Arn\nc: !Sub\n  - '${X}-y'\n  - X: !Select [1, !Split [':', !Ref Arn]]\nd: !Condition UseMsk\ne: {f: [1, '1', true, null]}";
        assert_eq!(
            read(yaml).unwrap(),
            json!({
                "a": {"Fn::If": ["UseMsk", {"Ref": "Arn"}, {"Ref": "AWS::NoValue"}]},
                "b": {"Fn::GetAtt": ["Table", "Arn"]},
                "c": {"Fn::Sub": ["${X}-y", {"X": {"Fn::Select": [1, {"Fn::Split": [":", {"Ref": "Arn"}]}]}}]},
                "d": {"Condition": "UseMsk"},
                "e": {"f": [1, "1", true, null]}
            })
        );
    }

    #[test]
    fn json_is_read_as_it_is() {
        let document = json!({"Resources": {"A": {"Ref": "B"}}, "n": -1.5});
        assert_eq!(read(&document.to_string()).unwrap(), document);
    }
}
