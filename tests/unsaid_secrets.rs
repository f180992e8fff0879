//! Secrets stay unsaid: whatever fails, and however much is logged, no log, error or metric holds the bot's token, the webhook's
//! secret token, the URL or the signing key of an outgoing webhook, or the password for Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use aws_sdk_lambda::primitives::Blob;
use domain::{Mac, Origin, Pattern, Sighting, Ssid, SsidElement, Watch, Who};
use http::{HeaderMap, HeaderValue, Method, Uri};
use probegram::embedded::Embedded;
use probegram::template::Template;
use probegram::{directory, http_api};
use probegram_tests::aws::config_at;
use probegram_tests::dynamodb::{Dynamodb, TABLE};
use probegram_tests::lambda::{ENVIRONMENT, Lambda};
use probegram_tests::local::{self, Local, encoded, probe};
use probegram_tests::process::{Running, Signal, binary};
use probegram_tests::telegram::{Fault, Kind, TOKEN, Telegram};
use probegram_tests::until;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use state::chats::{self, Role};
use state::episodes::{self, Case};
use state::hooks::{self, Format};
use state::messages::Destination;
use state::{Source, Table, watches};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

/// The part of the token behind the bot's id, which everybody may know.
const TOKEN_SECRET: &str = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";
/// What Telegram sends in a header; letters, digits, `_` and `-` are all that it may have.
const WEBHOOK_SECRET: &str = "mDRCs-gttx2Vh1Gx_q9s4FVEpn";
/// The path of an outgoing webhook, as Slack has them.
const HOOK_PATH: &str = "services/T0G9/B8KQ/x7+Yd2%C3%A9=kW4";
const KAFKA_PASSWORD: &str = "p4ss:w0rd/für&Kafka";

/// The first owns the webhooks.
const CHATS: std::ops::Range<i64> = 4_242_424_242..4_242_424_250;
const OWNER: i64 = CHATS.start;
const PATIENCE: Duration = Duration::from_secs(120);

/// What must not be said, with what it is.
type Secrets = Vec<(&'static str, String)>;

/// Those that are known before anything runs.
fn secrets() -> Secrets {
    vec![
        ("the bot's token", TOKEN_SECRET.to_owned()),
        ("the webhook's secret token", WEBHOOK_SECRET.to_owned()),
        ("the path of an outgoing webhook", HOOK_PATH.to_owned()),
        ("the password for Kafka", KAFKA_PASSWORD.to_owned()),
    ]
}

/// How a secret may look in a text.
fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let percent = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let percent: String = secret.bytes().map(percent).collect();
    let mut url = reqwest::Url::parse("http://127.0.0.1/").unwrap();
    url.query_pairs_mut().append_pair("", secret);
    let form = url.query().unwrap().strip_prefix('=').unwrap().to_owned();
    url.set_query(None);
    url.set_path(secret);
    let decimal: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
    let mut forms = vec![
        ("as it is", secret.to_owned()),
        ("in the path of a URL", url.path().strip_prefix('/').unwrap().to_owned()),
        ("percent-encoded", percent.clone()),
        ("percent-encoded in lower case", percent.to_lowercase()),
        ("in a form", form),
        ("as Rust's text", format!("{secret:?}").trim_matches('"').to_owned()),
        ("as Rust's bytes", secret.as_bytes().escape_ascii().to_string()),
        ("as JSON in ASCII", secret.chars().map(ascii).collect()),
        ("as a list of bytes", decimal.join(", ")),
        ("in hexadecimal", secret.bytes().map(|byte| format!("{byte:02x}")).collect()),
    ];
    // within a longer base64 it begins at one of three places, and shares its first and last digits with others
    for before in 0..3 {
        let bytes = [&vec![0; before], secret.as_bytes()].concat();
        let whole = bytes.len() / 3 * 4;
        let (standard, url) = (base64_simd::STANDARD, base64_simd::URL_SAFE);
        let inner = |text: String| text.get((before * 8).div_ceil(6)..whole).unwrap().to_owned();
        forms.push(("in base64", inner(standard.encode_to_string(&bytes))));
        forms.push(("in base64 for URLs", inner(url.encode_to_string(&bytes))));
    }
    forms
}

fn ascii(character: char) -> String {
    if character.is_ascii() { character.to_string() } else { format!("\\u{:04x}", u32::from(character)) }
}

/// Which secrets a text holds, in which form, and what stands before them: once for each place in the program that says it.
fn leaks(text: &str, secrets: &Secrets) -> BTreeSet<String> {
    let mut leaks = BTreeSet::new();
    for (what, secret) in secrets {
        let forms = forms(secret);
        for line in text.lines() {
            let found = forms.iter().find_map(|(how, form)| Some((how, line.find(form)?)));
            let Some((how, at)) = found else { continue };
            leaks.insert(format!("{what}, {how}: {}", place(line.get(..at).unwrap())));
        }
    }
    leaks
}

/// What of a line tells who says it: no times and ids, and not what spans and objects have in braces, but for a line of JSON.
fn place(line: &str) -> String {
    let mut depth = if line.starts_with('{') { -2 } else { 0 };
    let mut place = String::new();
    for character in line.chars().filter(|character| !character.is_ascii_digit()).take(4_000) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if depth <= 0 && place.len() < 120 => place.push(character),
            _ => {}
        }
    }
    place
}

#[track_caller]
fn assert_unsaid(text: &str, secrets: &Secrets) {
    let leaks = leaks(text, secrets);
    let shown: Vec<&str> = leaks.iter().map(String::as_str).collect();
    assert!(leaks.is_empty(), "{} places say a secret:\n{}", leaks.len(), shown.join("\n"));
}

#[test]
fn a_secret_is_found_in_every_form() {
    for (what, secret) in secrets() {
        let one = vec![(what, secret.clone())];
        let in_base64 =
            |before: &str| base64_simd::STANDARD.encode_to_string(format!("{before}{secret}{before}"));
        for text in [
            format!("POST /bot1:{secret}/getMe"),
            json!({"url": secret}).to_string(),
            in_base64(""),
            in_base64("{"),
            in_base64("{\""),
            format!("{:?}", secret.as_bytes()),
        ] {
            assert_eq!(leaks(&text, &one).len(), 1, "{what} in {text}");
        }
        assert!(leaks(secret.get(1..).unwrap(), &one).is_empty());
    }
}

/// A port of loopback at which nobody listens, for as long as this is kept.
struct Nobody(TcpSocket);

impl Nobody {
    fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }
}

/// A server that takes no alert: it hangs up, refuses, is busy, leads elsewhere, and is gone, in turn. Gives its address.
fn failing_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let elsewhere = format!("HTTP/1.1 302 Found\r\nlocation: http://{address}/{HOOK_PATH}\r\n");
    let answers = [
        String::new(),
        "HTTP/1.1 500 Internal Server Error\r\n".to_owned(),
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\n".to_owned(),
        elsewhere,
        "HTTP/1.1 410 Gone\r\n".to_owned(),
    ];
    thread::spawn(move || {
        for (connection, answer) in listener.incoming().zip(answers.iter().cycle()) {
            let mut connection: TcpStream = connection.unwrap();
            let _read = connection.read(&mut [0; 65_536]).unwrap();
            if !answer.is_empty() {
                write!(connection, "{answer}content-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            }
            connection.shutdown(Shutdown::Write).unwrap();
            // unread bytes would cut the answer off
            let _rest = std::io::copy(&mut connection, &mut std::io::sink());
        }
    });
    address
}

/// Telegram in all its moods, by method. The last repeats what it was asked, as some proxies do.
fn let_telegram_fail(telegram: &Telegram) {
    let refused = |code: u16, description: &str| {
        Fault::Refused(json!({"ok": false, "error_code": code, "description": description}))
    };
    let echo = || refused(404, &format!("Not Found: /bot{TOKEN}/method"));
    for fault in [
        Fault::Lost,
        Fault::BadGateway,
        Fault::TooManyRequests(1),
        Fault::CannotParseEntities,
        refused(403, "Forbidden: bot was blocked by the user"),
        refused(401, "Unauthorized"),
        echo(),
    ] {
        telegram.fail_next("sendMessage", fault);
    }
    for method in ["getMe", "setMyCommands", "editMessageText", "answerCallbackQuery"] {
        telegram.fail_next(method, echo());
    }
    for fault in [Fault::Lost, Fault::BadGateway, refused(401, "Unauthorized")] {
        telegram.fail_next("getUpdates", fault);
    }
}

/// What a chat watches.
fn ssid(chat: i64) -> Ssid {
    Ssid::new(format!("RNM{chat}").into_bytes()).unwrap()
}

fn device(chat: i64) -> Mac {
    Mac::new([0xa4, 0x83, 0xe7, 0, 0, u8::try_from(chat - OWNER).unwrap()])
}

/// A watch of a chat, and where its alerts go.
type Watched = (i64, Watch, Vec<Destination>);

/// Owners with a watch each, and webhooks that fail; and the secrets that there are now.
async fn with_watches(table: &Table, hook_at: &[String]) -> (Vec<Watched>, Secrets) {
    let now_ms = runtime::clock::now_ms();
    let mut all = Vec::new();
    for chat in CHATS {
        chats::allow(table, chat, Role::Owner, None, now_ms).await.unwrap();
        let pattern = Pattern::exact(ssid(chat));
        let watch = Watch { origin: Origin::Chat(chat), pattern, reason: None, made_ms: 0, cooldown_ms: 0 };
        watches::set(table, chat, &watch).await.unwrap();
        all.push((chat, watch, vec![Destination::Chat(chat)]));
    }
    let mut secrets = secrets();
    for (number, address) in hook_at.iter().enumerate() {
        let url = format!("http://{address}/{number}/{HOOK_PATH}").into();
        let hook = hooks::make(table, OWNER, None, url, Format::Json).await.unwrap();
        secrets.push(("a signing key", key(hook.signing_key.expose_secret())));
        all[0].2.push(Destination::Hook(hook.id));
    }
    (all, secrets)
}

/// The secret part of a signing key that somebody is told.
fn key(told: &str) -> String {
    let (_before, key) = told.split_once("whsec_").unwrap();
    key.lines().next().unwrap().to_owned()
}

/// An alert for each of them, to be sent.
async fn with_alerts(table: &Table, all: &[Watched]) {
    let now_ms = runtime::clock::now_ms();
    let source = Source { topic: "pcap".to_owned(), life: 1, partition: 0 };
    for (chat, watch, to) in all {
        let mac = device(*chat);
        let sighting =
            Sighting { offset: *chat, time: now_ms, mac, ssid: ssid(*chat), signal_dbm: None, sensor: None };
        let case = Case { chat: *chat, watch, who: Who::of(mac), to, sightings: vec![sighting] };
        episodes::absorb(table, &source, &[case], now_ms).await.unwrap();
    }
}

/// Settings for a cluster that wants a password.
fn kafka_config(data: &Path, password: &str) -> std::path::PathBuf {
    let path = data.join("kafka.properties");
    let properties = format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=probegram\n{password}={KAFKA_PASSWORD}\ndebug=all\n"
    );
    fs::write(&path, properties).unwrap();
    path
}

/// All that a program has printed.
fn printed(program: &Running) -> String {
    program.stdout() + &program.stderr()
}

#[test]
fn probegram_local_says_no_secret_whatever_fails() {
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (nobody, failing) = (Nobody::new(), failing_server());
    let data = TempDir::new().unwrap();
    let hook_at = [vec![failing.clone(); 5], vec![nobody.address()]].concat();
    let mut secrets = runtime.block_on(async {
        let file = directory::table(data.path());
        let table = Embedded::open(Some(&file), &Template::read().unwrap()).unwrap().table();
        let (all, secrets) = with_watches(&table, &hook_at).await;
        with_alerts(&table, &all).await;
        secrets
    });
    let token = data.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    let command = |telegram_url: &str| {
        let mut command = local::command(["--telegram-api-url", telegram_url, "--telegram-token-file"]);
        command.arg(&token).arg("--data").arg(data.path());
        command.args(["--bootstrap-servers", &nobody.address(), "--kafka-config"]);
        command.arg(kafka_config(data.path(), "sasl.password")).env("RUST_LOG", "trace");
        command
    };
    let says = |local: &Local, parts: &[&str]| {
        for part in parts {
            until(PATIENCE, part, || local.program.stderr().contains(part).then_some(()));
        }
    };
    let ends = |mut local: Local| {
        local.program.signal(Signal::SIGTERM);
        assert!(local.program.wait(PATIENCE).success());
        printed(&local.program)
    };

    // Telegram is not there
    let local = Local::start(&mut command(&format!("http://{}", nobody.address())));
    says(
        &local,
        &[
            "Telegram cannot be reached (getUpdates)",
            "Telegram cannot be reached (sendMessage)",
            "the webhook cannot be reached",
            "the webhook gave no answer",
            "the webhook answers 500",
            "the webhook answers 302",
            "the webhook asks to wait 1 s",
            "the webhook is gone",
            "brokers are down",
        ],
    );
    let mut all = ends(local);

    // it is there, and fails
    let telegram = Telegram::start();
    CHATS.for_each(|chat| telegram.add_chat(chat, Kind::Private));
    let_telegram_fail(&telegram);
    let local = Local::start(&mut command(&telegram.url()));
    says(&local, &["get one from @BotFather", "Telegram asks to wait", "Telegram did not answer"]);
    let sent = || telegram.calls().iter().filter(|call| call.method == "sendMessage").count();
    until(PATIENCE, "a try for each chat", || (sent() >= CHATS.count()).then_some(()));
    for text in ["/hooks", "/invite", "/chats", "/status"] {
        telegram.somebody_says(OWNER, text);
    }
    telegram.somebody_says(OWNER, &format!("/hook http://{}/new/{HOOK_PATH} json", nobody.address()));
    let told = until(PATIENCE, "the new signing key", || {
        telegram.messages(OWNER).into_iter().find(|message| message.text.contains("whsec_"))
    });
    secrets.push(("a signing key that was told in a chat", key(&told.text)));
    all += &ends(local);

    // a slip of the pen makes another property of the password
    for subcommand in ["topics", "local"] {
        let mut command = Command::new(binary("probegram"));
        command.args([subcommand, "--bootstrap-servers", &nobody.address(), "--kafka-config"]);
        command.arg(kafka_config(data.path(), "sasl.pasword")).env("RUST_LOG", "trace");
        if subcommand == "local" {
            command.args(["--in-memory", "--http", "127.0.0.1:0"]);
        }
        let mut program = Running::start(&mut command);
        until(PATIENCE, "the unknown property to be named", || {
            printed(&program).contains("sasl.pasword").then_some(())
        });
        program.kill();
        all += &printed(&program);
    }

    assert!(all.contains("TRACE"), "not all was logged");
    assert_unsaid(&all, &secrets);
}

/// The functions as they are deployed, and what they work with.
struct Deployed {
    lambda: Lambda,
    telegram: Telegram,
    secrets: Secrets,
    runtime: Runtime,
    _table: Dynamodb,
    _nobody: Nobody,
}

impl Deployed {
    fn start() -> Option<Self> {
        let lambda = Lambda::start()?;
        let runtime = Runtime::new().unwrap();
        let nobody = {
            let _entered = runtime.enter();
            Nobody::new()
        };
        let dynamodb = Dynamodb::start(runtime.handle());
        let hook_at = [vec![failing_server(); 5], vec![nobody.address()]].concat();
        make_table(dynamodb.endpoint());
        let secrets = runtime.block_on(async {
            let table = Table::connect(&config_at(dynamodb.endpoint()), TABLE.to_owned());
            let (_watched, secrets) = with_watches(&table, &hook_at).await;
            let manager = aws_sdk_secretsmanager::Client::new(&config_at(&lambda.endpoint()));
            manager.create_secret().name("probegram/token").secret_string(TOKEN).send().await.unwrap();
            secrets
        });
        let telegram = Telegram::start();
        CHATS.for_each(|chat| telegram.add_chat(chat, Kind::Private));
        let hash: String = Sha256::digest(WEBHOOK_SECRET).iter().map(|byte| format!("{byte:02x}")).collect();
        let environment: Vec<(String, String)> = [
            ("TABLE_NAME", TABLE),
            ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.endpoint()),
            ("TELEGRAM_SECRET", "probegram/token"),
            ("TELEGRAM_API_URL", &telegram.url()),
            ("AGGREGATE_GROUP", "aggregate"),
            ("WEBHOOK_SECRET_SHA256", &hash),
            ("CONSUMER_GROUP", "alert"),
            ("AWS_LAMBDA_LOG_LEVEL", "trace"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        for function in ["bot", "alert"] {
            lambda.deploy(function, &binary(function), &environment);
        }
        Some(Self { lambda, telegram, secrets, runtime, _table: dynamodb, _nobody: nobody })
    }

    /// The answer of a function.
    fn invoke(&self, function: &str, event: &Value) -> Value {
        let client = aws_sdk_lambda::Client::new(&config_at(&self.lambda.endpoint()));
        let payload = Blob::new(event.to_string());
        let invocation = client.invoke().function_name(function).payload(payload).send();
        let answer = self.runtime.block_on(invocation).unwrap();
        let payload = answer.payload().unwrap().as_ref();
        assert_eq!(answer.function_error(), None, "{}", String::from_utf8_lossy(payload));
        serde_json::from_slice(payload).unwrap()
    }

    /// Calls the webhook with this secret token; the status.
    fn update(&self, secret: &'static str, update: &Value) -> i64 {
        let mut headers = HeaderMap::new();
        headers.insert("x-telegram-bot-api-secret-token", HeaderValue::from_static(secret));
        let uri = Uri::from_static("/telegram");
        let request = http_api::request(Method::POST, &uri, headers, update.to_string().as_bytes());
        let answer = self.invoke("bot", &serde_json::to_value(request).unwrap());
        answer["statusCode"].as_i64().unwrap_or_else(|| panic!("no response: {answer}"))
    }
}

/// Has our table made, as `probegram local` does when it comes to a new DynamoDB.
fn make_table(endpoint: &str) {
    let spool = TempDir::new().unwrap();
    let mut command = local::command(["--dynamodb-endpoint", endpoint, "--table", TABLE, "--spool"]);
    drop(Local::start(command.arg(spool.path()).envs(ENVIRONMENT)));
}

#[test]
fn functions_say_no_secret_whatever_fails() {
    let Some(deployed) = Deployed::start() else { return };
    let_telegram_fail(&deployed.telegram);
    for chat in CHATS {
        let now_ms = runtime::clock::now_ms();
        let value = encoded(&probe(device(chat), now_ms, SsidElement::Named(ssid(chat))));
        let value = base64_simd::STANDARD.encode_to_string(value);
        let record = json!({"topic": "pcap", "partition": 0, "offset": chat, "timestamp": now_ms,
            "timestampType": "CREATE_TIME", "value": value, "headers": []});
        let batch = json!({"eventSource": "SelfManagedKafka", "bootstrapServers": "127.0.0.1:9092",
            "records": {"pcap-0": [record]}});
        deployed.invoke("alert", &batch);
    }
    deployed.invoke("alert", &json!({"round": true}));

    let text = |text: &str| json!({"message": {"message_id": 1, "chat": {"id": OWNER, "type": "private"}, "text": text}});
    assert_eq!(deployed.update("of-a-stranger", &text("/help")), 401);
    assert_eq!(deployed.update(WEBHOOK_SECRET.get(1..).unwrap(), &text("/help")), 401);
    for said in ["/invite", "/hooks", "/status", &format!("/hook http://127.0.0.1:9/{HOOK_PATH} json")] {
        assert_eq!(deployed.update(WEBHOOK_SECRET, &text(said)), 200, "{said}");
    }
    let unreadable = deployed.update(WEBHOOK_SECRET, &json!(7));
    assert_eq!(unreadable, 200);

    let logs = ["bot", "alert"].map(|function| deployed.lambda.log(function)).concat();
    for part in ["TRACE", "Telegram", "an outgoing webhook", "MessagesDeferred", "a call to Telegram failed"]
    {
        assert!(logs.contains(part), "nothing of {part:?} in {} bytes of logs", logs.len());
    }
    assert_unsaid(&logs, &deployed.secrets);
}
