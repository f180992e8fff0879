//! Why a Kafka cluster does not answer a command, in a line.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use capture_agent::msk_iam::Tokens;
use capture_agent::producer::KafkaSettingsError;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// So many of librdkafka's tidings are heard to learn why a question failed.
const MAX_EVENTS: usize = 100;

/// Keeps what librdkafka says first: all later errors come of it.
#[derive(Clone, Default, Debug)]
pub struct Reason {
    first: Arc<Mutex<Option<String>>>,
    tokens: Tokens,
}

impl Reason {
    /// For clients of these settings. A login by IAM at Amazon MSK is replaced in them by what librdkafka knows.
    ///
    /// # Errors
    /// When such a login cannot be prepared.
    pub fn of(config: &mut ClientConfig) -> Result<Self, KafkaSettingsError> {
        Ok(Self { first: Arc::default(), tokens: Tokens::of(config)? })
    }

    /// Whether the login is by IAM at Amazon MSK.
    #[must_use]
    pub fn is_by_iam(&self) -> bool {
        self.tokens.are_ours()
    }

    /// To be called before the first question of a consumer: librdkafka asks for a token by an event.
    pub fn prepare(&self, consumer: &BaseConsumer<Self>) {
        if self.tokens.are_ours() {
            let _an_event_of_a_consumer_without_topics = consumer.poll(Duration::ZERO);
        }
    }

    /// What an error means to a consumer that has not read yet. It is told why only when it polls, which a question does not.
    #[must_use]
    pub fn explain_to(
        &self,
        consumer: &BaseConsumer<Self>,
        servers: &str,
        error: &KafkaError,
    ) -> anyhow::Error {
        for _event in 0..MAX_EVENTS {
            if consumer.poll(Duration::ZERO).is_none() && self.is_known() {
                break;
            }
        }
        self.explain(servers, error)
    }

    fn is_known(&self) -> bool {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What an error means, and what to do.
    #[must_use]
    pub fn explain(&self, servers: &str, error: &KafkaError) -> anyhow::Error {
        if let Some(
            RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed,
        ) = error.rdkafka_error_code()
        {
            return anyhow!(
                "Kafka at {servers} does not let this user look: allow it DESCRIBE, DESCRIBE_CONFIGS and READ"
            );
        }
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(reason) = first else {
            return anyhow!("Kafka at {servers} does not answer: {error}");
        };
        if reason.contains("Failed to acquire") {
            anyhow!("no token for Kafka at {servers}: {reason}")
        } else if reason.contains("uthentication") {
            anyhow!(
                "Kafka at {servers} refuses the login: check sasl.mechanism, sasl.username and sasl.password in --kafka-config ({reason})"
            )
        } else if reason.contains("SSL") {
            anyhow!("no TLS with Kafka at {servers}: check ssl.ca.location in --kafka-config ({reason})")
        } else if reason.contains("resolve") {
            anyhow!("no address for {servers}: check --bootstrap-servers and the network ({reason})")
        } else {
            anyhow!(
                "Kafka at {servers} does not answer: does it run, and does this port want other settings in --kafka-config? ({reason})"
            )
        }
    }
}

/// Whether this user may only not be in a group. librdkafka looks for the group's coordinator as soon as there is a name of one, also when
/// partitions are assigned by hand: then nothing comes of it.
#[must_use]
pub fn is_of_a_group(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

impl ClientContext for Reason {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    // What is logged is librdkafka's own words, and the first of them the cause.
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        if (level as i32) <= RDKafkaLogLevel::Error as i32 {
            let text = message.rsplit("]: ").next().unwrap_or(message);
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| text.to_owned());
        }
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        // in no log: why no token could be made
        if reason.contains("Failed to acquire") && Tokens::is_said(reason) {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| reason.to_owned());
        }
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.tokens.generate()
    }
}

impl ConsumerContext for Reason {}
