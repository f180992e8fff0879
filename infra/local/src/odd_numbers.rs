//! The numbers that `mongoexport` wrote before 4.2 though JSON has none of them.

use std::io::{self, Read};

/// Text of JSON, in which `NaN`, `Infinity`, `+Infinity` and `-Infinity` become a zero with blanks behind, so that all else stays where
/// it stands. JSON knows no such number: <https://www.rfc-editor.org/rfc/rfc8259#section-6>.
#[derive(Debug)]
pub struct OddNumbers<R> {
    text: R,
    at: At,
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
        Self { text, at: At::Between }
    }

    fn mended(&mut self, byte: u8) -> u8 {
        let (at, written) = match (self.at, byte) {
            (At::Odd([next, rest @ ..]), _) if *next == byte => (At::Odd(rest), b' '),
            (At::Between | At::Odd(_), b'"') => (At::InString, byte),
            (At::Between, b'N') => (At::Odd(b"aN"), b'0'),
            (At::Between, b'I') => (At::Odd(b"nfinity"), b'0'),
            // no exponent has it behind a blank, which is all that stands before a value
            (At::Between | At::Odd(_), _) => (At::Between, byte),
            (At::InString, b'"') => (At::Between, byte),
            (At::InString, b'\\') => (At::Escaped, byte),
            (At::InString | At::Escaped, _) => (At::InString, byte),
        };
        self.at = at;
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
