//! What may be in a message: <https://core.telegram.org/bots/api#sendmessage>, `#messageentity`, `#inlinekeyboardbutton` and
//! `#forcereply` there.
//!
//! Where the documentation gives no words for a refusal they are those of TDLib, on which the Bot API stands.

use serde_json::Value;

use super::methods::{Params, Refusal, bad};

/// The most UTF-16 code units of a text.
const MAX_TEXT: usize = 4096;
/// So many entities count; those after them are ignored.
const MAX_ENTITIES: usize = 100;
/// The most buttons of an inline keyboard.
const MAX_BUTTONS: usize = 100;
/// The most bytes of a button's `callback_data`.
const MAX_CALLBACK_DATA: usize = 64;
/// The most UTF-16 code units of what stands in an empty field for a reply.
const MAX_PLACEHOLDER: usize = 64;

const ENTITY_TYPES: [&str; 19] = [
    "mention",
    "hashtag",
    "cashtag",
    "bot_command",
    "url",
    "email",
    "phone_number",
    "bold",
    "italic",
    "underline",
    "strikethrough",
    "spoiler",
    "blockquote",
    "expandable_blockquote",
    "code",
    "pre",
    "text_link",
    "text_mention",
    "custom_emoji",
];

/// What a button may do: exactly one of these.
const BUTTON_ACTIONS: [&str; 10] = [
    "url",
    "callback_data",
    "web_app",
    "login_url",
    "switch_inline_query",
    "switch_inline_query_current_chat",
    "switch_inline_query_chosen_chat",
    "copy_text",
    "callback_game",
    "pay",
];

/// What may be below a message, or asked with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Markup {
    /// Whatever there is: of a message that is sent.
    Any,
    /// "only possible to edit messages without reply_markup or with inline keyboards" (#updating-messages)
    InlineKeyboard,
}

/// What is said in a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Content {
    pub(super) text: String,
    pub(super) entities: Vec<Value>,
    pub(super) reply_markup: Option<Value>,
}

impl Content {
    /// That of `sendMessage` and `editMessageText`.
    pub(super) fn of(params: &Params, allowed: Markup) -> Result<Self, Refusal> {
        let text = params.text("text").unwrap_or_default();
        if text.trim().is_empty() {
            return Err(bad("message text is empty"));
        }
        if text.encode_utf16().count() > MAX_TEXT {
            return Err(bad("message is too long"));
        }
        if params.text("parse_mode").is_some_and(|mode| !mode.is_empty()) {
            // The real one formats; here texts are as they are and `entities` say the rest.
            return Err(bad("unsupported parse_mode"));
        }
        let entities = entities(&text, params.json("entities")?)?;
        Ok(Self { text, entities, reply_markup: reply_markup(params, allowed)? })
    }
}

/// The entities of a text, if they may be; without those of no length, as the real one answers.
fn entities(text: &str, entities: Option<Value>) -> Result<Vec<Value>, Refusal> {
    let mut entities = match entities {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(entities)) => entities,
        Some(_) => return Err(bad("can't parse entities: expected an Array of MessageEntity")),
    };
    entities.truncate(MAX_ENTITIES);
    let mut ranges = Vec::new();
    for entity in &entities {
        ranges.push(range(text, entity)?);
    }
    for (position, (offset, end)) in ranges.iter().enumerate() {
        // "If two entities have common characters, one is fully contained inside the other" (#formatting-options)
        let crossed = ranges.iter().take(position).any(|(other, its_end)| {
            (other < offset && offset < its_end && its_end < end)
                || (offset < other && other < end && end < its_end)
        });
        if crossed {
            return Err(ends_outside(*offset, *end));
        }
    }
    entities.retain(|entity| entity["length"] != 0);
    Ok(entities)
}

/// From which UTF-16 code unit to which an entity goes.
fn range(text: &str, entity: &Value) -> Result<(usize, usize), Refusal> {
    let wrong = |why: &str| bad(&format!("can't parse MessageEntity: {why}"));
    let number = |field: &str| match &entity[field] {
        Value::Null => Err(wrong(&format!("Can't find field \"{field}\""))),
        value => value
            .as_i64()
            .and_then(|value| usize::try_from(value).ok())
            .ok_or_else(|| wrong(&format!("Field \"{field}\" must be a non-negative Number"))),
    };
    if !entity["type"].as_str().is_some_and(|kind| ENTITY_TYPES.contains(&kind)) {
        return Err(wrong("Unsupported type specified"));
    }
    let (offset, length) = (number("offset")?, number("length")?);
    let needs = [("text_link", "url"), ("text_mention", "user"), ("custom_emoji", "custom_emoji_id")];
    let lacks = needs.iter().find(|(kind, field)| entity["type"] == *kind && entity[field].is_null());
    if let Some((_, field)) = lacks {
        return Err(wrong(&format!("Can't find field \"{field}\"")));
    }
    let end = offset.saturating_add(length);
    let mut bytes = 0;
    let mut boundaries = vec![(0, 0)]; // in UTF-16 code units, and in bytes
    for character in text.chars() {
        let (units, _) = boundaries[boundaries.len() - 1];
        bytes += character.len_utf8();
        boundaries.push((units + character.len_utf16(), bytes));
    }
    let (whole, _) = boundaries[boundaries.len() - 1];
    if offset > whole || (offset == whole && length > 0) {
        return Err(bad(&format!("entity begins after the end of the text at UTF-16 offset {offset}")));
    }
    if end > whole {
        return Err(ends_outside(offset, end));
    }
    for (unit, does) in [(offset, "begins"), (end, "ends")] {
        if let Err(next) = boundaries.binary_search_by_key(&unit, |(units, _)| *units) {
            let byte = boundaries[next].1;
            return Err(bad(&format!("entity {does} in a middle of a UTF-16 symbol at byte offset {byte}")));
        }
    }
    Ok((offset, end))
}

fn ends_outside(offset: usize, end: usize) -> Refusal {
    bad(&format!(
        "entity beginning at UTF-16 offset {offset} ends after the end of the text at UTF-16 offset {end}"
    ))
}

/// The inline keyboard or the question of a call, if there is one and it may be. Other keyboards are no part of a message.
pub(super) fn reply_markup(params: &Params, allowed: Markup) -> Result<Option<Value>, Refusal> {
    let Some(markup) = params.json("reply_markup")?.filter(|markup| !markup.is_null()) else {
        return Ok(None);
    };
    if !markup.is_object() {
        return Err(bad("object expected as reply markup"));
    }
    for flag in ["force_reply", "remove_keyboard", "selective"] {
        if !(markup[flag].is_null() || markup[flag].is_boolean()) {
            return Err(bad(&format!("field \"{flag}\" must be of type Boolean")));
        }
    }
    check_placeholder(&markup["input_field_placeholder"])?;
    // of several the real one takes the first of these
    let shows = |keyboard: &str| {
        markup[keyboard].as_array().is_some_and(|rows| rows.iter().any(|row| row.get(0).is_some()))
    };
    if shows("keyboard") {
        return only_sent(None, allowed);
    }
    if let Some(rows) = markup.get("inline_keyboard") {
        check_rows(rows)?;
    }
    if shows("inline_keyboard") {
        return Ok(Some(markup));
    }
    if markup["remove_keyboard"] == true {
        return only_sent(None, allowed);
    }
    if markup["force_reply"] == true { only_sent(Some(markup), allowed) } else { Ok(None) }
}

/// What may be with a message that is sent, and with no edit.
fn only_sent(markup: Option<Value>, allowed: Markup) -> Result<Option<Value>, Refusal> {
    match allowed {
        Markup::Any => Ok(markup),
        Markup::InlineKeyboard => Err(bad("inline keyboard expected")),
    }
}

/// The real one takes an empty placeholder for none, and in which words it refuses a long one is not known; the documentation:
/// "1-64 characters".
fn check_placeholder(placeholder: &Value) -> Result<(), Refusal> {
    match placeholder {
        Value::Null => Ok(()),
        Value::String(text) if (1..=MAX_PLACEHOLDER).contains(&text.encode_utf16().count()) => Ok(()),
        Value::String(_) => Err(bad("REPLY_MARKUP_INVALID")),
        _ => Err(bad("field \"input_field_placeholder\" must be of type String")),
    }
}

fn check_rows(rows: &Value) -> Result<(), Refusal> {
    let rows = rows.as_array().ok_or_else(|| bad("field \"inline_keyboard\" must be of type Array"))?;
    let mut buttons = 0;
    for row in rows {
        let row =
            row.as_array().ok_or_else(|| bad("field \"inline_keyboard\" must be an Array of Arrays"))?;
        row.iter().try_for_each(check_button)?;
        buttons += row.len();
    }
    if buttons > MAX_BUTTONS { Err(bad("reply markup is too long")) } else { Ok(()) }
}

fn check_button(button: &Value) -> Result<(), Refusal> {
    let wrong = |why: &str| bad(&format!("can't parse inline keyboard button: {why}"));
    let fields = button.as_object().ok_or_else(|| wrong("InlineKeyboardButton must be an Object"))?;
    if button["text"].as_str().is_none_or(|text| text.trim().is_empty()) {
        return Err(wrong("Button text must be non-empty"));
    }
    let actions: Vec<&str> =
        BUTTON_ACTIONS.into_iter().filter(|action| fields.contains_key(*action)).collect();
    match actions[..] {
        [] => return Err(wrong("Text buttons are unallowed in the inline keyboard")),
        [_] => {}
        // the real one takes one of them silently; the documentation: "Exactly one of the fields"
        _ => return Err(wrong("exactly one action must be specified")),
    }
    let of_length =
        |value: &Value, most: usize| value.as_str().is_some_and(|value| (1..=most).contains(&value.len()));
    if fields.contains_key("callback_data") && !of_length(&button["callback_data"], MAX_CALLBACK_DATA) {
        return Err(bad("BUTTON_DATA_INVALID"));
    }
    if fields.contains_key("url")
        && button["url"].as_str().is_none_or(|url| reqwest::Url::parse(url).is_err())
    {
        return Err(bad("BUTTON_URL_INVALID"));
    }
    let copied = button["copy_text"]["text"].as_str().map_or(0, |text| text.encode_utf16().count());
    if fields.contains_key("copy_text") && !(1..=256).contains(&copied) {
        return Err(bad("BUTTON_COPY_TEXT_INVALID"));
    }
    Ok(())
}
