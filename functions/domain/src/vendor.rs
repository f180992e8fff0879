//! Who made a device, by its MAC address: the registries of IEEE.
//!
//! The IEEE gives organizations blocks of addresses, by their first 24 bits (MA-L), 28 bits (MA-M) or 36 bits (MA-S,
//! formerly IAB), and publishes to whom (IEEE 802-2014, clause 8.2). `data/ieee.txt` has what it published, `build.rs`
//! makes the tables of it that stand here: a lookup needs no memory and no start.

use std::cmp::Ordering;

use crate::Mac;

/// The names of all organizations, each on its line.
static NAMES: &str = include_str!(concat!(env!("OUT_DIR"), "/names.txt"));
/// Where in them every [`STRIDE`]th line begins.
static STARTS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/starts.bin"));
const STRIDE: usize = 64;

// The blocks by size, as `build.rs` says.
static MA_L: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/blocks-24.bin"));
static MA_M: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/blocks-28.bin"));
static MA_S: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/blocks-36.bin"));

/// The organization to which the IEEE gave the block that an address lies in, as the registry writes it, on one line.
/// `None` for addresses that a device chose itself, which no registry knows, for addresses of groups, and for blocks
/// that nobody has or whose holder wants to stay unknown.
#[must_use]
pub fn of(mac: Mac) -> Option<&'static str> {
    let [a, b, c, d, e, _] = mac.bytes();
    let is_group = a & 0x01 != 0;
    if is_group || mac.is_locally_administered() {
        return None;
    }
    // the smallest block first: larger ones may be divided
    let line = holder(MA_S, [a, b, c, d, e & 0xf0])
        .or_else(|| holder(MA_M, [a, b, c, d & 0xf0]))
        .or_else(|| holder(MA_L, [a, b, c]))?;
    let (starts, _) = STARTS.as_chunks::<3>();
    let &[high, middle, low] = starts.get(line / STRIDE)?;
    let start = usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()?;
    NAMES.get(start..)?.lines().nth(line % STRIDE)
}

/// The line in [`NAMES`] of the organization that holds the block with this prefix.
fn holder<const PREFIX: usize>(blocks: &[u8], prefix: [u8; PREFIX]) -> Option<usize> {
    let count = blocks.len() / (PREFIX + 2);
    let (prefixes, lines) = blocks.split_at_checked(count * PREFIX)?;
    let (lines, _) = lines.as_chunks::<2>();
    let prefix_at =
        |block: usize| (0..PREFIX).filter_map(move |place| prefixes.get(place * count + block).copied());
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        match prefix_at(middle).cmp(prefix) {
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
            Ordering::Equal => return lines.get(middle).map(|line| u16::from_be_bytes(*line).into()),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// The last of all addresses.
    const LAST: u64 = (1 << 48) - 1;

    fn vendor(mac: &str) -> Option<&'static str> {
        of(mac.parse().unwrap())
    }

    fn address(number: u64) -> Mac {
        let [0, 0, bytes @ ..] = number.to_be_bytes() else { panic!("{number:x} has more than 48 bits") };
        Mac::new(bytes)
    }

    /// What the table says, read as it is written: who holds the block with so many hexadecimal digits.
    struct Registry(HashMap<String, &'static str>);

    impl Registry {
        fn read() -> Self {
            let mut blocks = HashMap::new();
            let mut holder = "";
            for line in include_str!("../data/ieee.txt").lines().filter(|line| line.contains('\t')) {
                let (name, block) = line.split_once('\t').unwrap();
                if !name.is_empty() {
                    holder = name;
                }
                blocks.insert(block.to_owned(), holder);
            }
            Self(blocks)
        }

        fn holder(&self, mac: Mac) -> Option<&'static str> {
            let digits = mac.to_string().replace(':', "").to_uppercase();
            (1..=12).rev().find_map(|length| self.0.get(digits.get(..length)?).copied())
        }
    }

    #[test]
    fn blocks_of_every_size_are_known() {
        assert_eq!(vendor("a4:83:e7:4e:39:15"), Some("Apple, Inc."), "MA-L");
        assert_eq!(vendor("c8:5c:e2:70:00:01"), Some("SYNERGY SYSTEMS AND SOLUTIONS"), "MA-M");
        assert_eq!(vendor("8c:1f:64:af:a1:23"), Some("DATA ELECTRONIC DEVICES, INC"), "MA-S");
        assert_eq!(vendor("40:d8:55:0d:7f:ff"), Some("Avant Technologies"), "IAB");
    }

    #[test]
    fn a_divided_block_is_of_those_who_hold_its_parts() {
        // MA-L 8C-1F-64 is the registry's own, and so is what it has not given away of it
        assert_eq!(vendor("8c:1f:64:9b:90:00"), Some("QUERCUS TECHNOLOGIES, S.L."));
        assert_eq!(vendor("8c:1f:64:af:a0:00"), Some("DATA ELECTRONIC DEVICES, INC"));
        assert_eq!(vendor("74:1a:e0:90:00:00"), None, "MA-M 74-1A-E0-9 is of somebody unnamed");
    }

    #[test]
    fn whom_nobody_gave_an_address_has_no_vendor() {
        assert_eq!(vendor("a6:83:e7:4e:39:15"), None, "locally administered");
        assert_eq!(vendor("a5:83:e7:4e:39:15"), None, "a group");
        assert_eq!(vendor("ff:ff:ff:ff:ff:ff"), None, "everybody");
        assert_eq!(vendor("fc:ff:ff:00:00:00"), None, "not given to anybody");
        assert_eq!(vendor("aa:00:04:00:04:00"), None, "in the registry, from before the bit");
    }

    #[test]
    fn every_block_is_found_from_its_first_to_its_last_address() {
        let registry = Registry::read();
        assert!(registry.0.len() > 50_000, "{}", registry.0.len());
        for (block, &name) in &registry.0 {
            let free = 48 - 4 * block.len();
            let first = u64::from_str_radix(block, 16).unwrap() << free;
            let last = first | ((1 << free) - 1);
            assert_eq!(of(address(first)), Some(name), "{block}");
            assert_eq!(of(address(last)), Some(name), "{block}");
            for neighbour in [first.saturating_sub(1), (last + 1).min(LAST)].map(address) {
                assert_eq!(of(neighbour), registry.holder(neighbour), "{neighbour}, next to {block}");
            }
        }
    }

    #[test]
    fn names_are_fit_to_be_shown() {
        for name in NAMES.lines() {
            assert!(!name.is_empty() && name.trim() == name && !name.contains("  "), "{name:?}");
            assert!(!name.contains(|c: char| c.is_control() || (c.is_whitespace() && c != ' ')), "{name:?}");
            assert!(name.chars().count() <= 128, "{name:?}");
        }
    }
}
