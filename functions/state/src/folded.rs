//! Names as they are compared: nobody types a name exactly as somebody else has written it.

use domain::ssid::is_unseen;
use unicode_normalization::UnicodeNormalization as _;

/// A name in small letters and compatibility form (NFKC, <https://www.unicode.org/reports/tr15/>), without what shows nothing, and
/// with one blank between words.
pub(crate) fn folded(name: &str) -> String {
    let seen = name.chars().map(|character| match character {
        white if white.is_whitespace() || white.is_control() => Some(' '),
        unseen if is_unseen(unseen) => None,
        other => Some(other),
    });
    let plain: String = seen.flatten().nfkc().flat_map(char::to_lowercase).nfkc().collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_are_one() {
        for (written, plain) in [
            ("Robin's iPhone", "robin's iphone"),
            ("  Küche \t–  Sonos™ ", "küche – sonostm"),
            ("Ku\u{308}che", "küche"),
            ("Wi\u{200d}-Fi\u{202e}", "wi-fi"),
            ("a\u{7}b", "a b"),
            ("ＦＵＬＬ\u{a0}width", "full width"),
            ("リビングTV", "リビングtv"),
            ("\u{200b}", ""),
        ] {
            assert_eq!(folded(written), plain, "{written:?}");
            assert_eq!(folded(plain), plain, "twice is once");
        }
    }
}
