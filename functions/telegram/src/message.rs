//! A message to a chat. <https://core.telegram.org/bots/api#sendmessage>

use serde::{Deserialize, Serialize};

use crate::limit;

/// A message to a chat: plain text, so that nothing a device says can become markup, and without previews of links, which
/// Telegram would fetch from whoever chose the name of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Where to.
    pub chat_id: i64,
    /// At most 4096 UTF-16 code units.
    pub text: String,
    link_preview_options: LinkPreviewOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LinkPreviewOptions {
    is_disabled: bool,
}

/// A call of a Bot API method in the answer to a webhook. <https://core.telegram.org/bots/api#making-requests-when-getting-updates>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "camelCase")]
pub enum WebhookReply {
    /// Sends a message.
    SendMessage(Message),
}

impl Message {
    /// A message with this text, cut to what a message may hold.
    #[must_use]
    pub fn new(chat_id: i64, text: &str) -> Self {
        let text = limit::cut(text, limit::MAX_UNITS);
        Self { chat_id, text, link_preview_options: LinkPreviewOptions { is_disabled: true } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_reply_names_its_method() {
        let reply = WebhookReply::SendMessage(Message::new(7, "hi"));
        assert_eq!(
            serde_json::to_string(&reply).unwrap(),
            r#"{"method":"sendMessage","chat_id":7,"text":"hi","link_preview_options":{"is_disabled":true}}"#
        );
    }
}
