//! What can go wrong with the table.

use std::error::Error as StdError;

/// Why the table did not answer. All but [`Error::Unreadable`] may pass by themselves: the batch is delivered again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// DynamoDB could not be reached, refused, or took too long.
    #[error("DynamoDB did not carry out {operation} on table {table}")]
    Request {
        /// The operation's name in the DynamoDB API.
        operation: &'static str,
        /// The table's name.
        table: String,
        /// What the SDK says.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Somebody else wrote the item each time we tried.
    #[error(
        "{pk} / {sk} was written by others {attempts} times in a row; the batch has to be delivered again"
    )]
    Contended {
        /// Partition key.
        pk: String,
        /// Sort key.
        sk: String,
        /// Attempts made.
        attempts: u32,
    },
    /// An overlapping invocation found that the topic is a new one.
    #[error(
        "topic {topic} was found to be a new one by another invocation; the batch has to be delivered again"
    )]
    LifeChanged {
        /// The topic.
        topic: String,
    },
    /// An item is not as we write it.
    #[error("{pk} / {sk} holds no readable {attribute}: was it written by a newer version?")]
    Unreadable {
        /// Partition key.
        pk: String,
        /// Sort key.
        sk: String,
        /// The attribute that is missing or of another type.
        attribute: String,
    },
    /// The system gives no random numbers, of which a code is made.
    #[error("the system gives no random numbers")]
    NoRandomNumbers(#[source] getrandom::Error),
}

impl Error {
    /// Whether trying again may help.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        !matches!(self, Self::Unreadable { .. })
    }
}
