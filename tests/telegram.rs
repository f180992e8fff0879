//! `probegram local` as a Telegram bot, against an HTTP server that speaks the Bot API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use probegram_tests::local::{self, Local};
use probegram_tests::process::Signal;
use probegram_tests::until;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const TOKEN: &str = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";
const OWNER: i64 = 4_242_424_242;
const STRANGER: i64 = 99;
const MAC: &str = "a4:83:e7:4e:39:15";
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens in the chats of a bot, and what it says there.
#[derive(Clone, Default)]
struct Chats {
    updates: Arc<Mutex<Vec<Value>>>,
    /// How the next messages are received, before all are well.
    troubles: Arc<Mutex<Vec<ResponseTemplate>>>,
    said: Arc<Mutex<Vec<Value>>>,
}

impl Chats {
    fn happens(&self, update: Value) {
        self.updates.lock().unwrap().push(update);
    }

    fn somebody_says(&self, chat: i64, text: &str) {
        let id = 1 + self.updates.lock().unwrap().len();
        let chat = json!({"id": chat, "type": "private"});
        self.happens(
            json!({"update_id": id, "message": {"message_id": id, "date": 1, "chat": chat, "text": text}}),
        );
    }

    fn said(&self) -> Vec<Value> {
        self.said.lock().unwrap().clone()
    }
}

fn ok(result: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"ok": true, "result": result}))
}

struct Updates(Chats);

impl Respond for Updates {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let offset = request.body_json::<Value>().unwrap()["offset"].as_i64().unwrap();
        let updates = self.0.updates.lock().unwrap();
        let new: Vec<&Value> =
            updates.iter().filter(|update| update["update_id"].as_i64().unwrap() >= offset).collect();
        // long polling: nothing new is told after a while
        let wait = if new.is_empty() { Duration::from_millis(50) } else { Duration::ZERO };
        ok(json!(new)).set_delay(wait)
    }
}

struct Messages(Chats);

impl Respond for Messages {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut troubles = self.0.troubles.lock().unwrap();
        if !troubles.is_empty() {
            return troubles.remove(0);
        }
        self.0.said.lock().unwrap().push(request.body_json().unwrap());
        ok(json!({"message_id": 1, "date": 1, "chat": {"id": 1, "type": "private"}}))
    }
}

/// A Bot API server on this machine, and a bot that talks to it.
struct Bot {
    chats: Chats,
    local: Local,
    _server: MockServer,
    _runtime: Runtime,
    _token: tempfile::NamedTempFile,
}

fn bot() -> Bot {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let chats = Chats::default();
    let server = runtime.block_on(async {
        let server = MockServer::start().await;
        let route = |name: &str| Mock::given(method("POST")).and(path(format!("/bot{TOKEN}/{name}")));
        route("getUpdates").respond_with(Updates(chats.clone())).mount(&server).await;
        route("sendMessage").respond_with(Messages(chats.clone())).mount(&server).await;
        server
    });
    let token = tempfile::NamedTempFile::new().unwrap();
    fs::write(token.path(), format!("{TOKEN}\n")).unwrap();
    let mut command =
        local::command(["--in-memory", "--telegram-api-url", &server.uri(), "--telegram-token-file"]);
    command.arg(token.path()).args(["--allow-chat", &OWNER.to_string(), "--allow-chat", "-431366401"]);
    // everything that could be said is said: the token must not be in it
    command.env("RUST_LOG", "trace");
    let spool = tempfile::tempdir().unwrap();
    command.arg("--spool").arg(spool.path());
    Bot { chats, local: Local::start(&mut command), _server: server, _runtime: runtime, _token: token }
}

impl Bot {
    fn wait_for_messages(&self, count: usize) -> Vec<Value> {
        until(PATIENCE, "the bot to answer", || Some(self.chats.said()).filter(|said| said.len() >= count))
    }

    /// Ends it; returns all that it has printed.
    fn end(mut self) -> String {
        self.local.program.signal(Signal::SIGTERM);
        assert!(self.local.program.wait(PATIENCE).success());
        self.local.program.stdout() + &self.local.program.stderr()
    }
}

#[test]
fn questions_are_answered_and_strangers_are_not() {
    let bot = bot();
    bot.chats.somebody_says(OWNER, MAC);
    bot.chats.somebody_says(STRANGER, MAC);
    bot.chats.somebody_says(OWNER, "/ssid RNM0");
    let said = bot.wait_for_messages(3);
    let texts: Vec<(i64, &str)> =
        said.iter().map(|said| (said["chat_id"].as_i64().unwrap(), said["text"].as_str().unwrap())).collect();
    assert_eq!(texts[0], (OWNER, "🛎 No result found for device a4:83:e7:4e:39:15"));
    assert_eq!(texts[1].0, STRANGER);
    assert!(texts[1].1.contains("99") && !texts[1].1.contains("No result"), "{}", texts[1].1);
    assert_eq!(texts[2], (OWNER, "🛎 No device looked for RNM0"));
    assert_eq!(bot.local.post("/telegram", &[], "{}").status, 401, "the webhook is not open beside it");
    assert!(!bot.end().contains("AAHdq"));
}

#[test]
fn whatever_happens_in_a_chat_the_next_question_is_answered() {
    let bot = bot();
    for (id, odd) in (1_i64..).zip([
        json!({"edited_message": {"message_id": 1, "chat": {"id": OWNER, "type": "private"}, "text": MAC}}),
        json!({"message": {"message_id": 2, "chat": {"id": OWNER, "type": "private"}, "photo": []}}),
        json!({"message": {"chat": "x"}}),
        json!({"my_chat_member": {"new_chat_member": {"status": "kicked"}}}),
        json!({"a_kind_of_the_future": 7}),
    ]) {
        let mut update = odd;
        update["update_id"] = json!(id);
        bot.chats.happens(update);
    }
    bot.chats.somebody_says(OWNER, "/help");
    let said = bot.wait_for_messages(1);
    assert!(said[0]["text"].as_str().unwrap().contains("/ssid"), "{said:?}");
    assert_eq!(said.len(), 1, "nothing else is answered");
    bot.end();
}

#[test]
fn an_answer_survives_a_telegram_that_is_busy_or_broken() {
    let bot = bot();
    let busy = json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 1",
        "parameters": {"retry_after": 1}});
    *bot.chats.troubles.lock().unwrap() = vec![
        ResponseTemplate::new(429).set_body_json(busy),
        ResponseTemplate::new(502).set_body_string("<html>Bad Gateway</html>"),
    ];
    bot.chats.somebody_says(OWNER, MAC);
    assert_eq!(bot.wait_for_messages(1).len(), 1);
    let printed = bot.end();
    assert!(!printed.contains("AAHdq"), "the token was printed");
    assert!(printed.contains("Telegram"), "trouble is said");
}

#[test]
fn a_wrong_token_is_said_without_repeating_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(async {
        let server = MockServer::start().await;
        let refusal = json!({"ok": false, "error_code": 401, "description": "Unauthorized"});
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(401).set_body_json(refusal))
            .mount(&server)
            .await;
        server
    });
    let token = tempfile::NamedTempFile::new().unwrap();
    fs::write(token.path(), TOKEN).unwrap();
    let mut command =
        local::command(["--in-memory", "--telegram-api-url", &server.uri(), "--telegram-token-file"]);
    let mut local = Local::start(command.arg(token.path()).env("RUST_LOG", "trace"));
    until(PATIENCE, "the wrong token to be said", || {
        local.program.stderr().contains("@BotFather").then_some(())
    });
    local.program.signal(Signal::SIGTERM);
    assert!(local.program.wait(PATIENCE).success());
    assert!(!local.program.stderr().contains("AAHdq"));
}
