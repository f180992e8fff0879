//! Bytes that mean something only with a schema that a registry has: Avro, Protobuf and JSON Schema as the serializers of Confluent
//! and AWS write them. They are not decoded; what they are is said, with the settings by which their writer needs no registry.

use std::fmt;

/// Which parts of a record need a schema registry to be read. Says with which settings its writer needs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfSchemaRegistry {
    /// Whose form the key has.
    pub key: Option<Registry>,
    /// Whose form the value has.
    pub value: Option<Registry>,
    /// What its writer should set.
    pub settings: Settings,
}

/// A schema registry, by the form of what refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// A zero and the schema's number in 4 bytes.
    /// <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>
    Confluent,
    /// A 3, the compression (0 for none, 5 for zlib) and the UUID of the schema's version in 16 bytes.
    /// <https://github.com/awslabs/aws-glue-schema-registry>
    Glue,
}

/// What the writer of a record sets, to need no registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// For the key.
    pub key: &'static str,
    /// For the value.
    pub value: &'static str,
}

impl Settings {
    /// Of whoever writes the list of networks: a connector or ksqlDB.
    pub const LIST: Self = Self {
        key: "let the connector write text (key.converter=org.apache.kafka.connect.storage.StringConverter), \
              in ksqlDB KEY_FORMAT='KAFKA'",
        value: "let the connector write JSON (value.converter=org.apache.kafka.connect.json.JsonConverter, \
                value.converter.schemas.enable=false), in ksqlDB VALUE_FORMAT='JSON'",
    };
    /// Of a connector that captures the changes of MongoDB's documents, be it one's own or one of Confluent Cloud.
    pub const DOCUMENTS: Self = Self {
        key: "let the connector write JSON (key.converter=org.apache.kafka.connect.json.JsonConverter, \
              key.converter.schemas.enable=false), in Confluent Cloud output.key.format=JSON",
        value: "let the connector write JSON (value.converter=org.apache.kafka.connect.json.JsonConverter, \
                value.converter.schemas.enable=false), in Confluent Cloud output.data.format=JSON",
    };
}

impl fmt::Display for OfSchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = |registry| match registry {
            Registry::Confluent => "a schema registry",
            Registry::Glue => "a Glue schema registry",
        };
        let what = "Avro (or Protobuf, or JSON Schema)";
        if let Some(of) = self.value {
            write!(f, "value is {what} of {}: {}", registry(of), self.settings.value)?;
        }
        if let Some(of) = self.key {
            let separator = if self.value.is_some() { "; " } else { "" };
            write!(f, "{separator}key is {what} of {}: {}", registry(of), self.settings.key)?;
        }
        Ok(())
    }
}

/// The registry to which bytes refer that would be text otherwise. No text begins with these bytes.
pub(crate) fn registry_of_text(bytes: &[u8]) -> Option<Registry> {
    match bytes {
        [0, _, _, _, _, ..] => Some(Registry::Confluent),
        [3, 0 | 5, ..] if bytes.len() >= 18 => Some(Registry::Glue),
        _ => None,
    }
}
