//! What every function shares: the Kafka batch, configuration, secrets, logs, metrics
