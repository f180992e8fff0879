//! The chat: updates in, messages out, the limits of the Telegram Bot API.

pub mod client;
pub mod limit;
pub mod message;
pub mod update;

pub use client::{Client, TelegramError};
pub use message::Message;
pub use update::Update;
