//! What people and programs are told about devices that have names: by the documents of a UniFi controller, and by chats.
//!
//! The functions run in this process on an embedded table: records go through `materialize`, `aggregate` and `alert`, questions
//! through `bot`. The chats are those of the tests' Bot API server, which refuses what Telegram refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use bot::context::SecretHash;
use bot::status::Positions;
use delivery::{Post, Telegram as Bot};
use domain::ssid::is_unseen;
use domain::{Mac, SsidElement};
use http::{HeaderMap, HeaderValue, Method, Uri};
use jiff::tz::TimeZone;
use probegram::embedded::Embedded;
use probegram::http_api;
use probegram::template::Template;
use probegram_tests::alerting::of_agent;
use probegram_tests::local::{encoded, probe};
use probegram_tests::telegram::{Kind, Message, Telegram};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use state::Generation;
use state::chats::{self, Role};
use state::device::{self, Device};
use state::hooks::{self, Format};
use state::names::{self, MAX_GIVEN};
use state::tallies::Retention;
use telegram::Client;
use telegram::message::WebhookReply;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

const OWNER: i64 = 12_345;
const MEMBER: i64 = 99;
const GROUP: i64 = -431_366_401;
const SUPERGROUP: i64 = -1_001_234_567_890;
/// Two who are in the group.
const ROBIN: i64 = 501;
const KIM: i64 = 502;
/// 2026-10-10 18:21:00 UTC.
const BEGIN_MS: i64 = 1_791_656_460_000;
const MINUTE_MS: i64 = 60 * 1000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Of Apple.
const LAPTOP: Mac = Mac::new([0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15]);
/// Of Apple.
const PHONE: Mac = Mac::new([0x78, 0x67, 0xd7, 0x48, 0xe5, 0xc7]);
/// Of Samsung.
const TV: Mac = Mac::new([0x00, 0x16, 0x6c, 0x7e, 0xe1, 0xd2]);
/// Of a block that nobody has.
const NOBODYS: Mac = Mac::new([0xa4, 0, 0, 0, 0, 1]);
/// It has made it up.
const RANDOM: Mac = Mac::new([0x62, 0x45, 0xb6, 0xc6, 0x7e, 0x03]);

const USER: &str = "unifi.ace.user";
const DEVICE: &str = "unifi.ace.device";

/// What somebody has given a device for a name to see what becomes of it: it turns the writing direction, and holds what could pass
/// for marks, a mention, a command, a link, a line of ours.
const HOSTILE: &str =
    "\u{202e}</code>@someone /start https://evil.example\n\tProbe count    : 9\u{2028}\u{7}\u{0}*_`[x](y)";
/// What of it must not stand outside of marks.
const HOSTILE_PARTS: [&str; 6] = ["</code>", "@someone", "/start", "evil", "Probe count    : 9", "[x]"];

thread_local! {
    static NOW_MS: Cell<i64> = const { Cell::new(BEGIN_MS) };
}

fn now_ms() -> i64 {
    NOW_MS.get()
}

fn pass(ms: i64) {
    NOW_MS.set(now_ms() + ms);
}

/// A house with a controller, sensors, and the bot in its chats.
struct House {
    telegram: Telegram,
    client: Client,
    bot: bot::Context,
    materialize: materialize::Context,
    aggregate: aggregate::Context,
    alert: alert::Context,
    /// The end of each topic.
    ends: RefCell<BTreeMap<String, i64>>,
    /// The first update that the bot has not seen.
    next_update: Cell<i64>,
}

impl House {
    async fn new() -> Self {
        let table = Embedded::open(None, &Template::read().unwrap()).unwrap().table();
        let telegram = Telegram::start();
        for (chat, kind, role) in [
            (OWNER, Kind::Private, Role::Owner),
            (MEMBER, Kind::Private, Role::Member),
            (GROUP, Kind::Group, Role::Member),
        ] {
            telegram.add_chat(chat, kind);
            chats::allow(&table, chat, role, None, now_ms()).await.unwrap();
        }
        let client = Client::new(&telegram.url(), telegram.token().into()).unwrap();
        let post = Post::new(table.clone(), TimeZone::UTC, now_ms, Bot::ready(client.clone()));
        Self {
            telegram,
            client,
            bot: bot::Context {
                generation: Generation::of(table.clone()),
                post: post.clone(),
                table: table.clone(),
                aggregate_group: "aggregate".to_owned(),
                secrets: vec![SecretHash::of(b"secret")],
                time_zone: TimeZone::UTC,
                open_to_this_machine: true,
                positions: Positions::default(),
                now_ms,
            },
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
                table,
                group: "alert".to_owned(),
                post,
                watchdog: alert::Watchdog::of("aggregate"),
                max_age_ms: alert::Context::max_age_ms(24),
                now_ms,
            },
            ends: RefCell::default(),
            next_update: Cell::new(0),
        }
    }

    /// Records come in a topic.
    async fn consume(&self, topic: &str, records: &[(Option<Value>, Option<Vec<u8>>)]) {
        let base64 = |bytes: &[u8]| base64_simd::STANDARD.encode_to_string(bytes);
        let mut offset = self.ends.borrow().get(topic).copied().unwrap_or(0);
        let event: Vec<Value> = (offset..)
            .zip(records)
            .map(|(offset, (key, value))| {
                json!({"topic": topic, "partition": 0, "offset": offset, "timestamp": now_ms(),
                    "timestampType": "CREATE_TIME", "headers": [],
                    "key": key.as_ref().map(|key| base64(key.to_string().as_bytes())),
                    "value": value.as_deref().map(base64)})
            })
            .collect();
        offset += i64::try_from(records.len()).unwrap();
        self.ends.borrow_mut().insert(topic.to_owned(), offset);
        let event = to_raw_value(
            &json!({"eventSource": "SelfManagedKafka", "records": {format!("{topic}-0"): event}}),
        )
        .unwrap();
        if topic == "pcap" {
            let report = aggregate::handle(&event, &self.aggregate).await.unwrap();
            assert_eq!(report.folded, records.len() as u64, "{report:?}");
            alert::handle(&event, &self.alert).await.unwrap();
        } else {
            let report = materialize::handle(&event, &self.materialize).await.unwrap();
            assert_eq!((report.documents, report.quarantined), (records.len() as u64, 0), "{report:?}");
        }
    }

    /// Probe requests are heard now.
    async fn hears(&self, probes: &[(Mac, &str)]) {
        let records: Vec<_> =
            probes.iter().map(|(mac, ssid)| (None, Some(of_agent(*mac, now_ms(), ssid)))).collect();
        self.consume("pcap", &records).await;
    }

    /// A probe request that names no network is heard now.
    async fn hears_wildcard(&self, mac: Mac) {
        let record = encoded(&probe(mac, now_ms(), SsidElement::Wildcard));
        self.consume("pcap", &[(None, Some(record))]).await;
    }

    /// What is due in this minute is done.
    async fn round(&self) {
        let round = to_raw_value(&json!({"round": true})).unwrap();
        alert::handle(&round, &self.alert).await.unwrap();
    }

    /// A document of the controller is as follows, from now on: `c` for a new one, `u`, or `r` for what a snapshot found.
    async fn document(&self, op: &str, topic: &str, id: u32, mac: Mac, fields: Value) {
        self.documents(op, topic, &[(id, mac, fields)]).await;
    }

    async fn documents(&self, op: &str, topic: &str, documents: &[(u32, Mac, Value)]) {
        let end = self.ends.borrow().get(topic).copied().unwrap_or(0);
        let records: Vec<_> = (end..)
            .zip(documents)
            .map(|(order, (id, mac, fields))| {
                let mut after =
                    json!({"_id": object_id(*id), "mac": mac.to_string(), "last_seen": now_ms() / 1000});
                after.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
                (Some(key(*id)), Some(envelope(op, topic, Some(after), order)))
            })
            .collect();
        self.consume(topic, &records).await;
    }

    /// A client of the controller has a name.
    async fn client(&self, id: u32, mac: Mac, name: &str) {
        self.document("c", USER, id, mac, json!({"name": name})).await;
    }

    /// A document of the controller is gone: a deletion, and the tombstone that Debezium writes after it.
    async fn deletes(&self, topic: &str, id: u32) {
        let end = self.ends.borrow().get(topic).copied().unwrap_or(0);
        let deletion = envelope("d", topic, None, end);
        self.consume(topic, &[(Some(key(id)), Some(deletion)), (Some(key(id)), None)]).await;
    }

    /// Tells the bot what has happened in Telegram, and gives the message that it has written in a chat, if there is one more.
    async fn answer(&self, chat: i64) -> Option<Message> {
        let before = self.telegram.messages(chat).len();
        for update in self.client.updates(self.next_update.get()).await.unwrap() {
            self.next_update.set(update["update_id"].as_i64().unwrap() + 1);
            let mut headers = HeaderMap::new();
            headers.insert("x-telegram-bot-api-secret-token", HeaderValue::from_static("secret"));
            let (uri, body) = (Uri::from_static("/telegram"), update.to_string());
            let request = http_api::request(Method::POST, &uri, headers, body.as_bytes());
            let response = bot::handle(&request, &self.bot).await;
            assert_eq!(response.status_code, 200, "{update}");
            let reply = http_api::text(response);
            if !reply.is_empty() {
                let reply: WebhookReply = serde_json::from_str(&reply).unwrap();
                self.client.perform(&reply).await.unwrap_or_else(|why| panic!("{why}: {reply:?}"));
            }
        }
        let messages = self.telegram.messages(chat);
        assert!(messages.len() <= before + 1, "one answer: {messages:#?}");
        messages.iter().for_each(check);
        messages.get(before).cloned()
    }

    /// What answers a text.
    async fn asks(&self, chat: i64, text: &str) -> Message {
        self.telegram.somebody_says(chat, text);
        self.answer(chat).await.unwrap_or_else(|| panic!("no answer to {text}"))
    }

    async fn says(&self, chat: i64, text: &str) -> String {
        self.asks(chat, text).await.text
    }

    /// What answers a button of a message, if that is a message.
    async fn presses(&self, message: &Message, data: &str) -> Option<Message> {
        self.telegram.press(message.chat, message.message_id, data);
        self.answer(message.chat).await
    }

    /// What answers a reply to a message of the bot.
    async fn replies(&self, message: &Message, text: &str) -> Option<Message> {
        self.telegram.somebody_replies(message.chat, message.message_id, text);
        self.answer(message.chat).await
    }

    /// What a program is told.
    async fn get(&self, uri: &str) -> (i64, Value) {
        let request = http_api::request(Method::GET, &uri.parse().unwrap(), HeaderMap::new(), b"");
        let response = bot::handle(&request, &self.bot).await;
        let status = response.status_code;
        (status, serde_json::from_str(&http_api::text(response)).unwrap())
    }

    async fn json(&self, mac: Mac) -> Value {
        let (status, body) = self.get(&format!("/v1/devices/{mac}")).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The devices that a program finds, by their addresses, and how many more there are.
    async fn finds(&self, asked: &str) -> (Vec<String>, u64) {
        let (status, body) = self.find(asked).await;
        assert_eq!(status, 200, "{body}");
        (macs(&body["devices"]), body["more"].as_u64().unwrap())
    }

    async fn find(&self, asked: &str) -> (i64, Value) {
        let encoded: String = asked.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.get(&format!("/v1/devices?name={encoded}")).await
    }

    /// The names of a device as a program is told, each with its origin; none of one that is not known.
    async fn names(&self, mac: Mac) -> Vec<(String, String)> {
        let (status, body) = self.get(&format!("/v1/devices/{mac}")).await;
        if status == 404 {
            return Vec::new();
        }
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names = body["names"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|name| (text(&name["label"]), text(&name["origin"]))).collect();
        assert_eq!(
            body["name"].as_str(),
            names.first().map(|(label, _)| label.as_str()),
            "the best is first"
        );
        names
    }

    /// What the table has counted of a device.
    async fn tallies(&self, mac: Mac) -> (Option<Device>, impl PartialEq + std::fmt::Debug + use<>) {
        let table = &self.bot.table;
        let days = device::days(table, Generation::FIRST, mac, now_ms()).await.unwrap();
        (device::look_up(table, Generation::FIRST, mac, now_ms()).await.unwrap(), days)
    }

    fn alerts(&self, chat: i64) -> Vec<Message> {
        let messages = self.telegram.messages(chat);
        messages.iter().for_each(check);
        messages.into_iter().filter(|message| message.text.starts_with('📣')).collect()
    }
}

fn object_id(id: u32) -> Value {
    json!({"$oid": format!("{id:024x}")})
}

/// The key of a record of Debezium: <https://debezium.io/documentation/reference/stable/connectors/mongodb.html#mongodb-events>
fn key(id: u32) -> Value {
    json!({"id": object_id(id).to_string()})
}

/// The value of such a record.
fn envelope(op: &str, topic: &str, after: Option<Value>, order: i64) -> Vec<u8> {
    let snapshot = if op == "r" { "true" } else { "false" };
    let source = json!({"version": "3.3.1.Final", "connector": "mongodb", "name": "unifi", "ts_ms": now_ms() / 1000 * 1000,
        "snapshot": snapshot, "db": "ace", "collection": topic.rsplit('.').next(), "ord": order + 1});
    let after = after.map(|after| after.to_string());
    json!({"before": null, "after": after, "updateDescription": null, "source": source, "op": op, "ts_ms": now_ms(),
        "transaction": null})
    .to_string()
    .into_bytes()
}

fn macs(devices: &Value) -> Vec<String> {
    devices.as_array().unwrap().iter().map(|device| device["mac"].as_str().unwrap().to_owned()).collect()
}

/// Checks what holds of everything that the bot writes: what it did not make up itself stands in code marks, on one line, without
/// what shows nothing or turns the writing direction; and buttons are of the same kind.
fn check(message: &Message) {
    for entity in &message.entities {
        let is_whom_it_asks = entity["type"] == "text_mention" && message.asks_for_reply();
        assert!(entity["type"] == "code" || is_whom_it_asks, "{message:#?}");
    }
    assert!(message.text.encode_utf16().count() <= 4096);
    assert!(!marked(message).concat().contains(is_unseen), "{message:#?}");
    let is_odd = |character: char| is_unseen(character) && !"\n\t".contains(character);
    assert!(!unmarked(message).contains(is_odd), "{message:#?}");
    for part in HOSTILE_PARTS {
        assert!(!unmarked(message).contains(part), "{part} is outside of marks: {message:#?}");
    }
    for (label, _) in message.buttons() {
        assert!(!label.trim().is_empty() && !label.contains(is_unseen), "{message:#?}");
    }
}

/// The parts of a text in code marks.
fn marked(message: &Message) -> Vec<String> {
    let units: Vec<u16> = message.text.encode_utf16().collect();
    let codes = message.entities.iter().filter(|entity| entity["type"] == "code");
    codes.map(|entity| String::from_utf16(&units[range(entity)]).unwrap()).collect()
}

/// The rest of it.
fn unmarked(message: &Message) -> String {
    let mut units: Vec<u16> = message.text.encode_utf16().collect();
    for entity in message.entities.iter().rev().filter(|entity| entity["type"] == "code") {
        units.drain(range(entity));
    }
    String::from_utf16(&units).unwrap()
}

fn range(entity: &Value) -> std::ops::Range<usize> {
    let number = |name: &str| usize::try_from(entity[name].as_u64().unwrap()).unwrap();
    number("offset")..number("offset") + number("length")
}

/// What the buttons below a message send back.
fn data(message: &Message) -> Vec<String> {
    message.buttons().into_iter().map(|(_, data)| data.unwrap()).collect()
}

/// What the buttons for devices send back.
fn devices(message: &Message) -> Vec<String> {
    data(message).into_iter().filter(|data| data.starts_with("device:")).collect()
}

fn device_buttons(macs: &[Mac]) -> Vec<String> {
    macs.iter().map(|mac| format!("device:{mac}")).collect()
}

fn numbered(number: u8) -> Mac {
    Mac::new([0xa4, 0x83, 0xe7, 0, 0, number])
}

fn pairs(names: &[(&str, &str)]) -> Vec<(String, String)> {
    names.iter().map(|(label, origin)| ((*label).to_owned(), (*origin).to_owned())).collect()
}

/// All that is told of two devices, to people and to programs.
async fn all_answers(house: &House) -> Vec<String> {
    let mut answers = Vec::new();
    for question in [
        LAPTOP.to_string(),
        "/device kim's laptop".to_owned(),
        "laptop".to_owned(),
        "office".to_owned(),
        "39:15".to_owned(),
        PHONE.to_string(),
        "Kim's phone".to_owned(),
        "/ssid RNM0".to_owned(),
        "/ssid FULLERS".to_owned(),
        "/ignored".to_owned(),
    ] {
        let Message { text, entities, reply_markup, .. } = house.asks(MEMBER, &question).await;
        answers.push(format!("{question}: {text} {entities:?} {reply_markup:?}"));
    }
    for uri in [
        format!("/v1/devices/{LAPTOP}"),
        format!("/v1/devices/{PHONE}"),
        "/v1/devices?name=laptop".to_owned(),
        "/v1/devices?name=old".to_owned(),
        "/v1/ssids/RNM0".to_owned(),
    ] {
        answers.push(format!("{uri}: {:?}", house.get(&uri).await));
    }
    answers
}

#[tokio::test]
async fn names_before_between_and_after_the_probes_are_the_same_answers() {
    const PROBES: usize = 2;
    const NAMINGS: usize = 5;
    let mut first: Option<(u32, Vec<String>)> = None;
    for order in (0_u32..1 << (PROBES + NAMINGS)).filter(|order| order.count_ones() as usize == PROBES) {
        let house = House::new().await;
        house.says(MEMBER, &format!("/ignore {LAPTOP}")).await;
        let (mut probes, mut namings) = (0, 0);
        for step in 0..PROBES + NAMINGS {
            if order >> step & 1 == 1 {
                match probes {
                    0 => house.hears(&[(LAPTOP, "RNM0"), (PHONE, "RNM0"), (LAPTOP, "FULLERS")]).await,
                    _ => house.hears(&[(LAPTOP, "RNM0"), (PHONE, "skyclub")]).await,
                }
                probes += 1;
            } else {
                match namings {
                    0 => {
                        let old = json!({"name": "Kim's old laptop", "hostname": "kims-mbp"});
                        house.document("r", USER, 1, LAPTOP, old).await;
                    }
                    1 => house.client(2, PHONE, "Kim's phone").await,
                    2 => {
                        let new = json!({"name": "Kim's laptop", "hostname": "kims-mbp"});
                        house.document("u", USER, 1, LAPTOP, new).await;
                    }
                    3 => {
                        house.says(MEMBER, &format!("/name {LAPTOP} Office laptop")).await;
                    }
                    _ => house.deletes(USER, 2).await,
                }
                namings += 1;
            }
        }
        let answers = all_answers(&house).await;
        match &first {
            None => {
                let text = &answers[0];
                let told = "Wi-Fi probe stats for Office laptop\n\tEarliest probe : 2026-10-10 18:21:00 UTC\n\t\
                    Latest probe   : 2026-10-10 18:21:00 UTC\n\tProbe count    : 3\n\tUnique SSIDs   : 2 (RNM0, FULLERS)\n\t\
                    Any network    : 0\n\tMAC address    : a4:83:e7:4e:39:15 ";
                assert!(text.contains(told), "{text}");
                assert!(answers[5].contains("stats for 78:67:d7:48:e5:c7\n"), "{}", answers[5]);
                assert!(answers[6].contains("No result found for device Kim's phone"), "{}", answers[6]);
                first = Some((order, answers));
            }
            Some((of, first)) => assert_eq!(&answers, first, "{order:b} and {of:b}"),
        }
    }
}

#[tokio::test]
async fn a_rename_and_a_deletion_show_at_the_next_question_and_change_nothing_that_was_counted() {
    let house = House::new().await;
    house.hears(&[(LAPTOP, "RNM0"), (LAPTOP, "FULLERS")]).await;
    pass(DAY_MS);
    house.hears(&[(LAPTOP, "RNM0")]).await;
    let counted = house.tallies(LAPTOP).await;
    let (_, before) = house.get("/v1/status").await;
    let name = async || {
        let text = house.says(MEMBER, &LAPTOP.to_string()).await;
        let first = text.lines().next().unwrap().to_owned();
        let name = house.json(LAPTOP).await["name"].clone();
        let lines = house.says(MEMBER, "/ssid RNM0").await;
        (first, name, lines.lines().nth(1).unwrap().split(" : ").next().unwrap().to_owned())
    };
    let unnamed =
        (format!("📡 Wi-Fi probe stats for {LAPTOP}"), Value::Null, format!("\t{LAPTOP} (Apple, Inc.)"));
    let named = |name: &str| {
        (format!("📡 Wi-Fi probe stats for {name}"), json!(name), format!("\t{name} ({LAPTOP})"))
    };
    assert_eq!(name().await, unnamed);
    house.client(1, LAPTOP, "Robin's laptop").await;
    assert_eq!(name().await, named("Robin's laptop"));
    house.document("u", USER, 1, LAPTOP, json!({"name": "Kim's laptop"})).await;
    assert_eq!(name().await, named("Kim's laptop"));
    assert!(
        house.says(MEMBER, "robin's laptop").await.contains("No result found"),
        "nobody is called so now"
    );
    house.document("u", USER, 1, LAPTOP, json!({"name": "", "hostname": "mbp"})).await;
    assert_eq!(name().await, named("mbp"), "an empty name is none");
    // the document is of another device from now on
    house.document("u", USER, 1, PHONE, json!({"name": "Kim's laptop"})).await;
    assert_eq!(name().await, unnamed);
    house.document("u", USER, 1, LAPTOP, json!({"name": "Kim's laptop"})).await;
    assert_eq!(name().await, named("Kim's laptop"));
    house.says(MEMBER, &format!("/name {LAPTOP} Mine")).await;
    assert_eq!(name().await, named("Mine"));
    house.says(MEMBER, &format!("/name {LAPTOP}")).await;
    house.deletes(USER, 1).await;
    assert_eq!(name().await, unnamed);
    assert!(house.says(MEMBER, "laptop").await.contains("No result found"));

    assert_eq!(house.tallies(LAPTOP).await, counted);
    assert_eq!(house.tallies(PHONE).await.0, None);
    assert_eq!(house.get("/v1/status").await.1, before);
}

#[tokio::test]
async fn a_device_is_found_by_its_name_and_by_a_part_of_it_or_of_its_address_in_any_spelling() {
    let house = House::new().await;
    house
        .document("c", USER, 1, LAPTOP, json!({"name": "Zoë’s Küchen  Laptop", "hostname": "zoes-mbp"}))
        .await;
    house.client(2, PHONE, "Sam's phone").await;
    pass(-3 * DAY_MS);
    house.hears(&[(NOBODYS, "RNM0")]).await;
    pass(2 * DAY_MS);
    house.hears(&[(TV, "RNM0")]).await;
    pass(DAY_MS);
    house.hears(&[(LAPTOP, "RNM0"), (RANDOM, "RNM0")]).await;

    let answer = house.asks(MEMBER, &LAPTOP.to_string()).await;
    assert!(
        answer.text.starts_with("📡 Wi-Fi probe stats for Zoë’s Küchen  Laptop (zoes-mbp)\n"),
        "{answer:?}"
    );
    assert_eq!(data(&answer), [format!("name:{LAPTOP}")]);
    for asked in [
        "Zoë’s Küchen  Laptop (zoes-mbp)",
        "zoë’s küchen laptop (ZOES-MBP)",
        "laptop",
        "LAPTOP",
        "Zoe\u{308}",
        "ku\u{308}chen",
        "KÜCHEN\u{a0} \tLaptop",
        "ｌａｐｔｏｐ",
        "küchen\u{200b}\u{202e} laptop",
        "zoes-mbp",
        "s-mb",
        "Laptop (zoes",
        "a4:83:e7:4e:39:15",
        "A4-83-E7-4E-39-15",
        "a483.e74e.3915",
        "A483E74E3915",
        "e7:4e",
        "4E-39-15",
        "e74e.39",
        "E74E",
        "3:9:1:5",
    ] {
        for text in [asked.to_owned(), format!("/device {asked}"), format!("/DEVICE@probegram_bot  {asked} ")]
        {
            let told = house.asks(MEMBER, &text).await;
            let same = (&told.text, data(&told)) == (&answer.text, data(&answer));
            assert!(same, "{text}: {}", told.text);
        }
        if asked.parse::<Mac>().is_err() {
            assert_eq!(house.finds(asked).await, (vec![LAPTOP.to_string()], 0), "{asked}");
        }
    }
    // those without a name are found by their address if they were heard today or yesterday
    for (asked, mac) in [("62:45:b6", RANDOM), ("7E-03", RANDOM), ("00166c", TV), ("E1D2", TV)] {
        let told = house.says(MEMBER, asked).await;
        assert!(told.starts_with(&format!("📡 Wi-Fi probe stats for {mac}\n")), "{asked}: {told}");
        assert_eq!(house.finds(asked).await, (vec![mac.to_string()], 0), "{asked}");
    }
    for nothing in ["a4:00:00", "39:1", "e7", "4e;39;15", "sony-vaio", "\u{200b}", "\u{202e}\u{2060}"] {
        let told = house.asks(MEMBER, nothing).await;
        assert!(told.text.starts_with("🛎 No result found for device "), "{nothing:?}: {}", told.text);
        assert_eq!(data(&told), [""; 0]);
    }
    assert!(house.says(MEMBER, &NOBODYS.to_string()).await.contains("Probe count    : 1\n"));
}

#[tokio::test]
async fn several_hits_are_buttons_and_each_answers_with_its_device() {
    let house = House::new().await;
    house.client(1, LAPTOP, "Kim's Laptop").await;
    house.client(2, PHONE, "Kim's phone").await;
    house.client(3, TV, "Kim's phone").await;
    house.client(4, NOBODYS, "Akim's phone").await;
    house.client(5, RANDOM, "Printer").await;
    house.hears(&[(LAPTOP, "RNM0"), (TV, "RNM0"), (numbered(1), "RNM0")]).await;

    let told = house.asks(MEMBER, "KIM").await;
    let text = "🔎 4 devices have KIM in their name or address. Which one?\n\tKim's Laptop (a4:83:e7:4e:39:15)\n\t\
        Kim's phone (00:16:6c:7e:e1:d2)\n\tKim's phone (78:67:d7:48:e5:c7)\n\tAkim's phone (a4:00:00:00:00:01)";
    assert_eq!(told.text, text, "those that begin so first");
    let expected = [
        ("Kim's Laptop", LAPTOP),
        ("Kim's phone …e1:d2", TV),
        ("Kim's phone …e5:c7", PHONE),
        ("Akim's phone", NOBODYS),
    ];
    let expected = expected.map(|(label, mac)| (label.to_owned(), Some(format!("device:{mac}"))));
    assert_eq!(told.buttons(), expected);
    let laptop = house.presses(&told, &format!("device:{LAPTOP}")).await.unwrap();
    assert_eq!(laptop.text, house.says(MEMBER, &LAPTOP.to_string()).await);
    assert!(laptop.text.starts_with("📡 Wi-Fi probe stats for Kim's Laptop\n"), "{laptop:?}");
    let unheard = house.presses(&told, &format!("device:{PHONE}")).await.unwrap();
    assert_eq!(unheard.text, format!("📡 Kim's phone was not heard yet.\n\tMAC address    : {PHONE}"));
    assert_eq!(house.telegram.answers().len(), 2, "each button is answered, too");
    assert!(house.telegram.answers().iter().all(|answer| answer.text.is_empty()));

    // in a group by a command, and whoever is there may press
    let told = house.asks(GROUP, "/device kim").await;
    house.telegram.user_presses(KIM, GROUP, told.message_id, &format!("device:{TV}"));
    let tv = house.answer(GROUP).await.unwrap();
    assert!(tv.text.starts_with("📡 Wi-Fi probe stats for Kim's phone\n"), "{tv:?}");

    // addresses among the names, with and without one
    let told = house.asks(MEMBER, "a4:83:e7").await;
    assert_eq!(devices(&told), device_buttons(&[numbered(1), LAPTOP]));
    assert_eq!(told.buttons()[0].0, "a4:83:e7:00:00:01");
    assert!(
        told.text.contains("\n\ta4:83:e7:00:00:01 (Apple, Inc.)\n\tKim's Laptop (a4:83:e7:4e:39:15)"),
        "{told:?}"
    );
}

#[tokio::test]
async fn of_many_hits_those_are_shown_that_have_room() {
    let house = House::new().await;
    let plug = |number: u8| (number.into(), numbered(number), json!({"name": format!("Plug {number:02}")}));
    house.documents("c", USER, &(0..12).map(plug).collect::<Vec<_>>()).await;
    let told = house.asks(MEMBER, "plug").await;
    let head = "🔎 12 devices have plug in their name or address. Which one? Or write more of it.";
    assert_eq!(told.text.lines().next(), Some(head));
    assert_eq!(told.text.lines().count(), 1 + 12);
    assert_eq!(devices(&told), device_buttons(&(0..10).map(numbered).collect::<Vec<_>>()));

    house.documents("c", USER, &(12..60).map(plug).collect::<Vec<_>>()).await;
    let told = house.asks(MEMBER, "plug").await;
    assert!(told.text.starts_with("🔎 60 devices have plug in their name"), "{told:?}");
    assert_eq!(told.text.lines().count(), 1 + 50 + 1);
    assert_eq!(told.text.lines().last(), Some("\tand 10 more"));
    assert_eq!(data(&told).len(), 10);
    let (found, more) = house.finds("plug").await;
    assert_eq!((found.len(), more), (50, 10));
    assert_eq!(
        house.finds("plug 59").await,
        (vec![numbered(59).to_string()], 0),
        "more of it finds the rest"
    );

    // names as long as they can be: the message is whole
    let long = |number: u8| {
        let name = format!("{}{number:03}", "📡 Lamp ".repeat(130));
        (100 + u32::from(number), numbered(number), json!({"name": name}))
    };
    house.documents("c", DEVICE, &(0..60).map(long).collect::<Vec<_>>()).await;
    let told = house.asks(MEMBER, "lamp").await;
    assert!(told.text.starts_with("🔎 60 devices") && data(&told).len() == 10, "{told:?}");
    let shown = told.text.matches("\n\t📡 Lamp").count();
    let more = told.text.lines().last().unwrap();
    assert!(shown < 50 && more == format!("\tand {} more", 60 - shown), "{shown} are shown, and: {more}");
}

#[tokio::test]
async fn who_mistypes_is_offered_the_nearest_names() {
    let house = House::new().await;
    house.client(1, LAPTOP, "Robin's Laptop").await;
    house.client(2, PHONE, "Kitchen Sonos").await;
    house.client(3, TV, "Television").await;
    house.says(OWNER, &format!("/name {TV} Telly")).await;
    for (asked, mac, label) in [
        ("kitchen sonoss", PHONE, "Kitchen Sonos"),
        ("Latpop", LAPTOP, "Robin's Laptop"),
        ("/device sonus", PHONE, "Kitchen Sonos"),
        ("Televison", TV, "Television"),
    ] {
        let told = house.asks(MEMBER, asked).await;
        let word = asked.trim_start_matches("/device ");
        let text = format!("🛎 No result found for device {word}\nDid you mean:\n\t{label} ({mac})");
        assert_eq!((&told.text, devices(&told)), (&text, device_buttons(&[mac])), "{asked}");
        let pressed = house.presses(&told, &format!("device:{mac}")).await.unwrap();
        assert_eq!(pressed.text, format!("📡 {label} was not heard yet.\n\tMAC address    : {mac}"));
        let (_, json) = house.find(word).await;
        let nearest: Vec<Value> =
            json["nearest"].as_array().unwrap().iter().map(|of| of["mac"].clone()).collect();
        assert_eq!((&json["devices"], nearest), (&json!([]), vec![json!(mac.to_string())]), "{asked}");
    }
    for asked in ["sony-vaio", "/device sony-vaio", "Tely"] {
        let told = house.asks(MEMBER, asked).await;
        let word = asked.trim_start_matches("/device ");
        assert_eq!(
            told.text,
            format!("🛎 No result found for device {word}"),
            "what another chat says is not near"
        );
        assert_eq!(told.buttons(), []);
    }
    let (status, json) = house.find("sony-vaio").await;
    assert_eq!((status, json), (200, json!({"devices": [], "more": 0, "nearest": []})));
}

#[tokio::test]
async fn a_whole_name_beats_parts_of_others() {
    let house = House::new().await;
    house.client(1, LAPTOP, "Sonos").await;
    house.client(2, PHONE, "Sonos Kitchen").await;
    house.client(3, TV, "Bathroom Sonos").await;
    house.hears(&[(LAPTOP, "RNM0")]).await;
    let told = house.asks(MEMBER, "SONOS").await;
    assert!(told.text.starts_with("📡 Wi-Fi probe stats for Sonos\n"), "{told:?}");
    let others = [format!("name:{LAPTOP}"), format!("device:{PHONE}"), format!("device:{TV}")];
    assert_eq!(data(&told), others);
    let other = house.presses(&told, &others[2]).await.unwrap();
    assert!(other.text.starts_with("📡 Bathroom Sonos was not heard yet."), "{other:?}");
    assert_eq!(house.finds("sonos").await.0, [LAPTOP, PHONE, TV].map(|mac| mac.to_string()));
    // to ignore, the whole name is enough, too
    assert_eq!(
        house.says(MEMBER, "/ignore sonos").await,
        format!("🙈 No alerts about Sonos ({LAPTOP}) any more.")
    );
}

#[tokio::test]
async fn two_devices_of_one_name_stay_two_and_are_told_in_sum_and_in_parts() {
    let house = House::new().await;
    house.client(1, LAPTOP, "iPhone").await;
    house.client(2, PHONE, "iPhone").await;
    house.client(3, TV, "Robin's iPhone").await;
    let told = house.asks(MEMBER, "/device iPhone").await;
    let text = format!(
        "📡 iPhone (2 devices) : nothing was heard yet\n\t{PHONE} : not heard yet\n\t{LAPTOP} : not heard yet\n\
         1 more device with that in the name or address:"
    );
    assert_eq!((&told.text, devices(&told)), (&text, device_buttons(&[PHONE, LAPTOP, TV])));

    house.hears(&[(LAPTOP, "RNM0"), (LAPTOP, "FULLERS"), (TV, "skyclub")]).await;
    let one = house.says(MEMBER, "iphone").await;
    assert!(
        one.contains("\n\tProbe count    : 2\n") && one.contains("\n\t78:67:d7:48:e5:c7 : not heard yet"),
        "{one}"
    );
    pass(MINUTE_MS);
    house.hears(&[(PHONE, "RNM0"), (PHONE, "RNM0"), (PHONE, "VM9654567")]).await;
    house.hears_wildcard(PHONE).await;
    pass(MINUTE_MS);
    house.hears_wildcard(LAPTOP).await;

    let told = house.asks(MEMBER, "/device iPhone").await;
    let text = "📡 Wi-Fi probe stats for iPhone (2 devices)\n\tEarliest probe : 2026-10-10 18:21:00 UTC\n\t\
        Latest probe   : 2026-10-10 18:23:00 UTC\n\tProbe count    : 7\n\tUnique SSIDs   : 3 (RNM0, FULLERS, VM9654567)\n\t\
        Any network    : 2\n\t78:67:d7:48:e5:c7 : 4 probes, latest 2026-10-10 18:22:00 UTC\n\t\
        a4:83:e7:4e:39:15 : 3 probes, latest 2026-10-10 18:23:00 UTC\n1 more device with that in the name or address:";
    assert_eq!(told.text, text);
    let labels: Vec<String> = told.buttons().into_iter().map(|(label, _)| label).collect();
    assert_eq!(labels, ["iPhone …e5:c7", "iPhone …39:15", "Robin's iPhone"]);
    for (mac, count, latest) in [(PHONE, 4, "18:22"), (LAPTOP, 3, "18:23")] {
        let part = house.presses(&told, &format!("device:{mac}")).await.unwrap().text;
        assert!(part.starts_with("📡 Wi-Fi probe stats for iPhone\n"), "{part}");
        assert!(part.contains(&format!(
            "\n\tLatest probe   : 2026-10-10 {latest}:00 UTC\n\tProbe count    : {count}\n"
        )));
        let json = house.json(mac).await;
        assert_eq!(
            (&json["name"], &json["probe_count"], &json["mac"]),
            (&json!("iPhone"), &json!(count), &json!(mac.to_string()))
        );
    }
    // a chat that calls one of them something else has one iPhone left
    house.says(MEMBER, &format!("/name {PHONE} Kim's")).await;
    assert!(house.says(MEMBER, "iphone").await.starts_with("📡 Wi-Fi probe stats for iPhone\n"));
    assert!(house.says(OWNER, "iphone").await.contains("iPhone (2 devices)"));
}

#[tokio::test]
async fn a_crowd_of_one_name_is_told_with_how_many_there_are() {
    let house = House::new().await;
    let phone = |number: u8| (number.into(), numbered(number), json!({"name": "iPhone"}));
    house.documents("c", USER, &(0..60).map(phone).collect::<Vec<_>>()).await;
    let told = house.asks(MEMBER, "iphone").await;
    assert_eq!((data(&told).len(), told.text.matches(" : not heard yet").count()), (10, 50));
    let heard: Vec<(Mac, &str)> = (0..60).map(|number| (numbered(number), "RNM0")).collect();
    house.hears(&heard).await;
    let told = house.asks(MEMBER, "iphone").await;
    assert_eq!(told.text.matches(" : 1 probe, latest ").count(), 50);
    assert!(
        told.text.ends_with("\n\tand 10 more, which are not in the sum"),
        "who is not in the sum is not passed over in silence: {}",
        told.text
    );
}

#[tokio::test]
async fn a_device_that_was_never_heard_answers_by_its_name_and_an_unknown_one_does_not() {
    let house = House::new().await;
    house.document("c", USER, 1, LAPTOP, json!({"name": "Spare laptop", "is_guest": true})).await;
    let told = house.asks(MEMBER, "spare").await;
    assert_eq!(told.text, format!("📡 Spare laptop was not heard yet.\n\tMAC address    : {LAPTOP}"));
    assert_eq!(marked(&told), ["Spare laptop".to_owned(), LAPTOP.to_string()]);
    assert_eq!(house.says(MEMBER, "A483E74E3915").await, told.text);
    let expected = json!({"mac": LAPTOP.to_string(), "name": "Spare laptop",
        "names": [{"label": "Spare laptop", "origin": USER}], "vendor": "Apple, Inc.", "locally_administered": false,
        "is_guest": true, "model": null, "type": null, "probe_count": 0, "wildcard_count": 0, "no_ssid_count": 0,
        "first_probe": null, "last_probe": null, "signal_min_dbm": null, "signal_max_dbm": null, "signal_mean_dbm": null,
        "unique_ssids": 0, "ssids": []});
    assert_eq!(house.json(LAPTOP).await, expected);

    assert_eq!(house.says(MEMBER, &PHONE.to_string()).await, format!("🛎 No result found for device {PHONE}"));
    assert_eq!(house.get(&format!("/v1/devices/{PHONE}")).await.0, 404);
    house.deletes(USER, 1).await;
    assert_eq!(
        house.says(MEMBER, &LAPTOP.to_string()).await,
        format!("🛎 No result found for device {LAPTOP}")
    );
    assert_eq!(house.get(&format!("/v1/devices/{LAPTOP}")).await.0, 404);
}

#[tokio::test]
async fn of_several_names_the_best_wins_and_all_are_listed_for_programs() {
    let house = House::new().await;
    // clients: of two documents the last written, and what a snapshot found is older than any change
    house.document("r", USER, 9, LAPTOP, json!({"name": "found"})).await;
    house.document("c", USER, 2, LAPTOP, json!({"name": "older"})).await;
    house
        .document("c", USER, 1, LAPTOP, json!({"hostname": "newer", "is_guest": false, "oui": "Apple"}))
        .await;
    let clients = [("newer", USER), ("older", USER), ("found", USER)];
    assert_eq!(house.names(LAPTOP).await, pairs(&clients));
    house.document("u", USER, 2, LAPTOP, json!({"name": "older, but written again"})).await;
    let clients = [("older, but written again", USER), ("newer", USER), ("found", USER)];
    assert_eq!(house.names(LAPTOP).await, pairs(&clients));

    // one of the network's own devices without a name says nothing; with one it beats the clients
    house.document("c", DEVICE, 1, LAPTOP, json!({"model": "U7PG2", "type": "uap"})).await;
    assert_eq!(house.names(LAPTOP).await, pairs(&clients));
    let json = house.json(LAPTOP).await;
    assert_eq!(
        (&json["model"], &json["type"], &json["is_guest"]),
        (&json!("U7PG2"), &json!("uap"), &json!(false))
    );
    house.document("u", DEVICE, 1, LAPTOP, json!({"name": "AP", "model": "U7PG2", "type": "uap"})).await;
    house.document("u", USER, 1, LAPTOP, json!({"hostname": "newest", "oui": "Apple"})).await;
    let all = [("AP", DEVICE), ("newest", USER), ("older, but written again", USER), ("found", USER)];
    assert_eq!(house.names(LAPTOP).await, pairs(&all));
    assert!(house.says(MEMBER, &LAPTOP.to_string()).await.starts_with("📡 AP was not heard yet."));

    // what a chat says beats them in that chat; programs are told the last given
    let (member, owner) = (format!("chat:{MEMBER}"), format!("chat:{OWNER}"));
    house.says(MEMBER, &format!("/name {LAPTOP} Ours")).await;
    pass(1);
    house.says(OWNER, &format!("/name {LAPTOP} Mine")).await;
    let given = [[("Mine", owner.as_str()), ("Ours", &member)].as_slice(), &all].concat();
    assert_eq!(house.names(LAPTOP).await, pairs(&given));
    for (chat, name) in [(MEMBER, "Ours"), (OWNER, "Mine"), (GROUP, "AP")] {
        assert!(house.says(chat, &LAPTOP.to_string()).await.starts_with(&format!("📡 {name} was")), "{chat}");
    }
    pass(1);
    house.says(MEMBER, &format!("/name {LAPTOP} Ours again")).await;
    assert_eq!(house.names(LAPTOP).await[0].0, "Ours again");

    // labels as the seed makes them
    let labels = [
        (json!({"name": "Sonos", "hostname": "sonos-1"}), Some("Sonos (sonos-1)")),
        (json!({"name": "", "hostname": "sonos-1"}), Some("sonos-1")),
        (json!({"name": "Sonos", "hostname": ""}), Some("Sonos")),
        (json!({"oui": "SonosInc", "is_guest": true}), Some("guest_SonosInc")),
        (json!({"oui": "SonosInc"}), Some("nonguest_SonosInc")),
        (json!({"name": "AP", "oui": "Ubiquiti"}), None),
        (json!({"oui": ""}), None),
    ];
    for ((id, (fields, label)), mac) in (20..).zip(labels).zip((20..).map(numbered)) {
        house.document("c", USER, id, mac, fields.clone()).await;
        let (status, json) = house.get(&format!("/v1/devices/{mac}")).await;
        assert_eq!(
            (status, json["name"].as_str()),
            (if label.is_some() { 200 } else { 404 }, label),
            "{fields}"
        );
    }
}

#[tokio::test]
async fn a_name_is_told_exactly_to_programs_and_safely_to_people() {
    let house = House::new().await;
    house.hears(&[(LAPTOP, "RNM0")]).await;
    for name in [
        "  Robin's  laptop  ",
        "Robin\u{202e}potpal",
        "👩‍👩‍👧 laptop 📡",
        "a\tb\nc\u{7}d",
        "\u{feff}חדר שינה\u{200f}",
        HOSTILE,
        "tag\u{e0041}\u{2066}",
    ] {
        house.document("u", USER, 1, LAPTOP, json!({"name": name})).await;
        assert_eq!(house.json(LAPTOP).await["name"], name);
        let found = house.get("/v1/ssids/RNM0").await.1;
        assert_eq!(found["devices"][0]["name"], name);
        let told = house.asks(MEMBER, &LAPTOP.to_string()).await;
        assert_eq!(told.text.lines().count(), 7, "{told:?}");
        assert_eq!(marked(&told).len(), 3, "name, network and address: {told:?}");
    }
}

#[tokio::test]
async fn what_one_reads_of_a_name_finds_its_device() {
    let house = House::new().await;
    for name in [
        "  Robin's  laptop  ",
        "a\tb\nc\u{7}d",
        "Robin\u{202e}potpal",
        "👩\u{200d}💻 laptop",
        "x\u{ad}y",
        HOSTILE,
    ] {
        house.document("u", USER, 1, LAPTOP, json!({"name": name})).await;
        let read = marked(&house.asks(MEMBER, &LAPTOP.to_string()).await)[0].clone();
        let told = house.says(MEMBER, &format!("/device {read}")).await;
        assert!(
            told.ends_with(&format!("\n\tMAC address    : {LAPTOP}")),
            "{name:?} is read as {read:?}: {told}"
        );
    }
}

/// So many lines each answer has, with everything that shows a name in a chat.
async fn shapes(house: &House) -> Vec<(String, usize, usize)> {
    let mut shapes = Vec::new();
    for question in [
        LAPTOP.to_string(),
        "/device a483".to_owned(),
        "/ssid RNM-GUEST".to_owned(),
        format!("/ignore {LAPTOP}"),
        "/ignored".to_owned(),
        format!("/unignore {LAPTOP}"),
        format!("/name {LAPTOP} x"),
        format!("/name {LAPTOP}"),
        TV.to_string(),
    ] {
        let told = house.asks(MEMBER, &question).await;
        shapes.push((question, told.text.lines().count(), data(&told).len()));
    }
    shapes
}

#[tokio::test]
async fn hostile_names_disturb_nothing() {
    let long = format!("{HOSTILE}{}", "\u{202e}@someone\n".repeat(80));
    let kilobyte = "x".repeat(1024);
    let mut plain = None;
    for name in ["Laptop", HOSTILE, &long, &kilobyte, "📡".repeat(256).as_str()] {
        let house = House::new().await;
        let receiver = MockServer::start().await;
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&receiver).await;
        house.says(MEMBER, "/watch RNM* guest network").await;
        hooks::make(&house.bot.table, MEMBER, None, receiver.uri().into(), Format::Json).await.unwrap();
        house.document("c", USER, 1, LAPTOP, json!({"name": name})).await;
        house.document("c", DEVICE, 1, PHONE, json!({"name": name})).await;
        house.document("c", DEVICE, 2, TV, json!({"name": name})).await;
        for number in 0..25 {
            house
                .document("c", USER, 10 + u32::from(number), numbered(number), json!({"hostname": name}))
                .await;
        }
        house.hears(&[(LAPTOP, "RNM-GUEST"), (PHONE, "RNM-GUEST"), (LAPTOP, "RNM0")]).await;
        let mut shape = shapes(&house).await;

        // too many for a message each: a digest
        let many: Vec<(Mac, &str)> = (0..25).map(|number| (numbered(number), "RNM-GUEST")).collect();
        house.hears(&many).await;
        pass(2 * MINUTE_MS);
        house.round().await;
        let alerts = house.alerts(MEMBER);
        assert_eq!(
            alerts.last().unwrap().text.matches("too many for a message each").count(),
            1,
            "{alerts:#?}"
        );
        assert_eq!(alerts[0].text.matches(" looked for watched networks").count(), 0);
        shape.extend(
            alerts.iter().map(|alert| ("alert".to_owned(), alert.text.lines().count(), data(alert).len())),
        );
        // all of it, or as much as is kept of a field, and as it was given
        let kept: String = name
            .chars()
            .scan(0, |bytes, character| {
                *bytes += character.len_utf8();
                (*bytes <= 1024).then_some(character)
            })
            .collect();
        let posted = receiver.received_requests().await.unwrap();
        let mut told = 0;
        for body in posted.iter().map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()) {
            let data = &body["data"];
            let listed = data["alerts"].as_array().cloned().unwrap_or_else(|| vec![data.clone()]);
            for alert in listed {
                assert_eq!(alert["name"], kept, "{body}");
                told += 1;
            }
        }
        assert_eq!(told, 2 + 25, "of each alert: both probes of the laptop are one visit");
        match &plain {
            None => plain = Some(shape),
            Some(plain) => assert_eq!(&shape, plain, "{name:?}"),
        }
    }
}

#[tokio::test]
async fn a_chat_names_a_device_for_itself() {
    let house = House::new().await;
    house.hears(&[(LAPTOP, "RNM0")]).await;
    let none =
        format!("🛎 This chat has given no name to {LAPTOP}. Give one with /name {LAPTOP} Kitchen speaker");
    for (command, told) in [
        ("/name", "🛎 That needs a word more, for example: /name a4:83:e7:4e:39:15 Robin's laptop".to_owned()),
        ("/name Robin's laptop", "🛎 Robin's is no MAC address such as a4:83:e7:4e:39:15".to_owned()),
        ("/name a483e74e3915", none.clone()),
        (
            "/name A4-83-E7-4E-39-15  Robin's  laptop ",
            format!("✏️ {LAPTOP} is called Robin's  laptop in this chat."),
        ),
    ] {
        assert_eq!(house.says(MEMBER, command).await, told, "{command}");
    }
    let answer = house.asks(MEMBER, "robin's LAPTOP").await;
    assert!(answer.text.starts_with("📡 Wi-Fi probe stats for Robin's  laptop\n"), "{answer:?}");
    assert_eq!(house.names(LAPTOP).await, pairs(&[("Robin's  laptop", &format!("chat:{MEMBER}"))]));
    // others do not see it, and do not find it
    assert!(
        house
            .says(OWNER, &LAPTOP.to_string())
            .await
            .starts_with(&format!("📡 Wi-Fi probe stats for {LAPTOP}\n"))
    );
    for asked in ["robin's laptop", "/ignore robin", "robins laptop"] {
        assert!(house.says(OWNER, asked).await.starts_with("🛎 No result found"), "{asked}");
    }
    assert_eq!(house.finds("robin's").await, (vec![LAPTOP.to_string()], 0));

    house.says(MEMBER, &format!("/name {LAPTOP} Kim's laptop")).await;
    assert!(house.says(MEMBER, "kim").await.starts_with("📡 Wi-Fi probe stats for Kim's laptop\n"));
    assert!(house.says(MEMBER, "robin").await.starts_with("🛎 No result found"));
    assert_eq!(
        house.says(MEMBER, &format!("/name {LAPTOP}")).await,
        format!("✏️ {LAPTOP} has no name any more.")
    );
    assert_eq!(house.says(MEMBER, &format!("/name {LAPTOP}")).await, none);
    house.client(1, LAPTOP, "The controller's").await;
    house.says(MEMBER, &format!("/name {LAPTOP} Ours")).await;
    let again = format!("✏️ {LAPTOP} is called The controller's again.");
    assert_eq!(house.says(MEMBER, &format!("/name {LAPTOP}")).await, again);
    assert_eq!(house.says(MEMBER, &format!("/name {LAPTOP}")).await, none);
    assert_eq!(house.names(LAPTOP).await, pairs(&[("The controller's", USER)]));
}

#[tokio::test]
async fn names_that_are_too_long_or_show_nothing_are_not_given() {
    let house = House::new().await;
    for (name, told) in [
        ("📡".repeat(128), None),
        ("📡".repeat(129), Some("🛎 A name has at most 128 characters.")),
        ("\u{200b}\u{202e}\u{2060}".to_owned(), Some("🛎 That name would show nothing.")),
        (HOSTILE.chars().take(128).collect(), None),
    ] {
        let before = house.names(LAPTOP).await;
        let answer = house.says(MEMBER, &format!("/name {LAPTOP} {name}")).await;
        match told {
            Some(told) => {
                assert_eq!(answer, told);
                assert_eq!(house.names(LAPTOP).await, before);
            }
            None => {
                assert!(answer.ends_with(" in this chat."), "{answer}");
                assert_eq!(house.names(LAPTOP).await, pairs(&[(&name, &format!("chat:{MEMBER}"))]));
            }
        }
    }
}

#[tokio::test]
async fn a_chat_names_a_thousand_devices_and_no_more() {
    let house = House::new().await;
    let table = &house.bot.table;
    let mac = |number: usize| {
        Mac::new([0xa4, 0x83, 0xe7, 1, u8::try_from(number / 256).unwrap(), (number % 256) as u8])
    };
    for number in 0..MAX_GIVEN {
        assert!(names::give(table, MEMBER, mac(number), &format!("Thing {number}"), now_ms()).await.unwrap());
    }
    let full = "🛎 A chat names at most 1000 devices.";
    assert_eq!(house.says(MEMBER, &format!("/name {LAPTOP} Laptop")).await, full);
    assert!(house.says(OWNER, &format!("/name {LAPTOP} Laptop")).await.ends_with("in this chat."));
    let renamed = house.says(MEMBER, &format!("/name {} Thing of mine", mac(7))).await;
    assert!(
        renamed.ends_with("is called Thing of mine in this chat."),
        "what has a name gets another: {renamed}"
    );
    house.says(MEMBER, &format!("/name {}", mac(8))).await;
    assert!(house.says(MEMBER, &format!("/name {LAPTOP} Laptop")).await.ends_with("in this chat."));
    let (_, more) = house.finds("thing").await;
    assert_eq!(more, 1_000 - 1 - 50);
}

#[tokio::test]
async fn the_rename_button_asks_for_a_name_and_a_reply_gives_it() {
    let house = House::new().await;
    house.hears(&[(LAPTOP, "RNM0")]).await;
    let answer = house.asks(MEMBER, &LAPTOP.to_string()).await;
    assert_eq!(answer.buttons(), [("✏️ Rename".to_owned(), Some(format!("name:{LAPTOP}")))]);
    let question = house.presses(&answer, &format!("name:{LAPTOP}")).await.unwrap();
    assert_eq!(question.text, format!("Reply to this message with the new name of {LAPTOP}."));
    assert!(question.asks_for_reply() && house.telegram.is_asked(MEMBER, MEMBER, question.message_id));
    let named = house.replies(&question, "  Robin's laptop\n").await.unwrap();
    assert_eq!(named.text, format!("✏️ {LAPTOP} is called Robin's laptop in this chat."));
    let answer = house.asks(MEMBER, "robin").await;
    assert!(answer.text.starts_with("📡 Wi-Fi probe stats for Robin's laptop\n"), "{answer:?}");

    // the same question again: what is an address or a name of another device is a name here, a command is a command
    for name in ["62:45:b6:c6:7e:03", "/x is no command", "Kitchen"] {
        let told = house.replies(&question, name).await.unwrap().text;
        let is_command = name.starts_with('/');
        assert_eq!(told.contains(" is called "), !is_command, "{name}: {told}");
    }
    let ssid = house.replies(&question, "/ssid RNM0").await.unwrap();
    assert!(ssid.text.starts_with("📶 1 device looked for RNM0\n\tKitchen (a4:83"), "{ssid:?}");
    assert_eq!(house.replies(&question, "\u{200b}").await.unwrap().text, "🛎 That name would show nothing.");
    assert!(house.replies(&question, &"x".repeat(129)).await.unwrap().text.contains("at most 128"));
    assert_eq!(house.names(LAPTOP).await, pairs(&[("Kitchen", &format!("chat:{MEMBER}"))]));

    // a reply to anything else is ordinary text
    let other = house.replies(&answer, "Bathroom").await.unwrap();
    assert!(other.text.starts_with("🛎 No result found for device Bathroom"), "{other:?}");
    let other = house.replies(&named, "kitchen").await.unwrap();
    assert!(other.text.starts_with("📡 Wi-Fi probe stats for Kitchen\n"), "{other:?}");

    // who was not heard, and what several have in their name, can be renamed, too
    house.client(1, PHONE, "Spare phone").await;
    let unheard = house.asks(MEMBER, "spare").await;
    let question = house.presses(&unheard, &format!("name:{PHONE}")).await.unwrap();
    house.replies(&question, "Kitchen phone").await.unwrap();
    let both = house.asks(MEMBER, "kitchen").await;
    assert_eq!(data(&both), [format!("name:{LAPTOP}"), format!("device:{PHONE}")]);
}

#[tokio::test]
async fn in_a_group_one_is_asked_and_replies_and_nobody_else_is_heard() {
    let house = House::new().await;
    house.hears(&[(LAPTOP, "RNM0")]).await;
    house.client(1, PHONE, "Kim's phone").await;
    for (text, is_answered) in [
        ("good morning", false),
        ("Kim's phone", false),
        ("kim", false),
        ("39:15", false),
        ("/device kim", true),
        ("/device@another_bot kim", false),
        ("/unknown", false),
        ("a483.e74e.3915", true),
    ] {
        house.telegram.somebody_says(GROUP, text);
        assert_eq!(house.answer(GROUP).await.is_some(), is_answered, "{text}");
    }
    let answer = house.asks(GROUP, &format!("/device {LAPTOP}")).await;
    house.telegram.user_presses(ROBIN, GROUP, answer.message_id, &format!("name:{LAPTOP}"));
    let question = house.answer(GROUP).await.unwrap();
    assert_eq!(question.text, format!("Reply to this message with the new name of {LAPTOP}."));
    assert!(house.telegram.is_asked(ROBIN, GROUP, question.message_id));
    assert!(!house.telegram.is_asked(KIM, GROUP, question.message_id), "the field opens for one alone");
    // to other messages of the bot, and between people, nothing is a name
    assert_eq!(house.replies(&answer, "Kitchen").await, None);
    house.telegram.somebody_says(GROUP, "Kitchen");
    assert_eq!(house.answer(GROUP).await, None);
    assert_eq!(house.names(LAPTOP).await, []);
    // who writes it like the bot's question is not the bot
    let asked = question.text.clone();
    let of_somebody = json!({"message": {"message_id": 900, "date": 0, "from": {"id": KIM, "is_bot": false, "first_name": "Kim"},
        "chat": {"id": GROUP, "type": "group", "title": "x"}, "text": "Kitchen", "reply_to_message": {"message_id": 899,
        "date": 0, "from": {"id": ROBIN, "is_bot": false, "first_name": "Robin"}, "chat": {"id": GROUP, "type": "group", "title": "x"},
        "text": asked}}});
    house.telegram.happens(of_somebody);
    assert_eq!(house.answer(GROUP).await, None);

    house.telegram.user_replies(ROBIN, GROUP, question.message_id, "Kitchen speaker");
    let named = house.answer(GROUP).await.unwrap();
    assert_eq!(named.text, format!("✏️ {LAPTOP} is called Kitchen speaker in this chat."));
    assert_eq!(house.names(LAPTOP).await, pairs(&[("Kitchen speaker", &format!("chat:{GROUP}"))]));
    assert!(
        house.says(GROUP, "/device kitchen").await.starts_with("📡 Wi-Fi probe stats for Kitchen speaker\n")
    );
    assert!(
        house.says(MEMBER, "kitchen").await.starts_with("🛎 No result found"),
        "the group's name is its own"
    );
}

#[tokio::test]
async fn a_chat_that_is_let_out_loses_its_names_and_one_that_moves_takes_them_along() {
    let house = House::new().await;
    for chat in [OWNER, MEMBER, GROUP] {
        house.says(chat, &format!("/name {LAPTOP} Of {chat}")).await;
        house.says(chat, &format!("/name {PHONE} Of {chat} too")).await;
        pass(1);
    }
    let origins = async |mac: Mac| -> Vec<String> {
        house.names(mac).await.into_iter().map(|(_, origin)| origin).collect()
    };
    let chat = |chat: i64| format!("chat:{chat}");
    assert_eq!(origins(LAPTOP).await, [GROUP, MEMBER, OWNER].map(chat));
    house.says(OWNER, &format!("/disallow {MEMBER}")).await;
    assert_eq!(origins(LAPTOP).await, [GROUP, OWNER].map(chat));
    assert_eq!(origins(PHONE).await, [GROUP, OWNER].map(chat));
    assert_eq!(house.finds(&format!("of {MEMBER}")).await.0, [""; 0]);
    house.says(OWNER, &format!("/allow {MEMBER}")).await;
    assert!(house.says(MEMBER, &LAPTOP.to_string()).await.starts_with("🛎 No result found"));

    house.telegram.upgrade(GROUP, SUPERGROUP);
    house.answer(SUPERGROUP).await;
    assert_eq!(origins(LAPTOP).await, [SUPERGROUP, OWNER].map(chat));
    let told = house.asks(SUPERGROUP, &format!("/device of {GROUP}")).await;
    assert!(told.text.starts_with("📡 Of -431366401 was not heard yet."), "{told:?}");
    assert_eq!(devices(&told), device_buttons(&[PHONE]));
    house.says(SUPERGROUP, &format!("/name {LAPTOP} Moved")).await;
    let names = house.names(LAPTOP).await;
    assert_eq!(names[0], ("Moved".to_owned(), chat(SUPERGROUP)));
    assert_eq!(names.len(), 2, "the old name is not left behind: {names:?}");
}

#[tokio::test]
async fn devices_are_ignored_and_listed_by_name() {
    let house = House::new().await;
    house.says(MEMBER, "/watch RNM-GUEST").await;
    house.client(1, LAPTOP, "Kim's laptop").await;
    house.client(2, PHONE, "Kim's phone").await;
    house.client(3, RANDOM, "Visitor").await;
    let several = house.asks(MEMBER, "/ignore kim").await;
    assert!(
        several.text.starts_with("🔎 2 devices have kim in their name or address. Which one?\n"),
        "{several:?}"
    );
    let offered = |verb: &str| [LAPTOP, PHONE].map(|mac| format!("{verb}:{mac}"));
    assert_eq!(data(&several), offered("ignoremac"));
    assert_eq!(house.says(MEMBER, "/ignored").await, "🙈 No device is ignored.", "of several none");
    let ignored = format!("🙈 No alerts about Kim's phone ({PHONE}) any more.");
    assert_eq!(house.presses(&several, &format!("ignoremac:{PHONE}")).await.unwrap().text, ignored);
    assert_eq!(house.says(MEMBER, "/ignore PHONE").await, ignored, "the same again");
    house.says(MEMBER, &format!("/ignore {TV}")).await;
    house.says(MEMBER, &format!("/ignore {NOBODYS}")).await;
    let random = " It is a random address, which its device may give up soon.";
    assert_eq!(
        house.says(MEMBER, "/ignore visit").await,
        format!("🙈 No alerts about Visitor ({RANDOM}) any more.{random}")
    );
    let list = house.asks(MEMBER, "/ignored").await;
    let text = format!(
        "🙈 No alerts about 4 devices:\n\t{TV} (Samsung Electronics Co.,Ltd)\n\tVisitor ({RANDOM})\n\tKim's phone ({PHONE})\n\t{NOBODYS}"
    );
    assert_eq!(list.text, text);
    let labels: Vec<String> = list.buttons().into_iter().map(|(label, _)| label).collect();
    assert_eq!(
        labels,
        [format!("✖ {TV}"), "✖ Visitor".to_owned(), "✖ Kim's phone".to_owned(), format!("✖ {NOBODYS}")]
    );

    house.hears(&[(PHONE, "RNM-GUEST"), (LAPTOP, "RNM-GUEST")]).await;
    let alerts = house.alerts(MEMBER);
    assert!(alerts.len() == 1 && alerts[0].text.contains(" (Kim's laptop) probed"), "{alerts:#?}");

    assert_eq!(data(&house.asks(MEMBER, "/unignore kim").await), offered("unignore"));
    let again = format!("🐵 Alerts about Kim's phone ({PHONE}) again.");
    assert_eq!(house.says(MEMBER, "/unignore kim's PHONE").await, again);
    assert!(
        house.says(MEMBER, "/unignore sony-vaio").await.starts_with("🛎 No result found for device sony-vaio")
    );
    // the list is shown anew where the button was
    assert_eq!(house.presses(&list, &format!("unignore:{RANDOM}")).await, None);
    let edited =
        house.telegram.messages(MEMBER).into_iter().find(|message| message.message_id == list.message_id);
    let text = format!("🙈 No alerts about 2 devices:\n\t{TV} (Samsung Electronics Co.,Ltd)\n\t{NOBODYS}");
    assert_eq!(edited.unwrap().text, text);
    house.says(MEMBER, "/unignore 00:16:6c").await;
    assert_eq!(
        house.says(MEMBER, "/ignored").await.lines().count(),
        3,
        "who has no name and was not heard has no part"
    );
    house.says(MEMBER, &format!("/unignore {TV}")).await;
    assert_eq!(house.says(MEMBER, "/ignored").await, format!("🙈 No alerts about 1 device:\n\t{NOBODYS}"));
}

#[tokio::test]
async fn who_looked_for_a_network_is_listed_by_name_vendor_or_random_address() {
    let house = House::new().await;
    house.client(1, LAPTOP, "Kim's laptop").await;
    house
        .hears(&[(LAPTOP, "RNM0"), (PHONE, "RNM0"), (TV, "RNM0"), (RANDOM, "RNM0"), (NOBODYS, "RNM0")])
        .await;
    house.says(OWNER, &format!("/name {RANDOM} Visitor")).await;
    let told = house.asks(MEMBER, "/ssid RNM0").await;
    let mut lines: Vec<&str> =
        told.text.lines().skip(1).map(|line| line.split(" : ").next().unwrap()).collect();
    lines.sort_unstable();
    let mut expected = [
        format!("\t{TV} (Samsung Electronics Co.,Ltd)"),
        format!("\t{RANDOM} (random address)"),
        format!("\t{PHONE} (Apple, Inc.)"),
        format!("\tKim's laptop ({LAPTOP})"),
        format!("\t{NOBODYS}"),
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    assert!(
        house.says(OWNER, "/ssid RNM0").await.contains(&format!("\n\tVisitor ({RANDOM}) : 1 probe, latest"))
    );

    let (_, json) = house.get("/v1/ssids/RNM0").await;
    let told: BTreeMap<&str, (&Value, &Value, &Value)> = json["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| (of["mac"].as_str().unwrap(), (&of["name"], &of["vendor"], &of["locally_administered"])))
        .collect();
    let (null, apple, no, yes) = (Value::Null, json!("Apple, Inc."), json!(false), json!(true));
    let (kims, visitor, samsung) =
        (json!("Kim's laptop"), json!("Visitor"), json!("Samsung Electronics Co.,Ltd"));
    let macs = [LAPTOP, PHONE, TV, RANDOM, NOBODYS].map(|mac| mac.to_string());
    let expected = [
        (&kims, &apple, &no),
        (&null, &apple, &no),
        (&null, &samsung, &no),
        (&visitor, &null, &yes),
        (&null, &null, &no),
    ];
    assert_eq!(told, macs.iter().map(String::as_str).zip(expected).collect());
}

#[tokio::test]
async fn the_vendor_is_told_to_people_of_those_without_a_name_and_to_programs_of_all() {
    let house = House::new().await;
    let macs = [LAPTOP, TV, RANDOM, NOBODYS];
    house.hears(&macs.map(|mac| (mac, "RNM0"))).await;
    let json = async |mac: Mac| {
        let json = house.json(mac).await;
        (json["name"].clone(), json["vendor"].clone(), json["locally_administered"].clone())
    };
    let tail = async |mac: Mac| {
        let text = house.says(MEMBER, &mac.to_string()).await;
        text.split_once("\n\tAny network    : 0").unwrap().1.to_owned()
    };
    let unnamed = [
        ("\n\tVendor         : Apple, Inc.", json!("Apple, Inc."), false),
        ("\n\tVendor         : Samsung Electronics Co.,Ltd", json!("Samsung Electronics Co.,Ltd"), false),
        ("\n\tRandom address", Value::Null, true),
        ("", Value::Null, false),
    ];
    for (mac, (line, vendor, random)) in macs.into_iter().zip(&unnamed) {
        assert_eq!(tail(mac).await, *line);
        assert_eq!(json(mac).await, (Value::Null, vendor.clone(), json!(random)));
    }
    for (number, mac) in (1..).zip(macs) {
        house.client(number, mac, &format!("Thing {number}")).await;
    }
    for ((number, mac), (_, vendor, random)) in (1..).zip(macs).zip(&unnamed) {
        assert_eq!(tail(mac).await, format!("\n\tMAC address    : {mac}"));
        assert_eq!(json(mac).await, (json!(format!("Thing {number}")), vendor.clone(), json!(random)));
    }
}

#[tokio::test]
async fn an_alert_calls_a_device_what_it_is_called_when_it_is_told() {
    let house = House::new().await;
    for chat in [MEMBER, OWNER] {
        house.says(chat, "/watch RNM-GUEST guest network").await;
    }
    let receiver = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&receiver).await;
    hooks::make(&house.bot.table, MEMBER, None, receiver.uri().into(), Format::Json).await.unwrap();
    let first_line = |message: &Message| message.text.lines().next().unwrap().to_owned();
    let at = |time: &str, who: &str| {
        format!("📣 At 2026-10-10 {time} UTC MAC address {who} probed for SSID RNM-GUEST")
    };

    // nobody knows it: who made it
    house.hears(&[(PHONE, "RNM-GUEST")]).await;
    let alert = house.alerts(MEMBER).pop().unwrap();
    assert_eq!(first_line(&alert), at("18:21:00", &PHONE.to_string()));
    assert!(alert.text.ends_with("\n-60 dBm at hallway · made by Apple, Inc."), "{alert:?}");
    assert!(marked(&alert).contains(&"Apple, Inc.".to_owned()));

    // it is named, and heard again in the same episode: the edit has the name
    house.client(1, PHONE, "Kim's phone").await;
    pass(10 * 1000);
    house.hears(&[(PHONE, "RNM-GUEST")]).await;
    pass(2 * MINUTE_MS);
    house.round().await;
    let alert = house.alerts(MEMBER).pop().unwrap();
    assert_eq!((first_line(&alert), alert.edits), (at("18:21:00", &format!("{PHONE} (Kim's phone)")), 1));
    assert!(alert.text.ends_with("\n-60 dBm at hallway\n2 probes until 18:21"), "{alert:?}");

    // renamed between two episodes, in one chat by itself
    house.document("u", USER, 1, PHONE, json!({"name": "Sam's phone"})).await;
    house.says(OWNER, &format!("/name {PHONE} The guest's")).await;
    pass(30 * MINUTE_MS);
    house.hears(&[(PHONE, "RNM-GUEST")]).await;
    let second = house.alerts(MEMBER);
    assert_eq!(second.len(), 2);
    assert_eq!(first_line(&second[1]), at("18:53:10", &format!("{PHONE} (Sam's phone)")));
    assert_eq!(first_line(&second[0]), first_line(&alert), "what was told before stays");
    let of_owner = house.alerts(OWNER).pop().unwrap();
    assert_eq!(first_line(&of_owner), at("18:53:10", &format!("{PHONE} (The guest's)")));

    // a button below an alert writes it anew
    house.document("u", USER, 1, PHONE, json!({"name": "Alex's phone"})).await;
    let mute = data(&second[1]).into_iter().find(|data| data.starts_with("mute:")).unwrap();
    assert_eq!(house.presses(&second[1], &mute).await, None);
    let noted = house.alerts(MEMBER).pop().unwrap();
    assert!(noted.text.ends_with("\n\nmuted until 19:53"), "{noted:?}");
    assert_eq!(first_line(&noted), at("18:53:10", &format!("{PHONE} (Alex's phone)")));

    // programs are told the name of the chat, and who made it, each in a field
    house.says(MEMBER, "/unmute RNM-GUEST").await;
    house.says(MEMBER, &format!("/name {PHONE}  Ours\u{202e} ")).await;
    house.hears(&[(RANDOM, "RNM-GUEST"), (TV, "RNM-GUEST")]).await;
    pass(30 * MINUTE_MS);
    house.hears(&[(PHONE, "RNM-GUEST")]).await;
    let posted = receiver.received_requests().await.unwrap();
    let posted: Vec<[Value; 4]> = posted
        .iter()
        .map(|request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            ["mac", "name", "vendor", "locally_administered"].map(|field| body["data"][field].clone())
        })
        .collect();
    let told = |mac: Mac, name: Option<&str>, vendor: Option<&str>| {
        [json!(mac.to_string()), json!(name), json!(vendor), json!(mac.is_locally_administered())]
    };
    let apple = Some("Apple, Inc.");
    let expected = [
        told(PHONE, None, apple),
        told(PHONE, Some("Sam's phone"), apple),
        told(RANDOM, None, None),
        told(TV, None, Some("Samsung Electronics Co.,Ltd")),
        told(PHONE, Some("Ours\u{202e}"), apple),
    ];
    assert_eq!(posted.len(), expected.len(), "{posted:?}");
    assert!(expected.iter().all(|one| posted.contains(one)), "{posted:?}");
    assert_eq!(posted[4], expected[4]);
    let last = house.alerts(MEMBER).pop().unwrap();
    assert!(first_line(&last).contains(&format!("{PHONE} (Ours) probed")), "{last:?}");

    // a name that is gone is not told any more
    house.deletes(USER, 1).await;
    house.says(MEMBER, &format!("/name {PHONE}")).await;
    pass(30 * MINUTE_MS);
    house.hears(&[(PHONE, "RNM-GUEST")]).await;
    let last = house.alerts(MEMBER).pop().unwrap();
    assert!(
        first_line(&last).contains(&format!("{PHONE} probed")) && last.text.contains("made by Apple"),
        "{last:?}"
    );
    let random =
        house.alerts(MEMBER).into_iter().find(|alert| alert.text.contains(&RANDOM.to_string())).unwrap();
    assert!(
        first_line(&random).contains(" (random address) probed") && !random.text.contains("made by"),
        "{random:?}"
    );
}

#[tokio::test]
async fn programs_find_devices_by_a_part_of_their_name() {
    let house = House::new().await;
    house.document("c", DEVICE, 1, TV, json!({"name": "Kitchen AP", "model": "U7PG2", "type": "uap"})).await;
    house.document("c", USER, 1, LAPTOP, json!({"name": "Kitchen laptop", "is_guest": false})).await;
    house.says(MEMBER, &format!("/name {PHONE} kitchen")).await;
    house.says(MEMBER, &format!("/name {TV} Telly")).await;
    let (status, found) = house.find("KITCHEN").await;
    let named = |mac: Mac, name: &str, names: Value, vendor: &str, rest: (Value, Value, Value)| {
        json!({"mac": mac.to_string(), "name": name, "names": names, "vendor": vendor, "locally_administered": false,
            "is_guest": rest.0, "model": rest.1, "type": rest.2})
    };
    let of_member = format!("chat:{MEMBER}");
    let label = |label: &str, origin: &str| json!({"label": label, "origin": origin});
    let (null, apple) = (Value::Null, "Apple, Inc.");
    let expected = json!({"devices": [
        named(PHONE, "kitchen", json!([label("kitchen", &of_member)]), apple, (null.clone(), null.clone(), null.clone())),
        named(LAPTOP, "Kitchen laptop", json!([label("Kitchen laptop", USER)]), apple, (json!(false), null.clone(), null.clone())),
        named(TV, "Telly", json!([label("Telly", &of_member), label("Kitchen AP", DEVICE)]), "Samsung Electronics Co.,Ltd",
            (null, json!("U7PG2"), json!("uap"))),
    ], "more": 0, "nearest": []});
    assert_eq!((status, found), (200, expected));
    // in the chat, what it calls otherwise is found by both names
    for asked in ["telly", "kitchen ap"] {
        assert!(house.says(MEMBER, asked).await.starts_with("📡 Telly was not heard yet."), "{asked}");
    }
    for (uri, status) in [
        ("/v1/devices", 400),
        ("/v1/devices?name=", 400),
        ("/v1/devices?other=x", 400),
        ("/v1/devices/", 400),
        ("/v1/devices?name=%20%E2%80%8B", 200),
        ("/v1/devices?name=a%26b%23c%3F", 200),
    ] {
        let (actual, body) = house.get(uri).await;
        assert_eq!(actual, status, "{uri}: {body}");
        assert!(status == 400 || body == json!({"devices": [], "more": 0, "nearest": []}), "{uri}: {body}");
    }
    let endless = "x".repeat(20_000);
    assert_eq!(house.find(&endless).await.1["devices"], json!([]));
}
