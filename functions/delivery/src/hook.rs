//! Outgoing webhooks: an alert as a JSON POST, signed as Standard Webhooks has it.
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
//!
//! A URL is a secret: that of Slack lets everybody post who knows it. So none reaches a log or an error.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{StatusCode, Url, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;
use state::hooks::{Format, Hook};

/// How long an answer may take: less than the lease of a message, and than the function lives.
const TIMEOUT: Duration = Duration::from_secs(8);
/// The longest that a webhook can ask for peace.
const MAX_WAIT: Duration = Duration::from_secs(60 * 60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The URL cannot be a destination. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// It is none.
    #[error("that is no URL, such as https://example.com/hook")]
    NotAUrl,
    /// It is neither https, nor on this machine where that is allowed.
    #[error("a webhook needs https: the alert would be readable on its way")]
    NotHttps,
    /// It has a user name or password.
    #[error("a URL with a user name or password in it is not taken: use one with a token in its path")]
    WithPassword,
}

/// Checks where alerts are to go: https, or this machine where `allow_loopback` says so. Redirects are never followed.
///
/// # Errors
/// [`BadUrl`] says what is wrong with it.
pub fn check_url(url: &str, allow_loopback: bool) -> Result<SecretString, BadUrl> {
    let parsed = Url::parse(url).map_err(|_no_url| BadUrl::NotAUrl)?;
    let host = parsed.host_str().ok_or(BadUrl::NotAUrl)?;
    let address = host.trim_matches(['[', ']']);
    let is_loopback = host.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match parsed.scheme() {
        "http" | "https" if is_loopback && allow_loopback => {}
        "https" if !is_loopback => {}
        _ => return Err(BadUrl::NotHttps),
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(BadUrl::WithPassword);
    }
    Ok(SecretString::from(parsed.as_str()))
}

/// What of a webhook's URL may be shown: its host.
#[must_use]
pub fn host_of(hook: &Hook) -> String {
    let url = Url::parse(hook.url.expose_secret()).ok();
    url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "?".to_owned())
}

/// Why a webhook did not take an alert. Holds no URL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    /// Certainly not received.
    #[error("the webhook cannot be reached")]
    NotSent(#[source] reqwest::Error),
    /// Perhaps received.
    #[error("the webhook gave no answer")]
    AnswerLost(#[source] reqwest::Error),
    /// Not taken now.
    #[error("the webhook asks to wait {} s", .0.as_secs())]
    TooManyRequests(Duration),
    /// Not taken ever.
    #[error("the webhook is gone (410)")]
    Gone,
    /// Not taken; it may be mended at the other end.
    #[error("the webhook answers {0}")]
    Refused(StatusCode),
}

/// Posts to webhooks.
#[derive(Debug, Clone)]
pub(crate) struct Poster(reqwest::Client);

impl Poster {
    /// A client that follows no redirects: one could lead into a private network.
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(reqwest::Error::without_url)?;
        Ok(Self(client))
    }

    /// Posts what a message tells: its text, and for programs its data.
    pub(crate) async fn post(&self, hook: &Hook, told: &Told<'_>, now_ms: i64) -> Result<(), HookError> {
        let (url, body) = request(hook, told, now_ms);
        let seconds = now_ms.div_euclid(1000).to_string();
        let signature = signature(hook.signing_key.expose_secret(), told.id, &seconds, &body);
        let response = self
            .0
            .post(url.expose_secret())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "probegram")
            .header("webhook-id", told.id)
            .header("webhook-timestamp", &seconds)
            .header("webhook-signature", signature)
            .body(body)
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .map_err(|error| {
                let not_sent = error.is_connect() || error.is_builder();
                if not_sent { HookError::NotSent(error) } else { HookError::AnswerLost(error) }
            })?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::GONE => Err(HookError::Gone),
            StatusCode::TOO_MANY_REQUESTS => {
                let seconds =
                    response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(60);
                Err(HookError::TooManyRequests(Duration::from_secs(seconds).min(MAX_WAIT)))
            }
            other => Err(HookError::Refused(other)),
        }
    }
}

/// What a webhook is told.
pub(crate) struct Told<'a> {
    /// The message's id: the same when it comes twice.
    pub(crate) id: &'a str,
    /// `probe.alert` or `probe.digest`.
    pub(crate) kind: &'static str,
    /// For people.
    pub(crate) text: &'a str,
    /// For programs.
    pub(crate) data: Value,
}

/// Where to, and what.
fn request(hook: &Hook, told: &Told<'_>, now_ms: i64) -> (SecretString, String) {
    match hook.format {
        Format::Slack => {
            // Slack's markup: <https://docs.slack.dev/messaging/formatting-message-text#escaping>
            let text = told.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            (hook.url.clone(), json!({"text": text}).to_string())
        }
        Format::Ntfy => {
            // JSON goes to the server's root, with the topic in it
            let Ok(mut url) = Url::parse(hook.url.expose_secret()) else {
                return (hook.url.clone(), String::new());
            };
            let topic = url.path().trim_matches('/').to_owned();
            url.set_path("/");
            let (title, message) = told.text.split_once("\n\n").unwrap_or(("Probegram", told.text));
            let body = json!({"topic": topic, "title": title, "message": message});
            (SecretString::from(url.as_str()), body.to_string())
        }
        Format::Json => {
            let mut data = told.data.clone();
            if let Some(data) = data.as_object_mut() {
                data.insert("text".to_owned(), json!(told.text));
            }
            let timestamp = runtime::zoned::for_programs(now_ms);
            (hook.url.clone(), json!({"type": told.kind, "timestamp": timestamp, "data": data}).to_string())
        }
    }
}

/// `v1,` and the base64 of the HMAC-SHA-256 of `id.timestamp.body`. The key is base64 behind `whsec_`.
fn signature(signing_key: &str, id: &str, seconds: &str, body: &str) -> String {
    let encoded = signing_key.strip_prefix("whsec_").unwrap_or(signing_key);
    let key =
        base64_simd::STANDARD.decode_to_vec(encoded).unwrap_or_else(|_other| encoded.as_bytes().to_vec());
    // an HMAC takes a key of any length
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return String::new() };
    for part in [id, ".", seconds, ".", body] {
        mac.update(part.as_bytes());
    }
    format!("v1,{}", base64_simd::STANDARD.encode_to_string(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_go_by_https_or_to_this_machine() {
        for (url, allow_loopback, outcome) in [
            ("https://example.com/hook", false, Ok(())),
            ("https://hooks.slack.com/services/T/B/x", true, Ok(())),
            ("http://127.0.0.1:9/x", true, Ok(())),
            ("http://[::1]:9/x", true, Ok(())),
            ("http://localhost:9/x", true, Ok(())),
            ("http://127.0.0.1:9/x", false, Err(BadUrl::NotHttps)),
            ("https://127.0.0.1:9001/2018-06-01/runtime", false, Err(BadUrl::NotHttps)),
            ("http://example.com/hook", true, Err(BadUrl::NotHttps)),
            ("http://127.0.0.1.example.com/", true, Err(BadUrl::NotHttps)),
            ("ftp://example.com/", true, Err(BadUrl::NotHttps)),
            ("https://user:word@example.com/", true, Err(BadUrl::WithPassword)),
            ("example.com/hook", true, Err(BadUrl::NotAUrl)),
            ("", true, Err(BadUrl::NotAUrl)),
        ] {
            assert_eq!(check_url(url, allow_loopback).map(drop), outcome, "{url}");
        }
    }

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        // the example of its reference libraries
        assert_eq!(
            signature(
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "1614265330",
                r#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
