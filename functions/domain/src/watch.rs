//! Watches: which networks' names somebody wants to hear of. What the seed kept in topic `ssid_alert_list`.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64;

use crate::ssid::NotAnSsid;
use crate::{EventTime, Ssid};

/// The longest reason that is kept, in characters: it stands in every message.
pub const MAX_REASON_CHARS: usize = 200;
/// The longest pattern, in bytes: as long as an SSID.
const MAX_PATTERN_BYTES: usize = Ssid::MAX_BYTES;

/// Which SSIDs a watch is about: one by its exact bytes, one in any case, or all that a pattern with `*` and `?` describes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    name: Name,
    any_case: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Exact(Ssid),
    /// `*` is any number of characters, `?` is one.
    Wild(String),
}

/// The text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAPattern {
    /// It is no SSID either.
    #[error(transparent)]
    Ssid(#[from] NotAnSsid),
    /// It is longer than any SSID.
    #[error("a pattern has at most 255 bytes, not {0}")]
    TooLong(usize),
    /// It would match everything that is heard.
    #[error("a pattern needs a character beside * and ?: it would match every network")]
    Everything,
}

impl Pattern {
    /// This SSID and no other.
    #[must_use]
    pub const fn exact(ssid: Ssid) -> Self {
        Self { name: Name::Exact(ssid), any_case: false }
    }

    /// The pattern that somebody wrote: `hex:524e4d30` for exact bytes, `*` and `?` as wildcards, anything else as it stands.
    ///
    /// # Errors
    /// [`NotAPattern`] says what is wrong with it.
    pub fn read(text: &str, any_case: bool) -> Result<Self, NotAPattern> {
        if let Some(hex) = text.strip_prefix("hex:") {
            return Ok(Self { name: Name::Exact(Ssid::from_hex(hex)?), any_case });
        }
        if !text.contains(['*', '?']) {
            return Ok(Self { name: Name::Exact(Ssid::new(text.as_bytes())?), any_case });
        }
        match text.len() {
            length if length > MAX_PATTERN_BYTES => Err(NotAPattern::TooLong(length)),
            _ if text.chars().all(|character| matches!(character, '*' | '?')) => Err(NotAPattern::Everything),
            _ => Ok(Self { name: Name::Wild(text.to_owned()), any_case }),
        }
    }

    /// The one SSID that this is about, if it is one by its exact bytes.
    #[must_use]
    pub const fn ssid(&self) -> Option<&Ssid> {
        match &self.name {
            Name::Exact(ssid) if !self.any_case => Some(ssid),
            _ => None,
        }
    }

    /// Whether an SSID is one of those.
    #[must_use]
    pub fn matches(&self, ssid: &Ssid) -> bool {
        match &self.name {
            Name::Exact(wanted) if !self.any_case => wanted == ssid,
            Name::Exact(wanted) => units(wanted.bytes(), true) == units(ssid.bytes(), true),
            Name::Wild(pattern) => {
                is_like(&units(pattern.as_bytes(), self.any_case), &units(ssid.bytes(), self.any_case))
            }
        }
    }

    /// The pattern in a form of its own, to be a key or part of one: no two patterns have the same.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let (form, bytes) = match &self.name {
            Name::Exact(ssid) => (if self.any_case { b'~' } else { b'=' }, ssid.bytes()),
            Name::Wild(pattern) => (if self.any_case { b'?' } else { b'*' }, pattern.as_bytes()),
        };
        [&[form], bytes].concat()
    }

    /// The pattern of a canonical form.
    #[must_use]
    pub fn of_canonical(bytes: &[u8]) -> Option<Self> {
        let (form, bytes) = bytes.split_first()?;
        let any_case = matches!(form, b'~' | b'?');
        let name = match form {
            b'=' | b'~' => Name::Exact(Ssid::new(bytes).ok()?),
            b'*' | b'?' => Name::Wild(String::from_utf8(bytes.to_vec()).ok()?),
            _ => return None,
        };
        Some(Self { name, any_case })
    }

    /// The smaller, the more it says: of several watches that an SSID matches, the first counts.
    fn vagueness(&self) -> (bool, bool, std::cmp::Reverse<usize>) {
        let (is_wild, literal) = match &self.name {
            Name::Exact(ssid) => (false, ssid.bytes().len()),
            Name::Wild(pattern) => {
                (true, pattern.chars().filter(|character| !matches!(character, '*' | '?')).count())
            }
        };
        (is_wild, self.any_case, std::cmp::Reverse(literal))
    }
}

/// For people, in a form that is read back as the same pattern.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Exact(ssid) => {
                let text = ssid.to_string();
                // what is escaped, looks like a pattern or would not be read back goes by its bytes
                let is_plain = text.as_bytes() == ssid.bytes()
                    && !text.contains(['*', '?'])
                    && !text.starts_with("hex:")
                    && text.trim() == text;
                if is_plain { f.write_str(&text)? } else { write!(f, "hex:{}", ssid.hex())? }
            }
            Name::Wild(pattern) => match Ssid::new(pattern.as_bytes()) {
                Ok(safe) => write!(f, "{safe}")?,
                Err(_longer_than_an_ssid) => f.write_str("…")?,
            },
        }
        if self.any_case { f.write_str(" (any case)") } else { Ok(()) }
    }
}

/// A character, or a byte that belongs to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Char(char),
    Byte(u8),
}

fn units(bytes: &[u8], fold_case: bool) -> Vec<Unit> {
    let mut units = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if fold_case {
                units.extend(character.to_lowercase().map(Unit::Char));
            } else {
                units.push(Unit::Char(character));
            }
        }
        units.extend(chunk.invalid().iter().copied().map(Unit::Byte));
    }
    units
}

/// Matches `*` and `?`. Going back only to the last `*` is enough, so a hostile name costs at most the product of both lengths.
fn is_like(pattern: &[Unit], name: &[Unit]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(unit) = name.get(from) {
        match pattern.get(at) {
            Some(Unit::Char('*')) => {
                star = Some((at, from));
                at += 1;
            }
            Some(Unit::Char('?')) => (at, from) = (at + 1, from + 1),
            Some(wanted) if wanted == unit => (at, from) = (at + 1, from + 1),
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (at, from) = (place + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|unit| *unit == Unit::Char('*'))
}

/// Who made a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Somebody in this chat, for this chat.
    Chat(i64),
    /// Topic `ssid_alert_list`, for every chat.
    Topic,
}

/// What somebody wants to hear of, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Who made it.
    pub origin: Origin,
    /// Which SSIDs.
    pub pattern: Pattern,
    /// Why, if that was said.
    pub reason: Option<String>,
    /// When it was made, in milliseconds since 1970: it is about records that came into the log no earlier.
    pub made_ms: EventTime,
    /// How long a device must be silent before it is told again, in milliseconds. 0 tells of every probe request.
    pub cooldown_ms: i64,
}

impl Watch {
    /// The quiet time unless a watch has its own.
    pub const COOLDOWN_MS: i64 = 15 * 60 * 1000;

    /// What the watch is called in buttons and keys.
    #[must_use]
    pub fn id(&self) -> WatchId {
        let origin = match self.origin {
            Origin::Topic => "topic".to_owned(),
            Origin::Chat(chat) => chat.to_string(),
        };
        WatchId(xxh3_64(&[origin.as_bytes(), b"#", &self.pattern.canonical()].concat()))
    }

    /// The order in which watches of a chat answer for a record: the more exact first, then those of the chat itself.
    #[must_use]
    pub fn rank(&self) -> impl Ord + use<> {
        (self.pattern.vagueness(), self.origin)
    }
}

/// What a watch is called: a hash of its origin and pattern, so short that it fits into a button of Telegram (64 bytes), and the
/// same when the watch is made again. Printed as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(u64);

impl fmt::Display for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for WatchId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, any_case: bool, name: &[u8]) -> bool {
        Pattern::read(pattern, any_case).unwrap().matches(&Ssid::new(name).unwrap())
    }

    #[test]
    fn a_name_matches_itself_alone() {
        assert!(matches("RNM-GUEST", false, b"RNM-GUEST"));
        for other in [&b"rnm-guest"[..], b"RNM-GUEST ", b"RNM-GUES", b"RNM-GUEST2"] {
            assert!(!matches("RNM-GUEST", false, other), "{other:?}");
        }
        assert!(
            matches("rnm-guest", true, b"RNM-GUEST") && matches("STRASSE É", true, "strasse é".as_bytes())
        );
        assert!(matches("hex:636166e9", false, b"caf\xe9") && matches("hex:2a", false, b"*"));
    }

    #[test]
    fn wildcards_stand_for_characters() {
        for (pattern, name, is_match) in [
            ("RNM*", &b"RNM"[..], true),
            ("RNM*", b"RNM-GUEST", true),
            ("RNM*", b"xRNM", false),
            ("*GUEST", b"RNM-GUEST", true),
            ("R*M*T", b"RNM-GUEST", true),
            ("RNM?", b"RNM0", true),
            ("RNM?", b"RNM", false),
            ("caf?", "café".as_bytes(), true),
            ("caf?", b"caf\xe9", true),
            ("a*b*c", b"aXbXbXc", true),
            ("a*b*c", b"aXbXbX", false),
        ] {
            assert_eq!(matches(pattern, false, name), is_match, "{pattern} {name:?}");
        }
        assert!(matches("rnm*", true, b"RNM-GUEST") && !matches("rnm*", false, b"RNM-GUEST"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        assert_eq!(Pattern::read("", false), Err(NotAPattern::Ssid(NotAnSsid::Empty)));
        assert_eq!(Pattern::read("**", false), Err(NotAPattern::Everything));
        assert_eq!(Pattern::read("hex:0", false), Err(NotAPattern::Ssid(NotAnSsid::NotHex)));
        assert_eq!(Pattern::read(&"a*".repeat(200), false), Err(NotAPattern::TooLong(400)));
    }

    #[test]
    fn the_more_exact_watch_answers() {
        let watch = |text: &str, any_case, origin| Watch {
            origin,
            pattern: Pattern::read(text, any_case).unwrap(),
            reason: None,
            made_ms: 0,
            cooldown_ms: 0,
        };
        let order = [
            watch("RNM0", false, Origin::Chat(1)),
            watch("RNM0", false, Origin::Topic),
            watch("RNM0", true, Origin::Chat(1)),
            watch("RNM?", false, Origin::Topic),
            watch("R*", false, Origin::Chat(1)),
        ];
        for pair in order.windows(2) {
            assert!(pair[0].rank() < pair[1].rank(), "{pair:?}");
        }
        assert_ne!(order[0].id(), order[1].id());
        assert_eq!(order[0].id().to_string().parse(), Ok(order[0].id()));
    }

    #[test]
    fn hostile_patterns_end_soon() {
        let pattern = format!("{}b", "a*".repeat(127));
        assert!(!matches(&pattern, false, &[b'a'; 255]));
    }

    proptest! {
        #[test]
        fn what_people_are_shown_is_read_back_as_the_same(bytes in prop::collection::vec(0_u8.., 1..=40)) {
            let pattern = Pattern::exact(Ssid::new(bytes).unwrap());
            prop_assert_eq!(Pattern::read(&pattern.to_string(), false).unwrap(), pattern.clone());
            prop_assert_eq!(Pattern::of_canonical(&pattern.canonical()), Some(pattern));
        }
    }
}
