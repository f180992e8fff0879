//! The heartbeat: every 30 seconds what the parts have noted goes into the spool, and systemd hears that we live.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use domain::heartbeat::{self, EVERY_S, Heartbeat, Trouble};
use sd_notify::NotifyState;

use crate::clock;
use crate::drain::DrainStatus;
use crate::health::Health;
use crate::spool::{PCAP, SpoolError, SpoolReader};
use crate::spool_writer::Intake;

const EVERY: Duration = Duration::from_secs(EVERY_S);
/// The first one soon: who starts an agent looks whether it is there.
const FIRST_AFTER: Duration = Duration::from_secs(2);

/// All that a heartbeat is made of.
pub struct Pulse {
    health: Arc<Health>,
    intake: Intake,
    reader: SpoolReader,
    database: PathBuf,
    drain: Option<DrainStatus>,
}

impl Pulse {
    /// Of these parts.
    #[must_use]
    pub fn new(
        health: Arc<Health>,
        intake: Intake,
        reader: SpoolReader,
        database: PathBuf,
        drain: Option<DrainStatus>,
    ) -> Self {
        Self { health, intake, reader, database, drain }
    }

    /// How everything is now.
    #[must_use]
    pub fn take(&self) -> Heartbeat {
        let mut heartbeat = self.health.heartbeat();
        let spool = self.intake.status();
        heartbeat.spool.dropped = spool.dropped;
        heartbeat.spool.bytes = fs::metadata(&self.database).map_or(0, |database| database.len());
        let mut trouble = |kind: &str, reason: Option<String>| {
            let kind = kind.to_owned();
            heartbeat.troubles.extend(reason.map(|reason| Trouble { kind, reason }));
        };
        trouble("disk", spool.trouble);
        if let Some(drain) = &self.drain {
            trouble("kafka", drain.trouble());
            heartbeat.delivered = drain.delivered();
            match self.waiting(spool.acknowledged) {
                Ok((waiting, oldest_s)) => {
                    heartbeat.spool.waiting = waiting;
                    heartbeat.spool.oldest_s = oldest_s;
                }
                Err(error) => trouble("spool", Some(error.to_string())),
            }
        }
        heartbeat
    }

    /// How many records are not acknowledged, heartbeats between them counted, and how long the oldest has waited, in seconds.
    fn waiting(&self, acknowledged: i64) -> Result<(u64, u64), SpoolError> {
        let Some(oldest) = self.reader.oldest_after(PCAP, acknowledged)? else { return Ok((0, 0)) };
        let waiting = (self.reader.end(PCAP)? - 1).saturating_sub(acknowledged);
        let oldest_s = clock::now_ms().saturating_sub(oldest) / 1_000;
        Ok((waiting.try_into().unwrap_or(0), oldest_s.try_into().unwrap_or(0)))
    }

    /// Puts it into the spool, from which it goes to topic `sensors`.
    fn beat(&self, is_last: bool) -> Heartbeat {
        let heartbeat = Heartbeat { is_last, ..self.take() };
        self.intake.beat(&heartbeat.sensor, heartbeat::encode(&heartbeat));
        heartbeat
    }
}

/// The thread that beats.
pub struct Heart {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Heart {
    /// Starts it.
    ///
    /// # Errors
    /// Why no thread can be started.
    pub fn start(pulse: Pulse) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("heart".to_owned()).spawn(move || run(&pulse, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// The last beat, which says that it is the last.
    pub fn stop(self) {
        drop(self.stop);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

fn run(pulse: &Pulse, stopped: &mpsc::Receiver<()>) {
    // systemd's manual asks for half of the time that it waits (sd_watchdog_enabled(3))
    let watched = sd_notify::watchdog_enabled().map(|patience| patience / 2);
    let mut beat_at = Instant::now() + FIRST_AFTER;
    notify(&[NotifyState::Ready]);
    loop {
        let until_beat = beat_at.saturating_duration_since(Instant::now());
        let pause = watched.map_or(until_beat, |watched| watched.min(until_beat));
        match stopped.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                notify(&[NotifyState::Stopping]);
                pulse.beat(true);
                return;
            }
        }
        if watched.is_some() && pulse.health.is_alive() {
            notify(&[NotifyState::Watchdog]);
        }
        if Instant::now() >= beat_at {
            beat_at = Instant::now() + EVERY;
            let heartbeat = pulse.beat(false);
            notify(&[NotifyState::Status(&in_words(&heartbeat))]);
        }
    }
}

/// What `systemctl status` shows.
fn in_words(heartbeat: &Heartbeat) -> String {
    let probe_requests: u64 = heartbeat.interfaces.iter().map(|interface| interface.probe_requests).sum();
    match heartbeat.troubles.first() {
        Some(trouble) => trouble.reason.clone(),
        None => {
            format!("{probe_requests} probe requests heard, {} wait in the spool", heartbeat.spool.waiting)
        }
    }
}

/// Nothing happens where systemd did not start us.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}
