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
            return Err(self.damaged("it is longer than any frame"));
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
