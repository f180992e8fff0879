//! What is said in a chat. <https://core.telegram.org/bots/api#sendmessage>

use serde::{Deserialize, Serialize, Serializer};

use crate::keyboard::is_false;
use crate::text::Entity;
use crate::{ForceReply, Keyboard, ReplyMarkup, Text, limit};

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
    /// The marks of the text, and whom it mentions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<MessageEntity>,
    /// The buttons below it, or that it asks for a reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_markup: Option<ReplyMarkup>,
    /// Which message of the chat it replies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_parameters: Option<ReplyParameters>,
    /// Whether it arrives without a sound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disable_notification: bool,
    link_preview_options: LinkPreviewOptions,
}

/// What a part of a text is. <https://core.telegram.org/bots/api#messageentity>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MessageEntity {
    /// A mention of somebody.
    Mention(Mention),
    /// How it looks.
    Mark(Entity),
}

/// A mention of somebody by id: not everybody has a user name. It works for members of the group and for those who have pressed a
/// button of the bot; of others Telegram makes plain text. <https://core.telegram.org/bots/api#formatting-options>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mention {
    #[serde(rename = "type")]
    kind: String,
    offset: usize,
    length: usize,
    user: Mentioned,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mentioned {
    id: i64,
}

/// Which message a message replies to. <https://core.telegram.org/bots/api#replyparameters>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyParameters {
    message_id: i64,
    /// Telegram would refuse a reply to a message that somebody has deleted meanwhile.
    allow_sending_without_reply: bool,
}

/// Another text for a message that was sent. Telegram edits none that asks for a reply, and lets none become such a one.
/// <https://core.telegram.org/bots/api#editmessagetext>
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
        let (text, marks) = text.into().cut(limit::MAX_UNITS).into_parts();
        Self {
            chat_id,
            text,
            entities: marks.into_iter().map(MessageEntity::Mark).collect(),
            reply_markup: None,
            reply_parameters: None,
            disable_notification: false,
            link_preview_options: NO_PREVIEW,
        }
    }

    /// With these buttons below it, instead of a question.
    #[must_use]
    pub fn with_keyboard(self, keyboard: Keyboard) -> Self {
        Self { reply_markup: Some(ReplyMarkup::Keyboard(keyboard)), ..self }
    }

    /// Asks everybody in the chat for a reply, instead of showing buttons: for private chats, where there is one. This stands in the
    /// field while it is empty; it is cut to one line of 64 characters.
    #[must_use]
    pub fn asking_for_reply(self, placeholder: &str) -> Self {
        Self { reply_markup: Some(ReplyMarkup::ForceReply(ForceReply::from_all(placeholder))), ..self }
    }

    /// Asks one of those in a group for a reply, and opens no field for the others, who may reply all the same.
    ///
    /// Telegram asks those whom the text mentions and those whose message it replies to. Who has pressed a button has written no
    /// message: the one with the button is the bot's own. So the first word of the text becomes a mention; it must be plain, and it
    /// is better one of ours than the person's name, which could look like anything that is read from the text later.
    /// <https://core.telegram.org/bots/api#forcereply>
    #[must_use]
    pub fn asking_one_for_reply(self, user_id: i64, placeholder: &str) -> Self {
        let word = self.text.split_whitespace().next().unwrap_or_default();
        let before = self.text.chars().take_while(|character| character.is_whitespace());
        let mention = Mention {
            kind: "text_mention".to_owned(),
            offset: before.map(char::len_utf16).sum(),
            length: limit::units(word),
            user: Mentioned { id: user_id },
        };
        // the first: Telegram ignores those beyond a hundred
        let entities = [MessageEntity::Mention(mention)].into_iter().chain(self.entities).collect();
        let reply_markup = Some(ReplyMarkup::ForceReply(ForceReply::from_some(placeholder)));
        Self { entities, reply_markup, ..self }
    }

    /// As a reply to a message of the same chat, or as any other message if that is no longer there.
    #[must_use]
    pub fn in_reply_to(self, message_id: i64) -> Self {
        let reply_parameters = Some(ReplyParameters { message_id, allow_sending_without_reply: true });
        Self { reply_parameters, ..self }
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
    fn a_question_opens_a_field_for_the_reply() {
        let text = || Text::new().plain("📡 New name of ").code("a4:83");
        assert_eq!(
            json(&WebhookReply::SendMessage(Message::new(7, text()).asking_for_reply("New name"))),
            r#"{"method":"sendMessage","chat_id":7,"text":"📡 New name of a4:83","entities":[{"type":"code","offset":15,"length":5}],"reply_markup":{"force_reply":true,"input_field_placeholder":"New name"},"link_preview_options":{"is_disabled":true}}"#
        );
        let in_a_group = Message::new(-7, text()).asking_one_for_reply(42, "New name").in_reply_to(5);
        assert_eq!(
            json(&WebhookReply::SendMessage(in_a_group)),
            r#"{"method":"sendMessage","chat_id":-7,"text":"📡 New name of a4:83","entities":[{"type":"text_mention","offset":0,"length":2,"user":{"id":42}},{"type":"code","offset":15,"length":5}],"reply_markup":{"force_reply":true,"input_field_placeholder":"New name","selective":true},"reply_parameters":{"message_id":5,"allow_sending_without_reply":true},"link_preview_options":{"is_disabled":true}}"#
        );
        let indented = Message::new(-7, "\t📡📡 é").asking_one_for_reply(42, "").entities;
        let MessageEntity::Mention(mention) = &indented[0] else { panic!("{indented:?}") };
        assert_eq!((mention.offset, mention.length), (1, 4));
    }

    #[test]
    fn a_message_has_buttons_or_a_question_and_an_empty_field_has_64_characters_or_none() {
        let keyboard = Keyboard::rows(vec![vec![Button::new("Mute 1 h", "mute:7:3600")]]);
        let asking = |placeholder: &str| Message::new(7, "?").asking_for_reply(placeholder);
        let markup = |message: Message| serde_json::to_string(&message.reply_markup).unwrap();
        assert_eq!(asking("x").with_keyboard(keyboard.clone()), Message::new(7, "?").with_keyboard(keyboard));
        assert_eq!(markup(asking(" \n")), r#"{"force_reply":true}"#);
        assert_eq!(markup(asking("a\nb")), r#"{"force_reply":true,"input_field_placeholder":"a b"}"#);
        let (fits, cut) = ("📡".repeat(32), format!("{}…", "x".repeat(63)));
        assert!(markup(asking(&fits)).contains(&format!("\"{fits}\"")));
        assert!(markup(asking(&"x".repeat(65))).contains(&format!("\"{cut}\"")));
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_with_its_marks() {
        let text = Text::new().code("📡".repeat(3_000));
        let (message, edit) = (Message::new(7, text.clone()), Edit::new(7, 8, text));
        let marks: Vec<_> = edit.entities.iter().cloned().map(MessageEntity::Mark).collect();
        assert_eq!((message.text, message.entities), (edit.text.clone(), marks));
        assert_eq!((limit::units(&edit.text), edit.entities[0].length), (4_095, 4_094));

        let answer = CallbackAnswer { callback_query_id: "9".to_owned(), text: "a".repeat(201) };
        let answer: CallbackAnswer = serde_json::from_str(&serde_json::to_string(&answer).unwrap()).unwrap();
        assert_eq!(answer.text, format!("{}…", "a".repeat(199)));
    }
}
