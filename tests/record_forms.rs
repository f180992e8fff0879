//! The three forms that a record of topic `pcap` has had say the same of every regular probe request: the agent's, that of
//! tshark 4 through the `jq` of the seed, and that of 2020.
//!
//! The captures and tshark's answers about them are in `../shared/captures` (they are of other people's devices). tshark 4's live form
//! stands there as it was printed; the form of 2020 is made here of the same answers, by the rules of [`of_2020`].
//!
//! | field | agent | tshark 4 | 2020 |
//! | --- | --- | --- | --- |
//! | time, source, receiver, signal, channel | yes | yes | yes |
//! | SSID, wildcard, none at all | yes | yes | as text: see [`what_text_can_say`] |
//! | BSSID | yes | yes (asked for by `-e wlan.bssid`) | no |
//! | sequence number, fingerprint, sensor | yes | no | no |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::fs;
use std::path::Path;
use std::process::Command;

use domain::record::{self, Record};
use domain::{Probe, Ssid, SsidElement};
use probegram::template::{EventSourceMapping, Template};
use probegram_tests::dynamodb::Items;
use probegram_tests::plain_fold::{self, Fold};
use probegram_tests::process::binary;
use probegram_tests::{kafka, shared};
use serde_json::{Map, Value, json};

/// There are 2,342 regular probe requests in the captures: with fewer than this many, something was not read.
const AT_LEAST: usize = 2_000;

/// What `tshark -T ek` prints before each packet.
const INDEX_LINE: &str = r#"{"index":{"_index":"packets-2020-03-21"}}"#;

/// When the records were written, milliseconds since 1970: after all captures.
const WRITTEN: i64 = 1_795_000_000_000;

/// The records of one probe request, one in each form.
struct Forms {
    /// The capture and the number of the probe request in it, from 1.
    place: String,
    ours: String,
    tshark_4: String,
    of_2020: String,
}

#[test]
fn the_forms_are_equal_field_by_field() {
    let Some(captures) = shared("captures") else { return };
    let (mut compared, mut not_text, mut without_a_radio_s_channel) = (0, 0, 0);
    for Forms { place, ours, tshark_4, of_2020 } in all_forms(&captures) {
        let [ours, tshark_4, of_2020] = [&ours, &tshark_4, &of_2020].map(|record| probe(record));
        compared += 1;
        assert!(ours.sequence.is_some() && ours.sensor.is_some(), "{place}: a regular frame has a header");
        // tshark knows the radio's channel alone, and we take the one that the frame names where the radio says none
        let channel = if tshark_4.channel.is_none() { None } else { ours.channel };
        without_a_radio_s_channel += usize::from(tshark_4.channel.is_none());
        let shared_by_both = Probe { channel, sequence: None, fingerprint: None, sensor: None, ..ours };
        assert_eq!(tshark_4, shared_by_both, "{place}: tshark 4");
        let ssid = what_text_can_say(&shared_by_both.ssid);
        not_text += usize::from(ssid != shared_by_both.ssid);
        assert_eq!(of_2020, Probe { bssid: None, ssid, ..shared_by_both }, "{place}: 2020");
    }
    assert!(compared > AT_LEAST, "{compared} probe requests");
    // or the rules for these would not have been needed
    assert!(not_text > 0 && without_a_radio_s_channel > 0, "{not_text} {without_a_radio_s_channel}");
    assert!(10 * (not_text + without_a_radio_s_channel) < compared, "{not_text} {without_a_radio_s_channel}");
}

#[test]
fn the_forms_give_equal_tables() {
    let Some(captures) = shared("captures") else { return };
    let forms = all_forms(&captures);
    let mapping = Template::read().unwrap().mapping("AggregateBlueMapping").unwrap();
    let table = |records: &mut dyn Iterator<Item = String>| folded(&mapping, records);

    let ours = table(&mut forms.iter().map(|forms| forms.ours.clone()));
    let tshark_4 = table(&mut forms.iter().map(|forms| forms.tshark_4.clone()));
    let of_2020 = table(&mut forms.iter().map(|forms| forms.of_2020.clone()));
    let ours_as_text = table(&mut forms.iter().map(|forms| {
        let mut probe = probe(&forms.ours);
        probe.ssid = what_text_can_say(&probe.ssid);
        encoded(&probe)
    }));

    assert!(ours.folded > AT_LEAST, "{} probe requests", ours.folded);
    for (name, expected, actual) in [("tshark 4", &ours, &tshark_4), ("2020", &ours_as_text, &of_2020)] {
        assert_eq!((actual.folded, actual.quarantined), (expected.folded, expected.quarantined), "{name}");
        let differences =
            plain_fold::differences(&of_no_sensor(&expected.items), &of_no_sensor(&actual.items));
        assert!(differences.is_empty(), "{name}:\n{}", differences.join("\n"));
    }
    // and they are the tables of the devices, not empty ones
    assert!(ours.items.len() > 100, "{} items", ours.items.len());
}

#[test]
fn the_line_without_a_frame_is_no_probe_request_and_costs_no_invocation() {
    let line = through_jq(INDEX_LINE);
    assert_eq!(line, r#"{"timestamp":null}"#);
    assert_eq!(record::decode(line.as_bytes()).unwrap(), Record::NotAProbeRequest);
    let mapping = Template::read().unwrap().mapping("AggregateBlueMapping").unwrap();
    assert!(!mapping.filters.iter().any(|filter| filter.passes(line.as_bytes())));
    // a frame passes in every form that it can have
    for subtype in ["4", "0x0004"] {
        let line = format!(r#"{{"timestamp":"1","wlan_fc_type_subtype":["{subtype}"]}}"#);
        assert!(mapping.filters.iter().any(|filter| filter.passes(line.as_bytes())), "{subtype}");
    }
}

/// The records of all regular probe requests (tier 1) of all captures, in their order.
fn all_forms(captures: &Path) -> Vec<Forms> {
    let mut names: Vec<String> = fs::read_dir(captures.join("expected"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".frames.tsv").map(str::to_owned))
        .collect();
    names.sort();
    names.iter().flat_map(|name| forms_of(captures, name)).collect()
}

/// Those of one capture.
fn forms_of(captures: &Path, name: &str) -> Vec<Forms> {
    let expected = |suffix: &str| {
        let text = fs::read_to_string(captures.join("expected").join(format!("{name}.{suffix}")));
        text.unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let ours = printed_by_the_agent(&captures.join("captures").join(name));
    // the index lines were left out of what is kept there: the seed's pipeline had them
    let tshark_4: Vec<String> = expected("ek.jsonl")
        .iter()
        .flat_map(|packet| [through_jq(INDEX_LINE), through_jq(packet)])
        .filter(|line| record::decode(line.as_bytes()).unwrap() != Record::NotAProbeRequest)
        .collect();
    let columns = expected("tsv");
    let tiers = expected("frames.tsv");
    // the first line of these names the columns
    let counts = [ours.len(), tshark_4.len(), columns.len()];
    assert_eq!(counts, [tiers.len() - 1; 3], "{name}: as many probe requests in every form");
    let tier = |row: &str| row.split('\t').nth(1) == Some("1");
    (1..)
        .zip(&tiers[1..])
        .zip(ours.into_iter().zip(tshark_4).zip(&columns))
        .filter(|((_, tiers), _)| tier(tiers))
        .map(|((number, _), ((ours, tshark_4), columns))| {
            let of_2020 = of_2020(columns, &tshark_4);
            Forms { place: format!("{name}, probe request {number}"), ours, tshark_4, of_2020 }
        })
        .collect()
}

/// The agent's records. An anonymised capture has wrong checksums, so these must not count.
fn printed_by_the_agent(capture: &Path) -> Vec<String> {
    let output = Command::new(binary("capture-agent"))
        .args(["--fcs", "ignore", "--sensor", "hallway", "--output", "-", "--read"])
        .arg(capture)
        .output()
        .unwrap();
    // a cut capture or one without 802.11 is told by the exit status, and what stood before was printed
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// What the seed's `jq -c '{timestamp: .timestamp} + .layers'` makes of a line.
fn through_jq(line: &str) -> String {
    let mut line: Map<String, Value> = serde_json::from_str(line).unwrap();
    let mut record = Map::from_iter([("timestamp".to_owned(), line.remove("timestamp").unwrap_or_default())]);
    // null + null is no error there
    if let Some(Value::Object(layers)) = line.remove("layers") {
        record.extend(layers);
    }
    Value::Object(record).to_string()
}

/// The record that tshark's `-T ek` of 2020 gave of a probe request, of the four columns that tshark 4 prints with `-T fields` (time in
/// seconds, source, signal, SSIDs in hexadecimal) and, for what is in none of them, of its record.
///
/// | | 2020 | tshark 4 |
/// | --- | --- | --- |
/// | subtype | `"4"` | `"0x0004"` |
/// | SSID | text, U+FFFD for what is no UTF-8 | hexadecimal |
/// | wildcard | `""` | `<MISSING>` |
fn of_2020(columns: &str, tshark_4: &str) -> String {
    let columns: Vec<&str> = columns.split('\t').collect();
    let [time, source, signal, ssids] = columns[..] else { panic!("four columns, not {columns:?}") };
    let (seconds, fraction) = time.split_once('.').unwrap();
    let milliseconds = seconds.parse::<i64>().unwrap() * 1_000 + fraction.parse::<i64>().unwrap() / 1_000_000;
    let mut record = json!({
        "timestamp": milliseconds.to_string(),
        "wlan_fc_type": ["0"],
        "wlan_fc_type_subtype": ["4"],
        "wlan_ta": [source],
        "wlan_sa": [source],
    });
    let values = |column: &str| column.split(',').map(str::to_owned).collect::<Vec<_>>();
    if !signal.is_empty() {
        record["wlan_radio_signal_dbm"] = json!(values(signal));
    }
    if !ssids.is_empty() {
        let text = |hex: String| {
            let bytes = (hex != "<MISSING>").then(|| Ssid::from_hex(&hex).unwrap());
            bytes.map_or_else(String::new, |ssid| String::from_utf8_lossy(ssid.bytes()).into_owned())
        };
        record["wlan_ssid"] = values(ssids).into_iter().map(text).collect();
    }
    let tshark_4: Value = serde_json::from_str(tshark_4).unwrap();
    for name in ["wlan_radio_channel", "wlan_radio_duration", "wlan_ra", "wlan_da"] {
        if let Some(value) = tshark_4.get(name) {
            record[name] = value.clone();
        }
    }
    record.to_string()
}

/// What is left of an SSID where it is text. The bytes of one that is no UTF-8 cannot be known from it any more: it has U+FFFD in
/// their place and is counted as the network of that name.
fn what_text_can_say(ssid: &SsidElement) -> SsidElement {
    match ssid {
        SsidElement::Named(ssid) => {
            SsidElement::Named(Ssid::new(ssid.text_lossy().into_owned().into_bytes()).unwrap())
        }
        SsidElement::Wildcard => SsidElement::Wildcard,
        SsidElement::Absent => SsidElement::Absent,
    }
}

fn probe(record: &str) -> Probe {
    match record::decode(record.as_bytes()) {
        Ok(Record::Probe(probe)) => probe,
        other => panic!("{record} was read as {other:?}"),
    }
}

fn encoded(probe: &Probe) -> String {
    let mut record = Vec::new();
    record::encode(probe, probe.sensor.as_deref().unwrap_or_default(), &mut record);
    String::from_utf8(record).unwrap()
}

/// What a topic of one partition with these records comes to.
fn folded(mapping: &EventSourceMapping, records: &mut dyn Iterator<Item = String>) -> Fold {
    let records: Vec<_> = (0..)
        .zip(records)
        .map(|(offset, value)| kafka::Record {
            partition: 0,
            offset,
            timestamp: WRITTEN,
            key: None,
            value: Some(value.into_bytes()),
        })
        .collect();
    plain_fold::fold(&records, mapping, 1, |_| false)
}

/// The items without the name of the sensor that heard a device best: only our records have one.
fn of_no_sensor(items: &Items) -> Items {
    let mut items = items.clone();
    for item in items.values_mut() {
        item.remove("best_sensor");
    }
    items
}
