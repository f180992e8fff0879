//! Logs: JSON lines on a Lambda function's standard error, plain lines elsewhere.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// Libraries that write whole events and answers at the level TRACE: with the webhook's secret token, and with the URLs and signing
/// keys of outgoing webhooks in them.
const TALKATIVE: [&str; 2] = ["aws_smithy_runtime", "lambda_runtime"];

/// Logs as JSON, as CloudWatch reads it. The level is `AWS_LAMBDA_LOG_LEVEL`, which Lambda sets, else `info`.
pub fn init_in_lambda() {
    // By its level alone: a filter of more would bring a regular expression engine into each function.
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    let filter = level.unwrap_or(LevelFilter::INFO);
    let lines = fmt::layer().json().with_writer(std::io::stderr).with_target(false).without_time(); // CloudWatch adds it
    tracing_subscriber::registry().with(lines.with_filter(filter.and(filter_fn(keeps_secrets)))).init();
}

/// Logs as plain lines on standard error. `RUST_LOG` chooses what, else `default` does.
pub fn init_for_people(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new(default));
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    tracing_subscriber::registry().with(lines.with_filter(filter.and(filter_fn(keeps_secrets)))).init();
}

fn keeps_secrets(line: &Metadata<'_>) -> bool {
    *line.level() != Level::TRACE || !TALKATIVE.iter().any(|library| line.target().starts_with(library))
}

/// An error with everything that caused it, in one line.
#[must_use]
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |message, cause| format!("{message}: {cause}"))
}
