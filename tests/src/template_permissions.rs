//! What the roles of the template allow, compared with what functions ask of AWS.

use std::collections::{BTreeMap, BTreeSet};

use probegram::template::Template;
use serde_json::Value;

use crate::recorded_calls::Call;

/// One action on one resource that a role allows. Resources have the names that the stack has, not whole ARNs where those are not known:
/// `TABLE`, `TABLE/index/due`, a secret's name or ARN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The action, such as `dynamodb:Query`.
    pub action: String,
    /// The resource; `*` stands for any text.
    pub resource: String,
}

/// What a role allows by its own policies. The one that it shares with others is for Lambda's pollers: tests/template.rs.
///
/// # Panics
/// If there is no such role, or a statement that neither names its actions and resources nor allows.
#[must_use]
pub fn grants(template: &Template, role: &str, physical: &BTreeMap<String, String>) -> BTreeSet<Grant> {
    let properties = find(template, "AWS::IAM::Role", role);
    let documents = list(&properties["Policies"]).into_iter().map(|policy| &policy["PolicyDocument"]);
    let mut grants = BTreeSet::new();
    for statement in documents.flat_map(|document| list(&document["Statement"])) {
        assert_eq!(statement["Effect"], "Allow", "{role}: {statement}");
        for other in ["NotAction", "NotResource"] {
            assert!(statement.get(other).is_none(), "{role}: {other} allows what nobody has named");
        }
        for action in list(&statement["Action"]) {
            for resource in list(&statement["Resource"]) {
                let (action, resource) =
                    (action.as_str().expect("an action"), resource.as_str().expect("a resource"));
                grants.insert(Grant { action: action.to_owned(), resource: named_as(resource, physical) });
            }
        }
    }
    grants
}

/// A resource by the name that a request gives it: `StateTable.Arn/index/due` is `TABLE/index/due`.
fn named_as(resource: &str, physical: &BTreeMap<String, String>) -> String {
    match resource.split_once(".Arn") {
        Some((name, rest)) => format!("{}{rest}", physical.get(name).map_or(name, String::as_str)),
        None => resource.to_owned(),
    }
}

impl Grant {
    /// Whether a request is allowed by this.
    #[must_use]
    pub fn allows(&self, call: &Call) -> bool {
        self.action == call.action && matches(&self.resource, &call.resource)
    }

    /// Whether there can be a request that needs it: an index can be queried and scanned, nothing else, so that the other actions of a
    /// statement that names one say nothing of it.
    /// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html>
    #[must_use]
    pub fn has_a_meaning(&self) -> bool {
        !self.resource.contains("/index/")
            || matches!(self.action.as_str(), "dynamodb:Query" | "dynamodb:Scan")
    }
}

/// Whether a text is one of those that a pattern with `*` stands for.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| matches(after, rest)))
}

/// What functions have asked that their roles do not allow, and what the roles allow of these services that nobody has asked, a line each.
#[must_use]
pub fn differences(grants: &BTreeSet<Grant>, calls: &BTreeSet<Call>) -> Vec<String> {
    /// What our own code calls. The rest is what Lambda does in the function's name.
    const OF_THE_SDK: [&str; 3] = ["dynamodb:", "lambda:", "secretsmanager:"];
    let missing = calls.iter().filter(|call| !grants.iter().any(|grant| grant.allows(call)));
    let missing =
        missing.map(|call| format!("{} on {} is needed and not allowed", call.action, call.resource));
    let of_the_sdk =
        grants.iter().filter(|grant| OF_THE_SDK.iter().any(|service| grant.action.starts_with(service)));
    let unused =
        of_the_sdk.filter(|grant| grant.has_a_meaning() && !calls.iter().any(|call| grant.allows(call)));
    let unused =
        unused.map(|grant| format!("{} on {} is allowed and not needed", grant.action, grant.resource));
    missing.chain(unused).collect()
}

/// The properties of a resource.
fn find<'a>(template: &'a Template, kind: &str, name: &str) -> &'a Value {
    let found = template.of_type(kind).find(|(found, _)| *found == name);
    found.unwrap_or_else(|| panic!("the template has no {kind} {name}")).1
}

/// One or many, as IAM has it.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(many) => many.iter().collect(),
        one => vec![one],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(action: &str, resource: &str) -> Grant {
        Grant { action: action.to_owned(), resource: resource.to_owned() }
    }

    fn call(action: &str, resource: &str) -> Call {
        Call { action: action.to_owned(), resource: resource.to_owned() }
    }

    #[test]
    fn what_is_not_allowed_and_what_is_not_needed_is_told() {
        let grants = BTreeSet::from([
            grant("dynamodb:GetItem", "t"),
            grant("dynamodb:Query", "t"),
            grant("dynamodb:Query", "t/index/*"),
            grant("dynamodb:GetItem", "t/index/*"), // means nothing
            grant("kafka:GetBootstrapBrokers", "cluster"), // not by our code
        ]);
        let asked = [
            call("dynamodb:GetItem", "t"),
            call("dynamodb:Query", "t/index/due"),
            call("dynamodb:GetItem", "u"),
        ];
        assert_eq!(
            differences(&grants, &BTreeSet::from(asked)),
            [
                "dynamodb:GetItem on u is needed and not allowed",
                "dynamodb:Query on t is allowed and not needed"
            ]
        );
    }

    #[test]
    fn a_pattern_stands_for_texts() {
        assert!(matches("a*c*", "abcd") && matches("*", "") && matches("a", "a"));
        assert!(!matches("a*c", "abcd") && !matches("a", "ab"));
    }
}
