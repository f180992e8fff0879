//! The function `bot` as API Gateway calls it: who may ask, and that no update is ever answered with an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::fs;

use bot::context::{Context, SecretHash};
use bot::status::Positions;
use http::{HeaderMap, HeaderValue, Method, Uri};
use jiff::tz::TimeZone;
use probegram::embedded::Embedded;
use probegram::http_api;
use probegram::template::Template;
use probegram_tests::shared;
use serde_json::{Value, json};
use state::Generation;

const OWNER: i64 = 12345;
const MAC: &str = "a4:83:e7:4e:39:15";

fn bot() -> Context {
    let table = Embedded::open(None, &Template::read().unwrap()).unwrap().table();
    Context {
        generation: Generation::of(table.clone()),
        table,
        aggregate_group: "aggregate".to_owned(),
        allowed_chats: vec![OWNER],
        secrets: vec![SecretHash::of(b"new"), SecretHash::of(b"old")],
        time_zone: TimeZone::UTC,
        open_to_this_machine: false,
        positions: Positions::default(),
        now_ms: runtime::clock::now_ms,
    }
}

/// What the bot answers to an update: the status, and the reply if there is one.
async fn answer(bot: &Context, secret: Option<&'static str>, body: &str) -> (i64, Option<Value>) {
    let mut headers = HeaderMap::new();
    if let Some(secret) = secret {
        headers.insert("x-telegram-bot-api-secret-token", HeaderValue::from_static(secret));
    }
    let uri = Uri::from_static("/telegram");
    let response = bot::handle(&http_api::request(Method::POST, &uri, headers, body.as_bytes()), bot).await;
    let status = response.status_code;
    (status, serde_json::from_str(&http_api::text(response)).ok())
}

fn update(chat: i64, kind: &str, text: &str) -> String {
    json!({"update_id": 1, "message": {"message_id": 1, "chat": {"id": chat, "type": kind}, "text": text}})
        .to_string()
}

#[tokio::test]
async fn only_telegram_may_call_the_webhook() {
    let bot = bot();
    let question = update(OWNER, "private", MAC);
    for (secret, status) in
        [(None, 401), (Some("wrong"), 401), (Some(""), 401), (Some("new"), 200), (Some("old"), 200)]
    {
        assert_eq!(answer(&bot, secret, &question).await.0, status, "{secret:?}");
    }
}

#[tokio::test]
async fn the_owner_is_answered_and_a_stranger_learns_only_how_to_be_let_in() {
    let bot = bot();
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
    let bot = bot();
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
    let bot = bot();
    for body in
        ["", "null", "[]", "{", "7", "{}", r#"{"update_id":1}"#, r#"{"message":{"chat":{"id":12345}}}"#]
    {
        assert_eq!(answer(&bot, Some("new"), body).await, (200, None), "{body}");
    }
    let Some(updates) = shared("events/constructed/telegram_updates.jsonl") else { return };
    for line in fs::read_to_string(updates).unwrap().lines() {
        let update: Value = serde_json::from_str(line).unwrap();
        let mut variants = vec![update.clone()];
        mutated(&update, &mut variants);
        for variant in variants {
            assert_eq!(answer(&bot, Some("new"), &variant.to_string()).await.0, 200, "{variant}");
            assert_eq!(answer(&bot, None, &variant.to_string()).await.0, 401, "{variant}");
        }
    }
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
    let bot = bot();
    let ask = |request| async move { bot::handle(&request, &bot).await.status_code };
    let request = || http_api::request(Method::GET, &Uri::from_static("/v1/status"), HeaderMap::new(), b"");
    assert_eq!(ask(request()).await, 401);
    let event = json!({"version": "2.0", "rawPath": "/v1/status", "headers": {}, "requestContext": {
        "http": {"method": "GET", "path": "/v1/status"},
        "authorizer": {"iam": {"accessKey": "A", "accountId": "1", "callerId": "C", "userArn": "arn:aws:iam::1:user/a", "userId": "U"}}}});
    let signed = serde_json::from_value(event).unwrap();
    assert_eq!(bot::handle(&signed, &self::bot()).await.status_code, 200);
}
