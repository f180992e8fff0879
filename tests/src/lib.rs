//! Whole-system tests and their harness: real programs, a real Kafka, and waiting that ends.
//!
//! Everything here panics when it fails, with a text that says what to do: there is nothing a test could do about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

pub mod alerting;
pub mod aws;
pub mod botocore;
pub mod dynamodb;
pub mod fake_radio;
mod fetched;
pub mod frames;
pub mod kafka;
pub mod lambda;
pub mod local;
pub mod named_devices;
pub mod partition_log;
pub mod plain_fold;
pub mod process;
pub mod proxy;
pub mod recorded_calls;
pub mod scheduled_table;
pub mod schedules;
pub mod secured_kafka;
pub mod simulated_mongodb;
pub mod slow_line;
pub mod stage;
pub mod telegram;
pub mod template_checks;
pub mod template_permissions;
pub mod virtual_machine;

/// A file or folder of test material that lives beside the workspace, in `../shared`, because it is not ours to
/// distribute. Without it says on standard error that the test is skipped; the test then returns.
#[must_use]
pub fn shared(path: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(path);
    if found.exists() {
        return Some(found);
    }
    say_skipped(&format!("../shared/{path} is not here"));
    None
}

/// Says that a test is skipped and why, in a line that the test runner does not keep for itself, as it does with `eprintln!`.
pub(crate) fn say_skipped(why: &str) {
    writeln!(std::io::stderr(), "skipped: {why}").expect("standard error");
}

/// Asks until there is an answer, and gives it.
///
/// # Panics
/// If there is none `within` the time: it bounds a hang and says nothing about speed, so be generous.
pub fn until<T>(within: Duration, what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain for {what}", within.as_secs());
        thread::sleep(Duration::from_millis(10));
    }
}
