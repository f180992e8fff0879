//! Logs: JSON lines on a Lambda function's standard error, plain lines elsewhere.

use tracing_subscriber::EnvFilter;

/// Logs as JSON, as CloudWatch reads it. The level is `AWS_LAMBDA_LOG_LEVEL`, which Lambda sets, else `info`.
pub fn init_in_lambda() {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .with_env_var("AWS_LAMBDA_LOG_LEVEL")
        .from_env_lossy();
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time() // CloudWatch adds it
        .init();
}

/// Logs as plain lines on standard error. `RUST_LOG` chooses what, else `default` does.
pub fn init_for_people(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}

/// An error with everything that caused it, in one line.
#[must_use]
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |message, cause| format!("{message}: {cause}"))
}
