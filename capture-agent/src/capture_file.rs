//! Capture files: pcap and pcapng, from any input, in bounded memory.
//!
//! Not by libpcap, which refuses files that Wireshark writes: pcapng whose interfaces differ in link type or byte order. The
//! blocks are read by `pcap-parser`; where one ends, which time it has and when to give up is decided here.

mod pcap;
mod pcapng;
mod window;

use std::io::Read;

use domain::EventTime;
use domain::link_layer::{Captured, LinkType};

use window::Window;

/// The most bytes of a frame that capture programs write (`MAXIMUM_SNAPLEN` of libpcap): a greater length is damage.
const MAX_FRAME: usize = 262_144;

/// Why reading a capture file ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// Not a byte.
    #[error("the input is empty: expected a capture file (pcap or pcapng)")]
    Empty,
    /// A gzip file.
    #[error("the input is compressed by gzip: unpack it first, for example with `gunzip`")]
    Gzip,
    /// Neither pcap nor pcapng.
    #[error("not a capture file: expected pcap or pcapng, as tcpdump, Wireshark or airodump-ng write them")]
    NotACapture,
    /// No frame in the file can be 802.11.
    #[error(
        "no 802.11 frames in this capture: its link type is {link_type}; capture with the radio in monitor mode"
    )]
    NotIeee80211 {
        /// The link type's number.
        link_type: i32,
    },
    /// The file is cut or damaged. All frames before were given.
    #[error("the capture is damaged at frame {frame}: {problem}; the frames before it were read")]
    Damaged {
        /// The number of the frame that cannot be read, from 1.
        frame: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The input could not be read.
    #[error("cannot read the capture")]
    Input(#[from] std::io::Error),
    /// `on_frame` failed.
    #[error(transparent)]
    Frame(E),
}

/// Reads a capture file to its end and hands every 802.11 frame to `on_frame` with its number in the file, from 1 (as
/// Wireshark numbers them, so frames that are no 802.11 are counted too). Gives the number of frames in the file.
///
/// # Errors
/// [`ReadError`]; what stood before the damage has been handed over by then.
pub fn read<E>(
    input: impl Read,
    on_frame: impl FnMut(u64, Captured<'_>) -> Result<(), E>,
) -> Result<u64, ReadError<E>> {
    let mut window = Window::new(input);
    let mut frames = Frames { number: 0, on_frame };
    window.fill(4)?;
    match window.data() {
        [] => return Err(ReadError::Empty),
        [0x1f, 0x8b, ..] => return Err(ReadError::Gzip),
        [0x0a, 0x0d, 0x0d, 0x0a, ..] => pcapng::read(&mut window, &mut frames)?,
        _ => pcap::read(&mut window, &mut frames)?,
    }
    Ok(frames.number)
}

/// Where the frames go.
struct Frames<F> {
    number: u64,
    on_frame: F,
}

impl<F> Frames<F> {
    /// Hands a frame over; without a link type it is no 802.11 and only counted.
    fn next<E>(
        &mut self,
        link_type: Option<LinkType>,
        time: EventTime,
        bytes: &[u8],
        original_length: u32,
    ) -> Result<(), ReadError<E>>
    where
        F: FnMut(u64, Captured<'_>) -> Result<(), E>,
    {
        if bytes.len() > MAX_FRAME {
            return Err(self.damaged("its length cannot be"));
        }
        self.number += 1;
        let Some(link_type) = link_type else { return Ok(()) };
        let original_length = usize::try_from(original_length).unwrap_or(usize::MAX);
        (self.on_frame)(self.number, Captured { time, link_type, bytes, original_length })
            .map_err(ReadError::Frame)
    }

    /// The next frame cannot be read.
    fn damaged<E>(&self, problem: &'static str) -> ReadError<E> {
        ReadError::Damaged { frame: self.number + 1, problem }
    }

    /// The file ends within the next frame.
    fn cut<E>(&self) -> ReadError<E> {
        self.damaged("the file ends within it")
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// What was handed over of one frame: number, link type, time, bytes, original length.
    type Seen = (u64, LinkType, EventTime, Vec<u8>, usize);

    fn frames_of(input: impl Read) -> (Vec<Seen>, Result<u64, ReadError<Infallible>>) {
        let mut seen = Vec::new();
        let result = read(input, |number, frame| {
            seen.push((number, frame.link_type, frame.time, frame.bytes.to_vec(), frame.original_length));
            Ok(())
        });
        (seen, result)
    }

    fn times_of(file: &[u8]) -> Vec<EventTime> {
        let (seen, result) = frames_of(file);
        assert_eq!(result.unwrap(), seen.len() as u64);
        seen.into_iter().map(|(_, _, time, _, _)| time).collect()
    }

    /// How one machine writes numbers.
    #[derive(Clone, Copy)]
    struct Order {
        u16: fn(u16) -> [u8; 2],
        u32: fn(u32) -> [u8; 4],
        i64: fn(i64) -> [u8; 8],
    }

    const LITTLE: Order = Order { u16: u16::to_le_bytes, u32: u32::to_le_bytes, i64: i64::to_le_bytes };
    const BIG: Order = Order { u16: u16::to_be_bytes, u32: u32::to_be_bytes, i64: i64::to_be_bytes };

    impl Order {
        fn pcap(self, magic: u32, link_type: u32, records: &[(u32, u32, &[u8])]) -> Vec<u8> {
            let mut file: Vec<u8> = [magic, 0, 0, 0, 65_535, link_type]
                .into_iter()
                .flat_map(|number| (self.u32)(number))
                .collect();
            for (seconds, fraction, frame) in records {
                let length = u32::try_from(frame.len()).unwrap();
                file.extend(
                    [*seconds, *fraction, length, length + 10]
                        .into_iter()
                        .flat_map(|number| (self.u32)(number)),
                );
                file.extend(*frame);
            }
            file
        }

        fn block(self, block_type: u32, content: &[u8]) -> Vec<u8> {
            let mut content = content.to_vec();
            content.resize(content.len().next_multiple_of(4), 0);
            let length = (self.u32)(u32::try_from(content.len() + 12).unwrap());
            [&(self.u32)(block_type)[..], &length, &content, &length].concat()
        }

        fn section(self) -> Vec<u8> {
            let magic = (self.u32)(0x1a2b_3c4d);
            self.block(0x0a0d_0d0a, &[&magic[..], &(self.u16)(1), &(self.u16)(0), &[0xff; 8]].concat())
        }

        fn interface(self, link_type: u16, snap_length: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
            let mut content = [&(self.u16)(link_type)[..], &[0; 2], &(self.u32)(snap_length)].concat();
            for (code, value) in options {
                content.extend((self.u16)(*code));
                content.extend((self.u16)(u16::try_from(value.len()).unwrap()));
                content.extend(*value);
                content.resize(content.len().next_multiple_of(4), 0);
            }
            self.block(1, &content)
        }

        fn packet(self, interface: u32, ticks: u64, frame: &[u8]) -> Vec<u8> {
            let [high, low] = [ticks >> 32, ticks & 0xffff_ffff].map(|half| u32::try_from(half).unwrap());
            let length = u32::try_from(frame.len()).unwrap();
            let mut content: Vec<u8> = [interface, high, low, length, length + 10]
                .into_iter()
                .flat_map(|number| (self.u32)(number))
                .collect();
            content.extend(frame);
            self.block(6, &content)
        }
    }

    #[test]
    fn pcap_reads_alike_in_every_order_and_unit() {
        let expected = vec![
            (1, LinkType::Radiotap, 1_700_000_000_123, b"one".to_vec(), 13),
            (2, LinkType::Radiotap, 1_700_000_001_000, b"".to_vec(), 10),
        ];
        for (name, order, magic, fraction) in [
            ("µs, little-endian", LITTLE, 0xa1b2_c3d4, 123_999),
            ("µs, big-endian", BIG, 0xa1b2_c3d4, 123_999),
            ("ns, little-endian", LITTLE, 0xa1b2_3c4d, 123_999_999),
            ("ns, big-endian", BIG, 0xa1b2_3c4d, 123_999_999),
        ] {
            // the bits above the link type tell of an FCS
            let records: [(u32, u32, &[u8]); 2] =
                [(1_700_000_000, fraction, b"one"), (1_700_000_001, 0, b"")];
            let file = order.pcap(magic, 0x4400_007f, &records);
            let (seen, result) = frames_of(&file[..]);
            assert_eq!((seen, result.unwrap()), (expected.clone(), 2), "{name}");
        }
    }

    #[test]
    fn a_file_s_time_stands_as_it_is() {
        let records: [(u32, u32, &[u8]); 3] =
            [(0, 0, b""), (u32::MAX, 999_999, b""), (1_700_000_000, 1_999_999, b"")];
        let file = LITTLE.pcap(0xa1b2_c3d4, 105, &records);
        assert_eq!(times_of(&file), [0, 4_294_967_295_999, 1_700_000_001_999]);
    }

    #[test]
    fn pcapng_applies_unit_and_offset_of_the_interface_in_every_order() {
        for order in [LITTLE, BIG] {
            let offset = (order.i64)(-3_600);
            let mut file = order.section();
            for (options, _) in [
                (&[][..], ()),
                (&[(9, &[3][..])], ()),
                (&[(9, &[9])], ()),
                (&[(9, &[12])], ()),
                (&[(9, &[0x80 | 10])], ()),
                (&[(9, &[6]), (14, &offset)], ()),
                (&[(9, &[0x7f])], ()),
            ] {
                file.extend(order.interface(127, 0, options));
            }
            for (interface, ticks) in [
                (0, 1_700_000_000_123_999),
                (1, 1_700_000_000_123),
                (2, 1_700_000_000_123_999_999),
                (3, 1_700_000_000_123_999),
                (4, 1_700_000_000 << 10 | 512),
                (5, 3_600_000_000),
                (6, u64::MAX),
            ] {
                file.extend(order.packet(interface, ticks, b"frame"));
            }
            let expected =
                [1_700_000_000_123, 1_700_000_000_123, 1_700_000_000_123, 1_700_000, 1_700_000_000_500, 0, 0];
            assert_eq!(times_of(&file), expected);
        }
    }

    #[test]
    fn sections_and_interfaces_may_differ_in_order_and_link_type() {
        let mut file = LITTLE.section();
        file.extend(LITTLE.interface(1, 0, &[]));
        file.extend(LITTLE.interface(105, 0, &[]));
        file.extend(LITTLE.packet(1, 1_000, b"first"));
        file.extend(LITTLE.packet(0, 2_000, b"Ethernet"));
        file.extend(LITTLE.block(0x0bad, &[7; 300_000])); // of a kind that nobody knows
        file.extend(BIG.section());
        file.extend(BIG.interface(192, 0, &[]));
        file.extend(BIG.packet(0, 3_000, b"third"));
        let (seen, result) = frames_of(&file[..]);
        let expected = vec![
            (1, LinkType::Ieee80211, 1, b"first".to_vec(), 15),
            (3, LinkType::Ppi, 3, b"third".to_vec(), 15),
        ];
        assert_eq!((seen, result.unwrap()), (expected, 3));
    }

    #[test]
    fn simple_and_obsolete_packets_are_read() {
        for order in [LITTLE, BIG] {
            let mut file = order.section();
            file.extend(order.interface(127, 3, &[]));
            file.extend(order.block(3, &[&(order.u32)(9)[..], b"fra"].concat()));
            file.extend(order.block(3, &[&(order.u32)(3)[..], b"fra"].concat()));
            let numbers = [0, 5_000, 4, 9].map(order.u32).concat();
            file.extend(order.block(2, &[&(order.u16)(0)[..], &(order.u16)(1), &numbers, b"fram"].concat()));
            let (seen, result) = frames_of(&file[..]);
            let expected = vec![
                (1, LinkType::Radiotap, 0, b"fra".to_vec(), 9),
                (2, LinkType::Radiotap, 0, b"fra".to_vec(), 3),
                (3, LinkType::Radiotap, 5, b"fram".to_vec(), 9),
            ];
            assert_eq!((seen, result.unwrap()), (expected, 3));
        }
    }

    fn sample_pcap() -> Vec<u8> {
        let records: [(u32, u32, &[u8]); 3] = [(1, 0, b"one"), (2, 0, b"two"), (3, 0, b"three")];
        LITTLE.pcap(0xa1b2_c3d4, 127, &records)
    }

    fn sample_pcapng() -> Vec<u8> {
        let mut file = [BIG.section(), BIG.interface(127, 0, &[])].concat();
        for frame in [&b"one"[..], b"two", b"three"] {
            file.extend(BIG.packet(0, 0, frame));
        }
        file
    }

    #[test]
    fn of_a_cut_file_everything_before_the_cut_is_read() {
        // where the header ends and the frames end
        let pcap_ends = [24, 43, 62, 83];
        let pcapng_ends = [48, 84, 120, 160];
        for (file, ends) in [(sample_pcap(), pcap_ends), (sample_pcapng(), pcapng_ends)] {
            assert_eq!(file.len(), ends[3]);
            for length in ends[0] - 1..file.len() {
                let (seen, result) = frames_of(&file[..length]);
                let whole = ends[1..].iter().filter(|end| **end <= length).count();
                assert_eq!(seen.len(), whole, "cut to {length} bytes");
                if ends.contains(&length) {
                    assert_eq!(result.unwrap(), whole as u64, "cut to {length} bytes");
                } else {
                    let message = result.unwrap_err().to_string();
                    let expected = format!("the capture is damaged at frame {}: the file ends", whole + 1);
                    assert!(message.starts_with(&expected), "cut to {length} bytes: {message}");
                }
            }
        }
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_reading() {
        for length in [262_145_u32, 300_000, u32::MAX] {
            let mut file = sample_pcap();
            file[24 + 19 + 8..][..4].copy_from_slice(&length.to_le_bytes());
            file.resize(1_000_000, 0);
            let (seen, result) = frames_of(&file[..]);
            assert_eq!(seen.len(), 1);
            let message = result.unwrap_err().to_string();
            assert!(message.contains("frame 2: its length cannot be"), "{length}: {message}");
        }
        for (position, value, problem) in [
            (84 + 4, 11_u32, "the length of its block cannot be"),
            (84 + 4, 16 * 1024 * 1024 + 1, "the length of its block cannot be"),
            (84 + 8, 1, "its interface is not described"),
            (84 + 20, 5, "its block contradicts itself"),
            (84 + 20, u32::MAX, "its block contradicts itself"),
        ] {
            let mut file = sample_pcapng();
            file[position..][..4].copy_from_slice(&value.to_be_bytes());
            let (seen, result) = frames_of(&file[..]);
            assert_eq!(seen.len(), 1);
            let message = result.unwrap_err().to_string();
            assert!(message.contains(&format!("frame 2: {problem}")), "{position}, {value}: {message}");
        }
    }

    #[test]
    fn interfaces_without_end_are_damage() {
        let mut file = LITTLE.section();
        file.extend(LITTLE.interface(127, 0, &[]).repeat(65_537));
        assert!(matches!(frames_of(&file[..]).1, Err(ReadError::Damaged { frame: 1, .. })));
    }

    #[test]
    fn what_is_no_capture_of_802_11_is_refused_with_advice() {
        let ethernet =
            [LITTLE.section(), LITTLE.interface(1, 0, &[]), LITTLE.packet(0, 0, b"Ethernet")].concat();
        for (input, expected) in [
            (b"".to_vec(), "the input is empty"),
            (b"\x1f\x8b\x08\x00".to_vec(), "gunzip"),
            (b"{\"timestamp\":\"1\"}".to_vec(), "not a capture file"),
            (b"P".to_vec(), "not a capture file"),
            (b"\x0a\x0d\x0d\x0a\x1c\0\0\0no magic".to_vec(), "not a capture file"),
            (b"\xd4\xc3\xb2\xa1\x02\0".to_vec(), "damaged at frame 1"),
            (LITTLE.pcap(0xa1b2_c3d4, 1, &[]), "link type is 1; capture with the radio in monitor mode"),
            (ethernet, "link type is 1; capture with the radio in monitor mode"),
        ] {
            let message = frames_of(&input[..]).1.unwrap_err().to_string();
            assert!(message.contains(expected), "{input:?}: {message}");
        }
    }

    /// An input that gives one byte at a time, as a slow pipe may.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn how_the_input_is_divided_does_not_matter() {
        for file in [sample_pcap(), sample_pcapng()] {
            let (expected, _) = frames_of(&file[..]);
            let (seen, result) = frames_of(Trickle(&file));
            assert_eq!((seen, result.unwrap()), (expected, 3));
        }
    }

    #[test]
    fn frames_across_the_borders_of_the_buffer_are_whole() {
        let frame: Vec<u8> = (0..=250).cycle().take(9_973).collect();
        let records = vec![(0, 0, &frame[..]); 200];
        let (seen, result) = frames_of(&LITTLE.pcap(0xa1b2_c3d4, 127, &records)[..]);
        assert_eq!(result.unwrap(), 200);
        assert!(seen.iter().all(|(_, _, _, bytes, _)| *bytes == frame));
    }

    #[test]
    fn a_failure_of_the_taker_ends_the_reading() {
        let result =
            read(&sample_pcap()[..], |number, _| if number == 2 { Err("the disk is full") } else { Ok(()) });
        assert!(matches!(result, Err(ReadError::Frame("the disk is full"))));
    }
}
