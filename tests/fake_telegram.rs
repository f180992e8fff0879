//! The Bot API server of the tests refuses what Telegram refuses: if it did not, the tests that use it would show nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use probegram_tests::telegram::{Fault, Gate, Kind, Outcome, SOMEBODY, Telegram};
use probegram_tests::{shared, until};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const OWNER: i64 = 12345;
const GROUP: i64 = -431_366_401;
const SUPERGROUP: i64 = -1_001_234_567_890;
const PATIENCE: Duration = Duration::from_secs(60);
const NONE: [i64; 0] = [];
const CONFLICT: &str = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";

/// A server, and a client that knows nothing but HTTP.
struct Api {
    telegram: Telegram,
    http: reqwest::Client,
}

fn api() -> Api {
    let telegram = Telegram::start();
    telegram.add_chat(OWNER, Kind::Private);
    telegram.add_chat(GROUP, Kind::Group);
    Api { telegram, http: reqwest::Client::builder().no_proxy().build().unwrap() }
}

impl Api {
    async fn try_call(&self, method: &str, params: &Value) -> Result<(u16, String), reqwest::Error> {
        let url = format!("{}/bot{}/{method}", self.telegram.url(), self.telegram.token());
        let response = self.http.post(url).json(params).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// The whole answer, whose status must be what it says.
    async fn call(&self, method: &str, params: Value) -> Value {
        let (status, body) = self.try_call(method, &params).await.unwrap();
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["error_code"].as_u64().unwrap_or(200), u64::from(status), "{answer}");
        answer
    }

    async fn done(&self, method: &str, params: Value) -> Value {
        let mut answer = self.call(method, params).await;
        assert_eq!(answer["ok"], true, "{answer}");
        answer["result"].take()
    }

    /// In which words it is refused.
    async fn refused(&self, method: &str, params: Value) -> String {
        let answer = self.call(method, params).await;
        assert_eq!(answer["ok"], false, "{method} was carried out: {answer}");
        answer["description"].as_str().unwrap().to_owned()
    }

    async fn says(&self, chat: i64, text: &str) -> i64 {
        self.done("sendMessage", json!({"chat_id": chat, "text": text})).await["message_id"].as_i64().unwrap()
    }

    /// A message with one button.
    async fn offers(&self, chat: i64, callback_data: &str) -> i64 {
        let sent = json!({"chat_id": chat, "text": "?", "reply_markup": keyboard(callback_data)});
        self.done("sendMessage", sent).await["message_id"].as_i64().unwrap()
    }

    async fn updates(&self, params: Value) -> Vec<i64> {
        let updates = self.done("getUpdates", params).await;
        updates.as_array().unwrap().iter().map(|update| update["update_id"].as_i64().unwrap()).collect()
    }
}

fn keyboard(callback_data: &str) -> Value {
    json!({"inline_keyboard": [[{"text": "Mute", "callback_data": callback_data}]]})
}

/// The replies of the real one that are kept as test material, if it is here.
fn real_replies() -> Option<Vec<Value>> {
    let lines = std::fs::read_to_string(shared("events/constructed/telegram_error_replies.jsonl")?).unwrap();
    Some(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[tokio::test]
async fn only_the_token_opens_and_only_methods_are_called() {
    let api = api();
    let url = api.telegram.url();
    let get =
        |path: String| async { api.http.get(path).send().await.unwrap().json::<Value>().await.unwrap() };
    assert_eq!(
        get(format!("{url}/bot1:wrong/getMe")).await,
        json!({"ok": false, "error_code": 401, "description": "Unauthorized"})
    );
    assert_eq!(
        api.call("getEverything", json!({})).await,
        json!({"ok": false, "error_code": 404, "description": "Not Found"})
    );
    assert_eq!(get(format!("{url}/getMe")).await["error_code"], 404);
    let me = api.done("getme", json!({})).await;
    assert_eq!((&me["username"], &me["is_bot"]), (&json!("probegram_bot"), &json!(true)));
    let sent =
        format!("{url}/bot{}/sendMessage?chat_id={OWNER}&text=a%26b&entities=%5B%5D", api.telegram.token());
    assert_eq!(get(sent).await["result"]["text"], "a&b", "parameters may be in the query string");
}

#[tokio::test]
async fn a_message_is_kept_as_it_was_sent() {
    let api = api();
    let entities = json!([{"type": "bold", "offset": 0, "length": 2}]);
    let sent = api
        .done(
            "sendMessage",
            json!({"chat_id": OWNER, "text": "📣 At", "entities": entities, "reply_markup": keyboard("mute"),
                "disable_notification": true, "link_preview_options": {"is_disabled": true}}),
        )
        .await;
    assert_eq!((&sent["message_id"], &sent["chat"]["type"]), (&json!(1), &json!("private")), "{sent}");
    assert_eq!((&sent["entities"], &sent["reply_markup"]), (&entities, &keyboard("mute")));
    assert!(sent["date"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!(api.says(GROUP, "hi").await, 1, "each chat counts its own messages");
    let messages = api.telegram.messages(OWNER);
    assert_eq!(messages.len(), 1);
    assert_eq!((messages[0].text.as_str(), messages[0].silent, messages[0].edits), ("📣 At", true, 0));
    assert_eq!(messages[0].buttons(), [("Mute".to_owned(), Some("mute".to_owned()))]);
    let all = api.telegram.all_messages();
    assert_eq!(
        all.iter().map(|message| (message.chat, message.silent)).collect::<Vec<_>>(),
        [(OWNER, true), (GROUP, false)]
    );
}

#[tokio::test]
async fn a_text_has_1_to_4096_utf_16_units() {
    let api = api();
    let send = |text: String| json!({"chat_id": OWNER, "text": text});
    api.done("sendMessage", send("📡".repeat(2048))).await;
    for (text, words) in [
        ("📡".repeat(2049), "Bad Request: message is too long"),
        ("x".repeat(4097), "Bad Request: message is too long"),
        (String::new(), "Bad Request: message text is empty"),
        (" \n ".to_owned(), "Bad Request: message text is empty"),
    ] {
        assert_eq!(api.refused("sendMessage", send(text)).await, words);
    }
    assert_eq!(
        api.refused("sendMessage", json!({"chat_id": OWNER})).await,
        "Bad Request: message text is empty"
    );
    let formatted = json!({"chat_id": OWNER, "text": "<b>x</b>", "parse_mode": "HTML"});
    assert_eq!(api.refused("sendMessage", formatted).await, "Bad Request: unsupported parse_mode");
}

#[tokio::test]
async fn entities_lie_within_the_text_and_split_no_character() {
    let api = api();
    let send = |entities: Value| json!({"chat_id": OWNER, "text": "a📡b", "entities": entities});
    let code = |offset: Value, length: Value| json!([{"type": "code", "offset": offset, "length": length}]);
    for fits in [(0, 4), (1, 2), (3, 1), (4, 0)] {
        api.done("sendMessage", send(code(json!(fits.0), json!(fits.1)))).await;
    }
    let nested =
        json!([{"type": "bold", "offset": 0, "length": 4}, {"type": "code", "offset": 1, "length": 2}]);
    api.done("sendMessage", send(nested)).await;
    let crossing =
        json!([{"type": "bold", "offset": 0, "length": 3}, {"type": "code", "offset": 1, "length": 3}]);
    let parse = "can't parse MessageEntity: ";
    for (entities, words) in [
        (
            code(json!(0), json!(5)),
            "entity beginning at UTF-16 offset 0 ends after the end of the text at UTF-16 offset 5"
                .to_owned(),
        ),
        (code(json!(4), json!(1)), "entity begins after the end of the text at UTF-16 offset 4".to_owned()),
        (
            code(json!(2), json!(1)),
            "entity begins in a middle of a UTF-16 symbol at byte offset 5".to_owned(),
        ),
        (code(json!(0), json!(2)), "entity ends in a middle of a UTF-16 symbol at byte offset 5".to_owned()),
        (code(json!(-1), json!(1)), format!("{parse}Field \"offset\" must be a non-negative Number")),
        (code(json!(0), json!("x")), format!("{parse}Field \"length\" must be a non-negative Number")),
        (json!([{"type": "code", "offset": 0}]), format!("{parse}Can't find field \"length\"")),
        (
            json!([{"type": "sparkle", "offset": 0, "length": 1}]),
            format!("{parse}Unsupported type specified"),
        ),
        (
            json!([{"type": "text_link", "offset": 0, "length": 1}]),
            format!("{parse}Can't find field \"url\""),
        ),
        (
            crossing,
            "entity beginning at UTF-16 offset 1 ends after the end of the text at UTF-16 offset 4"
                .to_owned(),
        ),
        (json!({}), "can't parse entities: expected an Array of MessageEntity".to_owned()),
    ] {
        assert_eq!(api.refused("sendMessage", send(entities)).await, format!("Bad Request: {words}"));
    }
    let mut many = vec![json!({"type": "bold", "offset": 0, "length": 1}); 100];
    many.push(json!({"type": "bold", "offset": 90, "length": 1}));
    let sent = api.done("sendMessage", send(json!(many))).await;
    assert_eq!(sent["entities"].as_array().unwrap().len(), 100, "what is beyond 100 is not looked at");
}

#[tokio::test]
async fn a_button_has_a_label_and_does_one_thing() {
    let api = api();
    let send = |button: Value| json!({"chat_id": OWNER, "text": "?", "reply_markup": {"inline_keyboard": [[button]]}});
    for fits in [
        json!({"text": "x", "callback_data": "é".repeat(32)}),
        json!({"text": "x", "url": "https://example.org/"}),
        json!({"text": "x", "copy_text": {"text": "a4:83:e7:4e:39:15"}}),
    ] {
        api.done("sendMessage", send(fits)).await;
    }
    let parse = "Bad Request: can't parse inline keyboard button: ";
    for (button, words) in [
        (
            json!({"text": "x", "callback_data": "é".repeat(33)}),
            "Bad Request: BUTTON_DATA_INVALID".to_owned(),
        ),
        (json!({"text": "x", "callback_data": ""}), "Bad Request: BUTTON_DATA_INVALID".to_owned()),
        (json!({"text": "x", "url": "no url"}), "Bad Request: BUTTON_URL_INVALID".to_owned()),
        (json!({"text": "x", "copy_text": {"text": ""}}), "Bad Request: BUTTON_COPY_TEXT_INVALID".to_owned()),
        (json!({"text": "", "callback_data": "x"}), format!("{parse}Button text must be non-empty")),
        (json!({"text": "x"}), format!("{parse}Text buttons are unallowed in the inline keyboard")),
        (
            json!({"text": "x", "callback_data": "x", "url": "https://x/"}),
            format!("{parse}exactly one action must be specified"),
        ),
    ] {
        assert_eq!(api.refused("sendMessage", send(button)).await, words);
    }
    let row = vec![json!({"text": "x", "callback_data": "x"}); 101];
    let many = json!({"chat_id": OWNER, "text": "?", "reply_markup": {"inline_keyboard": [row]}});
    assert_eq!(api.refused("sendMessage", many).await, "Bad Request: reply markup is too long");
}

#[tokio::test]
async fn an_edit_needs_a_message_and_must_differ() {
    let api = api();
    let id = api.says(OWNER, "1 probe").await;
    let edit = |id: i64, text: &str| json!({"chat_id": OWNER, "message_id": id, "text": text});
    let unmodified = "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message";
    assert_eq!(api.refused("editMessageText", edit(id, "1 probe")).await, unmodified);
    assert_eq!(api.refused("editMessageText", edit(9, "x")).await, "Bad Request: message to edit not found");
    api.telegram.somebody_says(OWNER, "mine");
    assert_eq!(
        api.refused("editMessageText", edit(id + 1, "x")).await,
        "Bad Request: message can't be edited"
    );
    let edited = api.done("editMessageText", edit(id, "2 probes")).await;
    assert_eq!((&edited["text"], edited["edit_date"].is_i64()), (&json!("2 probes"), true));
    let mark = json!({"chat_id": OWNER, "message_id": id, "reply_markup": keyboard("mute")});
    api.done("editMessageReplyMarkup", mark.clone()).await;
    assert_eq!(api.refused("editMessageReplyMarkup", mark).await, unmodified);
    let mut bold = edit(id, "2 probes");
    bold["entities"] = json!([{"type": "bold", "offset": 0, "length": 1}]);
    let bold = api.done("editMessageText", bold).await;
    assert_eq!(bold.get("reply_markup"), None, "a keyboard that is not sent again is gone");
    let message = &api.telegram.messages(OWNER)[0];
    assert_eq!((message.edits, &message.texts[..]), (3, &["1 probe".to_owned(), "2 probes".to_owned()][..]));
    api.telegram.delete(OWNER, id);
    assert_eq!(api.refused("editMessageText", edit(id, "3")).await, "Bad Request: message to edit not found");
    assert!(api.telegram.messages(OWNER)[0].deleted);
}

#[tokio::test]
async fn a_callback_query_is_answered_once() {
    let api = api();
    let id = api.offers(GROUP, "mute:1h:RNM0").await;
    let query = api.telegram.press(GROUP, id, "mute:1h:RNM0");
    let update = api.done("getUpdates", json!({})).await[0]["callback_query"].take();
    assert_eq!((&update["id"], &update["data"]), (&json!(query), &json!("mute:1h:RNM0")));
    assert_eq!((&update["message"]["message_id"], &update["from"]["id"]), (&json!(id), &json!(SOMEBODY)));
    let answer = |id: &str, text: &str| json!({"callback_query_id": id, "text": text, "show_alert": true});
    let unknown = "Bad Request: query is too old and response timeout expired or query ID is invalid";
    assert_eq!(api.refused("answerCallbackQuery", answer("1", "")).await, unknown);
    assert_eq!(
        api.refused("answerCallbackQuery", answer(&query, &"x".repeat(201))).await,
        "Bad Request: MESSAGE_TOO_LONG"
    );
    api.done("answerCallbackQuery", answer(&query, &"x".repeat(200))).await;
    assert_eq!(api.refused("answerCallbackQuery", answer(&query, "again")).await, unknown);
    let answers = api.telegram.answers();
    assert_eq!(answers.len(), 1);
    assert_eq!(
        (answers[0].id.as_str(), answers[0].text.len(), answers[0].alert),
        (query.as_str(), 200, true)
    );
    // one of a message that is no longer accessible can be answered too
    api.telegram.happens(json!({"callback_query": {"id": "7", "from": {"id": OWNER}, "data": "x", "message":
        {"chat": {"id": GROUP, "type": "group"}, "message_id": 6, "date": 0}}}));
    api.done("answerCallbackQuery", json!({"callback_query_id": "7"})).await;
}

#[test]
fn a_test_that_asks_for_the_impossible_is_told_so() {
    type Misuse<'a> = Box<dyn Fn() + 'a>;
    let telegram = Telegram::start();
    telegram.add_chat(OWNER, Kind::Private);
    let misuse: [(&str, Misuse<'_>); 9] = [
        (
            "add_chat it first",
            Box::new(|| {
                telegram.somebody_says(7, "hi");
            }),
        ),
        (
            "another's private chat",
            Box::new(|| {
                telegram.user_says(7, OWNER, "hi");
            }),
        ),
        ("the same chat", Box::new(|| telegram.add_chat(OWNER, Kind::Private))),
        ("no group's id", Box::new(|| telegram.add_chat(5, Kind::Group))),
        (
            "no such message",
            Box::new(|| {
                telegram.press(OWNER, 1, "x");
            }),
        ),
        (
            "no such message to reply to",
            Box::new(|| {
                telegram.somebody_replies(OWNER, 1, "x");
            }),
        ),
        ("not kicked from private chats", Box::new(|| telegram.kick(OWNER))),
        ("no method", Box::new(|| telegram.fail_next("sendmessage", Fault::Lost))),
        (
            "no update",
            Box::new(|| {
                telegram.happens(json!([]));
            }),
        ),
    ];
    for (what, misuse) in misuse {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(misuse));
        assert!(told.is_err(), "{what}");
    }
}

#[tokio::test]
async fn commands_are_kept_by_scope() {
    let api = api();
    let set = |scope: Value, name: &str, description: &str| json!({"scope": scope, "commands": [{"command": name, "description": description}]});
    let groups = json!({"type": "all_group_chats"});
    let owner = json!({"type": "chat", "chat_id": OWNER});
    api.done("setMyCommands", set(groups.clone(), "watch", "Watch an SSID")).await;
    api.done("setMyCommands", set(owner.clone(), &"a1_".repeat(10), &"é".repeat(256))).await;
    assert_eq!(api.telegram.commands(&groups), [("watch".to_owned(), "Watch an SSID".to_owned())]);
    assert_eq!(api.telegram.commands(&json!({"type": "default"})), []);
    assert_eq!(api.done("getMyCommands", json!({"scope": owner})).await[0]["command"], "a1_".repeat(10));
    api.done("deleteMyCommands", json!({"scope": owner})).await;
    assert_eq!(api.telegram.commands(&owner), []);
    for name in ["", "Watch", "watch-list", "wäch", &"a".repeat(33)] {
        assert_eq!(
            api.refused("setMyCommands", set(groups.clone(), name, "x")).await,
            "Bad Request: BOT_COMMAND_INVALID"
        );
    }
    for (description, words) in [
        (String::new(), "Bad Request: command description must be non-empty"),
        ("x".repeat(257), "Bad Request: command description length must not exceed 256"),
    ] {
        assert_eq!(api.refused("setMyCommands", set(groups.clone(), "watch", &description)).await, words);
    }
    let many = json!({"commands": vec![json!({"command": "x", "description": "x"}); 101]});
    assert_eq!(api.refused("setMyCommands", many).await, "Bad Request: BOT_COMMANDS_TOO_MUCH");
    let nowhere = set(json!({"type": "chat", "chat_id": 7}), "x", "x");
    assert_eq!(api.refused("setMyCommands", nowhere).await, "Bad Request: chat not found");
    assert_eq!(api.telegram.commands(&groups).len(), 1, "what is refused changes nothing");
}

#[tokio::test]
async fn a_chat_that_is_closed_to_the_bot_says_how() {
    let api = api();
    api.telegram.add_chat(SUPERGROUP, Kind::Supergroup);
    let other_group = GROUP - 1;
    api.telegram.add_chat(other_group, Kind::Group);
    let send = |chat: Value| json!({"chat_id": chat, "text": "x"});
    assert_eq!(api.refused("sendMessage", send(json!(7))).await, "Bad Request: chat not found");
    assert_eq!(api.refused("sendMessage", send(json!("@name"))).await, "Bad Request: chat not found");
    assert_eq!(api.refused("sendMessage", json!({"text": "x"})).await, "Bad Request: chat_id is empty");
    api.telegram.block(OWNER);
    api.telegram.kick(other_group);
    api.telegram.kick(SUPERGROUP);
    api.telegram.upgrade(GROUP, SUPERGROUP - 1);
    let closed = |chat: i64| api.call("sendMessage", send(json!(chat)));
    let blocked =
        json!({"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked by the user"});
    assert_eq!(closed(OWNER).await, blocked);
    assert_eq!(closed(other_group).await["description"], "Forbidden: bot was kicked from the group chat");
    assert_eq!(closed(SUPERGROUP).await["description"], "Forbidden: bot was kicked from the supergroup chat");
    let upgraded = json!({"ok": false, "error_code": 400, "description": "Bad Request: group chat was upgraded to a supergroup chat",
        "parameters": {"migrate_to_chat_id": SUPERGROUP - 1}});
    assert_eq!(closed(GROUP).await, upgraded);
    for real in real_replies().iter().flatten() {
        let mut real = real.clone();
        if let Some(id) = real.pointer_mut("/parameters/migrate_to_chat_id") {
            *id = json!(SUPERGROUP - 1);
            assert_eq!(upgraded, real);
        }
        assert!(real["error_code"] != 403 || blocked == real, "{real}");
    }
    let updates = api.done("getUpdates", json!({})).await;
    let [a_block, a_kick, _, from, to] = &updates.as_array().unwrap()[..] else { panic!("{updates}") };
    assert_eq!(a_block["my_chat_member"]["new_chat_member"]["status"], "kicked");
    assert_eq!(a_block["my_chat_member"]["chat"]["id"], OWNER);
    assert_eq!(a_kick["my_chat_member"]["chat"]["type"], "group");
    assert_eq!(from["message"]["migrate_to_chat_id"], SUPERGROUP - 1);
    assert_eq!(
        (&to["message"]["migrate_from_chat_id"], &to["message"]["chat"]["type"]),
        (&json!(GROUP), &json!("supergroup"))
    );
    api.telegram.readmit(OWNER);
    api.says(OWNER, "again").await;
    api.says(SUPERGROUP - 1, "moved").await;
    assert_eq!(api.done("getChat", json!({"chat_id": GROUP})).await["id"], GROUP);
    assert_eq!(api.done("sendChatAction", json!({"chat_id": OWNER, "action": "typing"})).await, true);
    let wrong = json!({"chat_id": OWNER, "action": "sleeping"});
    assert_eq!(api.refused("sendChatAction", wrong).await, "Bad Request: wrong parameter action in request");
}

#[tokio::test]
async fn a_reply_needs_a_message() {
    let api = api();
    api.telegram.somebody_says(OWNER, "/help");
    let reply = |to: i64, anyway: bool| {
        let to = json!({"message_id": to, "allow_sending_without_reply": anyway});
        json!({"chat_id": OWNER, "text": "x", "reply_parameters": to})
    };
    let sent = api.done("sendMessage", reply(1, false)).await;
    assert_eq!(
        (&sent["reply_to_message"]["text"], &sent["reply_to_message"]["from"]["id"]),
        (&json!("/help"), &json!(OWNER))
    );
    let sent = api.done("sendMessage", reply(2, false)).await;
    let replied_to = &sent["reply_to_message"];
    assert_eq!((&replied_to["message_id"], replied_to.get("reply_to_message")), (&json!(2), None));
    let not_found = "Bad Request: message to be replied not found";
    assert_eq!(api.refused("sendMessage", reply(7, false)).await, not_found);
    let alone = api.done("sendMessage", reply(7, true)).await;
    assert_eq!(alone.get("reply_to_message"), None);
    api.telegram.delete(OWNER, 2);
    assert_eq!(api.refused("sendMessage", reply(2, false)).await, not_found);
    let replies: Vec<_> =
        api.telegram.messages(OWNER).iter().map(|message| (message.message_id, message.reply_to)).collect();
    assert_eq!(replies, [(2, Some(1)), (3, Some(2)), (4, None)]);
    for (odd, words) in [
        (json!(5), "object expected as reply parameters"),
        (json!({"message_id": [1]}), "field \"message_id\" must be of type Number"),
    ] {
        let odd = json!({"chat_id": OWNER, "text": "x", "reply_parameters": odd});
        assert_eq!(api.refused("sendMessage", odd).await, format!("Bad Request: {words}"));
    }
}

#[tokio::test]
async fn a_question_is_replied_to_with_its_text_and_not_edited() {
    let api = api();
    let ask = |markup: Value| json!({"chat_id": OWNER, "text": "The name of a4:83?", "reply_markup": markup});
    let markup = json!({"force_reply": true, "input_field_placeholder": "📡".repeat(32), "selective": true});
    let sent = api.done("sendMessage", ask(markup.clone())).await;
    assert_eq!(sent.get("reply_markup"), None, "only inline keyboards are told");
    let question = api.telegram.messages(OWNER).pop().unwrap();
    assert!(question.asks_for_reply() && question.buttons().is_empty());
    assert_eq!(question.reply_markup, Some(markup.clone()));

    let update_id = api.telegram.somebody_replies(OWNER, 1, "Laptop");
    let update = api.done("getUpdates", json!({})).await[0].take();
    let message = &update["message"];
    assert_eq!((&update["update_id"], &message["text"]), (&json!(update_id), &json!("Laptop")));
    assert_eq!((&message["message_id"], &message["from"]["id"]), (&json!(2), &json!(OWNER)));
    let replied_to = &message["reply_to_message"];
    assert_eq!((&replied_to["message_id"], &replied_to["text"]), (&json!(1), &json!("The name of a4:83?")));
    assert_eq!((&replied_to["from"]["is_bot"], &replied_to["chat"]["id"]), (&json!(true), &json!(OWNER)));

    let edit = |id: i64, markup: Value| json!({"chat_id": OWNER, "message_id": id, "text": "changed", "reply_markup": markup});
    let fixed = "Bad Request: message can't be edited";
    assert_eq!(api.refused("editMessageText", edit(1, keyboard("x"))).await, fixed);
    let id = api.offers(OWNER, "rename").await;
    for other in [markup, json!({"remove_keyboard": true}), json!({"keyboard": [[{"text": "x"}]]})] {
        let mut only_markup = edit(id, other.clone());
        only_markup.as_object_mut().unwrap().remove("text");
        for (method, call) in [("editMessageText", edit(id, other)), ("editMessageReplyMarkup", only_markup)]
        {
            assert_eq!(api.refused(method, call).await, "Bad Request: inline keyboard expected");
        }
    }
    assert!(!api.telegram.messages(OWNER)[1].asks_for_reply());

    let thanks = json!({"chat_id": OWNER, "text": "Renamed", "reply_parameters": {"message_id": 2}});
    let replied_to = api.done("sendMessage", thanks).await["reply_to_message"].take();
    assert_eq!((&replied_to["text"], replied_to.get("reply_to_message")), (&json!("Laptop"), None));
}

#[tokio::test]
async fn what_is_no_question_is_refused_or_asks_nobody() {
    let api = api();
    let ask = |markup: Value| json!({"chat_id": OWNER, "text": "?", "reply_markup": markup});
    let placeholder = |text: Value| json!({"force_reply": true, "input_field_placeholder": text});
    for (markup, words) in [
        (json!(true), "object expected as reply markup"),
        (json!([{"force_reply": true}]), "object expected as reply markup"),
        (json!({"force_reply": 1}), "field \"force_reply\" must be of type Boolean"),
        (json!({"force_reply": true, "selective": "true"}), "field \"selective\" must be of type Boolean"),
        (placeholder(json!(7)), "field \"input_field_placeholder\" must be of type String"),
        (placeholder(json!("x".repeat(65))), "REPLY_MARKUP_INVALID"),
        (placeholder(json!("📡".repeat(33))), "REPLY_MARKUP_INVALID"),
        (placeholder(json!("")), "REPLY_MARKUP_INVALID"),
    ] {
        assert_eq!(api.refused("sendMessage", ask(markup)).await, format!("Bad Request: {words}"));
    }
    for markup in [json!({}), json!({"force_reply": false}), json!({"remove_keyboard": true})] {
        api.done("sendMessage", ask(markup)).await;
    }
    let mut both = keyboard("mute");
    both["force_reply"] = json!(true);
    api.done("sendMessage", ask(both)).await;
    let messages = api.telegram.messages(OWNER);
    assert_eq!(messages.len(), 4);
    assert!(messages.iter().all(|message| !message.asks_for_reply()));
    assert_eq!(messages[3].buttons().len(), 1, "of both the keyboard is taken");
}

/// Sends what the bot would: its own types write what this server reads.
#[tokio::test]
async fn in_a_group_the_one_who_is_meant_is_asked() {
    const ANOTHER: i64 = 7;
    let api = api();
    let asked = |id: i64, chat: i64| {
        [SOMEBODY, ANOTHER, OWNER].map(|user| api.telegram.is_asked(user, chat, id)).to_vec()
    };
    let send = async |message: telegram::Message| {
        let sent = api.done("sendMessage", serde_json::to_value(&message).unwrap()).await;
        sent["message_id"].as_i64().unwrap()
    };
    let question = |chat: i64| telegram::Message::new(chat, "Reply with the new name");
    api.telegram.user_says(ANOTHER, GROUP, "/rename");
    let id = send(question(GROUP).asking_for_reply("New name")).await;
    assert_eq!(asked(id, GROUP), [true; 3]);
    let id = send(question(GROUP).asking_one_for_reply(SOMEBODY, "New name")).await;
    assert_eq!(asked(id, GROUP), [true, false, false]);
    let id = send(question(GROUP).asking_one_for_reply(SOMEBODY, "New name").in_reply_to(1)).await;
    assert_eq!(asked(id, GROUP), [true, true, false], "the writer of what is replied to is meant too");
    let id = send(question(GROUP).in_reply_to(1)).await;
    assert_eq!(asked(id, GROUP), [false; 3]);
    // to reply to the message with the button asks nobody: the bot has written it
    let answer = api.offers(GROUP, "rename").await;
    let selective = json!({"chat_id": GROUP, "text": "?", "reply_parameters": {"message_id": answer},
        "reply_markup": {"force_reply": true, "selective": true}});
    let id = api.done("sendMessage", selective).await["message_id"].as_i64().unwrap();
    assert_eq!(asked(id, GROUP), [false; 3]);
    let id = send(question(OWNER).asking_for_reply("New name")).await;
    assert!(api.telegram.is_asked(OWNER, OWNER, id));
    // whoever is not asked may reply all the same
    api.telegram.user_replies(ANOTHER, GROUP, answer, "Laptop");
    let update = api.done("getUpdates", json!({"offset": -1})).await[0].take();
    assert_eq!(update["message"]["reply_to_message"]["message_id"], answer);
}

#[tokio::test]
async fn who_writes_too_much_is_asked_to_wait() {
    let api = api();
    api.telegram.limit_rate(2, Duration::from_secs(3600));
    let id = api.says(OWNER, "1").await;
    api.done("editMessageText", json!({"chat_id": OWNER, "message_id": id, "text": "2"})).await;
    let refusal = api.call("sendMessage", json!({"chat_id": OWNER, "text": "3"})).await;
    let seconds = refusal["parameters"]["retry_after"].as_u64().unwrap();
    assert!((1..=3600).contains(&seconds), "{refusal}");
    assert_eq!(refusal["error_code"], 429);
    assert_eq!(refusal["description"], format!("Too Many Requests: retry after {seconds}"));
    api.says(GROUP, "another chat").await;
    let edit = json!({"chat_id": OWNER, "message_id": id, "text": "3"});
    assert_eq!(api.call("editMessageText", edit).await["error_code"], 429, "an edit is written too");
    api.telegram.limit_rate(1000, Duration::from_secs(1));
    for _ in 0..30 {
        api.says(OWNER, "fast").await;
    }
    for _ in 0..19 {
        api.says(GROUP, "slow").await;
    }
    let refusal = api.call("sendMessage", json!({"chat_id": GROUP, "text": "21"})).await;
    assert!(
        (1..=60).contains(&refusal["parameters"]["retry_after"].as_u64().unwrap()),
        "20 a minute in a group"
    );
}

#[tokio::test]
async fn after_the_time_that_was_asked_for_writing_goes_on() {
    let api = api();
    api.telegram.limit_rate(1, Duration::from_millis(100));
    api.says(OWNER, "1").await;
    let written = std::time::Instant::now();
    until(PATIENCE, "the limit to pass", || (written.elapsed() > Duration::from_millis(100)).then_some(()));
    api.says(OWNER, "2").await;
}

#[tokio::test]
async fn updates_come_until_they_are_confirmed() {
    let api = api();
    let ids: Vec<i64> = ["a", "b", "c"].map(|text| api.telegram.somebody_says(OWNER, text)).to_vec();
    assert_eq!(api.updates(json!({})).await, ids);
    assert_eq!(api.updates(json!({"limit": 2})).await, ids[..2]);
    assert_eq!(api.updates(json!({"offset": ids[0]})).await, ids);
    assert_eq!(api.updates(json!({"offset": ids[1]})).await, ids[1..]);
    assert_eq!(api.updates(json!({"offset": 0})).await, ids[1..], "what was confirmed is gone");
    assert_eq!(
        api.updates(json!({"offset": -1})).await,
        ids[2..],
        "the last one, and none before it any more"
    );
    assert_eq!(api.telegram.pending(), ids[2..]);
    assert_eq!(api.updates(json!({"offset": ids[2] + 1})).await, NONE);
    let said = api.telegram.user_says(7, GROUP, "/device@probegram_bot sony-vaio");
    let message = api.done("getUpdates", json!({})).await[0].take();
    assert_eq!((&message["update_id"], &message["message"]["from"]["id"]), (&json!(said), &json!(7)));
    assert_eq!(message["message"]["entities"], json!([{"type": "bot_command", "offset": 0, "length": 21}]));
    api.telegram.happens(json!({"update_id": said, "message": {"text": "the same id again"}}));
    assert_eq!(api.updates(json!({})).await, [said, said]);
}

#[tokio::test]
async fn only_what_was_asked_for_comes_from_then_on() {
    let api = api();
    let odd = |kind: &str| api.telegram.happens(json!({kind: {"chat": {"id": OWNER}}}));
    let (first, _) = (odd("edited_message"), odd("message_reaction"));
    let asked = json!({"allowed_updates": ["message", "message_reaction"]});
    assert_eq!(api.updates(asked).await, [first], "reactions only for those who ask for them");
    let (_, reaction, message) = (odd("edited_message"), odd("message_reaction"), odd("message"));
    assert_eq!(api.updates(json!({"offset": first + 1})).await, [reaction, message], "the wish is kept");
    assert_eq!(api.updates(json!({"offset": message + 1, "allowed_updates": []})).await, NONE);
    let future = odd("a_kind_of_the_future");
    assert_eq!(api.updates(json!({})).await, [future]);
}

#[tokio::test]
async fn long_polling_answers_as_soon_as_something_comes() {
    let api = api();
    let polling = async {
        // bounds a poll that is not woken, and ends only when its time is over
        let updates =
            tokio::time::timeout(Duration::from_secs(30), api.updates(json!({"timeout": 50}))).await;
        updates.expect("the update before the end of the time")
    };
    let (updates, said) = tokio::join!(polling, async {
        api.done("getMe", json!({})).await; // meanwhile the poll is under way
        api.telegram.somebody_says(OWNER, "hi")
    });
    assert_eq!(updates, [said]);
    let offset = said + 1;
    assert_eq!(
        api.updates(json!({"offset": offset, "timeout": 1})).await,
        NONE,
        "nothing in the time is no error"
    );
}

#[tokio::test]
async fn one_at_a_time_may_wait_for_updates() {
    let api = api();
    let wait = json!({"timeout": 50});
    let webhook = json!({"url": "http://127.0.0.1:9/"});
    // of two that wait the one that came later goes on, until a webhook ends it
    let (one, other, set) = tokio::join!(
        api.call("getUpdates", wait.clone()),
        api.call("getUpdates", wait),
        async {
            let ended = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
            let outcome = Outcome::Refused { code: 409, description: ended.to_owned() };
            tokio::task::spawn_blocking({
                let telegram = api.telegram.clone();
                move || {
                    until(PATIENCE, "the conflict", || {
                        telegram.calls().into_iter().find(|call| call.outcome == outcome)
                    })
                }
            })
            .await
            .unwrap();
            api.done("setWebhook", webhook).await
        }
    );
    let mut ends = [one["description"].as_str().unwrap(), other["description"].as_str().unwrap()];
    ends.sort_unstable();
    assert!(ends[0].contains("other getUpdates"), "{ends:?}");
    assert_eq!(ends[1], "Conflict: terminated by setWebhook request");
    assert_eq!(set, true);
    assert_eq!(api.refused("getUpdates", json!({})).await, CONFLICT);
    api.done("deleteWebhook", json!({})).await;
    assert_eq!(api.updates(json!({})).await, NONE);
}

#[tokio::test]
async fn a_call_fails_as_the_test_wants() {
    let api = api();
    let send = |text: &str| json!({"chat_id": OWNER, "text": text});
    let real = real_replies().unwrap_or_default();
    let mut faults = vec![
        Fault::Lost,
        Fault::AnswerLost,
        Fault::BadGateway,
        Fault::TooManyRequests(14),
        Fault::CannotParseEntities,
    ];
    faults.extend(real.iter().cloned().map(Fault::Refused));
    for fault in faults {
        api.telegram.fail_next("sendMessage", fault);
    }
    api.done("getMe", json!({})).await; // of other methods none fails
    assert!(api.try_call("sendMessage", &send("lost")).await.is_err());
    assert!(api.try_call("sendMessage", &send("answer lost")).await.is_err());
    let (status, page) = api.try_call("sendMessage", &send("x")).await.unwrap();
    assert_eq!((status, page.contains("<html>")), (502, true));
    let busy = api.call("sendMessage", send("x")).await;
    assert_eq!(
        busy,
        json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 14", "parameters": {"retry_after": 14}})
    );
    let unparsed = api.call("sendMessage", send("x")).await;
    assert!(real.is_empty() || (real.contains(&busy) && real.contains(&unparsed)), "{busy}, {unparsed}");
    for real in &real {
        assert_eq!(api.call("sendMessage", send("x")).await, *real);
    }
    api.says(OWNER, "well").await;
    let texts: Vec<String> = api.telegram.messages(OWNER).into_iter().map(|message| message.text).collect();
    assert_eq!(texts, ["answer lost", "well"]);
    let calls = api.telegram.calls();
    let sent: Vec<_> = calls.iter().filter(|call| call.method == "sendMessage").collect();
    assert_eq!((&sent[0].outcome, sent[0].heard), (&Outcome::Lost, false));
    assert!(matches!(&sent[1].outcome, Outcome::Done(message) if message["text"] == "answer lost"));
    assert!(!sent[1].heard && sent[2].heard);
    assert_eq!(sent[1].params, send("answer lost"));
    assert_eq!(
        sent[3].outcome,
        Outcome::Refused { code: 429, description: "Too Many Requests: retry after 14".to_owned() }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_held_is_carried_out_when_the_gate_opens_whoever_waits() {
    let api = api();
    let gate = Gate::closed();
    api.telegram.fail_next("sendMessage", Fault::Held(gate.clone()));
    let url = format!("{}/bot{}/sendMessage", api.telegram.url(), api.telegram.token());
    let sent = api.http.post(url).json(&json!({"chat_id": OWNER, "text": "late"})).send();
    let waiting = tokio::spawn(sent);
    until(PATIENCE, "the call", || (gate.arrived() == 1).then_some(()));
    waiting.abort(); // whoever called hangs up
    assert!(waiting.await.unwrap_err().is_cancelled());
    api.says(OWNER, "in between").await;
    gate.open();
    let messages =
        until(PATIENCE, "both messages", || Some(api.telegram.messages(OWNER)).filter(|all| all.len() == 2));
    assert_eq!(messages[1].text, "late");
}

/// A webhook, and what it gets.
struct Hook {
    url: String,
    got: UnboundedReceiver<(HeaderMap, Value)>,
}

/// A webhook that gives these answers to updates.
async fn hook(answer: impl FnMut(&Value) -> (u16, Value) + Send + 'static) -> Hook {
    let answer = Arc::new(Mutex::new(answer));
    let (gets, got) = unbounded_channel();
    let router = Router::new().fallback(async move |headers: HeaderMap, body: String| {
        let update = serde_json::from_str(&body).unwrap();
        let (status, body) = (answer.lock().unwrap())(&update);
        gets.send((headers, update)).unwrap();
        (StatusCode::from_u16(status).unwrap(), body.to_string())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/telegram", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Hook { url, got }
}

/// These answers one after another, then 200 without a call.
fn in_turn(answers: impl IntoIterator<Item = (u16, Value)>) -> impl FnMut(&Value) -> (u16, Value) + Send {
    let mut answers: VecDeque<_> = answers.into_iter().collect();
    move |_update| answers.pop_front().unwrap_or((200, Value::Null))
}

impl Hook {
    async fn next(&mut self) -> (HeaderMap, Value) {
        tokio::time::timeout(PATIENCE, self.got.recv()).await.expect("an update").unwrap()
    }

    /// The text of the next update, and its id.
    async fn next_text(&mut self) -> (i64, String) {
        let (_, update) = self.next().await;
        (update["update_id"].as_i64().unwrap(), update["message"]["text"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn a_webhook_has_a_url_on_this_machine_and_a_plain_secret() {
    let api = api();
    let set = |url: &str, secret: &str| json!({"url": url, "secret_token": secret});
    let here = "http://127.0.0.1:9/";
    for (params, words) in [
        (set(here, "a b"), "Bad Request: secret token contains unallowed characters"),
        (set(here, &"x".repeat(257)), "Bad Request: secret token is too long"),
        (
            set("http://192.0.2.1/", "x"),
            "Bad Request: bad webhook: failed to resolve host: Name or service not known",
        ),
        (set("nonsense", "x"), "Bad Request: bad webhook: failed to resolve host: Name or service not known"),
    ] {
        assert_eq!(api.refused("setWebhook", params).await, words);
    }
    assert_eq!(api.done("getWebhookInfo", json!({})).await["url"], "");
    let mut whole = set(here, &"aZ09_-".repeat(42));
    whole["allowed_updates"] = json!(["callback_query"]);
    whole["max_connections"] = json!(1000);
    api.done("setWebhook", whole).await;
    let info = api.done("getWebhookInfo", json!({})).await;
    assert_eq!((&info["url"], &info["max_connections"]), (&json!(here), &json!(100)));
    assert_eq!(info["allowed_updates"], json!(["callback_query"]));
    api.done("setWebhook", json!({"url": ""})).await;
    assert_eq!(api.done("getWebhookInfo", json!({})).await["url"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_pushed_until_it_is_taken_and_those_of_its_chat_wait() {
    let api = api();
    let mut hook = hook(in_turn([(500, Value::Null), (503, Value::Null), (302, Value::Null)])).await;
    api.done("setWebhook", json!({"url": hook.url, "secret_token": "se-cret"})).await;
    let ids = ["first", "second"].map(|text| api.telegram.somebody_says(OWNER, text));
    for _ in 0..4 {
        let (headers, update) = hook.next().await;
        assert_eq!(headers["x-telegram-bot-api-secret-token"], "se-cret");
        assert_eq!((&update["update_id"], &update["message"]["text"]), (&json!(ids[0]), &json!("first")));
    }
    assert_eq!(hook.next_text().await, (ids[1], "second".to_owned()));
    until(PATIENCE, "all to be taken", || api.telegram.pending().is_empty().then_some(()));
    let statuses: Vec<_> =
        api.telegram.deliveries().iter().map(|one| (one.update_id, one.status.unwrap())).collect();
    assert_eq!(statuses, [(ids[0], 500), (ids[0], 503), (ids[0], 302), (ids[0], 200), (ids[1], 200)]);
    let info = api.done("getWebhookInfo", json!({})).await;
    assert_eq!(info["last_error_message"], "Wrong response from the webhook: 302 Found");
    assert_eq!(info["pending_update_count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_whose_update_is_not_taken_keeps_no_other_waiting() {
    let api = api();
    let stuck = api.telegram.somebody_says(OWNER, "stuck");
    let other = api.telegram.somebody_says(GROUP, "other");
    let mut other_came = false;
    let hook = hook(move |update| {
        other_came |= update["update_id"] == other;
        (if other_came { 200 } else { 500 }, Value::Null)
    })
    .await;
    api.done("setWebhook", json!({"url": hook.url})).await;
    until(PATIENCE, "both to be taken", || api.telegram.pending().is_empty().then_some(()));
    let deliveries = api.telegram.deliveries();
    let taken: Vec<i64> =
        deliveries.iter().filter(|one| one.status == Some(200)).map(|one| one.update_id).collect();
    assert_eq!((taken.len(), taken.contains(&stuck) && taken.contains(&other)), (2, true), "{deliveries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_not_there_gets_its_updates_later() {
    let api = api();
    // a port that is kept, and at which nobody listens
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap());
    api.done("setWebhook", json!({"url": url})).await;
    let said = api.telegram.somebody_says(OWNER, "hi");
    until(PATIENCE, "a try", || {
        api.telegram.deliveries().first().map(|first| assert_eq!(first.status, None))
    });
    let info = api.done("getWebhookInfo", json!({})).await;
    assert_eq!(
        (&info["last_error_message"], &info["pending_update_count"]),
        (&json!("Connection refused"), &json!(1))
    );
    let mut hook = hook(in_turn([])).await;
    api.done("setWebhook", json!({"url": hook.url})).await;
    assert_eq!(hook.next_text().await, (said, "hi".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_is_not_taken_may_be_fetched_without_the_webhook() {
    let api = api();
    let hook = hook(|_update| (500, Value::Null)).await;
    api.done("setWebhook", json!({"url": hook.url})).await;
    let said = api.telegram.somebody_says(OWNER, "hi");
    until(PATIENCE, "a try", || (!api.telegram.deliveries().is_empty()).then_some(()));
    api.done("deleteWebhook", json!({})).await;
    assert_eq!(api.updates(json!({})).await, [said], "what is pending stays so without a webhook");
    api.done("deleteWebhook", json!({"drop_pending_updates": true})).await;
    assert_eq!(api.updates(json!({})).await, NONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_an_update_may_be_a_call() {
    let api = api();
    let calls = in_turn([
        (200, json!({"method": "sendMessage", "chat_id": OWNER, "text": "hello"})),
        (200, json!({"method": "sendMessage", "chat_id": 7, "text": "to nobody"})),
        (500, json!({"method": "sendMessage", "chat_id": OWNER, "text": "an error is no answer"})),
        (200, json!({"no": "method"})),
    ]);
    let hook = hook(calls).await;
    api.done("setWebhook", json!({"url": hook.url})).await;
    for _ in 0..3 {
        api.telegram.somebody_says(OWNER, "hi");
    }
    until(PATIENCE, "all to be taken", || api.telegram.pending().is_empty().then_some(()));
    let texts: Vec<String> = api.telegram.all_messages().into_iter().map(|message| message.text).collect();
    assert_eq!(texts, ["hello"]);
    let calls = api.telegram.calls();
    let sent: Vec<_> = calls.iter().filter(|call| call.method == "sendMessage").collect();
    assert!(matches!(sent[0].outcome, Outcome::Done(_)) && !sent[0].heard);
    let nobody = Outcome::Refused { code: 400, description: "Bad Request: chat not found".to_owned() };
    assert_eq!((&sent[1].outcome, sent[1].heard, sent.len()), (&nobody, false, 2));
}
