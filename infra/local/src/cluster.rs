//! Why a Kafka cluster does not answer a command, in a line.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// So many of librdkafka's tidings are heard to learn why a question failed.
const MAX_EVENTS: usize = 100;

/// Keeps what librdkafka says first: all later errors come of it.
#[derive(Clone, Default, Debug)]
pub struct Reason(Arc<Mutex<Option<String>>>);

impl Reason {
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
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
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(reason) = first else {
            return anyhow!("Kafka at {servers} does not answer: {error}");
        };
        if reason.contains("uthentication") {
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

impl ClientContext for Reason {
    // What is logged is librdkafka's own words, and the first of them the cause.
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        if (level as i32) <= RDKafkaLogLevel::Error as i32 {
            let text = message.rsplit("]: ").next().unwrap_or(message);
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| text.to_owned());
        }
    }

    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ConsumerContext for Reason {}
