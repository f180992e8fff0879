//! Why a batch fails. Lambda delivers it again until it succeeds, so nothing in a record may lead here.

use lambda_runtime::Diagnostic;

/// A batch could not be absorbed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The event is something else than a batch of Kafka records.
    #[error(transparent)]
    Event(#[from] runtime::kafka_event::NotAKafkaEvent),
    /// The table did not answer.
    #[error(transparent)]
    Table(#[from] state::Error),
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let error_type = match &error {
            Error::Event(_) => "NotAKafkaEvent",
            Error::Table(error) if error.retryable() => "TableUnavailable",
            Error::Table(_) => "TableUnreadable",
        };
        Self { error_type: error_type.to_owned(), error_message: runtime::log::with_causes(&error) }
    }
}
