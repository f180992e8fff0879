//! Kafka as the agent uses it: the producer's settings, and what its errors mean.

use std::path::{Path, PathBuf};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, ProducerContext};

/// Where the records go.
#[derive(Clone)]
pub struct Kafka {
    /// The topic of the probe requests.
    pub topic: String,
    /// The topic of the heartbeats.
    pub sensors_topic: String,
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    config: ClientConfig,
}

/// How Kafka is reached.
#[derive(Clone)]
pub struct Connection {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// The topic of the probe requests.
    pub topic: String,
    /// The topic of the heartbeats.
    pub sensors_topic: String,
    /// librdkafka's properties, of which a later one holds: the file's, then those of the command line.
    pub properties: Vec<(String, String)>,
}

/// What is wrong with the settings of Kafka. No value is ever shown: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum KafkaSettingsError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no property.
    #[error("{path}, line {line}: expected property=value, as librdkafka's CONFIGURATION.md lists them")]
    NotAProperty {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// A property of the Java client.
    #[error("{path}, line {line}: {property} is of the Java client; for librdkafka give {instead}")]
    OfJava {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// The property's name.
        property: String,
        /// What to give in its place.
        instead: &'static str,
    },
    /// librdkafka does not take a property.
    #[error("Kafka's setting {property} is not accepted: {why}")]
    Refused {
        /// The property's name.
        property: String,
        /// What librdkafka says.
        why: String,
    },
    /// librdkafka does not take the whole.
    #[error("these settings of Kafka do not work: {0}")]
    DoNotWork(String),
}

impl Kafka {
    /// These settings, tried out.
    ///
    /// # Errors
    /// [`KafkaSettingsError`].
    pub fn new(connection: Connection) -> Result<Self, KafkaSettingsError> {
        let Connection { bootstrap_servers, topic, sensors_topic, properties } = connection;
        let mut config = ClientConfig::new();
        // what a file may change
        for (property, value) in [
            ("client.id", "capture-agent"),
            // records are much alike: the lowest level leaves as few bytes as the default, for less time
            ("compression.codec", "zstd"),
            ("compression.level", "1"),
            // the spool commits every 100 ms: larger batches cost nobody time, and the broker half the work
            ("linger.ms", "20"),
            ("batch.size", "1000000"),
            ("batch.num.messages", "10000"),
            // the rest waits in the spool: a sensor has little memory
            ("queue.buffering.max.messages", "50000"),
            ("queue.buffering.max.kbytes", "32768"),
            // as Java's producers do, so that a MAC is in the same partition whoever sends it
            ("partitioner", "murmur2_random"),
            // an acknowledgement is waited for, however long Kafka is away
            ("message.timeout.ms", "0"),
        ] {
            config.set(property, value);
        }
        for (property, value) in properties {
            config.set(property, value);
        }
        // what the promise rests on
        config.set("bootstrap.servers", &bootstrap_servers);
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set_log_level(RDKafkaLogLevel::Info);
        let kafka = Self { topic, sensors_topic, bootstrap_servers, config };
        config_works(&kafka)?;
        Ok(kafka)
    }

    /// A producer. `one_by_one`: every record is a batch of its own, so that one which Kafka refuses harms no other.
    ///
    /// # Errors
    /// [`KafkaSettingsError`].
    pub fn producer<C: ProducerContext>(
        &self,
        one_by_one: bool,
        context: C,
    ) -> Result<BaseProducer<C>, KafkaSettingsError> {
        let mut config = self.config.clone();
        if one_by_one {
            config.set("batch.num.messages", "1");
        }
        Ok(config.create_with_context(context)?)
    }
}

/// Of an error that a client could not be made for.
impl From<KafkaError> for KafkaSettingsError {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, why, property, value) if value.is_empty() => {
                Self::Refused { property, why }
            }
            KafkaError::ClientConfig(_, why, property, value) => {
                Self::Refused { property, why: why.replace(&value, "…") }
            }
            other => Self::DoNotWork(other.to_string()),
        }
    }
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "topic {} at {}", self.topic, self.bootstrap_servers)
    }
}

/// The idempotent producer has demands on other settings, which librdkafka checks when a client is made.
fn config_works(kafka: &Kafka) -> Result<(), KafkaSettingsError> {
    kafka.producer(false, Silent).map(drop::<BaseProducer<Silent>>)
}

struct Silent;

impl rdkafka::ClientContext for Silent {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}
}

impl ProducerContext for Silent {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
}

/// librdkafka's settings in a file, `property=value` a line: names and values.
///
/// # Errors
/// [`KafkaSettingsError`].
pub fn read_properties(path: &Path) -> Result<Vec<(String, String)>, KafkaSettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| KafkaSettingsError::File { path: path.to_owned(), source })?;
    let properties = parse_properties(path, &text)?;
    Ok(properties.into_iter().map(|(property, value)| (property.to_owned(), value.to_owned())).collect())
}

fn parse_properties<'a>(path: &Path, text: &'a str) -> Result<Vec<(&'a str, &'a str)>, KafkaSettingsError> {
    let mut properties = Vec::new();
    for (line, content) in text.lines().enumerate() {
        let (line, content) = (line + 1, content.trim());
        if content.is_empty() || content.starts_with(['#', '!']) {
            continue;
        }
        let Some((property, value)) = content.split_once('=') else {
            return Err(KafkaSettingsError::NotAProperty { path: path.to_owned(), line });
        };
        let (property, value) = (property.trim(), value.trim());
        let instead = match property {
            "sasl.jaas.config" => "sasl.username and sasl.password",
            "ssl.truststore.location" => "ssl.ca.location, a PEM file",
            "ssl.keystore.type" | "ssl.truststore.type" => "PEM files, which need no type",
            _ => {
                properties.push((property, value));
                continue;
            }
        };
        return Err(KafkaSettingsError::OfJava {
            path: path.to_owned(),
            line,
            property: property.to_owned(),
            instead,
        });
    }
    Ok(properties)
}

/// What an error of a record's delivery asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Something about a record in the batch: the records are sent one by one, and one that is refused alone is passed over.
    Split,
    /// Nothing about the record: it is sent again.
    SendAgain,
}

/// All codes of librdkafka that are about the record itself stand here. Every other is about the way.
#[must_use]
pub fn remedy(code: RDKafkaErrorCode) -> Remedy {
    match code {
        // larger than the topic's max.message.bytes, which a batch can be while none of its records is
        RDKafkaErrorCode::MessageSizeTooLarge
        // a record without a key to a compacted topic
        | RDKafkaErrorCode::InvalidRecord => Remedy::Split,
        _ => Remedy::SendAgain,
    }
}

impl Kafka {
    /// What an error means, and what to do. The reason is librdkafka's.
    #[must_use]
    pub fn explain(&self, code: RDKafkaErrorCode, reason: &str) -> String {
        let Self { topic, bootstrap_servers, .. } = self;
        match code {
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => format!(
                "Kafka at {bootstrap_servers} refuses the login: check sasl.mechanism, sasl.username and sasl.password in --kafka-config, and that this port asks for them ({reason})"
            ),
            RDKafkaErrorCode::SSL => format!(
                "no TLS with Kafka at {bootstrap_servers}: check ssl.ca.location in --kafka-config, and that this port speaks TLS ({reason})"
            ),
            RDKafkaErrorCode::BrokerTransportFailure if reason.contains("security.protocol") => format!(
                "Kafka at {bootstrap_servers} hangs up: check that security.protocol in --kafka-config is the one of this port ({reason})"
            ),
            RDKafkaErrorCode::Resolve => format!(
                "no address for {bootstrap_servers}: check --bootstrap-servers and the network ({reason})"
            ),
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut => format!(
                "Kafka at {bootstrap_servers} cannot be reached; the records wait in the spool ({reason})"
            ),
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopicId
            | RDKafkaErrorCode::UnknownPartition => format!(
                "Kafka has no topic {topic}: create it, or name another with --topic; the records wait in the spool"
            ),
            RDKafkaErrorCode::TopicAuthorizationFailed => format!(
                "this user may not write to topic {topic}: allow it WRITE and DESCRIBE; the records wait in the spool"
            ),
            RDKafkaErrorCode::ClusterAuthorizationFailed => format!(
                "Kafka at {bootstrap_servers} forbids idempotent writing: allow this user IDEMPOTENT_WRITE on the cluster; the records wait in the spool"
            ),
            RDKafkaErrorCode::InvalidTimestamp => format!(
                "topic {topic} refuses the time of the records: check the clock of this machine; the records wait in the spool"
            ),
            other => {
                format!("Kafka at {bootstrap_servers}: {other} ({reason}); the records wait in the spool")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str) -> Result<Kafka, KafkaSettingsError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Kafka::new(Connection {
            bootstrap_servers: "127.0.0.1:1".to_owned(),
            topic: "pcap".to_owned(),
            sensors_topic: "sensors".to_owned(),
            properties: read_properties(file.path())?,
        })
    }

    #[test]
    fn librdkafka_s_properties_are_taken_and_the_promise_is_kept() {
        let kafka = with_file("# a comment\n\nlinger.ms = 50\nacks=0\nsasl.password=pa=ss#word\n").unwrap();
        assert_eq!(kafka.config.get("linger.ms"), Some("50"));
        assert_eq!(kafka.config.get("sasl.password"), Some("pa=ss#word"));
        assert_eq!(kafka.config.get("acks"), Some("all"));
    }

    #[test]
    fn what_is_wrong_is_said_without_a_secret() {
        for (text, named) in [
            ("hunter2", "line 1"),
            ("\nsasl.jaas.config=hunter2", "line 2: sasl.jaas.config"),
            ("sasl.passwort=hunter2", "sasl.passwort"),
            ("security.protocol=hunter2", "security.protocol"),
            ("ssl.ca.location=/nowhere\nsecurity.protocol=ssl", "do not work"),
        ] {
            let error = with_file(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let shown = format!("{:?}", with_file("sasl.password=hunter2").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn only_what_is_about_the_record_is_not_sent_again() {
        assert_eq!(remedy(RDKafkaErrorCode::MessageSizeTooLarge), Remedy::Split);
        for code in [
            RDKafkaErrorCode::MessageTimedOut,
            RDKafkaErrorCode::PurgeInflight,
            RDKafkaErrorCode::UnknownTopicOrPartition,
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::NotEnoughReplicas,
            RDKafkaErrorCode::InvalidTimestamp,
        ] {
            assert_eq!(remedy(code), Remedy::SendAgain, "{code:?}");
        }
    }
}
