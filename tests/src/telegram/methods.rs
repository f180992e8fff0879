//! What each method of the Bot API does, and what it refuses. <https://core.telegram.org/bots/api#available-methods>

use serde_json::{Map, Value, json};

use super::content::{Content, Markup, reply_markup};
use super::state::{Commands, Standing, State, Webhook, bot, now};
use super::{CallbackAnswer, Kind, Outcome};

/// The methods that there are here.
pub(super) const METHODS: [&str; 14] = [
    "getMe",
    "getUpdates",
    "sendMessage",
    "editMessageText",
    "editMessageReplyMarkup",
    "answerCallbackQuery",
    "setMyCommands",
    "deleteMyCommands",
    "getMyCommands",
    "setWebhook",
    "deleteWebhook",
    "getWebhookInfo",
    "sendChatAction",
    "getChat",
];

const CHAT_ACTIONS: [&str; 11] = [
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
];

/// Why a call is not carried out: the whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal(pub(super) Value);

impl Refusal {
    pub(super) fn new(code: u16, description: &str) -> Self {
        Self(json!({"ok": false, "error_code": code, "description": description}))
    }

    pub(super) fn code(&self) -> u16 {
        let code = self.0["error_code"].as_u64().and_then(|code| u16::try_from(code).ok());
        code.filter(|code| (400..600).contains(code))
            .expect("a refusal has an error_code like an HTTP status")
    }

    pub(super) fn outcome(&self) -> Outcome {
        let description = self.0["description"].as_str().unwrap_or_default().to_owned();
        Outcome::Refused { code: self.code(), description }
    }
}

pub(super) fn bad(why: &str) -> Refusal {
    Refusal::new(400, &format!("Bad Request: {why}"))
}

pub(super) type Answer = Result<Value, Refusal>;

/// The parameters of a call. Their values may be JSON, or texts of it, as in a query string.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(pub(super) Map<String, Value>);

impl Params {
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text == "true" || text == "1")
    }

    pub(super) fn json(&self, name: &str) -> Result<Option<Value>, Refusal> {
        match self.0.get(name) {
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text)
                .map(Some)
                .map_err(|_not_json| bad(&format!("can't parse {name} JSON object"))),
            value => Ok(value.cloned()),
        }
    }
}

impl State {
    /// Carries a call out, unless it may not be.
    pub(super) fn carry_out(&mut self, method: &str, params: &Params) -> Answer {
        match method {
            "getMe" => {
                let mut me = bot();
                me["can_join_groups"] = json!(true);
                me["can_read_all_group_messages"] = json!(false);
                me["supports_inline_queries"] = json!(false);
                Ok(me)
            }
            "sendMessage" => self.send_message(params),
            "editMessageText" => {
                let chat = self.writable_chat(params)?;
                let content = Content::of(params, Markup::InlineKeyboard)?;
                self.edit(chat, params, |_before| content)
            }
            "editMessageReplyMarkup" => {
                let chat = self.writable_chat(params)?;
                let reply_markup = reply_markup(params, Markup::InlineKeyboard)?;
                self.edit(chat, params, |before| Content { reply_markup, ..before })
            }
            "answerCallbackQuery" => self.answer_callback_query(params),
            "setMyCommands" => self.set_my_commands(params),
            "deleteMyCommands" => {
                let (scope, language) = self.scope(params)?;
                self.commands.retain(|of| of.scope != scope || of.language != language);
                Ok(json!(true))
            }
            "getMyCommands" => {
                let (scope, language) = self.scope(params)?;
                let of = self.commands.iter().find(|of| of.scope == scope && of.language == language);
                Ok(json!(of.map_or(&[][..], |of| &of.commands)))
            }
            "setWebhook" => self.set_webhook(params),
            "deleteWebhook" => {
                self.webhook = None;
                self.last_error = None;
                if params.flag("drop_pending_updates") {
                    self.pending.clear();
                }
                Ok(json!(true))
            }
            "getWebhookInfo" => Ok(self.webhook_info()),
            "sendChatAction" => {
                self.writable_chat(params)?;
                let action = params.text("action").unwrap_or_default();
                if !CHAT_ACTIONS.contains(&action.as_str()) {
                    return Err(bad("wrong parameter action in request"));
                }
                Ok(json!(true))
            }
            "getChat" => {
                let chat = self.known_chat(params)?;
                Ok(self.about(chat))
            }
            _ => Err(Refusal::new(404, "Not Found")),
        }
    }

    /// The chat that a call is about.
    fn known_chat(&mut self, params: &Params) -> Result<i64, Refusal> {
        let id = params.text("chat_id").filter(|id| !id.is_empty()).ok_or_else(|| bad("chat_id is empty"))?;
        let id = id.parse().map_err(|_a_name| bad("chat not found"))?;
        if self.chats.contains_key(&id) { Ok(id) } else { Err(bad("chat not found")) }
    }

    /// The chat that a call is about, if the bot may write there.
    fn writable_chat(&mut self, params: &Params) -> Result<i64, Refusal> {
        let id = self.known_chat(params)?;
        let chat = self.chat(id);
        match chat.standing {
            Standing::Ordinary => Ok(id),
            Standing::Blocked => Err(Refusal::new(403, "Forbidden: bot was blocked by the user")),
            Standing::Kicked => {
                let kind = chat.kind.name();
                Err(Refusal::new(403, &format!("Forbidden: bot was kicked from the {kind} chat")))
            }
            Standing::Upgraded(new) => {
                let mut refusal = bad("group chat was upgraded to a supergroup chat");
                refusal.0["parameters"] = json!({"migrate_to_chat_id": new});
                Err(refusal)
            }
        }
    }

    fn send_message(&mut self, params: &Params) -> Answer {
        let chat = self.writable_chat(params)?;
        let content = Content::of(params, Markup::Any)?;
        let reply_to = self.reply_to(chat, params)?;
        self.check_rate(chat)?;
        Ok(self.say(chat, content, reply_to, params.flag("disable_notification")))
    }

    /// Which message of the chat a call replies to. <https://core.telegram.org/bots/api#replyparameters>
    fn reply_to(&self, chat: i64, params: &Params) -> Result<Option<i64>, Refusal> {
        let reply = match params.json("reply_parameters")? {
            None | Some(Value::Null) => return Ok(None),
            Some(reply) if reply.is_object() => reply,
            Some(_) => return Err(bad("object expected as reply parameters")),
        };
        let id = match &reply["message_id"] {
            Value::Null => return Ok(None),
            id => id.as_i64().ok_or_else(|| bad("field \"message_id\" must be of type Number"))?,
        };
        let found = self.found(chat, id).is_some();
        if !found && reply["allow_sending_without_reply"] != true {
            return Err(bad("message to be replied not found"));
        }
        Ok(found.then_some(id))
    }

    fn edit(&mut self, chat: i64, params: &Params, change: impl FnOnce(Content) -> Content) -> Answer {
        let id = params.integer("message_id").ok_or_else(|| bad("message identifier is not specified"))?;
        let last = self.chat(chat).last_message_id;
        let Some(message) = self.message(chat, id).cloned() else {
            // what somebody else has written is found, and may not be changed
            let of_bot = self.messages.iter().any(|of| (of.chat, of.message_id) == (chat, id));
            let of_others = !of_bot && (1..=last).contains(&id);
            return Err(bad(if of_others { "message can't be edited" } else { "message to edit not found" }));
        };
        if message.asks_for_reply() {
            return Err(bad("message can't be edited"));
        }
        let before =
            Content { text: message.text, entities: message.entities, reply_markup: message.reply_markup };
        let after = change(before.clone());
        if after == before {
            return Err(bad(
                "message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message",
            ));
        }
        self.check_rate(chat)?;
        let message = self.message(chat, id).expect("it was there before");
        if after.text != before.text {
            message.texts.push(after.text.clone());
        }
        (message.text, message.entities, message.reply_markup) =
            (after.text, after.entities, after.reply_markup);
        message.edits += 1;
        message.edit_date = Some(now());
        let message = message.clone();
        Ok(self.told(&message))
    }

    fn answer_callback_query(&mut self, params: &Params) -> Answer {
        let id = params.text("callback_query_id").unwrap_or_default();
        let text = params.text("text").unwrap_or_default();
        if text.encode_utf16().count() > 200 {
            return Err(bad("MESSAGE_TOO_LONG"));
        }
        if !self.pressed.remove(&id) {
            return Err(bad("query is too old and response timeout expired or query ID is invalid"));
        }
        self.answers.push(CallbackAnswer { id, text, alert: params.flag("show_alert") });
        Ok(json!(true))
    }

    /// For whom commands are: the scope, and the language. <https://core.telegram.org/bots/api#botcommandscope>
    fn scope(&mut self, params: &Params) -> Result<(Value, String), Refusal> {
        let scope = params.json("scope")?.unwrap_or_else(|| json!({"type": "default"}));
        match scope["type"].as_str() {
            Some("default" | "all_private_chats" | "all_group_chats" | "all_chat_administrators") => {}
            Some(kind @ ("chat" | "chat_administrators" | "chat_member")) => {
                let chat = self.known_chat(&Params(scope.as_object().cloned().unwrap_or_default()))?;
                if kind != "chat" && self.chat(chat).kind == Kind::Private {
                    return Err(bad("chat is not a group or a supergroup"));
                }
                if kind == "chat_member" && scope["user_id"].as_i64().is_none() {
                    return Err(bad("can't parse BotCommandScope: Can't find field \"user_id\""));
                }
            }
            _ => return Err(bad("can't parse BotCommandScope: Unsupported type specified")),
        }
        Ok((scope, params.text("language_code").unwrap_or_default()))
    }

    fn set_my_commands(&mut self, params: &Params) -> Answer {
        let (scope, language) = self.scope(params)?;
        let Some(Value::Array(commands)) = params.json("commands")? else {
            return Err(bad("can't parse commands JSON object"));
        };
        if commands.len() > 100 {
            return Err(bad("BOT_COMMANDS_TOO_MUCH"));
        }
        for command in &commands {
            let name = command["command"].as_str().unwrap_or_default();
            let plain = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_';
            if !(1..=32).contains(&name.len()) || !name.bytes().all(plain) {
                return Err(bad("BOT_COMMAND_INVALID"));
            }
            match command["description"].as_str().unwrap_or_default().encode_utf16().count() {
                0 => return Err(bad("command description must be non-empty")),
                1..=256 => {}
                _ => return Err(bad("command description length must not exceed 256")),
            }
        }
        self.commands.retain(|of| of.scope != scope || of.language != language);
        self.commands.push(Commands { scope, language, commands });
        Ok(json!(true))
    }

    /// Keeps which updates are wanted, if a call says so. It holds for what happens from then on.
    pub(super) fn keep_allowed_updates(&mut self, params: &Params) -> Result<(), Refusal> {
        if let Some(Value::Array(allowed)) = params.json("allowed_updates")? {
            self.allowed_updates =
                allowed.iter().filter_map(|kind| Some(kind.as_str()?.to_owned())).collect();
        }
        Ok(())
    }

    fn set_webhook(&mut self, params: &Params) -> Answer {
        let url = params.text("url").unwrap_or_default();
        let secret = params.text("secret_token").filter(|secret| !secret.is_empty());
        if let Some(secret) = &secret {
            let plain = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_' || letter == b'-';
            if !secret.bytes().all(plain) {
                return Err(bad("secret token contains unallowed characters"));
            }
            if secret.len() > 256 {
                return Err(bad("secret token is too long"));
            }
        }
        let at = self.http_api_at(&url);
        if !url.is_empty() && at.is_none() {
            let parsed = reqwest::Url::parse(&url).ok();
            let host = parsed.as_ref().and_then(|url| url.host_str());
            // the real one wants https; this one reaches nothing but this machine
            if host.is_none_or(|host| host != "127.0.0.1") {
                return Err(bad("bad webhook: failed to resolve host: Name or service not known"));
            }
            if parsed.is_none_or(|url| url.scheme() != "http") {
                return Err(bad("bad webhook: SSL error"));
            }
        }
        self.keep_allowed_updates(params)?;
        if params.flag("drop_pending_updates") {
            self.pending.clear();
        }
        let max_connections = params.integer("max_connections").unwrap_or(40).clamp(1, 100);
        let max_connections = usize::try_from(max_connections).expect("1 to 100");
        let at = at.unwrap_or_else(|| url.clone());
        self.webhook = (!url.is_empty()).then_some(Webhook { url, at, secret, max_connections });
        self.last_error = None;
        Ok(json!(true))
    }

    /// Where an HTTP API of AWS is on this machine: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-stages.html>
    fn http_api_at(&self, url: &str) -> Option<String> {
        let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
        let (id, domain) = host.split_once(".execute-api.")?;
        let is_of_aws = domain.ends_with(".amazonaws.com");
        self.aws
            .as_ref()
            .filter(|_| is_of_aws)
            .map(|aws| format!("{aws}/_aws/execute-api/{id}/$default/{path}"))
    }

    fn webhook_info(&self) -> Value {
        let webhook = self.webhook.as_ref();
        let mut info = json!({"url": webhook.map_or("", |webhook| &webhook.url), "has_custom_certificate": false,
            "pending_update_count": self.pending.len()});
        if let Some(webhook) = webhook {
            info["max_connections"] = json!(webhook.max_connections);
        }
        if !self.allowed_updates.is_empty() {
            info["allowed_updates"] = json!(self.allowed_updates);
        }
        if let Some((date, message)) = &self.last_error {
            info["last_error_date"] = json!(date);
            info["last_error_message"] = json!(message);
        }
        info
    }
}
