//! What the fuzz targets do with an input: decode it, and see that what was understood can be written and read back. The tests
//! do the same with the corpora and with a million mutations of them.

use domain::document_record::{self, Change, MAX_ID_BYTES, MAX_TEXT_BYTES};
use domain::link_layer::{self, Captured, FcsPolicy, LinkType};
use domain::record::{self, Record, RecordError};
use domain::{Document, Mac, Probe, SsidElement};

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

/// A record of a document. The first byte says how long the key is, with 0 there is none; without what it promises there is no
/// value. What is kept of it fits into a table.
pub fn document(input: &[u8]) {
    let Some((&key_length, rest)) = input.split_first() else { return };
    let (key, value) = match rest.split_at_checked(usize::from(key_length)) {
        Some((key, value)) => (key, Some(value)),
        None => (rest, None),
    };
    let Ok(record) = document_record::decode(Some(key).filter(|key| !key.is_empty()), value) else { return };
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

/// A capture file.
pub fn capture_file(input: &[u8]) {
    let mut last = 0;
    let result = capture_agent::capture_file::read(input, |number, captured| {
        assert!(number > last);
        assert!(captured.bytes.len() <= input.len());
        last = number;
        // what stands in it is another target's matter
        let _probe_or_reason = link_layer::decode(&captured, FcsPolicy::Ignore);
        Ok::<(), std::convert::Infallible>(())
    });
    // the shortest frame takes 12 bytes of a file
    let frames = result.unwrap_or(last);
    assert!(frames >= last && frames <= input.len() as u64 / 12);
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
