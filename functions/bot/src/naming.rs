//! `/name`: what a chat itself calls a device. Its name beats all others, in this chat.

use domain::Mac;
use state::names::{self, View};
use telegram::{Button, Text};

use crate::asking::Asking;
use crate::error::Error;
use crate::reply::{self, Question, Reply};

/// The verb of the button that asks for a name.
pub(crate) const NAME: &str = "name";
/// The longest name, in characters.
const MAX_CHARS: usize = 128;
/// What the question for a name begins with: a reply to it is known by that.
const QUESTION: &str = "Reply to this message with the new name of ";

/// `/name MAC Text`, `/name MAC`
pub(crate) async fn name(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let (mac, name) = asked.split_once(char::is_whitespace).unwrap_or((asked, ""));
    match mac.parse() {
        Ok(mac) => set(mac, name, asking).await,
        Err(_no_mac) => Ok(reply::no_mac(mac)),
    }
}

/// A button that asks for a new name.
pub(crate) fn button(mac: Mac) -> Button {
    Button::new("✏️ Rename", format!("{NAME}:{mac}"))
}

/// The question for a new name.
pub(crate) fn ask(mac: Mac) -> Question {
    let text = Text::new().plain(QUESTION).code(mac.to_string()).plain(".");
    Question { text, placeholder: "A name for this device" }
}

/// Which device a message asks a name for, if it is such a question.
pub(crate) fn asked_about(question: &str) -> Option<Mac> {
    question.strip_prefix(QUESTION)?.strip_suffix('.')?.parse().ok()
}

/// Calls a device something, or what it was called without this chat.
pub(crate) async fn set(mac: Mac, name: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let name = name.trim();
    let chat = asking.chat.id;
    if name.is_empty() {
        let was_there = names::take_away(asking.table(), chat, mac).await?;
        let names = names::of_device(asking.table(), mac, View::Chat(chat)).await?;
        let text =
            Text::new().plain(if was_there { "✏️ " } else { "🛎 This chat has given no name to " });
        let text = text.code(mac.to_string());
        return Ok(match (was_there, names.best()) {
            (true, Some(name)) => text.plain(" is called ").code(reply::device_name(name)).plain(" again."),
            (true, None) => text.plain(" has no name any more."),
            (false, _) => text.plain(". Give one with ").code(format!("/name {mac} Kitchen speaker")),
        }
        .into());
    }
    if name.chars().count() > MAX_CHARS {
        return Ok(format!("🛎 A name has at most {MAX_CHARS} characters.").into());
    }
    if name.chars().all(|character| character.is_whitespace() || domain::ssid::is_unseen(character)) {
        return Ok("🛎 That name would show nothing.".into());
    }
    if !names::give(asking.table(), chat, mac, name, asking.now_ms).await? {
        return Ok(format!("🛎 A chat names at most {} devices.", names::MAX_GIVEN).into());
    }
    let text = Text::new().plain("✏️ ").code(mac.to_string()).plain(" is called ");
    Ok(text.code(reply::device_name(name)).plain(" in this chat.").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_for_a_name_says_of_which_device() {
        let mac: Mac = "a4:83:e7:4e:39:15".parse().unwrap();
        assert_eq!(asked_about(ask(mac).text.as_str()), Some(mac));
        for other in [
            "",
            "Reply to this message",
            "a4:83:e7:4e:39:15",
            "Reply to this message with the new name of x.",
        ] {
            assert_eq!(asked_about(other), None, "{other}");
        }
    }
}
