//! The conversation: who is let in, the watch list, buttons, settings, and what owners do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use bot::Context;
use bot::context::SecretHash;
use bot::status::Positions;
use delivery::{Post, Telegram};
use domain::{Mac, Origin, Pattern, Probe, Sighting, Ssid, SsidElement, Watch, Who};
use http::{HeaderMap, HeaderValue, Method, Uri};
use jiff::tz::TimeZone;
use probegram::embedded::Embedded;
use probegram::http_api;
use probegram::template::Template;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use state::chats::{self, Chat, Role};
use state::episodes::{self, Case};
use state::messages::{self, Destination, MessageId};
use state::tallies::{self, Heard, Retention};
use state::watches::{self, ListRecord, Listed};
use state::{Generation, Source, codes, hooks};

const OWNER: i64 = 12_345;
const MEMBER: i64 = 99;
const GROUP: i64 = -431_366_401;
const SUPERGROUP: i64 = -1_001_234_567_890;
/// 2026-10-10 18:21:00 UTC.
const BEGIN_MS: i64 = 1_791_656_460_000;
const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;
const LAPTOP: &str = "a4:83:e7:4e:39:15";

thread_local! {
    static NOW_MS: Cell<i64> = const { Cell::new(BEGIN_MS) };
    static OFFSET: Cell<i64> = const { Cell::new(0) };
}

fn now_ms() -> i64 {
    NOW_MS.get()
}

/// The next record's.
fn offset() -> i64 {
    OFFSET.set(OFFSET.get() + 1);
    OFFSET.get()
}

fn pass(ms: i64) {
    NOW_MS.set(now_ms() + ms);
}

/// The bot, with chats of the three kinds, and what it has called of Telegram.
struct Bot {
    context: Context,
    calls: Arc<Mutex<Vec<(&'static str, Value)>>>,
}

async fn bot() -> Bot {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<telegram::client::Call>();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Some(call) = receiver.recv().await {
            seen.lock().unwrap().push((call.method, call.parameters));
            let result = match call.method {
                "getMe" => json!({"username": "probegram_bot"}),
                _ => json!(true),
            };
            call.answer.send(Ok(result)).unwrap();
        }
    });
    let bot = Bot { context: context(Telegram::ready(telegram::Client::in_process(sender))), calls };
    bot.let_in(OWNER, Role::Owner).await;
    bot.let_in(MEMBER, Role::Member).await;
    bot.let_in(GROUP, Role::Member).await;
    bot
}

fn context(telegram: Telegram) -> Context {
    let table = Embedded::open(None, &Template::read().unwrap()).unwrap().table();
    Context {
        generation: Generation::of(table.clone()),
        post: Post::new(table.clone(), TimeZone::UTC, now_ms, telegram),
        table,
        aggregate_group: "aggregate".to_owned(),
        secrets: vec![SecretHash::of(b"secret")],
        time_zone: TimeZone::UTC,
        open_to_this_machine: false,
        positions: Positions::default(),
        now_ms,
    }
}

fn place(chat: i64) -> Value {
    match chat {
        SUPERGROUP => json!({"id": chat, "type": "supergroup", "title": "Wi-Fi probes"}),
        ..0 => json!({"id": chat, "type": "group", "title": "Wi-Fi probes"}),
        0.. => json!({"id": chat, "type": "private", "first_name": "Robin"}),
    }
}

impl Bot {
    async fn let_in(&self, chat: i64, role: Role) {
        chats::allow(&self.context.table, chat, role, None, now_ms()).await.unwrap();
    }

    async fn update(&self, update: Value) -> Option<Value> {
        let mut headers = HeaderMap::new();
        headers.insert("x-telegram-bot-api-secret-token", HeaderValue::from_static("secret"));
        let uri = Uri::from_static("/telegram");
        let request = http_api::request(Method::POST, &uri, headers, update.to_string().as_bytes());
        let response = bot::handle(&request, &self.context).await;
        assert_eq!(response.status_code, 200, "{update}");
        serde_json::from_str(&http_api::text(response)).ok()
    }

    /// The whole message that answers a text.
    async fn answer(&self, chat: i64, text: &str) -> Option<Value> {
        let reply = self.update(json!({"message": {"chat": place(chat), "text": text}})).await?;
        assert_eq!((&reply["method"], &reply["chat_id"]), (&json!("sendMessage"), &json!(chat)), "{text}");
        Some(reply)
    }

    async fn says(&self, chat: i64, text: &str) -> String {
        let answer = self.answer(chat, text).await;
        answer.map(|answer| answer["text"].as_str().unwrap().to_owned()).unwrap_or_default()
    }

    /// What answers a button: a word for a moment, or the list anew.
    async fn presses(&self, chat: i64, data: &str) -> Value {
        let message = json!({"message_id": 6, "chat": place(chat), "date": 0});
        let query = json!({"id": "18220000000000001", "message": message, "data": data});
        self.update(json!({"callback_query": query})).await.unwrap()
    }

    async fn chat(&self, id: i64) -> Chat {
        chats::find(&self.context.table, id).await.unwrap().unwrap()
    }

    async fn watches(&self) -> Vec<Watch> {
        watches::all(&self.context.table).await.unwrap()
    }

    fn called(&self, method: &str) -> Vec<Value> {
        let mut calls = self.calls.lock().unwrap();
        let called = calls.iter().filter(|(name, _)| *name == method).map(|(_, call)| call.clone()).collect();
        calls.clear();
        called
    }

    /// What topic `ssid_alert_list` says, each with a reason.
    async fn topic_lists(&self, ssids: &[&str]) {
        let record = |(offset, name): (usize, &&str)| ListRecord {
            offset: i64::try_from(offset).unwrap(),
            timestamp: BEGIN_MS,
            ssid: ssid(name),
            listed: Some(Listed { reason: Some(format!("the {name}")), cooldown_ms: None }),
        };
        let records: Vec<_> = ssids.iter().enumerate().map(record).collect();
        watches::absorb(&self.context.table, &source("ssid_alert_list"), &records).await.unwrap();
    }

    /// Probe requests: who, for what, how long ago.
    async fn heard(&self, probes: &[(Mac, &str, i64)]) {
        let heard = |(offset, (mac, name, ago)): (usize, &(Mac, &str, i64))| Heard {
            offset: i64::try_from(offset).unwrap(),
            mac: *mac,
            probe: Probe {
                time: now_ms() - ago,
                source: Some(*mac),
                receiver: None,
                bssid: None,
                ssid: SsidElement::Named(ssid(name)),
                signal_dbm: None,
                channel: None,
                sequence: None,
                fingerprint: None,
                sensor: None,
            },
        };
        let heard: Vec<Heard> = probes.iter().enumerate().map(heard).collect();
        let kept = Retention::in_days(400, None);
        tallies::absorb(&self.context.table, 1, &source("pcap"), &heard, kept, now_ms()).await.unwrap();
    }

    /// An alert to a chat, sent as message 6.
    async fn alert(&self, chat: i64, watch: &Watch, mac: &str) -> MessageId {
        let mac: Mac = mac.parse().unwrap();
        let name = watch.pattern.ssid().unwrap().clone();
        let sighting =
            Sighting { offset: offset(), time: now_ms(), mac, ssid: name, signal_dbm: None, sensor: None };
        let to = [Destination::Chat(chat)];
        let case = Case { chat, watch, who: Who::of(mac), to: &to, sightings: vec![sighting] };
        let table = &self.context.table;
        let opened = episodes::absorb(table, &source("pcap"), &[case], now_ms()).await.unwrap();
        let [(_, id)] = opened.messages.try_into().unwrap();
        let claim = messages::claim(table, &id, now_ms()).await.unwrap().unwrap();
        claim.sent(table, 6, 1, now_ms()).await.unwrap();
        id
    }
}

fn ssid(name: &str) -> Ssid {
    Ssid::new(name.as_bytes()).unwrap()
}

fn source(topic: &str) -> Source {
    Source { topic: topic.to_owned(), life: 1, partition: 0 }
}

fn device(number: u8) -> Mac {
    Mac::new([0xa4, 0, 0, 0, 0, number])
}

fn own(chat: i64, name: &str) -> Watch {
    Watch {
        origin: Origin::Chat(chat),
        pattern: Pattern::read(name, false).unwrap(),
        reason: None,
        made_ms: BEGIN_MS,
        cooldown_ms: Watch::COOLDOWN_MS,
    }
}

fn buttons(reply: &Value) -> Vec<&str> {
    let rows = reply["reply_markup"]["inline_keyboard"].as_array();
    let buttons = rows.into_iter().flatten().flat_map(|row| row.as_array().unwrap());
    buttons.map(|button| button["callback_data"].as_str().unwrap()).collect()
}

/// What an answer marks as code.
fn marked(reply: &Value) -> Vec<String> {
    let units: Vec<u16> = reply["text"].as_str().unwrap().encode_utf16().collect();
    let marks = reply["entities"].as_array().into_iter().flatten();
    marks
        .map(|mark| {
            assert_eq!(mark["type"], "code");
            let at = |name: &str| usize::try_from(mark[name].as_u64().unwrap()).unwrap();
            String::from_utf16(&units[at("offset")..at("offset") + at("length")]).unwrap()
        })
        .collect()
}

#[tokio::test]
async fn a_code_lets_one_chat_in_within_a_day() {
    let bot = bot().await;
    let table = &bot.context.table;
    let first = codes::make(table, Role::Owner, now_ms()).await.unwrap();
    assert!(bot.says(1, &format!("/start {first}x")).await.contains("private"));
    let welcome = bot.says(1, &format!("/start {first}")).await;
    assert!(welcome.contains("an owner of this bot now") && !welcome.contains("privacy mode"), "{welcome}");
    assert_eq!(bot.chat(1).await.role, Role::Owner);
    let commands = bot.called("setMyCommands").pop().unwrap();
    assert_eq!(commands["scope"], json!({"type": "chat", "chat_id": 1}));
    assert!(commands["commands"].as_array().unwrap().iter().any(|command| command["command"] == "invite"));

    let used = bot.says(2, &format!("/start {first}")).await;
    assert!(used.contains("This bot is private"), "{used}");
    assert_eq!(chats::find(table, 2).await.unwrap(), None);

    let late = codes::make(table, Role::Owner, now_ms()).await.unwrap();
    pass(codes::VALID_MS);
    bot.says(3, &format!("/start {late}")).await;
    assert_eq!(chats::find(table, 3).await.unwrap(), None, "it is too old");
}

#[tokio::test]
async fn an_invitation_lets_a_group_in_and_raises_a_member() {
    let bot = bot().await;
    let invitation = bot.says(OWNER, "/invite").await;
    let code = invitation.split("?start=").nth(1).unwrap().split('\n').next().unwrap().to_owned();
    for part in [
        format!("https://t.me/probegram_bot?start={code}\n"),
        format!("https://t.me/probegram_bot?startgroup={code}\n"),
        format!("/start {code}"),
        "once, until 2026-10-11 18:21:00 UTC".to_owned(),
    ] {
        assert!(invitation.contains(&part), "{part}: {invitation}");
    }
    // an owner who tries the link does not use it up
    assert!(bot.says(OWNER, &format!("/start {code}")).await.contains("For owners"));
    let welcome = bot.says(SUPERGROUP, &format!("/start@probegram_bot {code}")).await;
    assert!(welcome.contains("privacy mode"), "{welcome}");
    let group = bot.chat(SUPERGROUP).await;
    assert_eq!((group.role, group.title.as_deref()), (Role::Member, Some("Wi-Fi probes")));

    let invitation = bot.says(OWNER, "/invite owner").await;
    let code = invitation.rsplit(' ').next().unwrap();
    bot.says(MEMBER, &format!("/start {code}")).await;
    assert_eq!(bot.chat(MEMBER).await.role, Role::Owner);
    assert_eq!(
        bot.says(MEMBER, "/invite guest").await,
        "🛎 That needs a word more, for example: /invite owner"
    );
}

#[tokio::test]
async fn owners_let_chats_in_and_out_and_members_do_not() {
    let bot = bot().await;
    for command in
        ["/allow 7", "/disallow 12345", "/chats", "/invite", "/hook https://a.example", "/hooks", "/unhook a"]
    {
        let answer = bot.says(MEMBER, command).await;
        assert_eq!(answer, "🛎 That is for the bot's owners. /help says what you can ask.", "{command}");
    }
    for (data, told) in [
        ("disallow:12345", "That is for the bot's owners."),
        ("unhook:abcdefgh", "That is for the bot's owners."),
    ] {
        assert_eq!(bot.presses(MEMBER, data).await["text"], told);
    }
    assert!(!bot.says(MEMBER, "/help").await.contains("/invite"));

    assert_eq!(bot.says(OWNER, "/allow 7").await, "👋 Chat 7 may ask now, as member.");
    assert_eq!(bot.says(OWNER, "/allow –100777 OWNER").await, "👋 Chat -100777 may ask now, as owner.");
    for refused in ["/allow seven", "/allow 7 guest", "/allow 0"] {
        assert!(bot.says(OWNER, refused).await.contains("needs a word more"), "{refused}");
    }
    assert!(bot.says(OWNER, &format!("/allow {OWNER} member")).await.contains("another owner"));
    assert!(bot.says(OWNER, &format!("/disallow {OWNER}")).await.contains("cannot lock yourself out"));
    assert_eq!(bot.presses(OWNER, &format!("disallow:{OWNER}")).await["method"], "answerCallbackQuery");
    assert_eq!(bot.chat(OWNER).await.role, Role::Owner);

    let list = bot.answer(OWNER, "/chats").await.unwrap();
    let text = list["text"].as_str().unwrap();
    assert!(text.contains("-100777 : owner") && text.contains("12345 : owner, this one"), "{text}");
    let mut offered = buttons(&list);
    offered.sort_unstable();
    assert_eq!(offered, ["disallow:-100777", "disallow:-431366401", "disallow:7", "disallow:99"]);

    bot.says(7, "/watch RNM0").await;
    let less = bot.presses(OWNER, "disallow:7").await;
    assert_eq!((&less["method"], &less["message_id"]), (&json!("editMessageText"), &json!(6)));
    assert_eq!(buttons(&less).len(), 3);
    let told = bot.called("answerCallbackQuery").pop().unwrap();
    assert_eq!(told["text"], "Chat 7 may not ask any more");
    assert_eq!(bot.says(OWNER, "/disallow -100777").await, "🚪 Chat -100777 may not ask any more.");
    assert_eq!(bot.watches().await, [], "its watches go with it");
    assert!(bot.says(7, "/watches").await.contains("This bot is private"));
}

#[tokio::test]
async fn a_watch_is_made_shown_and_ended_in_every_spelling() {
    let bot = bot().await;
    for (command, part) in [
        (
            "/watch RNM-GUEST guest network",
            "👁 Watching RNM-GUEST: guest network\nA device that looks for it is told once, and again when it was silent for 15 min.\nIt would have matched nothing in the last 7 days.",
        ),
        (
            "/watch -i -c 30m “The Red Lion” the pub",
            "👁 Watching The Red Lion (any case): the pub\nA device that looks for it is told once, and again when it was silent for 30 min.",
        ),
        (
            "/watch@probegram_bot —c 0 «Café *»",
            "👁 Watching Café *\nEvery probe request is told in a message of its own.",
        ),
        ("/watch hex:00ff", "👁 Watching hex:00ff\n"),
        ("/watch", "needs a word more"),
        ("/watch **", "a pattern needs a character beside * and ?"),
        ("/watch -c 2y RNM0", "-c needs a time"),
        ("/watch \"open", "the quotation mark"),
    ] {
        let answer = bot.says(MEMBER, command).await;
        assert!(answer.contains(part), "{command}: {answer}");
    }
    let list = bot.answer(MEMBER, "/watches").await.unwrap();
    let mut lines: Vec<&str> = list["text"].as_str().unwrap().lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "\tCafé * (every probe request)",
            "\tRNM-GUEST : guest network",
            "\tThe Red Lion (any case) : the pub (quiet time 30 min)",
            "\thex:00ff",
            "👁 4 watches:",
        ]
    );
    assert_eq!(buttons(&list).len(), 4);
    let mut names = marked(&list);
    names.sort_unstable();
    assert_eq!(names, ["Café *", "RNM-GUEST", "The Red Lion (any case)", "hex:00ff"]);
    assert!(bot.says(OWNER, "/watches").await.starts_with("👁 Nothing is watched."), "each chat has its own");

    // the same again changes reason and cooldown, and keeps the time from which it counts
    pass(HOUR_MS);
    bot.says(MEMBER, "/watch -c 1h RNM-GUEST").await;
    let changed =
        bot.watches().await.into_iter().find(|watch| watch.pattern == own(MEMBER, "RNM-GUEST").pattern);
    assert_eq!(changed, Some(Watch { cooldown_ms: HOUR_MS, ..own(MEMBER, "RNM-GUEST") }));

    for (command, part) in [
        ("/unwatch The Red Lion", "No longer watched: The Red Lion (any case)"),
        ("/unwatch Café *", "No longer watched: Café *"),
        ("/unwatch \"hex:00ff\"", "No longer watched: hex:00ff"),
        ("/unwatch rnm-guest", "Nothing is watched by the name rnm-guest"),
        ("/unwatch RNM-GUEST", "No longer watched: RNM-GUEST"),
        ("/unwatch RNM-GUEST", "Nothing is watched by the name RNM-GUEST"),
        ("/unwatch", "needs a word more"),
    ] {
        let answer = bot.says(MEMBER, command).await;
        assert!(answer.contains(part), "{command}: {answer}");
    }
    assert_eq!(bot.watches().await, []);
}

#[tokio::test]
async fn a_chat_has_at_most_200_watches() {
    let bot = bot().await;
    for number in 0..200 {
        watches::set(&bot.context.table, MEMBER, &own(MEMBER, &format!("{number:\\>100}"))).await.unwrap();
    }
    assert!(bot.says(MEMBER, "/watch RNM0").await.contains("at most 200 watches"));
    assert!(
        bot.says(MEMBER, &format!("/watch {:\\>100} why", 7)).await.contains("Watching"),
        "the same again"
    );
    assert!(bot.says(OWNER, "/watch RNM0").await.contains("Watching"));
    let list = bot.answer(MEMBER, "/watches").await.unwrap();
    let text = list["text"].as_str().unwrap();
    assert!(text.encode_utf16().count() <= 4096 && text.contains("\n\tand "), "{text}");
    assert!(text.ends_with("160 more have no button: /unwatch NAME"), "{text}");
    assert_eq!(buttons(&list).len(), 40);
}

#[tokio::test]
async fn the_topics_watches_are_switched_off_and_on_by_each_chat() {
    let bot = bot().await;
    bot.topic_lists(&["RNM-GUEST", "The Red Lion"]).await;
    let shared = |watch: &&Watch| watch.pattern == own(0, "RNM-GUEST").pattern;
    let id = bot.watches().await.iter().find(shared).unwrap().id();
    let list = bot.answer(MEMBER, "/watches").await.unwrap();
    assert!(
        list["text"].as_str().unwrap().contains("RNM-GUEST : the RNM-GUEST (from topic ssid_alert_list)")
    );
    assert_eq!(buttons(&list).len(), 2);

    let answer = bot.says(MEMBER, "/unwatch The Red Lion").await;
    assert!(
        answer.contains("switched off for this chat") && answer.ends_with("/watch \"The Red Lion\""),
        "{answer}"
    );
    let less = bot.presses(MEMBER, &format!("unwatch-w:{id}")).await;
    let text = less["text"].as_str().unwrap();
    assert!(text.contains("RNM-GUEST : the RNM-GUEST (from topic ssid_alert_list, off)"), "{text}");
    assert_eq!((buttons(&less).len(), bot.chat(MEMBER).await.off.len()), (0, 2));
    assert_eq!(bot.presses(MEMBER, &format!("unwatch-w:{id}")).await["text"], text, "the same again");
    assert_eq!(bot.chat(OWNER).await.off.len(), 0);

    let answer = bot.says(MEMBER, "/watch RNM-GUEST").await;
    assert!(
        answer.starts_with("👁 Watching again, from topic ssid_alert_list: RNM-GUEST: the RNM-GUEST\n"),
        "{answer}"
    );
    assert_eq!((bot.watches().await.len(), bot.chat(MEMBER).await.off.len()), (2, 1));
    bot.says(MEMBER, "/watch RNM-GUEST my own reason").await;
    assert_eq!(bot.watches().await.len(), 3, "one with a reason is the chat's own");

    for (command, off) in [("/shared off", true), ("/shared", true), ("/shared ON", false)] {
        bot.says(MEMBER, command).await;
        assert_eq!(bot.chat(MEMBER).await.shared_off, off, "{command}");
    }
    assert_eq!(bot.chat(MEMBER).await.off.len(), 0, "on is all of them");
    // a button whose watch is not there any more
    let gone = bot.presses(MEMBER, "unwatch-w:00000000000000ff").await;
    assert_eq!(gone["method"], "editMessageText");
}

#[tokio::test]
async fn a_dry_run_counts_what_would_have_matched() {
    let bot = bot().await;
    let mut probes = Vec::new();
    for (number, count) in [(1, 7), (2, 4), (3, 1)] {
        probes.extend((0..count).map(|ago| (device(number), "RNM-GUEST", ago * 1_000)));
    }
    probes.push((device(4), "rnm-guest", DAY_MS));
    probes.push((device(5), "RNM-GUEST", 8 * DAY_MS));
    probes.push((device(6), "OLD", 8 * DAY_MS));
    probes.push((device(6), "OLD", DAY_MS));
    bot.heard(&probes).await;
    for (command, told) in [
        ("/watch RNM-GUEST", "It would have matched 12 probes of 3 devices in the last 7 days."),
        ("/watch -i rnm-guest", "It would have matched 13 probes of 4 devices in the last 7 days."),
        ("/watch RNM*", "It would have matched 12 probes of 3 devices in the last 7 days."),
        ("/watch OLD", "It would have matched 1 device in the last 7 days (2 probes since 2026-10-02)."),
        ("/watch O?D", "It would have matched 1 device in the last 7 days (2 probes since 2026-10-02)."),
        ("/watch NEW*", "It would have matched nothing in the last 7 days."),
    ] {
        let answer = bot.says(MEMBER, command).await;
        assert_eq!(answer.lines().last(), Some(told), "{command}");
    }
    let many: Vec<(Mac, &str, i64)> = (0..=u8::MAX)
        .flat_map(|low| [(device(low), "MANY", 0), (Mac::new([0xa4, 1, 0, 0, 0, low]), "MANY", 0)])
        .collect();
    let bot = self::bot().await;
    bot.heard(&many).await;
    let answer = bot.says(MEMBER, "/watch M*").await;
    let told = "It would have matched 300 probes of 300 devices in the last 7 days, among the 300 devices that I looked at: there were more.";
    assert_eq!(answer.lines().last(), Some(told));
    let answer = bot.says(MEMBER, "/watch MANY").await;
    assert_eq!(
        answer.lines().last(),
        Some("It would have matched 512 probes of 512 devices in the last 7 days.")
    );
}

#[tokio::test]
async fn a_watch_is_muted_for_a_while() {
    let bot = bot().await;
    bot.topic_lists(&["RNM-GUEST"]).await;
    bot.says(MEMBER, "/watch RNM-GUEST").await;
    bot.says(MEMBER, "/watch \"Bus 15m\"").await;
    let muted = async || bot.chat(MEMBER).await.mutes;
    for (command, told, count) in [
        ("/mute RNM-GUEST", "🔇 RNM-GUEST is muted until 19:21.", 2),
        ("/mute RNM-GUEST 2h", "🔇 RNM-GUEST is muted until 20:21.", 2),
        ("/mute Bus 15m", "🔇 Bus 15m is muted until 19:21.", 3),
        ("/mute Bus 15m 1d", "🔇 Bus 15m is muted until 2026-10-11 18:21:00 UTC.", 3),
        ("/mute RNM-GUEST 31d", "🛎 Nothing is watched by the name RNM-GUEST 31d. /watches lists what is.", 3),
        ("/unmute RNM-GUEST", "🔔 RNM-GUEST is told again.", 1),
        ("/unmute Bus", "🛎 Nothing is watched by the name Bus. /watches lists what is.", 1),
    ] {
        assert_eq!(bot.says(MEMBER, command).await, told);
        assert_eq!(muted().await.len(), count, "{command}");
    }
    assert!(bot.says(MEMBER, "/watches").await.contains("Bus 15m (muted until 2026-10-11 18:21:00 UTC)"));
    let watch = own(MEMBER, "Bus 15m").id();
    assert!(bot.chat(MEMBER).await.is_muted(watch, now_ms() + DAY_MS - 1));
    assert!(!bot.chat(MEMBER).await.is_muted(watch, now_ms() + DAY_MS));
}

#[tokio::test]
async fn devices_are_ignored_by_name_and_by_button() {
    let bot = bot().await;
    for (command, told) in [
        ("/ignored", "🙈 No device is ignored."),
        ("/ignore A4-83-E7-4E-39-15", "🙈 No alerts about a4:83:e7:4e:39:15 (Apple, Inc.) any more."),
        ("/ignore sony-vaio", "🛎 No result found for device sony-vaio"),
        ("/ignored", "🙈 No alerts about 1 device:\n\ta4:83:e7:4e:39:15 (Apple, Inc.)"),
    ] {
        assert_eq!(bot.says(MEMBER, command).await, told, "{command}");
    }
    bot.says(MEMBER, "/ignore a4:00:00:00:00:01").await;
    let list = bot.answer(MEMBER, "/ignored").await.unwrap();
    assert_eq!(buttons(&list), ["unignore:a4:00:00:00:00:01", "unignore:a4:83:e7:4e:39:15"]);
    let less = bot.presses(MEMBER, "unignore:a4:00:00:00:00:01").await;
    assert_eq!(buttons(&less), ["unignore:a4:83:e7:4e:39:15"]);
    assert!(bot.says(MEMBER, "/unignore a483e74e3915").await.contains("again"));
    assert_eq!(bot.chat(MEMBER).await.ignored.len(), 0);

    let ignored = (0..Chat::MAX_IGNORED)
        .map(|n| Mac::new([0xa4, 0, 0, 1, u8::try_from(n / 256).unwrap(), (n % 256) as u8]));
    chats::change(&bot.context.table, MEMBER, |chat| chat.ignored = ignored.clone().collect()).await.unwrap();
    assert!(bot.says(MEMBER, &format!("/ignore {LAPTOP}")).await.contains("at most 500 devices"));
    let list = bot.answer(MEMBER, "/ignored").await.unwrap();
    assert_eq!(
        (buttons(&list).len(), list["text"].as_str().unwrap().encode_utf16().count() <= 4096),
        (40, true)
    );
}

#[tokio::test]
async fn quiet_hours_and_the_time_zone_are_the_chats_own() {
    let bot = bot().await;
    bot.heard(&[(LAPTOP.parse().unwrap(), "RNM0", 0)]).await;
    for (command, told) in [
        ("/quiet", "🔔 There are no quiet hours. Set them with /quiet 22:00-07:00 or /quiet off"),
        ("/timezone europe/london", "🕰 Times are told in Europe/London: it is 2026-10-10 19:21:00 BST."),
        ("/quiet 22:00 – 7", "🔕 Alerts make no sound from 22:00 to 07:00 (Europe/London)."),
        (
            "/quiet often",
            "🔕 Alerts make no sound from 22:00 to 07:00 (Europe/London). Set them with /quiet 22:00-07:00 or /quiet off",
        ),
        (
            "/timezone Atlantis",
            "🛎 There is no time zone Atlantis. They are called by a city, such as /timezone Europe/London",
        ),
        (
            "/timezone",
            "🕰 Times are told in Europe/London: it is 2026-10-10 19:21:00 BST. Set it with /timezone Europe/London",
        ),
    ] {
        assert_eq!(bot.says(MEMBER, command).await, told, "{command}");
    }
    let chat = bot.chat(MEMBER).await;
    assert_eq!((chat.quiet, chat.time_zone.as_deref()), (Some((1_320, 420)), Some("Europe/London")));
    assert!(bot.says(MEMBER, LAPTOP).await.contains("2026-10-10 19:21:00 BST"));
    assert!(bot.says(OWNER, LAPTOP).await.contains("2026-10-10 18:21:00 UTC"));
    assert_eq!(bot.says(MEMBER, "/quiet OFF").await, "🔔 There are no quiet hours any more.");
    assert_eq!(bot.chat(MEMBER).await.quiet, None);
}

#[tokio::test]
async fn an_alerts_buttons_act_and_are_noted_below_it() {
    let bot = bot().await;
    bot.topic_lists(&["RNM-GUEST"]).await;
    bot.says(MEMBER, "/watch RNM0").await;
    let shared = bot.watches().await.into_iter().find(|watch| watch.origin == Origin::Topic).unwrap();
    let of_topic = bot.alert(MEMBER, &shared, LAPTOP).await;
    let own = own(MEMBER, "RNM0");
    let of_chat = bot.alert(MEMBER, &own, LAPTOP).await;
    let passing = bot.alert(MEMBER, &own, "62:45:b6:c6:7e:03").await;
    bot.called("");
    for (data, told, note) in [
        (format!("mute:{of_chat}"), "muted until 19:21", Some("muted until 19:21")),
        (format!("ignore:{of_chat}"), "this device is ignored", Some("this device is ignored")),
        (format!("unwatch:{of_chat}"), "no longer watched", Some("no longer watched")),
        (format!("unwatch:{of_chat}"), "no longer watched", Some("no longer watched")),
        (format!("unwatch:{of_topic}"), "no longer watched", Some("no longer watched")),
        (
            format!("ignore:{passing}"),
            "Passing phones change their address: there is no device to ignore.",
            None,
        ),
        ("mute:1h:RNM0".to_owned(), "I don't know this button any more.", None),
        ("dance".to_owned(), "I don't know this button any more.", None),
        ("unwatch-w:x".to_owned(), "I don't know this button any more.", None),
        ("unignore:x".to_owned(), "I don't know this button any more.", None),
        (
            "mute:ffffffffffffffffffffffffffffffff".to_owned(),
            "This message is too old; /watches lists what is watched.",
            None,
        ),
    ] {
        let answer = bot.presses(MEMBER, &data).await;
        let expected =
            json!({"method": "answerCallbackQuery", "callback_query_id": "18220000000000001", "text": told});
        assert_eq!(answer, expected, "{data}");
        let edits = bot.called("editMessageText");
        assert_eq!(edits.len(), usize::from(note.is_some()), "{data}");
        if let Some(note) = note {
            let text = edits[0]["text"].as_str().unwrap();
            assert!(edits[0]["message_id"] == 6 && text.ends_with(note), "{data}: {text}");
        }
    }
    let chat = bot.chat(MEMBER).await;
    assert_eq!(chat.mutes.get(&own.id()), Some(&(now_ms() + HOUR_MS)));
    assert_eq!(chat.ignored.iter().map(ToString::to_string).collect::<Vec<_>>(), [LAPTOP]);
    assert_eq!(chat.off.iter().copied().collect::<Vec<_>>(), [shared.id()]);
    assert_eq!(bot.watches().await, std::slice::from_ref(&shared), "the chat's own is gone");

    for data in ["mute", "ignore", "unwatch"] {
        let answer = bot.presses(OWNER, &format!("{data}:{of_topic}")).await;
        assert_eq!(answer["text"], "That button is of another chat.");
    }
    let owner = bot.chat(OWNER).await;
    assert!(owner.mutes.is_empty() && owner.ignored.is_empty() && owner.off.is_empty());
}

#[tokio::test]
async fn buttons_work_without_a_token() {
    let bot = Bot { context: context(Telegram::none()), calls: Arc::default() };
    bot.let_in(MEMBER, Role::Member).await;
    bot.says(MEMBER, "/watch RNM0").await;
    let id = bot.alert(MEMBER, &own(MEMBER, "RNM0"), LAPTOP).await;
    assert_eq!(bot.presses(MEMBER, &format!("unwatch:{id}")).await["text"], "no longer watched");
    assert_eq!(bot.watches().await, []);
    bot.let_in(OWNER, Role::Owner).await;
    let invitation = bot.says(OWNER, "/invite").await;
    assert!(invitation.contains("/start ") && !invitation.contains("t.me"), "{invitation}");
}

#[tokio::test]
async fn a_chat_that_removes_the_bot_is_left_alone_until_it_is_back() {
    let bot = bot().await;
    let stands = async |chat: i64, status: &str| {
        let member = json!({"chat": place(chat), "new_chat_member": {"status": status}});
        assert_eq!(bot.update(json!({"my_chat_member": member})).await, None);
        bot.chat(chat).await.stopped
    };
    let blocked = Some(("the bot was blocked".to_owned(), now_ms()));
    let removed = Some(("the bot was removed".to_owned(), now_ms()));
    assert_eq!(stands(MEMBER, "kicked").await, blocked);
    pass(HOUR_MS);
    assert_eq!(stands(MEMBER, "kicked").await, blocked, "since the first time");
    pass(-HOUR_MS);
    assert_eq!(stands(GROUP, "left").await, removed);

    let all = bot.says(OWNER, "/status").await;
    assert!(all.contains("\n⚠️ Nothing is sent any more to:\n"), "{all}");
    for line in [
        "\tchat -431366401, stopped since 18:21: the bot was removed",
        "\tchat 99, stopped since 18:21: the bot was blocked",
    ] {
        assert!(all.contains(line), "{all}");
    }
    assert!(
        bot.says(OWNER, "/chats").await.contains("99 : member, stopped since 18:21: the bot was blocked")
    );
    let own = bot.says(MEMBER, "/status").await;
    assert!(!own.contains("Nothing is sent"), "who speaks can be reached: {own}");
    assert_eq!(bot.chat(MEMBER).await.stopped, None);
    assert_eq!(stands(GROUP, "restricted").await, removed);
    assert_eq!(stands(GROUP, "administrator").await, None);
}

#[tokio::test]
async fn a_group_takes_its_settings_and_watches_along() {
    for which in ["migrate_to_chat_id", "migrate_from_chat_id", "both"] {
        let bot = bot().await;
        bot.topic_lists(&["RNM-GUEST"]).await;
        for command in ["/watch RNM0 mine", "/unwatch RNM-GUEST", "/quiet 22-7", "/timezone Europe/London"] {
            bot.says(GROUP, command).await;
        }
        let id = bot.alert(GROUP, &own(GROUP, "RNM0"), LAPTOP).await;
        let before = bot.chat(GROUP).await;
        if which != "migrate_from_chat_id" {
            bot.update(json!({"message": {"chat": place(GROUP), "migrate_to_chat_id": SUPERGROUP}})).await;
        }
        if which != "migrate_to_chat_id" {
            bot.update(json!({"message": {"chat": place(SUPERGROUP), "migrate_from_chat_id": GROUP}})).await;
        }
        let after = bot.chat(SUPERGROUP).await;
        assert_eq!(
            (after.role, after.quiet, &after.time_zone),
            (before.role, before.quiet, &before.time_zone)
        );
        assert_eq!(after.off, before.off, "{which}");
        assert!(bot.says(SUPERGROUP, "/watches").await.contains("RNM0 : mine"), "{which}");
        assert_eq!(chats::find(&bot.context.table, GROUP).await.unwrap(), None);
        assert_eq!(bot.answer(GROUP, "/watches").await, None, "{which}");

        // the buttons of what was sent before
        assert_eq!(bot.presses(SUPERGROUP, &format!("mute:{id}")).await["text"], "muted until 20:21");
        assert!(bot.chat(SUPERGROUP).await.is_muted(own(SUPERGROUP, "RNM0").id(), now_ms()));
        assert_eq!(bot.called("editMessageText")[0]["chat_id"], SUPERGROUP);
        assert_eq!(bot.presses(SUPERGROUP, &format!("unwatch:{id}")).await["text"], "no longer watched");
        assert!(bot.watches().await.iter().all(|watch| watch.origin == Origin::Topic), "{which}");
    }
}

#[tokio::test]
async fn webhooks_are_set_by_owners_in_private_and_never_shown() {
    let bot = bot().await;
    bot.let_in(GROUP, Role::Owner).await;
    bot.says(OWNER, "/watch \"The Red Lion\"").await;
    let url = "https://hooks.example.com/services/T0/SECRET";
    for (chat, command, part) in [
        (GROUP, format!("/hook {url}"), "set it in a private chat"),
        (OWNER, "/hook hooks.example.com".to_owned(), "🛎 that is no URL"),
        (OWNER, "/hook http://hooks.example.com/SECRET".to_owned(), "🛎 a webhook needs https"),
        (OWNER, "/hook http://127.0.0.1/SECRET".to_owned(), "🛎 a webhook needs https"),
        (OWNER, format!("/hook {url} slack RNM0"), "Nothing is watched by the name RNM0"),
        (
            OWNER,
            format!("/hook {url} Slack The Red Lion"),
            "at hooks.example.com as slack, of The Red Lion alone.",
        ),
        (OWNER, format!("/hook {url}"), "at hooks.example.com as json."),
    ] {
        let answer = bot.says(chat, &command).await;
        assert!(answer.contains(part) && !answer.contains("SECRET"), "{command}: {answer}");
    }
    let all = hooks::all(&bot.context.table).await.unwrap();
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|hook| hook.chat == OWNER && hook.url.expose_secret() == url));
    let of_watch = all.iter().find(|hook| hook.watch.is_some()).unwrap();
    let of_all = all.iter().find(|hook| hook.watch.is_none()).unwrap();
    hooks::stop(&bot.context.table, &of_all.id, "the webhook is gone (410)", now_ms()).await.unwrap();

    let list = bot.answer(OWNER, "/hooks").await.unwrap();
    let text = list["text"].as_str().unwrap();
    for line in [
        format!("\t{} hooks.example.com : slack, of The Red Lion alone", of_watch.id),
        format!("\t{} hooks.example.com : json, stopped since 18:21: the webhook is gone (410)", of_all.id),
    ] {
        assert!(text.contains(&line) && !text.contains("SECRET"), "{text}");
    }
    let status = bot.says(OWNER, "/status").await;
    assert!(status.contains(&format!("webhook {} hooks.example.com, stopped since", of_all.id)), "{status}");
    assert!(!bot.says(MEMBER, "/status").await.contains("webhook"));

    let less = bot.presses(OWNER, &format!("unhook:{}", of_all.id)).await;
    assert_eq!(buttons(&less), [format!("unhook:{}", of_watch.id)]);
    assert_eq!(
        bot.says(OWNER, &format!("/unhook {}", of_watch.id)).await,
        format!("🪝 Webhook {} is removed.", of_watch.id)
    );
    assert!(bot.says(OWNER, "/unhook x").await.contains("There is no webhook x"));
    assert!(bot.says(OWNER, "/hooks").await.contains("There is no webhook"));
}

#[tokio::test]
async fn the_status_says_what_waits() {
    let bot = bot().await;
    bot.says(MEMBER, "/watch RNM0").await;
    let watch = own(MEMBER, "RNM0");
    bot.alert(MEMBER, &watch, LAPTOP).await;
    let status = bot.says(MEMBER, "/status").await;
    assert_eq!(status, "⏳ Nothing was counted yet\n👁 1 watch of this chat, 0 from topic ssid_alert_list");
    let sighting = |mac: Mac| Sighting {
        offset: offset(),
        time: now_ms(),
        mac,
        ssid: ssid("RNM0"),
        signal_dbm: None,
        sensor: None,
    };
    let to = [Destination::Chat(MEMBER)];
    let case = |number: u8| Case {
        chat: MEMBER,
        watch: &watch,
        who: Who::of(device(number)),
        to: &to,
        sightings: vec![sighting(device(number))],
    };
    episodes::absorb(&bot.context.table, &source("pcap"), &[case(1), case(2)], now_ms()).await.unwrap();
    assert!(bot.says(MEMBER, "/status").await.ends_with("\n📭 2 messages wait to be sent to this chat"));
    assert!(!bot.says(OWNER, "/status").await.contains("📭"));
}

#[tokio::test]
async fn hostile_names_stand_in_marks_alone() {
    let bot = bot().await;
    let name = "@everyone /stop https://evil.example";
    bot.heard(&[(LAPTOP.parse().unwrap(), name, 0)]).await;
    let answers = [
        bot.answer(MEMBER, LAPTOP).await,
        bot.answer(MEMBER, &format!("/ssid {name}")).await,
        bot.answer(MEMBER, &format!("/watch \"{name}\"")).await,
        bot.answer(MEMBER, "/watches").await,
        bot.answer(MEMBER, &format!("/unwatch {name}")).await,
        bot.answer(MEMBER, name).await,
    ];
    for answer in answers.into_iter().flatten() {
        assert!(marked(&answer).iter().any(|mark| mark.contains(name)), "{answer}");
        assert_eq!(answer["text"].as_str().unwrap().matches("evil").count(), 1, "{answer}");
    }
}

#[tokio::test]
async fn what_people_in_a_group_say_to_each_other_is_not_answered() {
    let bot = bot().await;
    assert_eq!(bot.answer(GROUP, "good morning").await, None);
    assert!(bot.says(GROUP, LAPTOP).await.contains("No result found"));
    assert!(bot.says(MEMBER, "good morning").await.contains("No result found for device good morning"));
}
