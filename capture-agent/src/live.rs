//! The thread that listens by one interface, for years: what goes wrong with the card is said, and it is taken up again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use domain::heartbeat::Clock;
use domain::{EventTime, Probe};
use pcap::{Linktype, Packet};

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
/// How long what lies in the kernel's buffer is still taken at the end.
const LAST_MOMENTS: Duration = Duration::from_secs(1);

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
    air: Air,
    missed: (u64, u64),
    recovered: u64,
    /// What is wrong with the card, and was said.
    said: Option<String>,
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
    /// Takes the card up. If that fails there is a listener all the same, which tries again.
    #[must_use]
    pub fn start(
        mut control: Control,
        silent_after: Duration,
        clock: SystemClock,
        recorder: Recorder,
        ring: Option<Ring>,
        shared: Shared,
    ) -> (Self, Option<RadioError>) {
        let (radio, error) = match control.take_up() {
            Ok(radio) => (Some(radio), None),
            Err(error) => (None, Some(error)),
        };
        let listener = Self {
            air: Air::new(control.interface()),
            control,
            radio: None,
            silent_after,
            clock,
            held: Held::default(),
            recorder,
            ring,
            shared,
            missed: (0, 0),
            recovered: 0,
            said: error.as_ref().map(ToString::to_string),
        };
        match &listener.said {
            Some(reason) => listener.note_failure(reason),
            None => listener.note_radio(radio.as_ref()),
        }
        (Self { radio, ..listener }, error)
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
        while !stop.load(Ordering::Relaxed) {
            let up = match self.radio.take() {
                Some(radio) => Ok(radio),
                None => self.control.take_up(),
            };
            let stopped = match up {
                Ok(radio) => {
                    let listening = Instant::now();
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
            if self.said.as_ref() != Some(&error) {
                tracing::warn!("{error}");
                self.said = Some(error);
            }
            if self.wait(pause, intake, stop).is_err() {
                break;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if self.release(intake).is_err() {
            tracing::debug!("the spool takes no more: what was held is lost");
        }
        let undated = self.held.len() as u64 + self.held.lost();
        (self.recorder.counts(), Heard { undated, missed: self.missed.0 + self.missed.1 })
    }

    fn listen(&mut self, mut radio: Radio, intake: &Intake, stop: &AtomicBool) -> Stopped {
        let missed_before = self.missed;
        let taken_up = Instant::now();
        self.air.taken_up();
        // a card that gave nothing is well when it gives something
        if !self.air.is_silent {
            self.note_recovery();
        }
        self.note_radio(Some(&radio));
        let mut noted = Instant::now();
        let stopped = loop {
            if stop.load(Ordering::Relaxed) {
                break Stopped::Asked;
            }
            if let Err(error) = self.control.hop(&mut radio) {
                break Stopped::Failed(error);
            }
            match self.hear(&mut radio, intake) {
                Ok(true) => {}
                Ok(false) => radio.wait(),
                Err(stopped) => break stopped,
            }
            if noted.elapsed() >= NOTE_EVERY {
                noted = Instant::now();
                self.note_missed(&mut radio, missed_before);
                let look = self.air.look();
                self.note();
                if let Err(error) = look {
                    break Stopped::Failed(error);
                }
                if let Err(closed) = self.release(intake) {
                    break closed.into();
                }
                if self.air.since.max(taken_up).elapsed() >= self.silent_after {
                    self.air.is_silent = true;
                    let (interface, channel) = (self.interface().to_owned(), radio.channel());
                    let silence = Duration::from_secs(self.air.since.elapsed().as_secs());
                    break Stopped::Failed(RadioError::Silent { interface, silence, channel });
                }
            }
        };
        self.hear_the_last(&mut radio, intake);
        if !matches!(stopped, Stopped::Failed(RadioError::Gone(_))) {
            self.note_missed(&mut radio, missed_before);
        }
        if let Err(error) = self.air.look() {
            tracing::debug!("at the end: {error}");
        }
        self.note();
        if let Some(ring) = &mut self.ring {
            ring.turn(radio.capture());
            ring.flush(Instant::now());
        }
        stopped
    }

    /// What lies in the kernel's buffer was heard. It shows a moment later, as the kernel hands its buffer out in blocks.
    fn hear_the_last(&mut self, radio: &mut Radio, intake: &Intake) {
        let began = Instant::now();
        let mut waits = 0;
        while began.elapsed() < LAST_MOMENTS && waits < 2 {
            match self.hear(radio, intake) {
                Ok(true) => {}
                Ok(false) => {
                    radio.wait();
                    waits += 1;
                }
                Err(_at_the_end) => return,
            }
        }
    }

    /// Takes a frame, if there is one.
    fn hear(&mut self, radio: &mut Radio, intake: &Intake) -> Result<bool, Stopped> {
        if let Some(ring) = &mut self.ring {
            ring.turn(radio.capture());
        }
        let link_type = radio.libpcap_link_type();
        let probe = match radio.frame() {
            Ok(Some((frame, packet))) => {
                self.air.gave_a_frame();
                keep(self.ring.as_mut(), &packet, link_type);
                self.recorder.decode(&frame)
            }
            Ok(None) => return Ok(false),
            Err(why) => {
                let interface = self.interface().to_owned();
                return Err(Stopped::Failed(RadioError::Ended { interface, why }));
            }
        };
        match probe {
            Some(probe) => Ok(self.take(probe, intake).map(|()| true)?),
            None => Ok(true),
        }
    }

    /// Passes on what is heard, or holds it while nobody knows what time it is.
    fn take(&mut self, mut probe: Probe, intake: &Intake) -> Result<(), Closed> {
        let flood = &self.shared.flood;
        if !flood.lock().unwrap_or_else(PoisonError::into_inner).admits(probe.source, Instant::now()) {
            return Ok(());
        }
        let state = self.clock.state();
        let now_ms = clock::now_ms(); // after that: it may have been set until then
        let time = self.clock.time_of_frame(probe.time, now_ms);
        if state == Clock::Unsynchronized {
            let age = now_ms.saturating_sub(time).try_into().unwrap_or(0);
            self.held.keep(probe, Duration::from_millis(age));
            return Ok(());
        }
        self.release(intake)?;
        probe.time = time;
        self.push(probe, now_ms, intake)
    }

    /// Passes on what was held, once the time is known.
    fn release(&mut self, intake: &Intake) -> Result<(), Closed> {
        if self.held.is_empty() || self.clock.state() == Clock::Unsynchronized {
            return Ok(());
        }
        tracing::info!(
            "the clock is set: {} probe requests that were held have their time now",
            self.held.len()
        );
        let now_ms = clock::now_ms();
        let dated: Vec<Probe> = self.held.date(now_ms).collect();
        dated.into_iter().try_for_each(|probe| self.push(probe, now_ms, intake))
    }

    fn push(&mut self, mut probe: Probe, now_ms: EventTime, intake: &Intake) -> Result<(), Closed> {
        if let (Some(mac), Some(pseudonyms)) = (probe.source, &self.shared.pseudonyms) {
            match pseudonyms.lock().unwrap_or_else(PoisonError::into_inner).of(mac, now_ms) {
                Ok(pseudonym) => probe.source = Some(pseudonym),
                Err(error) => {
                    tracing::error!("{error}: a probe request is dropped"); // its address must not leave the sensor
                    return Ok(());
                }
            }
        }
        intake.push(self.recorder.encode(&probe), 0)
    }

    /// Until the card is tried again.
    fn wait(&mut self, pause: Duration, intake: &Intake, stop: &AtomicBool) -> Result<(), Closed> {
        let until = Instant::now() + pause;
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            self.note();
            self.release(intake)?;
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn note_radio(&self, radio: Option<&Radio>) {
        let channels = radio.map_or(&[][..], Radio::channels);
        let dwell = if channels.len() > 1 { self.control.dwell() } else { Duration::ZERO };
        self.shared.health.interface(self.interface(), |listening| {
            listening.counts.is_listening = true;
            listening.counts.channels = channels.iter().map(|channel| channel.number).collect();
            listening.counts.dwell_ms = dwell.as_millis().try_into().unwrap_or(u64::MAX);
        });
    }

    /// The card is well again.
    fn note_recovery(&mut self) {
        if self.said.take().is_none() {
            return;
        }
        self.recovered += 1;
        tracing::info!("{} is heard again", self.interface());
        self.shared.health.trouble(&self.kind(), None);
    }

    fn note_failure(&self, reason: &str) {
        self.shared.health.interface(self.interface(), |listening| listening.counts.is_listening = false);
        self.shared.health.trouble(&self.kind(), Some(reason.to_owned()));
    }

    fn kind(&self) -> String {
        format!("interface:{}", self.interface())
    }

    /// A count never goes back, whatever libpcap says of a card that is on its way out.
    fn note_missed(&mut self, radio: &mut Radio, before: (u64, u64)) {
        let (by_kernel, by_interface) = radio.missed();
        self.missed = (self.missed.0.max(before.0 + by_kernel), self.missed.1.max(before.1 + by_interface));
    }

    fn note(&mut self) {
        let frames = std::mem::take(&mut self.air.not_noted);
        if frames > 0 {
            self.air.is_silent = false;
            self.note_recovery();
        }
        let counts = self.recorder.counts();
        self.shared.health.interface(self.control.interface(), |listening| {
            listening.counts.frames += frames;
            listening.counts.probe_requests = counts.probe_requests;
            listening.counts.bad_fcs = counts.bad_fcs;
            listening.counts.bad_header = counts.bad_header;
            (listening.counts.dropped_by_kernel, listening.counts.dropped_by_interface) = self.missed;
            listening.counts.recovered = self.recovered;
            listening.held = self.held.len();
            listening.last_frame = self.air.since;
        });
        self.note_clock();
        self.note_flood();
    }

    fn note_clock(&mut self) {
        let state = self.clock.state();
        let Shared { health, pseudonyms, .. } = &self.shared;
        health.clock(state);
        let reason = (state == Clock::Unsynchronized).then(|| {
            format!(
                "the clock is not synchronised: {} probe requests are held until it is (at most 50,000, in memory); start a time service, `timedatectl set-ntp true` (chrony needs its line `rtcsync`), or believe the clock as it is with --clock trust",
                self.held.len()
            )
        });
        health.trouble("clock", reason);
        if let Some(pseudonyms) = pseudonyms.as_ref().filter(|_| state != Clock::Unsynchronized) {
            pseudonyms.lock().unwrap_or_else(PoisonError::into_inner).rotate(clock::now_ms());
        }
    }

    fn note_flood(&self) {
        let Shared { health, flood, .. } = &self.shared;
        let flood = flood.lock().unwrap_or_else(PoisonError::into_inner);
        health.flooded(flood.dropped());
        let reason = flood.is_on(Instant::now()).then(|| {
            let dropped = flood.dropped();
            format!("a flood of new addresses: {dropped} probe requests were dropped since the start (--flood-limit)")
        });
        health.trouble("flood", reason);
    }
}

fn keep(ring: Option<&mut Ring>, packet: &Packet<'_>, link_type: Linktype) {
    if let Some(ring) = ring {
        ring.write(packet, link_type);
    }
}

/// What a card gives, of all kinds: most frames stay in the kernel, which counts them.
struct Air {
    interface: String,
    /// Number of the interface, and the kernel's count of its frames, when it was taken up; `None` where the kernel shows neither.
    began: Option<(u32, u64)>,
    /// The same at the last look.
    last: Option<(u32, u64)>,
    /// Frames that we took ourselves since then.
    taken: u64,
    /// Frames since then that were looked at.
    looked_at: u64,
    /// Of these, what was not noted yet.
    not_noted: u64,
    /// When it last gave one, or we began.
    since: Instant,
    /// Whether it was given up for silence, and has given nothing since.
    is_silent: bool,
}

impl Air {
    fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            began: None,
            last: None,
            taken: 0,
            looked_at: 0,
            not_noted: 0,
            since: Instant::now(),
            is_silent: false,
        }
    }

    fn taken_up(&mut self) {
        let now = self.ask();
        // it may have begun to speak while nobody listened
        if let (Some((before, count)), Some((index, received))) = (self.last, now)
            && index == before
        {
            self.gave(received.saturating_sub(count));
        }
        (self.began, self.last) = (now, now);
        (self.taken, self.looked_at) = (0, 0);
    }

    fn ask(&self) -> Option<(u32, u64)> {
        wireless::index(&self.interface).zip(wireless::frames_received(&self.interface))
    }

    fn gave(&mut self, frames: u64) {
        self.not_noted += frames;
        if frames > 0 {
            self.since = Instant::now();
        }
    }

    fn gave_a_frame(&mut self) {
        self.taken += 1;
    }

    /// Looks whether the card gave anything since the last look, and is there at all: libpcap waits in silence for an interface that
    /// is down, and goes on with one that has another name now.
    fn look(&mut self) -> Result<(), RadioError> {
        let now = self.ask();
        let by_kernel = match (self.began, now) {
            (Some((began, before)), Some((index, received))) if index == began => {
                received.saturating_sub(before)
            }
            _ => 0,
        };
        let frames = by_kernel.max(self.taken).saturating_sub(self.looked_at);
        self.looked_at += frames;
        self.last = now;
        self.gave(frames);
        let Some((index, _)) = self.began else { return Ok(()) };
        if now.is_none_or(|(now, _)| now != index) {
            return Err(RadioError::Gone(self.interface.clone()));
        }
        match wireless::is_up(&self.interface) {
            Some(false) => Err(RadioError::Down(self.interface.clone())),
            _ => Ok(()),
        }
    }
}
