//! A walk over JSON of the plainest shape: no spaces, no escapes in texts, whole numbers. What machines write is nearly always of
//! it, and a walk over it takes less time than a parser.
//!
//! It declines everything else, valid or not, by answering `None`; a real parser then has the word. So it must never accept what
//! a parser would refuse (RFC 8259), and need not accept all that a parser would.

/// A place in a JSON text. After `None` the place is of no use.
#[derive(Debug)]
pub struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    /// At the beginning of a text, which has no backslash and no control character anywhere: one look at all of it, many bytes at
    /// a time, costs less than a look at each text in it.
    #[must_use]
    pub fn new(text: &'a str) -> Option<Self> {
        let is_odd = |byte: &u8| u8::from(*byte < 0x20) | u8::from(*byte == b'\\');
        // without a way out in the middle the compiler makes vector instructions of it
        let odd = text.as_bytes().iter().fold(0, |odd, byte| odd | is_odd(byte));
        (odd == 0).then_some(Self { text, at: 0 })
    }

    /// An object: `field` is called with each name and walks over its value.
    pub fn object(&mut self, mut field: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.list(b'{', b'}', |walk| {
            let name = walk.string()?;
            walk.takes(b':').then_some(())?;
            field(walk, name)
        })
    }

    /// An array: `item` walks over each of its values.
    pub fn array(&mut self, item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.list(b'[', b']', item)
    }

    fn list(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.takes(open).then_some(())?;
        if self.takes(close) {
            return Some(());
        }
        loop {
            item(self)?;
            if !self.takes(b',') {
                return self.takes(close).then_some(());
            }
        }
    }

    /// A text without escapes.
    pub fn string(&mut self) -> Option<&'a str> {
        self.takes(b'"').then_some(())?;
        let rest = self.text.get(self.at..)?;
        let length = memchr::memchr(b'"', rest.as_bytes())?;
        self.at += length + 1;
        rest.get(..length)
    }

    /// A whole number: no fraction, no exponent, no zero in front, no minus zero.
    pub fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        let _sign = self.takes(b'-');
        let digits = self.at;
        while self.next().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        let number = self.text.get(start..self.at)?;
        if self.text.as_bytes().get(digits) == Some(&b'0') && number != "0" {
            return None;
        }
        number.parse().ok()
    }

    /// Whether the next value is `null`, which is then behind us.
    pub fn null(&mut self) -> bool {
        let is_null = self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(b"null"));
        self.at += if is_null { 4 } else { 0 };
        is_null
    }

    /// Whether a text comes next.
    #[must_use]
    pub fn is_at_string(&self) -> bool {
        self.next() == Some(b'"')
    }

    /// Nothing comes next.
    #[must_use]
    pub fn end(&self) -> Option<()> {
        (self.at == self.text.len()).then_some(())
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.next() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Walks over any value, to its end.
    fn walks(text: &str) -> bool {
        fn value(walk: &mut Walk<'_>) -> Option<()> {
            match walk.next()? {
                b'{' => walk.object(|walk, _name| value(walk)),
                b'[' => walk.array(value),
                b'"' => walk.string().map(drop),
                b'n' => walk.null().then_some(()),
                _ => walk.integer().map(drop),
            }
        }
        Walk::new(text).is_some_and(|mut walk| value(&mut walk).and_then(|()| walk.end()).is_some())
    }

    #[test]
    fn the_plain_shape_is_walked_over() {
        for text in [
            r#"{"a":["b",""],"a":{},"":[]}"#,
            r#"[0,-1,9223372036854775807,-9223372036854775808,null]"#,
            "\"caf\u{e9} \u{10ffff} \u{7f} and more than sixteen bytes\"",
        ] {
            assert!(walks(text), "{text}");
        }
    }

    #[test]
    fn every_other_shape_is_declined() {
        for text in [
            "",
            " 1",
            "1 ",
            "01",
            "-01",
            "-0",
            "-",
            "+1",
            "1.0",
            "1e3",
            "9223372036854775808",
            "true",
            "nul",
            "nulll",
            "{}}",
            "[1,]",
            "[,1]",
            "[1",
            "[1}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:1}",
            "{,}",
            "\"",
            "\"\\\"",
            "\"\\n\"",
            "\"\n\"",
            "\"\u{1f}\"",
            "\"0123456789abcde\u{0}\"",
            "[[1] ]",
        ] {
            assert!(!walks(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_a_parser_refuses_is_never_walked_over(text in r#"[\[\]{}:,"\\0-9a-e.n \n-]{0,24}"#) {
            if walks(&text) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            }
        }

        #[test]
        fn a_text_ends_where_it_ends(text in "[^\"\\\\\\x00-\\x1f]{0,80}", rest in ".{0,40}") {
            let json = format!("\"{text}\"{rest}");
            let is_plain = !rest.contains(|odd: char| odd == '\\' || odd < ' ');
            let walked = Walk::new(&json).and_then(|mut walk| walk.string());
            prop_assert_eq!(walked, is_plain.then_some(text.as_str()));
        }
    }
}
