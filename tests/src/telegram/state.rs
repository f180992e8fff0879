//! What the server knows: the bot, its chats, and what is to be told to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::content::Content;
use super::fault::{Fault, too_many_requests};
use super::methods::Refusal;
use super::{Call, CallbackAnswer, Delivery, Kind, Message, USER_NAME};

/// The kinds of update that a bot gets only if it asks for them. <https://core.telegram.org/bots/api#getupdates>
const ONLY_WHEN_ASKED_FOR: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];
/// "your bot will not be able to send more than 20 messages per minute" to a group.
/// <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>
const OF_A_GROUP: Rate = Rate { messages: 20, within: Duration::from_secs(60) };

/// So many messages to one chat in so much time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) messages: usize,
    pub(super) within: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Ordinary,
    Blocked,
    Kicked,
    Upgraded(i64),
}

pub(super) struct Chat {
    pub(super) kind: Kind,
    pub(super) standing: Standing,
    /// Of the newest message in it, whoever has written it.
    pub(super) last_message_id: i64,
    /// When the bot wrote or edited a message.
    written: VecDeque<Instant>,
}

/// An update that the bot has not confirmed.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// Tells two updates apart that a test gave the same `update_id`.
    pub(super) serial: u64,
    pub(super) update_id: i64,
    /// Of which chat, or else user, it is; updates of one are told one after another.
    pub(super) of: i64,
    pub(super) update: Value,
}

#[derive(Debug, Clone)]
pub(super) struct Webhook {
    pub(super) url: String,
    /// Where that is, for this server.
    pub(super) at: String,
    pub(super) secret: Option<String>,
    pub(super) max_connections: usize,
}

/// A list of commands, and for whom it is.
pub(super) struct Commands {
    pub(super) scope: Value,
    pub(super) language: String,
    pub(super) commands: Vec<Value>,
}

pub(super) struct State {
    pub(super) chats: BTreeMap<i64, Chat>,
    /// Those of the bot, as they were sent.
    pub(super) messages: Vec<Message>,
    /// Those of others, as the bot was told of them: by chat and `message_id`.
    received: BTreeMap<(i64, i64), Value>,
    /// The ids of callback queries that wait for an answer.
    pub(super) pressed: BTreeSet<String>,
    last_callback_id: u64,
    pub(super) answers: Vec<CallbackAnswer>,
    pub(super) commands: Vec<Commands>,
    pub(super) pending: VecDeque<Pending>,
    last_serial: u64,
    last_update_id: i64,
    /// Empty: all but [`ONLY_WHEN_ASKED_FOR`].
    pub(super) allowed_updates: Vec<String>,
    /// How often `getUpdates` was called: only the last one may wait.
    pub(super) polls: u64,
    pub(super) webhook: Option<Webhook>,
    /// What stands for AWS on this machine: its HTTP APIs are reached there.
    pub(super) aws: Option<String>,
    /// The chats of which an update is on its way to the webhook.
    pub(super) under_way: BTreeSet<i64>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) last_error: Option<(i64, String)>,
    pub(super) faults: BTreeMap<String, VecDeque<Fault>>,
    pub(super) rate: Option<Rate>,
    pub(super) calls: Vec<Call>,
}

impl State {
    pub(super) const fn new() -> Self {
        Self {
            chats: BTreeMap::new(),
            messages: Vec::new(),
            received: BTreeMap::new(),
            pressed: BTreeSet::new(),
            last_callback_id: 18_220_000_000_000_000,
            answers: Vec::new(),
            commands: Vec::new(),
            pending: VecDeque::new(),
            last_serial: 0,
            last_update_id: 100_000_000,
            allowed_updates: Vec::new(),
            polls: 0,
            webhook: None,
            aws: None,
            under_way: BTreeSet::new(),
            deliveries: Vec::new(),
            last_error: None,
            faults: BTreeMap::new(),
            rate: None,
            calls: Vec::new(),
        }
    }

    pub(super) fn add_chat(&mut self, id: i64, kind: Kind) {
        let of_its_kind = match kind {
            Kind::Private => id > 0,
            Kind::Group => (-999_999_999_999..0).contains(&id),
            Kind::Supergroup => id < -1_000_000_000_000,
        };
        assert!(of_its_kind, "chat {id} cannot be a {}: see Kind", kind.name());
        let chat = Chat { kind, standing: Standing::Ordinary, last_message_id: 0, written: VecDeque::new() };
        assert!(self.chats.insert(id, chat).is_none(), "chat {id} is there already");
    }

    /// A chat that the test must have added.
    pub(super) fn chat(&mut self, id: i64) -> &mut Chat {
        self.chats.get_mut(&id).unwrap_or_else(|| panic!("there is no chat {id}: add_chat it first"))
    }

    /// A chat in which something can happen that the bot sees.
    pub(super) fn open_chat(&mut self, id: i64) -> &mut Chat {
        let chat = self.chat(id);
        assert_eq!(chat.standing, Standing::Ordinary, "the bot sees nothing of chat {id}");
        chat
    }

    /// Makes sure that a user can write in a chat, and the bot sees it.
    pub(super) fn check_writer(&mut self, from: i64, chat: i64) {
        let private = self.open_chat(chat).kind == Kind::Private;
        assert!(!private || from == chat, "user {from} cannot write in the private chat of {chat}");
    }

    /// The `Chat` object of a chat.
    pub(super) fn about(&self, id: i64) -> Value {
        let kind = self.chats.get(&id).expect("a chat that was asked for before").kind;
        match kind {
            Kind::Private => json!({"id": id, "type": kind.name(), "first_name": format!("User {id}")}),
            Kind::Group | Kind::Supergroup => {
                json!({"id": id, "type": kind.name(), "title": format!("Chat {id}")})
            }
        }
    }

    /// Lets an update come, and gives its `update_id`.
    pub(super) fn happens(&mut self, mut update: Value) -> i64 {
        let fields = update.as_object_mut().unwrap_or_else(|| panic!("an update is an object"));
        let update_id = fields.get("update_id").map_or(self.last_update_id + 1, |id| {
            id.as_i64().unwrap_or_else(|| panic!("an update_id is a whole number, not {id}"))
        });
        self.last_update_id = self.last_update_id.max(update_id);
        fields.insert("update_id".to_owned(), json!(update_id));
        let (kind, content) = fields
            .iter()
            .find(|(field, _)| *field != "update_id")
            .map_or(("", &Value::Null), |(kind, content)| (kind.as_str(), content));
        if let (true, Some(id)) = (kind == "callback_query", content["id"].as_str()) {
            self.pressed.insert(id.to_owned());
        }
        let wanted = kind.is_empty()
            || if self.allowed_updates.is_empty() {
                !ONLY_WHEN_ASKED_FOR.contains(&kind)
            } else {
                self.allowed_updates.iter().any(|allowed| allowed == kind)
            };
        let of = [&content["chat"], &content["message"]["chat"], &content["from"], &content["user"]];
        let of = of.into_iter().find_map(|object| object["id"].as_i64()).unwrap_or_default();
        if wanted {
            self.last_serial += 1;
            self.pending.push_back(Pending { serial: self.last_serial, update_id, of, update });
        }
        update_id
    }

    /// Lets a message come that is not of the bot.
    pub(super) fn receives(&mut self, from: &Value, chat: i64, content: Value) -> i64 {
        let there = self.chat(chat);
        there.last_message_id += 1;
        let message_id = there.last_message_id;
        let mut message =
            json!({"message_id": message_id, "from": from, "chat": self.about(chat), "date": now()});
        for (field, value) in content.as_object().into_iter().flatten() {
            message[field] = value.clone();
        }
        self.received.insert((chat, message_id), message.clone());
        self.happens(json!({"message": message}))
    }

    /// Lets somebody reply to a message of the bot.
    pub(super) fn replies(&mut self, from: &Value, chat: i64, message_id: i64, mut said: Value) -> i64 {
        said["reply_to_message"] = match self.message(chat, message_id).cloned() {
            Some(message) => self.alone(&message),
            None => panic!("there is no message {message_id} of the bot in chat {chat}"),
        };
        self.receives(from, chat, said)
    }

    /// The `Message` object of a message that is replied to, if it is there: without what that one replies to.
    /// <https://core.telegram.org/bots/api#message>
    pub(super) fn found(&self, chat: i64, message_id: i64) -> Option<Value> {
        let of_bot = |of: &&Message| (of.chat, of.message_id, of.deleted) == (chat, message_id, false);
        if let Some(message) = self.messages.iter().rev().find(of_bot) {
            return Some(self.alone(message));
        }
        let mut received = self.received.get(&(chat, message_id))?.clone();
        received.as_object_mut()?.remove("reply_to_message");
        Some(received)
    }

    /// Lets the bot's membership of a chat change.
    pub(super) fn membership(&mut self, chat: i64, from: &Value, old: &str, new: &str) -> i64 {
        let member = |status: &str| json!({"user": bot(), "status": status});
        let about = self.about(chat);
        self.happens(json!({"my_chat_member": {"chat": about, "from": from, "date": now(),
            "old_chat_member": member(old), "new_chat_member": member(new)}}))
    }

    pub(super) fn press(&mut self, from: &Value, chat: i64, message_id: i64, data: &str) -> String {
        self.open_chat(chat);
        let Some(message) = self.message(chat, message_id) else {
            panic!("there is no message {message_id} of the bot in chat {chat}")
        };
        let buttons = message.buttons();
        assert!(
            buttons.iter().any(|(_, its)| its.as_deref() == Some(data)),
            "message {message_id} has no button {data:?}, but {buttons:?}"
        );
        let message = message.clone();
        let message = self.told(&message);
        self.last_callback_id += 1;
        let id = self.last_callback_id.to_string();
        self.happens(json!({"callback_query": {"id": id, "from": from, "message": message,
            "chat_instance": chat.to_string(), "data": data}}));
        id
    }

    /// A message of the bot that nobody has deleted.
    pub(super) fn message(&mut self, chat: i64, message_id: i64) -> Option<&mut Message> {
        let is_it = |of: &Message| (of.chat, of.message_id, of.deleted) == (chat, message_id, false);
        self.messages.iter_mut().rev().find(|message| is_it(message)) // the newest is asked for most
    }

    /// The `Message` object of a message of the bot.
    pub(super) fn told(&self, message: &Message) -> Value {
        let mut told = self.alone(message);
        if let Some(replied_to) = message.reply_to.and_then(|id| self.found(message.chat, id)) {
            told["reply_to_message"] = replied_to;
        }
        told
    }

    fn alone(&self, message: &Message) -> Value {
        let mut told = json!({"message_id": message.message_id, "from": bot(), "chat": self.about(message.chat),
            "date": message.date, "text": message.text});
        if !message.entities.is_empty() {
            told["entities"] = json!(message.entities);
        }
        // "Inline keyboard attached to the message": that it asks for a reply is not told
        if let Some(markup) = message.reply_markup.as_ref().filter(|_| !message.asks_for_reply()) {
            told["reply_markup"] = markup.clone();
        }
        if let Some(date) = message.edit_date {
            told["edit_date"] = json!(date);
        }
        told
    }

    /// Puts a message of the bot into a chat.
    pub(super) fn say(&mut self, chat: i64, content: Content, reply_to: Option<i64>, silent: bool) -> Value {
        let there = self.chat(chat);
        there.last_message_id += 1;
        let message = Message {
            chat,
            message_id: there.last_message_id,
            date: now(),
            edit_date: None,
            texts: vec![content.text.clone()],
            text: content.text,
            entities: content.entities,
            reply_markup: content.reply_markup,
            reply_to,
            silent,
            edits: 0,
            deleted: false,
        };
        let told = self.told(&message);
        self.messages.push(message);
        told
    }

    /// Counts what the bot writes in a chat, unless it writes too much. Edits count, as in the real one.
    pub(super) fn check_rate(&mut self, chat: i64) -> Result<(), Refusal> {
        let Some(rate) = self.rate else { return Ok(()) };
        let there = self.chat(chat);
        let group = (there.kind != Kind::Private).then_some(OF_A_GROUP);
        for rate in group.into_iter().chain([rate]) {
            let recent = there.written.iter().rev().take_while(|then| then.elapsed() < rate.within).count();
            let leaves = there.written.len() - rate.messages.min(there.written.len());
            if recent >= rate.messages {
                let wait = there
                    .written
                    .get(leaves)
                    .map_or(rate.within, |oldest| rate.within.saturating_sub(oldest.elapsed()));
                let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
                return Err(Refusal(too_many_requests(seconds)));
            }
        }
        there.written.push_back(Instant::now());
        Ok(())
    }

    pub(super) fn take_fault(&mut self, method: &str) -> Option<Fault> {
        self.faults.get_mut(method)?.pop_front()
    }
}

/// The `User` object of the bot.
pub(super) fn bot() -> Value {
    json!({"id": 110_201_543, "is_bot": true, "first_name": "Probegram", "username": USER_NAME})
}

/// The `User` object of somebody.
pub(super) fn user(id: i64) -> Value {
    assert!(id > 0, "{id} is the id of no user");
    json!({"id": id, "is_bot": false, "first_name": format!("User {id}"), "language_code": "en"})
}

/// In seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a clock before the end of time")
}
