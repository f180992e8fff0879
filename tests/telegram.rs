//! `probegram local` as a Telegram bot: from a probe request in the spool to a message in a chat, while Telegram and the program fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use domain::{EventTime, Mac, Ssid, SsidElement};
use jiff::tz::TimeZone;
use probegram_tests::local::{self, Local, encoded, fill_spool, probe};
use probegram_tests::telegram::{CallbackAnswer, Fault, Gate, Kind, Message, Outcome, Telegram};
use probegram_tests::until;
use runtime::zoned::{for_people, time_of_day};
use serde_json::{Value, json};
use tempfile::TempDir;

const OWNER: i64 = 4_242_424_242;
const OTHER: i64 = 99;
const GROUP: i64 = -431_366_401;
const SUPERGROUP: i64 = -1_001_234_567_890;
/// Longer than a message is claimed, and than what follows in an episode is kept for an edit: a minute each.
const PATIENCE: Duration = Duration::from_secs(180);
/// What stands before the code in the line that tells it.
const CODE: &str = "This bot has no owner yet. To become it, write to it in Telegram: /start ";

/// A bot in the fake Telegram, with a table and a spool.
struct Bot {
    telegram: Telegram,
    local: Local,
    data: TempDir,
}

fn command(telegram: &Telegram, token: &str, data: &Path) -> Command {
    let file = data.join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let mut command = local::command(["--time-zone", "UTC", "--telegram-api-url", &telegram.url()]);
    command.arg("--telegram-token-file").arg(file).arg("--data").arg(data);
    command
}

/// A bot that nobody owns.
fn new_bot() -> Bot {
    let (telegram, data) = (Telegram::start(), TempDir::new().unwrap());
    telegram.add_chat(OWNER, Kind::Private);
    telegram.add_chat(OTHER, Kind::Private);
    let local = Local::start(&mut command(&telegram, telegram.token(), data.path()));
    Bot { telegram, local, data }
}

/// A bot with an owner, who has been greeted.
fn bot() -> Bot {
    let mut bot = new_bot();
    let code = bot.local.program.wait_for_line(CODE);
    bot.answer(OWNER, &format!("/start {code}"));
    bot
}

impl Bot {
    /// The messages in a chat, when there are so many.
    fn messages(&self, chat: i64, count: usize) -> Vec<Message> {
        until(PATIENCE, &format!("message {count} in chat {chat}"), || {
            Some(self.telegram.messages(chat)).filter(|messages| messages.len() >= count)
        })
    }

    /// What the bot answers next in a chat.
    fn answer(&self, chat: i64, text: &str) -> String {
        let before = self.telegram.messages(chat).len();
        self.telegram.somebody_says(chat, text);
        self.messages(chat, before + 1)[before].text.clone()
    }

    /// Probe requests for RNM-GUEST come into the spool, and are dealt with if the program runs. When they were heard.
    fn hears(&self, devices: &[Mac]) -> EventTime {
        let (_end, time) = self.put_into_spool(devices);
        time
    }

    fn put_into_spool(&self, devices: &[Mac]) -> (i64, EventTime) {
        let time = runtime::clock::now_ms();
        let guest = SsidElement::Named(Ssid::new(*b"RNM-GUEST").unwrap());
        let record = |mac: &Mac| encoded(&probe(*mac, time, guest.clone()));
        (fill_spool(self.data.path(), &devices.iter().map(record).collect::<Vec<_>>()), time)
    }

    /// As [`Self::hears`]; returns when all is dealt with.
    fn absorbs(&self, devices: &[Mac]) -> EventTime {
        let (end, time) = self.put_into_spool(devices);
        until(PATIENCE, "all to be dealt with by aggregate and alert", || {
            let status = self.local.status();
            // materialize reads heartbeats, of which there are none
            let groups =
                status["groups"].as_object()?.iter().filter(|(name, _)| !name.contains("materialize"));
            let is_through = |group: &Value| group[0]["through"] == end - 1;
            groups.map(|(_, group)| group).chain([&status["partitions"]]).all(is_through).then_some(())
        });
        time
    }

    /// Kills the program, lets this happen meanwhile, and starts it again.
    fn kill(mut self, meanwhile: impl FnOnce(&Self)) -> Self {
        self.local.program.kill();
        meanwhile(&self);
        self.local = Local::start(&mut command(&self.telegram, self.telegram.token(), self.data.path()));
        self
    }

    /// Presses the button of this label; the answer.
    fn presses(&self, message: &Message, label: &str) -> CallbackAnswer {
        let (_label, data) = message.buttons().into_iter().find(|(its, _)| its == label).unwrap();
        let id = self.telegram.press(message.chat, message.message_id, &data.unwrap());
        until(PATIENCE, label, || self.telegram.answers().into_iter().find(|answer| answer.id == id))
    }

    /// What became of all messages that were to be sent to a chat.
    fn sends(&self, chat: i64) -> Vec<Outcome> {
        let calls = self.telegram.calls().into_iter();
        let sent = calls.filter(|call| call.method == "sendMessage" && call.params["chat_id"] == chat);
        sent.map(|call| call.outcome).collect()
    }
}

fn device(number: u8) -> Mac {
    Mac::new([0xa4, 0x83, 0xe7, 0, 0, number])
}

/// The alerts among messages.
fn alerts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_str()).filter(|text| text.starts_with('📣')).collect()
}

/// The first words of an alert.
fn alert(mac: Mac, time: EventTime) -> String {
    format!(
        "📣 At {} MAC address {mac} probed for SSID RNM-GUEST\n\n\
         This SSID is being tracked because: guest network\n-60 dBm at hallway · made by Apple, Inc.",
        for_people(time, &TimeZone::UTC)
    )
}

#[test]
fn the_code_that_is_printed_makes_one_chat_the_owner() {
    let mut bot = new_bot();
    let code = bot.local.program.wait_for_line(CODE);
    let stranger = format!("This bot is private. Its owner can let this chat in by its id: {OTHER}");
    assert!(bot.answer(OWNER, &format!("/start {code}")).contains("an owner of this bot now"));
    assert_eq!(bot.answer(OTHER, &format!("/start {code}")), stranger);
    bot.telegram.somebody_says(OTHER, &device(1).to_string());
    assert_eq!(
        bot.answer(OWNER, &device(1).to_string()),
        format!("🛎 No result found for device {}", device(1))
    );
    assert_eq!(bot.telegram.messages(OTHER).len(), 1, "a stranger is told once a day");
    assert_eq!(bot.local.post("/telegram", &[], "{}").status, 401, "the webhook is not open beside it");

    let bot = bot.kill(|_| {});
    bot.answer(OWNER, "/help");
    assert!(!bot.local.program.stdout().contains("/start"), "{}", bot.local.program.stdout());
    let commands = |scope: Value| -> Vec<String> {
        bot.telegram.commands(&scope).into_iter().map(|(name, _)| name).collect()
    };
    let of_owner = commands(json!({"type": "chat", "chat_id": OWNER}));
    assert!(
        of_owner.contains(&"watch".to_owned()) && of_owner.contains(&"invite".to_owned()),
        "{of_owner:?}"
    );
    assert_eq!(commands(json!({"type": "default"})), ["start"]);
}

#[test]
fn whatever_happens_in_a_chat_the_next_question_is_answered() {
    let bot = bot();
    let mac = device(1).to_string();
    for odd in [
        json!({"edited_message": {"message_id": 1, "chat": {"id": OWNER, "type": "private"}, "text": mac}}),
        json!({"message": {"message_id": 2, "chat": {"id": OWNER, "type": "private"}, "photo": []}}),
        json!({"message": {"chat": "x"}}),
        json!({"my_chat_member": {"new_chat_member": {"status": "kicked"}}}),
        json!({"callback_query": {"id": "7", "from": {"id": OWNER}, "data": "no button"}}),
        json!({"a_kind_of_the_future": 7}),
    ] {
        bot.telegram.happens(odd);
    }
    let before = bot.telegram.messages(OWNER).len();
    assert!(bot.answer(OWNER, "/help").contains("/ssid"));
    assert_eq!(bot.telegram.messages(OWNER).len(), before + 1, "nothing else is answered");
}

#[test]
fn an_answer_survives_a_telegram_that_is_busy_or_broken() {
    let bot = bot();
    for fault in [Fault::TooManyRequests(1), Fault::BadGateway, Fault::Lost] {
        bot.telegram.fail_next("sendMessage", fault);
    }
    bot.telegram.fail_next("getUpdates", Fault::BadGateway);
    assert!(bot.answer(OWNER, "/help").contains("/ssid"));
    assert_eq!(bot.telegram.messages(OWNER).len(), 2);
    assert!(bot.local.program.stderr().contains("Telegram did not answer"), "trouble is said");
}

#[test]
fn a_wrong_token_is_said_without_repeating_it() {
    let (telegram, data) = (Telegram::start(), TempDir::new().unwrap());
    let local = Local::start(&mut command(&telegram, "1:the-wrong-one", data.path()));
    until(PATIENCE, "the wrong token to be said", || {
        local.program.stderr().contains("get one from @BotFather").then_some(())
    });
    assert!(!local.program.stderr().contains("wrong-one"), "{}", local.program.stderr());
}

#[test]
fn an_alert_comes_with_its_reason_and_its_buttons_work() {
    let bot = bot();
    bot.answer(OWNER, "/watch RNM-GUEST guest network");
    let time = bot.hears(&[device(1)]);
    let message = bot.messages(OWNER, 3).remove(2);
    assert_eq!(message.text, alert(device(1), time));
    for (label, note) in [
        ("Mute 1 h", "muted until "),
        ("Ignore this device", "this device is ignored"),
        ("Unwatch", "no longer watched"),
    ] {
        let answer = bot.presses(&message, label);
        assert!(answer.text.starts_with(note), "{label}: {answer:?}");
        let edited = &bot.telegram.messages(OWNER)[2];
        assert_eq!(edited.text, format!("{}\n\n{}", message.text, answer.text));
        assert_eq!(edited.buttons(), message.buttons());
    }
    assert!(bot.answer(OWNER, "/watches").starts_with("👁 Nothing is watched"));
    assert!(bot.answer(OWNER, "/ignored").contains(&device(1).to_string()));
}

#[test]
fn an_alert_that_telegram_has_no_time_for_comes_once() {
    let bot = bot();
    bot.answer(OWNER, "/watch RNM-GUEST guest network");
    bot.telegram.fail_next("sendMessage", Fault::TooManyRequests(1));
    let time = bot.hears(&[device(1)]);
    assert_eq!(bot.messages(OWNER, 3)[2].text, alert(device(1), time));
    assert!(!bot.answer(OWNER, "/status").contains("waits"));
    assert_eq!(alerts(&bot.telegram.messages(OWNER)).len(), 1);
    assert!(matches!(bot.sends(OWNER)[2..4], [Outcome::Refused { code: 429, .. }, Outcome::Done(_)]));
}

/// Killed while it sends, it does not know whether that was sent, and waits until its claim is over.
#[test]
fn after_a_kill_nothing_is_lost_and_what_follows_is_counted_in_the_message() {
    let bot = bot();
    bot.answer(OWNER, "/watch RNM-GUEST guest network");
    let first = bot.absorbs(&[device(1)]);
    let under_way = Gate::closed();
    bot.telegram.fail_next("sendMessage", Fault::Held(under_way.clone()));
    let second = bot.hears(&[device(2)]);
    until(PATIENCE, "the second alert to be under way", || (under_way.arrived() == 1).then_some(()));
    let mut later = 0;
    let bot = bot.kill(|bot| later = bot.hears(&[device(1), device(3), device(1)]));

    let counted = format!("\n3 probes until {}", time_of_day(later, &TimeZone::UTC));
    let expected = [
        alert(device(1), first) + &counted,
        alert(device(3), later), // before the second: that is claimed by who was killed
        alert(device(2), second),
    ];
    let told = |messages: &[Message]| alerts(messages) == expected;
    let mut messages = Vec::new();
    let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until(PATIENCE, "three alerts, and the first edited", || {
            messages = bot.telegram.messages(OWNER);
            told(&messages).then_some(())
        });
    }));
    assert!(end.is_ok(), "{:#?}", alerts(&messages));
    assert_eq!(messages.iter().map(|message| message.edits).sum::<usize>(), 1);
}

#[test]
fn a_chat_that_has_blocked_the_bot_gets_nothing_more_and_owners_learn_of_it() {
    let bot = bot();
    bot.answer(OWNER, &format!("/allow {OTHER} owner"));
    bot.answer(OTHER, "/watch RNM-GUEST");
    let blocked =
        json!({"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked by the user"});
    bot.telegram.fail_next("sendMessage", Fault::Refused(blocked));
    bot.absorbs(&[device(1)]);
    let sent = bot.sends(OTHER).len();
    assert!(
        matches!(bot.sends(OTHER)[sent - 1], Outcome::Refused { code: 403, .. }),
        "{:?}",
        bot.sends(OTHER)
    );

    bot.answer(OWNER, "/watch RNM-GUEST guest network");
    let time = bot.absorbs(&[device(2)]);
    assert_eq!(alerts(&bot.telegram.messages(OWNER)), [alert(device(2), time)]);
    assert_eq!(bot.sends(OTHER).len(), sent, "it is left in peace");
    let status = bot.answer(OWNER, "/status");
    let told = status.split("Nothing is sent any more to:").nth(1).unwrap();
    assert!(told.contains(&OTHER.to_string()) && told.contains("blocked by the user"), "{status}");
}

#[test]
fn a_group_that_becomes_a_supergroup_is_followed() {
    let bot = bot();
    bot.telegram.add_chat(GROUP, Kind::Group);
    bot.answer(OWNER, &format!("/allow {GROUP}"));
    bot.answer(GROUP, "/watch@probegram_bot RNM-GUEST guest network");
    bot.absorbs(&[device(1)]);
    assert_eq!(alerts(&bot.telegram.messages(GROUP)).len(), 1);
    bot.telegram.upgrade(GROUP, SUPERGROUP);
    let time = bot.hears(&[device(2)]);
    assert_eq!(bot.messages(SUPERGROUP, 1)[0].text, alert(device(2), time));
    assert!(bot.answer(SUPERGROUP, "/watches@probegram_bot").contains("RNM-GUEST : guest network"));
}
