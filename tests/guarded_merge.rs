//! The guarded merge under random delivery schedules: whatever is delivered twice, late, re-cut, half-way or by two at once, the
//! table ends as a plain fold of what the topics held.
//!
//! Requests go through the SDK's client into an embedded DynamoDB. `PROBEGRAM_SCHEDULES` says how many schedules (2,000),
//! `PROBEGRAM_SEED` runs a single one again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use domain::tally::{DayTally, DeviceTally, Tally};
use domain::{Day, Mac, Probe, Ssid, SsidElement, record};
use fastrand::Rng;
use probegram::embedded::Embedded;
use probegram::template::Template;
use probegram_tests::partition_log::{Partition, Reader};
use probegram_tests::scheduled_table::{Fate, ScheduledTable};
use probegram_tests::schedules;
use state::tallies::Retention;
use state::{device, forget, progress, quarantine, ssid};
use tokio::task::{JoinHandle, LocalSet};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// When a schedule begins: an afternoon in 2026.
const BEGIN_MS: i64 = 1_795_000_000_000;
const RETENTION: Retention = Retention::in_days(3, None);
const GROUP: &str = "aggregate";

thread_local! {
    static NOW_MS: Cell<i64> = const { Cell::new(BEGIN_MS) };
}

fn now_ms() -> i64 {
    NOW_MS.get()
}

#[test]
fn the_table_equals_a_plain_fold_whatever_the_delivery() {
    schedules::run(2_000, run);
}

fn run(seed: u64) -> Result<(), String> {
    NOW_MS.set(BEGIN_MS);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async { Schedule::new(seed).play().await })
}

struct Schedule {
    random: Rng,
    table: ScheduledTable,
    context: Rc<aggregate::Context>,
    partitions: Vec<Partition>,
    /// Invocations that were given up and go on all the same.
    zombies: Vec<JoinHandle<bool>>,
    forgetting: Option<JoinHandle<()>>,
    /// All that was ever in a log.
    truth: Vec<(Mac, Probe)>,
    poison: u64,
    marks: BTreeMap<Mac, i64>,
    clock: i64,
    lives: u32,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let table = ScheduledTable::new(Embedded::open(None, &Template::read().unwrap()).unwrap());
        let context = aggregate::Context {
            table: table.scheduled(),
            group: GROUP.to_owned(),
            generation: 1,
            retention: RETENTION,
            now_ms,
        };
        let mut partitions: Vec<Partition> =
            (0..random.i32(1..=2)).map(|number| Partition::new("pcap", number, Reader::Commits)).collect();
        if random.bool() {
            partitions.push(Partition::new("pcap@spool-a1", 0, Reader::Progress));
        }
        Self {
            random,
            table,
            context: Rc::new(context),
            partitions,
            zombies: Vec::new(),
            forgetting: None,
            truth: Vec::new(),
            poison: 0,
            marks: BTreeMap::new(),
            clock: BEGIN_MS,
            lives: 1,
        }
    }

    async fn play(mut self) -> Result<(), String> {
        for _step in 0..self.random.usize(60..200) {
            self.settle().await;
            self.step().await;
        }
        self.finish().await?;
        self.compare().await
    }

    /// Lets everybody run until all wait: for an answer, or for time to pass.
    async fn settle(&mut self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        for index in 0..self.partitions.len() {
            self.collect(index).await;
        }
        self.zombies.retain(|zombie| !zombie.is_finished());
    }

    async fn step(&mut self) {
        let index = self.random.usize(..self.partitions.len());
        match self.random.u32(..100) {
            0..12 => {
                for _ in 0..self.random.usize(1..5) {
                    self.append(index).await;
                }
            }
            12..14 => self.create_topic_again(),
            14..16 => {
                self.clock += self.random.i64(0..DAY_MS);
                NOW_MS.set(self.clock);
            }
            16..18 => self.sweep().await,
            18..20 => self.forget(),
            20..23 => {
                // dies here
                if let Some((invocation, _)) = self.partitions[index].in_flight.take() {
                    invocation.abort();
                    self.find_place(index).await;
                }
            }
            23..26 => {
                // times out, and goes on unseen
                if let Some((invocation, _)) = self.partitions[index].in_flight.take() {
                    self.zombies.push(invocation);
                    self.find_place(index).await;
                }
            }
            26..40 => self.invoke(index),
            _ => {
                let waiting = self.table.waiting();
                if waiting > 0 {
                    let fate = match self.random.u32(..40) {
                        0 => Fate::Lost,
                        1 => Fate::AnswerLost,
                        2..14 => Fate::Stale,
                        _ => Fate::Answered,
                    };
                    self.table.release(self.random.usize(..waiting), fate, &mut self.random);
                }
            }
        }
    }

    async fn append(&mut self, index: usize) {
        self.clock += self.random.i64(0..1000);
        NOW_MS.set(self.clock);
        let mac = Mac::new([0, 0, 0, 0, 0, self.random.u8(0..3)]);
        // A mark lies beyond the moment at which it is written.
        let not_after = self.unwritten_mark(mac).await.map_or(i64::MAX, |before| before - 1);
        let late = match self.random.u32(..4) {
            0 => self.random.i64(0..5 * DAY_MS),
            1 => self.random.i64(0..DAY_MS),
            _ => self.random.i64(0..500),
        };
        let ssid = match self.random.u32(..6) {
            0 => SsidElement::Wildcard,
            1 => SsidElement::Absent,
            2 => SsidElement::Named(Ssid::new(*b"caf\xe9#%").unwrap()),
            _ => SsidElement::Named(Ssid::new(*self.random.choice([b"RNM0", b"LOEW"]).unwrap()).unwrap()),
        };
        let probe = Probe {
            time: (self.clock - late).min(not_after),
            source: Some(mac),
            receiver: None,
            bssid: None,
            ssid,
            signal_dbm: self.random.bool().then(|| self.random.i8(-90..-30)),
            channel: None,
            sequence: None,
            fingerprint: None,
            sensor: Some(self.random.choice(["hall", "attic"]).unwrap().to_string()),
        };
        let value = match self.random.u32(..12) {
            0 => br#"{"timestamp":null}"#.to_vec(),
            1 => {
                self.poison += 1;
                b"{poison".to_vec()
            }
            _ => {
                let mut value = Vec::new();
                record::encode(&probe, probe.sensor.as_deref().unwrap(), &mut value);
                self.truth.push((mac, probe));
                value
            }
        };
        // offsets may have gaps, as markers of transactions make them
        let gap = if self.random.u32(..8) == 0 { 2 } else { 0 };
        self.partitions[index].append(self.clock, value, gap);
    }

    /// The topic of Kafka is deleted and created again: offsets start at 0, commits are gone. Only when all of it was read, or
    /// what was not read would rightly be lost.
    fn create_topic_again(&mut self) {
        let of_kafka = |partition: &&Partition| partition.reader == Reader::Commits;
        if self.lives < 3 && self.partitions.iter().filter(of_kafka).all(Partition::is_done) {
            self.lives += 1;
            self.clock += 5;
            for partition in
                self.partitions.iter_mut().filter(|partition| partition.reader == Reader::Commits)
            {
                partition.log.clear();
                partition.position = 0;
            }
        }
    }

    fn invoke(&mut self, index: usize) {
        let size = self.random.usize(1..6);
        let partition = &mut self.partitions[index];
        let Some((event, next)) = partition.next_batch(size) else { return };
        let context = Rc::clone(&self.context);
        let invocation =
            tokio::task::spawn_local(async move { aggregate::handle(&event, &context).await.is_ok() });
        partition.in_flight = Some((invocation, next));
    }

    /// Takes note of an invocation that has ended.
    async fn collect(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        if partition.in_flight.as_ref().is_some_and(|(invocation, _)| invocation.is_finished()) {
            let (invocation, next) = partition.in_flight.take().unwrap();
            if invocation.await.unwrap() && partition.reader == Reader::Commits {
                partition.position = next;
            }
            self.find_place(index).await;
        }
    }

    /// Where a reader that keeps no position of its own goes on.
    async fn find_place(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        if partition.reader == Reader::Progress {
            let positions = progress::of_group(&self.table.direct(), GROUP).await.unwrap();
            let through =
                positions.iter().find(|at| at.topic == partition.topic).map_or(-1, |at| at.progress.through);
            partition.position = through + 1;
        }
    }

    /// Forgets what was heard of a device up to now. Never half-way for ever: who asked asks again.
    fn forget(&mut self) {
        if self.forgetting.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let mac = Mac::new([0, 0, 0, 0, 0, self.random.u8(0..3)]);
        self.clock += 1;
        NOW_MS.set(self.clock);
        let before = self.clock;
        let table = self.context.table.clone();
        let task = tokio::task::spawn_local(async move {
            while forget::forget(&table, mac, before, &[1]).await.is_err() {}
        });
        self.marks.insert(mac, before);
        self.forgetting = Some(task);
    }

    /// The mark of a device that is on its way to the table.
    async fn unwritten_mark(&self, mac: Mac) -> Option<i64> {
        let before = *self.marks.get(&mac)?;
        (forget::mark(&self.table.direct(), mac).await.unwrap() < before).then_some(before)
    }

    /// DynamoDB deletes what has expired, some time.
    async fn sweep(&self) {
        self.table.delete_expired(self.clock);
    }

    /// No more trouble: everything is delivered, every zombie ends.
    async fn finish(&mut self) -> Result<(), String> {
        for _ in 0..100_000 {
            self.settle().await;
            for index in 0..self.partitions.len() {
                self.invoke(index);
            }
            let waiting = self.table.waiting();
            if waiting > 0 {
                self.table.release(self.random.usize(..waiting), Fate::Answered, &mut self.random);
                continue;
            }
            let read = self.partitions.iter().all(Partition::is_done);
            let forgotten = self.forgetting.as_ref().is_none_or(JoinHandle::is_finished);
            if read && forgotten && self.zombies.is_empty() {
                return Ok(());
            }
        }
        Err("it does not come to an end".to_owned())
    }

    async fn compare(&mut self) -> Result<(), String> {
        let table = self.table.direct();
        let now = self.clock;
        let counted =
            |mac: &Mac, probe: &Probe| self.marks.get(mac).is_none_or(|before| probe.time >= *before);
        let mut lookers: BTreeMap<Ssid, BTreeMap<Mac, Tally>> = BTreeMap::new();
        for number in 0..3 {
            let mac = Mac::new([0, 0, 0, 0, 0, number]);
            let mut tally = DeviceTally::default();
            let mut ssids: BTreeMap<Ssid, Tally> = BTreeMap::new();
            let mut days: BTreeMap<String, DayTally> = BTreeMap::new();
            for (_, probe) in self.truth.iter().filter(|(of, probe)| *of == mac && counted(of, probe)) {
                tally.absorb(probe);
                if let SsidElement::Named(ssid) = &probe.ssid {
                    ssids.entry(ssid.clone()).or_default().absorb(probe);
                    lookers.entry(ssid.clone()).or_default().entry(mac).or_default().absorb(probe);
                }
                let day = Day::of(probe.time);
                if (day.end() + RETENTION.days_ms).div_euclid(1000) * 1000 > now {
                    days.entry(day.to_string()).or_default().absorb(probe);
                }
            }
            let device = device::look_up(&table, 1, mac, now).await.unwrap().unwrap_or_default();
            same("device", mac, &device.tally, &tally)?;
            same("SSIDs", mac, &device.ssids.into_iter().collect::<BTreeMap<_, _>>(), &ssids)?;
            same("days", mac, &device::days(&table, 1, mac, now).await.unwrap(), &days)?;
        }
        for (name, lookers) in &lookers {
            let page = ssid::look_up(&table, 1, name, None, now).await.unwrap();
            same("who looked for", name, &page.devices.into_iter().collect::<BTreeMap<_, _>>(), lookers)?;
        }
        let mut quarantined = 0;
        for topic in ["pcap", "pcap@spool-a1"] {
            for day in 0..=(self.clock - BEGIN_MS) / DAY_MS + 1 {
                quarantined += quarantine::on_day(&table, topic, Day::of(BEGIN_MS + day * DAY_MS), BEGIN_MS)
                    .await
                    .unwrap()
                    .0;
            }
        }
        same("quarantined", "records", &quarantined, &self.poison)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    of: impl std::fmt::Debug,
    got: &T,
    want: &T,
) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what} {of:?}:\n  table {got:?}\n  fold  {want:?}")) }
}
