//! The last hours in capture files beside the stream, as tcpdump's `-W` and the seed's `tshark -b` keep them: so many files, each
//! of so much time, of which the oldest is overwritten.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use pcap::{Active, Capture, Packet, Savefile};

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
#[error("expected a number of files, 1 to {MOST_FILES}, and the time of each, 1s or more, such as 12x3600s or 24x1h")]
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

/// The ring of one interface. What goes wrong with it is said, and never keeps the capture from going on.
pub struct Ring {
    size: RingSize,
    directory: PathBuf,
    interface: String,
    file: Option<(Savefile, Instant)>,
    flushed: Instant,
    failed: Option<Instant>,
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
            flushed: Instant::now(),
            failed: None,
        })
    }

    /// Begins the next file when it is time to; to be called before each frame.
    pub fn turn(&mut self, capture: &Capture<Active>) {
        let now = Instant::now();
        if self.file.as_ref().is_some_and(|(_, began)| now.duration_since(*began) < self.size.each) {
            if now.duration_since(self.flushed) >= FLUSH_EVERY {
                self.flush(now);
            }
            return;
        }
        if self.failed.is_some_and(|failed| now.duration_since(failed) < TRY_AGAIN_AFTER) {
            return;
        }
        self.flush(now);
        let path = self.oldest();
        match capture.savefile(&path) {
            Ok(file) => {
                self.file = Some((file, now));
                self.failed = None;
            }
            Err(error) => self.fail(now, &path.display().to_string(), &error),
        }
    }

    /// Writes a frame.
    pub fn write(&mut self, packet: &Packet<'_>) {
        if let Some((file, _)) = &mut self.file {
            file.write(packet);
        }
    }

    /// The next capture goes into a file of its own: it may be of another link type.
    pub fn end_file(&mut self) {
        self.flush(Instant::now());
        self.file = None;
    }

    /// libpcap says only here that something could not be written.
    fn flush(&mut self, now: Instant) {
        self.flushed = now;
        if let Some((file, _)) = &mut self.file
            && let Err(error) = file.flush()
        {
            self.file = None;
            self.fail(now, &self.directory.display().to_string(), &error);
        }
    }

    fn fail(&mut self, now: Instant, place: &str, error: &pcap::Error) {
        if self.failed.replace(now).is_none() {
            tracing::error!("the ring of capture files cannot be written, {place}: {error}; the capture goes on without");
        }
    }

    /// The file that was written longest ago, or one that is not there yet.
    fn oldest(&self) -> PathBuf {
        let digits = self.size.files.saturating_sub(1).max(10).to_string().len();
        let file = |number| self.directory.join(format!("{}-{number:0digits$}.pcap", self.interface));
        let written = |path: &PathBuf| match fs::metadata(path).and_then(|file| file.modified()) {
            Ok(time) => time,
            Err(_not_there) => SystemTime::UNIX_EPOCH,
        };
        (0..self.size.files).map(file).min_by_key(written).unwrap_or_else(|| file(0))
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
            let next = ring.oldest();
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
        assert_eq!(ring.oldest(), directory.path().join("wlan1-01.pcap"));
    }
}
