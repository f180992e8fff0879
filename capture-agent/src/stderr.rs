//! What a person is told on standard error.

use std::fmt;
use std::io::Write as _;

/// Says one line. When nobody listens (a closed pipe), that is all right: `eprintln!` would panic.
pub fn say(line: fmt::Arguments<'_>) {
    let _nobody_listens = writeln!(std::io::stderr(), "{line}");
}
