//! Telegram's webhook: an update in, at most one message out, in the body of the response.
//! <https://core.telegram.org/bots/api#making-requests-when-getting-updates>
//!
//! Anything but 2xx would bring the update back for a day, and hold up its chat: so whatever we do not understand is 200.

use telegram::message::WebhookReply;
use telegram::{Message, Update};

use crate::context::Context;
use crate::{conversation, reply};

/// The header that carries the secret token that was given to `setWebhook`.
pub(crate) const SECRET_HEADER: &str = "x-telegram-bot-api-secret-token";

/// Whether a request comes from Telegram. A stranger costs one comparison.
pub(crate) fn is_from_telegram(token: Option<&[u8]>, context: &Context) -> bool {
    token.is_some_and(|token| {
        context.secrets.iter().fold(false, |known, secret| secret.matches(token) | known)
    })
}

/// Answers an update.
pub(crate) async fn answer(body: &[u8], context: &Context) -> Option<WebhookReply> {
    let update: Update = match serde_json::from_slice(body) {
        Ok(update) => update,
        Err(error) => {
            tracing::warn!(%error, "an update is not JSON as Telegram writes it");
            return None;
        }
    };
    let message = update.message?;
    let text = message.text.filter(|text| !text.trim().is_empty())?;
    let chat = message.chat;
    if !context.allowed_chats.contains(&chat.id) {
        tracing::info!(chat = chat.id, "a chat that is not allowed asked something");
        return chat
            .is_private()
            .then(|| WebhookReply::SendMessage(Message::new(chat.id, &reply::stranger(chat.id))));
    }
    let answer = conversation::answer(&text, context).await;
    Some(WebhookReply::SendMessage(Message::new(chat.id, &answer)))
}
