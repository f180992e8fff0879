//! Whatever arrives, the decoders read it or say why not: they never panic and never hang.
//!
//! What is done with an input stands in `fuzz/src/lib.rs`, where `cargo fuzz` does the same with inputs that it looks for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

#[allow(unreachable_pub)] // the fuzz targets reach it
#[path = "fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use probegram_tests::frames;

const PHONE: [u8; 6] = [0x62, 0x45, 0xb6, 0xc6, 0x7e, 0x03];
const RECORDS: [&str; 4] = [
    r#"{"timestamp":"1584802202655","wlan_fc_type":["0"],"wlan_fc_type_subtype":["4"],"wlan_radio_channel":["1"],"wlan_radio_signal_dbm":["-75"],"wlan_ra":["ff:ff:ff:ff:ff:ff"],"wlan_sa":["f0:c3:71:2a:04:20"],"wlan_bssid":["ff:ff:ff:ff:ff:ff"],"wlan_ssid":["RNM0"]}"#,
    r#"{"timestamp":"1700000000000","wlan_fc_type":["0"],"wlan_fc_type_subtype":["0x0004"],"wlan_radio_signal_dbm":["-50"],"wlan_sa":["02:5e:00:5a:00:00"],"wlan_ssid":["546573744e6574"]}"#,
    r#"{"timestamp":1700000000000,"wlan_fc_type_subtype":4,"wlan_radio_signal_dbm":-75.0,"wlan_sa":"02-5E-00-5A-00-00","wlan_ssid":["caf\ufffd"],"wlan_ssid_hex":"636166e9","wlan_seq":["4095"],"fingerprint":"00abcdef01234567","sensor":"hallway"}"#,
    r#"{"timestamp":null}"#,
];

/// Records of documents, by form: key and value.
const DOCUMENTS: [(&str, &str, &str); 8] = [
    (
        "envelope-snapshot",
        r#"{"id":"{ \"$oid\" : \"5a32b0c9e4b047ede36a0001\"}"}"#,
        r#"{"after":"{\"_id\": {\"$oid\": \"5a32b0c9e4b047ede36a0001\"},\"mac\": \"02:5e:00:5a:00:00\",\"oui\": \"Apple\",\"is_guest\": false,\"name\": \"Tablet \\ud83d\\udcf6\",\"x\": NaN}","patch":null,"filter":null,"source":{"ts_ms":1795353482000,"snapshot":"true","ord":16},"op":"r","ts_ms":1795353502469}"#,
    ),
    (
        "envelope-patch",
        r#"{"id":"{\"$oid\": \"5a32b0c9e4b047ede36a0001\"}"}"#,
        r#"{"after":null,"patch":"{\"$v\": 1,\"$set\": {\"name\": \"Tablet\"},\"$unset\": {\"hostname\": true}}","filter":"{\"_id\": {\"$oid\": \"5a32b0c9e4b047ede36a0001\"}}","source":{"ts_ms":1795353482000,"ord":1},"op":"u"}"#,
    ),
    (
        "envelope-description",
        r#"{"id":"\"5a4c022\""}"#,
        r#"{"before":null,"after":null,"updateDescription":{"removedFields":["name"],"updatedFields":"{\"is_guest\": \"true\"}","truncatedArrays":null},"source":{"ts_ms":1795353482000,"ord":1},"op":"u"}"#,
    ),
    (
        "envelope-connect",
        r#"{"schema":{"type":"struct"},"payload":{"id":"{\"$numberLong\":\"1004\"}"}}"#,
        r#"{"schema":{"type":"struct","fields":[{"type":"string"}]},"payload":{"before":null,"after":null,"source":{"ts_ms":1795353482000},"op":"d"}}"#,
    ),
    (
        "change-stream",
        r#"{"_id":{"_data":"8263"}}"#,
        r#"{"_id":{"_data":"8263"},"operationType":"update","clusterTime":{"$timestamp":{"t":1795353482,"i":1}},"ns":{"db":"ace","coll":"user"},"documentKey":{"_id":{"$oid":"5a32b0c9e4b047ede36a0001"}},"updateDescription":{"updatedFields":{"name":"Tablet"},"removedFields":[]}}"#,
    ),
    (
        "unwrapped",
        "5a32b0c9e4b047ede36a0001",
        r#"{"_id":"5a32b0c9e4b047ede36a0001","mac":"02:5e:00:5a:00:00","name":"AP","model":"U7PG2","type":"uap","__deleted":false,"__op":"u","__source_ts_ms":1795353482000,"__source_ord":1}"#,
    ),
    ("unwrapped-update", "", r#"{"name":"AP","_id":{"a":1,"b":"c"}}"#),
    ("text", r#"Struct{id={"$oid": "5a32b0c9e4b047ede36a0001"}}"#, r#""{\"__deleted\":\"true\"}""#),
];

/// The inputs from which mutations begin, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let probes = [&b""[..], b"RNM0", b"\0\0\0\0", b"caf\xe9", &[b'a'; 255]]
        .map(|ssid| frames::probe_request(PHONE, ssid, 1234));
    let framed = |choice: u8, header: fn(i8, &[u8]) -> Vec<u8>, frame: &[u8]| {
        [&[choice], &header(-75, frame)[..]].concat()
    };
    let seed = |name: &str, bytes: Vec<u8>| (name.to_owned(), bytes);
    match target {
        "frame" => vec![
            seed("bare", [&[0], &probes[1][..]].concat()),
            seed("prism", framed(1, frames::prism, &probes[1])),
            seed("avs-where-prism-is-promised", framed(1, frames::avs, &probes[1])),
            seed("radiotap", framed(0x82, frames::radiotap, &frames::with_fcs(probes[1].clone()))),
            seed("radiotap-wildcard", framed(2, frames::radiotap, &frames::with_fcs(probes[0].clone()))),
            seed("radiotap-255", framed(2, frames::radiotap, &frames::with_fcs(probes[4].clone()))),
            seed("radiotap-vendor", radiotap_with_vendor(&probes[3])),
            seed("avs", framed(3, frames::avs, &probes[2])),
            seed("ppi", framed(0x84, frames::ppi, &frames::with_fcs(probes[3].clone()))),
            seed("beacon", framed(2, frames::radiotap, &frames::with_fcs(frames::other(0x80, 120)))),
        ],
        "record" => (1..)
            .zip(RECORDS)
            .map(|(number, record)| seed(&format!("record-{number}"), record.into()))
            .collect(),
        "document" => DOCUMENTS
            .into_iter()
            .map(|(name, key, value)| {
                let key_length = u8::try_from(key.len()).unwrap();
                seed(name, [&[key_length], key.as_bytes(), value.as_bytes()].concat())
            })
            .collect(),
        "capture_file" => {
            let radiotap: Vec<_> =
                probes.iter().map(|probe| frames::radiotap(-75, &frames::with_fcs(probe.clone()))).collect();
            vec![
                seed("pcap", frames::pcap(127, &radiotap)),
                seed("pcapng", frames::pcapng(&[(127, &radiotap), (1, &probes), (105, &probes)])),
            ]
        }
        _ => panic!("no target is named {target}"),
    }
}

/// A radiotap header with a vendor's namespace between two of its own.
fn radiotap_with_vendor(frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 28, 0];
    bytes.extend([0x20_u32 | 3 << 30, 1 << 5 | 5 << 29, 0x20].into_iter().flat_map(u32::to_le_bytes));
    bytes.extend([0xb0, 0, 0, 0x50, 0xf2, 1, 3, 0, 1, 2, 3, 0xb2]);
    bytes.extend(frame);
    bytes
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Changes an input a few times, in one of the ways in which inputs are wrong.
fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    for _ in 0..random.usize(1..=4) {
        let position = random.usize(0..=input.len());
        match random.u8(0..6) {
            // flip a bit
            0 => {
                if let Some(byte) = input.get_mut(position) {
                    *byte ^= 1 << random.u8(0..8);
                }
            }
            // set a byte
            1 => {
                if let Some(byte) = input.get_mut(position) {
                    *byte = *random.choice(&[0, 1, 0x7f, 0x80, 0xfe, 0xff, b'"', b'[', b'\\']).unwrap();
                }
            }
            // truncate, seldom: nothing is left to change behind the cut
            2 if random.u8(0..4) == 0 => input.truncate(position),
            // insert
            2 | 3 => {
                let bytes = vec![random.u8(..); random.usize(1..9)];
                input.splice(position..position, bytes);
            }
            // delete
            4 => {
                let end = (position + random.usize(1..9)).min(input.len());
                input.drain(position..end);
            }
            // splice: the rest of another input
            _ => {
                input.truncate(position);
                input.extend(&other[random.usize(0..=other.len())..]);
            }
        }
    }
}

fn survives_mutations(target: &str, times: u32, decode: fn(&[u8])) {
    let seeds = seeds(target);
    let mut random = Rng::with_seed(0x5eed);
    let mut input = Vec::new();
    for _ in 0..times {
        let [(_, seed), (_, other)] = [(); 2].map(|()| &seeds[random.usize(0..seeds.len())]);
        input.clone_from(seed);
        mutate(&mut input, other, &mut random);
        decode(&input);
    }
}

#[test]
fn one_million_mutated_frames_cause_no_panic() {
    survives_mutations("frame", 1_000_000, fuzz::frame);
}

#[test]
fn one_million_mutated_records_cause_no_panic() {
    survives_mutations("record", 1_000_000, fuzz::record);
}

#[test]
fn one_million_mutated_documents_cause_no_panic() {
    survives_mutations("document", 1_000_000, fuzz::document);
}

#[test]
fn mutated_capture_files_cause_no_panic_and_no_endless_reading() {
    survives_mutations("capture_file", 50_000, fuzz::capture_file);
}

#[test]
fn the_corpora_of_the_fuzz_targets_cause_no_panic() {
    for (target, decode) in [
        ("frame", fuzz::frame as fn(&[u8])),
        ("record", fuzz::record),
        ("document", fuzz::document),
        ("capture_file", fuzz::capture_file),
    ] {
        let inputs: Vec<_> =
            fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() >= seeds(target).len(), "the corpus of {target} is incomplete");
        for input in inputs {
            decode(&fs::read(input).unwrap());
        }
    }
}

/// The corpora begin with our own seeds. With `UPDATE_CORPUS=1` in the environment they are written again.
#[test]
fn the_corpora_hold_the_seeds() {
    for target in ["frame", "record", "document", "capture_file"] {
        for (name, seed) in seeds(target) {
            let path = corpus(target).join(name);
            if std::env::var_os("UPDATE_CORPUS").is_some() {
                fs::create_dir_all(corpus(target)).unwrap();
                fs::write(&path, &seed).unwrap();
            }
            assert_eq!(
                fs::read(&path).ok(),
                Some(seed),
                "{}: run again with UPDATE_CORPUS=1",
                path.display()
            );
        }
    }
}

/// The seeds are good inputs: mutations of what is rejected at once would prove nothing.
#[test]
fn the_seeds_are_understood() {
    use domain::link_layer::{Captured, FcsPolicy, LinkType, Rejected, decode};
    for (name, seed) in seeds("frame") {
        let dlt = [105, 119, 127, 163, 192][usize::from(seed[0] & 7)];
        let captured = Captured {
            time: 0,
            link_type: LinkType::from_dlt(dlt).unwrap(),
            bytes: &seed[1..],
            original_length: seed.len() - 1,
        };
        let signal = decode(&captured, FcsPolicy::Verify).map(|probe| probe.signal_dbm);
        let expected = match name.as_str() {
            "beacon" => Err(Rejected::NotAProbeRequest),
            "bare" => Ok(None),
            "radiotap-vendor" => Ok(Some(-78)),
            _ => Ok(Some(-75)),
        };
        assert_eq!(signal, expected, "{name}");
        // the choices say which ones have an FCS to verify
        if seed[0] & 0x80 != 0 {
            let damaged = [&seed[1..seed.len() - 1], &[!seed[seed.len() - 1]]].concat();
            let captured = Captured { bytes: &damaged, ..captured };
            assert_eq!(decode(&captured, FcsPolicy::Verify), Err(Rejected::BadFcs), "{name}");
        }
    }
    for (name, seed) in seeds("record") {
        assert!(domain::record::decode(&seed).is_ok(), "{name}");
        let is_plain = ["record-1", "record-2"].contains(&name.as_str());
        assert_eq!(domain::record::walked(&seed).is_some(), is_plain, "{name}");
    }
    for (name, key, value) in DOCUMENTS {
        let read = domain::document_record::decode(Some(key.as_bytes()), Some(value.as_bytes()));
        assert!(read.is_ok(), "{name}: {read:?}");
    }
    for (name, seed) in seeds("capture_file") {
        let mut probes = 0;
        let frames = capture_agent::capture_file::read(&seed[..], |_, captured| {
            probes += u64::from(decode(&captured, FcsPolicy::Verify).is_ok());
            Ok::<(), std::convert::Infallible>(())
        });
        assert_eq!((frames.unwrap(), probes), if name == "pcap" { (5, 5) } else { (15, 10) }, "{name}");
    }
}
