//! The function `bot` as API Gateway calls it: who may ask, and that no update is ever answered with an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::fs;

use bot::context::{Context, SecretHash};
use bot::status::Positions;
use delivery::{Post, Telegram};
use http::{HeaderMap, HeaderValue, Method, Uri};
use jiff::tz::TimeZone;
use probegram::embedded::Embedded;
use probegram::http_api;
use probegram::template::Template;
use probegram_tests::shared;
use serde_json::{Value, json};
use state::chats::{self, Role};
use state::updates::{self, Claim};
use state::{Generation, codes};

const OWNER: i64 = 12345;
const MAC: &str = "a4:83:e7:4e:39:15";

async fn bot() -> Context {
    let table = Embedded::open(None, &Template::read().unwrap()).unwrap().table();
    let now_ms = runtime::clock::now_ms;
    chats::allow(&table, OWNER, Role::Owner, None, now_ms()).await.unwrap();
    Context {
        generation: Generation::of(table.clone()),
        post: Post::new(table.clone(), TimeZone::UTC, now_ms, Telegram::none()),
        table,
        aggregate_group: "aggregate".to_owned(),
        secrets: vec![SecretHash::of(b"new"), SecretHash::of(b"old")],
        time_zone: TimeZone::UTC,
        open_to_this_machine: false,
        positions: Positions::default(),
        now_ms,
    }
}

/// What the bot answers to an update: the status, and the reply if there is one.
async fn answer(bot: &Context, secret: Option<&'static str>, body: &str) -> (i64, Option<Value>) {
    let (status, _headers, body) = respond(bot, secret, body).await;
    (status, serde_json::from_str(&body).ok())
}

async fn respond(bot: &Context, secret: Option<&'static str>, body: &str) -> (i64, HeaderMap, String) {
    let mut headers = HeaderMap::new();
    if let Some(secret) = secret {
        headers.insert("x-telegram-bot-api-secret-token", HeaderValue::from_static(secret));
    }
    let uri = Uri::from_static("/telegram");
    let response = bot::handle(&http_api::request(Method::POST, &uri, headers, body.as_bytes()), bot).await;
    (response.status_code, response.headers.clone(), http_api::text(response))
}

/// An update without a number is answered as often as it comes, so that a test need not count.
fn update(chat: i64, kind: &str, text: &str) -> String {
    json!({"message": {"message_id": 1, "chat": {"id": chat, "type": kind}, "text": text}}).to_string()
}

#[tokio::test]
async fn only_telegram_may_call_the_webhook() {
    let bot = bot().await;
    let question = update(OWNER, "private", MAC);
    for (secret, status) in
        [(None, 401), (Some("wrong"), 401), (Some(""), 401), (Some("new"), 200), (Some("old"), 200)]
    {
        assert_eq!(answer(&bot, secret, &question).await.0, status, "{secret:?}");
    }
}

#[tokio::test]
async fn the_owner_is_answered_and_a_stranger_learns_only_how_to_be_let_in() {
    let bot = bot().await;
    let (_, reply) = answer(&bot, Some("new"), &update(OWNER, "private", "A4-83-E7-4E-39-15")).await;
    let reply = reply.unwrap();
    assert_eq!((&reply["method"], &reply["chat_id"]), (&json!("sendMessage"), &json!(OWNER)));
    assert_eq!(reply["text"], format!("🛎 No result found for device {MAC}"));

    let (status, reply) = answer(&bot, Some("new"), &update(99, "private", MAC)).await;
    let text = reply.unwrap()["text"].as_str().unwrap().to_owned();
    assert!(
        status == 200 && text.contains("private") && text.contains("99") && !text.contains(MAC),
        "{text}"
    );
    assert_eq!(
        answer(&bot, Some("new"), &update(-99, "group", MAC)).await,
        (200, None),
        "a group is not bothered"
    );
}

#[tokio::test]
async fn every_command_is_answered() {
    let bot = bot().await;
    for (text, part) in [
        ("/start", "MAC address"),
        ("/help@probegram_bot", "/ssid"),
        ("/device@probegram_bot a4:83:e7:4e:39:15", "No result found for device a4:83:e7:4e:39:15"),
        ("/device", "needs a word more"),
        ("/ssid RNM0", "No device looked for RNM0"),
        ("/ssid hex:00ff", r"No device looked for \x00\xff"),
        ("/ssid hex:0", "no network's name"),
        ("/ssid", "needs a word more"),
        ("/drop table", "don't know the command /drop"),
        ("sony-vaio\n\u{7}", "No result found for device sony-vaio"),
    ] {
        let (status, reply) = answer(&bot, Some("new"), &update(OWNER, "private", text)).await;
        let reply = reply.unwrap()["text"].as_str().unwrap().to_owned();
        assert!(status == 200 && reply.contains(part), "{text:?}: {reply:?}");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_not_an_error() {
    let bot = bot().await;
    for body in
        ["", "null", "[]", "{", "7", "{}", r#"{"update_id":1}"#, r#"{"message":{"chat":{"id":12345}}}"#]
    {
        assert_eq!(answer(&bot, Some("new"), body).await, (200, None), "{body}");
    }
}

#[tokio::test]
async fn no_update_is_an_error_whatever_is_missing_in_it_and_no_stranger_gets_data() {
    let Some(updates) = shared("events/constructed/telegram_updates.jsonl") else { return };
    let (among_strangers, let_in) = (bot().await, bot().await);
    let known = [4_242_424_242, -431_366_401, -1_001_234_567_890];
    let now_ms = runtime::clock::now_ms();
    let mut number = 0;
    for line in fs::read_to_string(updates).unwrap().lines() {
        let update: Value = serde_json::from_str(line).unwrap();
        let mut variants = vec![update.clone()];
        mutated(&update, &mut variants);
        for variant in variants {
            let text = variant.to_string();
            assert_eq!(answer(&among_strangers, None, &text).await, (401, refusal()), "{text}");
            let (status, reply) = answer(&among_strangers, Some("new"), &text).await;
            assert_eq!(status, 200, "{text}");
            if let Some(reply) = reply {
                let chat = reply["chat_id"].as_i64().unwrap();
                let line = format!("This bot is private. Its owner can let this chat in by its id: {chat}");
                assert_eq!(reply["text"], line, "{text}");
                assert_eq!(reply.as_object().unwrap().keys().count(), 4, "{reply}");
            }
            // one update may let a chat move, or stop it
            for chat in known {
                chats::allow(&let_in.table, chat, Role::Member, None, now_ms).await.unwrap();
            }
            let mut variant = variant;
            if variant["update_id"] == update["update_id"] {
                number += 1;
                variant["update_id"] = json!(number); // else all but the first were answered already
            }
            assert_eq!(answer(&let_in, Some("new"), &variant.to_string()).await.0, 200, "{text}");
        }
    }
    let there: Vec<i64> =
        chats::all(&among_strangers.table).await.unwrap().iter().map(|chat| chat.id).collect();
    assert_eq!(there, [OWNER], "nobody comes in by an update");
    let there = chats::all(&let_in.table).await.unwrap();
    assert_eq!(there.len(), 1 + known.len(), "nor by what is missing in one: {there:?}");
}

fn refusal() -> Option<Value> {
    Some(json!({"error": "the secret token is missing or wrong"}))
}

#[tokio::test]
async fn a_stranger_is_told_once_a_day_and_a_group_never() {
    let bot = bot().await;
    for (text, is_told) in [("/start", true), ("/start abcdefghijklmnopqrstuv", false), (MAC, false)] {
        let (status, reply) = answer(&bot, Some("new"), &update(98, "private", text)).await;
        assert_eq!((status, reply.is_some()), (200, is_told), "{text}");
    }
    for event in [
        json!({"callback_query": {"id": "1", "message": {"message_id": 1, "chat": {"id": 97, "type": "private"}},
            "data": "disallow:12345"}}),
        json!({"my_chat_member": {"chat": {"id": 97, "type": "private"}, "new_chat_member": {"status": "member"}}}),
        json!({"message": {"chat": {"id": -97, "type": "group"}, "text": "/help"}}),
        json!({"message": {"chat": {"id": -97, "type": "group"}, "migrate_to_chat_id": -10_097}}),
        json!({"message": {"chat": {"id": 97, "type": "private"}, "migrate_from_chat_id": OWNER}}),
    ] {
        assert_eq!(answer(&bot, Some("new"), &event.to_string()).await, (200, None), "{event}");
    }
    assert!(chats::find(&bot.table, OWNER).await.unwrap().is_some());
    assert_eq!(chats::all(&bot.table).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_table_that_does_not_answer_brings_the_update_back() {
    // a port that was free a moment ago: nobody listens there
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nowhere = aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::from_static("eu-west-1"))
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .build();
    let mut bot = bot().await;
    bot.table = state::Table::connect(&nowhere, "state");
    let (status, headers, body) = respond(&bot, Some("new"), &update(OWNER, "private", MAC)).await;
    assert_eq!((status, headers["retry-after"].as_bytes(), body.as_str()), (503, &b"1"[..], ""));
    assert_eq!(respond(&bot, None, "").await.0, 401, "who is not Telegram does not reach the table");
}

#[tokio::test]
async fn an_update_is_answered_once() {
    let bot = bot().await;
    let numbered = |id: i64, chat: i64, text: &str| {
        let mut numbered: Value = serde_json::from_str(&update(chat, "private", text)).unwrap();
        numbered["update_id"] = json!(id);
        numbered.to_string()
    };
    let question = numbered(7, OWNER, MAC);
    assert!(answer(&bot, Some("new"), &question).await.1.is_some());
    assert_eq!(answer(&bot, Some("new"), &question).await, (200, None), "it was answered");
    assert!(answer(&bot, Some("new"), &numbered(8, OWNER, MAC)).await.1.is_some(), "another one");

    // somebody is answering it just now
    let claim = updates::claim(&bot.table, 9, runtime::clock::now_ms()).await.unwrap();
    let (status, headers, body) = respond(&bot, Some("new"), &numbered(9, OWNER, MAC)).await;
    assert_eq!((status, headers["retry-after"].as_bytes(), body.as_str()), (503, &b"1"[..], ""));
    let Claim::Ours(answering) = claim else { panic!("{claim:?}") };
    answering.done(&bot.table).await.unwrap();
    assert_eq!(answer(&bot, Some("new"), &numbered(9, OWNER, MAC)).await, (200, None));

    // the one that lets a chat in is not answered again either
    let code = codes::make(&bot.table, Role::Member, runtime::clock::now_ms()).await.unwrap();
    let start = numbered(10, 99, &format!("/start {code}"));
    assert!(answer(&bot, Some("new"), &start).await.1.unwrap()["text"].as_str().unwrap().contains("let in"));
    assert_eq!(answer(&bot, Some("new"), &start).await, (200, None));
}

/// The value with each field in turn missing, or of another type.
fn mutated(value: &Value, variants: &mut Vec<Value>) {
    fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
        if let Value::Object(fields) = value {
            for (name, field) in fields {
                all.push(format!("{at}/{name}"));
                pointers(field, &format!("{at}/{name}"), all);
            }
        }
    }
    let mut all = Vec::new();
    pointers(value, "", &mut all);
    for pointer in all {
        for other in [json!(null), json!("text"), json!(7), json!([]), json!({})] {
            let mut variant = value.clone();
            *variant.pointer_mut(&pointer).unwrap() = other;
            variants.push(variant);
        }
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut variant = value.clone();
        variant.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        variants.push(variant);
    }
}

#[tokio::test]
async fn programs_have_to_sign_their_requests_on_aws() {
    let bot = bot().await;
    let ask = |request| async move { bot::handle(&request, &bot).await.status_code };
    let request = || http_api::request(Method::GET, &Uri::from_static("/v1/status"), HeaderMap::new(), b"");
    assert_eq!(ask(request()).await, 401);
    let event = json!({"version": "2.0", "rawPath": "/v1/status", "headers": {}, "requestContext": {
        "http": {"method": "GET", "path": "/v1/status"},
        "authorizer": {"iam": {"accessKey": "A", "accountId": "1", "callerId": "C", "userArn": "arn:aws:iam::1:user/a", "userId": "U"}}}});
    let signed = serde_json::from_value(event).unwrap();
    assert_eq!(bot::handle(&signed, &self::bot().await).await.status_code, 200);
}
