//! Capture files: pcap and pcapng, from any input, in bounded memory.

use std::io::Read;

use domain::link_layer::Captured;

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
    #[error("no 802.11 in this capture: its link type is {link_type}; capture with the radio in monitor mode")]
    NotIeee80211 {
        /// The link type's number.
        link_type: i32,
    },
    /// The file is cut or damaged. All frames before were given.
    #[error("the capture is damaged at frame {frame}: {problem}")]
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
    _input: impl Read,
    _on_frame: impl FnMut(u64, Captured<'_>) -> Result<(), E>,
) -> Result<u64, ReadError<E>> {
    Err(ReadError::NotACapture)
}
