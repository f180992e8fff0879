//! A text with marks. <https://core.telegram.org/bots/api#messageentity>
//!
//! Names of networks and devices are written by strangers. Telegram can read marks out of a text (`parse_mode`), but then such a
//! name could hold some, or spoil the message. So the marks are told beside the text, by their place in it. Within `code` Telegram
//! makes no links, mentions or commands of what it finds: what a stranger wrote belongs there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limit;

/// So many marks of a text count; Telegram ignores those after them. <https://core.telegram.org/bots/api#formatting-options>
pub const MAX_ENTITIES: usize = 100;

/// A text with marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    text: String,
    units: usize,
    entities: Vec<Entity>,
}

/// A mark: how a part of a text looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// `code` or `bold`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it begins, in UTF-16 code units.
    pub offset: usize,
    /// How far it goes, in UTF-16 code units.
    pub length: usize,
}

impl Text {
    /// An empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: String::new(), units: 0, entities: Vec::new() }
    }

    /// Goes on with text as it is. Telegram makes links, mentions and commands of what looks so: for words of ours,
    /// and of those who may write to the chat anyway.
    #[must_use]
    pub fn plain(mut self, text: impl AsRef<str>) -> Self {
        self.push(text.as_ref());
        self
    }

    /// Goes on in fixed width, and as it is: for what others wrote.
    #[must_use]
    pub fn code(self, text: impl AsRef<str>) -> Self {
        self.marked("code", text.as_ref())
    }

    /// Goes on in bold. Telegram makes links, mentions and commands of what looks so: only for words of ours.
    #[must_use]
    pub fn bold(self, text: impl AsRef<str>) -> Self {
        self.marked("bold", text.as_ref())
    }

    /// Goes on with another text and its marks.
    #[must_use]
    pub fn append(mut self, text: Self) -> Self {
        let begin = self.units;
        let room = MAX_ENTITIES.saturating_sub(self.entities.len());
        let moved = text.entities.into_iter().take(room);
        self.entities.extend(moved.map(|entity| Entity { offset: begin + entity.offset, ..entity }));
        self.text.push_str(&text.text);
        self.units += text.units;
        self
    }

    /// How many UTF-16 code units it has.
    #[must_use]
    pub const fn units(&self) -> usize {
        self.units
    }

    /// The text without its marks.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its marks, in their order.
    #[must_use]
    pub fn entities(&self) -> &[Entity] {
        &self.entities
    }

    /// As much of it as fits into `limit` UTF-16 code units, with an ellipsis where it was cut, as [`limit::cut`] does it. A mark goes
    /// no further than what is left of the text.
    #[must_use]
    pub fn cut(self, limit: usize) -> Self {
        if self.units <= limit {
            return self;
        }
        let text = limit::cut(&self.text, limit);
        let units = limit::units(&text);
        let ellipsis = units.saturating_sub(1);
        let left = |entity: Entity| {
            let length = entity.length.min(ellipsis.saturating_sub(entity.offset));
            (length > 0).then_some(Entity { length, ..entity })
        };
        Self { text, units, entities: self.entities.into_iter().filter_map(left).collect() }
    }

    pub(crate) fn into_parts(self) -> (String, Vec<Entity>) {
        (self.text, self.entities)
    }

    fn marked(mut self, kind: &str, text: &str) -> Self {
        let offset = self.units;
        self.push(text);
        let length = self.units - offset;
        if length > 0 && self.entities.len() < MAX_ENTITIES {
            self.entities.push(Entity { kind: kind.to_owned(), offset, length });
        }
        self
    }

    fn push(&mut self, text: &str) {
        self.units += limit::units(text);
        self.text.push_str(text);
    }
}

/// All plain.
impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

/// All plain.
impl From<String> for Text {
    fn from(text: String) -> Self {
        Self { units: limit::units(&text), text, entities: Vec::new() }
    }
}

/// Without its marks.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is marked, read as Telegram reads it.
    fn marked(text: &Text) -> Vec<(String, String)> {
        let units: Vec<u16> = text.as_str().encode_utf16().collect();
        assert_eq!(text.units(), units.len());
        let part = |entity: &Entity| String::from_utf16(&units[entity.offset..][..entity.length]).unwrap();
        text.entities().iter().map(|entity| (entity.kind.clone(), part(entity))).collect()
    }

    fn pairs<const N: usize>(marks: [(&str, &str); N]) -> Vec<(String, String)> {
        marks.map(|(kind, part)| (kind.to_owned(), part.to_owned())).into()
    }

    #[test]
    fn marks_lie_where_they_were_put_counted_in_utf_16() {
        let text = Text::new().plain("📡 ").code("é@admin📶").plain(" – ").bold("new").code("").plain("!");
        assert_eq!(text.to_string(), "📡 é@admin📶 – new!");
        assert_eq!(marked(&text), pairs([("code", "é@admin📶"), ("bold", "new")]));
        assert_eq!((text.entities()[0].offset, text.entities()[0].length), (3, 9));
    }

    #[test]
    fn an_appended_text_keeps_its_marks() {
        let row = |name: &str| Text::from("📶 ").code(name);
        let text = row("RNM0")
            .plain("\n")
            .append(row("a😀"))
            .append(Text::new())
            .append(Text::from("end".to_owned()));
        assert_eq!(text.as_str(), "📶 RNM0\n📶 a😀end");
        assert_eq!(marked(&text), pairs([("code", "RNM0"), ("code", "a😀")]));
    }

    #[test]
    fn a_cut_text_has_marks_within_what_is_left() {
        let text = Text::new().code("📡📡").plain(" ").bold("bold");
        assert_eq!(text.clone().cut(9), text);
        for (limit, words, marks) in [
            (8, "📡📡 bo…", pairs([("code", "📡📡"), ("bold", "bo")])),
            (6, "📡📡 …", pairs([("code", "📡📡")])),
            (5, "📡📡…", pairs([("code", "📡📡")])),
            (4, "📡…", pairs([("code", "📡")])),
            (3, "📡…", pairs([("code", "📡")])),
            (2, "…", Vec::new()),
            (1, "…", Vec::new()),
        ] {
            let cut = text.clone().cut(limit);
            assert_eq!((cut.as_str(), marked(&cut)), (words, marks), "{limit}");
            assert_eq!(cut.as_str(), limit::cut(text.as_str(), limit));
        }
    }

    #[test]
    fn marks_beyond_a_hundred_are_left_out_and_their_text_is_not() {
        let codes = |count: usize| (0..count).fold(Text::new(), |text, _| text.code("x").plain(" "));
        for text in [codes(101), codes(99).append(codes(2))] {
            assert_eq!((text.entities().len(), text.units()), (100, 202));
            assert_eq!(text.entities()[99].offset, 198);
        }
    }

    #[test]
    fn a_mark_is_told_as_the_bot_api_wants_it() {
        let text = Text::new().code("a");
        assert_eq!(
            serde_json::to_string(text.entities()).unwrap(),
            r#"[{"type":"code","offset":0,"length":1}]"#
        );
    }
}
