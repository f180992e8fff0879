//! Why a question got no answer.

/// A question could not be answered. What a person or program is told hides what is internal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table did not answer.
    #[error(transparent)]
    Table(#[from] state::Error),
}
