//! Why a call of the Bot API failed, and whether it may have been carried out all the same.
//!
//! `sendMessage` has no key by which a repeated call would be known, so a message that is sent twice arrives twice. Who sends has to
//! know whether a call certainly was not carried out.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::client::API_URL;

/// Why a call failed. Holds no URL and no token.
#[derive(Debug, thiserror::Error)]
pub enum TelegramError {
    /// The server could not be reached. Certainly the call was not carried out.
    #[error("Telegram cannot be reached ({method})")]
    NotSent {
        /// The method called.
        method: &'static str,
        /// Why, without the URL.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The call was sent, and no answer of the Bot API came: it may have been carried out.
    #[error("Telegram did not answer, and may have done it all the same ({method})")]
    AnswerLost {
        /// The method called.
        method: &'static str,
        /// What came instead, without the URL.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server's address is none.
    #[error("the address of the Bot API server is no URL, such as {API_URL}")]
    NotAUrl,
    /// The token is none.
    #[error("Telegram does not know this bot token: get one from @BotFather and check the file it is in")]
    Unauthorized,
    /// Somebody else reads this bot's updates.
    #[error(
        "another program reads this bot's updates, or a webhook is set: stop it, or use another bot ({0})"
    )]
    Conflict(String),
    /// Too many calls.
    #[error("Telegram asks to wait {} s", .retry_after.as_secs())]
    TooManyRequests {
        /// For how long.
        retry_after: Duration,
    },
    /// The bot has no business in this chat any more, until somebody there lets it in again.
    #[error("the bot may not write to this chat: {description}")]
    ChatGone {
        /// Telegram's words.
        description: String,
    },
    /// The group has become a supergroup, which has another id.
    #[error("the group has become a supergroup: {to}")]
    ChatMoved {
        /// The id of the supergroup.
        to: i64,
    },
    /// The marks of the text are wrong. The text alone would do.
    #[error("the marks of the text are wrong: {description}")]
    BadEntities {
        /// Telegram's words.
        description: String,
    },
    /// The message that was to be edited is not there any more, or too old.
    #[error("the message cannot be edited: {description}")]
    MessageGone {
        /// Telegram's words.
        description: String,
    },
    /// The call was refused.
    #[error("Telegram refused {method}: {description} ({code})")]
    Refused {
        /// The method called.
        method: &'static str,
        /// Like an HTTP status.
        code: u16,
        /// Telegram's words.
        description: String,
    },
}

impl TelegramError {
    /// Whether the same call may succeed later. After [`Self::AnswerLost`] it may be carried out twice.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::AnswerLost { .. } | Self::TooManyRequests { .. } => true,
            Self::Refused { code, .. } => *code >= 500,
            Self::NotAUrl
            | Self::Unauthorized
            | Self::Conflict(_)
            | Self::ChatGone { .. }
            | Self::ChatMoved { .. }
            | Self::BadEntities { .. }
            | Self::MessageGone { .. } => false,
        }
    }

    /// Whether an edit was refused because the message already is what it would become.
    pub(crate) fn is_not_modified(&self) -> bool {
        matches!(self, Self::Refused { description, .. } if description.to_ascii_lowercase().contains("message is not modified"))
    }
}

/// How the Bot API answers. <https://core.telegram.org/bots/api#making-requests>
#[derive(Deserialize)]
pub(crate) struct Answer {
    ok: bool,
    result: Option<Value>,
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    parameters: Option<Parameters>,
}

/// <https://core.telegram.org/bots/api#responseparameters>
#[derive(Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

// The Bot API documents no descriptions. These are what its server (tdlib/telegram-bot-api) and Telegram behind it are known to say
// with code 400; all in lower case here.

const CHAT_GONE: &[&str] = &[
    "chat not found",
    "user is deactivated",
    "group chat was deactivated",
    "group chat was upgraded", // and it does not say to what
    "not enough rights to send",
    "have no rights to send",
    "need administrator rights in the channel chat",
    "bot is not a member",
    "bot was kicked",
    "bot was blocked",
    "chat_write_forbidden",
    "chat_send_plain_forbidden",
    "chat_admin_required",
    "chat_restricted",
    "channel_private",
    "peer_id_invalid",
    "user_banned_in_channel",
    "user_is_blocked",
    "input_user_deactivated",
];

const BAD_ENTITIES: &[&str] = &[
    "can't parse entities",
    "can't parse messageentity",
    "entity begin", // "entity begins after the end of the text", "entity beginning at UTF-16 offset 0 ends after the end …"
    "entity ends",
    "entity_",
    "entities_too_long",
];

const MESSAGE_GONE: &[&str] = &[
    "message to edit not found",
    "message can't be edited",
    "there is no text in the message to edit",
    "message_id_invalid",
    "message_edit_time_expired",
    "message_author_required",
];

impl Answer {
    /// Without the token, should a server repeat the address that was asked for.
    pub(crate) fn without(self, token: &str) -> Self {
        if token.is_empty() {
            return self;
        }
        Self { description: self.description.replace(token, "…"), ..self }
    }

    /// The result of a call, or why it failed. `status` is that of the HTTP response.
    pub(crate) fn read(self, method: &'static str, status: u16) -> Result<Value, TelegramError> {
        if self.ok {
            return Ok(self.result.unwrap_or_default());
        }
        let Self { error_code, description, parameters, .. } = self;
        let (retry_after, moved_to) = parameters
            .map_or((None, None), |parameters| (parameters.retry_after, parameters.migrate_to_chat_id));
        if let Some(to) = moved_to {
            return Err(TelegramError::ChatMoved { to });
        }
        let lower_case = description.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|words| lower_case.contains(words));
        let code = if status >= 500 { status } else { error_code.unwrap_or(status) };
        Err(match code {
            // 404 is what a token of another form gets
            401 | 404 => TelegramError::Unauthorized,
            409 => TelegramError::Conflict(description),
            429 => {
                TelegramError::TooManyRequests { retry_after: Duration::from_secs(retry_after.unwrap_or(1)) }
            }
            403 => TelegramError::ChatGone { description },
            400 if says(BAD_ENTITIES) => TelegramError::BadEntities { description },
            400 if says(MESSAGE_GONE) => TelegramError::MessageGone { description },
            400 if says(CHAT_GONE) => TelegramError::ChatGone { description },
            // as "Internal Server Error: sent message was immediately deleted": nobody knows how far it came
            500.. => TelegramError::AnswerLost { method, source: description.into() },
            code => TelegramError::Refused { method, code, description },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> Result<Value, TelegramError> {
        serde_json::from_str::<Answer>(answer).unwrap().read("sendMessage", 418)
    }

    fn bad_request(words: &str) -> TelegramError {
        let description = format!("Bad Request: {words}");
        let answer = serde_json::json!({"ok": false, "error_code": 400, "description": description});
        read(&answer.to_string()).unwrap_err()
    }

    #[test]
    fn a_result_is_a_result() {
        assert_eq!(
            read(r#"{"ok":true,"result":{"message_id":5}}"#).unwrap(),
            serde_json::json!({"message_id": 5})
        );
    }

    #[test]
    fn a_refusal_says_what_can_be_done() {
        let wait = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 14","parameters":{"retry_after":14}}"#;
        assert!(
            matches!(read(wait), Err(TelegramError::TooManyRequests { retry_after }) if retry_after.as_secs() == 14)
        );
        let moved = r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-1001234567890}}"#;
        assert!(matches!(read(moved), Err(TelegramError::ChatMoved { to: -1_001_234_567_890 })));
        let blocked =
            r#"{"ok":false,"error_code":403,"description":"Forbidden: bot was blocked by the user"}"#;
        assert!(
            matches!(read(blocked), Err(TelegramError::ChatGone { description }) if description == "Forbidden: bot was blocked by the user")
        );
        let unknown = r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#;
        assert!(matches!(read(unknown), Err(TelegramError::Unauthorized)));
        let odd = r#"{"ok":false,"error_code":404,"description":"Not Found"}"#;
        assert!(matches!(read(odd), Err(TelegramError::Unauthorized)));
        let other = r#"{"ok":false,"error_code":409,"description":"Conflict: terminated by other getUpdates request"}"#;
        assert!(matches!(read(other), Err(TelegramError::Conflict(_))));
        let broken = r#"{"ok":false,"error_code":500,"description":"Internal Server Error: sent message was immediately deleted"}"#;
        assert!(matches!(read(broken), Err(TelegramError::AnswerLost { method: "sendMessage", .. })));
        let no_code = r#"{"ok":false,"description":"odd"}"#;
        assert!(matches!(read(no_code), Err(TelegramError::Refused { code: 418, .. })));
    }

    #[test]
    fn a_bad_request_is_told_by_its_words() {
        for words in [
            "chat not found",
            "not enough rights to send text messages to the chat",
            "have no rights to send a message",
            "group chat was deactivated",
            "group chat was upgraded to a supergroup chat",
            "need administrator rights in the channel chat",
            "CHAT_WRITE_FORBIDDEN",
            "PEER_ID_INVALID",
        ] {
            assert!(matches!(bad_request(words), TelegramError::ChatGone { .. }), "{words}");
        }
        for words in [
            "can't parse entities: Character '.' is reserved and must be escaped with the preceding '\\'",
            "can't parse MessageEntity: Unsupported type specified",
            "entity begins after the end of the text at UTF-16 offset 4",
            "entity beginning at UTF-16 offset 0 ends after the end of the text at UTF-16 offset 5",
            "entity ends in a middle of a UTF-16 symbol at byte offset 5",
            "ENTITY_BOUNDS_INVALID",
        ] {
            assert!(matches!(bad_request(words), TelegramError::BadEntities { .. }), "{words}");
        }
        for words in ["message to edit not found", "message can't be edited", "MESSAGE_ID_INVALID"] {
            assert!(matches!(bad_request(words), TelegramError::MessageGone { .. }), "{words}");
        }
        for words in [
            "message is too long",
            "message text is empty",
            "message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message",
            "BUTTON_DATA_INVALID",
            "query is too old and response timeout expired or query ID is invalid",
        ] {
            let error = bad_request(words);
            assert!(matches!(error, TelegramError::Refused { code: 400, .. }), "{words}");
            assert_eq!(error.is_not_modified(), words.starts_with("message is not modified"), "{words}");
        }
    }

    #[test]
    fn what_may_succeed_later_is_retryable() {
        let lost = TelegramError::AnswerLost { method: "getMe", source: "it hung up".into() };
        let unsent = TelegramError::NotSent { method: "getMe", source: "nobody there".into() };
        let wait = TelegramError::TooManyRequests { retry_after: Duration::ZERO };
        assert!(lost.retryable() && unsent.retryable() && wait.retryable());
        let description = String::new;
        for never in [
            TelegramError::ChatGone { description: description() },
            TelegramError::ChatMoved { to: 1 },
            TelegramError::BadEntities { description: description() },
            TelegramError::MessageGone { description: description() },
            TelegramError::Refused { method: "getMe", code: 400, description: description() },
        ] {
            assert!(!never.retryable(), "{never:?}");
        }
    }
}
