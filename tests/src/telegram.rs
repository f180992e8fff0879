//! A Bot API server on this machine, with chats in which a test speaks: it refuses what Telegram refuses, in the same words, and
//! anything can be made to go wrong with a call.
//!
//! Unlike the real one it keeps texts as they were sent, knows no `parse_mode`, finds no links or mentions in texts, tells bots
//! everything that is said in groups (privacy mode is off), and pushes updates to this machine alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

mod content;
mod fault;
mod methods;
mod server;
mod state;
mod webhook;

pub use fault::{Fault, Gate};

use server::Shared;
use state::{Rate, Standing, user};

/// The bot's token: the example of the documentation. <https://core.telegram.org/bots/api#authorizing-your-bot>
pub const TOKEN: &str = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";

/// The bot's user name.
pub const USER_NAME: &str = "probegram_bot";

/// Who speaks in groups, unless the test says who.
pub const SOMEBODY: i64 = 4_242_424_242;

/// A running Bot API server. It ends with the last copy of this.
#[derive(Clone)]
pub struct Telegram {
    address: SocketAddr,
    shared: Arc<Shared>,
    _thread: Arc<Thread>,
}

/// The thread on which all of the server runs: so tests need not be asynchronous, and may be.
struct Thread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // what it has panicked of is on standard error
            drop(thread.join());
        }
    }
}

/// A kind of chat, and what its ids are. <https://core.telegram.org/api/bots/ids>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With one user, whose id it has: positive.
    Private,
    /// A small group: negative.
    Group,
    /// A group that may be large: at most -1000000000001.
    Supergroup,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Group => "group",
            Self::Supergroup => "supergroup",
        }
    }
}

/// A message of the bot, as one sees it now.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The id of the chat.
    pub chat: i64,
    /// Its number in this chat: other chats have the same numbers.
    pub message_id: i64,
    /// When it was sent, in seconds since 1970.
    pub date: i64,
    /// When it was last edited, in seconds since 1970.
    pub edit_date: Option<i64>,
    /// The text.
    pub text: String,
    /// What is bold and such, in UTF-16 code units.
    pub entities: Vec<Value>,
    /// The keyboard under it, or that it asks for a reply.
    pub reply_markup: Option<Value>,
    /// Which message of the chat it replies to.
    pub reply_to: Option<i64>,
    /// Whether it came without a sound: `disable_notification`.
    pub silent: bool,
    /// How often it was edited: its text, its entities, or its keyboard.
    pub edits: usize,
    /// All texts that it has had, in order.
    pub texts: Vec<String>,
    /// Whether somebody has deleted it.
    pub deleted: bool,
}

impl Message {
    /// The buttons under it: label, and `callback_data` if that is what it does.
    #[must_use]
    pub fn buttons(&self) -> Vec<(String, Option<String>)> {
        let rows = self.reply_markup.iter().flat_map(|markup| markup["inline_keyboard"].as_array());
        let text = |value: &Value| value.as_str().map(str::to_owned);
        rows.flatten()
            .flat_map(|row| row.as_array().into_iter().flatten())
            .map(|button| (text(&button["text"]).unwrap_or_default(), text(&button["callback_data"])))
            .collect()
    }

    /// Whether it asks anybody for a reply: <https://core.telegram.org/bots/api#forcereply>.
    #[must_use]
    pub fn asks_for_reply(&self) -> bool {
        self.reply_markup.is_some() && self.buttons().is_empty()
    }
}

/// An answer to a callback query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackAnswer {
    /// Of the query.
    pub id: String,
    /// What is shown; may be empty.
    pub text: String,
    /// Whether it is shown until the user closes it.
    pub alert: bool,
}

/// A call of the Bot API.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method.
    pub method: String,
    /// Its parameters; null if the token was wrong or they could not be read.
    pub params: Value,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether whoever called was answered: not if the answer was lost, or the call was the answer of a webhook.
    pub heard: bool,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was carried out.
    Done(Value),
    /// It was not carried out.
    Refused {
        /// Like an HTTP status.
        code: u16,
        /// Telegram's words.
        description: String,
    },
    /// It was not carried out, and the connection was closed.
    Lost,
}

/// An update that was posted to the webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Of the update.
    pub update_id: i64,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
}

impl Telegram {
    /// Starts one on a free port of loopback, without chats.
    ///
    /// # Panics
    /// If there is no free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (stop, stopped) = oneshot::channel();
        let serving = server::serve(listener, Arc::clone(&shared), stopped);
        let thread = thread::spawn(move || runtime.block_on(serving));
        Self { address, shared, _thread: Arc::new(Thread { stop: Some(stop), thread: Some(thread) }) }
    }

    /// Where it serves: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The token of the only bot.
    #[must_use]
    pub const fn token(&self) -> &'static str {
        TOKEN
    }

    /// A chat with the bot in it.
    ///
    /// # Panics
    /// If it is there already, or a chat of this kind has other ids.
    pub fn add_chat(&self, id: i64, kind: Kind) {
        self.shared.state().add_chat(id, kind);
    }

    /// Somebody writes in a chat: in a private one its user, in a group [`SOMEBODY`]. Gives the `update_id`.
    ///
    /// # Panics
    /// If there is no such chat, or the bot is not in it.
    pub fn somebody_says(&self, chat: i64, text: &str) -> i64 {
        self.user_says(somebody(chat), chat, text)
    }

    /// A user writes in a chat. Gives the `update_id`.
    ///
    /// # Panics
    /// If there is no such chat, or the bot is not in it, or it is the private one of another user.
    pub fn user_says(&self, from: i64, chat: i64, text: &str) -> i64 {
        self.with(|state| {
            state.check_writer(from, chat);
            state.receives(&user(from), chat, said(text))
        })
    }

    /// Somebody replies to a message of the bot: in a private chat its user, in a group [`SOMEBODY`]. Gives the `update_id`.
    ///
    /// # Panics
    /// If there is no such message, or the bot is not in the chat.
    pub fn somebody_replies(&self, chat: i64, message_id: i64, text: &str) -> i64 {
        self.user_replies(somebody(chat), chat, message_id, text)
    }

    /// A user replies to a message of the bot. Gives the `update_id`.
    ///
    /// # Panics
    /// If there is no such message, or the bot is not in the chat, or it is the private one of another user.
    pub fn user_replies(&self, from: i64, chat: i64, message_id: i64, text: &str) -> i64 {
        self.with(|state| {
            state.check_writer(from, chat);
            state.replies(&user(from), chat, message_id, said(text))
        })
    }

    /// Whether a user of the chat finds a field open for a reply to a message of the bot. If it is for some only, they are those
    /// whom the text mentions by id and whose message it replies to. <https://core.telegram.org/bots/api#forcereply>
    ///
    /// # Panics
    /// If there is no such message.
    #[must_use]
    pub fn is_asked(&self, user: i64, chat: i64, message_id: i64) -> bool {
        let mut state = self.shared.state();
        let private = state.chat(chat).kind == Kind::Private;
        let Some(message) = state.message(chat, message_id).cloned() else {
            panic!("there is no message {message_id} of the bot in chat {chat}")
        };
        let selective = message.reply_markup.as_ref().is_some_and(|markup| markup["selective"] == true);
        let replied_to = message.reply_to.and_then(|id| state.found(chat, id));
        let mentioned = message.entities.iter().any(|entity| entity["user"]["id"] == user);
        let is_meant = mentioned || replied_to.is_some_and(|message| message["from"]["id"] == user);
        message.asks_for_reply() && (private || !selective || is_meant)
    }

    /// Somebody presses a button of a message of the bot. Gives the id of the callback query.
    ///
    /// # Panics
    /// If there is no such button.
    pub fn press(&self, chat: i64, message_id: i64, callback_data: &str) -> String {
        self.user_presses(somebody(chat), chat, message_id, callback_data)
    }

    /// A user presses a button of a message of the bot. Gives the id of the callback query.
    ///
    /// # Panics
    /// If there is no such button.
    pub fn user_presses(&self, from: i64, chat: i64, message_id: i64, callback_data: &str) -> String {
        self.with(|state| state.press(&user(from), chat, message_id, callback_data))
    }

    /// Any update, which gets an `update_id` if it has none: gives it. It waits unless its kind is one that the bot did not ask
    /// for. The callback query of one may be answered.
    ///
    /// # Panics
    /// If it is no object, or its `update_id` is no whole number.
    pub fn happens(&self, update: Value) -> i64 {
        self.with(|state| state.happens(update))
    }

    /// The user of a private chat blocks the bot, which is told so.
    ///
    /// # Panics
    /// If it is no private chat, or the bot is not in it.
    pub fn block(&self, chat: i64) {
        self.with(|state| {
            let there = state.open_chat(chat);
            assert_eq!(there.kind, Kind::Private, "only users block: kick from {chat}");
            there.standing = Standing::Blocked;
            state.membership(chat, &user(chat), "member", "kicked");
        });
    }

    /// [`SOMEBODY`] removes the bot from a group, and it is told so.
    ///
    /// # Panics
    /// If it is no group, or the bot is not in it.
    pub fn kick(&self, chat: i64) {
        self.with(|state| {
            let there = state.open_chat(chat);
            assert_ne!(
                there.kind,
                Kind::Private,
                "the bot cannot be kicked from private chat {chat}: block it"
            );
            there.standing = Standing::Kicked;
            state.membership(chat, &user(SOMEBODY), "member", "kicked");
        });
    }

    /// The bot is no longer blocked, or is in the group again, and is told so.
    ///
    /// # Panics
    /// If it was neither blocked nor kicked.
    pub fn readmit(&self, chat: i64) {
        self.with(|state| {
            let there = state.chat(chat);
            let away = matches!(there.standing, Standing::Blocked | Standing::Kicked);
            assert!(away, "the bot was neither blocked nor kicked in chat {chat}");
            there.standing = Standing::Ordinary;
            state.membership(chat, &user(somebody(chat)), "kicked", "member");
        });
    }

    /// A group becomes a supergroup of another id, and the bot is told so in both.
    ///
    /// # Panics
    /// If it is no group, or the new id is that of no supergroup.
    pub fn upgrade(&self, chat: i64, new: i64) {
        self.with(|state| {
            assert_eq!(state.open_chat(chat).kind, Kind::Group, "chat {chat} cannot become a supergroup");
            state.add_chat(new, Kind::Supergroup);
            state.chat(chat).standing = Standing::Upgraded(new);
            state.receives(&user(SOMEBODY), chat, json!({"migrate_to_chat_id": new}));
            state.receives(&user(SOMEBODY), new, json!({"migrate_from_chat_id": chat}));
        });
    }

    /// Somebody deletes a message of the bot, which is not told so.
    ///
    /// # Panics
    /// If there is no such message.
    pub fn delete(&self, chat: i64, message_id: i64) {
        self.with(|state| match state.message(chat, message_id) {
            Some(message) => message.deleted = true,
            None => panic!("there is no message {message_id} of the bot in chat {chat}"),
        });
    }

    /// Lets webhooks be HTTP APIs of AWS, which are reached at what stands for it on this machine.
    pub fn reach_aws_at(&self, endpoint: &str) {
        self.with(|state| state.aws = Some(endpoint.to_owned()));
    }

    /// From now on the bot may write and edit so many messages in a chat in this time, and in a group no more than 20 a minute.
    ///
    /// # Panics
    /// If it may write none.
    pub fn limit_rate(&self, messages: usize, within: Duration) {
        assert!(messages > 0, "a bot that may write nothing writes nothing");
        self.with(|state| state.rate = Some(Rate { messages, within }));
    }

    /// What becomes of the next call of a method; if this is said more than once, of those after it.
    ///
    /// # Panics
    /// If there is no such method.
    pub fn fail_next(&self, method: &str, fault: Fault) {
        assert!(methods::METHODS.contains(&method), "there is no method {method} here");
        self.with(|state| state.faults.entry(method.to_owned()).or_default().push_back(fault));
    }

    /// The messages of the bot in a chat, in the order in which they were sent, with those that were deleted.
    ///
    /// # Panics
    /// If there is no such chat.
    #[must_use]
    pub fn messages(&self, chat: i64) -> Vec<Message> {
        let mut state = self.shared.state();
        state.chat(chat);
        state.messages.iter().filter(|message| message.chat == chat).cloned().collect()
    }

    /// The messages of the bot in all chats, in the order in which they were sent, with those that were deleted.
    #[must_use]
    pub fn all_messages(&self) -> Vec<Message> {
        self.shared.state().messages.clone()
    }

    /// The answers to callback queries, in order.
    #[must_use]
    pub fn answers(&self) -> Vec<CallbackAnswer> {
        self.shared.state().answers.clone()
    }

    /// The bot's commands, with their descriptions, of exactly this scope and for all languages.
    #[must_use]
    pub fn commands(&self, scope: &Value) -> Vec<(String, String)> {
        let state = self.shared.state();
        let of = state.commands.iter().filter(|of| of.scope == *scope && of.language.is_empty());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        of.flat_map(|of| &of.commands)
            .map(|command| (text(&command["command"]), text(&command["description"])))
            .collect()
    }

    /// All calls, in the order in which they were done with.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// What was posted to the webhook, in order, each time that it was.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.state().deliveries.clone()
    }

    /// The ids of the updates that the bot has neither confirmed nor taken by its webhook, in order.
    #[must_use]
    pub fn pending(&self) -> Vec<i64> {
        self.shared.state().pending.iter().map(|pending| pending.update_id).collect()
    }

    fn with<T>(&self, change: impl FnOnce(&mut state::State) -> T) -> T {
        let result = change(&mut self.shared.state());
        self.shared.changed();
        result
    }
}

/// Who is meant by somebody in a chat.
const fn somebody(chat: i64) -> i64 {
    if chat > 0 { chat } else { SOMEBODY }
}

/// The content of a message with this text. A command at its beginning is marked, as Telegram does.
fn said(text: &str) -> Value {
    let mut said = json!({"text": text});
    if let Some(rest) = text.strip_prefix('/') {
        let length = rest
            .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == '@'))
            .unwrap_or(rest.len());
        if length > 0 {
            said["entities"] = json!([{"type": "bot_command", "offset": 0, "length": 1 + length}]);
        }
    }
    said
}
