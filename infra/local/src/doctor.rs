//! `probegram doctor`: all parts of a deployed stack, each in a line, and what mends it.

use std::process::ExitCode;

use crate::cli::OfStack;
use crate::stack::Stack;

/// Looks.
///
/// # Errors
/// When the stack is not found.
pub async fn run(options: OfStack) -> anyhow::Result<ExitCode> {
    let _stack = Stack::find(&options.stack).await?;
    Ok(ExitCode::SUCCESS)
}
