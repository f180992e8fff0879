//! Makes of `data/ieee.txt` the tables in which `src/vendor.rs` looks up who was given a block of addresses.
//!
//! * `names.txt`: the names of all organizations, each on its line.
//! * `blocks-24.bin`, `blocks-28.bin`, `blocks-36.bin`: the blocks of that many bits, first the prefixes in ascending
//!   order, 3, 4 and 5 bytes each with zero bits at the end, then in the same order where in `names.txt` the holder's
//!   line begins, 3 bytes each, big-endian.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

const TABLE: &str = "data/ieee.txt";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={TABLE}");
    let table = fs::read_to_string(TABLE)?;
    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);

    let mut names = String::new();
    let mut holder = None;
    let mut blocks: BTreeMap<usize, BTreeMap<Vec<u8>, [u8; 3]>> = BTreeMap::new();
    for line in table.lines().skip_while(|line| line.starts_with('#')) {
        let wrong = || format!("{TABLE}: {line:?}");
        let (name, digits) = line.split_once('\t').ok_or_else(wrong)?;
        if !name.is_empty() {
            let [0, start @ ..] = u32::try_from(names.len())?.to_be_bytes() else {
                return Err("the names need more than 16 MiB".into());
            };
            holder = Some(start);
            names.push_str(name);
            names.push('\n');
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

    fs::write(folder.join("names.txt"), names)?;
    for (bits, blocks) in blocks {
        let prefixes = blocks.keys().flatten();
        let holders = blocks.values().flatten();
        let bytes: Vec<u8> = prefixes.chain(holders).copied().collect();
        fs::write(folder.join(format!("blocks-{bits}.bin")), bytes)?;
    }
    Ok(())
}
