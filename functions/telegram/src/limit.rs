//! How long a message may be: 4096 UTF-16 code units. <https://core.telegram.org/bots/api#sendmessage>

use domain::ssid;

/// The most UTF-16 code units a message's text may have.
pub const MAX_UNITS: usize = 4096;

/// How many UTF-16 code units a text has: an emoji has two.
#[must_use]
pub fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// As much of a text as fits into `limit` UTF-16 code units, with an ellipsis where it was cut.
#[must_use]
pub fn cut(text: &str, limit: usize) -> String {
    if units(text) <= limit {
        return text.to_owned();
    }
    let mut used = 1; // the ellipsis
    let mut kept: String = text
        .chars()
        .take_while(|character| {
            used += character.len_utf16();
            used <= limit
        })
        .collect();
    kept.push('…');
    kept
}

/// What somebody wrote, fit to stand in a line of at most `limit` UTF-16 code units: without what breaks lines, shows nothing or
/// turns the writing direction.
#[must_use]
pub fn line(text: &str, limit: usize) -> String {
    let shown = |character: char| match character {
        blank if blank.is_whitespace() || blank.is_control() => Some(' '),
        unseen if ssid::is_unseen(unseen) => None,
        other => Some(other),
    };
    let line: String = text.chars().filter_map(shown).collect();
    cut(line.trim(), limit)
}

/// A list as one line, with as many of its entries as fit into `limit` UTF-16 code units, then "and 23 more".
#[must_use]
pub fn list(entries: &[String], separator: &str, limit: usize) -> String {
    let whole = entries.join(separator);
    if units(&whole) <= limit {
        return whole;
    }
    let more = |left: usize| format!("{separator}and {left} more");
    let mut line = String::new();
    for (position, entry) in entries.iter().enumerate() {
        let left = entries.len() - position;
        let longer = if line.is_empty() { entry.clone() } else { format!("{line}{separator}{entry}") };
        if units(&longer) + units(&more(left - 1)) > limit {
            let tail = more(left);
            return line + if position == 0 { tail.trim_start_matches(separator) } else { &tail };
        }
        line = longer;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_in_utf_16() {
        assert_eq!(units("📡é"), 3);
        assert_eq!(cut("📡📡📡", 5), "📡📡…");
        assert_eq!(cut("abc", 3), "abc");
    }

    #[test]
    fn a_list_says_how_many_did_not_fit() {
        let entries: Vec<String> = (0..100).map(|number| format!("net-{number:02}")).collect();
        assert_eq!(list(&entries[..2], ", ", 100), "net-00, net-01");
        let cut = list(&entries, ", ", 60);
        assert_eq!(cut, "net-00, net-01, net-02, net-03, net-04, net-05, and 94 more");
        assert!(units(&cut) <= 60);
        assert_eq!(list(&["x".repeat(100)], ", ", 60), "and 1 more");
    }
}
