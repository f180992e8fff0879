//! The watchdog: what is wrong with a sensor, or with the way from it, is said once with its reason, and once when it is well again.
//!
//! Heartbeats go through `materialize`, records through `aggregate`, the schedule's call through `alert` to a Bot API server, all around
//! an embedded DynamoDB. `PROBEGRAM_SCHEDULES` says how many random schedules there are, `PROBEGRAM_SEED` runs one again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use alert::{EventSourceMappings, Watchdog};
use aws_config::{BehaviorVersion, Region};
use aws_sdk_lambda::config::{Credentials, SharedCredentialsProvider};
use bot::context::SecretHash;
use bot::status::Positions;
use capture_agent::spool::{Retention as SpoolRetention, SENSORS, Spool, WhenFull};
use delivery::{Post, Telegram as Bot};
use domain::Mac;
use domain::heartbeat::{self, Clock, Heartbeat, Interface, Trouble};
use domain::watchdog::News;
use fastrand::Rng;
use http::{HeaderMap, HeaderValue, Method, Uri};
use jiff::tz::TimeZone;
use probegram::embedded::Embedded;
use probegram::http_api;
use probegram::template::Template;
use probegram_tests::alerting::{self, PATIENCE, of_agent};
use probegram_tests::local::{self, Local};
use probegram_tests::scheduled_table::{Fate, ScheduledTable};
use probegram_tests::telegram::{Fault, Kind, Message, Telegram};
use probegram_tests::{schedules, until};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use state::chats::{self, Role};
use state::messages::{self, Content, MessageId, Notice, State};
use state::sensors::{self, Told};
use state::tallies::Retention;
use state::{Generation, Source, Table};
use telegram::Client;
use telegram::client::{Call, TelegramError};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinHandle, LocalSet};
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const OWNER: i64 = 12_345;
const SECOND_OWNER: i64 = 12_346;
const MEMBER: i64 = 99;
/// 2026-11-24 22:00:00 UTC, which is winter in London.
const BEGIN_MS: i64 = 1_795_557_600_000;
const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
const LAPTOP: Mac = Mac::new([0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15]);

thread_local! {
    static NOW_MS: Cell<i64> = const { Cell::new(BEGIN_MS) };
}

fn now_ms() -> i64 {
    NOW_MS.get()
}

fn pass(ms: i64) {
    NOW_MS.set(now_ms() + ms);
}

/// A sensor that is well, as it is now.
fn well(sensor: &str) -> Heartbeat {
    let card = Interface {
        name: "wlan1".to_owned(),
        is_listening: true,
        channels: vec![1, 6, 11],
        dwell_ms: 250,
        frames: 12_345,
        probe_requests: 678,
        ..Interface::default()
    };
    Heartbeat {
        sensor: sensor.to_owned(),
        time: now_ms(),
        version: "0.1.0".to_owned(),
        uptime_s: u64::try_from((now_ms() - BEGIN_MS) / SECOND_MS).unwrap(),
        clock: Clock::Synchronized,
        interfaces: vec![card],
        ..Heartbeat::default()
    }
}

/// A sensor that is well but for something.
fn but(sensor: &str, change: impl FnOnce(&mut Heartbeat)) -> Heartbeat {
    let mut heartbeat = well(sensor);
    change(&mut heartbeat);
    heartbeat
}

/// An installation with its chats.
struct House {
    telegram: Telegram,
    table: Table,
    materialize: materialize::Context,
    aggregate: aggregate::Context,
    alert: alert::Context,
    bot: bot::Context,
    /// The end of each topic.
    ends: RefCell<BTreeMap<String, i64>>,
}

impl House {
    async fn new() -> Self {
        NOW_MS.set(BEGIN_MS);
        let table = Embedded::open(None, &Template::read().unwrap()).unwrap().table();
        let telegram = Telegram::start();
        for (chat, role) in [(OWNER, Role::Owner), (MEMBER, Role::Member)] {
            telegram.add_chat(chat, Kind::Private);
            chats::allow(&table, chat, role, None, now_ms()).await.unwrap();
        }
        let client = Client::new(&telegram.url(), telegram.token().into()).unwrap();
        let london = TimeZone::get("Europe/London").unwrap();
        let post = Post::new(table.clone(), london.clone(), now_ms, Bot::ready(client));
        Self {
            telegram,
            materialize: materialize::Context {
                table: table.clone(),
                group_prefix: "materialize".to_owned(),
                topics: materialize::Topics::default(),
                now_ms,
            },
            aggregate: aggregate::Context {
                table: table.clone(),
                group: "aggregate".to_owned(),
                generation: Generation::FIRST,
                retention: Retention::in_days(400, None),
                now_ms,
            },
            alert: alert::Context {
                table: table.clone(),
                group: "alert".to_owned(),
                post: post.clone(),
                watchdog: Watchdog::of("aggregate"),
                max_age_ms: DAY_MS,
                now_ms,
            },
            bot: bot::Context {
                generation: Generation::of(table.clone()),
                post,
                table: table.clone(),
                aggregate_group: "aggregate".to_owned(),
                secrets: vec![SecretHash::of(b"secret")],
                time_zone: london,
                open_to_this_machine: true,
                positions: Positions::default(),
                now_ms,
            },
            table,
            ends: RefCell::default(),
        }
    }

    /// The offset of the next record of a topic.
    fn next(&self, topic: &str) -> i64 {
        let mut ends = self.ends.borrow_mut();
        let end = ends.entry(topic.to_owned()).or_default();
        *end += 1;
        *end - 1
    }

    /// A sensor says how it is, or is no more. What Lambda delivers.
    async fn says(&self, sensor: &str, heartbeat: Option<&Heartbeat>) -> Box<RawValue> {
        let value = heartbeat.map(heartbeat::encode);
        let event = event("sensors", self.next("sensors"), Some(sensor.as_bytes()), value.as_deref());
        self.deliver(&event).await;
        event
    }

    async fn deliver(&self, event: &RawValue) {
        let report = materialize::handle(event, &self.materialize).await.unwrap();
        assert_eq!(report.quarantined, 0);
    }

    /// A probe request goes through Kafka and into the table.
    async fn hears(&self) {
        let value = of_agent(LAPTOP, now_ms(), "RNM0");
        let event = event("pcap", self.next("pcap"), None, Some(&value));
        aggregate::handle(&event, &self.aggregate).await.unwrap();
    }

    /// Minutes pass in which these sensors say how they are, twice in each, and the schedule comes round.
    async fn minutes(&self, minutes: i64, sensors: &[&dyn Fn() -> Heartbeat]) {
        for _minute in 0..minutes {
            for _twice in 0..2 {
                pass(30 * SECOND_MS);
                for sensor in sensors {
                    let heartbeat = sensor();
                    self.says(&heartbeat.sensor, Some(&heartbeat)).await;
                }
            }
            self.round().await;
        }
    }

    async fn round(&self) {
        alert::handle(&RawValue::from_string(alert::handler::ROUND.to_owned()).unwrap(), &self.alert)
            .await
            .unwrap();
    }

    /// What the bot has said in a chat, in order.
    fn said(&self, chat: i64) -> Vec<String> {
        self.messages(chat).into_iter().map(|message| message.text).collect()
    }

    fn messages(&self, chat: i64) -> Vec<Message> {
        self.telegram.messages(chat)
    }

    /// Somebody asks the bot.
    async fn asks(&self, chat: i64, text: &str) -> String {
        let update = json!({"update_id": self.next("updates") + 1, "message": {"message_id": 1, "date": 0,
            "chat": {"id": chat, "type": "private", "first_name": "Robin"}, "text": text}});
        let mut headers = HeaderMap::new();
        headers.insert("x-telegram-bot-api-secret-token", HeaderValue::from_static("secret"));
        let uri = Uri::from_static("/telegram");
        let request = http_api::request(Method::POST, &uri, headers, update.to_string().as_bytes());
        let answer: Value =
            serde_json::from_str(&http_api::text(bot::handle(&request, &self.bot).await)).unwrap();
        answer["text"].as_str().unwrap().to_owned()
    }

    /// What a program is told.
    async fn status(&self) -> Value {
        let uri = Uri::from_static("/v1/status");
        let request = http_api::request(Method::GET, &uri, HeaderMap::new(), b"");
        serde_json::from_str(&http_api::text(bot::handle(&request, &self.bot).await)).unwrap()
    }
}

/// A record as Lambda delivers it, which came into its topic now.
fn event(topic: &str, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Box<RawValue> {
    let base64 = |bytes: &[u8]| base64_simd::STANDARD.encode_to_string(bytes);
    let mut record = json!({"topic": topic, "partition": 0, "offset": offset, "timestamp": now_ms(),
        "timestampType": "LOG_APPEND_TIME", "key": key.map(base64), "headers": []});
    if let Some(value) = value {
        record["value"] = json!(base64(value));
    }
    let records = json!({format!("{topic}-0"): [record]});
    to_raw_value(&json!({"eventSource": "SelfManagedKafka", "records": records})).unwrap()
}

/// What is told of something that is wrong for seven minutes at a sensor that was well before, and for half an hour after.
async fn told_of(wrong: impl Fn(&mut Heartbeat)) -> Vec<String> {
    let house = House::new().await;
    house.minutes(5, &[&|| well("hallway")]).await;
    assert_eq!(house.said(OWNER), Vec::<String>::new());
    house.minutes(7, &[&|| but("hallway", &wrong)]).await;
    assert_eq!(house.said(OWNER).len(), 1, "{:#?}", house.said(OWNER));
    house.minutes(30, &[&|| well("hallway")]).await;
    assert_eq!(house.said(MEMBER), Vec::<String>::new(), "members are not told");
    house.said(OWNER)
}

#[tokio::test]
async fn what_a_sensor_reports_is_said_once_with_its_reason_and_once_when_it_is_well() {
    let down = |heartbeat: &mut Heartbeat| heartbeat.interfaces[0].is_listening = false;
    let in_trouble = |heartbeat: &mut Heartbeat| {
        let reason = "no room on the disk of the spool: make some".to_owned();
        heartbeat.troubles = vec![Trouble { kind: "disk".to_owned(), reason }];
    };
    let silent = |heartbeat: &mut Heartbeat| {
        heartbeat.interfaces[0].channels = vec![6];
        heartbeat.interfaces[0].silent_s = 300;
    };
    let behind = |heartbeat: &mut Heartbeat| {
        heartbeat.spool.waiting = 1_234;
        heartbeat.spool.oldest_s = 6 * 60;
        heartbeat.spool.bytes = 5_400_000;
    };
    let waits =
        "1234 records wait in the spool for Kafka, the oldest for 6 min; the spool has 6 MB".to_owned();
    for (wrong, reason, after) in [
        (
            &down as &dyn Fn(&mut Heartbeat),
            "no frames are taken from wlan1: it does not listen".to_owned(),
            "7 min",
        ),
        (&in_trouble, "no room on the disk of the spool: make some".to_owned(), "7 min"),
        (&silent, "wlan1 is up and gave no frame for 5 min on channel 6".to_owned(), "12 min"),
        (&behind, waits, "13 min"),
    ] {
        let said = told_of(wrong).await;
        let begin = format!("❌Sensor hallway: {reason}");
        let end = format!("✅Sensor hallway: well again after {after}\n\nIt was: {reason}");
        assert_eq!(said, [begin, end]);
    }
}

#[tokio::test]
async fn what_was_dropped_is_said_once_for_as_long_as_it_goes_on() {
    type Drops = fn(&mut Heartbeat, u64);
    for (drops, told) in [
        (
            (|heartbeat, count| heartbeat.interfaces[0].dropped_by_kernel = count) as Drops,
            "frames were dropped by the kernel: the agent was too slow",
        ),
        (
            |heartbeat, count| heartbeat.flooded = count,
            "probe requests of new random addresses were dropped as a flood",
        ),
        (|heartbeat, count| heartbeat.spool.dropped = count, "records were dropped before Kafka had them"),
    ] {
        let house = House::new().await;
        // what was dropped before anybody looked is no news
        let dropped = Cell::new(1_000);
        let sensor = || but("hallway", |heartbeat| drops(heartbeat, dropped.get()));
        house.minutes(5, &[&sensor]).await;
        assert_eq!(house.said(OWNER), Vec::<String>::new());
        // now and then, for half an hour
        for _burst in 0..6 {
            dropped.set(dropped.get() + 7);
            house.minutes(5, &[&sensor]).await;
        }
        assert_eq!(house.said(OWNER), [format!("❌Sensor hallway: 7 {told} (within 60 s)")]);
        house.minutes(30, &[&sensor]).await;
        let said = house.said(OWNER);
        assert!(
            said.len() == 2 && said[1].starts_with("✅Sensor hallway: well again after 27 min"),
            "{said:#?}"
        );
        // and again
        dropped.set(dropped.get() + 7);
        house.minutes(5, &[&sensor]).await;
        assert_eq!(house.said(OWNER).len(), 3);
    }
}

#[tokio::test]
async fn a_sensor_that_is_not_heard_has_stalled_the_ingest_in_the_seeds_words() {
    let house = House::new().await;
    house.minutes(5, &[&|| well("hallway")]).await;
    house.hears().await;
    // one that was delivered is delivered again, and an older one after it
    let first = house.says("hallway", Some(&well("hallway"))).await;
    pass(SECOND_MS);
    house.says("hallway", Some(&well("hallway"))).await;
    house.minutes(2, &[]).await;
    house.deliver(&first).await;
    assert_eq!(house.said(OWNER), Vec::<String>::new());
    for _half_an_hour in 0..30 {
        house.minutes(1, &[]).await;
        house.deliver(&first).await;
    }
    let stalled = "❌pcap ingest has stalled. Latest ingest time is 2026-11-24 22:05:00 GMT\n\n\
                   Sensor hallway: no heartbeat for 3 min, the last one came at 2026-11-24 22:05:01 GMT";
    assert_eq!(house.said(OWNER), [stalled]);

    // it comes back for a moment, and is away again: that is no recovery
    house.says("hallway", Some(&well("hallway"))).await;
    house.round().await;
    house.minutes(10, &[]).await;
    assert_eq!(house.said(OWNER), [stalled]);

    house.hears().await;
    house.minutes(5, &[&|| well("hallway")]).await;
    let looks_good = "✅pcap ingest looks good. Latest ingest time is 2026-11-24 22:47:01 GMT\n\n\
                      Sensor hallway: well again after 43 min\n\n\
                      It was: no heartbeat for 3 min, the last one came at 2026-11-24 22:05:01 GMT";
    assert_eq!(house.said(OWNER), [stalled, looks_good]);
    let silent: Vec<bool> = house.messages(OWNER).iter().map(|message| message.silent).collect();
    assert_eq!(silent, [false, true], "that all is well wakes nobody");
    house.minutes(30, &[&|| well("hallway")]).await;
    assert_eq!(house.said(OWNER).len(), 2);
}

#[tokio::test]
async fn before_anything_came_in_the_ingest_is_empty() {
    let house = House::new().await;
    house.says("hallway", Some(&well("hallway"))).await;
    house.round().await;
    house.minutes(4, &[]).await;
    let said = house.said(OWNER);
    let empty =
        "❌pcap ingest check failed. Latest ingest time is empty\n\nSensor hallway: no heartbeat for 3 min";
    assert!(said.len() == 1 && said[0].starts_with(empty), "{said:#?}");
}

#[tokio::test]
async fn of_two_sensors_each_is_told_for_itself() {
    let house = House::new().await;
    let (hallway, attic) = (|| well("hallway"), || well("attic"));
    house.minutes(5, &[&hallway, &attic]).await;
    for _minute in 0..10 {
        house.hears().await;
        house.minutes(1, &[&attic]).await;
    }
    let one = "❌Sensor hallway: no heartbeat for 3 min, the last one came at 2026-11-24 22:05:00 GMT";
    assert_eq!(house.said(OWNER), [one], "what comes in goes on");
    house.minutes(10, &[]).await;
    let other = "❌pcap ingest has stalled. Latest ingest time is 2026-11-24 22:14:00 GMT\n\n\
                 Sensor attic: no heartbeat for 3 min, the last one came at 2026-11-24 22:15:00 GMT";
    assert_eq!(house.said(OWNER), [one, other]);
    house.minutes(5, &[&hallway]).await;
    let well = "✅Sensor hallway: well again after 21 min\n\n\
                It was: no heartbeat for 3 min, the last one came at 2026-11-24 22:05:00 GMT";
    assert_eq!(house.said(OWNER)[2..], [well]);
}

#[tokio::test]
async fn a_sensor_that_was_stopped_is_told_in_other_words_and_not_before_a_restart_had_its_time() {
    let house = House::new().await;
    house.minutes(5, &[&|| well("hallway")]).await;
    // started again at once, and a look comes just between
    pass(MINUTE_MS);
    house.says("hallway", Some(&but("hallway", |heartbeat| heartbeat.is_last = true))).await;
    house.round().await;
    house.minutes(5, &[&|| well("hallway")]).await;
    assert_eq!(house.said(OWNER), Vec::<String>::new());
    house.says("hallway", Some(&but("hallway", |heartbeat| heartbeat.is_last = true))).await;
    house.minutes(60, &[]).await;
    let stopped = "❌Sensor hallway: was stopped at 2026-11-24 22:11:00 GMT and was not started again";
    assert_eq!(house.said(OWNER), [stopped]);
    house.minutes(5, &[&|| well("hallway")]).await;
    let said = house.said(OWNER);
    assert!(said.len() == 2 && said[1].starts_with("✅Sensor hallway: well again after 61 min"), "{said:#?}");
}

#[tokio::test]
async fn what_comes_and_goes_is_said_once() {
    let house = House::new().await;
    let down = || but("hallway", |heartbeat| heartbeat.interfaces[0].is_listening = false);
    // for half a minute: the agent takes it up again by itself
    for _time in 0..10 {
        house.minutes(1, &[&down]).await;
        house.minutes(1, &[&|| well("hallway")]).await;
    }
    assert_eq!(house.said(OWNER), Vec::<String>::new());
    house.minutes(2, &[&down]).await;
    for _time in 0..10 {
        house.minutes(1, &[&|| well("hallway")]).await;
        house.minutes(1, &[&down]).await;
    }
    assert_eq!(house.said(OWNER).len(), 1, "{:#?}", house.said(OWNER));
    house.minutes(2, &[&|| well("hallway")]).await;
    assert_eq!(house.said(OWNER).len(), 2, "{:#?}", house.said(OWNER));
}

#[tokio::test]
async fn the_table_that_is_behind_kafka_is_told_by_how_many_records_and_since_when() {
    let house = House::new().await;
    let delivered = Cell::new(-1);
    let sensor = || but("hallway", |heartbeat| heartbeat.delivered = BTreeMap::from([(0, delivered.get())]));
    for _minute in 0..20 {
        // there are always some that the table has not yet
        pass(SECOND_MS);
        house.hears().await;
        delivered.set(house.ends.borrow()["pcap"] + 5);
        house.minutes(1, &[&sensor]).await;
    }
    assert_eq!(house.said(OWNER), Vec::<String>::new());
    // it stops, and records go on
    for _minute in 0..30 {
        delivered.set(delivered.get() + 100);
        house.minutes(1, &[&sensor]).await;
    }
    let said = house.said(OWNER);
    assert_eq!(said.len(), 1, "{said:#?}");
    let (told, more) = said[0].split_once(" records that Kafka has").unwrap();
    let head = "❌pcap ingest has stalled. Latest ingest time is 2026-11-24 22:19:20 GMT\n\n";
    let records: i64 = told.strip_prefix(head).unwrap_or_else(|| panic!("{said:#?}")).parse().unwrap();
    // for five minutes and a bit, a hundred a minute
    assert!((500..700).contains(&records), "{said:#?}");
    assert_eq!(
        more,
        " are not counted (partition 0 of topic pcap), the oldest missing since 2026-11-24 22:21:20 GMT"
    );
    // another sensor that knows less changes nothing
    let other = || but("attic", |heartbeat| heartbeat.delivered = BTreeMap::from([(0, 3)]));
    house.minutes(5, &[&sensor, &other]).await;
    assert_eq!(house.said(OWNER).len(), 1);
    // it catches up
    house.ends.borrow_mut().insert("pcap".to_owned(), delivered.get());
    house.hears().await;
    house.minutes(10, &[&sensor, &other]).await;
    let said = house.said(OWNER);
    assert!(said.len() == 2 && said[1].starts_with("✅pcap ingest looks good. Latest"), "{said:#?}");
    assert!(said[1].contains("well again after"), "{said:#?}");
}

#[tokio::test]
async fn a_topic_that_was_made_again_is_not_one_that_is_behind() {
    let house = House::new().await;
    let sensor = || but("hallway", |heartbeat| heartbeat.delivered = BTreeMap::from([(0, 1_000_000)]));
    for _minute in 0..20 {
        house.minutes(1, &[&sensor]).await;
        house.hears().await;
    }
    assert_eq!(house.said(OWNER), Vec::<String>::new());
}

#[tokio::test]
async fn a_feed_without_an_agent_is_told_as_the_seed_did_if_somebody_wants_it() {
    for after_ms in [None, Some(10 * MINUTE_MS)] {
        let mut house = House::new().await;
        house.alert.watchdog.settings.ingest_stalled_after_ms = after_ms;
        house.hears().await;
        house.round().await;
        house.minutes(30, &[]).await;
        house.hears().await;
        house.minutes(5, &[]).await;
        let said = house.said(OWNER);
        if after_ms.is_none() {
            assert_eq!(said, Vec::<String>::new());
            continue;
        }
        let stalled = "❌pcap ingest has stalled. Latest ingest time is 2026-11-24 22:00:00 GMT\n\n\
                       no record came into topic pcap for 10 min";
        let good = "✅pcap ingest looks good. Latest ingest time is 2026-11-24 22:30:00 GMT\n\nwell again after 31 min\n\n\
                    It was: no record came into topic pcap for 10 min";
        assert_eq!(said, [stalled, good]);
    }
    let mut house = House::new().await;
    house.alert.watchdog.settings.ingest_stalled_after_ms = Some(10 * MINUTE_MS);
    house.minutes(30, &[]).await;
    let said = house.said(OWNER);
    let empty = "❌pcap ingest check failed. Latest ingest time is empty";
    assert!(said.len() == 1 && said[0].starts_with(empty), "{said:#?}");
    assert_eq!(house.status().await["conditions"][0]["kind"], "ingest");
    // nobody wants it any more: that is no recovery
    house.alert.watchdog.settings.ingest_stalled_after_ms = None;
    house.minutes(5, &[]).await;
    assert_eq!((house.said(OWNER).len(), &house.status().await["conditions"]), (1, &json!([])));
}

#[tokio::test]
async fn an_installation_whose_first_record_is_on_its_way_has_as_long_as_any() {
    let mut house = House::new().await;
    house.alert.watchdog.settings.ingest_stalled_after_ms = Some(10 * MINUTE_MS);
    house.minutes(8, &[]).await;
    house.hears().await;
    house.minutes(5, &[]).await;
    assert_eq!(house.said(OWNER), Vec::<String>::new());
}

#[tokio::test]
async fn who_has_not_watched_does_not_say_that_nothing_was_heard_meanwhile() {
    let house = House::new().await;
    let delivered = Cell::new(3);
    let sensor = || but("hallway", |heartbeat| heartbeat.delivered = BTreeMap::from([(0, delivered.get())]));
    house.hears().await;
    house.minutes(3, &[&sensor]).await;
    // the laptop sleeps, and wakes
    pass(8 * 60 * MINUTE_MS);
    house.round().await;
    house.minutes(2, &[]).await;
    house.minutes(2, &[&sensor]).await;
    assert_eq!(house.said(OWNER), Vec::<String>::new());
    // all is stopped together, and started one after another
    house.says("hallway", Some(&but("hallway", |heartbeat| heartbeat.is_last = true))).await;
    pass(8 * 60 * MINUTE_MS);
    house.round().await;
    house.minutes(2, &[]).await;
    house.ends.borrow_mut().insert("pcap".to_owned(), 3);
    house.hears().await;
    house.minutes(3, &[&sensor]).await;
    assert_eq!(house.said(OWNER), Vec::<String>::new());
    // and one that does not come back is told
    pass(8 * 60 * MINUTE_MS);
    house.minutes(5, &[]).await;
    let said = house.said(OWNER);
    assert!(said.len() == 1 && said[0].contains("no heartbeat for 8 h"), "{said:#?}");
}

#[tokio::test]
async fn a_household_that_reads_the_spool_is_not_behind_what_the_agent_sends_to_kafka() {
    let house = House::new().await;
    let sensor = || but("hallway", |heartbeat| heartbeat.delivered = BTreeMap::from([(0, 1_000)]));
    house.minutes(3, &[&sensor]).await;
    for _minute in 0..30 {
        let topic = "pcap@spool-a1";
        let record = event(topic, house.next(topic), None, Some(&of_agent(LAPTOP, now_ms(), "RNM0")));
        aggregate::handle(&record, &house.aggregate).await.unwrap();
        house.minutes(1, &[&sensor]).await;
    }
    assert_eq!(house.said(OWNER), Vec::<String>::new());
}

#[tokio::test]
async fn what_nobody_could_be_told_is_told_when_somebody_can_if_it_lasts() {
    let house = House::new().await;
    let down = || but("hallway", |heartbeat| heartbeat.interfaces[0].is_listening = false);
    house.asks(OWNER, "/health off").await;
    house.minutes(10, &[&down]).await;
    house.minutes(10, &[&|| well("hallway")]).await;
    house.asks(OWNER, "/health on").await;
    house.minutes(10, &[&|| well("hallway")]).await;
    assert_eq!(house.said(OWNER), Vec::<String>::new(), "it is over");
    house.asks(OWNER, "/health off").await;
    house.minutes(10, &[&down]).await;
    house.asks(OWNER, "/health on").await;
    house.minutes(3, &[&down]).await;
    house.minutes(3, &[&|| well("hallway")]).await;
    assert_eq!(house.said(OWNER).len(), 2, "{:#?}", house.said(OWNER));
}

#[tokio::test]
async fn a_sensor_that_was_given_up_and_is_heard_again_is_well_again() {
    let house = House::new().await;
    house.minutes(3, &[&|| well("hallway"), &|| well("attic")]).await;
    house.minutes(10, &[&|| well("attic")]).await;
    pass(14 * DAY_MS);
    house.minutes(5, &[&|| well("attic")]).await;
    house.minutes(5, &[&|| well("hallway"), &|| well("attic")]).await;
    let said = house.said(OWNER);
    assert!(
        said.len() == 2 && said[1].starts_with("✅Sensor hallway: well again after 14 days"),
        "{said:#?}"
    );
}

#[tokio::test]
async fn an_event_source_mapping_that_stands_still_is_told_with_the_words_of_aws() {
    let aws = MockServer::start().await;
    let config = aws_sdk_lambda::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-2"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("a", "b", None, None, "test")))
        .endpoint_url(aws.uri())
        .build();
    let mut house = House::new().await;
    let functions = ["aggregate", "materialize"].map(str::to_owned).to_vec();
    house.alert.watchdog.mappings =
        Some(EventSourceMappings::of(aws_sdk_lambda::Client::from_conf(config), functions));
    let answers = async |aggregate: &[Value], materialize: &[Value]| {
        aws.reset().await;
        for (function, mappings) in [("aggregate", aggregate), ("materialize", materialize)] {
            Mock::given(method("GET"))
                .and(path("/2015-03-31/event-source-mappings"))
                .and(query_param("FunctionName", function))
                .respond_with(
                    ResponseTemplate::new(200).set_body_json(json!({"EventSourceMappings": mappings})),
                )
                .mount(&aws)
                .await;
        }
    };
    let mapping = |topic: &str, state: &str, result: &str| json!({"UUID": "a", "Topics": [topic], "State": state, "LastProcessingResult": result});
    let works = |topic| mapping(topic, "Enabled", "OK");
    answers(&[works("pcap")], &[works("sensors"), works("ssid_alert_list")]).await;
    house.minutes(5, &[]).await;
    // it is changed, which takes some minutes
    answers(&[mapping("pcap", "Updating", "OK")], &[works("sensors")]).await;
    house.minutes(8, &[]).await;
    answers(&[works("pcap")], &[works("sensors")]).await;
    house.minutes(5, &[]).await;
    assert_eq!(house.said(OWNER), Vec::<String>::new());

    let problem = "PROBLEM: Connection error. Your VPC must be able to connect to Lambda and STS";
    answers(
        &[mapping("pcap", "Enabled", problem)],
        &[works("sensors"), mapping("ssid_alert_list", "Disabled", "OK")],
    )
    .await;
    house.minutes(10, &[]).await;
    let told = [
        format!("❌the event source mapping of function aggregate (topic pcap) has a {problem}"),
        "❌the event source mapping of function materialize (topic ssid_alert_list) is not Enabled but Disabled, and says: OK".to_owned(),
    ];
    assert_eq!(house.said(OWNER), told);
    // AWS does not tell: then nobody knows
    aws.reset().await;
    house.minutes(3, &[]).await;
    assert_eq!(house.said(OWNER), told);
    answers(&[works("pcap")], &[]).await;
    house.minutes(10, &[]).await;
    let said = house.said(OWNER);
    assert!(
        said[2..].iter().any(|text| text.starts_with("✅well again after") && text.contains("aggregate")),
        "{said:#?}"
    );
    let nothing = "❌function materialize has no event source mapping: nothing feeds it";
    // one that is no more is not well again
    assert!(said.iter().any(|text| text == nothing) && said.len() == 4, "{said:#?}");
}

#[tokio::test]
async fn owners_are_told_as_they_want_it() {
    let house = House::new().await;
    house.telegram.add_chat(SECOND_OWNER, Kind::Private);
    chats::allow(&house.table, SECOND_OWNER, Role::Owner, None, now_ms()).await.unwrap();
    assert!(house.asks(MEMBER, "/health off").await.contains("for the bot's owners"));
    assert!(house.asks(SECOND_OWNER, "/health").await.contains("This chat is told when a sensor"));
    house.asks(SECOND_OWNER, "/timezone America/New_York").await;
    house.asks(SECOND_OWNER, "/quiet 16:00-23:00").await;

    let silence = async || {
        house.says("hallway", Some(&well("hallway"))).await;
        house.minutes(10, &[]).await;
    };
    silence().await;
    let (first, second) = (house.messages(OWNER), house.messages(SECOND_OWNER));
    assert!(first[0].text.ends_with("the last one came at 2026-11-24 22:00:00 GMT") && !first[0].silent);
    assert!(second[0].text.ends_with("the last one came at 2026-11-24 17:00:00 EST") && second[0].silent);

    // one that wants no more is told of no end either, and of nothing else
    assert!(house.asks(OWNER, "/health off").await.contains("not told any more"));
    house.minutes(5, &[&|| well("hallway")]).await;
    silence().await;
    assert_eq!((house.said(OWNER).len(), house.said(SECOND_OWNER).len()), (1, 3));
    // one that has not heard that something is wrong does not hear that it is well
    assert!(house.asks(OWNER, "/health ON").await.contains("This chat is told when"));
    house.minutes(5, &[&|| well("hallway")]).await;
    assert_eq!((house.said(OWNER).len(), house.said(SECOND_OWNER).len()), (1, 4));
    silence().await;
    assert_eq!((house.said(OWNER).len(), house.said(SECOND_OWNER).len()), (2, 5));
    // an owner who becomes a member is told no more
    chats::allow(&house.table, OWNER, Role::Member, None, now_ms()).await.unwrap();
    house.minutes(5, &[&|| well("hallway")]).await;
    assert_eq!((house.said(OWNER).len(), house.said(SECOND_OWNER).len()), (2, 6));
}

#[tokio::test]
async fn a_sensor_that_is_no_more_is_not_told_of_and_an_older_heartbeat_does_not_bring_it_back() {
    let house = House::new().await;
    let old = house.says("hallway", Some(&well("hallway"))).await;
    house.minutes(10, &[&|| well("attic")]).await;
    assert_eq!(house.said(OWNER).len(), 1);
    house.says("hallway", None).await;
    for _time in 0..5 {
        house.deliver(&old).await;
        house.minutes(5, &[&|| well("attic")]).await;
    }
    assert_eq!(house.said(OWNER).len(), 1, "{:#?}", house.said(OWNER));
    assert!(!house.asks(OWNER, "/status").await.contains("hallway"));
    // it is used again
    house.minutes(1, &[&|| well("hallway"), &|| well("attic")]).await;
    house.minutes(10, &[&|| well("attic")]).await;
    assert_eq!(house.said(OWNER).len(), 2, "{:#?}", house.said(OWNER));
    // and lost: after two weeks it is not watched any more
    pass(14 * DAY_MS);
    house.minutes(5, &[&|| well("attic")]).await;
    assert!(!house.asks(OWNER, "/status").await.contains("hallway"));
    let about_hallway = house.said(OWNER).iter().filter(|text| text.contains("Sensor hallway")).count();
    assert_eq!(about_hallway, 2, "{:#?}", house.said(OWNER));
}

#[tokio::test]
async fn a_spool_that_was_replaced_is_read_on_and_what_came_last_holds() {
    let house = House::new().await;
    let heard = async |topic: &str, offset: i64, version: &str| {
        let heartbeat = but("hallway", |heartbeat| heartbeat.version = version.to_owned());
        house.deliver(&event(topic, offset, Some(b"hallway"), Some(&heartbeat::encode(&heartbeat)))).await;
        let sensors = sensors::all(&house.table, now_ms()).await.unwrap();
        sensors.into_iter().map(|sensor| (sensor.heartbeat.version, sensor.heard_ms)).collect::<Vec<_>>()
    };
    let known = |version: &str, heard_ms: i64| vec![(version.to_owned(), heard_ms)];
    assert_eq!(heard("sensors@spool-a1", 70, "1").await, known("1", BEGIN_MS));
    pass(MINUTE_MS);
    assert_eq!(heard("sensors@spool-b2", 1, "2").await, known("2", BEGIN_MS + MINUTE_MS));
    pass(MINUTE_MS);
    assert_eq!(heard("sensors", 0, "3").await, known("3", BEGIN_MS + 2 * MINUTE_MS));
    // the clock of the machine is set back: offsets are not
    pass(-30 * SECOND_MS);
    assert_eq!(heard("sensors", 1, "4").await, known("4", BEGIN_MS + 90 * SECOND_MS));
    // one from the future is heard now
    let told = Told {
        offset: 2,
        timestamp: now_ms() + DAY_MS,
        sensor: "hallway".to_owned(),
        heartbeat: Some(well("hallway")),
    };
    let source = Source { topic: "sensors".to_owned(), life: 1, partition: 0 };
    sensors::absorb(&house.table, &source, &[told], now_ms()).await.unwrap();
    assert_eq!(sensors::all(&house.table, now_ms()).await.unwrap()[0].heard_ms, now_ms());
    // what cannot be read is put aside
    let report =
        materialize::handle(&event("sensors", 3, None, Some(b"{}")), &house.materialize).await.unwrap();
    assert_eq!((report.sensors, report.quarantined), (0, 1));
}

#[tokio::test]
async fn what_telegram_refuses_for_a_while_comes_later_and_once() {
    let house = House::new().await;
    house.minutes(2, &[&|| well("hallway")]).await;
    for fault in [Fault::TooManyRequests(90), Fault::BadGateway, Fault::Lost] {
        house.telegram.fail_next("sendMessage", fault);
    }
    house.minutes(15, &[]).await;
    assert_eq!(house.said(OWNER).len(), 1, "{:#?}", house.said(OWNER));
    // Telegram is away from before it begins until after it has ended
    for _minutes in 0..40 {
        house.telegram.fail_next("sendMessage", Fault::TooManyRequests(60));
    }
    house.minutes(5, &[&|| well("hallway")]).await;
    house.minutes(15, &[]).await;
    house.minutes(5, &[&|| well("hallway")]).await;
    assert_eq!(house.said(OWNER).len(), 1, "{:#?}", house.said(OWNER));
    house.minutes(90, &[&|| well("hallway")]).await;
    let said = house.said(OWNER);
    let signs: Vec<char> = said.iter().map(|text| text.chars().next().unwrap()).collect();
    assert_eq!(signs, ['❌', '✅', '❌', '✅'], "{said:#?}");
}

#[tokio::test]
async fn many_sensors_that_fall_silent_at_once_are_a_few_messages_and_one_that_lists_the_rest() {
    const SENSORS: usize = 50;
    let house = House::new().await;
    for number in 0..SENSORS {
        let name = format!("sensor {number}");
        house.says(&name, Some(&well(&name))).await;
    }
    house.round().await;
    house.minutes(10, &[]).await;
    let said = house.said(OWNER);
    let digests: Vec<&String> =
        said.iter().filter(|text| text.contains("too many for a message each")).collect();
    let told: usize = digests
        .iter()
        .map(|text| {
            let (count, _) =
                text.strip_prefix('❌').unwrap().split_once(" troubles and 0 recoveries since 2026").unwrap();
            count.parse::<usize>().unwrap()
        })
        .sum();
    assert_eq!(told + said.len() - digests.len(), SENSORS, "{said:#?}");
    assert!(digests.len() == 1 && said.len() <= 21, "{said:#?}");
    assert!(digests[0].contains(" : no heartbeat for 3 min"), "{}", digests[0]);
}

#[tokio::test]
async fn whoever_asks_is_told_how_the_sensors_are() {
    let house = House::new().await;
    assert_eq!(house.status().await["sensors"], json!([]));
    house.minutes(5, &[&|| well("hallway")]).await;
    pass(12 * SECOND_MS);
    let said = house.asks(OWNER, "/status").await;
    let well_again = "\n✅ The sensor is well\n📡 hallway : heard 12 s ago, version 0.1.0, up 5 min\n\
        \twlan1 on channels 1, 6, 11, 250 ms each : 12345 frames, 678 probe requests, 0 dropped\n\
        \tSpool : nothing waits, 0 MB\n\tClock : synchronized\n";
    assert!(said.contains(well_again), "{said}");

    let trouble = || {
        but("attic", |heartbeat| {
            heartbeat.interfaces[0].is_listening = false;
            heartbeat.interfaces[0].dropped_by_kernel = 7;
            heartbeat.spool.waiting = 3;
            heartbeat.spool.oldest_s = 20;
            heartbeat.spool.bytes = 4_000_000;
            heartbeat.clock = Clock::Unsynchronized;
            heartbeat.held = 9;
        })
    };
    house.minutes(5, &[&|| well("hallway"), &trouble]).await;
    let said = house.asks(MEMBER, "/status").await;
    assert!(said.contains("\n❌ 1 of 2 sensors have trouble\n📡 attic : heard 0 s ago"), "{said}");
    for told in [
        "\n\twlan1 (not listening) on channels 1, 6, 11, 250 ms each : 12345 frames, 678 probe requests, 7 dropped",
        "\n\tSpool : 3 records for Kafka, the oldest for 20 s, 4 MB",
        "\n\tClock : not synchronized, frames are held until it is (9 held)",
        "\n\t❌ no frames are taken from wlan1: it does not listen",
        "\n📡 hallway : heard 0 s ago",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    let status = house.status().await;
    let (attic, hallway) = (&status["sensors"][0], &status["sensors"][1]);
    assert_eq!((&attic["sensor"], &attic["is_well"]), (&json!("attic"), &json!(false)));
    assert_eq!(attic["heard"], "2026-11-24T22:10:12.000Z");
    assert_eq!(attic["heartbeat"]["interfaces"][0]["dropped_by_kernel"], 7);
    let condition = json!({"kind": "interface:wlan1", "reason": "no frames are taken from wlan1: it does not listen",
        "since": "2026-11-24T22:06:12.000Z"});
    assert_eq!(attic["conditions"], json!([condition]));
    assert_eq!((&hallway["is_well"], &hallway["conditions"]), (&json!(true), &json!([])));
    assert_eq!(status["conditions"], json!([]));

    // however many there are, the answer is one message
    for number in 0..100 {
        let name = format!("{number:☕>60}");
        let heartbeat = but(&name, |heartbeat| {
            let trouble = |number| Trouble { kind: format!("kind {number}"), reason: "🎉".repeat(300) };
            heartbeat.troubles = (0..20).map(trouble).collect();
            heartbeat.interfaces = vec![heartbeat.interfaces[0].clone(); 20];
        });
        house.says(&name, Some(&heartbeat)).await;
    }
    let said = house.asks(OWNER, "/status").await;
    assert!(telegram::limit::units(&said) <= 4_096 && said.contains(" more sensors\n"), "{said}");
}

#[test]
fn overlapping_rounds_that_die_or_are_cut_off_say_everything_and_nothing_twice() {
    let outcomes = schedules::run(60, |seed| {
        NOW_MS.set(BEGIN_MS);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, async { Schedule::new(seed).await.play().await })
    });
    let sum = outcomes.iter().fold(Counts::default(), |sum, counts| Counts {
        notices: sum.notices + counts.notices,
        overlaps: sum.overlaps + counts.overlaps,
        deaths: sum.deaths + counts.deaths,
        doubled: sum.doubled + counts.doubled,
    });
    eprintln!("{sum:?}");
    if outcomes.len() >= 60 {
        assert!(sum.notices > 200 && sum.overlaps > 250 && sum.deaths > 20, "{sum:?}");
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    notices: usize,
    overlaps: usize,
    deaths: usize,
    doubled: usize,
}

/// Rounds that overlap, each of whose requests is answered when the schedule wants.
struct Schedule {
    random: Rng,
    table: ScheduledTable,
    context: Rc<alert::Context>,
    calls: UnboundedReceiver<Call>,
    waiting_calls: Vec<Call>,
    rounds: Vec<JoinHandle<bool>>,
    said: Vec<String>,
    offset: i64,
    /// So many messages may have come twice.
    excuses: usize,
    /// Whether anything goes wrong at all.
    is_rough: bool,
    counts: Counts,
}

impl Schedule {
    async fn new(seed: u64) -> Self {
        let table = ScheduledTable::new(Embedded::open(None, &Template::read().unwrap()).unwrap());
        let (sender, calls) = unbounded_channel::<Call>();
        let telegram = Bot::ready(Client::in_process(sender));
        let context = alert::Context {
            table: table.scheduled(),
            group: "alert".to_owned(),
            post: Post::new(table.scheduled(), TimeZone::UTC, now_ms, telegram),
            watchdog: Watchdog::of("aggregate"),
            max_age_ms: DAY_MS,
            now_ms,
        };
        for chat in [OWNER, SECOND_OWNER] {
            chats::allow(&table.direct(), chat, Role::Owner, None, BEGIN_MS).await.unwrap();
        }
        Self {
            random: Rng::with_seed(seed),
            table,
            context: Rc::new(context),
            calls,
            waiting_calls: Vec::new(),
            rounds: Vec::new(),
            said: Vec::new(),
            offset: 0,
            excuses: 0,
            is_rough: seed % 2 == 1,
            counts: Counts::default(),
        }
    }

    async fn play(mut self) -> Result<Counts, String> {
        for _step in 0..self.random.usize(100..250) {
            self.settle().await;
            match self.random.u32(..100) {
                0..12 => self.beat().await,
                12..22 => {
                    let later = [SECOND_MS, 20 * SECOND_MS, MINUTE_MS, 4 * MINUTE_MS];
                    let later = *self.random.choice(later.as_slice()).unwrap();
                    self.later(later).await;
                }
                22..34 => self.begin_round(),
                34..36 if self.is_rough && !self.rounds.is_empty() => {
                    // whatever it has sent and not noted may come again
                    self.rounds.swap_remove(self.random.usize(..self.rounds.len())).abort();
                    self.excuses += 2;
                    self.counts.deaths += 1;
                }
                36..50 => self.answer_a_call(),
                _ => {
                    for _ in 0..self.random.usize(1..12) {
                        self.answer_a_request();
                        self.settle().await;
                    }
                }
            }
        }
        // no more trouble: all is well, then the sensor falls silent for good, then it comes back
        self.is_rough = false;
        for (minutes, is_heard) in [(5, true), (8, false), (15, true)] {
            for _minute in 0..minutes {
                self.finish().await?;
                self.later(MINUTE_MS).await;
                if is_heard {
                    self.beat().await;
                }
                self.begin_round();
            }
            self.finish().await?;
        }
        self.compare().await?;
        Ok(self.counts)
    }

    /// The sensor is heard, and perhaps listens.
    async fn beat(&mut self) {
        let is_down = self.is_rough && self.random.u32(..3) == 0;
        let heartbeat = but("hallway", |heartbeat| heartbeat.interfaces[0].is_listening = !is_down);
        let told = Told {
            offset: self.offset,
            timestamp: now_ms(),
            sensor: "hallway".to_owned(),
            heartbeat: Some(heartbeat),
        };
        self.offset += 1;
        let source = Source { topic: "sensors".to_owned(), life: 1, partition: 0 };
        sensors::absorb(&self.table.direct(), &source, &[told], now_ms()).await.unwrap();
    }

    async fn settle(&mut self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Ok(call) = self.calls.try_recv() {
            self.waiting_calls.push(call);
        }
        self.rounds.retain(|round| !round.is_finished());
    }

    /// Time passes. No invocation lives through more than a few seconds of it: what is under way is answered, or lost, before.
    async fn later(&mut self, ms: i64) {
        if ms > SECOND_MS {
            while !self.waiting_calls.is_empty() || self.table.waiting() > 0 {
                self.answer_a_call();
                self.answer_a_request();
                self.settle().await;
            }
        }
        pass(ms);
    }

    fn begin_round(&mut self) {
        if self.rounds.len() >= 3 {
            return;
        }
        self.counts.overlaps += usize::from(!self.rounds.is_empty());
        let event = RawValue::from_string(alert::handler::ROUND.to_owned()).unwrap();
        let context = Rc::clone(&self.context);
        let round = tokio::task::spawn_local(async move { alert::handle(&event, &context).await.is_ok() });
        self.rounds.push(round);
    }

    fn answer_a_call(&mut self) {
        if self.waiting_calls.is_empty() {
            return;
        }
        let call = self.waiting_calls.swap_remove(self.random.usize(..self.waiting_calls.len()));
        assert_eq!(call.method, "sendMessage");
        let text = call.parameters["text"].as_str().unwrap().to_owned();
        match self.random.u32(..12) {
            0 if self.is_rough => {
                self.said.push(text);
                self.excuses += 1;
                let source = "the connection was closed".into();
                drop(call.answer.send(Err(TelegramError::AnswerLost { method: "sendMessage", source })));
            }
            1 | 2 => {
                let retry_after = Duration::from_secs(self.random.u64(1..40));
                drop(call.answer.send(Err(TelegramError::TooManyRequests { retry_after })));
            }
            _ => {
                self.said.push(text);
                drop(call.answer.send(Ok(json!({"message_id": self.said.len()}))));
            }
        }
    }

    fn answer_a_request(&mut self) {
        let waiting = self.table.waiting();
        if waiting == 0 {
            return;
        }
        let fate = match self.random.u32(..40) {
            0 if self.is_rough => Fate::Lost,
            1 if self.is_rough => Fate::AnswerLost,
            2..8 => Fate::Stale,
            _ => Fate::Answered,
        };
        if matches!(fate, Fate::Lost | Fate::AnswerLost) {
            // of the note that a message was sent, perhaps
            self.excuses += 1;
        }
        let which = self.random.usize(..waiting);
        self.table.release(which, fate, &mut self.random);
    }

    /// Lets everybody come to an end.
    async fn finish(&mut self) -> Result<(), String> {
        for _ in 0..100_000 {
            self.settle().await;
            if self.waiting_calls.is_empty() && self.table.waiting() == 0 && self.rounds.is_empty() {
                return Ok(());
            }
            self.answer_a_call();
            self.answer_a_request();
        }
        Err("it does not come to an end".to_owned())
    }

    async fn compare(&mut self) -> Result<(), String> {
        let keys = self.table.partition_keys();
        let ids: Vec<MessageId> =
            keys.iter().filter_map(|key| MessageId::read(key.strip_prefix("MESSAGE#")?)).collect();
        let found = messages::find(&self.table.direct(), &ids).await.unwrap();
        let mut by_kind: BTreeMap<(i64, String), Vec<(Notice, News)>> = BTreeMap::new();
        let mut sent = 0;
        for message in found {
            match (&message.state, &message.content) {
                (State::Sent { .. }, Content::Notice(notice)) => {
                    sent += 1;
                    let news = if notice.well_since.is_some() { News::Ended } else { News::Began };
                    let of_kind = by_kind.entry((message.chat, notice.kind.clone())).or_default();
                    of_kind.push(((**notice).clone(), news));
                }
                (State::Sent { .. }, Content::Digest(_)) => sent += 1,
                (State::Digested(_), Content::Notice(notice)) => {
                    let news = if notice.well_since.is_some() { News::Ended } else { News::Began };
                    let of_kind = by_kind.entry((message.chat, notice.kind.clone())).or_default();
                    of_kind.push(((**notice).clone(), news));
                }
                other => return Err(format!("not sent: {other:?}")),
            }
        }
        let said = self.said.len();
        self.counts.doubled += said.saturating_sub(sent);
        if said < sent || said > sent + self.excuses {
            let said = &self.said;
            return Err(format!(
                "{sent} messages, said {} times, {} excused: {said:#?}",
                said.len(),
                self.excuses
            ));
        }
        let mut lasts = BTreeSet::new();
        for ((chat, kind), mut notices) in by_kind {
            self.counts.notices += notices.len();
            notices.sort_by_key(|(notice, news)| (notice.since, *news == News::Ended));
            let mut before = i64::MIN;
            for pair in notices.chunks(2) {
                let [(began, News::Began), (ended, News::Ended)] = pair else {
                    return Err(format!("{kind} in {chat}: each begins once and ends once: {notices:#?}"));
                };
                let well_since = ended.well_since.unwrap();
                if began.since != ended.since || began.since < before || well_since < began.since {
                    return Err(format!("{kind} in {chat}: {notices:#?}"));
                }
                before = well_since - 10 * MINUTE_MS; // silence is dated back to the last heartbeat
                if kind == "heartbeat" {
                    lasts.insert((chat, began.since));
                }
            }
        }
        // the silence at the end is one that everybody hears of
        let last = lasts.iter().map(|(_, since)| *since).max();
        let told =
            [OWNER, SECOND_OWNER].iter().all(|chat| last.is_some_and(|last| lasts.contains(&(*chat, last))));
        let in_the_end = now_ms() - 60 * MINUTE_MS;
        match last {
            Some(last) if told && last > in_the_end => Ok(()),
            _ => Err(format!("the silence at the end is not told: {lasts:?}, now {}", now_ms())),
        }
    }
}

#[test]
fn a_household_without_kafka_is_told_by_its_spool() {
    let data = TempDir::new().unwrap();
    let retention = SpoolRetention {
        bytes: 1 << 30,
        age: Duration::from_secs(24 * 60 * 60),
        when_full: WhenFull::Refuse,
    };
    let mut spool = Spool::open(data.path(), retention).unwrap();
    let bot = alerting::Bot::start(&[(OWNER, Kind::Private)]);
    let options = ["--data", data.path().to_str().unwrap(), "--time-zone", "Europe/London"];
    let mut local = Local::start(bot.of(&mut local::command(options)));
    bot.claim(&mut local, OWNER);
    let silent = heartbeat::encode(&but("hallway", |heartbeat| heartbeat.interfaces[0].silent_s = 400));
    spool.write(|writes| writes.append(SENSORS, Some(b"hallway"), &silent)).unwrap();
    let told = "❌Sensor hallway: wlan1 is up and gave no frame for 6 min on channels 1, 6, 11";
    until(PATIENCE, "word of the sensor", || {
        let messages = bot.telegram.messages(OWNER);
        messages.iter().any(|message| message.text == told).then_some(())
    });
    let status = local.status();
    assert_eq!(status["sensors"][0]["sensor"], "hallway", "{status}");
    assert_eq!(status["sensors"][0]["conditions"][0]["kind"], "interface:wlan1", "{status}");
    let said = bot.ask(OWNER, "/status");
    assert!(said.contains("❌ The sensor has trouble") && said.contains("📡 hallway : heard"), "{said}");
}
