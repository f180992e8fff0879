//! `probegram export`: what the table holds, as JSON lines: of some devices, or of all.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use runtime::zoned::for_programs;
use serde_json::{Map, Value, json};
use state::export::{self, Exported};
use state::key;
use tempfile::NamedTempFile;

use crate::cli::Export;
use crate::shutdown::{INTERRUPTED, Signals};
use crate::table_socket;
use crate::template::Template;

/// How often it is said how far it is.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Attributes that are times in milliseconds since 1970.
const TIMES_MS: [&str; 5] = ["first", "heard", "last", "made", "since"];

/// Writes a line for each item.
///
/// # Errors
/// When the table cannot be read or the file cannot be written.
pub async fn run(options: Export) -> anyhow::Result<ExitCode> {
    let opened = table_socket::open(&options.which, &Template::read()?).await?;
    // The file has its name when it is whole. It is readable for its owner alone: it is about people.
    let file = match &options.output {
        Some(path) => {
            ensure!(!path.exists(), "{} is there already: name another file", path.display());
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let file = NamedTempFile::with_prefix_in(".probegram-export-", folder);
            Some((path, file.with_context(|| format!("{} cannot be made", path.display()))?))
        }
        None => None,
    };
    let mut out: Box<dyn Write> = match &file {
        Some((_path, file)) => Box::new(BufWriter::new(file.reopen()?)),
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let mut signals = Signals::listen()?;
    let (mut looked_at, mut written) = (0_u64, 0_u64);
    let (began, mut said) = (Instant::now(), Instant::now());
    let mut after = None;
    loop {
        let (items, next) = tokio::select! {
            page = export::page(&opened.table, after.as_ref()) => page?,
            () = signals.wait() => {
                writeln!(std::io::stderr(), "Interrupted: the export is not whole.")?;
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        for item in &items {
            looked_at += 1;
            if options.devices.is_empty() || options.devices.iter().any(|mac| item.mentions(*mac)) {
                writeln!(out, "{}", line(item))?;
                written += 1;
            }
        }
        after = next;
        if after.is_none() {
            break;
        }
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            let rate = looked_at / began.elapsed().as_secs().max(1);
            writeln!(std::io::stderr(), "{looked_at} items looked at, {written} written, {rate} items/s")?;
        }
    }
    out.flush()?;
    if let Some((path, file)) = file {
        file.persist_noclobber(path).with_context(|| format!("{} cannot be made", path.display()))?;
        writeln!(std::io::stdout(), "{written} of {looked_at} items are in {}", path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An item as a line: what it is, its key, and its attributes; times in UTC, bytes in hexadecimal digits.
fn line(item: &Exported) -> Value {
    let mut line = Map::new();
    line.insert("kind".to_owned(), json!(item.kind));
    line.insert("pk".to_owned(), json!(item.key.pk));
    line.insert("sk".to_owned(), json!(item.key.sk));
    if let Some(ssid) = key::ssid_of(&item.key.sk).filter(|_| item.kind == "network") {
        match std::str::from_utf8(ssid.bytes()) {
            Ok(name) => line.insert("network".to_owned(), json!(name)),
            Err(_no_utf8) => line.insert("network_hex".to_owned(), json!(hex(ssid.bytes()))),
        };
    }
    for (name, value) in &item.attributes {
        let value = json_of(value);
        let ms = match (name.as_str(), value.as_i64()) {
            ("expires", Some(seconds)) => Some(seconds.saturating_mul(1000)),
            (name, Some(ms)) if TIMES_MS.contains(&name) => Some(ms),
            _ => None,
        };
        line.insert(name.clone(), ms.and_then(for_programs).map_or(value, Value::String));
    }
    Value::Object(line)
}

fn json_of(value: &export::Value) -> Value {
    match value {
        export::Value::Text(text) => json!(text),
        export::Value::Number(digits) => {
            serde_json::from_str(digits).unwrap_or_else(|_too_long| json!(digits))
        }
        export::Value::Bytes(bytes) => json!(hex(bytes)),
        export::Value::Flag(flag) => json!(flag),
        export::Value::Nothing => Value::Null,
        export::Value::List(values) => values.iter().map(json_of).collect(),
        export::Value::Map(values) => {
            Value::Object(values.iter().map(|(name, value)| (name.clone(), json_of(value))).collect())
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use state::key::Key;

    use super::*;

    #[test]
    fn times_are_told_in_utc_and_bytes_in_digits() {
        let attributes = BTreeMap::from([
            ("count".to_owned(), export::Value::Number("3".to_owned())),
            ("first".to_owned(), export::Value::Number("1587225867000".to_owned())),
            ("expires".to_owned(), export::Value::Number("1587225867".to_owned())),
            ("raw".to_owned(), export::Value::Bytes(vec![0, 255])),
        ]);
        let key = Key { pk: "1#DEVICE#a4:83:e7:4e:39:15".to_owned(), sk: "SSID#caf%E9#pcap@1/0".to_owned() };
        assert_eq!(
            line(&Exported { kind: "network", key, attributes }),
            json!({"kind": "network", "pk": "1#DEVICE#a4:83:e7:4e:39:15", "sk": "SSID#caf%E9#pcap@1/0", "network_hex": "636166e9",
                "count": 3, "first": "2020-04-18T16:04:27.000Z", "expires": "2020-04-18T16:04:27.000Z", "raw": "00ff"})
        );
    }
}
