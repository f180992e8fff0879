//! The chat: updates in, messages out, the limits of the Telegram Bot API.

pub mod client;
pub mod error;
pub mod keyboard;
pub mod limit;
pub mod message;
pub mod text;
pub mod update;

pub use client::Client;
pub use error::TelegramError;
pub use keyboard::{Button, ForceReply, Keyboard, ReplyMarkup};
pub use message::Message;
pub use text::Text;
pub use update::Update;
