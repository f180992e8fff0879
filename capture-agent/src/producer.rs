//! Kafka as the agent uses it: the producer's settings, and what its errors ask for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

use crate::kafka_trouble::{self, Cause, Place, Trouble};
use crate::msk_iam::{self, MskIamError, Tokens};

/// How long it is looked whether a certificate of another host name is the only thing that is wrong.
const LOOK_AT_THE_CERTIFICATE: Duration = Duration::from_secs(3);

/// How long the answer is believed.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// The property that stands for `--msk-iam`: logins at Amazon MSK by IAM, as the Java client's settings ask for them.
pub const BY_MSK_IAM: (&str, &str) = ("sasl.mechanism", msk_iam::MECHANISM);

/// Where the records go.
#[derive(Clone)]
pub struct Kafka {
    /// The topic of the probe requests.
    pub topic: String,
    /// The topic of the heartbeats.
    pub sensors_topic: String,
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// Who makes tokens, where the login is by IAM.
    pub tokens: Tokens,
    config: ClientConfig,
    /// When it was last looked whether the broker's certificate is of another host name, and whether it is.
    is_of_another_name: Arc<Mutex<Option<(Instant, bool)>>>,
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
    /// librdkafka's properties, of which a later one holds: the file's ([`read_properties`]), then those of the command line
    /// ([`parse_property`]), then [`BY_MSK_IAM`] where `--msk-iam` is given.
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
    /// It is no property.
    #[error("{place}: expected property=value, as librdkafka's CONFIGURATION.md lists them")]
    NotAProperty {
        /// Which line of which file, or which flag.
        place: String,
    },
    /// A property of the Java client.
    #[error("{place}: {property} is of the Java client; for librdkafka give {instead}")]
    OfJava {
        /// Which line of which file, or which flag.
        place: String,
        /// The property's name.
        property: String,
        /// What to give in its place.
        instead: &'static str,
    },
    /// A property that would break what the agent promises.
    #[error("Kafka's setting {property} must not be another than {must_be}: {because}; leave it out")]
    BreaksThePromise {
        /// The property's name.
        property: String,
        /// What it is set to.
        must_be: &'static str,
        /// Why.
        because: &'static str,
    },
    /// OAUTHBEARER without anybody who makes tokens.
    #[error(
        "sasl.mechanism=OAUTHBEARER needs somebody who makes the tokens: for Amazon MSK set sasl.mechanism=AWS_MSK_IAM (or --msk-iam); for tests enable.sasl.oauthbearer.unsecure.jwt=true"
    )]
    NoTokens,
    /// Both topics are the same.
    #[error(
        "topic {0} cannot be that of the records and that of the heartbeats too: name another with --sensors-topic"
    )]
    OneTopic(String),
    /// A login by IAM cannot be prepared.
    #[error(transparent)]
    MskIam(#[from] MskIamError),
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
    /// These settings, tried out. What the promise rests on (acks=all, idempotent writing, no transactions) cannot be set to anything else:
    /// who sets it wants something that this agent does not do, and is told so instead of being overruled in silence. The brokers are those of
    /// the connection, whatever `bootstrap.servers` of a file says that other programs read too.
    ///
    /// # Errors
    /// [`KafkaSettingsError`].
    pub fn new(connection: Connection) -> Result<Self, KafkaSettingsError> {
        let Connection { bootstrap_servers, topic, sensors_topic, properties } = connection;
        if topic == sensors_topic {
            return Err(KafkaSettingsError::OneTopic(topic));
        }
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
            // asked more and more seldom, up to every 30 s: a broker that is away for days is not hammered by every sensor
            ("reconnect.backoff.ms", "1000"),
            ("reconnect.backoff.max.ms", "30000"),
            // a broker that makes topics would make one with settings of its own, for a name that may be mistyped
            ("allow.auto.create.topics", "false"),
        ] {
            config.set(property, value);
        }
        for (property, value) in properties {
            keeps_the_promise(&property, &value)?;
            config.set(property, value);
        }
        config.set("bootstrap.servers", &bootstrap_servers);
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set_log_level(RDKafkaLogLevel::Info);
        let tokens = Tokens::of(&mut config)?;
        let makes_its_own =
            config.get("enable.sasl.oauthbearer.unsecure.jwt").is_some_and(|value| value == "true")
                || config.get("sasl.oauthbearer.method").is_some();
        if config.get("sasl.mechanisms") == Some("OAUTHBEARER") && !tokens.are_ours() && !makes_its_own {
            return Err(KafkaSettingsError::NoTokens);
        }
        let is_of_another_name = Arc::default();
        let kafka = Self { topic, sensors_topic, bootstrap_servers, tokens, config, is_of_another_name };
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

    /// What an error of librdkafka means, and what to do. `topic`: the one that was written to.
    #[must_use]
    pub fn explain(&self, topic: &str, code: RDKafkaErrorCode, reason: &str) -> Trouble {
        let trouble = kafka_trouble::explain(self.place(topic), code, reason);
        if trouble.cause == Cause::Untrusted && self.is_of_another_name() {
            return kafka_trouble::in_words(self.place(topic), Cause::OtherName, reason);
        }
        trouble
    }

    /// What it means that a question about a topic was not answered.
    #[must_use]
    pub fn explain_answer(&self, topic: &str, code: RDKafkaErrorCode) -> Trouble {
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                kafka_trouble::in_words(self.place(topic), Cause::HiddenTopic, "")
            }
            other => kafka_trouble::explain(self.place(topic), other, ""),
        }
    }

    /// That nothing was acknowledged for so long.
    #[must_use]
    pub fn is_silent(&self, silence: Duration) -> Trouble {
        kafka_trouble::in_words(self.place(&self.topic), Cause::Silence, &format!("{} s", silence.as_secs()))
    }

    fn place<'a>(&'a self, topic: &'a str) -> Place<'a> {
        Place {
            bootstrap_servers: &self.bootstrap_servers,
            topic,
            flag: if topic == self.sensors_topic { "--sensors-topic" } else { "--topic" },
            mechanism: self.config.get("sasl.mechanisms").unwrap_or_default(),
        }
    }

    /// Whether the broker's certificate would be trusted if it were of this host. librdkafka says of both that the certificate cannot be
    /// verified, and they are mended at different ends. A client without any login asks: whoever stands there gets no secret.
    fn is_of_another_name(&self) -> bool {
        let mut known = self.is_of_another_name.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some((at, is)) if at.elapsed() < LOOK_AGAIN_AFTER => is,
            _ => known.insert((Instant::now(), self.look_at_the_certificate())).1,
        }
    }

    fn look_at_the_certificate(&self) -> bool {
        let mut config = ClientConfig::new();
        for property in ["ssl.ca.location", "ssl.ca.pem", "ssl.ca.certificate.stores"] {
            if let Some(value) = self.config.get(property) {
                config.set(property, value);
            }
        }
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config.set("security.protocol", "ssl");
        config.set("ssl.endpoint.identification.algorithm", "none");
        let seen = Arc::default();
        let looking = Looking(Arc::clone(&seen));
        let Ok(client) = config.create_with_context::<_, BaseProducer<Looking>>(looking) else {
            return false;
        };
        let deadline = Instant::now() + LOOK_AT_THE_CERTIFICATE;
        while Instant::now() < deadline {
            // an answer: TLS stands
            if client.client().fetch_metadata(None, Duration::from_millis(100)).is_ok() {
                return true;
            }
            client.poll(Duration::from_millis(20));
            let seen = *seen.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(cause) = seen {
                // any other error than that comes after the certificate was taken
                return cause != Cause::Untrusted;
            }
        }
        false
    }
}

/// Of a client that looks at a certificate: what came first.
struct Looking(Arc<Mutex<Option<Cause>>>);

impl ClientContext for Looking {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let place = Place { bootstrap_servers: "", topic: "", flag: "", mechanism: "" };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get_or_insert(kafka_trouble::explain(place, code, reason).cause);
    }
}

impl ProducerContext for Looking {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
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

impl ClientContext for Silent {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ProducerContext for Silent {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
}

/// librdkafka's settings in a file, `property=value` a line: names and values. Of a property that has two names the one is given that
/// librdkafka calls the other an alias of, so that one that is set again replaces the first.
///
/// # Errors
/// [`KafkaSettingsError`].
pub fn read_properties(path: &Path) -> Result<Vec<(String, String)>, KafkaSettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| KafkaSettingsError::File { path: path.to_owned(), source })?;
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_line, content)| !content.is_empty() && !content.starts_with(['#', '!']))
        .map(|(line, content)| property_at(&format!("{}, line {}", path.display(), line + 1), content))
        .collect()
}

/// One of librdkafka's settings, `property=value`, as `-X` has it.
///
/// # Errors
/// [`KafkaSettingsError`].
pub fn parse_property(text: &str) -> Result<(String, String), KafkaSettingsError> {
    property_at("-X", text)
}

fn property_at(place: &str, text: &str) -> Result<(String, String), KafkaSettingsError> {
    let Some((property, value)) = text.split_once('=') else {
        return Err(KafkaSettingsError::NotAProperty { place: place.to_owned() });
    };
    let (property, value) = (property.trim(), value.trim());
    let instead = match property {
        "sasl.jaas.config" => "sasl.username and sasl.password",
        "ssl.truststore.location" => "ssl.ca.location, a PEM file",
        "ssl.keystore.type" | "ssl.truststore.type" => "PEM files, which need no type",
        "sasl.client.callback.handler.class" | "sasl.login.callback.handler.class" => {
            "sasl.mechanism=AWS_MSK_IAM alone, if it is for Amazon MSK"
        }
        _ => return Ok((one_name(property).to_owned(), value.to_owned())),
    };
    Err(KafkaSettingsError::OfJava { place: place.to_owned(), property: property.to_owned(), instead })
}

/// Of the names of a producer's property the one that is used here. Settings go to librdkafka in no order, so with two
/// names of one it would be left to chance which holds. The aliases of librdkafka's CONFIGURATION.md.
fn one_name(property: &str) -> &str {
    match property {
        "metadata.broker.list" => "bootstrap.servers",
        "max.in.flight" => "max.in.flight.requests.per.connection",
        "sasl.mechanism" => "sasl.mechanisms",
        "queue.buffering.max.ms" => "linger.ms",
        "message.send.max.retries" => "retries",
        "compression.type" => "compression.codec",
        "request.required.acks" => "acks",
        "delivery.timeout.ms" => "message.timeout.ms",
        other => other,
    }
}

fn keeps_the_promise(property: &str, value: &str) -> Result<(), KafkaSettingsError> {
    let (must_be, keeps, because) = match property {
        "acks" => ("all", ["all", "-1"].contains(&value), "a record that one broker alone has can be lost"),
        "enable.idempotence" => {
            ("true", ["true", "1", "t"].contains(&value), "a record could come twice and out of order")
        }
        "transactional.id" => ("empty", value.is_empty(), "the agent writes without transactions"),
        _ => return Ok(()),
    };
    if keeps {
        return Ok(());
    }
    Err(KafkaSettingsError::BreaksThePromise { property: property.to_owned(), must_be, because })
}

/// What an error of a record's delivery asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Final for the record, or one of its batch: they are sent one by one, and one that is refused alone is passed over.
    Split,
    /// Final until a person mends a setting: it is tried with a single record, more and more seldom.
    Mend,
    /// Passing: it is sent again.
    SendAgain,
}

/// About the record itself.
const OF_THE_RECORD: &[RDKafkaErrorCode] = &[
    // larger than the topic's max.message.bytes, which a batch can be while none of its records is
    RDKafkaErrorCode::MessageSizeTooLarge,
    RDKafkaErrorCode::MessageBatchTooLarge,
    // a record without a key to a compacted topic
    RDKafkaErrorCode::InvalidRecord,
    // none of these can be mended by sending the same bytes again
    RDKafkaErrorCode::InvalidMessageSize,
    RDKafkaErrorCode::BadMessage,
];

/// Until somebody mends a setting: of the agent, the topic or the cluster.
const UNTIL_MENDED: &[RDKafkaErrorCode] = &[
    RDKafkaErrorCode::Authentication,
    RDKafkaErrorCode::SSL,
    RDKafkaErrorCode::UnknownTopic,
    RDKafkaErrorCode::UnknownTopicOrPartition,
    RDKafkaErrorCode::UnknownTopicId,
    RDKafkaErrorCode::UnknownPartition,
    RDKafkaErrorCode::InvalidTopic,
    RDKafkaErrorCode::TopicAuthorizationFailed,
    RDKafkaErrorCode::ClusterAuthorizationFailed,
    RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
    RDKafkaErrorCode::SaslAuthenticationFailed,
    RDKafkaErrorCode::UnsupportedSASLMechanism,
    RDKafkaErrorCode::IllegalSASLState,
    RDKafkaErrorCode::SecurityDisabled,
    // the clock of this machine
    RDKafkaErrorCode::InvalidTimestamp,
    RDKafkaErrorCode::InvalidRequiredAcks,
    RDKafkaErrorCode::InvalidConfig,
    RDKafkaErrorCode::InvalidRequest,
    RDKafkaErrorCode::PolicyViolation,
    RDKafkaErrorCode::UnsupportedVersion,
    RDKafkaErrorCode::UnsupportedForMessageFormat,
    RDKafkaErrorCode::UnsupportedCompressionType,
    RDKafkaErrorCode::UnsupportedFeature,
    RDKafkaErrorCode::BadCompression,
];

/// What passes by itself. The codes that are in no list are those of consumers, groups and administration, which no delivery of a record
/// has; should a later release send one, it is taken as passing too: what is sent again is not lost.
const PASSING: &[RDKafkaErrorCode] = &[
    // the way
    RDKafkaErrorCode::BrokerTransportFailure,
    RDKafkaErrorCode::AllBrokersDown,
    RDKafkaErrorCode::BrokerDestroy,
    RDKafkaErrorCode::DestroyBroker,
    RDKafkaErrorCode::UnknownBroker,
    RDKafkaErrorCode::Resolve,
    RDKafkaErrorCode::NetworkException,
    RDKafkaErrorCode::OperationTimedOut,
    RDKafkaErrorCode::TimedOutQueue,
    RDKafkaErrorCode::RequestTimedOut,
    RDKafkaErrorCode::MessageTimedOut,
    RDKafkaErrorCode::ThrottlingQuotaExceeded,
    RDKafkaErrorCode::RebootstrapRequired,
    // the brokers
    RDKafkaErrorCode::LeaderNotAvailable,
    RDKafkaErrorCode::NotLeaderForPartition,
    RDKafkaErrorCode::FencedLeaderEpoch,
    RDKafkaErrorCode::UnknownLeaderEpoch,
    RDKafkaErrorCode::StaleBrokerEpoch,
    RDKafkaErrorCode::BrokerNotAvailable,
    RDKafkaErrorCode::ReplicaNotAvailable,
    RDKafkaErrorCode::PreferredLeaderNotAvailable,
    RDKafkaErrorCode::NotEnoughReplicas,
    RDKafkaErrorCode::NotEnoughReplicasAfterAppend,
    RDKafkaErrorCode::ISRInsufficient,
    RDKafkaErrorCode::KafkaStorageError,
    RDKafkaErrorCode::LogDirNotFound,
    RDKafkaErrorCode::CoordinatorLoadInProgress,
    RDKafkaErrorCode::CoordinatorNotAvailable,
    RDKafkaErrorCode::NotCoordinator,
    RDKafkaErrorCode::ConcurrentTransactions,
    // bytes that were damaged on the way: the checksum is wrong
    RDKafkaErrorCode::InvalidMessage,
    // the session of the idempotent producer, which begins again
    RDKafkaErrorCode::Fatal,
    RDKafkaErrorCode::GaplessGuarantee,
    RDKafkaErrorCode::Inconsistent,
    RDKafkaErrorCode::OutOfOrderSequenceNumber,
    RDKafkaErrorCode::DuplicateSequenceNumber,
    RDKafkaErrorCode::UnknownProducerId,
    RDKafkaErrorCode::InvalidProducerIdMapping,
    RDKafkaErrorCode::InvalidProducerEpoch,
    RDKafkaErrorCode::ProducerFenced,
    RDKafkaErrorCode::Fenced,
    // ourselves
    RDKafkaErrorCode::PurgeQueue,
    RDKafkaErrorCode::PurgeInflight,
    RDKafkaErrorCode::QueueFull,
    RDKafkaErrorCode::Retry,
    RDKafkaErrorCode::State,
    RDKafkaErrorCode::Fail,
    RDKafkaErrorCode::CriticalSystemResource,
    RDKafkaErrorCode::Unknown,
];

/// What to do about an error of a record's delivery.
#[must_use]
pub fn remedy(code: RDKafkaErrorCode) -> Remedy {
    if OF_THE_RECORD.contains(&code) {
        Remedy::Split
    } else if UNTIL_MENDED.contains(&code) {
        Remedy::Mend
    } else {
        if !PASSING.contains(&code) {
            tracing::debug!("no delivery should fail by {code}");
        }
        Remedy::SendAgain
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
        let kafka =
            with_file("# a comment\n\nqueue.buffering.max.ms = 50\nacks=-1\nsasl.password=pa=ss#word\n")
                .unwrap();
        assert_eq!(kafka.config.get("linger.ms"), Some("50"));
        assert_eq!(kafka.config.get("queue.buffering.max.ms"), None);
        assert_eq!(kafka.config.get("sasl.password"), Some("pa=ss#word"));
        assert_eq!(kafka.config.get("acks"), Some("all"));
    }

    #[test]
    fn what_would_break_the_promise_is_refused_and_not_overruled_in_silence() {
        for (text, named) in [
            ("acks=1", "acks must not be another than all"),
            ("request.required.acks=0", "acks must not"),
            ("enable.idempotence=false", "enable.idempotence must not"),
            ("transactional.id=sensor", "transactional.id must not"),
        ] {
            let error = with_file(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn the_last_of_a_property_holds_whichever_of_its_names_is_given() {
        let two = with_file("sasl.mechanisms=PLAIN\nsasl.mechanism = SCRAM-SHA-512\n").unwrap();
        assert_eq!(two.config.get("sasl.mechanisms"), Some("SCRAM-SHA-512"));
        assert_eq!(two.config.get("sasl.mechanism"), None);
        assert_eq!(
            parse_property(" sasl.mechanism = a=b ").unwrap(),
            ("sasl.mechanisms".to_owned(), "a=b".to_owned())
        );
        let error = parse_property("hunter2").unwrap_err().to_string();
        assert!(error.starts_with("-X: ") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_login_by_iam_is_asked_for_as_java_does_and_needs_a_region() {
        let region = "sasl.oauthbearer.config=region=eu-west-1";
        let kafka = with_file(&format!("{}={}\n{region}\n", BY_MSK_IAM.0, BY_MSK_IAM.1)).unwrap();
        assert!(kafka.tokens.are_ours());
        assert_eq!(kafka.config.get("sasl.mechanisms"), Some("OAUTHBEARER"));
        assert_eq!(kafka.config.get("security.protocol"), Some("SASL_SSL"));
        let nobody =
            with_file("security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER").unwrap_err().to_string();
        assert!(nobody.contains("AWS_MSK_IAM"), "{nobody}");
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
            RDKafkaErrorCode::NotEnoughReplicas,
            RDKafkaErrorCode::Fatal,
        ] {
            assert_eq!(remedy(code), Remedy::SendAgain, "{code:?}");
        }
        for code in [
            RDKafkaErrorCode::UnknownTopicOrPartition,
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::InvalidTimestamp,
        ] {
            assert_eq!(remedy(code), Remedy::Mend, "{code:?}");
        }
    }

    #[test]
    fn every_code_is_in_one_list_at_most() {
        let lists = [OF_THE_RECORD, UNTIL_MENDED, PASSING].concat();
        for (place, code) in lists.iter().enumerate() {
            assert!(!lists[place + 1..].contains(code), "{code:?}");
        }
    }
}
