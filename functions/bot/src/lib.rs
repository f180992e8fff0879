//! The function `bot`: answers people in Telegram and programs over JSON, who ask the same questions of the same table.

mod api;
pub mod context;
mod conversation;
mod error;
pub mod handler;
mod reply;
pub mod status;
mod webhook;
pub mod zoned;

pub use context::Context;
pub use error::Error;
pub use handler::handle;
