//! Alerts on a real Kafka.
