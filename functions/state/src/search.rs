//! Which devices are meant by a part of a name or of an address.
//!
//! One Query for all names; for what may be a part of an address one for the devices of each of the last two days; and of the devices
//! that are shown one each for what they are called as of now. An index answers for a beginning only, and a part may stand
//! anywhere: so all names are read, which are a few tens of bytes each.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Day, EventTime, Mac};

use crate::error::Error;
use crate::folded::folded;
use crate::item::Item as _;
use crate::names::{self, Names, View};
use crate::{Table, key};

/// So many devices are given by name.
pub const MAX_FOUND: usize = 50;
/// So many names are given when none has that in it.
const MAX_NEAREST: usize = 3;
/// How alike a name must be, from 0 to 1.
const ALIKE: f64 = 0.6;
/// So many digits may be a part of an address. Fewer would find everybody.
const DIGITS: std::ops::RangeInclusive<usize> = 4..=12;
/// What has more characters is compared to no name: how alike two texts are costs the product of their lengths.
const MAX_COMPARED: usize = 100;
/// So many names, and so many devices of a day, are looked through.
const MAX_ENTRIES: usize = 100_000;
/// What is longer is no part of a name.
const MAX_ASKED_BYTES: usize = 1_000;
const DAY_MS: EventTime = 24 * 60 * 60 * 1000;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Devices that are called exactly so.
    pub exact: Vec<(Mac, Names)>,
    /// Devices that have it in a name or in their address, the best first.
    pub partial: Vec<(Mac, Names)>,
    /// So many more have it than [`MAX_FOUND`].
    pub more: usize,
    /// When nothing has it: those whose names are most like it.
    pub nearest: Vec<(Mac, Names)>,
}

/// How well something fits, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Whole,
    Beginning,
    Word,
    Within,
    Address,
}

/// What is looked for.
struct Wanted {
    name: String,
    /// The digits, if it may be a part of an address.
    digits: Option<String>,
}

/// Looks for devices by a part of a name, in any case, or of an address, in any spelling.
///
/// # Errors
/// When the table does not answer.
pub async fn search(
    table: &Table,
    generation: u32,
    view: View,
    asked: &str,
    now_ms: EventTime,
) -> Result<Found, Error> {
    let wanted = Wanted { name: folded(asked), digits: digits(asked) };
    if wanted.name.is_empty() || asked.len() > MAX_ASKED_BYTES {
        return Ok(Found::default());
    }
    let labels = labels(table, view).await?;
    let heard = match wanted.digits {
        Some(_) => heard_of_late(table, generation, now_ms).await?,
        None => BTreeSet::new(),
    };
    let mut fits: BTreeMap<Mac, Fit> = BTreeMap::new();
    let of_labels =
        labels.iter().filter_map(|(label, mac)| Some((*mac, wanted.fits([label.as_str()], *mac)?)));
    let of_heard = heard.into_iter().filter_map(|mac| Some((mac, wanted.fits([], mac)?)));
    for (mac, fit) in of_labels.chain(of_heard) {
        let best = fits.entry(mac).or_insert(fit);
        *best = fit.min(*best);
    }
    let mut found = Found::default();
    if fits.is_empty() {
        let nearest = nearest(&labels, &wanted.name);
        let mut names = names::of(table, nearest.iter().copied(), view).await?;
        found.nearest = nearest.into_iter().filter_map(|mac| Some((mac, names.remove(&mac)?))).collect();
        return Ok(found);
    }
    let mut best: Vec<(Fit, Mac)> = fits.into_iter().map(|(mac, fit)| (fit, mac)).collect();
    best.sort_unstable();
    found.more = best.len().saturating_sub(MAX_FOUND);
    best.truncate(MAX_FOUND);
    let mut names = names::of(table, best.iter().map(|(_, mac)| *mac), view).await?;
    let mut partial: Vec<(Fit, Option<String>, Mac, Names)> = Vec::new();
    for (_, mac) in best {
        let names = names.remove(&mac).unwrap_or_default();
        let labels: Vec<String> = names.all().iter().map(|name| folded(&name.label)).collect();
        let is_called_so = labels.first().is_some_and(|best| *best == wanted.name);
        // the index lags behind: what has another name since is not meant any more
        match wanted.fits(labels.iter().map(String::as_str), mac) {
            Some(_) if is_called_so => found.exact.push((mac, names)),
            Some(fit) => partial.push((fit, labels.into_iter().next(), mac, names)),
            None => {}
        }
    }
    partial.sort_by(|a, b| (a.0, &a.1, a.2).cmp(&(b.0, &b.1, b.2)));
    found.partial = partial.into_iter().map(|(_, _, mac, names)| (mac, names)).collect();
    Ok(found)
}

impl Wanted {
    /// How well it fits a device with these folded names, if it does.
    fn fits<'a>(&self, labels: impl IntoIterator<Item = &'a str>, mac: Mac) -> Option<Fit> {
        let by_name = labels.into_iter().filter_map(|label| fit(label, &self.name)).min();
        let has = |digits: &String| plain_digits(&mac.to_string()).contains(digits);
        by_name.or_else(|| self.digits.as_ref().filter(|digits| has(digits)).map(|_| Fit::Address))
    }
}

fn fit(label: &str, wanted: &str) -> Option<Fit> {
    let mut places = label.match_indices(wanted).map(|(at, _)| at).peekable();
    match places.peek()? {
        0 if label.len() == wanted.len() => Some(Fit::Whole),
        0 => Some(Fit::Beginning),
        _ => {
            let begins_word = |at: usize| {
                label
                    .get(..at)
                    .and_then(|before| before.chars().next_back())
                    .is_some_and(|c| !c.is_alphanumeric())
            };
            Some(if places.any(begins_word) { Fit::Word } else { Fit::Within })
        }
    }
}

/// The hexadecimal digits of what may be a part of an address.
fn digits(asked: &str) -> Option<String> {
    let asked = asked.trim();
    let may_be = asked.bytes().all(|byte| byte.is_ascii_hexdigit() || b":-.".contains(&byte));
    let digits = plain_digits(asked);
    (may_be && DIGITS.contains(&digits.len())).then_some(digits)
}

fn plain_digits(text: &str) -> String {
    let digits = text.chars().filter(char::is_ascii_hexdigit);
    digits.map(|digit| digit.to_ascii_lowercase()).collect()
}

/// All names that count, folded, each with its device.
async fn labels(table: &Table, view: View) -> Result<Vec<(String, Mac)>, Error> {
    let (entries, is_cut) = table.query_entries(key::BY_LABEL, ("label_of", key::NAMES), MAX_ENTRIES).await?;
    if is_cut {
        tracing::warn!(
            looked_at = MAX_ENTRIES,
            "there are more names: a search does not find those behind them"
        );
    }
    let mut labels = Vec::with_capacity(entries.len());
    for entry in &entries {
        if view.shows(entry.text("pk")?) {
            let range = entry.text("label")?;
            let (label, mac) = key::folded_and_mac(range).ok_or_else(|| entry.unreadable("label"))?;
            labels.push((label.to_owned(), mac));
        }
    }
    Ok(labels)
}

/// The devices that were heard today or yesterday (UTC), whatever they are called.
async fn heard_of_late(table: &Table, generation: u32, now_ms: EventTime) -> Result<BTreeSet<Mac>, Error> {
    let mut heard = BTreeSet::new();
    for day in [now_ms, now_ms.saturating_sub(DAY_MS)].map(Day::of) {
        let hash = key::day_index_hash(generation, day);
        let (entries, is_cut) = table.query_entries(key::BY_DAY, ("day", &hash), MAX_ENTRIES).await?;
        if is_cut {
            tracing::warn!(%day, looked_at = MAX_ENTRIES, "more devices were heard: a search does not find those behind them");
        }
        for entry in &entries {
            heard
                .insert(entry.text("day_device")?.parse().map_err(|_no_mac| entry.unreadable("day_device"))?);
        }
    }
    Ok(heard)
}

/// The devices whose names, or words of them, are most like what was asked for.
fn nearest(labels: &[(String, Mac)], wanted: &str) -> Vec<Mac> {
    let length = wanted.chars().count();
    if length > MAX_COMPARED {
        return Vec::new();
    }
    // a text of less than that part of the other's length cannot be so alike
    let may_be = |part: &&str| {
        let (shorter, longer) = match part.chars().take(2 * length).count() {
            other if other < length => (other, length),
            other => (length, other),
        };
        shorter as f64 >= ALIKE * longer as f64
    };
    let likeness = |label: &str| {
        // all of `name (hostname)`, its name, and each word
        let name = label.split(" (").next();
        let parts = std::iter::once(label).chain(name).chain(label.split([' ', '(', ')', '-', '_']));
        parts
            .filter(may_be)
            .map(|part| strsim::normalized_damerau_levenshtein(part, wanted))
            .fold(0.0, f64::max)
    };
    let mut alike: Vec<(f64, &str, Mac)> =
        labels.iter().map(|(label, mac)| (likeness(label), label.as_str(), *mac)).collect();
    alike.retain(|(likeness, _, _)| *likeness >= ALIKE);
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    let mut nearest: Vec<Mac> = Vec::new();
    for (_, _, mac) in alike {
        if !nearest.contains(&mac) {
            nearest.push(mac);
        }
    }
    nearest.truncate(MAX_NEAREST);
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_fits_the_better_the_nearer_it_is_to_the_whole() {
        for (label, wanted, expected) in [
            ("iphone", "iphone", Some(Fit::Whole)),
            ("iphone (robins)", "iphone", Some(Fit::Beginning)),
            ("robin's iphone", "iphone", Some(Fit::Word)),
            ("xiphone my iphone", "iphone", Some(Fit::Word)),
            ("myiphone", "iphone", Some(Fit::Within)),
            ("ipad", "iphone", None),
            ("küche", "üche", Some(Fit::Within)),
        ] {
            assert_eq!(fit(label, wanted), expected, "{label} {wanted}");
        }
        assert!(Fit::Whole < Fit::Beginning && Fit::Within < Fit::Address);
    }

    #[test]
    fn a_part_of_an_address_is_read_in_any_spelling() {
        for (asked, expected) in [
            ("a4:83", Some("a483")),
            ("39-15", Some("3915")),
            ("A483.e7", Some("a483e7")),
            ("cafe", Some("cafe")),
            ("39", None),
            ("a4:83:e7:4e:39:15:00", None),
            ("a4:8g", None),
            ("Robin", None),
        ] {
            assert_eq!(digits(asked).as_deref(), expected, "{asked}");
        }
        let wanted = Wanted { name: "e7:4e:39".to_owned(), digits: digits("e7:4e:39") };
        let mac = "a4:83:e7:4e:39:15".parse().unwrap();
        assert_eq!(wanted.fits(["robin"], mac), Some(Fit::Address));
        assert_eq!(wanted.fits(["e7:4e:39"], mac), Some(Fit::Whole));
    }

    #[test]
    fn who_mistypes_is_told_what_is_most_like_it() {
        let mac = |last| Mac::new([0, 0, 0, 0, 0, last]);
        let labels = ["robin's iphone (robins-iphone)", "kitchen sonos", "sonas", "printer"];
        let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).zip((0..).map(mac)).collect();
        assert_eq!(nearest(&labels, "sonoss"), [mac(1), mac(2)]);
        assert_eq!(nearest(&labels, "iphnoe"), [mac(0)]);
        assert_eq!(nearest(&labels, "zzz"), []);
        assert_eq!(nearest(&labels, &"sonoss".repeat(100)), []);
    }
}
