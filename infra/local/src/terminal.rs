//! A chat in the terminal: the same conversation as in Telegram, without an account. What the bot says by itself, such as alerts,
//! comes between the lines that one types; its buttons have numbers, and what it asks is replied to by the next line.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use nix::sys::termios::{self, SetArg, Termios};
use nix::unistd;
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use serde_json::{Value, json};
use state::Table;
use state::chats::{self, Role};
use telegram::client::{Call, TelegramError};
use telegram::message::WebhookReply;
use telegram::{Client, Keyboard, ReplyMarkup};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::long_polling::Webhook;

/// The id of the chat in the terminal. Telegram's ids of private chats are those of users, and users begin far above it.
pub const CHAT: i64 = 1;
/// The id of the bot there.
const BOT: i64 = 2;

/// Makes the chat in the terminal an owner: who sits at it runs the program.
///
/// # Errors
/// When the table does not answer.
pub async fn let_in(table: &Table) -> Result<(), state::Error> {
    chats::allow(table, CHAT, Role::Owner, None, runtime::clock::now_ms()).await.map(drop)
}

/// The terminal's side of the chat: a Bot API of a few methods, and one chat.
#[derive(Debug)]
pub struct Terminal {
    calls: UnboundedReceiver<Call>,
}

/// What can be done about what the bot has said, beside saying something else.
#[derive(Debug, Default)]
struct Offer {
    /// The buttons under the last message that had some, and that message's id.
    buttons: Option<(i64, Keyboard)>,
    /// The last message that asked for a reply and has none: its id and text. It stays when something else is said meanwhile, as the
    /// open field does in Telegram.
    question: Option<(i64, String)>,
}

impl Offer {
    /// A message of the bot as it is shown, its buttons with numbers.
    fn show(&mut self, id: i64, text: String, markup: Option<ReplyMarkup>) -> String {
        match markup {
            None => text,
            Some(ReplyMarkup::ForceReply(_)) => {
                self.question = Some((id, text.clone()));
                text
            }
            Some(ReplyMarkup::Keyboard(keyboard)) => {
                let buttons = keyboard.inline_keyboard.iter().flatten().zip(1..);
                let named: Vec<String> =
                    buttons.map(|(button, number)| format!("[{number}] {}", button.text)).collect();
                self.buttons = Some((id, keyboard));
                format!("{text}\n{}", named.join("  "))
            }
        }
    }

    /// What somebody in the terminal says, as an update of Telegram: the reply to a question, unless it is a command, which ends the
    /// question too; else a number presses a button. Without an id: it comes once, and nobody has to tell it from others.
    fn update(&mut self, text: &str) -> Value {
        let chat = json!({"id": CHAT, "type": "private"});
        let from = json!({"id": CHAT, "is_bot": false});
        let question = self.question.take().filter(|_| !text.trim_start().starts_with('/'));
        if question.is_none()
            && let Some((id, data)) = self.pressed(text)
        {
            return json!({"callback_query": {"id": "terminal", "from": from, "data": data,
                "message": {"message_id": id, "date": 0, "chat": chat}}});
        }
        // null, if there is none: which is taken for missing
        let replied_to = question.map(|(id, text)| {
            json!({"message_id": id, "date": 0, "chat": chat, "from": {"id": BOT, "is_bot": true}, "text": text})
        });
        json!({"message": {"message_id": 1, "date": 0, "chat": chat, "from": from, "text": text,
            "reply_to_message": replied_to}})
    }

    /// The button that a number names.
    fn pressed(&self, text: &str) -> Option<(i64, String)> {
        let number: usize = text.trim().parse().ok()?;
        let (id, keyboard) = self.buttons.as_ref()?;
        let button = keyboard.inline_keyboard.iter().flatten().nth(number.checked_sub(1)?)?;
        Some((*id, button.callback_data.clone()))
    }
}

/// What the bot offers, whichever way it was said. It is never held while the bot is asked.
type Shared = Arc<Mutex<Offer>>;

fn lock(offer: &Shared) -> MutexGuard<'_, Offer> {
    offer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What somebody in the terminal says, one line after another: a number presses a button of what the bot replied, and a question of
/// the bot is replied to by the next line that is no command.
#[derive(Debug)]
pub struct Conversation {
    webhook: Webhook,
    offer: Shared,
}

impl Conversation {
    /// A conversation with a bot that has said nothing yet.
    #[must_use]
    pub fn new(webhook: Webhook) -> Self {
        Self { webhook, offer: Shared::default() }
    }

    /// Says a line; what the bot replies, its buttons with numbers.
    pub async fn say(&mut self, text: &str) -> Option<String> {
        let update = lock(&self.offer).update(text);
        // the number of a message in a webhook's answer is never told to the bot
        let (text, markup) = match self.webhook.call(&update).await.reply? {
            WebhookReply::SendMessage(message) => (message.text, message.reply_markup),
            WebhookReply::EditMessageText(edit) => (edit.text, edit.reply_markup.map(ReplyMarkup::Keyboard)),
            WebhookReply::AnswerCallbackQuery(answer) => (answer.text, None),
        };
        Some(lock(&self.offer).show(0, text, markup))
    }
}

impl Terminal {
    /// A terminal, and the bot that speaks in it.
    #[must_use]
    pub fn new() -> (Client, Self) {
        let (sender, calls) = unbounded_channel();
        (Client::in_process(sender), Self { calls })
    }

    /// What the bot says next by itself.
    pub async fn next_message(&mut self) -> Option<String> {
        let mut said = Said::default();
        loop {
            let call = self.calls.recv().await?;
            if let Some(text) = said.hear(call) {
                return Some(text);
            }
        }
    }

    /// Chats until Ctrl-D or Ctrl-C.
    ///
    /// # Errors
    /// When the terminal fails.
    pub async fn chat(self, webhook: Webhook) -> anyhow::Result<()> {
        let handle = Handle::current();
        let mut editor = DefaultEditor::new().context("the terminal cannot be used for a chat")?;
        let mut printer =
            editor.create_external_printer().context("the terminal cannot be used for a chat")?;
        let mut conversation = Conversation::new(webhook);
        let mut calls = self.calls;
        let said = Said { offer: Arc::clone(&conversation.offer), ..Said::default() };
        let listening = tokio::spawn(async move {
            let mut said = said;
            while let Some(call) = calls.recv().await {
                let Some(text) = said.hear(call) else { continue };
                if let Err(error) = printer.print(format!("{text}\n")) {
                    tracing::warn!(%error, "what the bot says cannot be printed");
                }
            }
        });
        let outcome =
            tokio::task::spawn_blocking(move || converse(&mut editor, &mut conversation, &handle)).await?;
        listening.abort();
        outcome
    }
}

/// What the bot has said.
#[derive(Debug, Default)]
struct Said {
    messages: i64,
    offer: Shared,
}

impl Said {
    /// Carries out a call of the bot; what is to be printed, if anything.
    fn hear(&mut self, call: Call) -> Option<String> {
        let Call { method, parameters, answer } = call;
        let is_here = parameters.get("chat_id").and_then(Value::as_i64).is_none_or(|chat| chat == CHAT);
        let (result, text) = match method {
            // other chats are in Telegram, and hear of it when the bot is there again
            _ if !is_here => {
                (Err(TelegramError::NotSent { method, source: "that chat is in Telegram".into() }), None)
            }
            "sendMessage" => {
                self.messages += 1;
                let text = self.shown(&parameters, self.messages);
                (Ok(json!({"message_id": self.messages})), Some(text))
            }
            "editMessageText" => {
                let id = parameters.get("message_id").and_then(Value::as_i64).unwrap_or_default();
                (Ok(Value::Bool(true)), Some(format!("(changed) {}", self.shown(&parameters, id))))
            }
            "answerCallbackQuery" => {
                let text = parameters.get("text").and_then(Value::as_str);
                (Ok(Value::Bool(true)), text.filter(|text| !text.is_empty()).map(str::to_owned))
            }
            "setMyCommands" | "deleteMyCommands" => (Ok(Value::Bool(true)), None),
            _ => {
                let description = "a terminal has no such thing".to_owned();
                (Err(TelegramError::Refused { method, code: 400, description }), None)
            }
        };
        if answer.send(result).is_err() {
            tracing::debug!(method, "nobody waits for the answer any more");
        }
        text
    }

    /// A message as it is shown, its buttons with numbers.
    fn shown(&self, parameters: &Value, id: i64) -> String {
        let text = parameters.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
        let markup = parameters.get("reply_markup").cloned();
        let markup = markup.and_then(|markup| serde_json::from_value(markup).ok());
        lock(&self.offer).show(id, text, markup)
    }
}

fn converse(
    editor: &mut DefaultEditor,
    conversation: &mut Conversation,
    handle: &Handle,
) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    loop {
        match editor.readline("> ") {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                // Without it the line is missing from the history: nothing that would be worth an error.
                drop(editor.add_history_entry(line.as_str()));
                if let Some(reply) = handle.block_on(conversation.say(&line)) {
                    writeln!(stdout, "{reply}\n")?;
                }
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(()),
            Err(error) => return Err(error).context("the terminal cannot be read"),
        }
    }
}

/// Whether somebody at a terminal can be talked to. Not in the background of a shell: it stops who reads or sets the terminal there.
#[must_use]
pub fn is_ours() -> bool {
    let in_front = unistd::tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == unistd::getpgrp());
    in_front && std::io::stdout().is_terminal()
}

/// The terminal's settings, put back at the end: who waits for a line when a signal ends the program cannot do it.
#[derive(Debug)]
pub struct Settings(Option<Termios>);

impl Settings {
    /// Keeps the settings of a terminal that is ours.
    #[must_use]
    pub fn keep() -> Self {
        Self(is_ours().then(|| termios::tcgetattr(std::io::stdin()).ok()).flatten())
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        if let Some(settings) = &self.0
            && is_ours()
            && let Err(error) = termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, settings)
        {
            tracing::warn!(%error, "the terminal could not be put back as it was: `stty sane` does it");
        }
    }
}

#[cfg(test)]
mod tests {
    use delivery::Telegram;
    use jiff::tz::TimeZone;
    use state::tallies::Retention;
    use telegram::{Button, Message};
    use tokio::sync::oneshot;

    use super::*;
    use crate::embedded::Embedded;
    use crate::host::{Host, Mappings};
    use crate::template::Template;

    const QUESTION: &str = "Reply to this message with the new name of a4:83:e7:4e:39:15";

    fn markup(message: Message) -> Option<ReplyMarkup> {
        message.reply_markup
    }

    fn question() -> Option<ReplyMarkup> {
        markup(Message::new(CHAT, QUESTION).asking_for_reply("New name"))
    }

    fn buttons() -> Option<ReplyMarkup> {
        let row = vec![Button::new("Rename", "rename:a4"), Button::new("Mute", "mute:1")];
        markup(Message::new(CHAT, "x").with_keyboard(Keyboard::rows(vec![row])))
    }

    /// The text of an update, the text that it replies to, and the button that it presses.
    fn parts(update: &Value) -> (Option<&str>, Option<&str>, Option<&str>) {
        let part = |pointer| update.pointer(pointer).and_then(Value::as_str);
        (part("/message/text"), part("/message/reply_to_message/text"), part("/callback_query/data"))
    }

    #[test]
    fn a_number_presses_a_button_of_the_last_message_that_had_some() {
        let mut offer = Offer::default();
        assert_eq!(parts(&offer.update("1")), (Some("1"), None, None), "there are no buttons yet");
        assert_eq!(offer.show(7, "A device".to_owned(), buttons()), "A device\n[1] Rename  [2] Mute");
        assert_eq!(offer.show(8, "Nothing more".to_owned(), None), "Nothing more");
        for _ in 0..2 {
            let update = offer.update(" 2 ");
            assert_eq!(parts(&update), (None, None, Some("mute:1")));
            assert_eq!(update["callback_query"]["message"]["message_id"], 7);
        }
        for text in ["0", "3", "-1", "1 2", "one"] {
            assert_eq!(parts(&offer.update(text)), (Some(text), None, None));
        }
    }

    #[test]
    fn the_next_line_replies_to_a_question_even_if_it_is_a_number() {
        for line in ["Laptop", "1", "a4:83:e7:4e:39:15"] {
            let mut offer = Offer::default();
            offer.show(7, "A device".to_owned(), buttons());
            assert_eq!(offer.show(8, QUESTION.to_owned(), question()), QUESTION);
            offer.show(9, "meanwhile, an alert".to_owned(), buttons());
            let update = offer.update(line);
            assert_eq!(parts(&update), (Some(line), Some(QUESTION), None));
            let read: telegram::Update = serde_json::from_value(update).unwrap();
            let replied_to = read.message.unwrap().reply_to_message.unwrap();
            assert_eq!(replied_to.message_id, Some(8));
            assert!(replied_to.from.unwrap().is_bot);
            assert_eq!(parts(&offer.update("1")), (None, None, Some("rename:a4")), "it is replied to once");
        }
    }

    #[test]
    fn a_command_ends_a_question() {
        for command in ["/help", " /help"] {
            let mut offer = Offer::default();
            offer.show(8, QUESTION.to_owned(), question());
            assert_eq!(parts(&offer.update(command)), (Some(command), None, None));
            assert_eq!(parts(&offer.update("Laptop")), (Some("Laptop"), None, None));
        }
    }

    #[test]
    fn what_the_bot_says_by_itself_can_be_replied_to() {
        let conversation_offer = Shared::default();
        let mut said = Said { offer: Arc::clone(&conversation_offer), ..Said::default() };
        let parameters =
            serde_json::to_value(Message::new(CHAT, QUESTION).asking_for_reply("New name")).unwrap();
        let (answer, _answered) = oneshot::channel();
        let heard = said.hear(Call { method: "sendMessage", parameters, answer });
        assert_eq!(heard.as_deref(), Some(QUESTION));
        let update = lock(&conversation_offer).update("Laptop");
        assert_eq!(parts(&update), (Some("Laptop"), Some(QUESTION), None));
    }

    #[tokio::test]
    async fn a_button_of_the_reply_before_is_pressed() {
        let template = Template::read().unwrap();
        let table = Embedded::open(None, &template).unwrap().table();
        let mappings = Mappings::read(&template, materialize::Topics::default(), Some(0)).unwrap();
        let retention = Retention::in_days(1, None);
        let host = Host::new(table.clone(), mappings, retention, TimeZone::UTC, Telegram::none());
        let host = host.await.unwrap();
        let_in(&table).await.unwrap();
        let mut conversation = Conversation::new(host.webhook.clone());
        conversation.say("/watch RNM0").await.unwrap();
        let list = conversation.say("/watches").await.unwrap();
        assert!(list.contains("RNM0") && list.contains("[1] "), "{list}");
        let pressed = conversation.say("1").await.unwrap();
        assert!(!pressed.contains("[1] "), "{pressed}");
        let list = Conversation::new(host.webhook.clone()).say("/watches").await.unwrap();
        assert!(!list.contains("RNM0"), "{list}");
        let unheard = Conversation::new(host.webhook.clone()).say("1").await;
        assert_eq!(unheard, Some("🛎 No result found for device 1".to_owned()));
    }
}
