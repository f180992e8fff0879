//! Whatever arrives, the decoders read it or say why not: they never panic and never hang.
//!
//! What is done with an input stands in `fuzz/src/lib.rs`, where `cargo fuzz` does the same with inputs that it looks for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

#[allow(unreachable_pub)] // the fuzz targets reach it
#[path = "fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::{Path, PathBuf};

use domain::link_layer::{self, Captured, FcsPolicy, LinkType, Rejected};
use domain::{Mac, Probe, Ssid, SsidElement};
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

/// Configuration files.
const CONFIGURATIONS: [(&str, &str); 5] = [
    (
        "sensor",
        "interface = [\"wlan1\", \"wlan2\"]\nset-monitor = true\nchannels = \"1,6,11\"\ndwell = \"250ms\"\nsensor = \"hallway\"\nring = \"12x3600s\"\n\
         bootstrap-servers = \"kafka.example:9092\"\nspool = \"/var/lib/probegram\"\nspool-days = 3\n[kafka]\n\"security.protocol\" = \"SASL_SSL\"\nsasl.username = \"key\"\n",
    ),
    ("files", "read = ['a.pcap', '-x.pcap', \"caf\\u00e9=\\t.pcap\"]\noutput = \"-\"\nfcs = \"ignore\"\n"),
    (
        "spool",
        "# what is not said has its default\nread = [\"a.pcap\"]\nspool = true\nspool-bytes = 10_485_760\n",
    ),
    ("properties", "kafka = { a = 1, b.c = 2.5, \"d=e\" = true, \"\" = \"\"\"\nf\"\"\" }\n"),
    ("wrong", "interface = { name = 1979-05-27 }\n"),
];

/// Heartbeats: key and value.
const HEARTBEATS: [(&str, &str, &str); 3] = [
    (
        "listening",
        "hallway",
        r#"{"sensor":"hallway","time":1795560000000,"version":"0.1.0","uptime_s":86400,"clock":"synchronized","interfaces":[{"name":"wlan1","is_listening":true,"channels":[1,6,11],"dwell_ms":250,"frames":1000,"silent_s":1,"probe_requests":10}],"spool":{"waiting":12,"oldest_s":4,"bytes":40960,"dropped":0},"delivered":{"0":12,"2":7},"troubles":[{"kind":"clock","reason":"caf\u00e9"}]}"#,
    ),
    ("the-least", "attic", r#"{"mood":"fine"}"#),
    ("the-last", "cellar", r#"{"is_last":true,"clock":"trusted","held":18446744073709551615}"#),
];

/// A heartbeat that says more than is kept of one.
fn heartbeat_beyond_its_bounds() -> Vec<u8> {
    let trouble = format!(r#"{{"kind":"a","reason":"a{}"}}"#, "é".repeat(300));
    let channels = vec!["1"; 300].join(",");
    let value = format!(
        r#"{{"troubles":[{trouble}{}],"interfaces":[{{"channels":[{channels}]}}{}]}}"#,
        ",{}".repeat(40),
        ",{}".repeat(40)
    );
    [b"\x05attic", value.as_bytes()].concat()
}

/// Records of watched networks: key and value.
const LIST_RECORDS: [(&str, &str, &str); 6] = [
    ("ksqldb", "RNM0", r#"{"REASON":"home network","COOLDOWN_S":60}"#),
    (
        "connect",
        r#"{"schema":{"type":"string"},"payload":"RNM0"}"#,
        r#"{"schema":{},"payload":{"reason":" caf\u00e9 ","cooldown_s":"0.5"}}"#,
    ),
    ("name-in-value", "", r#"{"ssid":"RNM0","reason":null}"#),
    ("struct", r#"{"ROWKEY":"RNM0"}"#, "null"),
    ("text", r#""RNM0""#, "home network"),
    ("quoted", r#""\"RNM0\"""#, r#""home network""#),
];

/// A target's name, what it does with an input, and how many mutated ones it gets.
type Target = (&'static str, fn(&[u8]), u32);

/// All of them.
const TARGETS: [Target; 12] = [
    ("frame", fuzz::frame, 1_000_000),
    ("radiotap", fuzz::radiotap, 500_000),
    ("ppi", fuzz::ppi, 500_000),
    ("prism", fuzz::prism, 250_000),
    ("avs", fuzz::avs, 250_000),
    ("pcap", fuzz::pcap, 10_000),
    ("pcapng", fuzz::pcapng, 10_000),
    ("record", fuzz::record, 1_000_000),
    ("heartbeat", fuzz::heartbeat, 200_000),
    ("list_record", fuzz::list_record, 250_000),
    ("document", fuzz::document, 1_000_000),
    ("configuration", fuzz::configuration, 10_000),
];

/// The inputs from which mutations begin, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let probes = [&b""[..], b"RNM0", b"\0\0\0\0", b"caf\xe9", &[b'a'; 255]]
        .map(|ssid| frames::probe_request(PHONE, ssid, 1234));
    let framed = |choice: u8, header: fn(i8, &[u8]) -> Vec<u8>, frame: &[u8]| {
        [&[choice], &header(-75, frame)[..]].concat()
    };
    let seed = |name: &str, bytes: Vec<u8>| (name.to_owned(), bytes);
    let key_and_value = |(name, key, value): (&str, &str, &str)| {
        let key_length = u8::try_from(key.len()).unwrap();
        seed(name, [&[key_length], key.as_bytes(), value.as_bytes()].concat())
    };
    // with the choice that the target puts its length right
    let right = |header: Vec<u8>| [&[1], &header[..]].concat();
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
        "document" => DOCUMENTS.map(key_and_value).into(),
        "heartbeat" => {
            let more_than_is_kept = seed("more-than-is-kept", heartbeat_beyond_its_bounds());
            HEARTBEATS.into_iter().map(key_and_value).chain([more_than_is_kept]).collect()
        }
        "list_record" => LIST_RECORDS.map(key_and_value).into(),
        "configuration" => CONFIGURATIONS.map(|(name, text)| seed(name, text.into())).into(),
        "radiotap" => vec![
            seed("linux", right(frames::radiotap(-75, &[]))),
            seed("vendor", right(radiotap_with_vendor(&[])[1..].to_vec())),
            seed("words-to-the-end", right([&[0, 0, 0, 0][..], &[0x20, 0, 0, 0x80].repeat(4)].concat())),
            seed("all-fields", right([&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0x0b][..], &[0xb5; 132]].concat())),
            seed("zero-length-psdu", right(vec![0, 0, 0, 0, 0, 0, 0, 4, 0])),
            seed("of-length-0", vec![0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0xb5]),
        ],
        "ppi" => vec![
            seed("common", right(frames::ppi(-75, &[]))),
            seed(
                "aligned",
                right(
                    [&[0, 1, 0, 0, 105, 0, 0, 0, 9, 0, 1, 0, 7, 0, 0, 0][..], &frames::ppi(-75, &[])[8..]]
                        .concat(),
                ),
            ),
            seed("aggregate", right([&[0, 0, 0, 0, 105, 0, 0, 0, 3, 0, 12, 0, 0x10][..], &[0; 11]].concat())),
            seed("in-ppi", [&[0, 0, 0, 8, 0, 192, 0, 0, 0][..], &frames::ppi(-75, &[])].concat()),
            seed(
                "radiotap-in-ppi",
                [&[0, 0, 0, 8, 0, 127, 0, 0, 0][..], &frames::radiotap(-75, &[])].concat(),
            ),
        ],
        "prism" => vec![
            seed("wlan-ng", right(frames::prism(-75, &[]))),
            seed("big-endian", right(big_endian_prism())),
            seed("avs", [&[0][..], &frames::avs(-75, &[])].concat()),
            seed("none", vec![0]),
        ],
        "avs" => vec![
            seed("version-1", right(frames::avs(-75, &[]))),
            seed(
                "version-2",
                right([&[0x80, 0x21, 0x10, 0x02][..], &frames::avs(-75, &[])[4..], &[0; 16]].concat()),
            ),
        ],
        "pcap" => {
            let radiotap: Vec<_> =
                probes.iter().map(|probe| frames::radiotap(-75, &frames::with_fcs(probe.clone()))).collect();
            vec![
                seed("microseconds", frames::pcap(127, &radiotap)),
                seed(
                    "nanoseconds-big-endian",
                    pcap_of_another_writer([0xa1, 0xb2, 0x3c, 0x4d], u32::to_be_bytes, 0),
                ),
                seed("modified", pcap_of_another_writer([0x34, 0xcd, 0xb2, 0xa1], u32::to_le_bytes, 8)),
            ]
        }
        "pcapng" => {
            let radiotap = [frames::radiotap(-75, &frames::with_fcs(probes[1].clone()))];
            vec![
                seed(
                    "interfaces",
                    frames::pcapng(&[(127, &radiotap), (1, &probes[..1]), (105, &probes[..4])]),
                ),
                seed("sections", [sections_of(u32::to_le_bytes), sections_of(u32::to_be_bytes)].concat()),
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

/// A header as madwifi writes it on a big-endian machine, whose items have a status and a length of 16 bits.
fn big_endian_prism() -> Vec<u8> {
    let mut header: Vec<u8> = [0x41, 144, 0, 0, 0, 0].into_iter().flat_map(u32::to_be_bytes).collect();
    for item in 1_u32..=10 {
        let value = if item == 4 { (-75_i32).cast_unsigned() } else { 6 };
        header.extend([item << 12 | 0x41, 4, value].into_iter().flat_map(u32::to_be_bytes));
    }
    header
}

/// A classic capture file of a bare frame, with this magic number and so many more bytes in front of the frame.
fn pcap_of_another_writer(magic: [u8; 4], number: fn(u32) -> [u8; 4], more: u32) -> Vec<u8> {
    let frame = frames::probe_request(PHONE, b"RNM0", 1);
    let length = u32::try_from(frame.len()).unwrap();
    let version = if number(1)[0] == 1 { 0x0004_0002 } else { 0x0002_0004 };
    let mut file = magic.to_vec();
    file.extend(
        [version, 0, 0, 262_144, 105, 1_700_000_000, 999_999_999, length, length]
            .into_iter()
            .flat_map(number),
    );
    file.extend(vec![0; more as usize]);
    file.extend(frame);
    file
}

/// A section of pcapng with all that a section may hold: an interface of another unit and offset of time, an enhanced, a simple and an
/// obsolete packet, and a block of no known type.
fn sections_of(number: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let frame = frames::probe_request(PHONE, b"RNM0", 1);
    let length = u32::try_from(frame.len()).unwrap();
    let padded = [&frame[..], &vec![0; frame.len().next_multiple_of(4) - frame.len()]].concat();
    let block = |block_type: u32, content: &[&[u8]]| {
        let content = content.concat();
        let length = number(u32::try_from(content.len() + 12).unwrap());
        [&number(block_type)[..], &length, &content, &length].concat()
    };
    let is_big_endian = number(1)[3] == 1;
    // two numbers of 16 bits in one of 32
    let pair = |first: u32, second: u32| {
        number(if is_big_endian { first << 16 | second } else { second << 16 | first })
    };
    let option = |code: u32, value: &[u8]| {
        let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
        [&pair(code, u32::try_from(value.len()).unwrap())[..], value, &padding].concat()
    };
    let packet =
        |begin: [u8; 4]| [&begin[..], &[0, 395_812, length, length].map(number).concat(), &padded].concat();
    let offset = if is_big_endian { [0, 0, 0, 0, 0, 0, 0, 60] } else { [60, 0, 0, 0, 0, 0, 0, 0] };
    [
        block(0x0a0d_0d0a, &[&number(0x1a2b_3c4d), &pair(1, 0), &[0xff; 8]]),
        block(
            1,
            &[&pair(105, 0), &number(0), &option(9, &[0x80 | 10]), &option(14, &offset), &option(0, &[])],
        ),
        block(6, &[&packet(number(0))]),
        block(3, &[&number(length), &padded]),
        block(2, &[&packet(pair(0, 0))]),
        block(0x0bad_0bad, &[b"nothing."]),
    ]
    .concat()
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

fn survives_its_mutations(name: &str) {
    let (_, decode, times) = *TARGETS.iter().find(|(target, ..)| *target == name).unwrap();
    survives_mutations(name, times, decode);
}

#[test]
fn mutated_frames_cause_no_panic() {
    survives_its_mutations("frame");
}

#[test]
fn mutated_radiotap_headers_hide_no_frame() {
    survives_its_mutations("radiotap");
}

#[test]
fn mutated_ppi_headers_hide_no_frame() {
    survives_its_mutations("ppi");
}

#[test]
fn mutated_prism_and_avs_headers_hide_no_frame() {
    survives_its_mutations("prism");
    survives_its_mutations("avs");
}

#[test]
fn mutated_records_cause_no_panic() {
    survives_its_mutations("record");
}

#[test]
fn mutated_documents_cause_no_panic() {
    survives_its_mutations("document");
}

#[test]
fn mutated_heartbeats_read_back_or_are_refused() {
    survives_its_mutations("heartbeat");
}

#[test]
fn mutated_records_of_watched_networks_read_back_or_are_refused() {
    survives_its_mutations("list_record");
}

#[test]
fn mutated_configurations_mean_the_same_when_written_anew() {
    survives_its_mutations("configuration");
}

#[test]
fn mutated_capture_files_cause_no_panic_and_no_endless_reading() {
    survives_its_mutations("pcap");
    survives_its_mutations("pcapng");
}

#[test]
fn the_corpora_of_the_fuzz_targets_cause_no_panic() {
    for (target, decode, _) in TARGETS {
        let inputs: Vec<_> =
            fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() >= seeds(target).len(), "the corpus of {target} is incomplete");
        for input in inputs {
            let input = fs::read(input).unwrap();
            assert!(input.len() < 2_048, "{target}: a corpus of small inputs");
            decode(&input);
        }
    }
}

/// A frame of the standard's shape and what stands in it, for what the mutations do not find by themselves.
fn hostile(flags: u8, fragment: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = frames::probe_request(PHONE, b"", 1234)[..24].to_vec();
    frame[1] = flags;
    frame[22] |= fragment;
    frame.extend(body);
    frame
}

/// What is read of a frame behind this header.
fn read_of(link_type: LinkType, header: &[u8], frame: &[u8]) -> Result<Probe, Rejected> {
    let bytes = [header, frame].concat();
    let captured = Captured { time: 0, link_type, bytes: &bytes, original_length: bytes.len() };
    link_layer::decode(&captured, FcsPolicy::Verify)
}

fn named(ssid: &[u8]) -> SsidElement {
    SsidElement::Named(Ssid::new(ssid).unwrap())
}

#[test]
fn a_probe_request_that_stops_other_parsers_is_one_as_any_other() {
    // Anybody near can send it: at its end the attribute 0x1057 of a WPS element, of length 0, whose value some parsers read.
    let frame = hostile(0, 0, b"\x00\x04RNM0\x01\x01\x82\xdd\x08\x00\x50\xf2\x04\x10\x57\x00\x00");
    assert_eq!(frame.len(), 43);
    for (link_type, header, signal_dbm) in [
        (LinkType::Ieee80211, Vec::new(), None),
        (LinkType::Prism, frames::prism(-75, &[]), Some(-75)),
        (LinkType::Avs, frames::avs(-75, &[]), Some(-75)),
    ] {
        let probe = read_of(link_type, &header, &frame).unwrap();
        let expected = (Some(Mac::new(PHONE)), named(b"RNM0"), signal_dbm, Some(1234));
        assert_eq!((probe.source, probe.ssid, probe.signal_dbm, probe.sequence), expected, "{link_type:?}");
    }
    let probe = read_of(LinkType::Radiotap, &frames::radiotap(-75, &[]), &frames::with_fcs(frame)).unwrap();
    assert_eq!((probe.ssid, probe.signal_dbm, probe.channel), (named(b"RNM0"), Some(-75), Some(6)));
}

#[test]
fn a_radiotap_header_that_lies_costs_its_fields_and_not_the_frame_behind_it() {
    let frame = hostile(0, 0, b"\x00\x04RNM0");
    let header = |words: &[u32], fields: &[u8]| {
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let length = u16::try_from(4 + words.len() + fields.len()).unwrap().to_le_bytes();
        [&[0, 0, length[0], length[1]], &words[..], fields].concat()
    };
    let (signal, radiotap, vendor, more) = (1 << 5, 1 << 29, 1 << 30, 1 << 31);
    let fields_of_vendor = |length: u16| {
        let [low, high] = length.to_le_bytes();
        [0xb5, 0, 0, 0x50, 0xf2, 1, low, high, 0xb0]
    };
    for (what, header, signal_dbm) in [
        ("present words to its end", header(&[signal | more; 16], &[]), None),
        ("present words to the end of the longest", header(&[signal | more; 16_382], &[]), None),
        ("no field at all", header(&[0], &[]), None),
        ("a field beyond it", header(&[signal], &[]), None),
        (
            "a vendor's fields that are cut at once",
            header(&[signal | vendor | more, radiotap | more, signal], &[0, 0]),
            Some(0),
        ),
        (
            "a vendor's fields beyond it",
            header(&[signal | vendor | more, radiotap | more, signal], &fields_of_vendor(0xffff)),
            Some(-75),
        ),
        (
            "a vendor's fields beyond it by one byte",
            header(&[signal | vendor | more, radiotap | more, signal], &fields_of_vendor(2)),
            Some(-75),
        ),
        (
            "a vendor's fields to its end, and a field behind",
            header(&[signal | vendor | more, radiotap | more, signal], &fields_of_vendor(1)),
            Some(-75),
        ),
        (
            "a vendor's fields of 0 bytes",
            header(&[signal | vendor | more, radiotap | more, signal], &fields_of_vendor(0)),
            Some(-80),
        ),
        ("both namespaces", header(&[signal | radiotap | vendor | more, signal], &[0xb5, 0xb0]), None),
        ("another version", [&[1], &header(&[signal], &[0xb5])[1..]].concat(), None),
    ] {
        let probe =
            read_of(LinkType::Radiotap, &header, &frame).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!((probe.ssid, probe.signal_dbm), (named(b"RNM0"), signal_dbm), "{what}");
    }
    // without the place of the frame nothing can be read
    for length in [0, 1, 7, 0xffff_u16] {
        let mut header = header(&[signal], &[0xb5]);
        header[2..4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(read_of(LinkType::Radiotap, &header, &frame), Err(Rejected::BadHeader), "{length}");
    }
}

#[test]
fn thousands_of_elements_are_read_to_the_first_that_does_not_fit() {
    let read = |body: &[u8]| read_of(LinkType::Ieee80211, &[], &hostile(0, 0, body)).unwrap();
    let empty = [221, 0].repeat(4_096);
    assert_eq!(read(&[&empty[..], b"\x00\x04RNM0"].concat()).ssid, named(b"RNM0"));
    assert_eq!(read(&empty).ssid, SsidElement::Absent);
    // the first counts
    assert_eq!(read(&[&b"\x00\x04RNM0"[..], &b"\x00\x01a".repeat(4_096)].concat()).ssid, named(b"RNM0"));
    assert_eq!(read(&[0, 0].repeat(4_096)).ssid, SsidElement::Wildcard);
    // whole elements of the greatest length, and the last lacks a byte
    let long = [&[0, 255][..], &[b'a'; 255]].concat();
    assert_eq!(read(&long.repeat(255)).ssid, named(&[b'a'; 255]));
    assert_eq!(read(&long[..256]).ssid, SsidElement::Absent);
    assert_eq!(read(&[&empty[..], &long[..256]].concat()).ssid, SsidElement::Absent);
    assert_eq!(read(&[&empty[..], &long].concat()).ssid, named(&[b'a'; 255]));
}

#[test]
fn flags_of_a_frame_shift_hide_or_divide_its_elements() {
    let (more_fragments, retry, protected, ht_control) = (0x04, 0x08, 0x40, 0x80);
    let body = b"\x00\x04RNM0";
    let behind_ht_control = [&[0xff; 4][..], body].concat();
    for (what, flags, fragment, body, expected) in [
        ("sent again", retry, 0, &body[..], named(b"RNM0")),
        ("with HT Control", ht_control, 0, &behind_ht_control, named(b"RNM0")),
        ("with HT Control, cut within", ht_control, 0, &[0, 0, 0], SsidElement::Absent),
        ("with HT Control and nothing", ht_control, 0, &[0, 0, 0, 0], SsidElement::Absent),
        ("protected", protected, 0, body, SsidElement::Absent),
        ("the first fragment", more_fragments, 0, body, SsidElement::Absent),
        ("one in the middle", more_fragments, 1, body, SsidElement::Absent),
        ("the last fragment alone", 0, 15, body, named(b"RNM0")),
        ("every flag", 0xff, 15, &behind_ht_control, SsidElement::Absent),
    ] {
        let probe = read_of(LinkType::Ieee80211, &[], &hostile(flags, fragment, body)).unwrap();
        let expected = (Some(Mac::new(PHONE)), expected, Some(1234));
        assert_eq!((probe.source, probe.ssid, probe.sequence), expected, "{what}");
    }
}

/// `cargo fuzz` knows the targets that its manifest names.
#[test]
fn every_target_is_one_of_cargo_fuzz() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    for (target, ..) in TARGETS {
        assert!(
            manifest.contains(&format!("name = \"{target}\"\npath = \"fuzz_targets/{target}.rs\"")),
            "{target}"
        );
        let program = fs::read_to_string(folder.join(format!("fuzz_targets/{target}.rs"))).unwrap();
        assert!(program.contains(&format!("fuzz::{target}(input)")), "{target}");
    }
}

/// The corpora begin with our own seeds. With `UPDATE_CORPUS=1` in the environment they are written again.
#[test]
fn the_corpora_hold_the_seeds() {
    for (target, ..) in TARGETS {
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
    use link_layer::decode;
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
    for (name, key, value) in HEARTBEATS {
        let read = domain::heartbeat::decode(Some(key.as_bytes()), Some(value.as_bytes()));
        assert!(read.is_ok(), "{name}: {read:?}");
    }
    for (name, key, value) in LIST_RECORDS {
        let key = Some(key.as_bytes()).filter(|key| !key.is_empty());
        let read = domain::list_record::decode(key, Some(value.as_bytes())).unwrap();
        let expected = if name == "quoted" { &b"\"RNM0\""[..] } else { b"RNM0" };
        assert_eq!(read.ssid.bytes(), expected, "{name}");
        assert_eq!(read.listed.is_some(), name != "struct", "{name}");
    }
    for (name, text) in CONFIGURATIONS {
        let arguments = capture_agent::config_file::arguments(text);
        assert_eq!(arguments.is_ok(), name != "wrong", "{name}: {arguments:?}");
    }
    for (target, dlt) in [("radiotap", 127), ("ppi", 192), ("prism", 119), ("avs", 163)] {
        for (name, seed) in seeds(target) {
            let mut bytes = [&seed[1..], fuzz::FRAME].concat();
            if seed[0] == 1 && !matches!(target, "prism") {
                let length = u32::try_from(seed.len() - 1).unwrap();
                match target {
                    "avs" => bytes[4..8].copy_from_slice(&length.to_be_bytes()),
                    _ => bytes[2..4].copy_from_slice(&length.to_le_bytes()[..2]),
                }
            }
            let captured = Captured {
                time: 0,
                link_type: LinkType::from_dlt(dlt).unwrap(),
                original_length: bytes.len(),
                bytes: &bytes,
            };
            let expected = match name.as_str() {
                "of-length-0" => Err(Rejected::BadHeader),
                "zero-length-psdu" | "aggregate" => Err(Rejected::NotAProbeRequest),
                "words-to-the-end" | "none" => Ok(None),
                "vendor" => Ok(Some(-78)),
                _ => Ok(Some(-75)),
            };
            let signal = decode(&captured, FcsPolicy::Verify).map(|probe| probe.signal_dbm);
            assert_eq!(signal, expected, "{target}: {name}");
        }
    }
    for (target, name, expected) in [
        ("pcap", "microseconds", (5, 5)),
        ("pcap", "nanoseconds-big-endian", (1, 1)),
        ("pcap", "modified", (1, 1)),
        ("pcapng", "interfaces", (6, 5)),
        ("pcapng", "sections", (6, 6)),
    ] {
        let (_, seed) = seeds(target).into_iter().find(|(seed, _)| seed == name).unwrap();
        let mut probes = 0;
        let frames = capture_agent::capture_file::read(&seed[..], |_, captured| {
            probes += u64::from(decode(&captured, FcsPolicy::Verify).is_ok());
            Ok::<(), std::convert::Infallible>(())
        });
        assert_eq!((frames.unwrap(), probes), expected, "{name}");
    }
}
