//! Outgoing webhooks: what somebody else's server gets of an alert, how often, and what it may do about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use domain::Mac;
use hmac::{Hmac, KeyInit as _, Mac as _};
use probegram_tests::alerting::{Bot, PATIENCE, of_agent};
use probegram_tests::local::{self, Local, fill_spool};
use probegram_tests::telegram::Kind;
use probegram_tests::until;
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

const OWNER: i64 = 12_345;
const MEMBER: i64 = 99;
const GROUP: i64 = -431_366_401;
const GUEST: &str = "RNM-GUEST";
const PHONE: Mac = Mac::new([0x78, 0x67, 0xd7, 0x48, 0xe5, 0xc7]);
const LAPTOP: Mac = Mac::new([0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15]);

/// What was posted.
#[derive(Debug, Clone)]
struct Posted {
    path: String,
    headers: HeaderMap,
    body: String,
}

impl Posted {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Somebody else's server on this machine.
struct Receiver {
    address: SocketAddr,
    seen: Seen,
    socket: Option<TcpSocket>,
    runtime: Runtime,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Requests>>);

#[derive(Default)]
struct Requests {
    posted: Vec<Posted>,
    /// How the next ones of a path are answered; then with 200.
    answers: BTreeMap<String, VecDeque<Refusal>>,
}

#[derive(Clone)]
enum Refusal {
    Status(StatusCode),
    /// To this path.
    Redirect(&'static str),
}

impl Receiver {
    /// One whose port is taken, and nobody listens there yet.
    fn closed() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { address, seen: Seen::default(), socket: Some(socket), runtime }
    }

    fn start() -> Self {
        let mut receiver = Self::closed();
        receiver.open();
        receiver
    }

    fn open(&mut self) {
        let socket = self.socket.take().unwrap();
        let router = Router::new().fallback(receive).with_state(self.seen.clone());
        self.runtime.spawn(async move {
            axum::serve(socket.listen(16).unwrap(), router).await.unwrap();
        });
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Lets a path answer so, once each; after that with 200.
    fn refuse(&self, path: &str, how: &[Refusal]) {
        self.seen.0.lock().unwrap().answers.insert(path.to_owned(), how.iter().cloned().collect());
    }

    /// What came to a path so far.
    fn posted(&self, path: &str) -> Vec<Posted> {
        let requests = self.seen.0.lock().unwrap();
        requests.posted.iter().filter(|posted| posted.path == path).cloned().collect()
    }

    /// Waits until so many came to a path.
    fn wait_for(&self, path: &str, count: usize) -> Vec<Posted> {
        until(PATIENCE, &format!("{count} requests to {path}"), || {
            Some(self.posted(path)).filter(|posted| posted.len() >= count)
        })
    }
}

async fn receive(State(seen): State<Seen>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut requests = seen.0.lock().unwrap();
    let path = uri.path().to_owned();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let answer = requests.answers.get_mut(&path).and_then(VecDeque::pop_front);
    requests.posted.push(Posted { path, headers, body });
    match answer {
        None => StatusCode::OK.into_response(),
        Some(Refusal::Status(status)) => status.into_response(),
        Some(Refusal::Redirect(to)) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
    }
}

/// An installation whose owner watches a network.
struct Installation {
    bot: Bot,
    local: Local,
    data: TempDir,
}

impl Installation {
    fn start() -> Self {
        let bot = Bot::start(&[(OWNER, Kind::Private), (MEMBER, Kind::Private), (GROUP, Kind::Group)]);
        let data = TempDir::new().unwrap();
        // the spool is there before its reader, so that it need not wait for it
        fill_spool(data.path(), &[of_agent(LAPTOP, 1_700_000_000_000, "before")]);
        let mut local = Local::start(bot.of(local::command(["--data"]).arg(data.path())));
        bot.claim(&mut local, OWNER);
        let installation = Self { bot, local, data };
        installation.says("/watch RNM-GUEST guest network");
        installation
    }

    fn says(&self, text: &str) -> String {
        self.bot.ask(OWNER, text)
    }

    /// Sets a webhook, and gives its id and its signing key.
    fn hook(&self, url: &str, how: &str) -> (String, String) {
        let said = self.says(&format!("/hook {url} {how}"));
        let id = between(&said, "🪝 Webhook ", " gets the alerts of this chat at 127.0.0.1");
        let key = between(&said, "which I show only now: ", "\n");
        assert!(!said.contains(url), "it tells the secret: {said}");
        (id, key)
    }

    /// A probe request is heard.
    fn hears(&self, mac: Mac, ssid: &str) {
        fill_spool(self.data.path(), &[of_agent(mac, runtime::clock::now_ms(), ssid)]);
    }

    /// Ends it, and looks whether it has told a secret to its log.
    fn told_nobody(self, secrets: &[&str]) {
        let log = [self.local.program.stdout(), self.local.program.stderr()].concat();
        for secret in secrets.iter().chain([&self.bot.telegram.token()]) {
            assert!(!log.contains(secret), "{secret} is in the log: {log}");
        }
    }
}

fn between(text: &str, from: &str, to: &str) -> String {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no {from:?} in {text}"));
    rest.split_once(to).unwrap_or_else(|| panic!("no {to:?} in {text}")).0.to_owned()
}

/// Checks a request as the receiver of a standard webhook does: the signature is `v1,` and the base64 of the HMAC-SHA-256 of
/// `id.timestamp.body`, by the key that is base64 behind `whsec_`.
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
fn verify(posted: &Posted, key: &str) {
    let key = base64_simd::STANDARD.decode_to_vec(key.strip_prefix("whsec_").unwrap()).unwrap();
    assert!((24..=64).contains(&key.len()), "a key of {} bytes", key.len());
    let (id, timestamp) = (posted.header("webhook-id"), posted.header("webhook-timestamp"));
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{timestamp}.{}", posted.body).as_bytes());
    let signature = posted.header("webhook-signature").strip_prefix("v1,").unwrap();
    let signature = base64_simd::STANDARD.decode_to_vec(signature).unwrap();
    mac.verify_slice(&signature).unwrap_or_else(|_| panic!("not signed by this key: {posted:?}"));
    let age = runtime::clock::now_ms() / 1000 - timestamp.parse::<i64>().unwrap();
    assert!((0..600).contains(&age), "signed {age} s ago: receivers take 5 minutes or so");
}

#[test]
fn an_alert_is_posted_in_each_format_and_signed() {
    let installation = Installation::start();
    let receiver = Receiver::start();
    let paths = ["/secret-json", "/secret-slack", "/secret-topic"];
    let keys: Vec<String> = paths
        .iter()
        .zip(["json", "slack", "ntfy"])
        .map(|(path, format)| installation.hook(&receiver.url(path), format).1)
        .collect();
    installation.says("/watch <b>&amp; a \"name\"");
    installation.hears(PHONE, GUEST);

    let posted = &receiver.wait_for("/secret-json", 1)[0];
    verify(posted, &keys[0]);
    assert_eq!(posted.header("content-type"), "application/json");
    let alert = installation.bot.alert_about(OWNER, PHONE);
    let mut body = posted.json();
    let data = &mut body["data"];
    let (time, last) = (data["time"].take(), data["last_probe"].take());
    assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(time, last);
    let sent = body["timestamp"].take();
    assert!(sent.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{sent}");
    let expected = json!({"type": "probe.alert", "timestamp": null, "data": {
        "mac": "78:67:d7:48:e5:c7", "name": null, "names": [], "vendor": "Apple, Inc.", "locally_administered": false,
        "ssid": GUEST, "ssid_hex": "524e4d2d4755455354", "reason": "guest network", "watch": GUEST,
        "time": null, "signal_dbm": -60, "sensor": "hallway", "probe_count": 1, "last_probe": null,
        "chat": OWNER, "text": alert.text}});
    assert_eq!(body, expected);

    let posted = &receiver.wait_for("/secret-slack", 1)[0];
    verify(posted, &keys[1]);
    assert_eq!(posted.json(), json!({"text": alert.text}));

    // JSON goes to the root of an ntfy server, and the topic in it
    let posted = &receiver.wait_for("/", 1)[0];
    verify(posted, &keys[2]);
    let (title, message) = alert.text.split_once("\n\n").unwrap();
    assert_eq!(posted.json(), json!({"topic": "secret-topic", "title": title, "message": message}));
    assert!(receiver.posted("/secret-topic").is_empty());

    // a hostile name is a name
    installation.hears(PHONE, "<b>&amp;");
    let posted = &receiver.wait_for("/secret-slack", 2)[1];
    let text = posted.json()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("probed for SSID &lt;b&gt;&amp;amp;") && !text.contains('<'), "{text}");
    let posted = &receiver.wait_for("/secret-json", 2)[1];
    assert_eq!(posted.json()["data"]["ssid"], "<b>&amp;");
    assert_ne!(posted.header("webhook-id"), receiver.posted("/secret-json")[0].header("webhook-id"));

    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    installation.told_nobody(&[&paths[..], &keys].concat());
}

#[test]
fn a_webhook_that_fails_gets_the_same_alert_later_and_once() {
    let installation = Installation::start();
    let (receiver, mut closed) = (Receiver::start(), Receiver::closed());
    let (_, failing_key) = installation.hook(&receiver.url("/failing"), "json");
    let (_, closed_key) = installation.hook(&closed.url("/closed"), "json");
    let (_, moved_key) = installation.hook(&receiver.url("/moved"), "json");
    receiver.refuse("/failing", &[Refusal::Status(StatusCode::INTERNAL_SERVER_ERROR)]);
    receiver.refuse("/moved", &[Refusal::Redirect("/elsewhere")]);
    installation.hears(PHONE, GUEST);
    receiver.wait_for("/failing", 1);
    receiver.wait_for("/moved", 1);
    until(PATIENCE, "an attempt at the closed port", || {
        installation.local.program.stderr().contains("the webhook cannot be reached").then_some(())
    });
    closed.open();

    let moved = receiver.wait_for("/moved", 2);
    let failing = receiver.wait_for("/failing", 2);
    let at_first_closed = closed.wait_for("/closed", 1);
    for (twice, key) in [(&failing, &failing_key), (&moved, &moved_key)] {
        assert_eq!(twice[0].header("webhook-id"), twice[1].header("webhook-id"));
        assert_eq!(twice[0].json()["data"], twice[1].json()["data"]);
        twice.iter().for_each(|posted| verify(posted, key));
    }
    verify(&at_first_closed[0], &closed_key);

    // what comes later comes in its turn, and nothing more of the first
    installation.hears(LAPTOP, GUEST);
    for (who, path, count) in [(&receiver, "/failing", 3), (&receiver, "/moved", 3), (&closed, "/closed", 2)]
    {
        let posted = who.wait_for(path, count);
        let last = posted.last().unwrap();
        assert_eq!(last.json()["data"]["mac"], LAPTOP.to_string(), "{path}: {posted:#?}");
        assert_eq!(posted.len(), count, "{path}: {posted:#?}");
    }
    assert!(receiver.posted("/elsewhere").is_empty(), "a redirect is not followed");
    let _waited_for = installation.bot.alert_about(OWNER, LAPTOP);
    assert_eq!(installation.bot.alerts(OWNER).len(), 2, "the chat has each once, too");
    installation.told_nobody(&["/failing", "/closed", "/moved", &failing_key, &closed_key, &moved_key]);
}

#[test]
fn a_webhook_that_is_gone_is_stopped_and_one_of_a_watch_gets_that_watch_alone() {
    let installation = Installation::start();
    let receiver = Receiver::start();
    installation.says("/watch RNM0 home");
    installation.says("/watch \"The Red Lion\" the pub");
    let (gone, _) = installation.hook(&receiver.url("/gone"), "json");
    installation.hook(&receiver.url("/pub"), "json The Red Lion");
    let (all, _) = installation.hook(&receiver.url("/all"), "");
    receiver.refuse("/gone", &[Refusal::Status(StatusCode::GONE)]);
    assert!(!installation.says("/status").contains("Nothing is sent any more"));

    let names = |path: &str| -> Vec<Value> {
        receiver.posted(path).iter().map(|posted| posted.json()["data"]["ssid"].clone()).collect()
    };
    for (number, name) in (1..).zip(["RNM0", "The Red Lion", GUEST]) {
        installation.hears(PHONE, name);
        receiver.wait_for("/all", number);
    }
    assert_eq!(names("/all"), ["RNM0", "The Red Lion", GUEST]);
    assert_eq!(names("/pub"), ["The Red Lion"]);
    assert_eq!(names("/gone"), ["RNM0"], "it has said that it is gone");

    let listed = installation.says("/hooks");
    let line = listed.lines().find(|line| line.contains(&gone)).unwrap();
    assert!(line.contains("stopped since") && line.contains("the webhook is gone (410)"), "{listed}");
    assert_eq!(listed.matches("stopped since").count(), 1, "{listed}");
    assert!(listed.contains(", of The Red Lion alone"), "{listed}");
    let status = installation.says("/status");
    let told = format!("Nothing is sent any more to:\n\twebhook {gone} 127.0.0.1, stopped since ");
    assert!(status.contains(&told), "{status}");

    // without its webhook, the chat's alerts go on
    installation.says(&format!("/unhook {all}"));
    installation.hears(LAPTOP, "The Red Lion");
    receiver.wait_for("/pub", 2);
    assert!(installation.bot.alert_about(OWNER, LAPTOP).text.contains("probed for SSID The Red Lion"));
    assert_eq!(names("/all").len(), 3);
    for listed in [installation.says("/hooks"), status, listed] {
        assert!(
            !listed.contains("/gone") && !listed.contains("/pub") && !listed.contains("whsec_"),
            "{listed}"
        );
    }
}

#[test]
fn webhooks_are_the_owners_to_set_in_private_and_lead_nowhere_unsafe() {
    let installation = Installation::start();
    let receiver = Receiver::start();
    for chat in [MEMBER, GROUP] {
        installation.says(&format!("/allow {chat} member"));
    }
    let hook = |path| format!("/hook {} json", receiver.url(path));
    let of_member = installation.bot.ask(MEMBER, &hook("/of-a-member"));
    assert_eq!(of_member, "🛎 That is for the bot's owners. /help says what you can ask.");
    assert_eq!(installation.bot.ask(MEMBER, "/hooks"), of_member);
    assert_eq!(installation.bot.ask(GROUP, &hook("/of-a-group")), of_member);
    installation.says(&format!("/allow {GROUP} owner"));
    let in_group = installation.bot.ask(GROUP, &hook("/of-a-group"));
    assert!(in_group.contains("set it in a private chat"), "{in_group}");
    for unsafe_url in ["http://192.168.0.1/x", "http://example.com/x", "https://a:b@example.com/x", "/x"] {
        let said = installation.says(&format!("/hook {unsafe_url}"));
        assert!(said.starts_with("🛎 ") && !said.contains("example.com/x"), "{unsafe_url}: {said}");
    }
    assert!(installation.says("/hooks").contains("There is no webhook"));

    let (id, _) = installation.hook(&receiver.url("/of-the-owner"), "json");
    installation.hears(PHONE, GUEST);
    receiver.wait_for("/of-the-owner", 1);
    let everything = receiver.seen.0.lock().unwrap().posted.len();
    assert_eq!(everything, 1);
    assert!(installation.bot.ask(MEMBER, &format!("/unhook {id}")).contains("for the bot's owners"));
    assert!(installation.says("/hooks").contains(&id));
}
