//! What is written behind `/watch` and its like: options, a name in quotes if it has spaces, a reason, and spans of time. Phones
//! replace quotation marks and dashes while one types, so all of theirs are read.

use domain::Pattern;
use domain::watch::{MAX_REASON_CHARS, NotAPattern};

/// The longest span of time: 30 days, in milliseconds.
pub(crate) const MAX_SPAN_MS: i64 = 30 * DAY_MS;
const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What is shown behind a pattern that is about any case.
const ANY_CASE: &str = " (any case)";
const DASHES: &[char] = &['-', '–', '—', '−', '‐', '‑'];

/// What `/watch` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) pattern: Pattern,
    /// At most [`MAX_REASON_CHARS`] characters.
    pub(crate) reason: Option<String>,
    /// Only if it was said.
    pub(crate) cooldown_ms: Option<i64>,
}

/// What was written cannot be read. Says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotRead {
    #[error("it needs the name of a network")]
    NoName,
    #[error("the quotation mark before the name has no other behind it")]
    OpenQuote,
    #[error("-c needs a time such as 90s, 15m, 2h or 1d (30 days at most; 0 tells of every probe request)")]
    NoCooldown,
    #[error(transparent)]
    Pattern(#[from] NotAPattern),
}

/// Reads `[-i] [-c 30m] NAME [reason…]`.
pub(crate) fn read(text: &str) -> Result<Wanted, NotRead> {
    let mut options = Options::default();
    let rest = options.read(text)?;
    let (name, rest) = match quoted(rest)? {
        Some(parts) => parts,
        None => word(rest),
    };
    let rest = options.read(rest)?;
    let reason: String = rest.trim().chars().take(MAX_REASON_CHARS).collect();
    Ok(Wanted {
        pattern: pattern(name, options.any_case)?,
        reason: (!reason.is_empty()).then_some(reason),
        cooldown_ms: options.cooldown_ms,
    })
}

/// Reads `[-i] NAME`, where nothing follows the name, so that it needs no quotes; and what a list shows.
pub(crate) fn read_name(text: &str) -> Result<Pattern, NotRead> {
    let mut options = Options::default();
    let rest = options.read(text)?.trim();
    let name = match quoted(rest)? {
        Some((name, after)) if after.trim().is_empty() => name,
        Some((name, after)) if is_any_case(after) => {
            options.any_case = true;
            name
        }
        _ => match rest.strip_suffix(ANY_CASE) {
            Some(name) => {
                options.any_case = true;
                name
            }
            None => rest,
        },
    };
    pattern(name, options.any_case)
}

/// Reads a span of time: `90s`, `15m`, `2h`, `1d`, or plain minutes; at most [`MAX_SPAN_MS`]. In milliseconds.
pub(crate) fn span_ms(text: &str) -> Option<i64> {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit_ms = match unit.to_ascii_lowercase().as_str() {
        "s" => SECOND_MS,
        "" | "m" | "min" => MINUTE_MS,
        "h" => HOUR_MS,
        "d" => DAY_MS,
        _ => return None,
    };
    let span = number.parse::<i64>().ok()?.checked_mul(unit_ms)?;
    (span <= MAX_SPAN_MS).then_some(span)
}

/// A span of time for people: `90 s`, `15 min`, `2 h`, `30 days`.
pub(crate) fn span(ms: i64) -> String {
    match ms {
        DAY_MS => "1 day".to_owned(),
        ms if ms % DAY_MS == 0 => format!("{} days", ms / DAY_MS),
        ms if ms % HOUR_MS == 0 => format!("{} h", ms / HOUR_MS),
        ms if ms % MINUTE_MS == 0 => format!("{} min", ms / MINUTE_MS),
        ms => format!("{} s", ms / SECOND_MS),
    }
}

/// A minus that a phone has made a dash of.
pub(crate) fn with_plain_minus(text: &str) -> String {
    match text.trim().strip_prefix(DASHES) {
        Some(rest) => format!("-{rest}"),
        None => text.trim().to_owned(),
    }
}

/// The two sides of a dash, of whatever kind.
pub(crate) fn around_dash(text: &str) -> Option<(&str, &str)> {
    let (from, to) = text.split_once(DASHES)?;
    Some((from.trim(), to.trim()))
}

fn pattern(name: &str, any_case: bool) -> Result<Pattern, NotRead> {
    if name.is_empty() { Err(NotRead::NoName) } else { Ok(Pattern::read(name, any_case)?) }
}

#[derive(Default)]
struct Options {
    any_case: bool,
    cooldown_ms: Option<i64>,
}

impl Options {
    /// Reads the options at the beginning of a text. What follows them.
    fn read<'a>(&mut self, text: &'a str) -> Result<&'a str, NotRead> {
        let mut rest = text.trim_start();
        loop {
            let (option, after) = word(rest);
            if is_option(option, "i") {
                self.any_case = true;
                rest = after;
            } else if is_option(option, "c") {
                let (cooldown, after) = word(after);
                self.cooldown_ms = Some(span_ms(cooldown).ok_or(NotRead::NoCooldown)?);
                rest = after;
            } else {
                return Ok(rest);
            }
        }
    }
}

fn is_option(word: &str, letter: &str) -> bool {
    word.strip_prefix(DASHES).is_some_and(|name| name.eq_ignore_ascii_case(letter))
}

fn is_any_case(text: &str) -> bool {
    text.trim() == ANY_CASE.trim()
}

/// The first word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// The text in quotation marks at the beginning, and what follows them, if it begins with one. The closing one has a space or
/// nothing behind it: a name may have others in it.
fn quoted(text: &str) -> Result<Option<(&str, &str)>, NotRead> {
    let mut characters = text.chars();
    let closing: &[char] = match characters.next() {
        Some('"' | '“' | '”' | '„' | '‟') => &['"', '“', '”'],
        Some('«' | '»') => &['»', '«'],
        _ => return Ok(None),
    };
    let inside = characters.as_str();
    for (at, mark) in inside.char_indices().filter(|(_, character)| closing.contains(character)) {
        let Some((name, behind)) = inside.split_at_checked(at) else { continue };
        let behind = behind.strip_prefix(mark).unwrap_or(behind);
        if behind.is_empty() || behind.starts_with(char::is_whitespace) {
            // French has a space on the inner side of each, which phones put in
            let is_french = closing.contains(&'«');
            let name = if is_french { name.trim_matches([' ', '\u{a0}', '\u{202f}']) } else { name };
            return Ok(Some((name, behind.trim_start())));
        }
    }
    Err(NotRead::OpenQuote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str, any_case: bool, reason: Option<&str>, cooldown_ms: Option<i64>) -> Wanted {
        let pattern = Pattern::read(name, any_case).unwrap();
        Wanted { pattern, reason: reason.map(str::to_owned), cooldown_ms }
    }

    #[test]
    fn a_watch_is_read_in_every_spelling() {
        let cases = [
            ("RNM-GUEST", wanted("RNM-GUEST", false, None, None)),
            ("RNM-GUEST guest  network", wanted("RNM-GUEST", false, Some("guest  network"), None)),
            ("  -i RNM* the pub ", wanted("RNM*", true, Some("the pub"), None)),
            ("—I –c 30m RNM0", wanted("RNM0", true, None, Some(30 * MINUTE_MS))),
            ("RNM0 -c 0 all of it", wanted("RNM0", false, Some("all of it"), Some(0))),
            ("\"The Red Lion\" the pub", wanted("The Red Lion", false, Some("the pub"), None)),
            ("“The Red Lion” the pub", wanted("The Red Lion", false, Some("the pub"), None)),
            ("„The Red Lion“ the pub", wanted("The Red Lion", false, Some("the pub"), None)),
            ("«\u{a0}The Red Lion\u{202f}» the pub", wanted("The Red Lion", false, Some("the pub"), None)),
            ("»The Red Lion«", wanted("The Red Lion", false, None, None)),
            ("\" a\"b \" r", wanted(" a\"b ", false, Some("r"), None)),
            ("\"-i\"", wanted("-i", false, None, None)),
            ("-x", wanted("-x", false, None, None)),
            ("hex:636166e9 café", wanted("hex:636166e9", false, Some("café"), None)),
            ("Robin’s", wanted("Robin’s", false, None, None)),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for (text, why) in [
            ("", NotRead::NoName),
            ("-i", NotRead::NoName),
            ("\"\"", NotRead::NoName),
            ("\"The Red Lion", NotRead::OpenQuote),
            ("-c soon RNM0", NotRead::NoCooldown),
            ("-c 31d RNM0", NotRead::NoCooldown),
            ("**", NotRead::Pattern(NotAPattern::Everything)),
        ] {
            assert_eq!(read(text), Err(why), "{text}");
        }
        let reason = read(&format!("a {}", "é".repeat(1_000))).unwrap().reason.unwrap();
        assert_eq!(reason.chars().count(), MAX_REASON_CHARS);
    }

    #[test]
    fn a_name_alone_needs_no_quotes_and_is_read_as_it_is_shown() {
        for (text, name, any_case) in [
            ("The Red Lion", "The Red Lion", false),
            ("“The Red Lion”", "The Red Lion", false),
            ("-i The Red Lion", "The Red Lion", true),
            ("The Red Lion (any case)", "The Red Lion", true),
            ("\"The Red Lion\" (any case)", "The Red Lion", true),
            ("hex:00ff", "hex:00ff", false),
        ] {
            assert_eq!(read_name(text), Ok(Pattern::read(name, any_case).unwrap()), "{text}");
        }
        assert_eq!(read_name(" "), Err(NotRead::NoName));
    }

    #[test]
    fn spans_of_time_have_a_unit_or_are_minutes() {
        for (text, span) in [
            ("90s", Some(90 * SECOND_MS)),
            ("15m", Some(15 * MINUTE_MS)),
            ("15M", Some(15 * MINUTE_MS)),
            ("2h", Some(2 * HOUR_MS)),
            ("30d", Some(MAX_SPAN_MS)),
            ("7", Some(7 * MINUTE_MS)),
            ("0", Some(0)),
            ("31d", None),
            ("99999999999999999999", None),
            ("9223372036854775807d", None),
            ("m", None),
            ("", None),
            ("-5m", None),
            ("5é", None),
            ("é", None),
        ] {
            assert_eq!(span_ms(text), span, "{text}");
        }
        let told = [90_000, 900_000, 7_200_000, 86_400_000, 172_800_000].map(span);
        assert_eq!(told, ["90 s", "15 min", "2 h", "1 day", "2 days"]);
    }
}
