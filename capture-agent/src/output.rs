//! Capture files to JSON, one record a line.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::capture_file::{self, ReadError};
use crate::input::{Input, is_standard_input};
use crate::recorder::Recorder;
use crate::stderr::say;

/// Large writes: a system call for some thousand records.
const BUFFER_BYTES: usize = 256 << 10;

/// How the reading of capture files went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All were read to their end.
    Complete,
    /// One or more were cut, damaged or no capture at all. It was said which.
    Damaged,
    /// Nobody wants the output any more.
    OutputClosed,
}

/// Opens what the records of these files are written to: a file, or standard output for `-`.
///
/// # Errors
/// Why it cannot be written.
pub fn open(path: &Path, files: &[PathBuf]) -> io::Result<Box<dyn Write>> {
    if is_standard_input(path) {
        return Ok(Box::new(io::stdout()));
    }
    if let Ok(path) = path.canonicalize()
        && path.is_file()
        && files.iter().any(|file| file.canonicalize().is_ok_and(|file| file == path))
    {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is one of the captures to read"));
    }
    Ok(Box::new(File::create(path)?))
}

/// Reads capture files one after the other and writes a line for every probe request.
///
/// # Errors
/// Why the output cannot be written. What is wrong with a file is said on stderr, and the next is read.
pub fn write_lines(files: &[PathBuf], recorder: &mut Recorder, output: impl Write) -> io::Result<Outcome> {
    let output = RefCell::new(BufWriter::with_capacity(BUFFER_BYTES, output));
    let mut outcome = Outcome::Complete;
    for path in files {
        let input = match Input::open(path) {
            Ok(input) => FlushBeforeWaiting { input, output: &output },
            Err(error) => {
                say(format_args!("{}: {error}", path.display()));
                outcome = Outcome::Damaged;
                continue;
            }
        };
        let read = capture_file::read(input, |_number, frame| {
            let Some(record) = recorder.record(&frame) else { return Ok(()) };
            let mut output = output.borrow_mut();
            output.write_all(record.value)?;
            output.write_all(b"\n")
        });
        match read {
            Ok(_frames) => {}
            Err(ReadError::Frame(error)) => return closed_or(error),
            Err(error) => {
                say(format_args!("{}: {error}", path.display()));
                outcome = Outcome::Damaged;
            }
        }
    }
    match output.into_inner().flush() {
        Ok(()) => Ok(outcome),
        Err(error) => closed_or(error),
    }
}

fn closed_or(error: io::Error) -> io::Result<Outcome> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(Outcome::OutputClosed) } else { Err(error) }
}

/// What was made of a capture that is still going on is not held back while it is quiet.
struct FlushBeforeWaiting<'a, W: Write> {
    input: Input,
    output: &'a RefCell<BufWriter<W>>,
}

impl<W: Write> Read for FlushBeforeWaiting<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.may_wait() {
            self.output.borrow_mut().flush()?;
        }
        self.input.read(buffer)
    }
}
