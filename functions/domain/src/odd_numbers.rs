//! Numbers that JSON does not have, and that MongoDB's driver within Debezium, and `mongoexport` before 4.2, write all the same.

use std::io::{self, Read};

/// Text of JSON, in which `NaN`, `Infinity`, `+Infinity` and `-Infinity` become a zero with blanks behind, so that all else stays where
/// it stands. JSON knows no such number: <https://www.rfc-editor.org/rfc/rfc8259#section-6>.
#[derive(Debug)]
pub struct OddNumbers<R> {
    text: R,
    at: At,
    /// The byte before.
    last: u8,
}

#[derive(Debug, Clone, Copy)]
enum At {
    /// Outside of strings.
    Between,
    InString,
    /// Behind a backslash in a string.
    Escaped,
    /// In an odd number, of which this should follow.
    Odd(&'static [u8]),
}

impl<R> OddNumbers<R> {
    /// This text.
    pub const fn new(text: R) -> Self {
        Self { text, at: At::Between, last: b' ' }
    }

    fn mended(&mut self, byte: u8) -> u8 {
        let (at, written) = match (self.at, byte) {
            (At::Odd([next, rest @ ..]), _) if *next == byte => (At::Odd(rest), b' '),
            (At::Between | At::Odd(_), b'"') => (At::InString, byte),
            (At::Between, b'N') => (At::Odd(b"aN"), b'0'),
            (At::Between, b'I') => (At::Odd(b"nfinity"), b'0'),
            // JSON has it in an exponent alone
            (At::Between, b'+') if !matches!(self.last, b'e' | b'E') => (At::Between, b' '),
            (At::Between | At::Odd(_), _) => (At::Between, byte),
            (At::InString, b'"') => (At::Between, byte),
            (At::InString, b'\\') => (At::Escaped, byte),
            (At::InString | At::Escaped, _) => (At::InString, byte),
        };
        (self.at, self.last) = (at, byte);
        written
    }
}

impl<R: Read> Read for OddNumbers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.text.read(buffer)?;
        for byte in buffer.iter_mut().take(bytes) {
            *byte = self.mended(*byte);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text as it is read in pieces of so many bytes.
    fn mended(text: &str, piece: usize) -> String {
        let mut odd = OddNumbers::new(text.as_bytes());
        let (mut read, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            let bytes = odd.read(&mut buffer).unwrap();
            if bytes == 0 {
                return String::from_utf8(read).unwrap();
            }
            read.extend_from_slice(&buffer[..bytes]);
        }
    }

    #[test]
    fn odd_numbers_become_zero_in_their_place_and_nothing_else_changes() {
        for (text, expected) in [
            (r#"{"a":NaN,"b":[-Infinity]}"#, r#"{"a":0  ,"b":[-0       ]}"#),
            (r#"{"a": +Infinity,"Infinity": Infinity}"#, r#"{"a":  0       ,"Infinity": 0       }"#),
            (r#"{"NaN":"\"NaN +1 \\","a":1e+5,"b":-1E+5}"#, r#"{"NaN":"\"NaN +1 \\","a":1e+5,"b":-1E+5}"#),
            (r#"{"a":"NaN\\","b":NaN}"#, r#"{"a":"NaN\\","b":0  }"#),
        ] {
            for piece in [1, 2, 7, 100] {
                assert_eq!(mended(text, piece), expected, "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_only_begins_like_one_stays_wrong() {
        for text in [r#"{"a":Nothing}"#, r#"{"a":NaNs}"#, r#"{"a":Infinite}"#, r#"{"a":NaN1}"#] {
            assert!(serde_json::from_str::<serde_json::Value>(&mended(text, 100)).is_err(), "{text}");
        }
    }
}
