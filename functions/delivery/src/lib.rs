//! Messages out: how an alert is told, and that something is wrong, and the one routine that sends it and tells more in it later.
//!
//! `alert` calls it for the messages that it has just made, and every minute for those that are due; `bot` to write under a message
//! what somebody did by its buttons. Where a message goes, a chat or an outgoing webhook, makes no difference to the promise: at
//! least once, and twice only if somebody died, or an answer was lost, between sending and noting it.

mod alert_text;
mod digest_text;
pub mod hook;
mod notice_text;
pub mod post;
pub mod telegram;

pub use post::{Delivered, Post};
pub use telegram::Telegram;
