//! What CloudFormation's intrinsic functions come to in a stack, as far as templates here use them.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html>

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

/// Conditions may name each other; deeper than this they are a circle.
const DEEPEST: usize = 32;

/// What names mean in a stack.
#[derive(Debug)]
pub(crate) struct Stack<'a> {
    document: &'a Value,
    parameters: &'a BTreeMap<String, String>,
    physical: &'a BTreeMap<String, String>,
}

impl<'a> Stack<'a> {
    /// A template's document; parameters without a value have their default; `physical` gives the names of resources, where they are known.
    pub(crate) const fn new(
        document: &'a Value,
        parameters: &'a BTreeMap<String, String>,
        physical: &'a BTreeMap<String, String>,
    ) -> Self {
        Self { document, parameters, physical }
    }

    /// The resources that the stack has, their properties without any function.
    ///
    /// # Errors
    /// When the template uses what is not known here, or is wrong.
    pub(crate) fn resources(&self) -> anyhow::Result<Map<String, Value>> {
        let all =
            self.section("Resources").and_then(Value::as_object).context("the template has no Resources")?;
        let mut there = Map::new();
        for (name, resource) in all {
            if let Some(condition) = resource.get("Condition").and_then(Value::as_str)
                && !self.condition(condition, 0)?
            {
                continue;
            }
            let value = self.value(resource).with_context(|| format!("in {name}"))?;
            there.insert(name.clone(), value.context("a resource is nothing")?);
        }
        Ok(there)
    }

    fn section(&self, name: &str) -> Option<&'a Value> {
        self.document.get(name)
    }

    /// What a value comes to; `None` for `AWS::NoValue`.
    fn value(&self, value: &Value) -> anyhow::Result<Option<Value>> {
        match value {
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?;
                Ok(Some(items.into_iter().flatten().collect()))
            }
            Value::Object(fields) => {
                if let Some((function, argument)) = only(fields)
                    && (function == "Ref" || function.starts_with("Fn::"))
                {
                    return self.function(function, argument);
                }
                let mut there = Map::new();
                for (name, value) in fields {
                    if let Some(value) = self.value(value)? {
                        there.insert(name.clone(), value);
                    }
                }
                Ok(Some(Value::Object(there)))
            }
            plain => Ok(Some(plain.clone())),
        }
    }

    fn function(&self, function: &str, argument: &Value) -> anyhow::Result<Option<Value>> {
        let parts = || argument.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Some(match (function, parts()) {
            ("Ref", _) => {
                let name = argument.as_str().context("Ref names nothing")?;
                if name == "AWS::NoValue" {
                    return Ok(None);
                }
                self.reference(name)
            }
            ("Fn::If", [condition, then, otherwise]) => {
                let holds = self.condition(condition.as_str().context("Fn::If names no condition")?, 0)?;
                return self.value(if holds { then } else { otherwise });
            }
            ("Fn::Sub", [template, more]) => self.substitute(template, Some(more))?.into(),
            ("Fn::Sub", []) => self.substitute(argument, None)?.into(),
            ("Fn::Join", [between, list]) => {
                let between = self.text(between)?;
                let list = self.value(list)?.unwrap_or_default();
                let parts = list.as_array().context("Fn::Join of no list")?;
                let parts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
                parts.join(&between).into()
            }
            ("Fn::Split", [at, whole]) => {
                let (at, whole) = (self.text(at)?, self.text(whole)?);
                whole.split(&at).collect()
            }
            ("Fn::Select", [index, list]) => {
                let index: usize = self.text(index)?.parse().context("Fn::Select by no number")?;
                let list = self.value(list)?.unwrap_or_default();
                list.get(index).cloned().context("Fn::Select of what the list does not have")?
            }
            ("Fn::FindInMap", [map, first, second]) => {
                let (map, first, second) = (self.text(map)?, self.text(first)?, self.text(second)?);
                let found = self.section("Mappings").and_then(|all| all.get(map)?.get(first)?.get(second));
                found.cloned().context("Fn::FindInMap of what the map does not have")?
            }
            ("Fn::GetAtt", [resource, attribute]) => {
                format!("{}.{}", self.text(resource)?, self.text(attribute)?).into()
            }
            _ => bail!("{function} is not known here"),
        }))
    }

    fn text(&self, value: &Value) -> anyhow::Result<String> {
        match self.value(value)? {
            Some(Value::String(text)) => Ok(text),
            Some(Value::Number(number)) => Ok(number.to_string()),
            other => bail!("{other:?} stands where a text is needed"),
        }
    }

    /// What a name means: a parameter, a resource, or what AWS says of the stack, which is not known here and keeps its name.
    fn reference(&self, name: &str) -> Value {
        let declared = self.section("Parameters").and_then(|parameters| parameters.get(name));
        let Some(declared) = declared else {
            return self.physical.get(name).map_or(name, String::as_str).into();
        };
        let text = match (self.parameters.get(name), declared.get("Default")) {
            (Some(given), _) => given.clone(),
            (None, Some(Value::String(default))) => default.clone(),
            (None, Some(default)) => default.to_string(),
            (None, None) => String::new(),
        };
        if declared.get("Type").and_then(Value::as_str) == Some("CommaDelimitedList") {
            return text.split(',').map(str::trim).collect();
        }
        text.into()
    }

    /// A text with `${Name}` in it.
    fn substitute(&self, template: &Value, more: Option<&Value>) -> anyhow::Result<String> {
        let template = template.as_str().context("Fn::Sub of no text")?;
        let mut pieces = template.split("${");
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (name, rest) = piece.split_once('}').context("Fn::Sub has a name without an end")?;
            if let Some(literal) = name.strip_prefix('!') {
                text += &format!("${{{literal}}}");
            } else if let Some(value) = more.and_then(|more| more.get(name)) {
                text += &self.text(value)?;
            } else if let Value::String(value) = self.reference(name) {
                text += &value;
            } else {
                bail!("Fn::Sub of {name}, which is a list");
            }
            text += rest;
        }
        Ok(text)
    }

    /// Whether a condition of the template holds.
    fn condition(&self, name: &str, depth: usize) -> anyhow::Result<bool> {
        let condition = self.section("Conditions").and_then(|conditions| conditions.get(name));
        self.holds(condition.with_context(|| format!("there is no condition {name}"))?, depth)
    }

    fn holds(&self, condition: &Value, depth: usize) -> anyhow::Result<bool> {
        if depth > DEEPEST {
            bail!("conditions that name each other");
        }
        let depth = depth + 1;
        let (function, argument) = condition.as_object().and_then(only).context("this is no condition")?;
        let parts = argument.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(match (function, parts) {
            ("Condition", _) => {
                self.condition(argument.as_str().context("Condition names nothing")?, depth)?
            }
            ("Fn::Equals", [one, other]) => self.value(one)? == self.value(other)?,
            ("Fn::Not", [one]) => !self.holds(one, depth)?,
            ("Fn::And" | "Fn::Or", all) => {
                let all: Vec<bool> =
                    all.iter().map(|one| self.holds(one, depth)).collect::<Result<_, _>>()?;
                if function == "Fn::And" { !all.contains(&false) } else { all.contains(&true) }
            }
            _ => bail!("{function} in a condition is not known here"),
        })
    }
}

/// The name and the value of an object that has one field.
fn only(fields: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut fields = fields.iter();
    let (name, value) = fields.next()?;
    fields.next().is_none().then_some((name, value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resources(template: &Value, parameters: &[(&str, &str)]) -> Map<String, Value> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let parameters = parameters.iter().map(own).collect();
        let physical = BTreeMap::from([("Table".to_owned(), "stack-Table-1".to_owned())]);
        Stack::new(template, &parameters, &physical).resources().unwrap()
    }

    #[test]
    fn functions_come_to_what_they_mean() {
        let template = json!({
            "Parameters": {"Arn": {"Default": "a:cluster/b/c"}, "Servers": {"Type": "CommaDelimitedList", "Default": "x:1, y:2"}, "N": {"Default": 5}},
            "Mappings": {"M": {"5": {"x": 7}}},
            "Conditions": {
                "Has": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Arn"}, ""]}]},
                "Both": {"Fn::And": [{"Condition": "Has"}, {"Fn::Equals": [{"Ref": "N"}, "5"]}]},
                "Either": {"Fn::Or": [{"Fn::Equals": ["a", "b"]}, {"Condition": "Has"}]}
            },
            "Resources": {
                "A": {"Condition": "Both", "Properties": {
                    "group": {"Fn::Sub": "${Table}-${N}-${!N}"},
                    "cluster": {"Fn::Sub": ["topic/${C}/${N}", {"C": {"Fn::Select": [1, {"Fn::Split": [":cluster/", {"Ref": "Arn"}]}]}}]},
                    "servers": {"Ref": "Servers"},
                    "gone": {"Fn::If": ["Either", {"Ref": "AWS::NoValue"}, 1]},
                    "joined": {"Fn::Join": [",", ["a", {"Fn::If": ["Has", "b", "c"]}, {"Ref": "AWS::NoValue"}]]},
                    "arn": {"Fn::GetAtt": ["Table", "Arn"]},
                    "found": {"Fn::FindInMap": ["M", {"Ref": "N"}, "x"]}
                }},
                "B": {"Condition": "Nothing", "Properties": {}}
            }
        });
        let mut template = template;
        template["Conditions"]["Nothing"] = json!({"Fn::Equals": [{"Ref": "N"}, "6"]});
        let there = resources(&template, &[]);
        assert_eq!(
            there["A"]["Properties"],
            json!({"group": "stack-Table-1-5-${N}", "cluster": "topic/b/c/5", "servers": ["x:1", "y:2"],
                "joined": "a,b", "arn": "Table.Arn", "found": 7})
        );
        assert!(!there.contains_key("B"));
        let others = resources(&template, &[("N", "6")]);
        assert!(others.contains_key("B") && !others.contains_key("A"));
    }

    #[test]
    fn what_is_not_known_is_an_error_and_no_circle_hangs() {
        for (conditions, resource) in [
            (json!({}), json!({"Properties": {"a": {"Fn::ImportValue": "x"}}})),
            (json!({}), json!({"Condition": "Missing"})),
            (json!({"A": {"Condition": "B"}, "B": {"Condition": "A"}}), json!({"Condition": "A"})),
            (json!({}), json!({"Properties": {"a": {"Fn::Select": [1, ["x"]]}}})),
            (json!({}), json!({"Properties": {"a": {"Fn::Sub": "${x"}}})),
        ] {
            let template = json!({"Conditions": conditions, "Resources": {"R": resource}});
            let nothing = BTreeMap::new();
            assert!(Stack::new(&template, &nothing, &nothing).resources().is_err(), "{template}");
        }
    }
}
