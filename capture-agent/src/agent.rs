//! From a source into the spool, and from there to Kafka: starts the threads and ends them in order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::HumanCount;

use crate::drain::{Drain, Drained};
use crate::import::{Import, Imported};
use crate::live::{Heard, LiveError, Radio};
use crate::producer::Kafka;
use crate::recorder::{FrameCounts, Recorder};
use crate::spool::{Spool, SpoolError, SpoolReader};
use crate::spool_writer::{Intake, SpoolWriter};

/// How often it is looked whether it is time to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a source, and then the disk, may take when it is time to stop. Standard input may never give another byte.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

/// Where the frames come from.
pub enum Source {
    /// Capture files.
    Files(Import),
    /// A radio.
    Radio(Radio),
}

/// Why the agent could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The spool fails.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The radio fails.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// A thread cannot be started.
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
}

/// The agent has done its work, but for the last.
#[derive(Debug)]
pub struct Ended {
    /// What it did.
    pub done: Done,
    import: Option<(Import, Spool)>,
}

impl Ended {
    /// Forgets how far the files of an import were taken, so that they count again when they are read again. To be called when
    /// the user has been told that it has ended: killed before, it goes on; killed after, nobody expects it to.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn close(self) -> Result<(), SpoolError> {
        match self.import {
            Some((import, mut spool)) => import.forget(&mut spool),
            None => Ok(()),
        }
    }
}

/// What the agent did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// What became of the frames; `None` when the source was given up while it waited for input.
    pub counts: Option<FrameCounts>,
    /// How it ended.
    pub end: End,
    /// What went to Kafka, if there is one.
    pub drained: Option<Drained>,
    /// What a radio's capture was like.
    pub heard: Heard,
    /// Records that were dropped because neither disk nor memory could hold them.
    pub dropped: u64,
}

/// How the agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All that was to do is done.
    Complete,
    /// So it is, but files were damaged.
    Damaged,
    /// It was stopped before.
    Stopped,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.counts {
            Some(counts) => write!(f, "{counts}")?,
            None => f.write_str("stopped while waiting for input")?,
        }
        if let Some(drained) = self.drained {
            write!(f, "; Kafka took {}", HumanCount(drained.delivered))?;
            if drained.refused > 0 {
                write!(f, " and refused {} for good", HumanCount(drained.refused))?;
            }
            if !drained.is_complete {
                f.write_str("; the rest waits in the spool and goes out the next time")?;
            }
        }
        if self.heard.undated > 0 {
            write!(f, "; {} not kept, heard before the clock was set", HumanCount(self.heard.undated))?;
        }
        if self.heard.missed > 0 {
            write!(f, "; {} missed by the kernel", HumanCount(self.heard.missed))?;
        }
        if self.dropped > 0 {
            write!(f, "; {} dropped, older than the spool's bounds", HumanCount(self.dropped))?;
        }
        Ok(())
    }
}

/// Runs until the source has ended and all is where it should be, or `stop` is set.
///
/// # Errors
/// [`AgentError`]. What was committed to the spool stays there.
pub fn run(
    source: Source,
    recorder: Recorder,
    spool: Spool,
    kafka: Option<Kafka>,
    stop: &Arc<AtomicBool>,
) -> Result<Ended, AgentError> {
    let import = match &source {
        Source::Files(import) => Some(import.clone()),
        Source::Radio(_) => None,
    };
    let reader = match &kafka {
        Some(_) => SpoolReader::open_read_only(spool.directory())?,
        None => None,
    };
    let writer = SpoolWriter::start(spool, kafka.is_some())?;
    let drain = match kafka.zip(reader) {
        Some((kafka, reader)) => Some(Drain::start(kafka, reader, writer.intake())?),
        None => None,
    };
    let is_time_to_stop = || stop.load(Ordering::Relaxed) || writer.has_failed();

    let read =
        wait_for(&start(source, recorder, writer.intake(), Arc::clone(stop))?, &writer, is_time_to_stop);
    let flushing = Instant::now();
    while !writer.flush(LOOK_EVERY) {
        if writer.has_failed() || is_time_to_stop() && flushing.elapsed() > LAST_MOMENTS {
            break;
        }
    }
    let drained = drain.map(|drain| {
        drain.end_when_all_is_sent();
        while !drain.wait(LOOK_EVERY) && !is_time_to_stop() {}
        drain.stop();
        drain.join()
    });
    let stopped = stop.load(Ordering::Relaxed);
    let written = match writer.finish() {
        // it is there again when the import goes on
        Err(error) if stopped && import.is_some() && error.is_full() => None,
        written => Some(written?),
    };
    let (counts, outcome) = match read {
        Some(read) => (Some(read.counts), read.outcome?),
        None => (None, Outcome::Imported(Imported::Stopped)),
    };
    let end = match outcome {
        Outcome::Imported(Imported::Stopped) => End::Stopped,
        _ if import.is_some() && drained.is_some_and(|drained| !drained.is_complete) => End::Stopped,
        Outcome::Imported(Imported::Damaged) => End::Damaged,
        Outcome::Imported(Imported::Complete) | Outcome::Heard(_) => End::Complete,
    };
    let dropped = written.as_ref().map_or(0, |written| written.spool.dropped() + written.lost);
    let import = match (import, written) {
        (Some(import), Some(written)) if end != End::Stopped => {
            // beforehand: a program that has said it is done should be gone at once
            written.spool.checkpoint()?;
            Some((import, written.spool))
        }
        _ => None,
    };
    let heard = if let Outcome::Heard(heard) = outcome { heard } else { Heard::default() };
    Ok(Ended { done: Done { counts, end, drained, heard, dropped }, import })
}

struct Read {
    counts: FrameCounts,
    outcome: Result<Outcome, LiveError>,
}

#[derive(Clone, Copy)]
enum Outcome {
    Imported(Imported),
    Heard(Heard),
}

/// Reads in a thread of its own, which may be left behind: reading standard input cannot be interrupted.
fn start(
    source: Source,
    mut recorder: Recorder,
    intake: Intake,
    stop: Arc<AtomicBool>,
) -> Result<mpsc::Receiver<Read>, AgentError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("source".to_owned())
        .spawn(move || {
            let outcome = match source {
                Source::Files(import) => Ok(Outcome::Imported(import.run(&mut recorder, &intake))),
                Source::Radio(radio) => radio.run(&mut recorder, &intake, &stop).map(Outcome::Heard),
            };
            if sender.send(Read { counts: recorder.counts(), outcome }).is_err() {
                tracing::debug!("the source ended after it was given up");
            }
        })
        .map_err(AgentError::Thread)?;
    Ok(receiver)
}

fn wait_for(
    source: &mpsc::Receiver<Read>,
    writer: &SpoolWriter,
    is_time_to_stop: impl Fn() -> bool,
) -> Option<Read> {
    let mut give_up_at = None;
    loop {
        match source.recv_timeout(LOOK_EVERY) {
            Ok(read) => return Some(read),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if is_time_to_stop() {
            writer.close_intake();
            if Instant::now() > *give_up_at.get_or_insert_with(|| Instant::now() + LAST_MOMENTS) {
                return None;
            }
        }
    }
}
