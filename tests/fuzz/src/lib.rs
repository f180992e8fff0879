//! What the fuzz targets do with an input: decode it, and see that what was understood can be written and read back. The tests
//! do the same with the corpora and with a million mutations of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};

use capture_agent::{capture_file, cli::Cli, config_file};
use clap::Parser as _;
use domain::document_record::{self, Change, MAX_ID_BYTES, MAX_TEXT_BYTES};
use domain::link_layer::{self, Captured, FcsPolicy, LinkType, Rejected};
use domain::record::{self, Record, RecordError};
use domain::watch::MAX_REASON_CHARS;
use domain::{Document, Mac, Probe, SsidElement, heartbeat, list_record};

/// A probe request of `62:45:b6:c6:7e:03` for "RNM0" with its frame check sequence, to stand behind a header.
pub const FRAME: &[u8] =
    b"\x40\0\0\0\xff\xff\xff\xff\xff\xff\x62\x45\xb6\xc6\x7e\x03\xff\xff\xff\xff\xff\xff\x20\x4d\
    \x00\x04RNM0\x01\x04\x02\x04\x0b\x16\x03\x01\x0b\x25\x08\x14\x7a";

/// A captured frame. The first byte chooses the link type, whether an FCS counts, and how much the capture cut off.
pub fn frame(input: &[u8]) {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let link_types = [LinkType::Ieee80211, LinkType::Prism, LinkType::Radiotap, LinkType::Avs, LinkType::Ppi];
    let captured = Captured {
        time: 1_700_000_000_000,
        link_type: link_types[usize::from(choice & 0x0f) % link_types.len()],
        bytes,
        original_length: bytes.len() + usize::from(choice >> 4 & 0x07),
    };
    let fcs = if choice & 0x80 == 0 { FcsPolicy::Ignore } else { FcsPolicy::Verify };
    if let Ok(probe) = link_layer::decode(&captured, fcs) {
        // no more than was captured
        if let SsidElement::Named(ssid) = &probe.ssid {
            assert!(bytes.windows(ssid.bytes().len()).any(|window| window == ssid.bytes()));
        }
        if let Some(source) = probe.source.map(Mac::bytes) {
            assert!(bytes.windows(6).any(|window| window == source));
        }
        reads_back(probe);
    }
}

/// A radiotap header with [`FRAME`] behind it. As in all headers here, the first byte says whether the header's length is put right,
/// so that the frame is found.
pub fn radiotap(input: &[u8]) {
    let header = of_right_length(input, |header, length| {
        if let Some(field) = header.get_mut(2..4) {
            field.copy_from_slice(&length.to_le_bytes()[..2]);
        }
    });
    let length = header.get(2..4).map_or(0, |field| usize::from(u16::from_le_bytes([field[0], field[1]])));
    let expected = match length {
        0..8 => Expected::Refused,
        // bit 26 of a present word, or of a field that is none: no frame was received
        _ if length == header.len()
            && header[4..].chunks(4).any(|word| word.get(3).is_some_and(|byte| byte & 4 != 0)) =>
        {
            Expected::Anything
        }
        _ if length == header.len() => Expected::Understood,
        _ => Expected::Anything,
    };
    behind(LinkType::Radiotap, &header, expected);
}

/// A PPI header with [`FRAME`] behind it.
pub fn ppi(input: &[u8]) {
    let header = of_right_length(input, |header, length| {
        if let Some(field) = header.get_mut(2..4) {
            field.copy_from_slice(&length.to_le_bytes()[..2]);
        }
    });
    behind(LinkType::Ppi, &header, expected_of_ppi(&header).unwrap_or(Expected::Anything));
}

/// `Understood` where fields without meaning for a frame's place fill the header to its end.
fn expected_of_ppi(header: &[u8]) -> Option<Expected> {
    let number = |position: usize| {
        let field = header.get(position..position + 2)?;
        Some(usize::from(u16::from_le_bytes([field[0], field[1]])))
    };
    let is_ieee80211 = header.get(4..8)? == [105, 0, 0, 0];
    let mut position = 8;
    while position < header.len() {
        if matches!(number(position)?, 3 | 4) {
            return None;
        }
        position += 4 + number(position + 2)?;
        if header[1] & 1 != 0 {
            position = position.next_multiple_of(4);
        }
    }
    (is_ieee80211 && position == header.len() && number(2)? == position).then_some(Expected::Understood)
}

/// A Prism header with [`FRAME`] behind it.
pub fn prism(input: &[u8]) {
    let Some((&choice, header)) = input.split_first() else { return };
    let mut header = header.to_vec();
    if choice & 1 != 0 {
        header.resize(144, 0);
    }
    let is_prism = matches!(header.get(..4), Some([0, 0, 0, 0x41 | 0x44] | [0x41 | 0x44, 0, 0, 0]));
    let expected = if is_prism && header.len() == 144 { Expected::Understood } else { Expected::Anything };
    behind(LinkType::Prism, &header, expected);
}

/// An AVS header with [`FRAME`] behind it.
pub fn avs(input: &[u8]) {
    let header = of_right_length(input, |header, length| {
        if let Some(field) = header.get_mut(4..8) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    });
    let length =
        header.get(4..8).map_or(0, |field| u32::from_be_bytes([field[0], field[1], field[2], field[3]]));
    let expected = if header.len() + FRAME.len() < 64 {
        Expected::Refused
    } else if usize::try_from(length) == Ok(header.len()) {
        Expected::Understood
    } else {
        Expected::Anything
    };
    behind(LinkType::Avs, &header, expected);
}

/// The header without the byte that says whether its length is put right.
fn of_right_length(input: &[u8], put: fn(&mut [u8], u32)) -> Vec<u8> {
    let Some((&choice, header)) = input.split_first() else { return Vec::new() };
    let mut header = header.to_vec();
    if choice & 1 != 0 {
        let length = u32::try_from(header.len()).unwrap_or(u32::MAX);
        put(&mut header, length);
    }
    header
}

/// What has to come of a header with [`FRAME`] behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The header ends where the frame begins.
    Understood,
    /// The header cannot be.
    Refused,
    /// Either: the header says that another frame, or none, stands somewhere.
    Anything,
}

fn behind(link_type: LinkType, header: &[u8], expected: Expected) {
    let bytes = [header, FRAME].concat();
    let captured =
        Captured { time: 1_700_000_000_000, link_type, bytes: &bytes, original_length: bytes.len() };
    let told = link_layer::decode(&captured, FcsPolicy::Ignore);
    match &told {
        Ok(probe) if expected == Expected::Understood => {
            assert_eq!(probe.source, Some(Mac::new([0x62, 0x45, 0xb6, 0xc6, 0x7e, 0x03])));
            assert!(matches!(&probe.ssid, SsidElement::Named(ssid) if ssid.bytes() == b"RNM0"));
        }
        Err(why) if expected == Expected::Understood => panic!("{why}: {bytes:02x?}"),
        _ if expected == Expected::Refused => assert_eq!(told, Err(Rejected::BadHeader), "{bytes:02x?}"),
        _ => assert_ne!(told, Err(Rejected::BadFcs), "it is ignored"),
    }
    // asking for the FCS may only take the frame away
    let verified = link_layer::decode(&captured, FcsPolicy::Verify);
    assert!(verified == told || verified == Err(Rejected::BadFcs), "{verified:?}");
    if let Ok(probe) = told {
        reads_back(probe);
    }
}

/// A record of topic `pcap`. Where the walk over plain records answers, the parser has to answer the same.
pub fn record(input: &[u8]) {
    if let Some(walked) = record::walked(input) {
        let told = |answer: Result<Record, RecordError>| answer.map_err(|why| why.to_string());
        assert_eq!(told(walked), told(record::parsed(input)), "{}", String::from_utf8_lossy(input));
    }
    if let Ok(Record::Probe(probe)) = record::decode(input) {
        reads_back(probe);
    }
}

/// A record of a document. What is kept of it fits into a table.
pub fn document(input: &[u8]) {
    let Some((key, value)) = key_and_value(input) else { return };
    let Ok(record) = document_record::decode(key, value) else { return };
    assert!((1..=MAX_ID_BYTES).contains(&record.id.len()));
    assert!(value.is_some() || record.change == Change::Tombstone);
    let document = match record.change {
        Change::Snapshot(document) | Change::Whole(document) | Change::Now(document) => document,
        Change::Partial(fields) => fields.into_iter().collect(),
        Change::Deleted | Change::Tombstone => Document::default(),
    };
    for text in
        [document.name, document.hostname, document.oui, document.model, document.kind].into_iter().flatten()
    {
        assert!((1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.trim().is_empty(), "{text:?}");
    }
}

/// A heartbeat: a record of topic `sensors`, with the key before the value. What is kept of it is bounded and reads back.
pub fn heartbeat(input: &[u8]) {
    let Some((key, value)) = key_and_value(input) else { return };
    let Ok((sensor, said)) = heartbeat::decode(key, value) else { return };
    assert!((1..=255).contains(&sensor.len()));
    assert_eq!(said.is_some(), value.is_some());
    let Some(said) = said else { return };
    assert_eq!(said.sensor, sensor, "the key names the sensor");
    assert!(said.interfaces.len() <= 32 && said.troubles.len() <= 32 && said.delivered.len() <= 1_024);
    assert!(said.interfaces.iter().all(|interface| interface.channels.len() <= 256));
    let texts = said.troubles.iter().flat_map(|trouble| [&trouble.kind, &trouble.reason]);
    let texts = texts.chain(said.interfaces.iter().map(|interface| &interface.name)).chain([&said.version]);
    assert!(texts.into_iter().all(|text| text.chars().count() <= 500));
    let written = heartbeat::encode(&said);
    assert_eq!(heartbeat::decode(key, Some(&written)), Ok((sensor, Some(said))));
}

/// A record of topic `ssid_alert_list`, with the key before the value. What was understood can be said in JSON, and means the
/// same there.
pub fn list_record(input: &[u8]) {
    let Some((key, value)) = key_and_value(input) else { return };
    let Ok(entry) = list_record::decode(key, value) else { return };
    if let Some(listed) = &entry.listed {
        assert!(
            listed.cooldown_ms.is_none_or(|cooldown| (0..=30 * 24 * 60 * 60 * 1_000).contains(&cooldown))
        );
        let length = |reason: &String| reason.chars().count();
        assert!(
            listed.reason.as_ref().map(length).is_none_or(|length| (1..=MAX_REASON_CHARS).contains(&length))
        );
    }
    let Ok(name) = std::str::from_utf8(entry.ssid.bytes()) else { return };
    let key = serde_json::Value::from(name).to_string();
    let value = entry.listed.as_ref().map(|listed| {
        let cooldown_s =
            listed.cooldown_ms.map(|cooldown| format!("{}.{:03}", cooldown / 1_000, cooldown % 1_000));
        serde_json::json!({"reason": listed.reason, "cooldown_s": cooldown_s}).to_string()
    });
    let mut expected = entry;
    if let Some(reason) = expected.listed.as_mut().and_then(|listed| listed.reason.as_mut()) {
        // it may have been cut before a space
        reason.truncate(reason.trim_end().len());
    }
    match list_record::decode(Some(key.as_bytes()), value.as_ref().map(String::as_bytes)) {
        Ok(read) => assert_eq!(read, expected),
        Err(why) => panic!("{key} {value:?}: {why}"),
    }
}

/// A classic capture file. Its first bytes are made those of one, in the order and with the unit of time that they say, if any.
pub fn pcap(input: &[u8]) {
    let magics = [[0xa1, 0xb2, 0xc3, 0xd4], [0xa1, 0xb2, 0x3c, 0x4d], [0xa1, 0xb2, 0xcd, 0x34]];
    let is_right =
        magics.iter().any(|magic| input.starts_with(magic) || input.iter().take(4).rev().eq(magic.iter()));
    begun_with(if is_right { &[] } else { &[0xd4, 0xc3, 0xb2, 0xa1] }, input);
}

/// A pcapng file: it begins with a section header.
pub fn pcapng(input: &[u8]) {
    begun_with(&[0x0a, 0x0d, 0x0d, 0x0a], input);
}

/// A capture file whose first bytes are these.
fn begun_with(magic: &[u8], input: &[u8]) {
    let rest = input.get(magic.len()..).unwrap_or_default();
    let file = [magic, rest].concat();
    let whole = frames_of(&file[..], file.len());
    assert!(
        whole == frames_of(InPieces(&file), file.len()),
        "read in pieces, it says something else: {file:02x?}"
    );
}

/// A frame of a capture file: its number, its time, its bytes and how many there were.
type Frame = (u64, i64, Vec<u8>, usize);

/// The frames, and how many the file has if it can be read to its end.
fn frames_of(file: impl Read, length: usize) -> (Vec<Frame>, Option<u64>) {
    let mut frames: Vec<Frame> = Vec::new();
    let result = capture_file::read(file, |number, captured| {
        assert!(frames.last().is_none_or(|(last, ..)| number > *last));
        assert!(captured.bytes.len() <= length);
        // what stands in it is another target's matter
        let _probe_or_reason = link_layer::decode(&captured, FcsPolicy::Ignore);
        frames.push((number, captured.time, captured.bytes.to_vec(), captured.original_length));
        Ok::<(), std::convert::Infallible>(())
    });
    // the shortest frame takes 12 bytes of a file
    let last = frames.last().map_or(0, |(number, ..)| *number);
    let number = *result.as_ref().unwrap_or(&last);
    assert!(number >= last && number <= length as u64 / 12);
    (frames, result.ok())
}

/// An input that gives 61 bytes at most each time, as a pipe may.
struct InPieces<'a>(&'a [u8]);

impl Read for InPieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(61);
        self.0.read(&mut buffer[..most])
    }
}

/// A configuration file. What it says is understood as arguments; written plainly as TOML again, these mean the same.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let arguments = match config_file::arguments(text) {
        Ok(arguments) => arguments,
        Err(why) => return assert!(!why.to_string().is_empty()),
    };
    let begun = |arguments: &[OsString]| [&["capture-agent".into()], arguments].concat();
    match Cli::try_parse_from(begun(&arguments)) {
        Ok(_settings) => {}
        Err(why) => assert!(!why.to_string().is_empty()),
    }
    if let Some(plain) = plain_toml(&arguments) {
        match config_file::arguments(&plain) {
            Ok(again) => assert_eq!(by_flag(&again), by_flag(&arguments), "{text}\n{plain}"),
            Err(why) => panic!("{why}: {plain}"),
        }
    }
}

/// The values of each flag, in their order, and those of `-X`; `None` stands for a flag without one. Between flags there is no order.
fn by_flag(arguments: &[OsString]) -> BTreeMap<String, Vec<Option<String>>> {
    let mut flags: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        let (flag, value) = match argument.split_once('=') {
            _ if argument == "-X" => (argument, arguments.next()),
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        flags.entry(flag).or_default().push(value);
    }
    // of properties, neither
    flags.entry("-X".to_owned()).or_default().sort();
    flags
}

/// Arguments as TOML; `None` where a property is there twice, which a file can say in one table only by two spellings of its name.
fn plain_toml(arguments: &[OsString]) -> Option<String> {
    let mut flags = by_flag(arguments);
    let mut table = String::from("[kafka]\n");
    let mut names = std::collections::BTreeSet::new();
    for property in flags.remove("-X").into_iter().flatten().flatten() {
        let (name, value) = property.split_once('=')?;
        table.extend([&toml_text(name), " = ", &toml_text(value), "\n"]);
        if !names.insert(name.to_owned()) {
            return None;
        }
    }
    let settings: String = flags
        .iter()
        .map(|(flag, values)| {
            let name = flag.trim_start_matches("--");
            match values[..] {
                [None] => format!("{name} = true\n"),
                _ => {
                    let values: Vec<_> = values.iter().flatten().map(|value| toml_text(value)).collect();
                    format!("{name} = [{}]\n", values.join(", "))
                }
            }
        })
        .collect();
    Some(settings + &table)
}

/// A basic string of TOML 1.0: with `"`, `\` and control characters escaped.
fn toml_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        if matches!(character, '"' | '\\') || character.is_control() {
            quoted += &format!("\\u{:04X}", u32::from(character));
        } else {
            quoted.push(character);
        }
    }
    quoted + "\""
}

/// Of a record.
type KeyAndValue<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Key and value of a record. The first byte says how long the key is, with 0 there is none; without what it promises there is no
/// value.
fn key_and_value(input: &[u8]) -> Option<KeyAndValue<'_>> {
    let (&key_length, rest) = input.split_first()?;
    let (key, value) = match rest.split_at_checked(usize::from(key_length)) {
        Some((key, value)) => (key, Some(value)),
        None => (rest, None),
    };
    Some((Some(key).filter(|key| !key.is_empty()), value))
}

fn reads_back(probe: Probe) {
    let expected = Probe { sensor: Some(probe.sensor.clone().unwrap_or_else(|| "fuzz".to_owned())), ..probe };
    let mut written = Vec::new();
    record::encode(&expected, expected.sensor.as_deref().unwrap_or_default(), &mut written);
    match record::decode(&written) {
        Ok(Record::Probe(read)) => assert_eq!(read, expected),
        other => panic!("{} was read as {other:?}", String::from_utf8_lossy(&written)),
    }
}
