//! Why a Kafka cluster does not answer a command, in a line.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::anyhow;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Keeps what librdkafka says first: all later errors come of it.
#[derive(Clone, Default, Debug)]
pub struct Reason(Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>);

impl Reason {
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
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((code, reason)) = first else {
            return anyhow!("Kafka at {servers} does not answer: {error}");
        };
        match code {
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => anyhow!(
                "Kafka at {servers} refuses the login: check sasl.mechanism, sasl.username and sasl.password in --kafka-config ({reason})"
            ),
            RDKafkaErrorCode::SSL => {
                anyhow!("no TLS with Kafka at {servers}: check ssl.ca.location in --kafka-config ({reason})")
            }
            RDKafkaErrorCode::Resolve => {
                anyhow!("no address for {servers}: check --bootstrap-servers and the network ({reason})")
            }
            _ => anyhow!(
                "Kafka at {servers} does not answer: does it run, and does this port want other settings in --kafka-config? ({reason})"
            ),
        }
    }
}

impl ClientContext for Reason {
    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| (code, reason.to_owned()));
        }
    }

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}
}

impl ConsumerContext for Reason {}
