//! The last hours in capture files beside the stream, as tcpdump's `-W` and the seed's `tshark -b` keep them: so many files, each
//! of so much time, of which the oldest is overwritten.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use pcap::{Active, Capture, Linktype, Packet, PacketHeader, Savefile};

/// What was written is in the file at the latest after this time.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// After an error it is tried again after this time.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(60);
const MOST_FILES: u16 = 1_000;

/// How much a ring holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSize {
    /// Files.
    pub files: u16,
    /// The time of each.
    pub each: Duration,
}

/// The text is no size of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a number of files, 1 to {MOST_FILES}, and the time of each, 1s or more, such as 12x3600s or 24x1h"
)]
pub struct NotARingSize;

impl FromStr for RingSize {
    type Err = NotARingSize;

    fn from_str(text: &str) -> Result<Self, NotARingSize> {
        let (files, each) = text.split_once('x').ok_or(NotARingSize)?;
        let files = files.trim().parse().map_err(|_no_number| NotARingSize)?;
        let each = humantime::parse_duration(each.trim()).map_err(|_no_time| NotARingSize)?;
        if !(1..=MOST_FILES).contains(&files) || each < Duration::from_secs(1) {
            return Err(NotARingSize);
        }
        Ok(Self { files, each })
    }
}

/// The ring of one interface. What goes wrong with it is said, and does not end the capture. A disk that hangs holds it up, though.
pub struct Ring {
    size: RingSize,
    directory: PathBuf,
    interface: String,
    file: Option<Open>,
    /// The first frame of a file that is not open yet: a new one is begun for a frame and not for the time that passes.
    first: Option<(PacketHeader, Vec<u8>)>,
    /// The number of the next file.
    next: Option<u16>,
    flushed: Instant,
    failed: Option<Instant>,
}

/// The file that is written.
struct Open {
    file: Savefile,
    link_type: Linktype,
    began: Instant,
}

impl Ring {
    /// A ring in a directory, which is made if it is not there, for its owner alone.
    ///
    /// # Errors
    /// Why there can be no such directory.
    pub fn new(directory: &Path, interface: &str, size: RingSize) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        Ok(Self {
            size,
            directory: directory.to_owned(),
            interface: interface.to_owned(),
            file: None,
            first: None,
            next: None,
            flushed: Instant::now(),
            failed: None,
        })
    }

    /// Begins the next file when there is a frame for it; to be called before each frame.
    pub fn turn(&mut self, capture: &Capture<Active>) {
        let now = Instant::now();
        if now.duration_since(self.flushed) >= FLUSH_EVERY {
            self.flush(now);
        }
        let Some((header, data)) = self.first.take() else { return };
        if self.failed.is_some_and(|failed| now.duration_since(failed) < TRY_AGAIN_AFTER) {
            return;
        }
        let number = self.next.unwrap_or_else(|| self.oldest());
        let path = self.path(number);
        match capture.savefile(&path) {
            Ok(mut file) => {
                file.write(&Packet::new(&header, &data));
                self.file = Some(Open { file, link_type: capture.get_datalink(), began: now });
                self.next = Some((number + 1) % self.size.files);
                self.failed = None;
            }
            Err(error) => self.fail(now, &path.display().to_string(), &error),
        }
    }

    /// Writes a frame of this link type.
    pub fn write(&mut self, packet: &Packet<'_>, link_type: Linktype) {
        let is_full = |open: &Open| open.began.elapsed() >= self.size.each || open.link_type != link_type;
        if self.file.as_ref().is_some_and(is_full) {
            self.flush(Instant::now());
            self.file = None;
        }
        match &mut self.file {
            Some(open) => open.file.write(packet),
            None => self.first = Some((*packet.header, packet.data.to_vec())),
        }
    }

    /// libpcap says only here that something could not be written.
    pub fn flush(&mut self, now: Instant) {
        self.flushed = now;
        if let Some(open) = &mut self.file
            && let Err(error) = open.file.flush()
        {
            self.file = None;
            self.fail(now, &self.directory.display().to_string(), &error);
        }
    }

    fn fail(&mut self, now: Instant, place: &str, error: &pcap::Error) {
        if self.failed.replace(now).is_none() {
            tracing::error!(
                "the ring of capture files cannot be written, {place}: {error}; the capture goes on without"
            );
        }
    }

    fn path(&self, number: u16) -> PathBuf {
        let digits = self.size.files.saturating_sub(1).max(10).to_string().len();
        self.directory.join(format!("{}-{number:0digits$}.pcap", self.interface))
    }

    /// The file that was written longest ago, or one that is not there yet: where the ring goes on after a restart.
    fn oldest(&self) -> u16 {
        let written = |number: &u16| {
            fs::metadata(self.path(*number))
                .and_then(|file| file.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH)
        };
        (0..self.size.files).min_by_key(written).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_files_by_time() {
        assert_eq!("12x3600s".parse(), Ok(RingSize { files: 12, each: Duration::from_secs(3600) }));
        assert_eq!("24x1h".parse(), Ok(RingSize { files: 24, each: Duration::from_secs(3600) }));
        for bad in ["", "12", "0x1h", "12x", "x1h", "12x0s", "12x1", "99999x1h", "-1x1h"] {
            assert_eq!(bad.parse::<RingSize>(), Err(NotARingSize), "{bad}");
        }
    }

    #[test]
    fn the_file_that_was_written_longest_ago_is_next() {
        let directory = tempfile::tempdir().unwrap();
        let size = RingSize { files: 3, each: Duration::from_secs(1) };
        let ring = Ring::new(directory.path(), "wlan1", size).unwrap();
        for expected in ["wlan1-00.pcap", "wlan1-01.pcap", "wlan1-02.pcap"] {
            let next = ring.path(ring.oldest());
            assert_eq!(next, directory.path().join(expected));
            fs::write(next, "").unwrap();
        }
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        fs::File::options()
            .write(true)
            .open(directory.path().join("wlan1-01.pcap"))
            .unwrap()
            .set_modified(hour_ago)
            .unwrap();
        assert_eq!(ring.oldest(), 1);
    }
}
