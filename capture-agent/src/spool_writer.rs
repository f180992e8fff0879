//! The thread that owns the [`Spool`] and commits what others push: every 100 ms, or 5,000 records.
//!
//! Who reads a radio or a file never waits for a disk that is merely slow. What waits for a commit is bounded: beyond that
//! an import waits, and a live capture drops the oldest and counts.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::recorder::Recorded;
use crate::spool::{ImportPosition, PCAP, SENSORS, Spool, SpoolError, WhenFull};

const COMMIT_EVERY: Duration = Duration::from_millis(100);
const MAINTAIN_EVERY: Duration = Duration::from_secs(60);
/// While nothing can be written: how long until it is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

const MOST_RECORDS_A_COMMIT: usize = 5_000;
const MOST_BYTES_A_COMMIT: usize = 2 << 20;
/// One is written, one waits, one is filled.
const MOST_BATCHES_OF_AN_IMPORT: usize = 3;
/// 32 MiB, or 80,000 records, while the disk cannot be written.
const MOST_BATCHES_OF_A_CAPTURE: usize = 16;

/// Nothing more is taken: the agent is stopping, or the spool failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the spool takes no more")]
pub struct Closed;

/// The writing thread.
#[derive(Debug)]
pub struct SpoolWriter {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Spool, SpoolError>>,
}

/// What others have of it. Clones are the same.
#[derive(Debug, Clone)]
pub struct Intake {
    shared: Arc<Shared>,
}

/// What the writing thread leaves behind.
#[derive(Debug)]
pub struct Written {
    /// The spool, which nobody writes any more.
    pub spool: Spool,
    /// Records that a live capture had to drop while they could not be written.
    pub lost: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    when_full: WhenFull,
    /// Notified when there is something to write.
    filled: Condvar,
    /// Notified when something has been written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    is_writing: bool,
    /// How far the file has been taken that is just being read.
    import: Option<ImportPosition>,
    /// Key and value of the newest heartbeat, while it is not written.
    heartbeat: Option<(String, Vec<u8>)>,
    newest: i64,
    acknowledged: i64,
    lost: u64,
    /// Records that the spool's bounds dropped.
    dropped: u64,
    /// Why nothing can be written, while that is so.
    trouble: Option<String>,
    hurry: bool,
    no_more: bool,
    closed: bool,
    failed: bool,
}

/// How the spool is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// The offset up to which Kafka has acknowledged them.
    pub acknowledged: i64,
    /// Records that were dropped since the start: by the spool's bounds, or because neither disk nor memory could hold them.
    pub dropped: u64,
    /// Why nothing can be written, while that is so.
    pub trouble: Option<String>,
}

/// What is committed at once.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    records: Vec<Lengths>,
    imports: Vec<ImportPosition>,
    heartbeat: Option<(String, Vec<u8>)>,
    is_sealed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Lengths {
    key: Option<usize>,
    value: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.records.len() >= MOST_RECORDS_A_COMMIT || self.bytes.len() >= MOST_BYTES_A_COMMIT
    }

    /// Notes the position with the records that led to it.
    fn seal(&mut self, import: Option<&ImportPosition>) {
        if !self.is_sealed {
            self.imports.extend(import.cloned());
            self.is_sealed = true;
        }
    }

    fn records(&self) -> impl Iterator<Item = (Option<&[u8]>, &[u8])> {
        let mut rest = self.bytes.as_slice();
        let mut take = move |length| {
            let (taken, left) = rest.split_at_checked(length)?;
            rest = left;
            Some(taken)
        };
        self.records.iter().filter_map(move |lengths| {
            let key = match lengths.key {
                Some(length) => Some(take(length)?),
                None => None,
            };
            Some((key, take(lengths.value)?))
        })
    }
}

impl SpoolWriter {
    /// Starts the thread. `kafka`: whether somebody acknowledges, so that waiting makes room in a full spool.
    ///
    /// # Errors
    /// What SQLite says, and why no thread can be started.
    pub fn start(spool: Spool, kafka: bool) -> Result<Self, SpoolError> {
        let when_full = spool.retention().when_full;
        let acknowledged = spool.acknowledged(PCAP)?;
        let state = State { acknowledged, ..State::default() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            when_full,
            filled: Condvar::new(),
            written: Condvar::new(),
        });
        let patience = match (when_full, kafka) {
            (WhenFull::DropOldest, _) => Patience::WithEverything,
            (WhenFull::Refuse, true) => Patience::WithAFullSpool,
            (WhenFull::Refuse, false) => Patience::None,
        };
        let work = Work {
            spool,
            shared: Arc::clone(&shared),
            patience,
            committed_acknowledged: acknowledged,
            maintained: None,
            say_at_dropped: 1,
        };
        let thread = thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || work.run())
            .map_err(|source| SpoolError::File { path: "a thread for the spool".into(), source })?;
        Ok(Self { shared, thread })
    }

    /// Where others push.
    #[must_use]
    pub fn intake(&self) -> Intake {
        Intake { shared: Arc::clone(&self.shared) }
    }

    /// Waits for a while until all that was pushed is on the disk; whether it is. False for ever once the thread failed.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        let mut state = self.shared.lock();
        state.hurry = true;
        self.shared.filled.notify_one();
        let (state, _timeout) = self
            .shared
            .written
            .wait_timeout_while(state, patience, |state| !state.is_flushed() && !state.failed)
            .unwrap_or_else(PoisonError::into_inner);
        state.is_flushed() && !state.failed
    }

    /// Whether the thread gave up. [`Self::finish`] says why.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shared.lock().failed || self.thread.is_finished()
    }

    /// Takes nothing more; what was pushed is still written.
    pub fn close_intake(&self) {
        self.shared.lock().no_more = true;
        self.shared.written.notify_all();
    }

    /// Writes what is left and ends the thread.
    ///
    /// # Errors
    /// Why something could not be written.
    pub fn finish(self) -> Result<Written, SpoolError> {
        self.close_intake();
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
        let spool = match self.thread.join() {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let lost = self.shared.lock().lost;
        Ok(Written { spool, lost })
    }
}

impl Intake {
    /// Pushes a record. `frame` is its number in the file that is imported.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn push(&self, record: Recorded<'_>, frame: u64) -> Result<(), Closed> {
        let mut state = self.shared.lock();
        if state.batches.back().is_none_or(|batch| batch.is_sealed || batch.is_full()) {
            state = self.shared.make_place(state);
            let State { batches, import, .. } = &mut *state;
            if let Some(full) = batches.back_mut() {
                full.seal(import.as_ref());
            }
            batches.push_back(Batch::default());
        }
        if state.no_more || state.failed {
            return Err(Closed);
        }
        let State { batches, import, .. } = &mut *state;
        let Some(batch) = batches.back_mut() else { return Err(Closed) };
        batch.bytes.extend_from_slice(record.key.unwrap_or_default());
        batch.bytes.extend_from_slice(record.value);
        batch.records.push(Lengths { key: record.key.map(<[u8]>::len), value: record.value.len() });
        if let Some(import) = import {
            import.frame = frame;
        }
        let is_full = batch.is_full();
        drop(state);
        if is_full {
            self.shared.filled.notify_one();
        }
        Ok(())
    }

    /// From here on the records are of this file.
    pub fn begin_file(&self, position: ImportPosition) {
        self.shared.lock().import = Some(position);
    }

    /// The file has been read to its end, or as far as it can be.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn end_file(&self, frames: u64) -> Result<(), Closed> {
        let mut state = self.shared.lock();
        if state.no_more || state.failed {
            return Err(Closed);
        }
        let Some(mut position) = state.import.take() else { return Ok(()) };
        position.frame = position.frame.max(frames);
        position.finished = true;
        if state.batches.back().is_none_or(|batch| batch.is_sealed) {
            state.batches.push_back(Batch::default());
        }
        if let Some(batch) = state.batches.back_mut() {
            batch.imports.push(position);
        }
        Ok(())
    }

    /// Waits for a while until there is a record after this offset.
    pub fn wait_for_records(&self, after_offset: i64, patience: Duration) {
        let state = self.shared.lock();
        let _woken = self
            .shared
            .written
            .wait_timeout_while(state, patience, |state| state.newest <= after_offset && !state.failed)
            .unwrap_or_else(PoisonError::into_inner);
    }

    /// Keeps the newest heartbeat of a sensor, which replaces the one before.
    pub fn beat(&self, sensor: &str, heartbeat: Vec<u8>) {
        self.shared.lock().heartbeat = Some((sensor.to_owned(), heartbeat));
    }

    /// How the spool is.
    #[must_use]
    pub fn status(&self) -> SpoolStatus {
        let state = self.shared.lock();
        SpoolStatus {
            acknowledged: state.acknowledged,
            dropped: state.dropped + state.lost,
            trouble: state.trouble.clone(),
        }
    }

    /// Notes that nothing at or below this offset is needed any more. It is on the disk soon, and surely after
    /// [`SpoolWriter::finish`].
    pub fn acknowledge(&self, offset: i64) {
        let mut state = self.shared.lock();
        state.acknowledged = state.acknowledged.max(offset);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until one more batch may be begun.
    fn make_place<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        match self.when_full {
            WhenFull::Refuse => self
                .written
                .wait_while(state, |state| {
                    state.batches.len() >= MOST_BATCHES_OF_AN_IMPORT && !state.no_more && !state.failed
                })
                .unwrap_or_else(PoisonError::into_inner),
            WhenFull::DropOldest => {
                while state.batches.len() >= MOST_BATCHES_OF_A_CAPTURE {
                    let oldest = state.batches.pop_front();
                    state.lost += oldest.map_or(0, |batch| batch.records.len() as u64);
                }
                state
            }
        }
    }
}

impl State {
    fn is_flushed(&self) -> bool {
        self.batches.is_empty() && self.heartbeat.is_none() && !self.is_writing
    }
}

/// With what the thread waits, instead of giving up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// A live capture: the radio goes on, whatever the disk does.
    WithEverything,
    /// An import that somebody drains: there will be room.
    WithAFullSpool,
    /// An import that nobody drains.
    None,
}

struct Work {
    spool: Spool,
    shared: Arc<Shared>,
    patience: Patience,
    committed_acknowledged: i64,
    maintained: Option<Instant>,
    say_at_dropped: u64,
}

impl Work {
    fn run(mut self) -> Result<Spool, SpoolError> {
        let result = self.write_until_closed();
        let mut state = self.shared.lock();
        state.is_writing = false;
        if let Err(error) = result {
            state.failed = true;
            state.lost += state.batches.drain(..).map(|batch| batch.records.len() as u64).sum::<u64>();
            if state.lost > 0 && self.shared.when_full == WhenFull::DropOldest {
                tracing::error!("{} records could not be written and are lost", state.lost);
            }
            drop(state);
            self.shared.written.notify_all();
            return Err(error);
        }
        drop(state);
        Ok(self.spool)
    }

    fn write_until_closed(&mut self) -> Result<(), SpoolError> {
        loop {
            self.maintain()?;
            let (batch, acknowledged, closed) = self.next();
            if let Some(batch) = batch {
                self.write(&batch, acknowledged)?;
            } else if acknowledged > self.committed_acknowledged {
                self.write(&Batch::default(), acknowledged)?;
            } else if closed {
                return Ok(());
            }
            self.shared.lock().is_writing = false;
            self.shared.written.notify_all();
        }
    }

    /// Waits until there is enough to write, or it is time to.
    fn next(&self) -> (Option<Batch>, i64, bool) {
        let (mut state, _timeout) = self
            .shared
            .filled
            .wait_timeout_while(self.shared.lock(), COMMIT_EVERY, |state| {
                let is_enough = |batch: &Batch| state.hurry || batch.is_sealed || batch.is_full();
                !state.closed && !state.batches.front().is_some_and(is_enough)
            })
            .unwrap_or_else(PoisonError::into_inner);
        let heartbeat = state.heartbeat.take();
        let batch = state.batches.pop_front().map(|mut batch| {
            batch.seal(state.import.as_ref());
            batch
        });
        let batch = match heartbeat {
            Some(_) => Some(Batch { heartbeat, ..batch.unwrap_or_default() }),
            None => batch,
        };
        state.is_writing = batch.is_some();
        state.hurry &= !state.batches.is_empty();
        (batch, state.acknowledged, state.closed)
    }

    fn write(&mut self, batch: &Batch, acknowledged: i64) -> Result<(), SpoolError> {
        let mut acknowledged = acknowledged;
        let mut was_said = false;
        loop {
            match commit(&mut self.spool, batch, acknowledged) {
                Ok(newest) => {
                    self.committed_acknowledged = acknowledged;
                    self.say_dropped();
                    if was_said {
                        tracing::info!("the spool {} can be written again", self.spool.directory().display());
                        self.shared.lock().trouble = None;
                    }
                    if let Some(newest) = newest {
                        self.shared.lock().newest = newest;
                    }
                    return Ok(());
                }
                Err(error) if self.waits_out(&error) => {
                    if !was_said {
                        self.say_why_waiting(&error);
                        self.shared.lock().trouble = Some(error.to_string());
                        was_said = true;
                    }
                }
                Err(error) => return Err(error),
            }
            acknowledged = self.wait();
            // alone it needs no room, and it is what makes some
            if acknowledged > self.committed_acknowledged {
                match commit(&mut self.spool, &Batch::default(), acknowledged) {
                    Ok(_none) => self.committed_acknowledged = acknowledged,
                    Err(error) => tracing::debug!("the acknowledged position cannot be written: {error}"),
                }
            }
            if self.shared.lock().closed {
                return commit(&mut self.spool, batch, acknowledged).map(|_newest| ()).inspect_err(
                    |_error| {
                        self.shared.lock().lost += batch.records.len() as u64;
                    },
                );
            }
        }
    }

    fn waits_out(&self, error: &SpoolError) -> bool {
        match self.patience {
            Patience::WithEverything => true,
            Patience::WithAFullSpool => error.is_full(),
            Patience::None => false,
        }
    }

    fn wait(&self) -> i64 {
        let pause = if self.patience == Patience::WithAFullSpool { COMMIT_EVERY } else { TRY_AGAIN_AFTER };
        let (state, _timeout) = self
            .shared
            .filled
            .wait_timeout_while(self.shared.lock(), pause, |state| !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.acknowledged
    }

    fn say_why_waiting(&self, error: &SpoolError) {
        match (self.patience, error) {
            (Patience::WithAFullSpool, SpoolError::Full { .. }) => {
                tracing::warn!("the spool is full; the import goes on as Kafka takes the records");
            }
            _ => tracing::error!("{error}; frames are kept in memory meanwhile, as long as there is room"),
        }
    }

    /// At the first, then each time they have doubled: a full spool stays full.
    fn say_dropped(&mut self) {
        let dropped = self.spool.dropped();
        self.shared.lock().dropped = dropped;
        if dropped >= self.say_at_dropped {
            self.say_at_dropped = dropped * 2;
            tracing::error!(
                "{dropped} records were dropped from the spool so far, by its bounds and before anybody acknowledged them; see --spool-bytes and --spool-days"
            );
        }
    }

    fn maintain(&mut self) -> Result<(), SpoolError> {
        if self.maintained.is_some_and(|last| last.elapsed() < MAINTAIN_EVERY) {
            return Ok(());
        }
        self.maintained = Some(Instant::now());
        match self.spool.maintain(self.patience == Patience::WithAFullSpool) {
            Err(error) if self.waits_out(&error) => {
                tracing::error!("{error}");
                Ok(())
            }
            result => result,
        }
    }
}

/// The offset of the newest record, if there was one.
fn commit(spool: &mut Spool, batch: &Batch, acknowledged: i64) -> Result<Option<i64>, SpoolError> {
    spool.write(|writes| {
        let mut newest = None;
        for (key, value) in batch.records() {
            newest = Some(writes.append(PCAP, key, value)?);
        }
        if let Some((sensor, heartbeat)) = &batch.heartbeat {
            writes.replace(SENSORS, sensor.as_bytes(), heartbeat)?;
        }
        for position in &batch.imports {
            writes.note_import(position)?;
        }
        if acknowledged > 0 {
            writes.acknowledge(PCAP, acknowledged)?;
        }
        Ok(newest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{Retention, SpoolReader};
    use rusqlite::Connection;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn open(directory: &std::path::Path, when_full: WhenFull) -> Spool {
        let retention = Retention { bytes: 64 << 20, age: PATIENCE, when_full };
        Spool::open(directory, retention).unwrap()
    }

    fn push(intake: &Intake, number: usize) -> Result<(), Closed> {
        intake.push(Recorded { key: None, value: number.to_string().as_bytes() }, number as u64)
    }

    fn values(directory: &std::path::Path) -> Vec<usize> {
        let reader = SpoolReader::open_read_only(directory).unwrap().unwrap();
        let records = reader.read(PCAP, 0, 1_000_000, usize::MAX).unwrap();
        records.iter().map(|record| String::from_utf8_lossy(&record.value).parse().unwrap()).collect()
    }

    /// Makes every append fail, until it is renamed back.
    fn rename(directory: &std::path::Path, from: &str, to: &str) {
        let vandal = Connection::open(directory.join("spool.db")).unwrap();
        vandal.execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
    }

    #[test]
    fn while_nothing_can_be_written_a_live_capture_keeps_the_newest_in_memory_and_counts_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let writer = SpoolWriter::start(open(directory.path(), WhenFull::DropOldest), false).unwrap();
        let intake = writer.intake();
        push(&intake, 0).unwrap();
        assert!(writer.flush(PATIENCE));
        rename(directory.path(), "records", "gone");
        let most = MOST_RECORDS_A_COMMIT * (MOST_BATCHES_OF_A_CAPTURE + 4);
        for number in 1..=most {
            push(&intake, number).unwrap();
        }
        rename(directory.path(), "gone", "records");
        assert!(writer.flush(PATIENCE));
        let lost = usize::try_from(writer.finish().unwrap().lost).unwrap();
        let written = values(directory.path());
        assert!(lost > 0 && written.len() + lost == most + 1, "{lost} lost, {} written", written.len());
        assert!(written.is_sorted());
        let newest = written.iter().rev().take(MOST_RECORDS_A_COMMIT * (MOST_BATCHES_OF_A_CAPTURE - 1));
        let kept = newest.len();
        assert!(newest.copied().eq((0..=most).rev().take(kept)), "the newest are kept");
    }

    #[test]
    fn an_import_ends_with_the_error_when_nothing_can_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let writer = SpoolWriter::start(open(directory.path(), WhenFull::Refuse), false).unwrap();
        let intake = writer.intake();
        rename(directory.path(), "records", "gone");
        let refused = (0..MOST_RECORDS_A_COMMIT * 10).find(|&number| push(&intake, number).is_err());
        assert!(refused.is_some());
        assert!(!writer.flush(PATIENCE) && writer.has_failed());
        assert!(matches!(writer.finish(), Err(SpoolError::Database(_))));
    }

    #[test]
    fn what_was_pushed_is_written_at_the_end_with_the_position_it_led_to() {
        let directory = tempfile::tempdir().unwrap();
        let writer = SpoolWriter::start(open(directory.path(), WhenFull::Refuse), false).unwrap();
        let intake = writer.intake();
        let file = |path: &[u8]| ImportPosition {
            path: path.to_vec(),
            occurrence: 0,
            size: 1,
            modified: 1,
            frame: 0,
            finished: false,
        };
        intake.begin_file(file(b"a"));
        for number in 1..=MOST_RECORDS_A_COMMIT + 1 {
            push(&intake, number).unwrap();
        }
        intake.end_file(7_000).unwrap();
        intake.begin_file(file(b"b"));
        push(&intake, 3).unwrap();
        writer.close_intake();
        assert_eq!(push(&intake, 4), Err(Closed));
        let spool = writer.finish().unwrap().spool;
        assert_eq!(values(directory.path()).len(), MOST_RECORDS_A_COMMIT + 2);
        let a = spool.import_position(b"a", 0).unwrap().unwrap();
        let b = spool.import_position(b"b", 0).unwrap().unwrap();
        assert_eq!((a.frame, a.finished, b.frame, b.finished), (7_000, true, 3, false));
    }
}
