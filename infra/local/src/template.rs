//! What stands in `template.yaml`: the table and the event source mappings. Compiled in, so that this machine and AWS cannot
//! differ; or as CloudFormation has it, for a stack.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value, json};

use crate::embedded;
use crate::filter::Filter;
use crate::intrinsic::Stack;
use crate::short_form;

const TEMPLATE: &str = include_str!("../../../template.yaml");

/// The template's resources, as a stack has them.
#[derive(Debug)]
pub struct Template {
    resources: Map<String, Value>,
}

/// How a function is fed from a topic. <https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html>
#[derive(Debug, Clone, PartialEq)]
pub struct EventSourceMapping {
    /// The function that it feeds.
    pub function: String,
    /// The one topic that it reads.
    pub topic: String,
    /// The consumer group that it reads with.
    pub consumer_group: String,
    /// The most records of a batch.
    pub batch_size: usize,
    /// How long a batch waits to become full, in seconds.
    pub window_s: u64,
    /// Which records reach the function; without filters all do.
    pub filters: Vec<Filter>,
}

impl Template {
    /// Reads the template that was compiled in, with its defaults: consumer groups have the name of the table that is embedded.
    ///
    /// # Errors
    /// When it is no template: a mistake of ours, that a test finds.
    pub fn read() -> anyhow::Result<Self> {
        let physical = BTreeMap::from([("StateTable".to_owned(), embedded::TABLE.to_owned())]);
        // a Kafka here is as little Amazon's as Confluent's is
        let parameters = BTreeMap::from([("KafkaProvider".to_owned(), "confluent".to_owned())]);
        Self::of_stack(TEMPLATE, &parameters, &physical).context("in template.yaml")
    }

    /// Reads a template, in YAML or JSON, as a stack has it: with the values of its parameters, and the names of its resources
    /// (physical ids by logical ids).
    ///
    /// # Errors
    /// When it is no template, or uses functions that none of ours does.
    pub fn of_stack(
        text: &str,
        parameters: &BTreeMap<String, String>,
        physical: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let document = short_form::read(text)?;
        Ok(Self { resources: Stack::new(&document, parameters, physical).resources()? })
    }

    /// The names and properties of the resources of a type.
    pub fn of_type(&self, kind: &str) -> impl Iterator<Item = (&str, &Value)> {
        let is_of_type = move |resource: &Value| resource.get("Type").and_then(Value::as_str) == Some(kind);
        let there = self.resources.iter().filter(move |(_, resource)| is_of_type(resource));
        there.filter_map(|(name, resource)| Some((name.as_str(), resource.get("Properties")?)))
    }

    /// The table as a `CreateTable` request, and the attribute that its TTL looks at.
    ///
    /// # Errors
    /// When the template has no such table.
    pub fn table(&self, name: &str) -> anyhow::Result<(Value, String)> {
        let properties = self.properties("StateTable")?;
        let mut request = Map::from_iter([("TableName".to_owned(), json!(name))]);
        for property in ["AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode"] {
            let value = properties.get(property).with_context(|| format!("the table has no {property}"))?;
            request.insert(property.to_owned(), value.clone());
        }
        let ttl = properties.pointer("/TimeToLiveSpecification/AttributeName").and_then(Value::as_str);
        Ok((Value::Object(request), ttl.context("the table has no TTL")?.to_owned()))
    }

    /// An event source mapping by the name of its resource.
    ///
    /// # Errors
    /// When the template has no such mapping, or the mapping could lose records.
    pub fn mapping(&self, resource: &str) -> anyhow::Result<EventSourceMapping> {
        let properties = self.properties(resource)?;
        for forbidden in [
            "DestinationConfig",
            "MaximumRetryAttempts",
            "MaximumRecordAgeInSeconds",
            "BisectBatchOnFunctionError",
            "FunctionResponseTypes",
        ] {
            ensure!(properties.get(forbidden).is_none(), "{resource} has {forbidden}: it could skip records");
        }
        let number = |name: &str| {
            properties.get(name).and_then(Value::as_u64).with_context(|| format!("{resource} has no {name}"))
        };
        let topic = properties.pointer("/Topics/0").and_then(Value::as_str).context("no topic")?.to_owned();
        let patterns = properties
            .pointer("/FilterCriteria/Filters")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let filters = patterns
            .iter()
            .map(|filter| {
                filter.get("Pattern").and_then(Value::as_str).context("a filter has no pattern")?.parse()
            })
            .collect::<anyhow::Result<_>>()?;
        let function = properties.get("FunctionName").and_then(Value::as_str);
        let groups = ["AmazonManagedKafkaEventSourceConfig", "SelfManagedKafkaEventSourceConfig"]
            .map(|source| properties.pointer(&format!("/{source}/ConsumerGroupId")).and_then(Value::as_str));
        let consumer_group = match groups {
            [Some(group), None] | [None, Some(group)] => group.to_owned(),
            _ => bail!("{resource} has no ConsumerGroupId, or more than one"),
        };
        Ok(EventSourceMapping {
            function: function.with_context(|| format!("{resource} feeds no function"))?.to_owned(),
            topic,
            consumer_group,
            batch_size: usize::try_from(number("BatchSize")?)?,
            window_s: number("MaximumBatchingWindowInSeconds")?,
            filters,
        })
    }

    /// A variable of a function's environment.
    ///
    /// # Errors
    /// When the template has no such function, or the function no such variable.
    pub fn variable(&self, function: &str, name: &str) -> anyhow::Result<String> {
        let value = self.properties(function)?.pointer(&format!("/Environment/Variables/{name}"));
        let value = value.and_then(Value::as_str).with_context(|| format!("{function} has no {name}"))?;
        Ok(value.to_owned())
    }

    fn properties(&self, resource: &str) -> anyhow::Result<&Value> {
        self.resources
            .get(resource)
            .and_then(|resource| resource.get("Properties"))
            .with_context(|| format!("template.yaml has no {resource}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_of_aggregate_is_read_from_the_template() {
        let mapping = Template::read().unwrap().mapping("AggregateBlueMapping").unwrap();
        assert_eq!(
            (mapping.topic.as_str(), mapping.consumer_group.as_str()),
            ("pcap", "probegram-aggregate")
        );
        assert_eq!((mapping.batch_size, mapping.window_s), (10_000, 20));
        assert!(mapping.filters[0].passes(br#"{"wlan_fc_type_subtype":["0x0004"]}"#));
        assert!(!mapping.filters[0].passes(br#"{"wlan_fc_type_subtype":["29"]}"#));
    }

    #[test]
    fn alert_is_fed_with_what_names_a_network() {
        let template = Template::read().unwrap();
        let alert = template.mapping("AlertMapping").unwrap();
        assert_eq!((alert.topic.as_str(), alert.window_s), ("pcap", 1));
        let named = br#"{"wlan_fc_type_subtype":["4"],"wlan_ssid":["RNM0"]}"#;
        assert!(alert.filters[0].passes(named) && alert.filters[0].passes(b"no JSON"));
        for other in [
            &br#"{"wlan_fc_type_subtype":["4"],"wlan_ssid":[""]}"#[..],
            br#"{"wlan_fc_type_subtype":["0x0004"],"wlan_ssid":["<MISSING>"]}"#,
            br#"{"wlan_fc_type_subtype":["4"]}"#,
            br#"{"wlan_fc_type_subtype":["8"],"wlan_ssid":["RNM0"]}"#,
        ] {
            assert!(!alert.filters[0].passes(other), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn no_mapping_may_skip_records() {
        let template = Template::read().unwrap();
        let names: Vec<&str> =
            template.of_type("AWS::Lambda::EventSourceMapping").map(|(name, _)| name).collect();
        assert_eq!(names.len(), 6);
        for name in names {
            template.mapping(name).unwrap();
        }
        let lossy =
            r#"{"Resources": {"X": {"Properties": {"Topics": ["pcap"], "MaximumRetryAttempts": 3}}}}"#;
        let lossy = Template::of_stack(lossy, &BTreeMap::new(), &BTreeMap::new()).unwrap();
        let why = lossy.mapping("X").unwrap_err().to_string();
        assert!(why.contains("MaximumRetryAttempts"), "{why}");
    }

    #[test]
    fn the_consumer_group_of_mapping_and_function_is_the_same() {
        let template = Template::read().unwrap();
        for (function, mapping) in
            [("AggregateBlueFunction", "AggregateBlueMapping"), ("AlertFunction", "AlertMapping")]
        {
            let group = template.mapping(mapping).unwrap().consumer_group;
            assert_eq!(template.variable(function, "CONSUMER_GROUP").unwrap(), group);
        }
        let counted = template.mapping("AggregateBlueMapping").unwrap().consumer_group;
        assert_eq!(template.variable("AlertFunction", "AGGREGATE_GROUP").unwrap(), counted);
        let topics = materialize::Topics::default();
        let prefix = template.variable("MaterializeFunction", "CONSUMER_GROUP_PREFIX").unwrap();
        for (mapping, topic) in [
            ("WatchListMapping", topics.watch_list),
            ("ClientsMapping", topics.clients),
            ("DevicesMapping", topics.devices),
            ("SensorsMapping", topics.sensors),
        ] {
            let mapping = template.mapping(mapping).unwrap();
            let group = format!("{prefix}-{topic}");
            assert_eq!((mapping.topic, mapping.consumer_group), (topic, group));
            assert_eq!(mapping.filters, [], "deletions have no value that a pattern could match");
        }
    }
}
