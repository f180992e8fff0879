//! The function `bot`: answers people in Telegram and programs over JSON, who ask the same questions of the same table.

mod api;
mod asking;
mod buttons;
pub mod commands;
pub mod context;
mod conversation;
mod courtesy;
mod devices;
mod dry_run;
mod error;
pub mod handler;
mod health;
mod hooks;
mod members;
mod naming;
mod reply;
mod report;
mod settings;
pub mod status;
mod watch_command;
mod watching;
mod webhook;

pub use commands::commands;
pub use context::Context;
pub use error::Error;
pub use handler::handle;
