//! The watchdog's part of a round: looks at each sensor and at the way from Kafka into the table, and makes a message for each owner of
//! what began, and of what is well again.
//!
//! Of each subject: what is remembered is read before anything else, goes on by what is seen now, and is written if nobody has written
//! it meanwhile. So of two rounds that overlap one alone goes on, and never with something older than the other saw. What is to be told
//! stands in the memory then; messages are made of it, whose ids are the same whoever makes them; then the memory takes note of that.

use std::collections::{BTreeMap, BTreeSet};

use domain::watchdog::{self, Judgement, Mapping, News, Reached, Settings, Way, is_in_trouble};
use state::chats::{self, Chat};
use state::messages::{self, Content, Destination, Ingest, Message, MessageId, Notice};
use state::progress::{self, Position, Progress};
use state::sensors::{self, Sensor};
use state::watchdog::{Remembered, Subject};
use state::{Error, Table, generation};

use crate::event_source_mappings::EventSourceMappings;

/// A record that came so much later than a sensor's last heartbeat came from elsewhere, in milliseconds.
const MINUTE_MS: i64 = 60 * 1000;
/// A chat that became another, which became another …
const MOST_MOVES: usize = 8;

/// What the watchdog works with.
#[derive(Debug, Clone)]
pub struct Watchdog {
    /// From when on something is wrong.
    pub settings: Settings,
    /// The consumer group of `aggregate`: its progress says what the table has. That of `alert` would not: its mapping passes over probe
    /// requests that name no network, and the progress stands still meanwhile. What an agent writes are all probe requests, and
    /// `aggregate` is given each.
    pub aggregate_group: String,
    /// The topic whose offsets sensors tell. A spool that is read directly has its id behind that.
    pub pcap_topic: String,
    /// What feeds the functions, where AWS can be asked.
    pub mappings: Option<EventSourceMappings>,
}

/// What came of a round.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// The messages that were made, which are due.
    pub(crate) messages: Vec<(Destination, MessageId)>,
    /// Event source mappings that are not enabled, or have a problem; 0 when it was not looked, or AWS did not tell.
    pub(crate) mappings_in_trouble: u64,
}

/// What a round works with, as it was read at its beginning.
struct Round<'a> {
    table: &'a Table,
    settings: &'a Settings,
    chats: Vec<Chat>,
    newest: Option<i64>,
    now_ms: i64,
}

impl Watchdog {
    /// The watchdog of a group that counts, with the usual settings and without AWS.
    #[must_use]
    pub fn of(aggregate_group: impl Into<String>) -> Self {
        let (settings, aggregate_group) = (Settings::default(), aggregate_group.into());
        Self { settings, aggregate_group, pcap_topic: "pcap".to_owned(), mappings: None }
    }

    /// Looks at everything that is due to be looked at.
    ///
    /// # Errors
    /// When the table does not answer: what was not made is made in the next round.
    pub(crate) async fn round(&self, table: &Table, now_ms: fn() -> i64) -> Result<Made, Error> {
        let mut remembered: BTreeMap<Subject, Remembered> =
            state::watchdog::all(table).await?.into_iter().map(|one| (one.subject.clone(), one)).collect();
        let now_ms = now_ms();
        let (sensors, given_up) = sensors::with_given_up(table, now_ms).await?;
        let is_asked = self.settings.ingest_stalled_after_ms.is_some() || self.mappings.is_some();
        if sensors.is_empty() && remembered.is_empty() && !is_asked {
            return Ok(Made::default());
        }
        let group = generation::consumer_group(&self.aggregate_group, generation::serving(table).await?);
        let positions = progress::of_group(table, &group).await?;
        let newest = positions.iter().map(|at| at.progress.timestamp).filter(|newest| *newest >= 0).max();
        let round =
            Round { table, settings: &self.settings, chats: chats::all(table).await?, newest, now_ms };

        // what goes wrong with one must not hold up the others
        let mut outcome = Ok(());
        let mut messages = Vec::new();
        for sensor in &sensors {
            let subject = Subject::Sensor(sensor.heartbeat.sensor.clone());
            let one = remembered.remove(&subject).unwrap_or_else(|| Remembered::nothing(subject));
            let judged = round.go_on(one, async |one| round.judge_sensor(sensor, &sensors, one)).await;
            outcome = outcome.and(judged.map(|made| messages.extend(made)));
        }
        let way = remembered.remove(&Subject::Way).unwrap_or_else(|| Remembered::nothing(Subject::Way));
        let mut mappings_in_trouble = 0;
        let judge_way = async |way: &mut Remembered| {
            let mappings = match &self.mappings {
                Some(mappings) => mappings.look().await,
                None => Some(Vec::new()), // none is watched
            };
            let troubled = mappings.iter().flatten().filter(|mapping| is_in_trouble(mapping, now_ms));
            mappings_in_trouble = troubled.count() as u64;
            self.judge_way(&round, &sensors, &positions, mappings.as_deref(), way)
        };
        let judged = round.go_on(way, judge_way).await;
        outcome = outcome.and(judged.map(|made| messages.extend(made)));
        // Sensors that are no more. One that was given up may be heard again, and then it is well again for those who were told.
        let is_given_up =
            |subject: &Subject| matches!(subject, Subject::Sensor(name) if given_up.contains(name));
        for gone in remembered.into_values().filter(|gone| !is_given_up(&gone.subject)) {
            outcome = outcome.and(gone.forget(table).await.map(drop));
        }
        outcome.map(|()| Made { messages, mappings_in_trouble })
    }

    fn judge_way(
        &self,
        round: &Round<'_>,
        sensors: &[Sensor],
        positions: &[Position],
        mappings: Option<&[Mapping]>,
        way: &mut Remembered,
    ) -> Judgement {
        let Round { settings, now_ms, newest, .. } = *round;
        let seen = Way {
            delivered: delivered(sensors, settings, now_ms),
            reached: positions
                .iter()
                .filter(|at| at.topic == self.pcap_topic)
                .map(|at| {
                    let Progress { life, through, timestamp: newest, .. } = at.progress;
                    (at.partition, Reached { life, through, newest })
                })
                .collect(),
            newest,
            mappings,
        };
        way.memory.aim(&seen, now_ms);
        watchdog::judge_way(&seen, &way.memory, settings, now_ms)
    }
}

/// By partition, the highest offset of topic `pcap` that sensors know to be in Kafka: those that are heard.
fn delivered(sensors: &[Sensor], settings: &Settings, now_ms: i64) -> BTreeMap<i32, i64> {
    let mut highest: BTreeMap<i32, i64> = BTreeMap::new();
    let is_heard = |sensor: &&Sensor| now_ms.saturating_sub(sensor.heard_ms) < settings.silent_after_ms;
    for sensor in sensors.iter().filter(is_heard) {
        for (partition, offset) in &sensor.heartbeat.delivered {
            let known = highest.entry(*partition).or_insert(*offset);
            *known = (*known).max(*offset);
        }
    }
    highest
}

impl Round<'_> {
    fn judge_sensor(&self, sensor: &Sensor, others: &[Sensor], one: &mut Remembered) -> Judgement {
        let Round { settings, now_ms, newest, .. } = *self;
        let Sensor { heartbeat, heard_ms } = sensor;
        one.memory.count(heartbeat, *heard_ms);
        let (counted, since) = (one.memory.counted(), one.memory.watching_since);
        let is_heard = |other: &Sensor| {
            let is_another = other.heartbeat.sensor != heartbeat.sensor;
            let silent_ms = now_ms.saturating_sub(other.heard_ms);
            is_another && !other.heartbeat.is_last && silent_ms < settings.silent_after_ms
        };
        let came = newest.is_some_and(|newest| newest > heard_ms.saturating_add(MINUTE_MS));
        let goes_on = came || others.iter().any(is_heard);
        watchdog::judge_sensor(heartbeat, *heard_ms, counted, since, goes_on, settings, now_ms)
    }

    /// Goes on with what is remembered of a subject, and makes messages of what is to be told.
    async fn go_on(
        &self,
        mut one: Remembered,
        judge: impl AsyncFnOnce(&mut Remembered) -> Judgement,
    ) -> Result<Vec<(Destination, MessageId)>, Error> {
        // The schedule on this machine comes more often than on AWS: the watchdog looks as often in both. What another round has not
        // told to the end is told in any.
        if one.memory.is_due(self.now_ms) {
            one.memory.begin_look(self.now_ms);
            let judgement = judge(&mut one).await;
            one.memory.step(&judgement, self.now_ms);
            if !one.write(self.table).await? {
                return Ok(Vec::new()); // another round goes on with it
            }
        }
        let mut made = Vec::new();
        let mut told: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for (kind, news, episode) in one.memory.untold() {
            // by chat, the one that is told, or was, that something is wrong: it may have become another since
            let chats: BTreeMap<i64, i64> = match news {
                News::Began => {
                    let chats = self.chats.iter().filter(|chat| chat.wants_health());
                    chats.map(|chat| (chat.id, chat.id)).collect()
                }
                // to those that know that something was wrong
                News::Ended => {
                    episode.told.iter().filter_map(|told| Some((self.follow(*told)?, *told))).collect()
                }
            };
            let sensor = match &one.subject {
                Subject::Sensor(name) => Some(name.clone()),
                Subject::Way => None,
            };
            for (chat, told) in &chats {
                let to = Destination::Chat(*chat);
                let id =
                    |to: &Destination, news| MessageId::of_notice(to, &one.subject, kind, episode.seen, news);
                let is_end = news == News::Ended;
                let notice = Notice {
                    sensor: sensor.clone(),
                    kind: kind.to_owned(),
                    reason: episode.reason.clone(),
                    since: episode.since,
                    well_since: episode.well_since.filter(|_| is_end),
                    ingest: episode.is_of_ingest.then_some(Ingest { latest: self.newest }),
                    follows: is_end.then(|| id(&Destination::Chat(*told), News::Began)),
                };
                let content = Content::Notice(Box::new(notice));
                let message = Message::new(id(&to, news), to.clone(), *chat, content, self.now_ms);
                messages::make(self.table, &message).await?;
                made.push((to, message.id));
            }
            tracing::info!(kind, ?news, subject = ?one.subject, chats = chats.len(), "the watchdog tells");
            told.insert(kind.to_owned(), chats.into_keys().collect());
        }
        if !told.is_empty() {
            one.memory.tell(&told);
            // Refused: another round has told the same, and goes on with it.
            one.write(self.table).await?;
        }
        Ok(made)
    }

    /// The chat that a chat has become, if that is still to be told.
    fn follow(&self, chat: i64) -> Option<i64> {
        let mut id = chat;
        for _move in 0..MOST_MOVES {
            let chat = self.chats.iter().find(|chat| chat.id == id)?;
            match chat.moved_to {
                Some(to) => id = to,
                None => return chat.wants_health().then_some(id),
            }
        }
        None
    }
}
