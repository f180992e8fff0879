//! Whether Kafka can be reached, and has the topics: asked once, and nothing is written.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{Producer as _, ProducerContext};

use crate::doctor::Finding;
use crate::kafka_trouble::Trouble;
use crate::producer::Kafka;

/// How long Kafka may take to answer: two connections over a slow line, with TLS and a login each.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the first question waits for its answer, and how long a later one. One that is given up takes the connection with it, so on
/// a slow line the next has to wait longer; and what is wrong is told between two of them.
const FIRST_QUESTION: Duration = Duration::from_secs(1);
const LONGEST_QUESTION: Duration = Duration::from_secs(8);

/// What there is to say of a Kafka.
#[must_use]
pub fn check(kafka: &Kafka) -> Vec<Finding> {
    let context = Context { kafka: kafka.clone(), trouble: Mutex::default() };
    let producer = match kafka.producer(false, context) {
        Ok(producer) => producer,
        Err(error) => return vec![Finding::bad(error.to_string(), "mend the settings")],
    };
    let servers = &kafka.bootstrap_servers;
    let until = Instant::now() + PATIENCE;
    let mut question = FIRST_QUESTION;
    // tokens are asked for by an event, and so is what stands behind a failure told
    while let Err(error) = {
        producer.poll(Duration::from_millis(10));
        producer.client().fetch_metadata(Some(&kafka.topic), question)
    } {
        question = (question * 2).min(LONGEST_QUESTION);
        producer.poll(Duration::from_millis(10));
        let trouble = producer.context().trouble();
        let is_known = trouble.as_ref().is_some_and(|trouble| trouble.cause.wants_mending());
        if is_known || Instant::now() >= until {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            return vec![of(trouble.unwrap_or_else(|| kafka.explain_answer(&kafka.topic, code)))];
        }
    }
    let mut findings = vec![Finding::Good(format!("Kafka at {servers} answers, and takes the login."))];
    for topic in [&kafka.topic, &kafka.sensors_topic] {
        let found = producer.client().fetch_metadata(Some(topic), LONGEST_QUESTION);
        let code = match found.as_ref().map(|found| found.topics().first()) {
            Ok(Some(found)) if found.error().is_none() && !found.partitions().is_empty() => None,
            Ok(found) => Some(
                found
                    .and_then(|found| found.error())
                    .map_or(RDKafkaErrorCode::UnknownTopicOrPartition, RDKafkaErrorCode::from),
            ),
            Err(error) => Some(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        findings.push(match code {
            None => Finding::Good(format!("Kafka has the topic {topic}.")),
            Some(code) => of(kafka.explain_answer(topic, code)),
        });
    }
    findings.push(Finding::Note(
        "Whether this user may write to them shows when the agent does; `probegram topics` looks at their settings.".to_owned(),
    ));
    findings
}

/// A line of trouble says what is wrong, and then what to do.
fn of(trouble: Trouble) -> Finding {
    match trouble.line.split_once(": ") {
        Some((what, mend)) => Finding::bad(format!("{what}."), mend),
        None => Finding::bad(trouble.line, "mend that first"),
    }
}

struct Context {
    kafka: Kafka,
    trouble: Mutex<Option<Trouble>>,
}

impl Context {
    fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!("librdkafka: {facility}: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let new = self.kafka.explain(&self.kafka.topic, code, reason);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_ref().is_none_or(|known| known.cause.is_vague()) {
            *trouble = Some(new);
        }
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.kafka.tokens.generate()
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {}
}
