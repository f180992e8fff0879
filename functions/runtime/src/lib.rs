//! What every function shares: the Kafka batch as Lambda delivers it, configuration, secrets, logs, metrics.

pub mod aws;
pub mod clock;
pub mod environment;
pub mod kafka_event;
pub mod log;
pub mod metrics;
pub mod probe_record;
pub mod secret;
pub mod zoned;

pub use environment::Environment;
pub use kafka_event::KafkaEvent;
