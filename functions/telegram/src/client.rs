//! Calls to the Bot API. The bot's token is part of every URL, so no URL may reach a log or an error.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

pub use crate::error::TelegramError;

use crate::Message;
use crate::error::Answer;
use crate::message::{CallbackAnswer, Edit, WebhookReply};

/// The Bot API of Telegram itself.
pub const API_URL: &str = "https://api.telegram.org";

/// How long an answer is waited for: less than the lease of a message that is being sent, and than a function may run.
const ANSWER: Duration = Duration::from_secs(8);
/// How long a connection is waited for, encryption and all: less than [`ANSWER`], so that a call that cannot be sent is known for it.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an unused connection is kept. A function sleeps between its calls, and its connections die meanwhile: a call in one of
/// them would be lost, and nobody would know whether it was carried out.
const IDLE: Duration = Duration::from_secs(10);

/// The kinds of updates that the bot asks for: it takes no others. <https://core.telegram.org/bots/api#update>
pub const ALLOWED_UPDATES: [&str; 3] = ["message", "callback_query", "my_chat_member"];

/// A bot at a Bot API server.
#[derive(Clone)]
pub struct Client {
    way: Arc<Way>,
}

/// How calls are carried.
enum Way {
    Http(Server),
    InProcess(mpsc::UnboundedSender<Call>),
}

struct Server {
    http: reqwest::Client,
    api_url: String,
    token: SecretString,
}

/// A call that is answered in this process.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// Its parameters, an object.
    pub parameters: Value,
    /// Where its result goes to. Dropped, the call has no answer: [`TelegramError::AnswerLost`].
    pub answer: oneshot::Sender<Result<Value, TelegramError>>,
}

/// Where commands are shown. <https://core.telegram.org/bots/api#botcommandscope>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandScope {
    /// Everywhere, unless a narrower scope has its own.
    Default,
    /// In all private chats.
    AllPrivateChats,
    /// In all groups and supergroups.
    AllGroupChats,
    /// In this chat.
    Chat(i64),
}

impl CommandScope {
    fn to_json(self) -> Value {
        match self {
            Self::Default => json!({"type": "default"}),
            Self::AllPrivateChats => json!({"type": "all_private_chats"}),
            Self::AllGroupChats => json!({"type": "all_group_chats"}),
            Self::Chat(id) => json!({"type": "chat", "chat_id": id}),
        }
    }
}

/// Where updates are posted to. <https://core.telegram.org/bots/api#setwebhook>
#[derive(Debug)]
pub struct Webhook<'a> {
    /// Where: by `https` alone.
    pub url: &'a str,
    /// What Telegram says in a header of each update, so that it is known to be Telegram's: 1 to 256 of `A-Z a-z 0-9 _ -`.
    pub secret_token: &'a SecretString,
    /// How many updates may be on their way at the same time, 1 to 100.
    pub max_connections: u8,
}

/// What Telegram knows of a webhook. <https://core.telegram.org/bots/api#webhookinfo>
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WebhookInfo {
    /// Where updates are posted to: empty when there is none.
    pub url: String,
    /// How many updates wait for being delivered.
    pub pending_update_count: u64,
    /// When the last update could not be delivered, in seconds since 1970.
    pub last_error_date: Option<i64>,
    /// Why it could not, in Telegram's words.
    pub last_error_message: Option<String>,
    /// How many updates may be on their way at the same time.
    pub max_connections: Option<u32>,
    /// The kinds of updates that are posted. Empty: most.
    #[serde(default)]
    pub allowed_updates: Vec<String>,
}

impl Client {
    /// How long the server may keep [`Self::updates`] waiting for news.
    pub const POLL: Duration = Duration::from_secs(25);

    /// A bot with this token at the Bot API server of this URL: [`API_URL`], or one's own.
    ///
    /// # Errors
    /// When the address is none, or no HTTP client can be made: the system has no root certificates.
    pub fn new(api_url: &str, token: SecretString) -> Result<Self, TelegramError> {
        let is_url = |text| reqwest::Url::parse(text).is_ok_and(|url| url.has_host());
        if !is_url(api_url) {
            return Err(TelegramError::NotAUrl);
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|source| not_sent("set-up", source.without_url()))?;
        let api_url = api_url.trim_end_matches('/').to_owned();
        Ok(Self { way: Arc::new(Way::Http(Server { http, api_url, token })) })
    }

    /// A bot whose calls are answered in this process, by who receives them: for a chat without Telegram.
    #[must_use]
    pub fn in_process(calls: mpsc::UnboundedSender<Call>) -> Self {
        Self { way: Arc::new(Way::InProcess(calls)) }
    }

    /// The bot's user name, without the `@`. Shows that the token is right.
    ///
    /// # Errors
    /// [`TelegramError`].
    pub async fn user_name(&self) -> Result<String, TelegramError> {
        #[derive(Deserialize)]
        struct Me {
            username: String,
        }
        Ok(self.call::<Me>("getMe", &json!({})).await?.username)
    }

    /// The updates from `offset` on; waits up to [`Self::POLL`] for the first. Asking from an offset confirms all before it.
    ///
    /// # Errors
    /// [`TelegramError`].
    pub async fn updates(&self, offset: i64) -> Result<Vec<Value>, TelegramError> {
        let parameters = json!({
            "offset": offset,
            "timeout": Self::POLL.as_secs(),
            "allowed_updates": ALLOWED_UPDATES,
        });
        self.call_within(Self::POLL + Duration::from_secs(10), "getUpdates", &parameters).await
    }

    /// From now on updates are posted to this webhook, and [`Self::updates`] is refused. In the place of another one this one takes
    /// over what waits.
    ///
    /// # Errors
    /// [`TelegramError`]; after [`TelegramError::AnswerLost`] it may be set.
    pub async fn set_webhook(&self, webhook: &Webhook<'_>) -> Result<(), TelegramError> {
        let parameters = json!({
            "url": webhook.url,
            "secret_token": webhook.secret_token.expose_secret(),
            "max_connections": webhook.max_connections,
            "allowed_updates": ALLOWED_UPDATES,
        });
        self.call::<Value>("setWebhook", &parameters).await.map(drop)
    }

    /// What Telegram knows of the webhook, set or not. It does not tell the secret token.
    ///
    /// # Errors
    /// [`TelegramError`].
    pub async fn webhook_info(&self) -> Result<WebhookInfo, TelegramError> {
        self.call("getWebhookInfo", &json!({})).await
    }

    /// Updates are posted nowhere any more, and [`Self::updates`] gives them. <https://core.telegram.org/bots/api#deletewebhook>
    ///
    /// # Errors
    /// [`TelegramError`].
    pub async fn delete_webhook(&self, drop_pending_updates: bool) -> Result<(), TelegramError> {
        let parameters = json!({"drop_pending_updates": drop_pending_updates});
        self.call::<Value>("deleteWebhook", &parameters).await.map(drop)
    }

    /// Sends a message. Its number in its chat.
    ///
    /// # Errors
    /// [`TelegramError`]; after [`TelegramError::AnswerLost`] it may have arrived.
    pub async fn send_message(&self, message: &Message) -> Result<i64, TelegramError> {
        #[derive(Deserialize)]
        struct Sent {
            message_id: i64,
        }
        Ok(self.call::<Sent>("sendMessage", message).await?.message_id)
    }

    /// Changes a message. One that already is as it should become is no error.
    ///
    /// # Errors
    /// [`TelegramError`].
    pub async fn edit_message(&self, edit: &Edit) -> Result<(), TelegramError> {
        match self.call::<Value>("editMessageText", edit).await {
            Err(error) if !error.is_not_modified() => Err(error),
            _ => Ok(()),
        }
    }

    /// Answers a button.
    ///
    /// # Errors
    /// [`TelegramError`], so when it was pressed a while ago: nobody waits for the answer any more.
    pub async fn answer_callback(&self, answer: &CallbackAnswer) -> Result<(), TelegramError> {
        self.call::<Value>("answerCallbackQuery", answer).await.map(drop)
    }

    /// Does what Telegram would do if it got this in answer to its webhook.
    ///
    /// # Errors
    /// [`TelegramError`].
    pub async fn perform(&self, reply: &WebhookReply) -> Result<(), TelegramError> {
        match reply {
            WebhookReply::SendMessage(message) => self.send_message(message).await.map(drop),
            WebhookReply::EditMessageText(edit) => self.edit_message(edit).await,
            WebhookReply::AnswerCallbackQuery(answer) => self.answer_callback(answer).await,
        }
    }

    /// Shows these commands, each with its description, to those who type a `/`. <https://core.telegram.org/bots/api#setmycommands>
    ///
    /// # Errors
    /// [`TelegramError`].
    pub async fn set_commands(
        &self,
        commands: &[(&str, &str)],
        scope: CommandScope,
    ) -> Result<(), TelegramError> {
        let commands: Vec<Value> = commands
            .iter()
            .map(|(command, description)| json!({"command": command, "description": description}))
            .collect();
        let parameters = json!({"commands": commands, "scope": scope.to_json()});
        self.call::<Value>("setMyCommands", &parameters).await.map(drop)
    }

    /// Shows no commands of this scope any more: those of a wider one are shown instead.
    /// <https://core.telegram.org/bots/api#deletemycommands>
    ///
    /// # Errors
    /// [`TelegramError`].
    pub async fn delete_commands(&self, scope: CommandScope) -> Result<(), TelegramError> {
        self.call::<Value>("deleteMyCommands", &json!({"scope": scope.to_json()})).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: &impl Serialize,
    ) -> Result<T, TelegramError> {
        self.call_within(ANSWER, method, parameters).await
    }

    async fn call_within<T: DeserializeOwned>(
        &self,
        patience: Duration,
        method: &'static str,
        parameters: &impl Serialize,
    ) -> Result<T, TelegramError> {
        let result = match &*self.way {
            Way::Http(server) => server.call(patience, method, parameters).await?,
            Way::InProcess(calls) => call_in_process(calls, method, parameters).await?,
        };
        // It was carried out. What is wrong with the result is not told: it would repeat parts of it.
        serde_json::from_value(result)
            .map_err(|_why| answer_lost(method, "the result is not what the Bot API describes"))
    }
}

impl Server {
    async fn call(
        &self,
        patience: Duration,
        method: &'static str,
        parameters: &impl Serialize,
    ) -> Result<Value, TelegramError> {
        let url = format!("{}/bot{}/{method}", self.api_url, self.token.expose_secret());
        let request = self.http.post(url).timeout(patience).json(parameters);
        let response = request.send().await.map_err(|source| {
            let was_sent = !(source.is_connect() || source.is_builder());
            let source = source.without_url();
            if was_sent { answer_lost(method, source) } else { not_sent(method, source) }
        })?;
        let status = response.status();
        let body = response.bytes().await.map_err(|source| answer_lost(method, source.without_url()))?;
        // What is wrong with it is not told: it would repeat parts of it.
        let answer: Answer = serde_json::from_slice(&body).map_err(|_why| {
            answer_lost(method, format!("the answer is none of the Bot API: HTTP status {status}"))
        })?;
        answer.without(self.token.expose_secret()).read(method, status.as_u16())
    }
}

async fn call_in_process(
    calls: &mpsc::UnboundedSender<Call>,
    method: &'static str,
    parameters: &impl Serialize,
) -> Result<Value, TelegramError> {
    let parameters = serde_json::to_value(parameters).map_err(|source| not_sent(method, source))?;
    let (answer, answered) = oneshot::channel();
    calls
        .send(Call { method, parameters, answer })
        .map_err(|_call| not_sent(method, "nobody takes calls any more"))?;
    answered.await.map_err(|source| answer_lost(method, source))?
}

fn not_sent(
    method: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> TelegramError {
    TelegramError::NotSent { method, source: source.into() }
}

fn answer_lost(
    method: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> TelegramError {
    TelegramError::AnswerLost { method, source: source.into() }
}

/// Without the token.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut client = f.debug_struct("Client");
        match &*self.way {
            Way::Http(server) => client.field("api_url", &server.api_url),
            Way::InProcess(_) => &mut client,
        };
        client.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::{Button, Keyboard, Text};

    const TOKEN: &str = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";

    fn client(address: std::net::SocketAddr) -> Client {
        Client::new(&format!("http://{address}/"), TOKEN.into()).unwrap()
    }

    async fn read_request(stream: &mut TcpStream) -> String {
        let mut request = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).await.unwrap();
            assert_ne!(length, 0, "the request is over too early");
            request.extend_from_slice(&piece[..length]);
            let text = String::from_utf8(request.clone()).unwrap();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if body.len() >= length.parse().unwrap() {
                    return text;
                }
            }
        }
    }

    /// A server that reads one request, answers it with these bytes, and hangs up. Its request.
    async fn server(answer: String) -> (Client, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read_request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            request
        });
        (client, served)
    }

    fn http(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    async fn refused() -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        client(listener.local_addr().unwrap())
    }

    /// All that an error tells, the causes too.
    fn told(error: &TelegramError) -> String {
        let mut told = format!("{error:?} {error:#?} {error}");
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            told += &format!(" {error:?} {error:#?} {error}");
            cause = error.source();
        }
        told
    }

    fn assert_secret_kept(error: &TelegramError) {
        let told = told(error);
        for secret in [TOKEN, "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw", "/bot", "http://"] {
            assert!(!told.contains(secret), "{told}");
        }
    }

    #[tokio::test]
    async fn a_message_is_posted_and_its_number_read() {
        let (client, served) =
            server(http("200 OK", r#"{"ok":true,"result":{"message_id":5,"date":1}}"#)).await;
        assert_eq!(client.send_message(&Message::new(7, "hi")).await.unwrap(), 5);
        let request = served.await.unwrap();
        assert!(request.starts_with(&format!("POST /bot{TOKEN}/sendMessage HTTP/1.1\r\n")), "{request}");
        assert!(
            request.ends_with(r#"{"chat_id":7,"text":"hi","link_preview_options":{"is_disabled":true}}"#),
            "{request}"
        );
    }

    #[tokio::test]
    async fn a_call_that_finds_no_server_was_not_sent() {
        let error = refused().await.send_message(&Message::new(7, "hi")).await.unwrap_err();
        assert!(matches!(error, TelegramError::NotSent { method: "sendMessage", .. }), "{error:?}");
        assert_secret_kept(&error);
    }

    #[tokio::test]
    async fn a_call_without_an_answer_of_the_bot_api_may_have_been_carried_out() {
        let path = format!("/bot{TOKEN}/sendMessage");
        for answer in [
            String::new(),
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"ok\":true".to_owned(),
            http("502 Bad Gateway", "<html>"),
            http("404 Not Found", &format!("<html>{path}")),
            http("200 OK", &format!("{{\"path\":{path:?}}}")),
            http("200 OK", &format!("{{\"ok\":{path:?}}}")),
            http("302 Found\r\nlocation: http://127.0.0.1/", ""),
            http("502 Bad Gateway", r#"{"ok":false,"error_code":502,"description":"Bad Gateway"}"#),
            http("500 Internal Server Error", r#"{"ok":false,"error_code":400,"description":"odd"}"#),
            http("200 OK", r#"{"ok":false,"error_code":500,"description":"Internal Server Error: restart"}"#),
            http("200 OK", &format!("{{\"ok\":true,\"result\":{{\"message_id\":{path:?}}}}}")),
        ] {
            let (client, served) = server(answer.clone()).await;
            let error = client.send_message(&Message::new(7, "hi")).await.unwrap_err();
            assert!(
                matches!(error, TelegramError::AnswerLost { method: "sendMessage", .. }),
                "{answer} {error:?}"
            );
            assert_secret_kept(&error);
            served.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_call_that_is_not_answered_in_time_may_have_been_carried_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(listener.local_addr().unwrap());
        let message = Message::new(7, "hi");
        let call = client.call_within::<Value>(Duration::from_millis(50), "sendMessage", &message);
        let error = call.await.unwrap_err();
        assert!(matches!(error, TelegramError::AnswerLost { .. }), "{error:?}");
        assert_secret_kept(&error);
        drop(listener);
    }

    #[tokio::test]
    async fn a_refusal_is_told_without_the_token() {
        let body =
            format!(r#"{{"ok":false,"error_code":400,"description":"no /b0t{TOKEN}/sendMessage here"}}"#);
        let (client, _served) = server(http("400 Bad Request", &body)).await;
        let error = client.send_message(&Message::new(7, "hi")).await.unwrap_err();
        assert!(
            matches!(&error, TelegramError::Refused { code: 400, description, .. } if description == "no /b0t…/sendMessage here"),
            "{error:?}"
        );
        assert_secret_kept(&error);
        assert!(!format!("{client:?} {client:#?}").contains(TOKEN));
    }

    #[tokio::test]
    async fn an_edit_that_changes_nothing_is_no_error() {
        let unchanged = r#"{"ok":false,"error_code":400,"description":"Bad Request: message is not modified: specified new message content …"}"#;
        let (client, _served) = server(http("400 Bad Request", unchanged)).await;
        client.edit_message(&Edit::new(7, 8, "hi")).await.unwrap();
        let gone = r#"{"ok":false,"error_code":400,"description":"Bad Request: message to edit not found"}"#;
        let (client, _served) = server(http("400 Bad Request", gone)).await;
        let error = client.edit_message(&Edit::new(7, 8, "hi")).await.unwrap_err();
        assert!(matches!(error, TelegramError::MessageGone { .. }), "{error:?}");
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for address in ["", "api.telegram.org", "file:///"] {
            assert!(matches!(Client::new(address, TOKEN.into()), Err(TelegramError::NotAUrl)), "{address}");
        }
    }

    /// A client, and the calls that it makes: all are answered with the same.
    fn in_process(result: Value) -> (Client, JoinHandle<Vec<(&'static str, Value)>>) {
        let (sender, mut calls) = mpsc::unbounded_channel::<Call>();
        let answered = tokio::spawn(async move {
            let mut made = Vec::new();
            while let Some(call) = calls.recv().await {
                made.push((call.method, call.parameters));
                call.answer.send(Ok(result.clone())).unwrap();
            }
            made
        });
        (Client::in_process(sender), answered)
    }

    #[tokio::test]
    async fn calls_are_answered_in_process_with_the_same_methods_and_parameters() {
        let (client, answered) = in_process(json!({"message_id": 5, "username": "probegram_bot"}));
        let also = client.clone();
        assert_eq!(client.user_name().await.unwrap(), "probegram_bot");
        let keyboard = Keyboard::rows(vec![vec![Button::new("Mute", "mute")]]);
        let message = Message::new(7, Text::new().code("RNM0")).with_keyboard(keyboard.clone());
        assert_eq!(also.send_message(&message).await.unwrap(), 5);
        let edit = Edit::new(7, 5, "hi").with_keyboard(Some(keyboard));
        let pressed = CallbackAnswer { callback_query_id: "9".to_owned(), text: "Muted".to_owned() };
        let replies = [
            WebhookReply::SendMessage(message.clone()),
            WebhookReply::EditMessageText(edit.clone()),
            WebhookReply::AnswerCallbackQuery(pressed.clone()),
        ];
        for reply in &replies {
            client.perform(reply).await.unwrap();
        }
        client.set_commands(&[("help", "What you can ask")], CommandScope::Chat(7)).await.unwrap();
        for scope in [CommandScope::Default, CommandScope::AllPrivateChats, CommandScope::AllGroupChats] {
            client.delete_commands(scope).await.unwrap();
        }
        drop((client, also));

        let message = serde_json::to_value(&message).unwrap();
        assert_eq!(
            answered.await.unwrap(),
            [
                ("getMe", json!({})),
                ("sendMessage", message.clone()),
                ("sendMessage", message),
                ("editMessageText", serde_json::to_value(&edit).unwrap()),
                ("answerCallbackQuery", serde_json::to_value(&pressed).unwrap()),
                (
                    "setMyCommands",
                    json!({"commands": [{"command": "help", "description": "What you can ask"}],
                        "scope": {"type": "chat", "chat_id": 7}})
                ),
                ("deleteMyCommands", json!({"scope": {"type": "default"}})),
                ("deleteMyCommands", json!({"scope": {"type": "all_private_chats"}})),
                ("deleteMyCommands", json!({"scope": {"type": "all_group_chats"}})),
            ]
        );
    }

    #[tokio::test]
    async fn updates_are_asked_for_by_kind() {
        let (client, answered) = in_process(json!([{"update_id": 3}]));
        assert_eq!(client.updates(3).await.unwrap(), [json!({"update_id": 3})]);
        drop(client);
        let (method, parameters) = answered.await.unwrap().pop().unwrap();
        assert_eq!(method, "getUpdates");
        assert_eq!(
            parameters,
            json!({"offset": 3, "timeout": 25, "allowed_updates": ["message", "callback_query", "my_chat_member"]})
        );
    }

    #[tokio::test]
    async fn a_webhook_is_set_for_the_kinds_of_updates_that_are_fetched() {
        let secret_token = SecretString::from("se-cret_7");
        let webhook =
            Webhook { url: "https://bot.example/telegram", secret_token: &secret_token, max_connections: 8 };
        let (client, answered) = in_process(json!(true));
        client.set_webhook(&webhook).await.unwrap();
        client.delete_webhook(true).await.unwrap();
        drop(client);
        assert!(!format!("{webhook:?}").contains("se-cret_7"));
        assert_eq!(
            answered.await.unwrap(),
            [
                (
                    "setWebhook",
                    json!({"url": "https://bot.example/telegram", "secret_token": "se-cret_7",
                        "max_connections": 8, "allowed_updates": ["message", "callback_query", "my_chat_member"]})
                ),
                ("deleteWebhook", json!({"drop_pending_updates": true})),
            ]
        );
    }

    #[tokio::test]
    async fn what_telegram_knows_of_a_webhook_is_read_set_or_not() {
        // <https://core.telegram.org/bots/api#webhookinfo>
        let none = json!({"url": "", "has_custom_certificate": false, "pending_update_count": 0});
        let (client, _answered) = in_process(none);
        let info = client.webhook_info().await.unwrap();
        assert!(info.url.is_empty() && info.allowed_updates.is_empty(), "{info:?}");
        assert_eq!((info.pending_update_count, info.last_error_date), (0, None));

        let set = json!({"url": "https://bot.example/telegram", "has_custom_certificate": false,
            "pending_update_count": 3, "max_connections": 8, "ip_address": "192.0.2.7",
            "last_error_date": 1_587_225_867, "last_error_message": "Wrong response from the webhook: 401 Unauthorized",
            "last_synchronization_error_date": 1_587_225_800, "allowed_updates": ["message"]});
        let (client, answered) = in_process(set);
        let info = client.webhook_info().await.unwrap();
        assert_eq!((info.pending_update_count, info.max_connections), (3, Some(8)));
        assert_eq!(info.last_error_date, Some(1_587_225_867));
        assert_eq!(info.last_error_message.unwrap(), "Wrong response from the webhook: 401 Unauthorized");
        assert_eq!(info.allowed_updates, ["message"]);
        drop(client);
        assert_eq!(answered.await.unwrap(), [("getWebhookInfo", json!({}))]);
    }

    #[tokio::test]
    async fn a_call_in_process_fails_as_it_would_elsewhere() {
        let (sender, mut calls) = mpsc::unbounded_channel::<Call>();
        let client = Client::in_process(sender);
        let answered = tokio::spawn(async move {
            drop(calls.recv().await.unwrap());
            let refusal = TelegramError::ChatMoved { to: -100 };
            calls.recv().await.unwrap().answer.send(Err(refusal)).unwrap();
        });
        let message = Message::new(7, "hi");
        let dropped = client.send_message(&message).await.unwrap_err();
        assert!(matches!(dropped, TelegramError::AnswerLost { method: "sendMessage", .. }), "{dropped:?}");
        let moved = client.send_message(&message).await.unwrap_err();
        assert!(matches!(moved, TelegramError::ChatMoved { to: -100 }), "{moved:?}");
        answered.await.unwrap();
        let nobody = client.send_message(&message).await.unwrap_err();
        assert!(matches!(nobody, TelegramError::NotSent { method: "sendMessage", .. }), "{nobody:?}");
    }
}
