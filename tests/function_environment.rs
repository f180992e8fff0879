//! A function that is not set up says what is missing before it does anything else: it looks for no region and no credentials.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::process::Command;
use std::time::Duration;

use probegram_tests::process::{Running, binary};

/// Bounds a hang.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn everything_that_is_missing_is_named_at_once() {
    for (function, missing) in [
        ("aggregate", "AWS_REGION is missing; TABLE_NAME is missing; CONSUMER_GROUP is missing"),
        ("materialize", "AWS_REGION is missing; TABLE_NAME is missing; CONSUMER_GROUP_PREFIX is missing"),
        (
            "alert",
            "AWS_REGION is missing; TABLE_NAME is missing; CONSUMER_GROUP is missing; AGGREGATE_GROUP is missing; TELEGRAM_SECRET is missing",
        ),
        (
            "bot",
            "AWS_REGION is missing; TABLE_NAME is missing; AGGREGATE_GROUP is missing; WEBHOOK_SECRET_SHA256 is missing",
        ),
    ] {
        let mut program = Running::start(Command::new(binary(function)).env_clear());
        let status = program.wait(PATIENCE);
        let said = program.stderr();
        assert!(!status.success(), "{function}: {said}");
        assert!(said.contains(missing), "{function}: {said}");
    }
}
