//! What is wrong on the way to Kafka, in a line that says what to do.
//!
//! librdkafka tells of it by a code and a text for developers, often the same code for different causes: a certificate of nobody known
//! and a port without TLS are both `_SSL`. So causes are told apart by parts of that text, which the tests of a real broker
//! (`kafka_security`) hold against the version that is linked.

use rdkafka::error::RDKafkaErrorCode;

/// Something that is wrong on the way to Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What kind of: the same words are not said twice.
    pub cause: Cause,
    /// What is wrong and what to do, without a secret.
    pub line: String,
}

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// User or password are wrong, or are not asked for here.
    Login,
    /// The broker has not this mechanism.
    Mechanism,
    /// No token could be made.
    NoToken,
    /// The broker refuses the token.
    Token,
    /// The broker's certificate is of no authority that we know, or of another time.
    Untrusted,
    /// It is of another host name.
    OtherName,
    /// The port speaks no TLS.
    NoTls,
    /// The broker wants a certificate of us, and does not take what it gets.
    ClientCertificate,
    /// TLS does not come about for another reason.
    Tls,
    /// The broker hangs up at our first words: it expects others.
    OtherProtocol,
    /// The host's name has no address.
    NoAddress,
    /// There is no such topic.
    NoTopic,
    /// We may not look at the topic.
    HiddenTopic,
    /// We may not write to the topic.
    ForbiddenTopic,
    /// We may not write idempotently.
    ForbiddenIdempotence,
    /// The topic does not take our time.
    Clock,
    /// A setting of the topic or the cluster is against us.
    Refused(RDKafkaErrorCode),
    /// Too few replicas are there to write.
    TooFewReplicas,
    /// Nothing is acknowledged, and nobody tells why.
    Silence,
    /// One broker cannot be reached; the others may do.
    BrokerAway,
    /// None can be reached.
    Unreachable,
    /// Anything else.
    Other(RDKafkaErrorCode),
}

impl Cause {
    /// Whether it may be the consequence of something that librdkafka tells a moment later, or over before anybody has read of it.
    #[must_use]
    pub fn is_vague(self) -> bool {
        matches!(
            self,
            Self::BrokerAway
                | Self::Unreachable
                | Self::OtherProtocol
                | Self::TooFewReplicas
                | Self::Other(_)
        )
    }

    /// Whether it lasts until a person mends a setting, here or there.
    #[must_use]
    pub fn wants_mending(self) -> bool {
        !self.is_vague() && !matches!(self, Self::NoAddress | Self::Silence)
    }

    /// Whether it shows when one asks for the topic.
    #[must_use]
    pub fn is_of_the_topic(self) -> bool {
        matches!(self, Self::NoTopic | Self::HiddenTopic)
    }

    /// Whether it shows only when something is written: an answer to a question does not say that it is over.
    #[must_use]
    pub fn is_of_writing(self) -> bool {
        matches!(
            self,
            Self::ForbiddenTopic
                | Self::ForbiddenIdempotence
                | Self::Clock
                | Self::Refused(_)
                | Self::TooFewReplicas
                | Self::Silence
        )
    }
}

/// Where it happened: what a line names.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: &'a str,
    /// The topic that was written to.
    pub topic: &'a str,
    /// The flag that names it.
    pub flag: &'a str,
    /// The setting sasl.mechanisms; empty without one.
    pub mechanism: &'a str,
}

/// What an error of librdkafka means. `reason` is its text.
#[must_use]
pub fn explain(place: Place<'_>, code: RDKafkaErrorCode, reason: &str) -> Trouble {
    in_words(place, cause(code, reason, place.mechanism), reason)
}

/// The line of a cause that is known.
#[must_use]
pub fn in_words(place: Place<'_>, cause: Cause, reason: &str) -> Trouble {
    Trouble { cause, line: line(place, cause, reason) }
}

/// Whether a line of librdkafka's log tells what no error does, or much later: why a broker cannot be reached, or that the other end hangs
/// up at our first words, or does not take our certificate. As an error comes only that all brokers are down.
#[must_use]
pub fn is_of_interest(log_line: &str) -> bool {
    let is_hung_up = log_line.contains("Disconnected") || log_line.contains("SSL routines");
    log_line.contains("in state CONNECT") || is_hung_up && log_line.contains("in state APIVERSION_QUERY")
}

/// The broker that has not answered requests in time, if that is what a line of librdkafka's log tells. As an error it comes never: the
/// connection is given up, and the requests are sent again by the next. A request that was not even begun tells nothing of the line.
#[must_use]
pub fn timed_out_broker<'a>(facility: &str, log_line: &'a str) -> Option<&'a str> {
    if facility != "REQTMOUT" {
        return None;
    }
    let (broker, told) = log_line.split_once(": Timed out ")?;
    // another line tells of each request
    let is_some = |what: &str| {
        let counts = told.split(", ").filter_map(|part| part.split_once(' '));
        counts.into_iter().any(|(count, of)| of == what && count != "0")
    };
    (is_some("in-flight") || is_some("partially-sent requests")).then_some(broker)
}

fn cause(code: RDKafkaErrorCode, reason: &str, mechanism: &str) -> Cause {
    match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            if reason.contains("Failed to acquire") {
                Cause::NoToken
            } else if reason.contains("Unsupported SASL mechanism") {
                Cause::Mechanism
            } else if mechanism == "OAUTHBEARER" {
                Cause::Token
            } else {
                Cause::Login
            }
        }
        RDKafkaErrorCode::UnsupportedSASLMechanism => Cause::Mechanism,
        RDKafkaErrorCode::SSL => cause_of_tls(reason),
        // of TLS 1.3 the broker's objections come when the handshake is over
        RDKafkaErrorCode::BrokerTransportFailure
            if reason.contains("SSL handshake failed") || reason.contains("SSL routines") =>
        {
            cause_of_tls(reason)
        }
        RDKafkaErrorCode::BrokerTransportFailure
            if reason.contains("security.protocol") || reason.contains("in state APIVERSION_QUERY") =>
        {
            Cause::OtherProtocol
        }
        RDKafkaErrorCode::Resolve => Cause::NoAddress,
        RDKafkaErrorCode::BrokerTransportFailure if !reason.is_empty() => Cause::BrokerAway,
        RDKafkaErrorCode::BrokerTransportFailure
        | RDKafkaErrorCode::AllBrokersDown
        | RDKafkaErrorCode::OperationTimedOut
        | RDKafkaErrorCode::TimedOutQueue
        | RDKafkaErrorCode::MessageTimedOut
        | RDKafkaErrorCode::NetworkException
        | RDKafkaErrorCode::RequestTimedOut
        | RDKafkaErrorCode::BrokerNotAvailable => Cause::Unreachable,
        RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownTopicId
        | RDKafkaErrorCode::UnknownPartition => Cause::NoTopic,
        RDKafkaErrorCode::TopicAuthorizationFailed => Cause::ForbiddenTopic,
        RDKafkaErrorCode::ClusterAuthorizationFailed => Cause::ForbiddenIdempotence,
        RDKafkaErrorCode::InvalidTimestamp => Cause::Clock,
        RDKafkaErrorCode::NotEnoughReplicas | RDKafkaErrorCode::NotEnoughReplicasAfterAppend => {
            Cause::TooFewReplicas
        }
        RDKafkaErrorCode::PolicyViolation
        | RDKafkaErrorCode::InvalidTopic
        | RDKafkaErrorCode::InvalidConfig
        | RDKafkaErrorCode::InvalidRequiredAcks
        | RDKafkaErrorCode::UnsupportedCompressionType
        | RDKafkaErrorCode::UnsupportedForMessageFormat
        | RDKafkaErrorCode::UnsupportedVersion
        | RDKafkaErrorCode::UnsupportedFeature
        | RDKafkaErrorCode::SecurityDisabled => Cause::Refused(code),
        other => Cause::Other(other),
    }
}

/// OpenSSL's words, of which librdkafka passes on the last.
fn cause_of_tls(reason: &str) -> Cause {
    const OF_OUR_CERTIFICATE: [&str; 7] = [
        "certificate required",
        "bad certificate",
        "alert certificate expired",
        "alert certificate unknown",
        "alert unknown ca",
        "alert unsupported certificate",
        "client SSL authentication might be required",
    ];
    if reason.contains("certificate verify failed") {
        Cause::Untrusted
    } else if OF_OUR_CERTIFICATE.iter().any(|words| reason.contains(words)) {
        Cause::ClientCertificate
    } else if ["unexpected eof", "wrong version number", "PLAINTEXT broker", "packet length", "record layer"]
        .iter()
        .any(|words| reason.contains(words))
    {
        Cause::NoTls
    } else {
        Cause::Tls
    }
}

fn line(place: Place<'_>, cause: Cause, reason: &str) -> String {
    let Place { bootstrap_servers, topic, flag, mechanism } = place;
    let said = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    match cause {
        Cause::Login => format!(
            "Kafka at {bootstrap_servers} refuses the login: check sasl.username and sasl.password in --kafka-config, and that this port takes {mechanism}{said}"
        ),
        Cause::Mechanism => format!(
            "Kafka at {bootstrap_servers} does not take logins by {mechanism}: set sasl.mechanism in --kafka-config to one that it takes{said}"
        ),
        Cause::NoToken => format!("no token for Kafka at {bootstrap_servers}: {reason}"),
        Cause::Token => format!(
            "Kafka at {bootstrap_servers} refuses the token: check that its user or role may kafka-cluster:Connect, that the region is the cluster's, and the clock of this machine{said}"
        ),
        Cause::Untrusted => format!(
            "the certificate of Kafka at {bootstrap_servers} cannot be trusted: set ssl.ca.location in --kafka-config to the PEM file of its authority, and check the clock of this machine{said}"
        ),
        Cause::OtherName => format!(
            "the certificate of Kafka at {bootstrap_servers} is of another host name: give the name that it has in --bootstrap-servers, or let the brokers advertise it{said}"
        ),
        Cause::NoTls => format!(
            "Kafka at {bootstrap_servers} speaks no TLS on this port: give another port, or security.protocol without SSL in --kafka-config{said}"
        ),
        Cause::ClientCertificate => format!(
            "Kafka at {bootstrap_servers} wants a certificate of this sensor that it can trust: check ssl.certificate.location and ssl.key.location in --kafka-config, and that the certificate has not expired{said}"
        ),
        Cause::Tls => format!(
            "no TLS with Kafka at {bootstrap_servers}: check the ssl.* settings in --kafka-config, and that this port speaks TLS{said}"
        ),
        Cause::OtherProtocol => format!(
            "Kafka at {bootstrap_servers} hangs up at once: check that security.protocol in --kafka-config is the one of this port, such as SASL_SSL, and that a Kafka runs there{said}"
        ),
        Cause::NoAddress => {
            format!("no address for {bootstrap_servers}: check --bootstrap-servers and the network{said}")
        }
        Cause::NoTopic => {
            format!(
                "Kafka at {bootstrap_servers} has no topic {topic}: create it, or name another with {flag}"
            )
        }
        Cause::HiddenTopic => format!(
            "Kafka at {bootstrap_servers} does not let this user see topic {topic}: allow it DESCRIBE and WRITE, or name another with {flag}"
        ),
        Cause::ForbiddenTopic => {
            format!(
                "Kafka at {bootstrap_servers} does not let this user write to topic {topic}: allow it WRITE"
            )
        }
        Cause::ForbiddenIdempotence => format!(
            "Kafka at {bootstrap_servers} does not let this user write idempotently: allow it WRITE on topic {topic}, or IDEMPOTENT_WRITE on the cluster"
        ),
        Cause::Clock => {
            format!("topic {topic} refuses the time of the records: check the clock of this machine")
        }
        Cause::Refused(code) => format!(
            "Kafka at {bootstrap_servers} does not take records of topic {topic}: {code}; check the settings of the topic and of --kafka-config{said}"
        ),
        Cause::TooFewReplicas => format!(
            "Kafka at {bootstrap_servers} has too few brokers to keep what is written to topic {topic} safe (min.insync.replicas): see which are down"
        ),
        Cause::Silence => format!(
            "Kafka at {bootstrap_servers} has acknowledged nothing for {reason} though records are on their way to topic {topic}: see whether its brokers answer, whether enough of them are there (min.insync.replicas), and whether the line carries anything"
        ),
        Cause::BrokerAway | Cause::Unreachable => {
            format!("Kafka at {bootstrap_servers} cannot be reached{said}")
        }
        Cause::Other(code) => format!("Kafka at {bootstrap_servers}: {code}{said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words are librdkafka's (rdkafka_broker.c, `rd_kafka_broker_timeout_scan`).
    #[test]
    fn a_broker_has_timed_out_when_a_request_that_was_begun_got_no_answer() {
        let log = |told: &str| format!("[thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1: Timed out {told}");
        for (told, is_one) in [
            ("1 in-flight, 0 retry-queued, 0 out-queue, 0 partially-sent requests", true),
            ("10 in-flight, 0 retry-queued, 3 out-queue, 0 partially-sent requests", true),
            ("0 in-flight, 0 retry-queued, 1 out-queue, 1 partially-sent requests", true),
            ("0 in-flight, 2 retry-queued, 1 out-queue, 0 partially-sent requests", false),
        ] {
            let line = log(told);
            let broker = timed_out_broker("REQTMOUT", &line);
            assert_eq!(broker, is_one.then_some("[thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1"), "{told}");
        }
        let of_one_request = "[thrd:x]: x/1: Timed out ProduceRequest in flight (after 10002ms, timeout #0)";
        assert_eq!(timed_out_broker("REQTMOUT", of_one_request), None);
        assert_eq!(timed_out_broker("FAIL", &log("1 in-flight, 0 partially-sent requests")), None);
    }
}
