//! The watchdog: what is wrong with a sensor, or with the way from Kafka into the table, and when somebody is told.
//!
//! Judging is one thing: which [`Condition`]s hold, from the latest heartbeat and from how far the table is. Telling is another: a
//! [`Memory`] makes episodes of conditions, so that each is said once when it has held as long as it must, and once when it was well
//! for long enough. Both are pure; where the memory is kept, and how it is told, is others' work.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::EventTime;
use crate::heartbeat::{Clock, Heartbeat, Interface};

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// A look is this long after the one before at least, in milliseconds. The schedule comes every minute, and never exactly.
pub const LOOK_EVERY_MS: i64 = 50 * SECOND_MS;
/// A sensor that was silent for so long is not watched any more, in milliseconds.
pub const GIVEN_UP_MS: i64 = 14 * DAY_MS;
/// A sensor whose latest heartbeat is older may be silent, and may be not, in milliseconds: less than [`LOOK_EVERY_MS`], so that one
/// heartbeat alone is never good for two looks.
const DOUBTFUL_MS: i64 = 45 * SECOND_MS;
/// Who has not looked for so long has not watched meanwhile, in milliseconds: the machine slept, or the program was not running.
const GAP_MS: i64 = 3 * LOOK_EVERY_MS;
/// What a sensor reports itself is told when it still reports it in the next look; and all is well when it is in two looks.
const ANOTHER_LOOK_MS: i64 = LOOK_EVERY_MS;
/// What is counted comes in bursts: it is over when nothing came for so long.
const NOTHING_COUNTED_MS: i64 = 10 * MINUTE_MS;
/// An event source mapping that stands still is told when it still does two looks later, in milliseconds.
const MAPPING_STANDS_MS: i64 = 2 * LOOK_EVERY_MS;
/// One that is being changed has so long for it, in milliseconds: with a network interface to be made it takes minutes.
const MAPPING_CHANGES_MS: i64 = 10 * MINUTE_MS;
/// Fewer frames that the kernel dropped from one heartbeat to another are not worth a message.
const FEW_FRAMES: u64 = 5;
/// So many conditions of a sensor are looked at; what a heartbeat may hold is not ours to choose.
const MOST: usize = 64;
/// Channels that are named.
const MOST_CHANNELS: usize = 14;
/// What another system says is told up to so many characters.
const LONGEST: usize = 300;

/// The kind of a sensor that cannot be heard.
const HEARTBEAT: &str = "heartbeat";
const KAFKA: &str = "kafka";
const FLOOD: &str = "flood";
/// What the kinds of event source mappings begin with.
const MAPPING: &str = "mapping:";
const INGEST: &str = "ingest";

/// From when on something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A sensor sent no heartbeat for so long, in milliseconds.
    pub silent_after_ms: i64,
    /// A card that listens gave no frame for so long, in milliseconds.
    pub no_frame_after_ms: i64,
    /// A record has waited in a spool for so long, in milliseconds.
    pub waiting_after_ms: i64,
    /// A record that Kafka has is not in the table after so long, in milliseconds.
    pub behind_after_ms: i64,
    /// No record has come into the topic for so long, in milliseconds: the seed's `check_ingest`, for feeds without an agent. Where
    /// probe requests are rare it would speak up at night, so nobody is told unless this is set.
    pub ingest_stalled_after_ms: Option<i64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            silent_after_ms: 3 * MINUTE_MS,
            no_frame_after_ms: 5 * MINUTE_MS,
            waiting_after_ms: 5 * MINUTE_MS,
            behind_after_ms: 5 * MINUTE_MS,
            ingest_stalled_after_ms: None,
        }
    }
}

/// What is wrong in words, with times that each chat is told in its own zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason(Vec<Piece>);

/// A part of a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Piece {
    /// A moment, in milliseconds since 1970.
    Time(EventTime),
    /// Words.
    Words(String),
}

impl Reason {
    /// A reason that begins with these words.
    #[must_use]
    pub fn new(words: impl Into<String>) -> Self {
        Self(vec![Piece::Words(words.into())])
    }

    /// Goes on with a moment.
    #[must_use]
    pub fn time(mut self, time: EventTime) -> Self {
        self.0.push(Piece::Time(time));
        self
    }

    /// Goes on with words.
    #[must_use]
    pub fn words(mut self, words: impl Into<String>) -> Self {
        self.0.push(Piece::Words(words.into()));
        self
    }

    /// Its parts.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// As one text; `tell` says how a moment is told.
    #[must_use]
    pub fn text(&self, tell: impl Fn(EventTime) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Time(time) => tell(*time),
            Piece::Words(words) => words.clone(),
        };
        self.0.iter().map(piece).collect()
    }
}

impl FromIterator<Piece> for Reason {
    fn from_iter<I: IntoIterator<Item = Piece>>(pieces: I) -> Self {
        Self(pieces.into_iter().collect())
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What kind of, the same while it lasts.
    pub kind: String,
    /// What is wrong.
    pub reason: Reason,
    /// Since when it is, in milliseconds since 1970.
    pub since: EventTime,
    /// Whether it is that nothing comes in: then it is told in the seed's words.
    pub is_of_ingest: bool,
    /// Nobody is told before it was seen for so long, in milliseconds.
    must_hold_ms: i64,
    /// It is over when it was not seen for so long, in milliseconds.
    well_for_ms: i64,
}

impl Condition {
    fn new(kind: impl Into<String>, reason: Reason, since: EventTime) -> Self {
        let kind = kind.into();
        Self { kind, reason, since, is_of_ingest: false, must_hold_ms: 0, well_for_ms: ANOTHER_LOOK_MS }
    }

    fn after(self, must_hold_ms: i64) -> Self {
        Self { must_hold_ms, ..self }
    }
}

/// Which conditions hold, and what is known of all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Those that hold.
    pub conditions: Vec<Condition>,
    scope: Scope,
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    /// Nothing: what is known is from before a gap.
    Nothing,
    /// Whether a sensor can be heard: one that cannot says nothing of itself.
    HeartbeatAlone,
    /// A sensor.
    Sensor { is_doubtful: bool },
    /// The way from Kafka into the table: the kinds of mappings, if AWS has told, and whether records have to come in.
    Way { mappings: Option<BTreeSet<String>>, ingest: bool },
}

/// What is known of a condition that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    /// It is well.
    Well,
    /// Nobody knows.
    Unknown,
    /// Nobody looks at such any more.
    Unwatched,
}

impl Judgement {
    fn knowledge(&self, kind: &str) -> Knowledge {
        let (is_known, is_watched) = match &self.scope {
            Scope::Nothing => (false, true),
            Scope::HeartbeatAlone => (kind == HEARTBEAT, true),
            Scope::Sensor { is_doubtful } => (!(*is_doubtful && kind == HEARTBEAT), true),
            Scope::Way { mappings, ingest } => match mappings {
                _ if kind == INGEST => (true, *ingest),
                Some(listed) if kind.starts_with(MAPPING) => (true, listed.contains(kind)),
                None if kind.starts_with(MAPPING) => (false, true),
                _ => (true, true),
            },
        };
        match (is_watched, is_known) {
            (false, _) => Knowledge::Unwatched,
            (true, false) => Knowledge::Unknown,
            (true, true) => Knowledge::Well,
        }
    }
}

/// Judges a sensor by its latest heartbeat, which came at `heard_ms`. `counted` is what [`Memory::count`] has made of it, `watching_since`
/// is [`Memory::watching_since`], and `goes_on` says whether records come in without it. Times are in milliseconds since 1970.
#[must_use]
pub fn judge_sensor(
    heartbeat: &Heartbeat,
    heard_ms: EventTime,
    counted: Option<&Counted>,
    watching_since: EventTime,
    goes_on: bool,
    settings: &Settings,
    now_ms: i64,
) -> Judgement {
    let silent_ms = now_ms.saturating_sub(heard_ms);
    if heartbeat.is_last {
        let reason = Reason::new("was stopped at ").time(heard_ms).words(" and was not started again");
        // all was stopped together, perhaps, and what is started again comes one after another
        let was_before = heard_ms < watching_since;
        let must_hold_ms = if was_before { settings.silent_after_ms } else { ANOTHER_LOOK_MS };
        let stopped = Condition::new(HEARTBEAT, reason, heard_ms).after(must_hold_ms);
        return Judgement { conditions: vec![stopped], scope: Scope::HeartbeatAlone };
    }
    if silent_ms >= settings.silent_after_ms {
        if now_ms.saturating_sub(watching_since) < settings.silent_after_ms {
            return Judgement { conditions: Vec::new(), scope: Scope::Nothing };
        }
        let reason = Reason::new(format!("no heartbeat for {}, the last one came at ", span(silent_ms)));
        let silent = Condition {
            is_of_ingest: !goes_on,
            ..Condition::new(HEARTBEAT, reason.time(heard_ms), heard_ms)
        };
        return Judgement { conditions: vec![silent], scope: Scope::HeartbeatAlone };
    }
    let before = |seconds: u64| heard_ms.saturating_sub(to_ms(seconds));
    let mut conditions: Vec<Condition> = heartbeat
        .troubles
        .iter()
        .filter(|trouble| !trouble.kind.is_empty())
        .map(|trouble| Condition::new(&trouble.kind, Reason::new(&trouble.reason), now_ms))
        .map(|trouble| trouble.after(ANOTHER_LOOK_MS))
        .collect();
    for interface in &heartbeat.interfaces {
        let name = &interface.name;
        if !interface.is_listening {
            let reason = Reason::new(format!("no frames are taken from {name}: it does not listen"));
            let kind = format!("interface:{name}");
            conditions.push(Condition::new(kind, reason, now_ms).after(ANOTHER_LOOK_MS));
        } else if to_ms(interface.silent_s) >= settings.no_frame_after_ms {
            let silent = span(to_ms(interface.silent_s));
            let reason =
                Reason::new(format!("{name} is up and gave no frame for {silent}{}", on_channels(interface)));
            // a card that is dead is told once, whoever finds out first
            conditions.push(Condition::new(format!("interface:{name}"), reason, before(interface.silent_s)));
        }
    }
    let spool = heartbeat.spool;
    let has_trouble = |kind: &str| heartbeat.troubles.iter().any(|trouble| trouble.kind == kind);
    // that Kafka is away is why, and is told already
    if to_ms(spool.oldest_s) >= settings.waiting_after_ms && !has_trouble(KAFKA) {
        let waiting = plural(spool.waiting, "record waits", "records wait");
        let oldest = span(to_ms(spool.oldest_s));
        let reason = Reason::new(format!(
            "{waiting} in the spool for Kafka, the oldest for {oldest}; the spool has {} MB",
            spool.bytes.div_ceil(1_000_000)
        ));
        // what was kept while the machine slept, or while Kafka was away, is on its way already
        conditions
            .push(Condition::new("spool", reason, before(spool.oldest_s)).after(settings.waiting_after_ms));
    }
    if let Some(Counted { grown, .. }) = counted {
        let within = span(grown.within_ms);
        for (kind, count, least, (one, more), what) in [
            (
                "drops",
                grown.dropped_by_kernel,
                FEW_FRAMES,
                ("frame was", "frames were"),
                "dropped by the kernel: the agent was too slow",
            ),
            (
                FLOOD,
                grown.flooded,
                1,
                ("probe request of a new random address was", "probe requests of new random addresses were"),
                "dropped as a flood",
            ),
            (
                "spool.dropped",
                grown.dropped_by_spool,
                1,
                ("record was", "records were"),
                "dropped before Kafka had them",
            ),
        ] {
            if count >= least {
                let reason = Reason::new(format!("{} {what} (within {within})", plural(count, one, more)));
                let growing = Condition::new(kind, reason, heard_ms.saturating_sub(grown.within_ms));
                conditions.push(Condition { well_for_ms: NOTHING_COUNTED_MS, ..growing });
            }
        }
    }
    // what the sensor says itself comes first
    let mut known = BTreeSet::new();
    conditions.retain(|condition| known.insert(condition.kind.clone()));
    conditions.truncate(MOST);
    // one heartbeat makes no sensor that is heard again
    Judgement { conditions, scope: Scope::Sensor { is_doubtful: silent_ms > DOUBTFUL_MS } }
}

fn on_channels(interface: &Interface) -> String {
    let mut channels: Vec<String> =
        interface.channels.iter().take(MOST_CHANNELS).map(u16::to_string).collect();
    match interface.channels.len().saturating_sub(channels.len()) {
        0 => {}
        more => channels.push(format!("{more} more")),
    }
    match channels.as_slice() {
        [] => String::new(),
        [one] => format!(" on channel {one}"),
        _ => format!(" on channels {}", channels.join(", ")),
    }
}

/// What is counted of a sensor: how far, and by how much it has grown from one heartbeat to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counted {
    heard_ms: EventTime,
    uptime_s: u64,
    dropped_by_kernel: u64,
    flooded: u64,
    dropped_by_spool: u64,
    grown: Grown,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Grown {
    within_ms: i64,
    dropped_by_kernel: u64,
    flooded: u64,
    dropped_by_spool: u64,
}

impl Counted {
    /// What the next heartbeat says; the same one says nothing new.
    fn next(before: Option<&Self>, heartbeat: &Heartbeat, heard_ms: EventTime) -> Self {
        let new = Self {
            heard_ms,
            uptime_s: heartbeat.uptime_s,
            dropped_by_kernel: heartbeat
                .interfaces
                .iter()
                .fold(0, |sum, interface| sum.saturating_add(interface.dropped_by_kernel)),
            flooded: heartbeat.flooded,
            dropped_by_spool: heartbeat.spool.dropped,
            grown: Grown::default(),
        };
        let Some(old) = before else { return new }; // what was dropped long ago is not said
        if (old.heard_ms, old.uptime_s) == (new.heard_ms, new.uptime_s) {
            return *old;
        }
        // An agent that was started again counts from 0. It may have run for longer than the one before had when that was heard last;
        // then it has run for less than has passed since, as has one whose machine slept, which counts on.
        let lived_ms = to_ms(new.uptime_s).saturating_sub(to_ms(old.uptime_s));
        let is_late = lived_ms.saturating_add(MINUTE_MS) < heard_ms.saturating_sub(old.heard_ms);
        let counts_less = new.dropped_by_kernel < old.dropped_by_kernel
            || new.flooded < old.flooded
            || new.dropped_by_spool < old.dropped_by_spool;
        let is_another = new.uptime_s < old.uptime_s || is_late && counts_less;
        let base = if is_another { Self::default() } else { *old };
        let grown = Grown {
            within_ms: heard_ms.saturating_sub(old.heard_ms).max(SECOND_MS),
            dropped_by_kernel: new.dropped_by_kernel.saturating_sub(base.dropped_by_kernel),
            flooded: new.flooded.saturating_sub(base.flooded),
            dropped_by_spool: new.dropped_by_spool.saturating_sub(base.dropped_by_spool),
        };
        Self { grown, ..new }
    }
}

/// How far the table has come in a partition of topic `pcap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Which of the topics of that name, from 1.
    pub life: u32,
    /// The highest offset that is in it; -1 for none.
    pub through: i64,
    /// The greatest Kafka timestamp at or below that, in milliseconds since 1970; -1 for none.
    pub newest: EventTime,
}

/// An offset that Kafka has and the table has not, and since when that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Target {
    offset: i64,
    since: EventTime,
    through: i64,
    newest: EventTime,
}

/// An event source mapping, as AWS tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The function that it feeds.
    pub function: String,
    /// The topic that it reads; `None` when the function has no mapping at all.
    pub topic: Option<String>,
    /// `Enabled`, `Disabled`, `Creating`, …
    pub state: String,
    /// `OK`, `No records processed`, `PROBLEM: …`
    pub last_result: String,
}

/// What is known of the way from Kafka into the table.
#[derive(Debug, Clone, Default)]
pub struct Way<'a> {
    /// By partition of topic `pcap`, the highest offset that sensors know to be in Kafka.
    pub delivered: BTreeMap<i32, i64>,
    /// How far the table is in each. Empty where it is not fed from Kafka: what is read from a spool is not behind it.
    pub reached: BTreeMap<i32, Reached>,
    /// When the newest record that is in the table came into the topic.
    pub newest: Option<EventTime>,
    /// The event source mappings that are watched; `None` when AWS does not tell how they are.
    pub mappings: Option<&'a [Mapping]>,
}

/// Judges the way from Kafka into the table. `memory` is what is remembered of it, and has aimed: [`Memory::aim`].
#[must_use]
pub fn judge_way(way: &Way<'_>, memory: &Memory, settings: &Settings, now_ms: i64) -> Judgement {
    // what happened while nobody watched has had no time to be mended
    let waited = |since: EventTime| now_ms.saturating_sub(since.max(memory.watching_since));
    let mut conditions = Vec::new();
    let through = |partition: &i32| way.reached.get(partition).map_or(-1, |reached| reached.through);
    let late: Vec<(&i32, &Target)> = memory
        .targets
        .iter()
        .filter(|(_, target)| waited(target.since) >= settings.behind_after_ms)
        .collect();
    if let Some(since) = late.iter().map(|(_, target)| target.since).min() {
        let records = late.iter().fold(0_i64, |sum, (partition, target)| {
            let end = way.delivered.get(partition).copied().unwrap_or(target.offset).max(target.offset);
            sum.saturating_add(end.saturating_sub(through(partition)))
        });
        let records = u64::try_from(records).unwrap_or(0);
        let partitions: Vec<String> =
            late.iter().take(MOST_CHANNELS).map(|(partition, _)| partition.to_string()).collect();
        let behind = plural(records, "record that Kafka has is", "records that Kafka has are");
        let of = if partitions.len() == 1 { "partition" } else { "partitions" };
        let reason = Reason::new(format!(
            "{behind} not counted ({of} {} of topic pcap), the oldest missing since ",
            partitions.join(", ")
        ));
        conditions.push(Condition {
            is_of_ingest: late.iter().all(|(partition, target)| through(partition) == target.through),
            // one that is always a little more behind than it may be is told once
            well_for_ms: settings.behind_after_ms.saturating_add(MINUTE_MS),
            ..Condition::new("behind", reason.time(since), since)
        });
    }
    if let Some(after_ms) = settings.ingest_stalled_after_ms
        && waited(way.newest.unwrap_or(0)) >= after_ms
    {
        let stalled = match way.newest {
            Some(newest) => {
                let age = span(now_ms.saturating_sub(newest));
                Condition::new(
                    INGEST,
                    Reason::new(format!("no record came into topic pcap for {age}")),
                    newest,
                )
            }
            None => {
                let reason = Reason::new("no record of topic pcap was counted yet");
                Condition::new(INGEST, reason, memory.watching_since)
            }
        };
        conditions.push(Condition { is_of_ingest: true, ..stalled });
    }
    conditions
        .extend(way.mappings.into_iter().flatten().filter_map(|mapping| judge_mapping(mapping, now_ms)));
    let mappings = way.mappings.map(|mappings| mappings.iter().flat_map(kinds_of).collect());
    let scope = Scope::Way { mappings, ingest: settings.ingest_stalled_after_ms.is_some() };
    Judgement { conditions, scope }
}

/// The kinds of conditions by which a mapping can be known: its own, and that its function has none.
fn kinds_of(mapping: &Mapping) -> [String; 2] {
    let function = format!("{MAPPING}{}", mapping.function);
    let own = mapping.topic.as_ref().map_or_else(|| function.clone(), |topic| format!("{function}/{topic}"));
    [function, own]
}

/// <https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingConfiguration.html>
/// Whether an event source mapping is not enabled, or has a problem.
#[must_use]
pub fn is_in_trouble(mapping: &Mapping, now_ms: i64) -> bool {
    judge_mapping(mapping, now_ms).is_some()
}

fn judge_mapping(mapping: &Mapping, now_ms: i64) -> Option<Condition> {
    let Mapping { function, topic, state, last_result } = mapping;
    let Some(topic) = topic else {
        let reason =
            Reason::new(format!("function {function} has no event source mapping: nothing feeds it"));
        return Some(Condition::new(format!("{MAPPING}{function}"), reason, now_ms).after(MAPPING_STANDS_MS));
    };
    let says: String = last_result.chars().take(LONGEST).collect();
    let reason = match (state.as_str(), last_result.starts_with("PROBLEM")) {
        ("Enabled", false) => return None,
        ("Enabled", true) => {
            format!("the event source mapping of function {function} (topic {topic}) has a {says}")
        }
        _ => format!(
            "the event source mapping of function {function} (topic {topic}) is not Enabled but {state}, and says: {says}"
        ),
    };
    let kind = format!("{MAPPING}{function}/{topic}");
    let is_changing = matches!(state.as_str(), "Creating" | "Enabling" | "Updating");
    let must_hold_ms = if is_changing { MAPPING_CHANGES_MS } else { MAPPING_STANDS_MS };
    Some(Condition::new(kind, Reason::new(reason), now_ms).after(must_hold_ms))
}

/// What is remembered of a sensor, or of the way from Kafka into the table, from look to look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// When it was last looked at, in milliseconds since 1970.
    pub looked_ms: i64,
    /// Since when it is looked at without a gap, in milliseconds since 1970.
    pub watching_since: i64,
    episodes: BTreeMap<String, Episode>,
    counted: Option<Counted>,
    targets: BTreeMap<i32, Target>,
    /// By partition, the life of the topic that was seen last.
    lives: BTreeMap<i32, u32>,
    /// By partition, an offset that is none of the topic's as it is now.
    dismissed: BTreeMap<i32, i64>,
}

/// A condition from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// What was wrong when it began.
    pub reason: Reason,
    /// Since when, in milliseconds since 1970.
    pub since: EventTime,
    /// When it was first seen, in milliseconds since 1970: no two of a kind have the same.
    pub seen: EventTime,
    /// Whether it is that nothing comes in.
    pub is_of_ingest: bool,
    /// The chats that were told.
    pub told: BTreeSet<i64>,
    /// Since when it is well, in milliseconds since 1970.
    pub well_since: Option<EventTime>,
    phase: Phase,
    well_for_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    /// It does not hold for long enough yet.
    Waiting,
    /// That it began is to be told.
    Began,
    /// There is nobody who could be told.
    Unheard,
    /// It was told.
    Told,
    /// That it is well again is to be told.
    Ended,
}

/// What is to be told of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// That it began.
    Began,
    /// That it is well again.
    Ended,
}

impl Memory {
    /// Reads what [`Self::encode`] has written.
    ///
    /// # Errors
    /// When it is something else.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// As text.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // numbers, texts and maps of these: it cannot fail
    }

    /// Whether it is time for another look.
    #[must_use]
    pub fn is_due(&self, now_ms: i64) -> bool {
        // a clock that was set back must not stop it
        !(0..LOOK_EVERY_MS).contains(&now_ms.saturating_sub(self.looked_ms))
    }

    /// Takes note of what a heartbeat counts, which came at `heard_ms`.
    pub fn count(&mut self, heartbeat: &Heartbeat, heard_ms: EventTime) {
        self.counted = Some(Counted::next(self.counted.as_ref(), heartbeat, heard_ms));
    }

    /// What was counted.
    #[must_use]
    pub const fn counted(&self) -> Option<&Counted> {
        self.counted.as_ref()
    }

    /// Begins a look. What was about to begin or to end before a gap in the watching is seen anew.
    pub fn begin_look(&mut self, now_ms: i64) {
        if (0..=GAP_MS).contains(&now_ms.saturating_sub(self.looked_ms)) {
            return;
        }
        self.watching_since = now_ms;
        self.episodes.retain(|_, episode| episode.phase != Phase::Waiting);
        for episode in self.episodes.values_mut().filter(|episode| episode.phase == Phase::Told) {
            episode.well_since = None;
        }
    }

    /// Takes note of what Kafka has and the table has not.
    ///
    /// Of each partition one offset is aimed at until it is reached: records come all the time, and so the table always lacks a few.
    ///
    /// A sensor tells the highest offset that it has ever had acknowledged, and offsets begin anew when a topic is made again. So one
    /// is given up, and never aimed at again, when a record is in the table that came after we have aimed (Kafka's clock may be ahead
    /// of ours: that record is also newer than any that was in it then), or when the topic begins another life.
    pub fn aim(&mut self, way: &Way<'_>, now_ms: i64) {
        if way.reached.is_empty() {
            self.targets.clear();
            return;
        }
        for (partition, reached) in &way.reached {
            let is_another =
                self.lives.insert(*partition, reached.life).is_some_and(|life| life != reached.life);
            let target = self.targets.get(partition);
            let is_reached = target.is_some_and(|target| reached.through >= target.offset);
            let is_passed =
                target.is_some_and(|target| reached.newest > target.since.max(target.newest)) && !is_reached;
            if is_another || is_passed {
                let known = way.delivered.get(partition).copied();
                let highest = known.max(target.map(|target| target.offset));
                self.dismissed.extend(highest.map(|offset| (*partition, offset)));
            }
            if is_another || is_passed || is_reached {
                self.targets.remove(partition);
            }
        }
        for (partition, offset) in &way.delivered {
            let (through, newest) =
                way.reached.get(partition).map_or((-1, -1), |reached| (reached.through, reached.newest));
            if *offset > through && self.dismissed.get(partition) != Some(offset) {
                let target = Target { offset: *offset, since: now_ms, through, newest };
                self.targets.entry(*partition).or_insert(target);
            }
        }
    }

    /// Goes on with what was judged now.
    pub fn step(&mut self, judgement: &Judgement, now_ms: i64) {
        self.looked_ms = now_ms;
        for condition in &judgement.conditions {
            let episode = self.episodes.entry(condition.kind.clone()).or_insert_with(|| Episode {
                reason: condition.reason.clone(),
                since: condition.since,
                seen: now_ms,
                is_of_ingest: condition.is_of_ingest,
                told: BTreeSet::new(),
                well_since: None,
                phase: Phase::Waiting,
                well_for_ms: condition.well_for_ms,
            });
            // whoever counts it and whoever reports it may see it by turns
            episode.well_for_ms = episode.well_for_ms.max(condition.well_for_ms);
            match episode.phase {
                Phase::Waiting | Phase::Unheard => {
                    episode.reason = condition.reason.clone();
                    episode.is_of_ingest = condition.is_of_ingest;
                    if now_ms.saturating_sub(episode.seen) >= condition.must_hold_ms {
                        episode.phase = Phase::Began;
                    }
                }
                Phase::Began | Phase::Told => episode.well_since = None,
                // it is told first, and then another begins
                Phase::Ended => {}
            }
        }
        let holds = |kind: &String| judgement.conditions.iter().any(|condition| condition.kind == *kind);
        self.episodes.retain(|kind, episode| {
            if holds(kind) {
                return true;
            }
            match judgement.knowledge(kind) {
                Knowledge::Well => {}
                Knowledge::Unwatched => return false,
                Knowledge::Unknown => {
                    if episode.phase == Phase::Told {
                        episode.well_since = None;
                    }
                    return true;
                }
            }
            match episode.phase {
                Phase::Waiting | Phase::Unheard => return false,
                Phase::Began | Phase::Ended => {}
                Phase::Told => {
                    let since = *episode.well_since.get_or_insert(now_ms);
                    if now_ms.saturating_sub(since) >= episode.well_for_ms {
                        episode.phase = Phase::Ended;
                    }
                }
            }
            true
        });
    }

    /// What is to be told, by kind.
    pub fn untold(&self) -> impl Iterator<Item = (&str, News, &Episode)> {
        self.episodes.iter().filter_map(|(kind, episode)| {
            let news = match episode.phase {
                Phase::Began => News::Began,
                Phase::Ended => News::Ended,
                Phase::Waiting | Phase::Unheard | Phase::Told => return None,
            };
            Some((kind.as_str(), news, episode))
        })
    }

    /// Takes note that all of that is told; `told` says which chats were, by kind. What nobody was told is to be told in the next look
    /// again, while it lasts.
    pub fn tell(&mut self, told: &BTreeMap<String, BTreeSet<i64>>) {
        self.episodes.retain(|kind, episode| match episode.phase {
            Phase::Began => {
                episode.told = told.get(kind).cloned().unwrap_or_default();
                episode.phase = if episode.told.is_empty() { Phase::Unheard } else { Phase::Told };
                true
            }
            Phase::Ended => false,
            Phase::Waiting | Phase::Unheard | Phase::Told => true,
        });
    }

    /// The episodes that were told, or are about to be, and are not over, by kind.
    pub fn lasting(&self) -> impl Iterator<Item = (&str, &Episode)> {
        let lasting = |phase| matches!(phase, Phase::Began | Phase::Unheard | Phase::Told);
        self.episodes
            .iter()
            .filter(move |(_, episode)| lasting(episode.phase))
            .map(|(kind, episode)| (kind.as_str(), episode))
    }
}

/// A clock in words.
#[must_use]
pub const fn clock_in_words(clock: Clock) -> &'static str {
    match clock {
        Clock::Synchronized => "synchronized",
        Clock::Unsynchronized => "not synchronized, frames are held until it is",
        Clock::Trusted => "believed by setting",
    }
}

/// A time span in one unit: `45 s`, `12 min`, `3 h`, `5 days`.
#[must_use]
pub fn span(ms: i64) -> String {
    match ms.max(0) / SECOND_MS {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 120 * 60 => format!("{} min", seconds / 60),
        seconds if seconds < 48 * 60 * 60 => format!("{} h", seconds / (60 * 60)),
        seconds => format!("{} days", seconds / (24 * 60 * 60)),
    }
}

fn plural(count: u64, one: &str, more: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {more}") }
}

fn to_ms(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(SECOND_MS)
}

#[cfg(test)]
mod tests {
    use crate::heartbeat::{Spool, Trouble};

    use super::*;

    /// 2026-11-24 22:44:59 UTC.
    const HEARD_MS: i64 = 1_795_560_299_000;

    fn heartbeat() -> Heartbeat {
        let card = Interface {
            name: "wlan1".to_owned(),
            is_listening: true,
            channels: vec![6],
            ..Interface::default()
        };
        Heartbeat { sensor: "hallway".to_owned(), interfaces: vec![card], ..Heartbeat::default() }
    }

    fn judged(heartbeat: &Heartbeat, after_ms: i64) -> Vec<(String, String)> {
        let judgement =
            judge_sensor(heartbeat, HEARD_MS, None, 0, false, &Settings::default(), HEARD_MS + after_ms);
        let told = |condition: &Condition| {
            (condition.kind.clone(), condition.reason.text(|time| format!("<{}>", time - HEARD_MS)))
        };
        judgement.conditions.iter().map(told).collect()
    }

    fn one(kind: &str, reason: &str) -> Vec<(String, String)> {
        vec![(kind.to_owned(), reason.to_owned())]
    }

    #[test]
    fn each_condition_has_its_reason_with_numbers_and_units() {
        assert_eq!(judged(&heartbeat(), 179_999), []);
        let silent = "no heartbeat for 3 min, the last one came at <0>";
        assert_eq!(judged(&heartbeat(), 180_000), one("heartbeat", silent));
        let mut last = heartbeat();
        last.is_last = true;
        assert_eq!(judged(&last, 0), one("heartbeat", "was stopped at <0> and was not started again"));

        let mut silent = heartbeat();
        silent.interfaces[0].silent_s = 299;
        assert_eq!(judged(&silent, 0), []);
        silent.interfaces[0].silent_s = 300;
        let reason = "wlan1 is up and gave no frame for 5 min on channel 6";
        assert_eq!(judged(&silent, 0), one("interface:wlan1", reason));
        silent.interfaces[0].channels = (1..=20).collect();
        assert!(
            judged(&silent, 0)[0]
                .1
                .ends_with(" on channels 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 6 more")
        );
        silent.interfaces[0].channels.clear();
        assert!(judged(&silent, 0)[0].1.ends_with(" for 5 min"));

        let mut down = silent.clone();
        down.interfaces[0].is_listening = false;
        let reason = "no frames are taken from wlan1: it does not listen";
        assert_eq!(judged(&down, 0), one("interface:wlan1", reason), "and not that it is silent");
        let trouble = |kind: &str, reason: &str| Trouble { kind: kind.to_owned(), reason: reason.to_owned() };
        down.troubles = vec![trouble("interface:wlan1", "wlan1 is down: ip link set wlan1 up")];
        assert_eq!(judged(&down, 0), one("interface:wlan1", "wlan1 is down: ip link set wlan1 up"));

        let mut behind = heartbeat();
        behind.spool = Spool { waiting: 1_234, oldest_s: 360, bytes: 5_400_000, dropped: 0 };
        let reason = "1234 records wait in the spool for Kafka, the oldest for 6 min; the spool has 6 MB";
        assert_eq!(judged(&behind, 0), one("spool", reason));
        behind.troubles = vec![trouble("kafka", "Kafka is away")];
        assert_eq!(judged(&behind, 0), one("kafka", "Kafka is away"), "which is why");
    }

    #[test]
    fn of_a_sensor_that_is_silent_nothing_else_is_known() {
        let mut down = heartbeat();
        down.interfaces[0].is_listening = false;
        let mut memory = Memory::default();
        let mut look = |heartbeat: &Heartbeat, heard_ms, now_ms| {
            let judgement = judge_sensor(heartbeat, heard_ms, None, 0, false, &Settings::default(), now_ms);
            memory.step(&judgement, now_ms);
            let news: Vec<(String, News)> =
                memory.untold().map(|(kind, news, _)| (kind.to_owned(), news)).collect();
            memory.tell(&news.iter().map(|(kind, _)| (kind.clone(), BTreeSet::from([1]))).collect());
            news
        };
        let minute = |number: i64| HEARD_MS + number * MINUTE_MS;
        let news = |kind: &str, news| vec![(kind.to_owned(), news)];
        assert_eq!(look(&down, minute(0), minute(0)), []);
        assert_eq!(look(&down, minute(0), minute(1)), news("interface:wlan1", News::Began));
        assert_eq!(look(&down, minute(0), minute(3)), news("heartbeat", News::Began));
        assert_eq!(look(&down, minute(0), minute(30)), []);
        let up = heartbeat();
        assert_eq!(look(&up, minute(31), minute(31)), []);
        let both = [news("heartbeat", News::Ended), news("interface:wlan1", News::Ended)].concat();
        assert_eq!(look(&up, minute(32), minute(32)), both);
    }

    #[test]
    fn counts_are_compared_from_heartbeat_to_heartbeat_and_begin_anew_with_the_agent() {
        let mut memory = Memory::default();
        let mut grown = |uptime_s: u64, flooded: u64| {
            let heard_ms = HEARD_MS + to_ms(uptime_s);
            memory.count(&Heartbeat { uptime_s, flooded, ..heartbeat() }, heard_ms);
            memory.counted().unwrap().grown.flooded
        };
        assert_eq!(grown(60, 100), 0, "that may be long ago");
        assert_eq!(grown(120, 130), 30);
        assert_eq!(grown(120, 130), 30, "the same heartbeat");
        assert_eq!(grown(180, 130), 0);
        assert_eq!(grown(10, 7), 7, "another agent");
    }

    #[test]
    fn an_agent_that_runs_for_less_than_has_passed_is_another_unless_it_counts_on() {
        let grown = |uptime_s: u64, heard_s: u64, flooded: u64| {
            let mut memory = Memory::default();
            memory.count(&Heartbeat { uptime_s: 60, flooded: 100, ..heartbeat() }, HEARD_MS);
            let next = Heartbeat { uptime_s, flooded, ..heartbeat() };
            memory.count(&next, HEARD_MS + to_ms(heard_s));
            memory.counted().unwrap().grown.flooded
        };
        assert_eq!(grown(1_800, 3_600, 30), 30, "it was started again half an hour ago");
        assert_eq!(grown(90, 3_600, 100), 0, "its machine slept");
    }

    #[test]
    fn a_few_frames_that_were_dropped_are_not_told_and_one_of_anything_is_told_in_the_singular() {
        let told = |grown: Grown| {
            let counted = Counted { grown, ..Counted::default() };
            let (at, settings) = (HEARD_MS, Settings::default());
            let judgement = judge_sensor(&heartbeat(), at, Some(&counted), 0, false, &settings, at);
            judgement.conditions.iter().map(|one| one.reason.text(|_| String::new())).collect::<Vec<_>>()
        };
        let grown = Grown { within_ms: 60_000, ..Grown::default() };
        assert_eq!(told(Grown { dropped_by_kernel: FEW_FRAMES - 1, ..grown }), Vec::<String>::new());
        let one = Grown { dropped_by_kernel: FEW_FRAMES, flooded: 1, dropped_by_spool: 1, ..grown };
        let expected = [
            "5 frames were dropped by the kernel: the agent was too slow (within 60 s)",
            "1 probe request of a new random address was dropped as a flood (within 60 s)",
            "1 record was dropped before Kafka had them (within 60 s)",
        ];
        assert_eq!(told(one), expected);
    }

    #[test]
    fn one_heartbeat_alone_makes_no_sensor_that_is_heard_again_whenever_it_comes() {
        for phase_s in 0..60 {
            let (mut memory, mut said) = (Memory::default(), Vec::new());
            for look in 0..20 {
                let now_ms = HEARD_MS + look * MINUTE_MS;
                let back_ms = HEARD_MS + 10 * MINUTE_MS + phase_s * SECOND_MS;
                let heard_ms = if now_ms >= back_ms { back_ms } else { HEARD_MS };
                memory.begin_look(now_ms);
                let since = memory.watching_since;
                let settings = Settings::default();
                let judgement = judge_sensor(&heartbeat(), heard_ms, None, since, false, &settings, now_ms);
                memory.step(&judgement, now_ms);
                let news: Vec<_> = memory.untold().map(|(kind, news, _)| (kind.to_owned(), news)).collect();
                memory.tell(&news.iter().map(|(kind, _)| (kind.clone(), BTreeSet::from([1]))).collect());
                said.extend(news);
            }
            assert_eq!(said, [(HEARTBEAT.to_owned(), News::Began)], "{phase_s} s after a look");
        }
    }

    #[test]
    fn what_is_counted_and_reported_by_turns_is_over_when_neither_was_for_long() {
        let mut memory = Memory::default();
        let short = Condition::new(FLOOD, Reason::new("a flood"), HEARD_MS);
        let long = Condition { well_for_ms: NOTHING_COUNTED_MS, ..short.clone() };
        let mut ended = Vec::new();
        for minute in 0..20 {
            let now_ms = HEARD_MS + minute * MINUTE_MS;
            let conditions = match minute {
                0 => vec![short.clone()],
                1 => vec![long.clone()],
                2 => vec![short.clone()],
                _ => Vec::new(),
            };
            memory.step(&Judgement { conditions, scope: Scope::Sensor { is_doubtful: false } }, now_ms);
            ended.extend(memory.untold().filter(|(_, news, _)| *news == News::Ended).map(|_| minute));
            memory.tell(&BTreeMap::from([(FLOOD.to_owned(), BTreeSet::from([1]))]));
        }
        assert_eq!(ended, [13]);
    }

    fn way(delivered: i64, through: i64, newest: EventTime) -> Way<'static> {
        Way {
            delivered: BTreeMap::from([(2, delivered)]),
            reached: BTreeMap::from([(2, Reached { life: 1, through, newest })]),
            newest: Some(newest),
            mappings: None,
        }
    }

    #[test]
    fn the_table_is_behind_when_what_kafka_has_does_not_come_in_five_minutes() {
        let mut memory = Memory::default();
        let mut look = |way: &Way<'_>, now_ms| {
            memory.aim(way, now_ms);
            let judgement = judge_way(way, &memory, &Settings::default(), now_ms);
            let told: Vec<_> = judgement
                .conditions
                .iter()
                .map(|condition| {
                    (condition.reason.text(|time| (time - HEARD_MS).to_string()), condition.is_of_ingest)
                })
                .collect();
            told
        };
        let minute = |number: i64| HEARD_MS + number * MINUTE_MS;
        // a feed without a pause: there is always more than the table has
        for number in 0..20 {
            assert_eq!(
                look(&way(100 + number * 10, 91 + number * 10, minute(number) - 20_000), minute(number)),
                []
            );
        }
        // it stops
        assert_eq!(look(&way(300, 285, minute(20)), minute(20)), []);
        for number in 21..26 {
            assert_eq!(look(&way(400, 285, minute(20)), minute(number)), []);
        }
        let told = "115 records that Kafka has are not counted (partition 2 of topic pcap), the oldest missing since 1260000";
        assert_eq!(look(&way(400, 285, minute(20)), minute(26)), [(told.to_owned(), true)]);
        let (reason, is_of_ingest) = look(&way(400, 286, minute(20)), minute(27)).remove(0);
        assert!(reason.starts_with("114 records") && !is_of_ingest, "it goes on, slowly: {reason}");
        assert_eq!(look(&way(400, 400, minute(27)), minute(28)), []);
        // the topic was made again; the sensor tells of what it once had
        for number in 29..60 {
            assert_eq!(look(&way(400, number, minute(number) + 1), minute(number)), []);
        }
    }

    #[test]
    fn an_offset_that_is_none_of_the_topic_as_it_is_now_is_not_aimed_at() {
        let minute = |number: i64| HEARD_MS + number * MINUTE_MS;
        let late = |memory: &mut Memory, way: &Way<'_>, now_ms| {
            memory.aim(way, now_ms);
            !judge_way(way, memory, &Settings::default(), now_ms).conditions.is_empty()
        };
        // all is reached, then the topic is made again, and after one record it is quiet
        let mut memory = Memory::default();
        assert!(!late(&mut memory, &way(400, 400, minute(0)), minute(0)));
        let mut again = way(400, 0, minute(1));
        again.reached.get_mut(&2).unwrap().life = 2;
        for number in 1..20 {
            assert!(!late(&mut memory, &again, minute(number)));
        }
        // nobody has seen the topic before
        let mut memory = Memory::default();
        for number in 0..3 {
            assert!(!late(&mut memory, &way(400, number, minute(number) + 1), minute(number)));
        }
        for number in 3..20 {
            assert!(!late(&mut memory, &way(400, 2, minute(2) + 1), minute(number)));
        }
        // Kafka's clock is an hour ahead, and the table stands still
        let mut memory = Memory::default();
        let stalled: Vec<bool> = (0..7)
            .map(|number| late(&mut memory, &way(400 + number, 300, minute(60)), minute(number)))
            .collect();
        assert_eq!(stalled, [false, false, false, false, false, true, true]);
        // what is fed by a spool is not behind Kafka
        let of_spool = Way { reached: BTreeMap::new(), ..way(500, 300, minute(60)) };
        assert!(!late(&mut memory, &of_spool, minute(7)));
    }

    #[test]
    fn an_event_source_mapping_that_works_not_is_told_with_what_aws_says() {
        let mapping = |topic: Option<&str>, state: &str, last_result: &str| Mapping {
            function: "aggregate".to_owned(),
            topic: topic.map(str::to_owned),
            state: state.to_owned(),
            last_result: last_result.to_owned(),
        };
        for (mapping, told) in [
            (mapping(Some("pcap"), "Enabled", "OK"), None),
            (mapping(Some("pcap"), "Enabled", "No records processed"), None),
            (mapping(Some("pcap"), "Disabled", "OK"), Some("not Enabled but Disabled")),
            (
                mapping(Some("pcap"), "Enabled", "PROBLEM: Connection error."),
                Some("has a PROBLEM: Connection"),
            ),
            (mapping(None, "", ""), Some("has no event source mapping")),
        ] {
            let judged =
                judge_mapping(&mapping, HEARD_MS).map(|condition| condition.reason.text(|_| String::new()));
            assert_eq!(judged.is_some(), told.is_some(), "{judged:?}");
            assert!(judged.unwrap_or_default().contains(told.unwrap_or_default()));
        }
    }

    #[test]
    fn a_memory_is_read_as_it_was_written_and_stays_small() {
        let trouble = |number: usize| Trouble { kind: format!("{number:\0>300}"), reason: "☕".repeat(300) };
        let hostile = Heartbeat { troubles: (0..1_000).map(trouble).collect(), ..heartbeat() };
        let mut memory = Memory::default();
        for look in 0..3 {
            let now_ms = HEARD_MS + look * MINUTE_MS;
            memory.count(&hostile, now_ms);
            let judgement =
                judge_sensor(&hostile, now_ms, memory.counted(), 0, false, &Settings::default(), now_ms);
            memory.step(&judgement, now_ms);
            memory.tell(&BTreeMap::new());
        }
        let text = memory.encode();
        assert!(text.len() < 300 << 10, "{} bytes", text.len());
        assert_eq!(Memory::decode(&text).unwrap(), memory);
        assert_eq!(Memory::decode("{}").unwrap(), Memory::default());
    }

    #[test]
    fn a_span_has_one_unit() {
        for (seconds, told) in [
            (0, "0 s"),
            (119, "119 s"),
            (180, "3 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(span(seconds * 1000), told);
        }
    }
}
