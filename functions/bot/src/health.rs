//! How the sensors are: for `/status` and `GET /v1/status`. Judged anew as the watchdog does it, since that looks once a minute; since
//! when something is wrong, and what is wrong with the way from Kafka into the table, is what it remembers.

use std::collections::BTreeMap;

use domain::EventTime;
use domain::heartbeat::{Heartbeat, Interface};
use domain::watchdog::{self, Memory, Reason, Settings, span};
use jiff::tz::TimeZone;
use runtime::zoned::{for_people, for_programs};
use serde::Serialize;
use state::Table;
use state::sensors::{self, Sensor};
use state::watchdog::Subject;
use telegram::{Text, limit};

use crate::error::Error;
use crate::reply;

/// All of it takes at most so much of a message, in UTF-16 code units; one sensor alone has less.
const MAX_UNITS: usize = 3_000;
/// So many sensors are told in a chat, and so many of what each has.
const MAX_SENSORS: usize = 10;
const MAX_INTERFACES: usize = 4;
const MAX_CONDITIONS: usize = 5;
const MAX_CHANNELS: usize = 14;
/// A name of a sensor, a reason.
const MAX_NAME_UNITS: usize = 40;
const MAX_REASON_UNITS: usize = 160;

/// How the sensors are, and the way from Kafka into the table.
#[derive(Debug)]
pub(crate) struct Health {
    sensors: Vec<(Sensor, Vec<Wrong>)>,
    way: Vec<Wrong>,
    now_ms: i64,
}

/// Something that is wrong.
#[derive(Debug)]
struct Wrong {
    kind: String,
    reason: Reason,
    since: EventTime,
}

/// How everything is.
pub(crate) async fn look(table: &Table, now_ms: i64) -> Result<Health, Error> {
    let (sensors, remembered) = futures::try_join!(sensors::all(table, now_ms), state::watchdog::all(table))?;
    let memories: BTreeMap<Subject, Memory> =
        remembered.into_iter().map(|one| (one.subject, one.memory)).collect();
    let judged = |sensor: Sensor| {
        let memory = memories.get(&Subject::Sensor(sensor.heartbeat.sensor.clone()));
        let Sensor { heartbeat, heard_ms } = &sensor;
        let counted = memory.and_then(Memory::counted);
        // Whether it is that nothing comes in makes no difference here, and whoever asks is told what is so now, watched or not.
        let judgement =
            watchdog::judge_sensor(heartbeat, *heard_ms, counted, 0, false, &Settings::default(), now_ms);
        let wrong = judgement.conditions.into_iter().map(|condition| {
            let lasting = memory.into_iter().flat_map(Memory::lasting);
            let since = lasting.filter(|(kind, _)| *kind == condition.kind).map(|(_, episode)| episode.since);
            let since = since.min().unwrap_or(condition.since).min(condition.since);
            Wrong { kind: condition.kind, reason: condition.reason, since }
        });
        let wrong = wrong.collect();
        (sensor, wrong)
    };
    let way = memories.get(&Subject::Way).into_iter().flat_map(Memory::lasting);
    // what is well already, but not for long enough to be told
    let way = way.filter(|(_, episode)| episode.well_since.is_none()).map(|(kind, episode)| {
        let (reason, since) = (episode.reason.clone(), episode.since);
        Wrong { kind: kind.to_owned(), reason, since }
    });
    let way = way.collect();
    Ok(Health { sensors: sensors.into_iter().map(judged).collect(), way, now_ms })
}

impl Health {
    /// A line about all, and some about each sensor; nothing where no sensor was ever heard and nothing is wrong.
    pub(crate) fn in_words(&self, zone: &TimeZone) -> Text {
        let mut text = Text::new();
        let wrong = self.sensors.iter().filter(|(_, wrong)| !wrong.is_empty()).count();
        match (self.sensors.len(), wrong) {
            (0, _) => {}
            (1, 0) => text = text.plain("\n✅ The sensor is well"),
            (all, 0) => text = text.plain(format!("\n✅ All {all} sensors are well")),
            (1, _) => text = text.plain("\n❌ The sensor has trouble"),
            (all, wrong) => text = text.plain(format!("\n❌ {wrong} of {all} sensors have trouble")),
        }
        for wrong in self.way.iter().take(MAX_CONDITIONS) {
            text = text.plain(format!("\n❌ {}", told(wrong, zone)));
        }
        // those in trouble first
        let mut sensors: Vec<&(Sensor, Vec<Wrong>)> = self.sensors.iter().collect();
        sensors.sort_by_key(|(_, wrong)| wrong.is_empty());
        let mut listed = 0;
        for (sensor, wrong) in sensors.iter().take(MAX_SENSORS) {
            let one = self.of_sensor(sensor, wrong, zone);
            if text.units() + one.units() > MAX_UNITS {
                break;
            }
            text = text.append(one);
            listed += 1;
        }
        match self.sensors.len().saturating_sub(listed) {
            0 => text,
            more => text.plain(format!("\n📡 and {}", reply::count(more, "more sensor"))),
        }
    }

    fn of_sensor(&self, sensor: &Sensor, wrong: &[Wrong], zone: &TimeZone) -> Text {
        let Sensor { heartbeat, heard_ms } = sensor;
        let ago = span(self.now_ms.saturating_sub(*heard_ms));
        let mut text = Text::new()
            .plain("\n📡 ")
            .code(limit::line(&heartbeat.sensor, MAX_NAME_UNITS))
            .plain(format!(" : heard {ago} ago, {}", of_agent(heartbeat)));
        for interface in heartbeat.interfaces.iter().take(MAX_INTERFACES) {
            text = text.plain(format!("\n\t{}", of_interface(interface)));
        }
        match heartbeat.interfaces.len().saturating_sub(MAX_INTERFACES) {
            0 => {}
            more => text = text.plain(format!("\n\tand {}", reply::count(more, "interface"))),
        }
        text = text.plain(format!("\n\t{}", of_spool(heartbeat)));
        let clock = watchdog::clock_in_words(heartbeat.clock);
        text = text.plain(format!("\n\tClock : {clock}"));
        if heartbeat.held > 0 {
            text = text.plain(format!(" ({} held)", heartbeat.held));
        }
        for wrong in wrong.iter().take(MAX_CONDITIONS) {
            text = text.plain(format!("\n\t❌ {}", told(wrong, zone)));
        }
        match wrong.len().saturating_sub(MAX_CONDITIONS) {
            0 => text,
            more => text.plain(format!("\n\t❌ and {more} more")),
        }
    }

    /// For programs: each sensor with all of its heartbeat.
    pub(crate) fn for_programs(&self) -> HealthBody<'_> {
        let sensors = self.sensors.iter().map(|(sensor, wrong)| SensorBody {
            sensor: &sensor.heartbeat.sensor,
            heard: for_programs(sensor.heard_ms),
            is_well: wrong.is_empty(),
            conditions: wrong.iter().map(Wrong::for_programs).collect(),
            heartbeat: &sensor.heartbeat,
        });
        HealthBody {
            sensors: sensors.collect(),
            conditions: self.way.iter().map(Wrong::for_programs).collect(),
        }
    }
}

impl Wrong {
    fn for_programs(&self) -> ConditionBody<'_> {
        let utc = |time| for_programs(time).unwrap_or_default();
        ConditionBody { kind: &self.kind, reason: self.reason.text(utc), since: for_programs(self.since) }
    }
}

/// What `GET /v1/status` says beside how far the table is.
#[derive(Debug, Serialize)]
pub(crate) struct HealthBody<'a> {
    sensors: Vec<SensorBody<'a>>,
    /// What is wrong with the way from Kafka into the table.
    conditions: Vec<ConditionBody<'a>>,
}

#[derive(Debug, Serialize)]
struct SensorBody<'a> {
    sensor: &'a str,
    /// When its latest heartbeat came.
    heard: Option<String>,
    is_well: bool,
    conditions: Vec<ConditionBody<'a>>,
    heartbeat: &'a Heartbeat,
}

#[derive(Debug, Serialize)]
struct ConditionBody<'a> {
    kind: &'a str,
    reason: String,
    since: Option<String>,
}

fn told(wrong: &Wrong, zone: &TimeZone) -> String {
    limit::line(&wrong.reason.text(|time| for_people(time, zone)), MAX_REASON_UNITS)
}

fn of_agent(heartbeat: &Heartbeat) -> String {
    let up = span(i64::try_from(heartbeat.uptime_s).unwrap_or(i64::MAX).saturating_mul(1000));
    let version = match heartbeat.version.as_str() {
        "" => "unknown version".to_owned(),
        version => format!("version {}", limit::line(version, MAX_NAME_UNITS)),
    };
    if heartbeat.is_last { format!("{version}, stopped") } else { format!("{version}, up {up}") }
}

fn of_interface(interface: &Interface) -> String {
    let name = limit::line(&interface.name, MAX_NAME_UNITS);
    let mut channels: Vec<String> =
        interface.channels.iter().take(MAX_CHANNELS).map(u16::to_string).collect();
    match interface.channels.len().saturating_sub(channels.len()) {
        0 => {}
        more => channels.push(format!("{more} more")),
    }
    let on = match channels.as_slice() {
        [] => String::new(),
        [one] => format!(" on channel {one}"),
        _ => format!(" on channels {}, {} ms each", channels.join(", "), interface.dwell_ms),
    };
    let is = if interface.is_listening { "" } else { " (not listening)" };
    let dropped = interface.dropped_by_kernel.saturating_add(interface.dropped_by_interface);
    format!(
        "{name}{is}{on} : {}, {}, {dropped} dropped",
        plural(interface.frames, "frame"),
        plural(interface.probe_requests, "probe request")
    )
}

fn of_spool(heartbeat: &Heartbeat) -> String {
    let spool = heartbeat.spool;
    let waits = match spool.waiting {
        0 => "nothing waits".to_owned(),
        waiting => {
            let oldest = span(i64::try_from(spool.oldest_s).unwrap_or(i64::MAX).saturating_mul(1000));
            format!("{} for Kafka, the oldest for {oldest}", plural(waiting, "record"))
        }
    };
    let lost = spool.dropped.saturating_add(heartbeat.flooded);
    let lost = if lost > 0 { format!(", {lost} dropped") } else { String::new() };
    format!("Spool : {waits}, {} MB{lost}", spool.bytes.div_ceil(1_000_000))
}

fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
