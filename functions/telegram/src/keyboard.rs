//! Buttons below a message. <https://core.telegram.org/bots/api#inlinekeyboardmarkup>

use serde::{Deserialize, Serialize};

/// The most bytes that a button may send back. <https://core.telegram.org/bots/api#inlinekeyboardbutton>
pub const MAX_CALLBACK_BYTES: usize = 64;

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
