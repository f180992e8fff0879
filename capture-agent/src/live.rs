//! The thread that listens by one interface, for years: what goes wrong with the card is said, and it is taken up again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use domain::Probe;
use domain::heartbeat::Clock;

use crate::clock::{self, Held, SystemClock};
use crate::flood::Flood;
use crate::health::Health;
use crate::pseudonym::Pseudonyms;
use crate::radio::{Control, Radio, RadioError};
use crate::recorder::{FrameCounts, Recorder};
use crate::ring::Ring;
use crate::spool_writer::{Closed, Intake};
use crate::wireless;

const LOOK_EVERY: Duration = Duration::from_millis(100);
const NOTE_EVERY: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What several interfaces of one sensor share.
#[derive(Clone)]
pub struct Shared {
    /// Where they note how they are.
    pub health: Arc<Health>,
    /// The bound on new random addresses.
    pub flood: Arc<Mutex<Flood>>,
    /// What stands in the place of addresses, if anything does.
    pub pseudonyms: Option<Arc<Mutex<Pseudonyms>>>,
}

/// What a capture was like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Probe requests whose time was never known, which were not kept.
    pub undated: u64,
    /// Frames that the kernel or the card dropped because we were too slow.
    pub missed: u64,
}

impl std::ops::AddAssign for Heard {
    fn add_assign(&mut self, other: Self) {
        self.undated += other.undated;
        self.missed += other.missed;
    }
}

/// Listens by one interface.
pub struct Listener {
    control: Control,
    radio: Option<Radio>,
    silent_after: Duration,
    clock: SystemClock,
    held: Held,
    recorder: Recorder,
    ring: Option<Ring>,
    shared: Shared,
    missed: (u64, u64),
    recovered: u64,
}

/// Why listening stopped.
enum Stopped {
    /// It was time to.
    Asked,
    /// Nothing more is taken.
    Closed,
    /// The card.
    Failed(RadioError),
}

impl From<Closed> for Stopped {
    fn from(_closed: Closed) -> Self {
        Self::Closed
    }
}

impl Listener {
    /// Takes the card up. What is wrong at the start is for the person who starts it.
    ///
    /// # Errors
    /// [`RadioError`].
    pub fn start(
        mut control: Control,
        silent_after: Duration,
        clock: SystemClock,
        recorder: Recorder,
        ring: Option<Ring>,
        shared: Shared,
    ) -> Result<Self, RadioError> {
        let radio = control.take_up()?;
        let held = Held::default();
        let listener =
            Self { control, radio: None, silent_after, clock, held, recorder, ring, shared, missed: (0, 0), recovered: 0 };
        listener.note_radio(&radio);
        Ok(Self { radio: Some(radio), ..listener })
    }

    /// The interface's name.
    #[must_use]
    pub fn interface(&self) -> &str {
        self.control.interface()
    }

    /// Pushes the records of what is heard, until it is time to stop or nothing more is taken.
    #[must_use]
    pub fn run(mut self, intake: &Intake, stop: &AtomicBool) -> (FrameCounts, Heard) {
        let mut pause = FIRST_PAUSE;
        let mut said = None;
        while !stop.load(Ordering::Relaxed) {
            let up = match self.radio.take() {
                Some(radio) => Ok(radio),
                None => self.control.take_up(),
            };
            let stopped = match up {
                Ok(radio) => {
                    if said.take().is_some() {
                        self.recovered += 1;
                        tracing::info!("{} is heard again", self.control.interface());
                    }
                    let listening = Instant::now();
                    self.note_radio(&radio);
                    let stopped = self.listen(radio, intake, stop);
                    if listening.elapsed() > LONGEST_PAUSE {
                        pause = FIRST_PAUSE;
                    }
                    stopped
                }
                Err(error) => Stopped::Failed(error),
            };
            let error = match stopped {
                Stopped::Asked | Stopped::Closed => break,
                Stopped::Failed(error) => error.to_string(),
            };
            self.note_failure(&error);
            if said.as_ref() != Some(&error) {
                tracing::warn!("{error}");
                said = Some(error);
            }
            self.wait(pause, stop);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let undated = self.held.len() as u64 + self.held.lost();
        (self.recorder.counts(), Heard { undated, missed: self.missed.0 + self.missed.1 })
    }

    fn listen(&mut self, mut radio: Radio, intake: &Intake, stop: &AtomicBool) -> Stopped {
        let missed_before = self.missed;
        let mut noted = Instant::now();
        let mut silence = Silence::new(self.control.interface());
        let stopped = loop {
            if stop.load(Ordering::Relaxed) {
                break Stopped::Asked;
            }
            if let Err(error) = self.control.hop(&mut radio) {
                break Stopped::Failed(error);
            }
            if let Some(ring) = &mut self.ring {
                ring.turn(radio.capture());
            }
            match radio.frame() {
                Ok(Some((frame, packet))) => {
                    silence.broken();
                    if let Some(ring) = &mut self.ring {
                        ring.write(&packet);
                    }
                    if let Some(probe) = self.recorder.decode(&frame)
                        && let Err(closed) = self.take(probe, intake)
                    {
                        break closed.into();
                    }
                }
                Ok(None) => radio.wait(),
                Err(why) => {
                    let interface = self.control.interface().to_owned();
                    break Stopped::Failed(RadioError::Ended { interface, why });
                }
            }
            if noted.elapsed() >= NOTE_EVERY {
                noted = Instant::now();
                let (by_kernel, by_interface) = radio.missed();
                self.missed = (missed_before.0 + by_kernel, missed_before.1 + by_interface);
                if let Err(error) = silence.look() {
                    break Stopped::Failed(error);
                }
                self.note(&mut silence);
                if let Err(closed) = self.release(intake) {
                    break closed.into();
                }
                if silence.length() >= self.silent_after {
                    let (interface, channel) = (self.control.interface().to_owned(), radio.channel());
                    break Stopped::Failed(RadioError::Silent { interface, silence: self.silent_after, channel });
                }
            }
        };
        let (by_kernel, by_interface) = radio.missed();
        self.missed = (missed_before.0 + by_kernel, missed_before.1 + by_interface);
        if let Err(error) = silence.look() {
            tracing::debug!("at the end: {error}");
        }
        self.note(&mut silence);
        if let Some(ring) = &mut self.ring {
            ring.end_file();
        }
        stopped
    }

    /// Passes on what is heard, or holds it while nobody knows what time it is.
    fn take(&mut self, mut probe: Probe, intake: &Intake) -> Result<(), Closed> {
        let now_ms = clock::now_ms();
        if self.clock.state() == Clock::Unsynchronized {
            self.held.keep(probe, Instant::now(), now_ms);
            return Ok(());
        }
        self.release(intake)?;
        probe.time = clock::time_of_frame(probe.time, now_ms);
        self.push(probe, intake)
    }

    /// Passes on what was held, once the time is known.
    fn release(&mut self, intake: &Intake) -> Result<(), Closed> {
        if self.clock.state() == Clock::Unsynchronized || self.held.is_empty() {
            return Ok(());
        }
        tracing::info!("the clock is set: {} probe requests that were held have their time now", self.held.len());
        let dated: Vec<Probe> = self.held.date(Instant::now(), clock::now_ms()).collect();
        dated.into_iter().try_for_each(|probe| self.push(probe, intake))
    }

    fn push(&mut self, mut probe: Probe, intake: &Intake) -> Result<(), Closed> {
        let lock = |error: PoisonError<_>| error.into_inner();
        if !self.shared.flood.lock().unwrap_or_else(lock).admits(probe.source, Instant::now()) {
            return Ok(());
        }
        if let (Some(mac), Some(pseudonyms)) = (probe.source, &self.shared.pseudonyms) {
            let mut pseudonyms = pseudonyms.lock().unwrap_or_else(PoisonError::into_inner);
            probe.source = Some(pseudonyms.of(mac, clock::now_ms()));
        }
        intake.push(self.recorder.encode(&probe), 0)
    }

    fn wait(&mut self, pause: Duration, stop: &AtomicBool) {
        let until = Instant::now() + pause;
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            self.shared.health.interface(self.control.interface(), |_still_trying| {});
            thread::sleep(LOOK_EVERY);
        }
    }

    fn note_radio(&self, radio: &Radio) {
        let dwell = if radio.channels().len() > 1 { self.control.dwell() } else { Duration::ZERO };
        self.shared.health.interface(self.control.interface(), |listening| {
            listening.counts.is_listening = true;
            listening.counts.channels = radio.channels().iter().map(|channel| channel.number).collect();
            listening.counts.dwell_ms = dwell.as_millis().try_into().unwrap_or(u64::MAX);
            listening.counts.recovered = self.recovered;
            listening.last_frame = Instant::now();
        });
        self.shared.health.trouble(&self.kind(), None);
    }

    fn note_failure(&self, reason: &str) {
        self.shared
            .health
            .interface(self.control.interface(), |listening| listening.counts.is_listening = false);
        self.shared.health.trouble(&self.kind(), Some(reason.to_owned()));
    }

    fn kind(&self) -> String {
        format!("interface:{}", self.control.interface())
    }

    fn note(&mut self, silence: &mut Silence) {
        let Shared { health, flood, .. } = &self.shared;
        let counts = self.recorder.counts();
        health.interface(self.control.interface(), |listening| {
            listening.counts.frames += std::mem::take(&mut silence.frames);
            listening.counts.probe_requests = counts.probe_requests;
            listening.counts.bad_fcs = counts.bad_fcs;
            listening.counts.bad_header = counts.bad_header;
            (listening.counts.dropped_by_kernel, listening.counts.dropped_by_interface) = self.missed;
            listening.held = self.held.len();
            listening.last_frame = silence.since;
        });
        let state = self.clock.state();
        health.clock(state);
        health.trouble(
            "clock",
            (state == Clock::Unsynchronized).then(|| {
                format!(
                    "the clock is not synchronised: {} probe requests are held until it is (at most 50,000, in memory); start a time service, `timedatectl set-ntp true`, or believe the clock as it is with --clock trust",
                    self.held.len()
                )
            }),
        );
        let flood = flood.lock().unwrap_or_else(PoisonError::into_inner);
        health.flooded(flood.dropped());
        let is_on = flood.is_on(Instant::now());
        health.trouble(
            "flood",
            is_on.then(|| {
                format!(
                    "a flood of new random addresses: {} probe requests were dropped so far (--flood-limit)",
                    flood.dropped()
                )
            }),
        );
    }
}

/// Since when a card gives nothing. Most frames stay in the kernel, which counts them.
struct Silence {
    interface: String,
    /// Whether the kernel shows the interface at all.
    is_shown: bool,
    /// The kernel's count at the last look.
    received: Option<u64>,
    /// Frames that were not noted yet.
    frames: u64,
    /// Frames that we saw ourselves since the last look.
    seen: u64,
    since: Instant,
}

impl Silence {
    fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            is_shown: wireless::is_up(interface).is_some(),
            received: wireless::frames_received(interface),
            frames: 0,
            seen: 0,
            since: Instant::now(),
        }
    }

    /// A frame came.
    fn broken(&mut self) {
        self.seen += 1;
    }

    /// Looks whether the card gave anything since the last look, and is there at all: libpcap waits in silence for an interface that
    /// is down or has another name to be up again.
    fn look(&mut self) -> Result<(), RadioError> {
        let received = wireless::frames_received(&self.interface);
        let by_kernel = match (self.received, received) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => 0,
        };
        let frames = by_kernel.max(std::mem::take(&mut self.seen));
        self.received = received;
        self.frames += frames;
        if frames > 0 {
            self.since = Instant::now();
        }
        match wireless::is_up(&self.interface) {
            Some(true) => Ok(()),
            Some(false) => Err(RadioError::Down(self.interface.clone())),
            None if self.is_shown => Err(RadioError::Gone(self.interface.clone())),
            None => Ok(()),
        }
    }

    fn length(&self) -> Duration {
        self.since.elapsed()
    }
}
