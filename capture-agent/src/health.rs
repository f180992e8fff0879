//! How the parts of the agent are: each notes it here as it goes on, and the heartbeat tells it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::heartbeat::{Clock, Heartbeat, Interface, Trouble};

use crate::clock;

/// A thread that noted nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the parts have noted.
#[derive(Debug)]
pub struct Health {
    sensor: String,
    started: Instant,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    interfaces: BTreeMap<String, Listening>,
    troubles: BTreeMap<String, String>,
    clock: Clock,
    flooded: u64,
}

/// How an interface is.
#[derive(Debug)]
pub struct Listening {
    /// What the heartbeat says of it.
    pub counts: Interface,
    /// Probe requests that wait for their time.
    pub held: usize,
    /// When the card last gave a frame.
    pub last_frame: Instant,
    /// When this was last noted: a thread that hangs notes nothing.
    pub noted: Instant,
}

impl Health {
    /// Of a sensor of this name.
    #[must_use]
    pub fn new(sensor: &str) -> Self {
        Self { sensor: sensor.to_owned(), started: Instant::now(), noted: Mutex::default() }
    }

    /// Notes how an interface is.
    pub fn interface(&self, name: &str, note: impl FnOnce(&mut Listening)) {
        let mut noted = self.lock();
        let now = Instant::now();
        let listening = noted.interfaces.entry(name.to_owned()).or_insert_with(|| Listening {
            counts: Interface { name: name.to_owned(), ..Interface::default() },
            held: 0,
            last_frame: now,
            noted: now,
        });
        listening.noted = now;
        note(listening);
    }

    /// Notes whether the clock is believed.
    pub fn clock(&self, clock: Clock) {
        self.lock().clock = clock;
    }

    /// Notes how many probe requests were dropped in a flood.
    pub fn flooded(&self, dropped: u64) {
        self.lock().flooded = dropped;
    }

    /// Notes what is wrong with something; `None` when nothing is any more.
    pub fn trouble(&self, kind: &str, reason: Option<String>) {
        let mut noted = self.lock();
        match reason {
            Some(reason) => noted.troubles.insert(kind.to_owned(), reason),
            None => noted.troubles.remove(kind),
        };
    }

    /// Whether everybody who listens has noted something lately.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.lock().interfaces.values().all(|listening| listening.noted.elapsed() <= PATIENCE)
    }

    /// All of it. What waits in the spool and what Kafka has is not known here.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        let noted = self.lock();
        let hangs = |listening: &Listening| listening.noted.elapsed() > PATIENCE;
        let interfaces = noted.interfaces.values().map(|listening| Interface {
            silent_s: listening.last_frame.elapsed().as_secs(),
            is_listening: listening.counts.is_listening && !hangs(listening),
            ..listening.counts.clone()
        });
        let trouble =
            |(kind, reason): (&String, &String)| Trouble { kind: kind.clone(), reason: reason.clone() };
        let hanging =
            noted.interfaces.values().filter(|listening| hangs(listening)).map(|listening| Trouble {
                kind: format!("interface:{}", listening.counts.name),
                reason: format!(
                    "the thread that listens by {} hangs since {} s: is a disk or the driver stuck?",
                    listening.counts.name,
                    listening.noted.elapsed().as_secs()
                ),
            });
        Heartbeat {
            sensor: self.sensor.clone(),
            time: clock::now_ms(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.started.elapsed().as_secs(),
            clock: noted.clock,
            held: noted.interfaces.values().map(|listening| listening.held as u64).sum(),
            interfaces: interfaces.collect(),
            flooded: noted.flooded,
            troubles: noted.troubles.iter().map(trouble).chain(hanging).collect(),
            ..Heartbeat::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
