//! The record of topic `pcap`: one frame as JSON. One decoder for every form the topic has had, one form that we write.
//!
//! | form | subtype | SSIDs | wildcard |
//! | --- | --- | --- | --- |
//! | 2020 (`tshark -T ek` of that time), and ours | `"4"` | text | `""` |
//! | tshark ≥ 4 | `"0x0004"` | hexadecimal | `"<MISSING>"` |
//!
//! The form is told by the subtype's form, never by what an SSID looks like: `BEEF` and `12345678` are names and hexadecimal.
//! Ours adds `wlan_ssid_hex` beside a lossy text when an SSID is no UTF-8, `fingerprint` and `sensor`.

use std::borrow::Cow;

use serde::Deserialize;

use crate::plain_json::Walk;
use crate::{EventTime, Mac, Probe, Ssid, SsidElement};

/// Type 0 (management), subtype 4: IEEE 802.11-2020, table 9-1.
const PROBE_REQUEST: u16 = 4;

/// The longest name of a sensor, as long as a host name may be.
pub const MAX_SENSOR_BYTES: usize = 255;

/// What a record that was understood says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A probe request.
    Probe(Probe),
    /// Another frame, or a line of the seed's pipeline that holds none (`{"timestamp":null}`).
    NotAProbeRequest,
}

/// Why a record cannot be read: the reason that stands beside it in the quarantine.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not JSON, or not an object of the fields we read.
    #[error("not a JSON object of a frame: {0}")]
    NotJson(#[from] serde_json::Error),
    /// A field that must be there is not.
    #[error("a probe request without {0}")]
    Missing(&'static str),
    /// A field holds something else than it should.
    #[error("{field} is not {expected}")]
    Malformed {
        /// The field's name in the record.
        field: &'static str,
        /// What it should have held.
        expected: &'static str,
    },
}

/// Reads a record of topic `pcap` in any of its forms.
///
/// Nearly every record has the plain shape that the agent and `jq -c` write. A walk over that is faster than a parser, which
/// reads the others: one meaning, two speeds.
///
/// # Errors
/// [`RecordError`] when it is no record that topic has ever had. The caller quarantines it.
pub fn decode(value: &[u8]) -> Result<Record, RecordError> {
    walked(value).unwrap_or_else(|| parsed(value))
}

/// [`decode`] for a record of the plain shape, `None` for every other. Here for tests, which hold it equal to [`parsed`].
#[must_use]
pub fn walked(value: &[u8]) -> Option<Result<Record, RecordError>> {
    plain(value).map(understood)
}

/// [`decode`] by a JSON parser, for a record of any shape.
///
/// # Errors
/// As [`decode`].
pub fn parsed(value: &[u8]) -> Result<Record, RecordError> {
    if value.trim_ascii_start().first() != Some(&b'{') {
        // a list of values would pass for the fields in their order
        return Err(RecordError::NotJson(serde::de::Error::custom("it does not begin with {")));
    }
    understood(serde_json::from_slice(value)?)
}

/// A frame whose values are texts or lists of texts without escapes. What a parser would refuse is declined, such as a field
/// that is there twice.
fn plain(value: &[u8]) -> Option<Frame<'_>> {
    let mut walk = Walk::new(std::str::from_utf8(value).ok()?)?;
    let mut frame = Frame::default();
    walk.object(|walk, name| {
        let value = plain_value(walk)?;
        match frame.field(name) {
            None => Some(()),
            Some(First(field @ None)) => value.map(|value| *field = Some(Cow::Borrowed(value))),
            Some(First(Some(_already))) => None,
        }
    })?;
    walk.end()?;
    Some(frame)
}

/// A text, or the first of a list of texts.
fn plain_value<'a>(walk: &mut Walk<'a>) -> Option<Option<&'a str>> {
    if walk.is_at_string() {
        return walk.string().map(Some);
    }
    let mut first = None;
    walk.array(|walk| {
        let value = walk.string()?;
        first.get_or_insert(value);
        Some(())
    })?;
    Some(first)
}

fn understood(frame: Frame<'_>) -> Result<Record, RecordError> {
    #[cfg(feature = "fault-points")]
    fault_point(&frame);
    let Some(subtype) = &frame.wlan_fc_type_subtype.0 else { return Ok(Record::NotAProbeRequest) };
    let (number, form) = match subtype.strip_prefix("0x") {
        Some(digits) => (u16::from_str_radix(digits, 16), Form::Tshark4),
        None => (subtype.parse(), Form::Text),
    };
    let number =
        number.map_err(|_not_a_number| malformed("wlan_fc_type_subtype", "a number such as 4 or 0x0004"))?;
    if number != PROBE_REQUEST {
        return Ok(Record::NotAProbeRequest);
    }
    Ok(Record::Probe(Probe {
        time: number_of(&frame.timestamp, "timestamp", "whole milliseconds since 1970")?
            .ok_or(RecordError::Missing("timestamp"))?,
        source: mac_of(&frame.wlan_sa, "wlan_sa")?,
        receiver: mac_of(&frame.wlan_ra, "wlan_ra")?,
        bssid: mac_of(&frame.wlan_bssid, "wlan_bssid")?,
        ssid: ssid_of(&frame, form)?,
        signal_dbm: signal_of(&frame.wlan_radio_signal_dbm)?,
        channel: number_of(&frame.wlan_radio_channel, "wlan_radio_channel", "a channel number")?,
        sequence: number_of(&frame.wlan_seq, "wlan_seq", "a sequence number")?,
        fingerprint: match &frame.fingerprint.0 {
            None => None,
            Some(text) => Some(
                u64::from_str_radix(text, 16)
                    .map_err(|_not_hex| malformed("fingerprint", "16 hexadecimal digits"))?,
            ),
        },
        sensor: match frame.sensor.0 {
            // it becomes part of an item, and an item has a limit
            Some(name) if name.len() > MAX_SENSOR_BYTES => {
                return Err(malformed("sensor", "a name of at most 255 bytes"));
            }
            name => name.map(Cow::into_owned),
        },
    }))
}

/// Appends the record of a probe request, without a line end: the 2020 form, which the seed's `CREATE STREAM` reads.
/// What the probe does not have is no key.
pub fn encode(probe: &Probe, sensor: &str, record: &mut Vec<u8>) {
    let mut out = Writer { record };
    out.raw(b"{\"timestamp\":\"");
    out.integer(probe.time);
    out.raw(b"\",\"wlan_fc_type\":[\"0\"],\"wlan_fc_type_subtype\":[\"4\"]");
    if let Some(channel) = probe.channel {
        out.array(b"wlan_radio_channel", |out| out.integer(channel.into()));
    }
    if let Some(signal) = probe.signal_dbm {
        out.array(b"wlan_radio_signal_dbm", |out| out.integer(signal.into()));
    }
    for (name, address) in [(&b"wlan_ra"[..], probe.receiver), (b"wlan_da", probe.receiver)] {
        out.address(name, address);
    }
    for (name, address) in [(&b"wlan_ta"[..], probe.source), (b"wlan_sa", probe.source)] {
        out.address(name, address);
    }
    out.address(b"wlan_bssid", probe.bssid);
    match &probe.ssid {
        SsidElement::Absent => {}
        SsidElement::Wildcard => out.raw(b",\"wlan_ssid\":[\"\"]"),
        SsidElement::Named(ssid) => {
            let text = ssid.text_lossy();
            out.raw(b",\"wlan_ssid\":[");
            out.text(&text);
            out.raw(b"]");
            if matches!(text, Cow::Owned(_)) {
                out.array(b"wlan_ssid_hex", |out| out.hex(ssid.bytes()));
            }
        }
    }
    if let Some(sequence) = probe.sequence {
        out.array(b"wlan_seq", |out| out.integer(sequence.into()));
    }
    if let Some(fingerprint) = probe.fingerprint {
        out.raw(b",\"fingerprint\":\"");
        out.hex(&fingerprint.to_be_bytes());
        out.raw(b"\"");
    }
    out.raw(b",\"sensor\":");
    out.text(sensor);
    out.raw(b"}");
}

/// How a record writes its SSIDs.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Tshark4,
}

/// The fields we read. All others may hold anything.
#[derive(Default, Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    timestamp: First<'a>,
    #[serde(borrow, default)]
    wlan_fc_type_subtype: First<'a>,
    #[serde(borrow, default)]
    wlan_radio_channel: First<'a>,
    #[serde(borrow, default)]
    wlan_radio_signal_dbm: First<'a>,
    #[serde(borrow, default)]
    wlan_ra: First<'a>,
    #[serde(borrow, default)]
    wlan_sa: First<'a>,
    #[serde(borrow, default)]
    wlan_bssid: First<'a>,
    #[serde(borrow, default)]
    wlan_ssid: First<'a>,
    #[serde(borrow, default)]
    wlan_ssid_hex: First<'a>,
    #[serde(borrow, default)]
    wlan_seq: First<'a>,
    #[serde(borrow, default)]
    fingerprint: First<'a>,
    #[serde(borrow, default)]
    sensor: First<'a>,
}

impl<'a> Frame<'a> {
    /// The field of this name, if it is one that we read.
    fn field(&mut self, name: &str) -> Option<&mut First<'a>> {
        match name {
            "timestamp" => Some(&mut self.timestamp),
            "wlan_fc_type_subtype" => Some(&mut self.wlan_fc_type_subtype),
            "wlan_radio_channel" => Some(&mut self.wlan_radio_channel),
            "wlan_radio_signal_dbm" => Some(&mut self.wlan_radio_signal_dbm),
            "wlan_ra" => Some(&mut self.wlan_ra),
            "wlan_sa" => Some(&mut self.wlan_sa),
            "wlan_bssid" => Some(&mut self.wlan_bssid),
            "wlan_ssid" => Some(&mut self.wlan_ssid),
            "wlan_ssid_hex" => Some(&mut self.wlan_ssid_hex),
            "wlan_seq" => Some(&mut self.wlan_seq),
            "fingerprint" => Some(&mut self.fingerprint),
            "sensor" => Some(&mut self.sensor),
            _ => None,
        }
    }
}

/// A value that may be a scalar, a list, missing or null: the first value as text. Like the seed's `WLAN_SSID[1]`, which
/// counts from 1 and is null beyond the end.
#[derive(Default)]
struct First<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FirstVisitor).map(First)
    }
}

struct FirstVisitor;

impl<'de> serde::de::Visitor<'de> for FirstVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text, a number, null or a list of these")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let first = list.next_element::<First<'de>>()?;
        while list.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(first.and_then(|first| first.0))
    }
}

fn malformed(field: &'static str, expected: &'static str) -> RecordError {
    RecordError::Malformed { field, expected }
}

fn number_of<N: std::str::FromStr>(
    value: &First<'_>,
    field: &'static str,
    expected: &'static str,
) -> Result<Option<N>, RecordError> {
    match &value.0 {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_not_a_number| malformed(field, expected)),
    }
}

fn mac_of(value: &First<'_>, field: &'static str) -> Result<Option<Mac>, RecordError> {
    match value.0.as_deref().and_then(plain_mac) {
        Some(mac) => Ok(Some(mac)),
        None => number_of(value, field, "a MAC address"),
    }
}

/// A MAC address in the spelling of the agent and of tshark, three of which are in a record. The others are read by its parser.
fn plain_mac(text: &str) -> Option<Mac> {
    let text: &[u8; 17] = text.as_bytes().try_into().ok()?;
    let nibble = |digit| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 6];
    for (byte, part) in bytes.iter_mut().zip(text.chunks(3)) {
        let ([high, low] | [high, low, b':']) = part else { return None };
        *byte = (nibble(*high)? << 4) | nibble(*low)?;
    }
    Some(Mac::new(bytes))
}

/// The seed's schema declares the signal as a double: `-75.0` is -75 dBm.
fn signal_of(value: &First<'_>) -> Result<Option<i8>, RecordError> {
    let field = "wlan_radio_signal_dbm";
    let expected = "a whole number of dBm from -128 to 127";
    let Some(signal) = number_of::<f64>(value, field, expected)? else { return Ok(None) };
    if signal.fract() == 0.0 && (-128.0..=127.0).contains(&signal) {
        // in range and whole, so nothing is cut off
        #[expect(clippy::cast_possible_truncation)]
        return Ok(Some(signal as i8));
    }
    Err(malformed(field, expected))
}

fn ssid_of(frame: &Frame<'_>, form: Form) -> Result<SsidElement, RecordError> {
    if let Some(hex) = &frame.wlan_ssid_hex.0 {
        return named(Ssid::from_hex(hex), "wlan_ssid_hex");
    }
    match (&frame.wlan_ssid.0, form) {
        (None, _) => Ok(SsidElement::Absent),
        (Some(text), _) if text.is_empty() => Ok(SsidElement::Wildcard),
        (Some(text), Form::Tshark4) if text == "<MISSING>" => Ok(SsidElement::Wildcard),
        (Some(hex), Form::Tshark4) => named(Ssid::from_hex(hex), "wlan_ssid"),
        (Some(text), Form::Text) => named(Ssid::new(text.as_bytes()), "wlan_ssid"),
    }
}

fn named(
    ssid: Result<Ssid, crate::ssid::NotAnSsid>,
    field: &'static str,
) -> Result<SsidElement, RecordError> {
    ssid.map(SsidElement::Named).map_err(|_why| malformed(field, "an SSID of 1 to 255 bytes"))
}

/// Lets a test ask for a panic inside the decoder, to see that it ends in the quarantine. Not in builds for real use.
#[cfg(feature = "fault-points")]
#[expect(clippy::panic)]
fn fault_point(frame: &Frame<'_>) {
    if frame.sensor.0.as_deref() == Some("panic-in-the-decoder") {
        panic!("asked for by the record");
    }
}

/// Appends JSON. Written by hand because an agent writes one of these for every frame it hears: a third of the time of a
/// general serializer.
struct Writer<'a> {
    record: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn raw(&mut self, json: &[u8]) {
        self.record.extend_from_slice(json);
    }

    fn array(&mut self, name: &[u8], value: impl FnOnce(&mut Self)) {
        self.raw(b",\"");
        self.raw(name);
        self.raw(b"\":[\"");
        value(self);
        self.raw(b"\"]");
    }

    fn address(&mut self, name: &[u8], address: Option<Mac>) {
        let Some(address) = address else { return };
        self.array(name, |out| {
            for (position, byte) in address.bytes().into_iter().enumerate() {
                if position > 0 {
                    out.raw(b":");
                }
                out.hex(&[byte]);
            }
        });
    }

    fn hex(&mut self, bytes: &[u8]) {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        for &byte in bytes {
            self.record.extend_from_slice(&[digit(byte >> 4), digit(byte & 0x0f)]);
        }
    }

    fn integer(&mut self, number: EventTime) {
        use std::io::Write as _;
        let _writing_to_memory_cannot_fail = write!(self.record, "{number}");
    }

    fn text(&mut self, text: &str) {
        let _writing_to_memory_cannot_fail = serde_json::to_writer(&mut *self.record, text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn probe(json: &str) -> Probe {
        match decode(json.as_bytes()).unwrap() {
            Record::Probe(probe) => probe,
            Record::NotAProbeRequest => panic!("not taken for a probe request: {json}"),
        }
    }

    fn named(text: &str) -> SsidElement {
        SsidElement::Named(Ssid::new(text.as_bytes()).unwrap())
    }

    #[test]
    fn the_form_is_told_by_the_subtype_not_by_the_look_of_an_ssid() {
        for (subtype, ssid, expected) in [
            ("4", "BEEF", named("BEEF")),
            ("4", "<MISSING>", named("<MISSING>")),
            ("4", "", SsidElement::Wildcard),
            ("0x0004", "42454546", named("BEEF")),
            ("0x0004", "<MISSING>", SsidElement::Wildcard),
            ("0x04", "00000000", named("\0\0\0\0")),
        ] {
            let record =
                format!(r#"{{"timestamp":"1","wlan_fc_type_subtype":["{subtype}"],"wlan_ssid":["{ssid}"]}}"#);
            assert_eq!(probe(&record).ssid, expected, "{record}");
        }
    }

    #[test]
    fn a_value_may_be_a_scalar_a_list_missing_or_null() {
        for signal in [r#""-75""#, r#"["-75"]"#, "-75", "[-75]", r#"["-75.0","-40"]"#, "-75.0"] {
            let record = format!(
                r#"{{"timestamp":1584802202655,"wlan_fc_type_subtype":4,"wlan_radio_signal_dbm":{signal}}}"#
            );
            assert_eq!(probe(&record).signal_dbm, Some(-75), "{record}");
        }
        for signal in ["null", "[]", "[null]"] {
            let record = format!(
                r#"{{"timestamp":"1","wlan_fc_type_subtype":["4"],"wlan_radio_signal_dbm":{signal}}}"#
            );
            assert_eq!(probe(&record).signal_dbm, None, "{record}");
        }
    }

    #[test]
    fn what_is_no_probe_request_is_told_from_what_is_unreadable() {
        for ignored in [r#"{"timestamp":null}"#, "{}", r#"{"wlan_fc_type_subtype":["0x001d"]}"#] {
            assert_eq!(decode(ignored.as_bytes()).unwrap(), Record::NotAProbeRequest, "{ignored}");
        }
        for unreadable in [
            "",
            "null",
            "[]",
            "\"4\"",
            "{",
            "\u{0}",
            r#"{"wlan_fc_type_subtype":["four"]}"#,
            r#"{"wlan_fc_type_subtype":["4"]}"#,
            r#"{"timestamp":"x","wlan_fc_type_subtype":["4"]}"#,
            r#"{"timestamp":"1","wlan_fc_type_subtype":["4"],"wlan_sa":["x"]}"#,
            r#"{"timestamp":"1","wlan_fc_type_subtype":["4"],"wlan_radio_signal_dbm":["128"]}"#,
            r#"{"timestamp":"1","wlan_fc_type_subtype":["4"],"wlan_radio_signal_dbm":["NaN"]}"#,
            r#"{"timestamp":"1","wlan_fc_type_subtype":["0x0004"],"wlan_ssid":["RNM0"]}"#,
            r#"{"timestamp":"1","wlan_fc_type_subtype":["4"],"wlan_ssid":{"a":1}}"#,
        ] {
            assert!(decode(unreadable.as_bytes()).is_err(), "{unreadable}");
        }
        let deep = format!("{{\"wlan_ssid\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(decode(deep.as_bytes()).is_err());
    }

    #[test]
    fn ours_is_the_2020_form_with_absent_fields_left_out() {
        let mut probe = Probe {
            time: 1_584_802_202_655,
            source: Some("f0:c3:71:2a:04:20".parse().unwrap()),
            receiver: Some("ff:ff:ff:ff:ff:ff".parse().unwrap()),
            bssid: Some("ff:ff:ff:ff:ff:ff".parse().unwrap()),
            ssid: named("RNM0"),
            signal_dbm: Some(-75),
            channel: Some(1),
            sequence: Some(1234),
            fingerprint: Some(0x00ab_cdef_0123_4567),
            sensor: None,
        };
        let line = |probe: &Probe| {
            let mut record = Vec::new();
            encode(probe, "hallway", &mut record);
            String::from_utf8(record).unwrap()
        };
        assert_eq!(
            line(&probe),
            r#"{"timestamp":"1584802202655","wlan_fc_type":["0"],"wlan_fc_type_subtype":["4"],"wlan_radio_channel":["1"],"wlan_radio_signal_dbm":["-75"],"wlan_ra":["ff:ff:ff:ff:ff:ff"],"wlan_da":["ff:ff:ff:ff:ff:ff"],"wlan_ta":["f0:c3:71:2a:04:20"],"wlan_sa":["f0:c3:71:2a:04:20"],"wlan_bssid":["ff:ff:ff:ff:ff:ff"],"wlan_ssid":["RNM0"],"wlan_seq":["1234"],"fingerprint":"00abcdef01234567","sensor":"hallway"}"#
        );
        probe.ssid = SsidElement::Named(Ssid::new(*b"a\xff\"").unwrap());
        assert!(line(&probe).contains(r#""wlan_ssid":["a�\""],"wlan_ssid_hex":["61ff22"],"#));
        let bare = Probe {
            source: None,
            receiver: None,
            bssid: None,
            ssid: SsidElement::Absent,
            signal_dbm: None,
            channel: None,
            sequence: None,
            fingerprint: None,
            ..probe
        };
        assert_eq!(
            line(&bare),
            r#"{"timestamp":"1584802202655","wlan_fc_type":["0"],"wlan_fc_type_subtype":["4"],"sensor":"hallway"}"#
        );
    }

    /// What the walk answers must be what the parser answers. Returns whether it answered.
    fn walks_as_parsed(record: &[u8]) -> bool {
        let told = |answer: Result<Record, RecordError>| answer.map_err(|why| why.to_string());
        let Some(walked) = walked(record) else { return false };
        assert_eq!(told(walked), told(parsed(record)), "{}", String::from_utf8_lossy(record));
        true
    }

    const OURS: &str = r#"{"timestamp":"1584802202655","wlan_fc_type":["0"],"wlan_fc_type_subtype":["4"],"wlan_radio_channel":["1"],"wlan_radio_signal_dbm":["-75"],"wlan_ra":["ff:ff:ff:ff:ff:ff"],"wlan_sa":["f0:c3:71:2a:04:20"],"wlan_bssid":["ff:ff:ff:ff:ff:ff"],"wlan_ssid":["RNM0"],"wlan_seq":["1234"],"fingerprint":"00abcdef01234567","sensor":"hallway"}"#;
    const OF_2020: &str = r#"{"timestamp":"1584802202655","wlan_fc_type":["0"],"wlan_fc_type_subtype":["4"],"wlan_radio_signal_dbm":["-75"],"wlan_sa":["f0:c3:71:2a:04:20"],"wlan_sa_resolved":["f0:c3:71:2a:04:20"],"wlan_tag_oui":["20722","4120"],"wlan_ssid":["café"]}"#;
    const TSHARK_4: &str = r#"{"timestamp":"1700000000000","wlan_fc_type_subtype":["0x0004"],"wlan_radio_signal_dbm":["-50","-52"],"wlan_sa":["02:5e:00:5a:00:00"],"wlan_tag":[],"wlan_ssid":["546573744e6574"]}"#;

    #[test]
    fn records_that_machines_write_are_walked_over() {
        for record in [OURS, OF_2020, TSHARK_4, r#"{"wlan_fc_type_subtype":["0x001d"]}"#, "{}"] {
            assert!(walks_as_parsed(record.as_bytes()), "{record}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_parser() {
        for record in [
            r#"{"timestamp":null}"#,
            r#"{"timestamp":1,"wlan_fc_type_subtype":["4"]}"#,
            r#"{"timestamp":"1","timestamp":"2","wlan_fc_type_subtype":["4"]}"#,
            r#"{"timestamp":"1","wlan_fc_type_subtype":["4"],"wlan_ssid":[]}"#,
            r#"{"timestamp":"1","wlan_fc_type_subtype":["4"],"wlan_ssid":["\u0041"]}"#,
            r#"{"timestamp":"1","wlan_fc_type_subtype":["4"],"wlan_ssid":[["A"]]}"#,
            r#"{"timestamp":"1","wlan_fc_type_subtype":["4"],"other":{"wlan_ssid":["A"]}}"#,
            r#"{"timestamp":"1","wlan_fc_type_subtype":["4"]} "#,
            r#"{"timestamp":"1","wlan_fc_type_subtype":["4"]}}"#,
        ] {
            assert!(walked(record.as_bytes()).is_none(), "{record}");
        }
        assert!(walked(b"{\"timestamp\":\"1\",\"wlan_ssid\":[\"caf\xe9\"]}").is_none());
    }

    /// Values as they may stand in a record, plain and not.
    fn values() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            "[ -!#-\\[\\]-~é☕]{0,20}",
            "[0-9a-f]{2}(:[0-9a-f]{2}){5}",
            "-?[0-9]{1,4}",
            "0x000[0-9a-f]",
            "([0-9a-f]{2}){0,12}",
            Just("4".to_owned()),
            Just("<MISSING>".to_owned()),
            r#"[a-c"\\/nu0-9\n]{0,8}"#,
        ];
        let scalar = prop_oneof![
            6 => text.prop_map(|text| format!("\"{text}\"")),
            1 => "-?[0-9]{1,3}(\\.[0-9])?(e[0-9])?",
            1 => prop::sample::select(vec!["null", "true", "{}", r#"{"a":"b"}"#, r#"["x"]"#]).prop_map(str::to_owned),
        ];
        prop_oneof![
            scalar.clone(),
            prop::collection::vec(scalar, 0..3).prop_map(|list| format!("[{}]", list.join(",")))
        ]
    }

    /// Records in which every field may be there or not, once or twice, in any order, with any value.
    fn records() -> impl Strategy<Value = String> {
        let names = [
            "timestamp",
            "wlan_fc_type",
            "wlan_fc_type_subtype",
            "wlan_radio_channel",
            "wlan_radio_signal_dbm",
            "wlan_ra",
            "wlan_sa",
            "wlan_bssid",
            "wlan_ssid",
            "wlan_ssid_hex",
            "wlan_seq",
            "fingerprint",
            "sensor",
            "other",
            "",
        ];
        let fields = prop::collection::vec((prop::sample::select(names.to_vec()), values()), 0..8);
        (any::<bool>(), fields).prop_map(|(probe, mut fields)| {
            if probe {
                fields.insert(0, ("timestamp", "\"1584802202655\"".to_owned()));
                fields.insert(0, ("wlan_fc_type_subtype", "[\"4\"]".to_owned()));
            }
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", fields.join(","))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_plain_mac_is_what_the_parser_of_addresses_reads(text in "[0-9a-fA-F]{2}([:-]?[0-9a-fg]{2}){5}[:]?") {
            let is_plain = text.len() == 17 && !text.contains(|odd: char| odd.is_ascii_uppercase() || "-g".contains(odd))
                && text.as_bytes().iter().skip(2).step_by(3).all(|byte| *byte == b':');
            prop_assert_eq!(plain_mac(&text), if is_plain { text.parse().ok() } else { None });
        }

        #[test]
        fn the_walk_and_the_parser_agree_on_every_form(record in records()) {
            walks_as_parsed(record.as_bytes());
        }

        #[test]
        fn the_walk_and_the_parser_agree_on_damaged_records(
            record in prop_oneof![
                records(), Just(OURS.to_owned()), Just(OF_2020.to_owned()), Just(TSHARK_4.to_owned())
            ],
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..5, any::<u8>()), 1..4),
        ) {
            let mut record = record.into_bytes();
            for (at, to, how, byte) in damage {
                let (at, to) = (at.index(record.len() + 1), to.index(record.len() + 1));
                let special = *b"\"\\,:[]{}0\n".get(usize::from(byte % 10)).unwrap();
                match how {
                    0 => record.get_mut(at).map_or((), |old| *old ^= 1 << (byte % 8)),
                    1 => record.insert(at, byte),
                    2 => record.insert(at, special),
                    3 => drop(record.drain(at.min(to)..at.max(to).min(at.min(to) + 40))),
                    _ => {
                        let again = record[at.min(to)..at.max(to)].to_vec();
                        record.splice(at..at, again);
                    }
                }
            }
            walks_as_parsed(&record);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            time in any::<i64>(),
            source in prop::option::of(prop::array::uniform6(0_u8..)),
            ssid in prop::option::of(prop::collection::vec(0_u8.., 0..=255)),
            signal_dbm in prop::option::of(any::<i8>()),
            channel in prop::option::of(any::<u16>()),
            fingerprint in prop::option::of(any::<u64>()),
            sensor in ".{0,60}",
        ) {
            let source = source.map(Mac::new);
            let ssid = match ssid {
                None => SsidElement::Absent,
                Some(bytes) => Ssid::new(bytes).map_or(SsidElement::Wildcard, SsidElement::Named),
            };
            let probe = Probe {
                time, source, receiver: source, bssid: source, ssid, signal_dbm, channel, sequence: channel, fingerprint,
                sensor: Some(sensor),
            };
            let mut record = Vec::new();
            encode(&probe, probe.sensor.as_deref().unwrap(), &mut record);
            prop_assert_eq!(decode(&record).unwrap(), Record::Probe(probe));
        }
    }
}
