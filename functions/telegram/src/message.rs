//! What is said in a chat. <https://core.telegram.org/bots/api#sendmessage>

use serde::{Deserialize, Serialize, Serializer};

use crate::limit;
use crate::text::Entity;
use crate::{Keyboard, Text};

/// The most UTF-16 code units of what is told to somebody who pressed a button.
/// <https://core.telegram.org/bots/api#answercallbackquery>
const MAX_CALLBACK_UNITS: usize = 200;

/// A message to a chat: a text with marks, so that nothing a device says can become markup, and without previews of links, which
/// Telegram would fetch from whoever chose the name of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Where to.
    pub chat_id: i64,
    /// At most 4096 UTF-16 code units.
    pub text: String,
    /// The marks of the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<Entity>,
    /// The buttons below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_markup: Option<Keyboard>,
    /// Whether it arrives without a sound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disable_notification: bool,
    link_preview_options: LinkPreviewOptions,
}

/// Another text for a message that was sent. <https://core.telegram.org/bots/api#editmessagetext>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// In which chat.
    pub chat_id: i64,
    /// Which message, of those that this bot has sent.
    pub message_id: i64,
    /// At most 4096 UTF-16 code units.
    pub text: String,
    /// The marks of the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<Entity>,
    /// The buttons below it. Without them, those it had are removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_markup: Option<Keyboard>,
    link_preview_options: LinkPreviewOptions,
}

/// The answer to a button. Until it comes, the button shows that it waits. <https://core.telegram.org/bots/api#answercallbackquery>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackAnswer {
    /// [`crate::update::CallbackQuery::id`].
    pub callback_query_id: String,
    /// What is shown for a moment; nothing when empty. Cut to 200 UTF-16 code units when it is sent.
    #[serde(default, skip_serializing_if = "String::is_empty", serialize_with = "cut_to_callback")]
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LinkPreviewOptions {
    is_disabled: bool,
}

const NO_PREVIEW: LinkPreviewOptions = LinkPreviewOptions { is_disabled: true };

/// A call of a Bot API method in the answer to a webhook. <https://core.telegram.org/bots/api#making-requests-when-getting-updates>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "camelCase")]
pub enum WebhookReply {
    /// Sends a message.
    SendMessage(Message),
    /// Changes a message.
    EditMessageText(Edit),
    /// Answers a button.
    AnswerCallbackQuery(CallbackAnswer),
}

impl Message {
    /// A message with this text, cut to what a message may hold.
    #[must_use]
    pub fn new(chat_id: i64, text: impl Into<Text>) -> Self {
        let (text, entities) = text.into().cut(limit::MAX_UNITS).into_parts();
        let (reply_markup, disable_notification) = (None, false);
        Self { chat_id, text, entities, reply_markup, disable_notification, link_preview_options: NO_PREVIEW }
    }

    /// With these buttons below it.
    #[must_use]
    pub fn with_keyboard(self, keyboard: Keyboard) -> Self {
        Self { reply_markup: Some(keyboard), ..self }
    }

    /// Whether it arrives without a sound.
    #[must_use]
    pub fn silent(self, is_silent: bool) -> Self {
        Self { disable_notification: is_silent, ..self }
    }
}

impl Edit {
    /// This text, cut to what a message may hold, for a message of a chat. Its buttons are removed.
    #[must_use]
    pub fn new(chat_id: i64, message_id: i64, text: impl Into<Text>) -> Self {
        let (text, entities) = text.into().cut(limit::MAX_UNITS).into_parts();
        Self { chat_id, message_id, text, entities, reply_markup: None, link_preview_options: NO_PREVIEW }
    }

    /// With these buttons below it, or none.
    #[must_use]
    pub fn with_keyboard(self, keyboard: Option<Keyboard>) -> Self {
        Self { reply_markup: keyboard, ..self }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

fn cut_to_callback<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&limit::cut(text, MAX_CALLBACK_UNITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Button;

    fn json(reply: &WebhookReply) -> String {
        let json = serde_json::to_string(reply).unwrap();
        assert_eq!(
            &serde_json::from_str::<WebhookReply>(&json).unwrap(),
            reply,
            "it is read as it was written"
        );
        json
    }

    #[test]
    fn a_webhook_reply_names_its_method() {
        assert_eq!(
            json(&WebhookReply::SendMessage(Message::new(7, "hi"))),
            r#"{"method":"sendMessage","chat_id":7,"text":"hi","link_preview_options":{"is_disabled":true}}"#
        );
        assert_eq!(
            json(&WebhookReply::EditMessageText(Edit::new(7, 8, "hi"))),
            r#"{"method":"editMessageText","chat_id":7,"message_id":8,"text":"hi","link_preview_options":{"is_disabled":true}}"#
        );
        let answer = |text: &str| CallbackAnswer { callback_query_id: "9".to_owned(), text: text.to_owned() };
        assert_eq!(
            json(&WebhookReply::AnswerCallbackQuery(answer("Muted"))),
            r#"{"method":"answerCallbackQuery","callback_query_id":"9","text":"Muted"}"#
        );
        assert_eq!(
            json(&WebhookReply::AnswerCallbackQuery(answer(""))),
            r#"{"method":"answerCallbackQuery","callback_query_id":"9"}"#
        );
    }

    #[test]
    fn marks_buttons_and_silence_are_told() {
        let keyboard = Keyboard::rows(vec![vec![Button::new("Mute 1 h", "mute:7:3600")]]);
        let message = Message::new(-7, Text::new().plain("📡 ").code("RNM0"));
        let message = message.with_keyboard(keyboard.clone()).silent(true);
        assert_eq!(
            json(&WebhookReply::SendMessage(message)),
            r#"{"method":"sendMessage","chat_id":-7,"text":"📡 RNM0","entities":[{"type":"code","offset":3,"length":4}],"reply_markup":{"inline_keyboard":[[{"text":"Mute 1 h","callback_data":"mute:7:3600"}]]},"disable_notification":true,"link_preview_options":{"is_disabled":true}}"#
        );
        let edit = Edit::new(-7, 1, Text::new().bold("x")).with_keyboard(Some(keyboard.clone()));
        assert_eq!((edit.entities.len(), &edit.reply_markup), (1, &Some(keyboard)));
        assert_eq!(edit.with_keyboard(None).reply_markup, None);
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_with_its_marks() {
        let text = Text::new().code("📡".repeat(3_000));
        let (message, edit) = (Message::new(7, text.clone()), Edit::new(7, 8, text));
        assert_eq!((message.text, message.entities), (edit.text.clone(), edit.entities.clone()));
        assert_eq!((limit::units(&edit.text), edit.entities[0].length), (4_095, 4_094));

        let answer = CallbackAnswer { callback_query_id: "9".to_owned(), text: "a".repeat(201) };
        let answer: CallbackAnswer = serde_json::from_str(&serde_json::to_string(&answer).unwrap()).unwrap();
        assert_eq!(answer.text, format!("{}…", "a".repeat(199)));
    }
}
