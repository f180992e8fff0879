//! Makes of `data/ieee.txt` the tables in which `src/vendor.rs` looks up who was given a block of addresses.
//!
//! * `names.txt`: the names of all organizations, each on its line.
//! * `starts.bin`: where in `names.txt` every 64th line begins, 3 bytes each, big-endian.
//! * `blocks-24.bin`, `blocks-28.bin`, `blocks-36.bin`: the blocks of that many bits by their prefixes in ascending order:
//!   the first bytes of all prefixes, then all second ones and so on, 3, 4 and 5 bytes with zero bits at the end; then in
//!   the same order the numbers of their holders' lines in `names.txt`, 2 bytes each, big-endian.
//!
//! Bytes of one kind together are what a zip makes small: functions are deployed in one.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

const TABLE: &str = "data/ieee.txt";
/// So many lines further the beginning of one is known.
const STRIDE: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={TABLE}");
    let table = fs::read_to_string(TABLE)?;
    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);

    let mut names: Vec<&str> = Vec::new();
    let mut holder = None;
    let mut blocks: BTreeMap<usize, BTreeMap<Vec<u8>, [u8; 2]>> = BTreeMap::new();
    for line in table.lines().skip_while(|line| line.starts_with('#')) {
        let wrong = || format!("{TABLE}: {line:?}");
        let (name, digits) = line.split_once('\t').ok_or_else(wrong)?;
        if !name.is_empty() {
            holder = Some(u16::try_from(names.len())?.to_be_bytes());
            names.push(name);
        }
        let prefix = u64::from_str_radix(digits, 16).map_err(|_| wrong())? << (64 - 4 * digits.len().min(16));
        let prefix = prefix.to_be_bytes().get(..digits.len().div_ceil(2)).ok_or_else(wrong)?.to_vec();
        let same_size = blocks.entry(4 * digits.len()).or_default();
        if same_size.insert(prefix, holder.ok_or_else(wrong)?).is_some() {
            return Err(format!("{}, but the block has a holder", wrong()).into());
        }
    }
    if !blocks.keys().eq(&[24, 28, 36]) {
        return Err(format!("{TABLE}: blocks of {:?} bits", blocks.keys()).into());
    }

    let mut starts = Vec::new();
    let mut text = String::new();
    for (line, name) in names.iter().enumerate() {
        if line % STRIDE == 0 {
            let [0, start @ ..] = u32::try_from(text.len())?.to_be_bytes() else {
                return Err("the names need more than 16 MiB".into());
            };
            starts.extend(start);
        }
        text.push_str(name);
        text.push('\n');
    }
    fs::write(folder.join("names.txt"), text)?;
    fs::write(folder.join("starts.bin"), starts)?;
    for (bits, blocks) in blocks {
        let places = 0..bits.div_ceil(8);
        let prefixes = places.flat_map(|place| blocks.keys().filter_map(move |prefix| prefix.get(place)));
        let holders = blocks.values().flatten();
        let bytes: Vec<u8> = prefixes.chain(holders).copied().collect();
        fs::write(folder.join(format!("blocks-{bits}.bin")), bytes)?;
    }
    Ok(())
}
