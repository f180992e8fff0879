//! MAC addresses: 48 bits that say who sent a frame (IEEE 802-2014, clause 8).

use std::fmt;
use std::str::FromStr;

/// A MAC address in transmission order. Printed in lower case with colons, `a4:83:e7:4e:39:15`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

/// The text is no MAC address in any usual spelling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address: expected 12 hexadecimal digits such as a4:83:e7:4e:39:15")]
pub struct NotAMac;

impl Mac {
    /// The address with these six bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The six bytes in transmission order.
    #[must_use]
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// Whether the device chose the address itself (bit 1 of the first byte), as phones do to stay anonymous:
    /// such an address has no vendor and may be gone in a minute.
    #[must_use]
    pub const fn is_locally_administered(self) -> bool {
        let [first, ..] = self.0;
        first & 0x02 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = NotAMac;

    /// Reads any usual spelling, in either case: `a4:83:e7:4e:39:15`, `A4-83-E7-4E-39-15`, `a483.e74e.3915` (Cisco),
    /// `a483e74e3915`. The separators must stand where that spelling has them, all of one kind.
    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let text = text.trim().as_bytes();
        let group = match text.len() {
            12 => 12,
            14 => 4,
            17 => 2,
            _ => return Err(NotAMac),
        };
        let separators: &[u8] = match group {
            2 => b":-",
            4 => b".:-",
            _ => b"",
        };
        let mut separator = None;
        let mut bytes = [0_u8; 6];
        let mut digits = 0;
        for (position, &byte) in text.iter().enumerate() {
            if position % (group + 1) == group {
                if !separators.contains(&byte) || *separator.get_or_insert(byte) != byte {
                    return Err(NotAMac);
                }
                continue;
            }
            let digit =
                char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(NotAMac)?;
            let slot = bytes.get_mut(digits / 2).ok_or(NotAMac)?;
            *slot = (*slot << 4) | digit;
            digits += 1;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_is_read() {
        for text in [
            "a4:83:e7:4e:39:15",
            "A4:83:E7:4E:39:15",
            "a4-83-e7-4e-39-15",
            "a483.e74e.3915",
            "A483E74E3915",
            " a4:83:e7:4e:39:15\n",
        ] {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), "a4:83:e7:4e:39:15", "{text:?}");
        }
    }

    #[test]
    fn what_is_no_mac_is_refused() {
        for text in [
            "",
            "sony-vaio",
            "a4:83:e7:4e:39",
            "a4:83:e7:4e:39:1",
            "a4:83:e7:4e:39:15:00",
            "a4:83-e7:4e:39:15",
            "a4:83:e7:4e:39:1g",
            "a483:e74e.3915",
            "a483e74e391é",
            "🛎🛎🛎",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(NotAMac), "{text:?}");
        }
    }

    #[test]
    fn the_local_bit_tells_random_addresses() {
        assert!(!"a4:83:e7:4e:39:15".parse::<Mac>().unwrap().is_locally_administered());
        assert!("62:45:b6:c6:7e:03".parse::<Mac>().unwrap().is_locally_administered());
    }
}
