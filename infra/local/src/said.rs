//! What a command tells a person.

use std::io::Write as _;

/// Says it on standard output, at once.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}
