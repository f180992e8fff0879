//! Whoever fed the topic and however it is cut into partitions, the answers about a device are the same, byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use domain::Mac;
use domain::record::{self, Record};
use domain::{Probe, SsidElement};
use probegram_tests::frames::{radiotap, with_fcs, write_pcap_record};
use probegram_tests::kafka::Kafka;
use probegram_tests::local::{self, Answer, Local, heard_in};
use probegram_tests::process::binary;
use probegram_tests::shared;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The agent that keeps frames whose check sequence is wrong: captures that were anonymised have such.
fn agent(captures: &[PathBuf]) -> Command {
    let mut agent = Command::new(binary("capture-agent"));
    agent.args(["--sensor", "hallway", "--fcs", "ignore", "--read"]).args(captures).env_remove("RUST_LOG");
    agent
}

fn finished(mut command: Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A capture of the made-up household, without the frames that name an SSID that is no UTF-8, which the forms of others cannot
/// hold, and with some that have no SSID element.
fn household(directory: &Path) -> PathBuf {
    let mut whole = Vec::new();
    probegram::household::write_capture(1_587_566_620_000, &mut whole).unwrap();
    let (header, mut rest) = whole.split_at(24);
    let mut capture = header.to_vec();
    while !rest.is_empty() {
        let length = 16 + u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (frame, after) = rest.split_at(length);
        if !frame.windows(4).any(|bytes| bytes == b"Caf\xe9") {
            capture.extend(frame);
        }
        rest = after;
    }
    for number in 0..7_u8 {
        let mac = [0x00, 0x1b, 0xa9, 0x0d, 0x51, number % 3];
        let mut frame = [&[0x40, 0, 0, 0][..], &[0xff; 6], &mac, &[0xff; 6], &[number << 4, 0]].concat();
        frame.extend([1, 4, 2, 4, 11, 22]); // supported rates alone
        let time = 1_587_566_000_000_000 + 1_000 * u64::from(number);
        write_pcap_record(
            &mut capture,
            time,
            &radiotap(-40 - i8::try_from(number).unwrap(), &with_fcs(frame)),
        )
        .unwrap();
    }
    let path = directory.join("household.pcap");
    fs::write(&path, capture).unwrap();
    path
}

/// A probe request as tshark 4 tells it.
fn of_tshark_4(probe: &Probe) -> Value {
    let mut record = json!({
        "timestamp": probe.time.to_string(), "wlan_fc_type": ["0"], "wlan_fc_type_subtype": ["0x0004"],
        "wlan_sa": [probe.source.unwrap().to_string()], "wlan_ta": [probe.source.unwrap().to_string()],
    });
    match &probe.ssid {
        SsidElement::Named(ssid) => record["wlan_ssid"] = json!([ssid.hex()]),
        SsidElement::Wildcard => record["wlan_ssid"] = json!(["<MISSING>"]),
        SsidElement::Absent => {}
    }
    if let Some(signal) = probe.signal_dbm {
        record["wlan_radio_signal_dbm"] = json!([signal.to_string()]);
    }
    record
}

/// A record of tshark 4 as the tshark of 2020 told it.
fn of_2020(record: &Value) -> Value {
    let mut record = record.clone();
    record["wlan_fc_type_subtype"] = json!(["4"]);
    if let Some(ssid) = record.get_mut("wlan_ssid") {
        let text = match ssid[0].as_str().unwrap() {
            "<MISSING>" => String::new(),
            hex => String::from_utf8(domain::Ssid::from_hex(hex).unwrap().bytes().to_vec()).unwrap(),
        };
        *ssid = json!([text]);
    }
    record
}

/// The captures of others that hold nothing but regular frames that every form can tell, and tshark's records of them.
fn of_others() -> (Vec<PathBuf>, Vec<Value>) {
    let (mut captures, mut records) = (Vec::new(), Vec::new());
    let Some(folder) = shared("captures") else { return (captures, records) };
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    for file in manifest["files"].as_array().unwrap() {
        let capture = folder.join(file["file"].as_str().unwrap());
        let name = capture.file_name().unwrap().to_str().unwrap();
        let expected = |suffix| fs::read_to_string(folder.join(format!("expected/{name}{suffix}")));
        let (Ok(lines), Ok(frames)) = (expected(".ek.jsonl"), expected(".frames.tsv")) else { continue };
        let regular = frames.lines().skip(1).all(|line| line.split('\t').nth(1) == Some("1"));
        let of_file: Vec<Value> =
            lines.lines().map(|line| flat(&serde_json::from_str(line).unwrap())).collect();
        let is_text = |record: &Value| {
            let hex = record["wlan_ssid"][0].as_str().filter(|ssid| *ssid != "<MISSING>");
            hex.is_none_or(|hex| std::str::from_utf8(domain::Ssid::from_hex(hex).unwrap().bytes()).is_ok())
        };
        if regular && !of_file.is_empty() && of_file.iter().all(is_text) {
            captures.push(capture);
            records.extend(of_file);
        }
    }
    assert!(records.len() > 2_000, "of {} records in ../shared/captures, that should be more", records.len());
    (captures, records)
}

/// What the seed's jq does: `{timestamp: .timestamp} + .layers`.
fn flat(line: &Value) -> Value {
    let mut record = line["layers"].clone();
    record["timestamp"] = line["timestamp"].clone();
    record
}

fn lines(records: &[Value]) -> Vec<u8> {
    records.iter().flat_map(|record| format!("{record}\n").into_bytes()).collect()
}

/// What a new table says about these devices when it has read the whole topic.
fn answers(kafka: &Kafka, records: usize, macs: &BTreeSet<Mac>) -> Vec<Answer> {
    let servers = kafka.bootstrap_servers();
    let mut local = Local::start(&mut local::command(["--in-memory", "--bootstrap-servers", &servers]));
    local.wait_until_caught_up(i64::try_from(records).unwrap());
    let answers = local.devices(macs);
    local.program.signal(probegram_tests::process::Signal::SIGTERM);
    assert_eq!(
        local.program.wait(std::time::Duration::from_secs(60)).code(),
        Some(0),
        "{}",
        local.program.stderr()
    );
    answers
}

#[test]
fn every_form_of_the_record_gives_the_same_answers() {
    let Some(kafka) = Kafka::start() else { return };
    let directory = TempDir::new().unwrap();
    let household = household(directory.path());
    let (mut captures, mut tshark_4) = of_others();
    let mut ours = agent(std::slice::from_ref(&household));
    let feed = String::from_utf8(finished({
        ours.args(["--output", "-"]);
        ours
    }))
    .unwrap();
    for line in feed.lines() {
        let Record::Probe(probe) = record::decode(line.as_bytes()).unwrap() else { panic!("{line}") };
        tshark_4.push(of_tshark_4(&probe));
    }
    captures.push(household);
    let text_2020: Vec<Value> = tshark_4.iter().map(of_2020).collect();
    let (macs, ssids) = heard_in(&String::from_utf8(lines(&tshark_4)).unwrap());
    assert!(macs.len() > 200 && ssids.len() > 10, "{} devices, {} SSIDs", macs.len(), ssids.len());

    let mut told = Vec::new();
    for feed in [lines(&text_2020), lines(&tshark_4)] {
        kafka.create_topic("pcap", 12);
        kafka.produce("pcap", &feed);
        told.push(answers(&kafka, tshark_4.len(), &macs));
        kafka.delete_topic("pcap");
    }
    kafka.create_topic("pcap", 4);
    let mut keyed = agent(&captures);
    keyed
        .arg("--spool")
        .arg(directory.path().join("spool"))
        .args(["--bootstrap-servers", &kafka.bootstrap_servers()]);
    finished(keyed);
    told.push(answers(&kafka, tshark_4.len(), &macs));

    assert!(told[0].iter().all(|answer| answer.status == 200));
    for (mac, ((text_2020, tshark_4), ours)) in macs.iter().zip(told[0].iter().zip(&told[1]).zip(&told[2])) {
        assert_eq!(text_2020, tshark_4, "{mac}");
        assert_eq!(text_2020, ours, "{mac}");
    }
}
