//! An update: what happened in a chat, as Telegram tells a bot. <https://core.telegram.org/bots/api#update>
//!
//! Updates come in dozens of kinds, and more are added every year. We read what we answer; anything else is an update that we
//! have nothing to say to, never an error: an error would bring it back for a day.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// What happened in a chat.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
pub struct Update {
    /// Counts the bot's updates. The same update may come twice, under the same number.
    #[serde(default, deserialize_with = "or_default")]
    pub update_id: Option<i64>,
    /// A message that somebody sent.
    #[serde(default, deserialize_with = "or_default")]
    pub message: Option<IncomingMessage>,
    /// A button that somebody pressed.
    #[serde(default, deserialize_with = "or_default")]
    pub callback_query: Option<CallbackQuery>,
    /// The bot was let into a chat, removed from it, blocked and so on.
    #[serde(default, deserialize_with = "or_default")]
    pub my_chat_member: Option<ChatMemberUpdated>,
}

/// A message that somebody sent. <https://core.telegram.org/bots/api#message>
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct IncomingMessage {
    /// Its number in its chat.
    #[serde(default, deserialize_with = "or_default")]
    pub message_id: Option<i64>,
    /// Where.
    pub chat: Chat,
    /// Who. Posts of channels have nobody.
    #[serde(default, deserialize_with = "or_default")]
    pub from: Option<User>,
    /// Its text. Photos, joins and many others have none.
    #[serde(default, deserialize_with = "or_default")]
    pub text: Option<String>,
    /// The message that it replies to, of the same chat.
    #[serde(default, deserialize_with = "or_default")]
    pub reply_to_message: Option<RepliedTo>,
    /// The group has become a supergroup, under this id.
    #[serde(default, deserialize_with = "or_default")]
    pub migrate_to_chat_id: Option<i64>,
    /// The supergroup was a group, under this id.
    #[serde(default, deserialize_with = "or_default")]
    pub migrate_from_chat_id: Option<i64>,
}

/// A message that somebody replied to. Which message that one replies to, Telegram does not tell.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct RepliedTo {
    /// Its number in its chat.
    #[serde(default, deserialize_with = "or_default")]
    pub message_id: Option<i64>,
    /// Who wrote it: may be any bot of a group.
    #[serde(default, deserialize_with = "or_default")]
    pub from: Option<User>,
    /// Its text. Of a message of a bot it is what the bot wrote: nobody else can change it.
    #[serde(default, deserialize_with = "or_default")]
    pub text: Option<String>,
}

/// A person or a bot. <https://core.telegram.org/bots/api#user>
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct User {
    /// The id: at most 52 bits.
    pub id: i64,
    /// Whether it is a bot.
    #[serde(default, deserialize_with = "or_default")]
    pub is_bot: bool,
}

/// A button that somebody pressed. <https://core.telegram.org/bots/api#callbackquery>
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct CallbackQuery {
    /// What the answer is to name.
    pub id: String,
    /// Who pressed.
    #[serde(default, deserialize_with = "or_default")]
    pub from: Option<User>,
    /// The message with the button.
    #[serde(default, deserialize_with = "or_default")]
    pub message: Option<CallbackMessage>,
    /// What the button sends back.
    #[serde(default, deserialize_with = "or_default")]
    pub data: Option<String>,
}

/// The message with a button that was pressed. Of an old one Telegram tells no more than this, so no more is read of any.
/// <https://core.telegram.org/bots/api#inaccessiblemessage>
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct CallbackMessage {
    /// Where.
    pub chat: Chat,
    /// Its number in its chat.
    pub message_id: i64,
}

/// What the bot is in a chat has changed. <https://core.telegram.org/bots/api#chatmemberupdated>
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct ChatMemberUpdated {
    /// Where.
    pub chat: Chat,
    /// What the bot is now: `member`, `administrator`, `restricted`, `left` or `kicked`. A person who blocks the bot has `kicked` it.
    #[serde(rename = "new_chat_member", deserialize_with = "status")]
    pub new_status: String,
}

/// A private chat, group or channel. <https://core.telegram.org/bots/api#chat>
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Chat {
    /// Its id: at most 52 bits, negative for groups.
    pub id: i64,
    /// What it is: `private`, `group`, `supergroup` or `channel`.
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// How it is called. Private chats have no title.
    #[serde(default, deserialize_with = "or_default")]
    pub title: Option<String>,
}

impl Chat {
    /// Whether a person talks to the bot alone.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.kind == "private"
    }

    /// Whether several people talk here.
    #[must_use]
    pub fn is_group(&self) -> bool {
        matches!(self.kind.as_str(), "group" | "supergroup")
    }
}

/// What is not as expected is taken for missing. So is a list, which would else be read as the fields of an object in their order.
fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(if value.is_array() { T::default() } else { serde_json::from_value(value).unwrap_or_default() })
}

/// The status of a member of a chat. <https://core.telegram.org/bots/api#chatmember>
fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    struct ChatMember {
        status: String,
    }
    ChatMember::deserialize(deserializer).map(|member| member.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Update {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_text_is_read() {
        let update = read(
            r#"{"update_id":5,"message":{"message_id":1,"date":2,"from":{"id":3,"is_bot":false,"first_name":"A"},
            "chat":{"id":-7,"type":"group","title":"Home"},"text":"hi"}}"#,
        );
        let message = update.message.unwrap();
        assert_eq!(
            (update.update_id, message.message_id, message.chat.id, message.text.as_deref()),
            (Some(5), Some(1), -7, Some("hi"))
        );
        assert_eq!(message.from, Some(User { id: 3, is_bot: false }));
        assert!(!message.chat.is_private() && message.chat.is_group());
        assert_eq!(message.chat.title.as_deref(), Some("Home"));
    }

    #[test]
    fn what_is_replied_to_is_read_and_no_further() {
        let replied = |to: &str| {
            let json =
                format!(r#"{{"message":{{"chat":{{"id":1}},"text":"Laptop","reply_to_message":{to}}}}}"#);
            let message = read(&json).message.unwrap();
            assert_eq!(message.text.as_deref(), Some("Laptop"), "{to}");
            message.reply_to_message
        };
        let whole = replied(
            r#"{"message_id":4,"date":2,"chat":{"id":1},"from":{"id":9,"is_bot":true},"text":"The name?",
            "reply_to_message":{"message_id":3,"reply_to_message":{"message_id":2}}}"#,
        );
        let bot = User { id: 9, is_bot: true };
        let text = Some("The name?".to_owned());
        assert_eq!(whole, Some(RepliedTo { message_id: Some(4), from: Some(bot), text }));
        let nothing = Some(RepliedTo { message_id: None, from: None, text: None });
        assert_eq!(replied(r#"{"message_id":"4","from":{"id":"x"},"text":7,"reply_to_message":8}"#), nothing);
        assert_eq!(replied(r#"{"photo":[]}"#), nothing);
        for odd in ["null", "7", r#""x""#, "[7]", "true"] {
            assert_eq!(replied(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_group_that_moves_is_told_from_both_ends() {
        let moved = read(
            r#"{"update_id":1,"message":{"chat":{"id":-7,"type":"group"},"migrate_to_chat_id":-1001234567890}}"#,
        );
        assert_eq!(moved.message.unwrap().migrate_to_chat_id, Some(-1_001_234_567_890));
        let moved = read(
            r#"{"update_id":2,"message":{"chat":{"id":-1001234567890,"type":"supergroup"},"migrate_from_chat_id":-7}}"#,
        );
        let message = moved.message.unwrap();
        assert_eq!((message.migrate_from_chat_id, message.migrate_to_chat_id), (Some(-7), None));
        assert!(message.chat.is_group());
    }

    #[test]
    fn a_button_is_read_even_when_its_message_is_inaccessible() {
        let pressed = |message: &str| {
            let json = format!(
                r#"{{"update_id":1,"callback_query":{{"id":"77","from":{{"id":3}},"chat_instance":"x","data":"mute"{message}}}}}"#
            );
            read(&json).callback_query.unwrap()
        };
        let inaccessible = r#","message":{"chat":{"id":-7,"type":"group"},"message_id":4,"date":0}"#;
        let query = pressed(inaccessible);
        let message = query.message.unwrap();
        assert_eq!((message.chat.id, message.message_id), (-7, 4));
        assert_eq!((query.id.as_str(), query.data.as_deref()), ("77", Some("mute")));
        assert_eq!(query.from, Some(User { id: 3, is_bot: false }));
        for nothing in
            ["", r#","message":{}"#, r#","message":{"chat":{"id":1}}"#, r#","inline_message_id":"x""#]
        {
            assert_eq!(pressed(nothing).message, None, "{nothing}");
        }
    }

    #[test]
    fn what_the_bot_is_in_a_chat_is_read() {
        let update = read(
            r#"{"update_id":1,"my_chat_member":{"chat":{"id":3,"type":"private"},"from":{"id":3},"date":1,
            "old_chat_member":{"status":"member"},"new_chat_member":{"user":{"id":9,"is_bot":true},"status":"kicked","until_date":0}}}"#,
        );
        let member = update.my_chat_member.unwrap();
        assert_eq!(
            (member.chat.id, member.chat.is_private(), member.new_status.as_str()),
            (3, true, "kicked")
        );
    }

    #[test]
    fn whatever_else_comes_is_an_update_that_says_nothing() {
        for json in [
            "{}",
            r#"{"update_id":"x"}"#,
            r#"{"edited_message":{}}"#,
            r#"{"message":7,"callback_query":7,"my_chat_member":7}"#,
            r#"{"message":null,"callback_query":null,"my_chat_member":null}"#,
            r#"{"message":{"chat":{}},"callback_query":{"data":"x"},"my_chat_member":{"chat":{"id":1}}}"#,
            r#"{"message":{"chat":{"id":"x"},"text":"hi"},"callback_query":{"id":7},
            "my_chat_member":{"chat":{"id":1},"new_chat_member":{"status":7}}}"#,
            r#"{"my_chat_member":{"chat":{"id":1},"new_chat_member":"kicked"}}"#,
        ] {
            assert_eq!(read(json), Update::default(), "{json}");
        }
        let odd = read(
            r#"{"message":{"message_id":"x","from":{"id":1.5},"chat":{"id":1,"type":4,"title":[]},"text":["hi"],"migrate_to_chat_id":{}}}"#,
        );
        let bare = read(r#"{"message":{"chat":{"id":1}}}"#);
        assert_eq!(odd, bare);
        assert_eq!(bare.message.unwrap().text, None);
    }
}
