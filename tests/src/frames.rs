//! Frames and capture files made by ourselves, so that none of other people's devices is needed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use crate::process::target;

/// A probe request in 2.4 GHz as a phone of some years ago sends it: rates, HT, extended and vendor capabilities.
#[must_use]
pub fn probe_request(source: [u8; 6], ssid: &[u8], sequence: u16) -> Vec<u8> {
    let mut frame = vec![0x40, 0, 0, 0];
    frame.extend([0xff; 6]);
    frame.extend(source);
    frame.extend([0xff; 6]);
    frame.extend((sequence << 4).to_le_bytes());
    frame.extend([0, u8::try_from(ssid.len()).expect("an SSID of at most 255 bytes")]);
    frame.extend(ssid);
    frame.extend([
        1, 4, 2, 4, 11, 22, 50, 8, 12, 18, 24, 36, 48, 72, 96, 108, 3, 1, 6, 45, 26, 0x2d, 1, 0x17, 0xff,
    ]);
    frame.extend([0; 22]);
    frame.extend([
        127, 8, 4, 0, 8, 4, 0, 0, 0, 0x40, 107, 1, 0x0f, 255, 3, 2, 0, 0, 221, 7, 0, 0x50, 0xf2, 8, 0, 18, 0,
    ]);
    frame
}

/// A frame of `length` bytes that begins with this frame control.
#[must_use]
pub fn other(frame_control: u8, length: usize) -> Vec<u8> {
    let mut frame = vec![frame_control, 0];
    frame.resize(length, 0x5a);
    frame
}

/// The frame with its frame check sequence.
#[must_use]
pub fn with_fcs(mut frame: Vec<u8>) -> Vec<u8> {
    let fcs = crc32fast::hash(&frame);
    frame.extend(fcs.to_le_bytes());
    frame
}

/// The frame, with FCS, behind a radiotap header as Linux writes it: TSFT, flags, rate, channel 6, signal, antenna, and again
/// signal and antenna.
#[must_use]
pub fn radiotap(signal_dbm: i8, frame: &[u8]) -> Vec<u8> {
    let [signal] = signal_dbm.to_le_bytes();
    let mut bytes = vec![0, 0, 33, 0, 0x2f, 0, 0, 0xa0, 0x20, 0x08, 0, 0, 0, 0, 0, 0];
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 0x10, 2, 0x85, 0x09, 0xa0, 0, signal, signal, 0]);
    bytes.extend(frame);
    bytes
}

/// The frame, with FCS, behind a PPI header.
#[must_use]
pub fn ppi(signal_dbm: i8, frame: &[u8]) -> Vec<u8> {
    let [signal] = signal_dbm.to_le_bytes();
    let mut bytes = vec![0, 0, 32, 0, 105, 0, 0, 0, 2, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0];
    bytes.extend([0x85, 0x09, 0xa0, 0, 0, 0, signal, 0]);
    bytes.extend(frame);
    bytes
}

/// The frame behind an AVS header.
#[must_use]
pub fn avs(signal_dbm: i8, frame: &[u8]) -> Vec<u8> {
    let signal = i32::from(signal_dbm).cast_unsigned();
    let words = [0x8021_1001, 64, 0, 0, 0, 0, 5, 6, 20, 0, 0, 2, signal, 0, 0, 0];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
    bytes.extend(frame);
    bytes
}

/// The frame behind a Prism header.
#[must_use]
pub fn prism(signal_dbm: i8, frame: &[u8]) -> Vec<u8> {
    let mut words = vec![0x44, 144, 0, 0, 0, 0];
    for item in 1_u32..=10 {
        let value = match item {
            3 => 6,
            4 => i32::from(signal_dbm).cast_unsigned(),
            _ => 0,
        };
        words.extend([item << 16 | 0x44, 4 << 16, value]);
    }
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.extend(frame);
    bytes
}

/// Writes the header of a classic capture file, in microseconds and little-endian.
///
/// # Errors
/// Those of the file.
pub fn write_pcap_header(file: &mut impl Write, link_type: u32) -> io::Result<()> {
    for number in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, link_type] {
        file.write_all(&number.to_le_bytes())?;
    }
    Ok(())
}

/// Writes a record of a classic capture file.
///
/// # Errors
/// Those of the file.
pub fn write_pcap_record(file: &mut impl Write, microseconds: u64, frame: &[u8]) -> io::Result<()> {
    let length = frame.len() as u64;
    for number in [microseconds / 1_000_000, microseconds % 1_000_000, length, length] {
        let number = u32::try_from(number).expect("a time before 2106 and a length below 4 GiB");
        file.write_all(&number.to_le_bytes())?;
    }
    file.write_all(frame)
}

/// A classic capture file, a millisecond between the frames.
#[must_use]
pub fn pcap(link_type: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    write_pcap_header(&mut file, link_type).expect("writing to memory");
    for (number, frame) in frames.iter().enumerate() {
        write_pcap_record(&mut file, 1_700_000_000_000_000 + 1_000 * number as u64, frame)
            .expect("writing to memory");
    }
    file
}

/// A pcapng file with one interface for each pair of link type and frames.
#[must_use]
pub fn pcapng(interfaces: &[(u16, &[Vec<u8>])]) -> Vec<u8> {
    fn block(block_type: u32, content: &[u8]) -> Vec<u8> {
        let padded = content.len().next_multiple_of(4);
        let length = u32::try_from(padded + 12).expect("a block below 4 GiB").to_le_bytes();
        let padding = vec![0; padded - content.len()];
        [&block_type.to_le_bytes(), &length, content, &padding[..], &length].concat()
    }
    let mut file =
        block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    for (link_type, _) in interfaces {
        let [low, high] = link_type.to_le_bytes();
        // with if_tsresol: nanoseconds
        file.extend(block(1, &[low, high, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]));
    }
    for (interface, (_, frames)) in (0_u32..).zip(interfaces) {
        for frame in *frames {
            let length = u32::try_from(frame.len()).expect("a frame below 4 GiB");
            let numbers = [interface, 395_812, 3_300_130_816, length, length];
            let mut content: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
            content.extend(frame);
            file.extend(block(6, &content));
        }
    }
    file
}

/// How many frames [`million`] has. Every fifth is a probe request.
pub const FRAMES: u32 = 1_000_000;

/// The file that benchmarks read, the same every time, made when it is not there: of five frames one is a probe request, the
/// others are beacons and data of 60 to 300 bytes.
///
/// # Panics
/// If it cannot be written.
#[must_use]
pub fn million() -> PathBuf {
    let path = target().join("tmp").join("million-frames.pcap");
    if path.exists() {
        return path;
    }
    let mut random = fastrand::Rng::with_seed(2020);
    // under another name until it is whole
    let unfinished = path.with_extension("unfinished");
    let mut file = BufWriter::new(File::create(&unfinished).expect("a file in target/tmp"));
    write_pcap_header(&mut file, 127).expect("room for 200 MB");
    for number in 0..FRAMES {
        let frame = if number % 5 == 0 {
            let source = [2, random.u8(..), random.u8(..), 0, 0, 1];
            let ssid = &b"a network's name"[..random.usize(0..=16)];
            probe_request(source, ssid, random.u16(0..4096))
        } else {
            other(if random.bool() { 0x80 } else { 0x88 }, random.usize(60..300))
        };
        let frame = radiotap(random.i8(-95..-20), &with_fcs(frame));
        write_pcap_record(&mut file, 1_700_000_000_000_000 + u64::from(number) * 1_000, &frame)
            .expect("room for 200 MB");
    }
    file.flush().expect("room for 200 MB");
    std::fs::rename(&unfinished, &path).expect("a new name");
    path
}
