//! An update: what happened in a chat, as Telegram tells a bot. <https://core.telegram.org/bots/api#update>
//!
//! Updates come in dozens of kinds, and more are added every year. We read what we answer; anything else is an update that we
//! have nothing to say to, never an error: an error would bring it back for a day.

use serde::{Deserialize, Deserializer};

/// What happened in a chat.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
pub struct Update {
    /// Counts the bot's updates: 0 if the update does not say.
    #[serde(default, deserialize_with = "or_default")]
    pub update_id: i64,
    /// A message that somebody sent.
    #[serde(default, deserialize_with = "or_default")]
    pub message: Option<IncomingMessage>,
}

/// A message that somebody sent.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct IncomingMessage {
    /// Where.
    pub chat: Chat,
    /// Its text. Photos, joins and many others have none.
    #[serde(default, deserialize_with = "or_default")]
    pub text: Option<String>,
}

/// A private chat, group or channel.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Chat {
    /// Its id: at most 52 bits, negative for groups.
    pub id: i64,
    /// What it is: `private`, `group`, `supergroup` or `channel`.
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub kind: String,
}

impl Chat {
    /// Whether a person talks to the bot alone.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.kind == "private"
    }
}

/// What is not as expected is taken for missing.
fn or_default<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
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
            r#"{"update_id":5,"message":{"message_id":1,"date":2,"chat":{"id":-7,"type":"group"},"text":"hi"}}"#,
        );
        let message = update.message.unwrap();
        assert_eq!((update.update_id, message.chat.id, message.text.as_deref()), (5, -7, Some("hi")));
        assert!(!message.chat.is_private());
    }

    #[test]
    fn whatever_else_comes_is_an_update_without_a_message() {
        for json in [
            "{}",
            r#"{"update_id":"x"}"#,
            r#"{"update_id":1,"edited_message":{}}"#,
            r#"{"update_id":1,"message":7}"#,
            r#"{"update_id":1,"message":{"chat":{}}}"#,
            r#"{"update_id":1,"message":{"chat":{"id":"x"},"text":"hi"}}"#,
        ] {
            assert_eq!(read(json).message, None, "{json}");
        }
        let odd = read(r#"{"message":{"chat":{"id":1,"type":4},"text":["hi"]}}"#);
        assert_eq!(odd.message.unwrap().text, None);
    }
}
