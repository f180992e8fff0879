//! Capture files into the spool. An import that was interrupted goes on where it was; one that ended, begun again, counts again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::capture_file::{self, ReadError};
use crate::input::{Input, is_standard_input};
use crate::recorder::Recorder;
use crate::spool::{ImportPosition, Spool, SpoolError};
use crate::spool_writer::{Closed, Intake};
use crate::stderr::say;

/// The files of one command, and how far each has been taken.
#[derive(Debug, Clone)]
pub struct Import {
    files: Vec<ImportFile>,
}

#[derive(Debug, Clone)]
struct ImportFile {
    path: PathBuf,
    /// `None` for standard input, which cannot be read again.
    position: Option<ImportPosition>,
}

/// How an import went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// All files were read to their end.
    Complete,
    /// All were read, but one or more were cut, damaged or no capture at all. It was said which.
    Damaged,
    /// It was stopped before the end, and goes on there the next time.
    Stopped,
}

impl Import {
    /// Looks up how far these files have been taken by an import that was interrupted.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn resume(files: &[PathBuf], spool: &Spool) -> Result<Self, SpoolError> {
        let mut occurrences = HashMap::new();
        let mut resumed = Vec::new();
        for path in files {
            let Ok(mut position) = identify(path) else {
                // what is wrong with it is said when it is its turn
                resumed.push(ImportFile { path: path.clone(), position: None });
                continue;
            };
            if let Some(position) = &mut position {
                let occurrence = occurrences.entry(position.path.clone()).or_insert(0);
                position.occurrence = *occurrence;
                *occurrence += 1;
                if let Some(known) = spool.import_position(&position.path, position.occurrence)? {
                    take_up(position, &known, path);
                }
            }
            resumed.push(ImportFile { path: path.clone(), position });
        }
        Ok(Self { files: resumed })
    }

    /// Reads the files one after the other and pushes their records.
    #[must_use]
    pub fn run(&self, recorder: &mut Recorder, intake: &Intake) -> Imported {
        let mut imported = Imported::Complete;
        for file in &self.files {
            if file.position.as_ref().is_some_and(|position| position.finished) {
                continue;
            }
            match file.read(recorder, intake) {
                Ok(()) => {}
                Err(ReadError::Frame(Closed)) => return Imported::Stopped,
                Err(error) => {
                    say(format_args!("{}: {error}", file.path.display()));
                    imported = Imported::Damaged;
                }
            }
        }
        imported
    }

    /// Forgets how far the files were taken. To be called when the import has ended, and not before: until then, a repeated
    /// command must not count a file again.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn forget(&self, spool: &mut Spool) -> Result<(), SpoolError> {
        spool.write(|writes| {
            for position in self.files.iter().filter_map(|file| file.position.as_ref()) {
                writes.forget_import(&position.path, position.occurrence)?;
            }
            Ok(())
        })
    }
}

impl ImportFile {
    fn read(&self, recorder: &mut Recorder, intake: &Intake) -> Result<(), ReadError<Closed>> {
        let mut taken = 0;
        let input = Input::open(&self.path)?;
        if let Some(position) = &self.position {
            taken = position.frame;
            intake.begin_file(position.clone());
        }
        let mut last = taken;
        let read = capture_file::read(input, |number, frame| {
            if number <= taken {
                return Ok(());
            }
            last = number;
            match recorder.record(&frame) {
                Some(record) => intake.push(record, number),
                None => Ok(()),
            }
        });
        if let Err(ReadError::Frame(closed)) = read {
            return Err(ReadError::Frame(closed));
        }
        // a damaged file has been taken as far as it goes
        intake.end_file(last).map_err(ReadError::Frame)?;
        read.map(|_frames| ())
    }
}

/// What tells a file from another; `None` for standard input.
fn identify(path: &Path) -> io::Result<Option<ImportPosition>> {
    if is_standard_input(path) {
        return Ok(None);
    }
    let canonical = fs::canonicalize(path)?;
    let metadata = fs::metadata(&canonical)?;
    if !metadata.is_file() {
        // a pipe cannot be read again either
        return Ok(None);
    }
    Ok(Some(ImportPosition {
        path: canonical.as_os_str().as_bytes().to_vec(),
        occurrence: 0,
        size: i64::try_from(metadata.size()).unwrap_or(i64::MAX),
        modified: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
        frame: 0,
        finished: false,
    }))
}

fn take_up(position: &mut ImportPosition, known: &ImportPosition, path: &Path) {
    if (known.size, known.modified) != (position.size, position.modified) {
        tracing::warn!(
            "{} has changed since its import was interrupted: it is read from its beginning",
            path.display()
        );
    } else if known.finished {
        position.frame = known.frame;
        position.finished = true;
        tracing::info!(
            "{} was read whole before the import was interrupted, and is not read again now",
            path.display()
        );
    } else {
        position.frame = known.frame;
        tracing::info!("the interrupted import of {} goes on after frame {}", path.display(), known.frame);
    }
}
