//! Alerts from a real Kafka to a chat: told at once, once, with the reason, and quiet after that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use domain::Mac;
use fastrand::Rng;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use probegram_tests::alerting::{Bot, PATIENCE, keyed, listed, of_2020, of_agent, wait_until_dealt_with};
use probegram_tests::dynamodb::{Dynamodb, TABLE};
use probegram_tests::kafka::{Kafka, NewRecord};
use probegram_tests::lambda::ENVIRONMENT;
use probegram_tests::local::{self, Local};
use probegram_tests::telegram::{Kind, Message};
use probegram_tests::until;
use tokio::runtime::Runtime;

const OWNER: i64 = 12_345;
const GROUP: i64 = -431_366_401;
const PCAP: &str = "pcap";
const LIST: &str = "ssid_alert_list";
const GUEST: &str = "RNM-GUEST";
const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The phone of the article.
const PHONE: Mac = Mac::new([0x78, 0x67, 0xd7, 0x48, 0xe5, 0xc7]);

/// A device with an address of its maker's.
fn device(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    Mac::new([0xa4, 0x83, 0xe7, 0, high, low])
}

/// A phone that hides behind a random address.
fn passing(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    Mac::new([0x62, 0x45, 0xb6, 0, high, low])
}

fn now_ms() -> i64 {
    runtime::clock::now_ms()
}

fn on(kafka: &Kafka) -> Command {
    local::command(["--bootstrap-servers", &kafka.bootstrap_servers(), "--time-zone", "Europe/London"])
}

fn with_topics() -> Option<Kafka> {
    let kafka = Kafka::start()?;
    kafka.create_topic(PCAP, 3);
    kafka.create_topic(LIST, 1);
    Some(kafka)
}

/// A DynamoDB whose items a test may look at, and the installation that has it.
struct Table {
    dynamodb: Dynamodb,
    _runtime: Runtime,
}

impl Table {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { dynamodb: Dynamodb::start(runtime.handle()), _runtime: runtime }
    }

    fn of<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.args(["--dynamodb-endpoint", self.dynamodb.endpoint(), "--table", TABLE]).envs(ENVIRONMENT)
    }

    /// How many probe requests each episode counts, by device.
    fn episodes(&self) -> BTreeMap<String, u64> {
        let items = self.dynamodb.items("EPISODE#");
        items.into_iter().map(|((_, who), item)| (who, item["count"].parse().unwrap())).collect()
    }
}

#[test]
fn a_network_of_the_topic_is_told_with_its_reason_until_the_topic_or_the_chat_says_no() {
    let Some(kafka) = with_topics() else { return };
    let bot = Bot::start(&[(OWNER, Kind::Private)]);
    let mut local = Local::start(bot.of(on(&kafka).arg("--in-memory")));
    bot.claim(&mut local, OWNER);
    let (mut lists, mut probes) = (0, 0);
    let mut list = |reason| {
        kafka.produce_records(LIST, &[listed(GUEST, reason)]);
        lists += 1;
        wait_until_dealt_with(&local, LIST, lists);
    };
    let mut hear = |mac, value| {
        kafka.produce_records(PCAP, &[keyed(mac, None, value)]);
        probes += 1;
        wait_until_dealt_with(&local, PCAP, probes);
        bot.alerts(OWNER).len()
    };

    list(Some("guest network"));
    let heard = now_ms() - 1_000;
    assert_eq!(hear(PHONE, of_2020(PHONE, heard, GUEST)), 1, "{}", local.program.stderr());
    let zone = TimeZone::get("Europe/London").unwrap();
    let heard = Timestamp::from_millisecond(heard).unwrap().to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %Z");
    assert_eq!(
        bot.alerts(OWNER)[0].text,
        format!(
            "📣 At {heard} MAC address 78:67:d7:48:e5:c7 probed for SSID RNM-GUEST\n\n\
             This SSID is being tracked because: guest network\nmade by Apple, Inc."
        )
    );
    assert_eq!(hear(device(1), of_agent(device(1), now_ms(), GUEST)), 2);
    let second = &bot.alerts(OWNER)[1].text;
    assert!(second.contains(" MAC address a4:83:e7:00:00:01 probed for SSID RNM-GUEST\n\n"), "{second}");
    assert!(second.contains("tracked because: guest network\n-60 dBm at hallway"), "{second}");
    assert_eq!(hear(device(2), of_agent(device(2), now_ms(), "OTHER")), 2, "another network");

    list(Some("who is this?"));
    assert_eq!(hear(device(3), of_2020(device(3), now_ms(), GUEST)), 3);
    let third = &bot.alerts(OWNER)[2].text;
    assert!(third.contains("This SSID is being tracked because: who is this?"), "{third}");

    let said = bot.ask(OWNER, "/unwatch RNM-GUEST");
    assert!(said.contains("switched off for this chat"), "{said}");
    assert_eq!(hear(device(4), of_agent(device(4), now_ms(), GUEST)), 3, "the chat said no");
    let said = bot.ask(OWNER, "/watch RNM-GUEST");
    assert!(said.contains("Watching again"), "{said}");
    assert_eq!(hear(device(5), of_agent(device(5), now_ms(), GUEST)), 4, "and yes again");

    list(None);
    assert_eq!(hear(device(6), of_agent(device(6), now_ms(), GUEST)), 4, "the topic says no");
    let said = bot.ask(OWNER, "/watches");
    assert!(said.contains("Nothing is watched"), "{said}");
    list(Some("back again"));
    assert_eq!(hear(device(7), of_agent(device(7), now_ms(), GUEST)), 5);
}

#[test]
fn what_a_new_installation_finds_in_the_topic_is_not_told_one_by_one() {
    const OLD: u16 = 2_000;
    let Some(kafka) = with_topics() else { return };
    let now = now_ms();
    let list = NewRecord { timestamp: Some(now - 4 * DAY_MS), ..listed(GUEST, Some("guest network")) };
    kafka.produce_records(LIST, &[list]);
    let mut random = Rng::with_seed(5);
    let old: Vec<NewRecord> = (0..OLD)
        .map(|number| {
            let back = if number % 20 == 0 { 3 * DAY_MS } else { 0 };
            let time = now - back - random.i64(1_000..DAY_MS);
            let mac = if number % 3 == 0 { passing(number) } else { device(number % 150) };
            keyed(mac, Some(time), of_agent(mac, time, GUEST))
        })
        .collect();
    kafka.produce_records(PCAP, &old);

    let bot = Bot::start(&[(OWNER, Kind::Private)]);
    let mut local = Local::start(bot.of(on(&kafka).arg("--in-memory")));
    // while it reads
    bot.claim(&mut local, OWNER);
    wait_until_dealt_with(&local, LIST, 1);
    wait_until_dealt_with(&local, PCAP, i64::from(OLD));
    local.wait_until_caught_up(i64::from(OLD));

    kafka.produce_records(PCAP, &[keyed(PHONE, None, of_agent(PHONE, now_ms(), GUEST))]);
    let alert = bot.alert_about(OWNER, PHONE);
    assert!(alert.text.contains("tracked because: guest network"), "{}", alert.text);
    let told = bot.alerts(OWNER);
    assert!(told.len() <= 2, "{} messages beside the new one: {:#?}", told.len() - 1, texts(&told));
}

#[test]
fn five_hundred_random_addresses_are_one_episode_that_is_edited() {
    const PHONES: u16 = 500;
    let Some(kafka) = with_topics() else { return };
    let table = Table::start();
    let bot = Bot::start(&[(OWNER, Kind::Private)]);
    let mut local = Local::start(bot.of(table.of(&mut on(&kafka))));
    bot.claim(&mut local, OWNER);
    bot.ask(OWNER, "/watch RNM-GUEST guest network");

    in_a_minute(&kafka, &local, PHONES, passing);
    assert_eq!(table.episodes(), BTreeMap::from([("PASSING".to_owned(), u64::from(PHONES))]));
    let told = until(PATIENCE, "the number of phones", || {
        bot.alerts(OWNER)
            .into_iter()
            .find(|message| message.text.contains("500 passing phones probed for SSID"))
    });
    assert!(told.text.contains("\n500 probes of 500 passing phones until "), "{}", told.text);
    assert_eq!(bot.alerts(OWNER).len(), 1, "{:#?}", texts(&bot.alerts(OWNER)));
    assert!(told.edits <= 5, "edited {} times: {:#?}", told.edits, told.texts);
}

#[test]
fn five_hundred_devices_are_a_few_messages_and_one_digest() {
    const DEVICES: u16 = 500;
    const MOST_A_MINUTE: usize = 10;
    let Some(kafka) = with_topics() else { return };
    let table = Table::start();
    let bot = Bot::start(&[(GROUP, Kind::Group)]);
    bot.telegram.limit_rate(20, Duration::from_secs(60));
    let mut local = Local::start(bot.of(table.of(&mut on(&kafka))));
    bot.claim(&mut local, GROUP);
    bot.ask(GROUP, "/watch RNM-GUEST guest network");

    let begin_ms = now_ms();
    in_a_minute(&kafka, &local, DEVICES, device);
    assert_eq!(table.episodes().len(), usize::from(DEVICES));
    let told = until(PATIENCE, "word of all devices", || {
        let told = bot.alerts(GROUP);
        (devices_told(&told) >= usize::from(DEVICES)).then_some(told)
    });
    assert_eq!(devices_told(&told), usize::from(DEVICES), "{:#?}", texts(&told));
    let (digests, single): (Vec<_>, Vec<_>) = told.iter().partition(|message| digested(message) > 0);
    // as many a minute, however long the machine takes from the outbox to Telegram
    let began = begin_ms / 1_000;
    let last = single.iter().map(|message| message.date).max().unwrap();
    let minutes = usize::try_from((last - began) / 60).unwrap() + 1;
    assert!(
        single.len() <= MOST_A_MINUTE * minutes,
        "{} in {minutes} min: {:#?}",
        single.len(),
        texts(&told)
    );
    // a second one when some were on their way while the first was put together
    assert!((1..=2).contains(&digests.len()), "{:#?}", texts(&told));
    let text = &digests[0].text;
    let devices = digested(digests[0]);
    assert!(devices >= usize::from(DEVICES) - 4 * MOST_A_MINUTE, "{text}");
    assert!(
        text.contains(&format!("\n\tRNM-GUEST : {devices} devices, {devices} probes (guest network)")),
        "{text}"
    );
    // what the chat has is noted a moment later
    until(PATIENCE, "every message to be noted", || {
        let messages = table.dynamodb.items("MESSAGE#");
        (!messages.values().any(|item| item["state"] == "pending")).then_some(())
    });
}

/// Lets so many devices look for the network in the last minute, in batches of many sizes, each of which is dealt with before the
/// next comes.
fn in_a_minute(kafka: &Kafka, local: &Local, devices: u16, mac: impl Fn(u16) -> Mac) {
    let begin = now_ms() - MINUTE_MS;
    let mut random = Rng::with_seed(5);
    let mut sent = 0;
    while sent < devices {
        let until = devices.min(sent + random.u16(1..80));
        let records: Vec<NewRecord> = (sent..until)
            .map(|number| {
                let time = begin + i64::from(number) * MINUTE_MS / i64::from(devices);
                keyed(mac(number), None, of_agent(mac(number), time, GUEST))
            })
            .collect();
        kafka.produce_records(PCAP, &records);
        sent = until;
        wait_until_dealt_with(local, PCAP, i64::from(sent));
    }
}

/// Texts of messages, with the seconds in which they were sent.
fn texts<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Vec<(i64, &'a str)> {
    messages.into_iter().map(|message| (message.date, message.text.as_str())).collect()
}

/// Of how many devices a digest tells, 0 if it is none.
fn digested(message: &Message) -> usize {
    let devices =
        message.text.strip_prefix("📣 ").unwrap().split_once(" devices looked for watched networks");
    devices.map_or(0, |(devices, _)| devices.parse().unwrap())
}

/// Of how many devices messages tell.
fn devices_told(messages: &[Message]) -> usize {
    messages.iter().map(|message| digested(message).max(1)).sum()
}

#[test]
fn quiet_hours_are_silent_and_late_records_say_so_or_nothing() {
    let Some(kafka) = with_topics() else { return };
    let bot = Bot::start(&[(OWNER, Kind::Private)]);
    let mut local = Local::start(bot.of(on(&kafka).arg("--in-memory")));
    bot.claim(&mut local, OWNER);
    bot.ask(OWNER, "/watch RNM-GUEST guest network");
    let mut probes = 0;
    let mut hear = |mac, age_ms| {
        kafka.produce_records(PCAP, &[keyed(mac, None, of_agent(mac, now_ms() - age_ms, GUEST))]);
        probes += 1;
        wait_until_dealt_with(&local, PCAP, probes);
    };

    let zone = TimeZone::get("America/New_York").unwrap();
    bot.ask(OWNER, "/timezone America/New_York");
    let hours = |from: i64, to: i64| {
        let at = |hours: i64| {
            let time =
                Timestamp::from_millisecond(now_ms() + hours * HOUR_MS).unwrap().to_zoned(zone.clone());
            time.strftime("%H:%M").to_string()
        };
        format!("/quiet {}-{}", at(from), at(to))
    };
    let said = bot.ask(OWNER, &hours(-2, 2));
    assert!(said.contains("make no sound from"), "{said}");
    hear(device(1), 0);
    bot.ask(OWNER, &hours(2, 4));
    hear(device(2), 0);
    bot.ask(OWNER, &hours(2, -2));
    hear(device(3), 0);
    bot.ask(OWNER, "/quiet off");
    hear(device(4), 0);
    let silent: Vec<bool> = bot.alerts(OWNER).iter().map(|message| message.silent).collect();
    assert_eq!(silent, [true, false, false, false], "{}", local.program.stderr());

    hear(device(5), 20 * HOUR_MS + MINUTE_MS);
    hear(device(6), 30 * HOUR_MS);
    hear(device(7), 9 * MINUTE_MS);
    let told = bot.alerts(OWNER);
    assert_eq!(told.len(), 6, "{:#?}", texts(&told));
    let (late, recent) = (&told[4].text, &told[5].text);
    assert!(
        late.contains(&device(5).to_string()) && late.contains("RNM-GUEST (late: seen 20 h ago)\n"),
        "{late}"
    );
    assert!(recent.contains(&device(7).to_string()) && !recent.contains("late"), "{recent}");
}

#[test]
fn ten_kills_lose_no_alert_and_double_none_that_was_noted() {
    const KILLS: usize = 10;
    const DEVICES: u16 = 20;
    const PROBES: usize = 10;
    let Some(kafka) = with_topics() else { return };
    let table = Table::start();
    // several chats, so that none has too many messages a minute
    let chats: Vec<i64> = (0..4).map(|number| OWNER + number).collect();
    let network = |number: u16| format!("RNM-{}", number % 4);
    let bot = Bot::start(&chats.iter().map(|chat| (*chat, Kind::Private)).collect::<Vec<_>>());
    let start = || Local::start(bot.of(table.of(&mut on(&kafka))));
    let mut local = start();
    bot.claim(&mut local, OWNER);
    for (number, chat) in (0..).zip(&chats) {
        if *chat != OWNER {
            bot.ask(OWNER, &format!("/allow {chat}"));
        }
        bot.ask(*chat, &format!("/watch {} guest network", network(number)));
    }

    let mut random = Rng::with_seed(5);
    let mut probes: Vec<u16> = (0..DEVICES).flat_map(|number| [number; PROBES]).collect();
    random.shuffle(&mut probes);
    // by message: how often it may come again, because somebody had it in hand when he was killed
    let mut excuses: BTreeMap<String, usize> = BTreeMap::new();
    for some in probes.chunks(probes.len() / KILLS) {
        let records: Vec<NewRecord> = some
            .iter()
            .map(|number| {
                keyed(device(*number), None, of_agent(device(*number), now_ms(), &network(*number)))
            })
            .collect();
        let (counted, told) = (counted(&table), messages(&bot, &chats).len());
        kafka.produce_records(PCAP, &records);
        // with some of it done, and seldom all
        let enough = random.u64(1..=records.len() as u64);
        until(PATIENCE, "a part of the work", || {
            let is_told = random.bool() && messages(&bot, &chats).len() > told;
            (is_told || counted + enough <= self::counted(&table)).then_some(())
        });
        local.program.kill();
        for ((pk, _), item) in table.dynamodb.items("MESSAGE#") {
            if item["state"] == "pending" && item.contains_key("lease") {
                *excuses.entry(pk.strip_prefix("MESSAGE#").unwrap().to_owned()).or_default() += 1;
            }
        }
        local = start();
    }
    wait_until_dealt_with(&local, PCAP, probes.len() as i64);

    let counts: Vec<u64> = table.episodes().into_values().collect();
    assert_eq!(counts, vec![PROBES as u64; usize::from(DEVICES)]);
    // each says in the end how many there were
    until(PATIENCE, "messages that tell of everything", || {
        let whole: BTreeSet<String> = messages(&bot, &chats)
            .into_iter()
            .filter(|(_, message)| message.text.contains("\n10 probes until "))
            .map(|(id, _)| id)
            .collect();
        (whole.len() == usize::from(DEVICES)).then_some(())
    });
    let told = messages(&bot, &chats);
    for number in 0..DEVICES {
        let of_device = told.iter().filter(|(_, message)| message.text.contains(&device(number).to_string()));
        let ids: Vec<&String> = of_device.map(|(id, _)| id).collect();
        let excused = excuses.get(ids[0]).copied().unwrap_or(0);
        assert!(
            ids.iter().all(|id| *id == ids[0]),
            "{} has two messages: {:#?}",
            device(number),
            texts(told.iter().map(|(_, message)| message))
        );
        assert!(
            ids.len() <= 1 + excused,
            "{} is told {} times, {excused} are excused",
            device(number),
            ids.len()
        );
    }
    assert!(
        !told.iter().any(|(_, message)| digested(message) > 0),
        "{:#?}",
        texts(told.iter().map(|(_, message)| message))
    );
}

/// How many probe requests the episodes of a table count.
fn counted(table: &Table) -> u64 {
    table.episodes().into_values().sum()
}

/// The alerts in chats, with their ids.
fn messages(bot: &Bot, chats: &[i64]) -> Vec<(String, Message)> {
    let id = |message: &Message| {
        let buttons = message.buttons();
        let data = buttons.into_iter().find_map(|(_, data)| data)?;
        Some(data.strip_prefix("mute:")?.to_owned())
    };
    let all = chats.iter().flat_map(|chat| bot.alerts(*chat));
    all.map(|message| (id(&message).unwrap_or_default(), message)).collect()
}
