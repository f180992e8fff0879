//! Filter criteria of an event source mapping: which records reach the function.
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html>
//!
//! Of the operators this has what our template uses: equality with one of several values, in nested objects.

use std::str::FromStr;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// A JSON pattern on a record's value.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    value: Value,
}

impl Filter {
    /// Whether a record's value matches. What is not JSON passes a JSON pattern, as it does on AWS: the function has to cope.
    #[must_use]
    pub fn passes(&self, value: &[u8]) -> bool {
        match serde_json::from_slice::<Value>(value) {
            Ok(value) => matches(&self.value, Some(&value)),
            Err(_not_json) => true,
        }
    }
}

impl FromStr for Filter {
    type Err = anyhow::Error;

    fn from_str(pattern: &str) -> anyhow::Result<Self> {
        let pattern: Value = serde_json::from_str(pattern).context("a filter pattern is not JSON")?;
        let Some(value) = pattern.get("value") else {
            bail!("a filter pattern for Kafka is about the value: {pattern}")
        };
        check(value)?;
        Ok(Self { value: value.clone() })
    }
}

fn check(pattern: &Value) -> anyhow::Result<()> {
    match pattern {
        Value::Object(fields) => fields.values().try_for_each(check),
        Value::Array(options) if options.iter().all(|option| !option.is_object() && !option.is_array()) => {
            Ok(())
        }
        other => bail!("this filter pattern is not supported here: {other}"),
    }
}

/// A field matches if it, or any element of it, equals one of the options.
fn matches(pattern: &Value, value: Option<&Value>) -> bool {
    match (pattern, value) {
        (Value::Object(fields), value) => {
            fields.iter().all(|(name, pattern)| matches(pattern, value.and_then(|value| value.get(name))))
        }
        (Value::Array(options), Some(Value::Array(elements))) => {
            elements.iter().any(|element| options.contains(element))
        }
        (Value::Array(options), Some(value)) => options.contains(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_passes_if_any_element_equals_an_option() {
        let filter: Filter = r#"{"value":{"subtype":["4","0x0004",4]}}"#.parse().unwrap();
        for passes in [
            r#"{"subtype":["4"]}"#,
            r#"{"subtype":"0x0004"}"#,
            r#"{"subtype":4}"#,
            r#"{"subtype":["1","4"]}"#,
            "not json",
            "",
        ] {
            assert!(filter.passes(passes.as_bytes()), "{passes}");
        }
        for stays in
            [r#"{"subtype":["29"]}"#, r#"{"timestamp":null}"#, "{}", "null", "[]", r#"{"subtype":{}}"#, "4"]
        {
            assert!(!filter.passes(stays.as_bytes()), "{stays}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for pattern in [r#"{"key":["a"]}"#, r#"{"value":{"a":[{"prefix":"b"}]}}"#, r#"{"value":"a"}"#, "x"] {
            assert!(pattern.parse::<Filter>().is_err(), "{pattern}");
        }
    }
}
