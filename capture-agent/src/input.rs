//! The capture files that are read, with the progress on a terminal.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A file of fewer bytes is read before anybody could see its progress.
const SHORT: u64 = 1 << 20;

/// An opened capture file, or standard input.
#[derive(Debug)]
pub struct Input {
    source: Source,
    progress: ProgressBar,
}

#[derive(Debug)]
enum Source {
    File(File),
    Pipe(File),
    StandardInput(io::Stdin),
}

/// Whether the path stands for standard input.
#[must_use]
pub fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

impl Input {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        if is_standard_input(path) {
            let source = Source::StandardInput(io::stdin());
            return Ok(Self { source, progress: ProgressBar::hidden() });
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "it is a directory: name the files in it",
            ));
        }
        if !metadata.is_file() {
            return Ok(Self { source: Source::Pipe(file), progress: ProgressBar::hidden() });
        }
        // drawn to a terminal only
        if metadata.len() < SHORT {
            return Ok(Self { source: Source::File(file), progress: ProgressBar::hidden() });
        }
        let progress =
            ProgressBar::with_draw_target(Some(metadata.len()), ProgressDrawTarget::stderr_with_hz(4));
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes} of {total_bytes}, {eta} left")
        {
            progress.set_style(style);
        }
        progress.set_message(path.display().to_string());
        Ok(Self { source: Source::File(file), progress })
    }

    /// Whether it may be quiet for a while and then go on: a capture that is still being made.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        !matches!(self.source, Source::File(_))
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = match &mut self.source {
            Source::File(file) | Source::Pipe(file) => file.read(buffer)?,
            Source::StandardInput(input) => input.read(buffer)?,
        };
        self.progress.inc(bytes as u64);
        Ok(bytes)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.progress.finish_and_clear();
    }
}
