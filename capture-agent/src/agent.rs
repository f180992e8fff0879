//! From a source into the spool, and from there to Kafka: starts the threads and ends them in order.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::HumanCount;

use crate::drain::{Drain, Drained};
use crate::health::Health;
use crate::import::{Import, Imported};
use crate::live::{Heard, Listener};
use crate::metrics;
use crate::producer::Kafka;
use crate::pulse::{Heart, Pulse};
use crate::recorder::{FrameCounts, Recorder};
use crate::spool::{Spool, SpoolError, SpoolReader};
use crate::spool_writer::{Intake, SpoolWriter};

/// How often it is looked whether it is time to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long files, and then the disk, may take when it is time to stop. Standard input may never give another byte.
const LAST_MOMENTS: Duration = Duration::from_secs(2);
/// How long radios may take: a driver needs seconds to put some cards back into their mode.
const LAST_MOMENTS_OF_RADIOS: Duration = Duration::from_secs(10);

/// Where the frames come from.
pub enum Source {
    /// Capture files.
    Files(Import, Recorder),
    /// Radios.
    Radios(Radios),
}

/// Radios, and how they are.
pub struct Radios {
    /// One for each interface.
    pub listeners: Vec<Listener>,
    /// What they note.
    pub health: Arc<Health>,
    /// Where metrics are served, if they are.
    pub metrics: Option<SocketAddr>,
}

/// Why the agent could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The spool fails.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A thread cannot be started.
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
    /// The address of the metrics cannot be had.
    #[error("metrics cannot be served at {address}: {why}; give another address with --metrics")]
    Metrics {
        /// Which.
        address: SocketAddr,
        /// Why.
        why: std::io::Error,
    },
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
            write!(
                f,
                "; {} not kept, heard while the clock was not synchronised (--clock trust believes it)",
                HumanCount(self.heard.undated)
            )?;
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
    spool: Spool,
    kafka: Option<Kafka>,
    stop: &Arc<AtomicBool>,
) -> Result<Ended, AgentError> {
    let import = match &source {
        Source::Files(import, _) => Some(import.clone()),
        Source::Radios(_) => None,
    };
    let directory = spool.directory().to_owned();
    let reader = match &kafka {
        Some(_) => SpoolReader::open_read_only(&directory)?,
        None => None,
    };
    let writer = SpoolWriter::start(spool, kafka.is_some())?;
    let drain = match kafka.zip(reader) {
        Some((kafka, reader)) => Some(Drain::start(kafka, reader, writer.intake())?),
        None => None,
    };
    let heart = match &source {
        Source::Radios(radios) => start_heart(radios, &directory, &writer, drain.as_ref())?,
        Source::Files(..) => None,
    };
    let is_time_to_stop = || stop.load(Ordering::Relaxed) || writer.has_failed();

    let source = start(source, &writer.intake(), stop)?;
    let read = if import.is_some() {
        wait_for(&source, LAST_MOMENTS, || {
            let is_over = is_time_to_stop();
            if is_over {
                writer.close_intake(); // an import may wait for room
            }
            is_over
        })
    } else {
        wait_for(&source, LAST_MOMENTS_OF_RADIOS, is_time_to_stop)
    };
    if let Some(heart) = heart {
        heart.stop();
    }
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
    let imported = read.as_ref().and_then(|read| read.imported);
    let end = match imported {
        None | Some(Imported::Stopped) if import.is_some() => End::Stopped,
        // radios end only when they are asked to
        _ if import.is_none() && !stopped => End::Stopped,
        _ if import.is_some() && drained.is_some_and(|drained| !drained.is_complete) => End::Stopped,
        Some(Imported::Damaged) => End::Damaged,
        _ => End::Complete,
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
    let heard = read.as_ref().map(|read| read.heard).unwrap_or_default();
    let counts = read.map(|read| read.counts);
    Ok(Ended { done: Done { counts, end, drained, heard, dropped }, import })
}

fn start_heart(
    radios: &Radios,
    spool: &Path,
    writer: &SpoolWriter,
    drain: Option<&Drain>,
) -> Result<Option<Heart>, AgentError> {
    let pulse = || -> Result<Option<Pulse>, AgentError> {
        let Some(reader) = SpoolReader::open_read_only(spool)? else { return Ok(None) };
        let database = reader.database().to_owned();
        let health = Arc::clone(&radios.health);
        Ok(Some(Pulse::new(health, writer.intake(), reader, database, drain.map(Drain::status))))
    };
    if let (Some(address), Some(pulse)) = (radios.metrics, pulse()?) {
        let address = metrics::serve(address, pulse).map_err(|why| AgentError::Metrics { address, why })?;
        tracing::info!("metrics at http://{address}/metrics");
    }
    pulse()?.map(Heart::start).transpose().map_err(AgentError::Thread)
}

/// What a source has read.
#[derive(Default)]
struct Read {
    counts: FrameCounts,
    heard: Heard,
    /// How an import ended.
    imported: Option<Imported>,
}

/// Reads in threads of their own, which may be left behind: reading standard input cannot be interrupted.
fn start(
    source: Source,
    intake: &Intake,
    stop: &Arc<AtomicBool>,
) -> Result<mpsc::Receiver<Read>, AgentError> {
    let (sender, receiver) = mpsc::channel();
    match source {
        Source::Files(import, mut recorder) => {
            let intake = intake.clone();
            spawn("source".to_owned(), sender, move || {
                let imported = Some(import.run(&mut recorder, &intake));
                Read { counts: recorder.counts(), imported, ..Read::default() }
            })?;
        }
        Source::Radios(radios) => {
            for listener in radios.listeners {
                tracing::info!("listening by {}", listener.interface());
                let (intake, stop) = (intake.clone(), Arc::clone(stop));
                spawn(format!("radio {}", listener.interface()), sender.clone(), move || {
                    let (counts, heard) = listener.run(&intake, &stop);
                    Read { counts, heard, imported: None }
                })?;
            }
        }
    }
    Ok(receiver)
}

fn spawn(
    name: String,
    sender: mpsc::Sender<Read>,
    read: impl FnOnce() -> Read + Send + 'static,
) -> Result<(), AgentError> {
    let work = move || {
        if sender.send(read()).is_err() {
            tracing::debug!("the source ended after it was given up");
        }
    };
    thread::Builder::new().name(name).spawn(work).map(drop).map_err(AgentError::Thread)
}

/// The sum of what all have read; `None` when one was given up while it waited for input.
fn wait_for(
    source: &mpsc::Receiver<Read>,
    patience: Duration,
    is_time_to_stop: impl Fn() -> bool,
) -> Option<Read> {
    let mut give_up_at = None;
    let mut sum = Read::default();
    loop {
        match source.recv_timeout(LOOK_EVERY) {
            Ok(read) => {
                sum.counts += read.counts;
                sum.heard += read.heard;
                sum.imported = sum.imported.or(read.imported);
            }
            Err(RecvTimeoutError::Disconnected) => return Some(sum),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if is_time_to_stop() && Instant::now() > *give_up_at.get_or_insert_with(|| Instant::now() + patience)
        {
            return None;
        }
    }
}
