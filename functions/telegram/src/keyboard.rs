//! Buttons below a message, or else a field for a reply to it. <https://core.telegram.org/bots/api#inlinekeyboardmarkup>

use serde::{Deserialize, Serialize};

use crate::limit;

/// The most bytes that a button may send back. <https://core.telegram.org/bots/api#inlinekeyboardbutton>
pub const MAX_CALLBACK_BYTES: usize = 64;

/// The most characters of a placeholder, counted in UTF-16 code units, of which there are never fewer.
/// <https://core.telegram.org/bots/api#forcereply>
const MAX_PLACEHOLDER_UNITS: usize = 64;

/// What people find with a message: buttons, or a question that they are to reply to. Telegram takes one of them.
/// <https://core.telegram.org/bots/api#sendmessage>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ReplyMarkup {
    /// Buttons below it.
    Keyboard(Keyboard),
    /// A field for the reply.
    ForceReply(ForceReply),
}

/// Buttons below a message, in rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyboard {
    /// The rows, each with its buttons from left to right.
    pub inline_keyboard: Vec<Vec<Button>>,
}

/// A button that sends its data back when it is pressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// What stands on it.
    pub text: String,
    /// What it sends back: 1 to [`MAX_CALLBACK_BYTES`] bytes. A message with anything else is refused as a whole. Whoever knows the
    /// Bot API can send what no button held: what comes back proves nothing.
    pub callback_data: String,
}

impl Button {
    /// A button with this text, that sends this back.
    #[must_use]
    pub fn new(text: impl Into<String>, callback_data: impl Into<String>) -> Self {
        Self { text: text.into(), callback_data: callback_data.into() }
    }
}

impl Keyboard {
    /// A keyboard of these rows.
    #[must_use]
    pub const fn rows(inline_keyboard: Vec<Vec<Button>>) -> Self {
        Self { inline_keyboard }
    }
}

/// Opens the field for a reply to the message, as if one had chosen to reply. <https://core.telegram.org/bots/api#forcereply>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForceReply {
    /// Telegram wants to be told so.
    force_reply: bool,
    /// What stands in the field while it is empty: at most 64 characters, and no field at all for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    input_field_placeholder: String,
    /// Whether it opens for those alone whom the text mentions or whose message it replies to. Private chats have no others, and
    /// there Telegram ignores this.
    #[serde(default, skip_serializing_if = "is_false")]
    selective: bool,
}

impl ForceReply {
    /// A field that opens for all who see the message, with this in it while it is empty: cut to one line of 64 characters.
    #[must_use]
    pub fn from_all(placeholder: &str) -> Self {
        let input_field_placeholder = limit::line(placeholder, MAX_PLACEHOLDER_UNITS);
        Self { force_reply: true, input_field_placeholder, selective: false }
    }

    /// The same, but only for those whom the text mentions or whose message it replies to.
    #[must_use]
    pub fn from_some(placeholder: &str) -> Self {
        Self { selective: true, ..Self::from_all(placeholder) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
pub(crate) const fn is_false(value: &bool) -> bool {
    !*value
}
