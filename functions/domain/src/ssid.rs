//! SSIDs: the names of networks. They are bytes, not text (IEEE 802.11-2020, 9.4.2.2), and hostile.

use std::fmt;

/// The name of a network: 1 to 255 bytes. The standard allows 32; an element can hold 255, and what was heard is kept.
///
/// The wildcard (length 0) is no name and not an `Ssid`: see [`crate::SsidElement`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ssid(Box<[u8]>);

/// The bytes cannot be the name of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnSsid {
    /// No bytes: that is the wildcard.
    #[error("an SSID has at least one byte: the empty one is the wildcard")]
    Empty,
    /// More than an element can hold.
    #[error("an SSID has at most 255 bytes, not {0}")]
    TooLong(usize),
    /// The text is not pairs of hexadecimal digits.
    #[error("not hexadecimal: expected pairs of the digits 0-9 and a-f")]
    NotHex,
}

impl Ssid {
    /// The most bytes an element can hold: its length field is one byte.
    pub const MAX_BYTES: usize = 255;

    /// The SSID with these bytes.
    ///
    /// # Errors
    /// [`NotAnSsid`] when there are none or more than [`Self::MAX_BYTES`].
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, NotAnSsid> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(NotAnSsid::Empty),
            1..=Self::MAX_BYTES => Ok(Self(bytes)),
            length => Err(NotAnSsid::TooLong(length)),
        }
    }

    /// The SSID whose bytes are written as hexadecimal digits without separators, in either case.
    ///
    /// # Errors
    /// [`NotAnSsid`].
    pub fn from_hex(text: &str) -> Result<Self, NotAnSsid> {
        Self::new(bytes_of_hex(text).ok_or(NotAnSsid::NotHex)?)
    }

    /// The bytes as they were heard.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Lower-case hexadecimal digits without separators, exact.
    #[must_use]
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(self.0.len() * 2), |mut hex, byte| {
            let _infallible = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// The bytes read as UTF-8, with U+FFFD in the place of what is none: for programs that have [`Self::hex`] beside it.
    #[must_use]
    pub fn text_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

/// For people: printable text as it is; control characters, invisible and direction-changing ones, backslashes and bytes
/// that are no UTF-8 escaped, so that no name can disturb the line it stands in, or pass for another.
impl fmt::Display for Ssid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character == '\\' {
                    f.write_str("\\\\")?;
                } else if character.is_ascii_graphic() || character == ' ' {
                    write!(f, "{character}")?;
                } else if character.is_ascii_control() {
                    write!(f, "\\x{:02x}", u32::from(character))?;
                } else if is_unseen(character) {
                    write!(f, "{}", character.escape_unicode())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Characters that show nothing, or turn the writing direction of what follows (Unicode 15, 4.4 and 23.2).
#[must_use]
pub fn is_unseen(character: char) -> bool {
    character.is_control()
        || (character.is_whitespace() && character != ' ')
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some((nibble(*high)? << 4) | nibble(*low)?)).collect()
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|nibble| u8::try_from(nibble).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_bytes_are_a_name_and_nothing_is_not() {
        assert_eq!(Ssid::new([0, 0]).unwrap().to_string(), r"\x00\x00");
        assert_eq!(Ssid::new([]), Err(NotAnSsid::Empty));
        assert_eq!(Ssid::new([b'a'; 256]), Err(NotAnSsid::TooLong(256)));
        assert_eq!(Ssid::new([b'a'; 255]).unwrap().bytes().len(), 255);
    }

    #[test]
    fn people_see_text_and_escapes() {
        for (bytes, shown) in [
            (&b"RNM0"[..], "RNM0"),
            (b"_The Wheatley Free WiFi", "_The Wheatley Free WiFi"),
            ("Кафе ☕".as_bytes(), "Кафе ☕"),
            (b"caf\xe9\xff", r"caf\xe9\xff"),
            (b"a\\xff", r"a\\xff"),
            (b"line\nbreak\x1b[31m", r"line\x0abreak\x1b[31m"),
            ("evil\u{202e}exe".as_bytes(), r"evil\u{202e}exe"),
        ] {
            assert_eq!(Ssid::new(bytes).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn hex_comes_back_as_the_same_bytes() {
        let ssid = Ssid::new([0, 0x7f, 0xff]).unwrap();
        assert_eq!(ssid.hex(), "007fff");
        assert_eq!(Ssid::from_hex("007FfF"), Ok(ssid));
        for bad in ["0", "0g", "é0", "+1"] {
            assert_eq!(Ssid::from_hex(bad), Err(NotAnSsid::NotHex), "{bad}");
        }
    }
}
