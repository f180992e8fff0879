//! Why a question got no answer.

/// A question could not be answered. What a person or program is told hides what is internal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table did not answer.
    #[error(transparent)]
    Table(#[from] state::Error),
}

impl Error {
    /// The error with what caused it, for the log.
    pub(crate) fn with_causes(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |error| error.source());
        causes.fold(self.to_string(), |message, cause| format!("{message}: {cause}"))
    }
}
