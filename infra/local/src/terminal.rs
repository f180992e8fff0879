//! A chat in the terminal: the same conversation as in Telegram, without an account. What the bot says by itself, such as alerts,
//! comes between the lines that one types; its buttons have numbers.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

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
use telegram::{Client, Keyboard};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::long_polling::Webhook;

/// The id of the chat in the terminal. Telegram's ids of private chats are those of users, and users begin far above it.
pub const CHAT: i64 = 1;

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

/// The buttons under the last message that had some, and that message's id.
type Buttons = Arc<Mutex<Option<(i64, Keyboard)>>>;

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
        let buttons = Buttons::default();
        let mut calls = self.calls;
        let said = Said { buttons: Arc::clone(&buttons), ..Said::default() };
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
            tokio::task::spawn_blocking(move || converse(&mut editor, &buttons, &webhook, &handle)).await?;
        listening.abort();
        outcome
    }
}

/// What the bot has said.
#[derive(Debug, Default)]
struct Said {
    messages: i64,
    buttons: Buttons,
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
        let keyboard = parameters.get("reply_markup").cloned();
        let keyboard = keyboard.and_then(|keyboard| serde_json::from_value::<Keyboard>(keyboard).ok());
        with_buttons(text, keyboard, id, &self.buttons)
    }
}

fn with_buttons(text: String, keyboard: Option<Keyboard>, id: i64, buttons: &Buttons) -> String {
    let Some(keyboard) = keyboard else { return text };
    let rows = keyboard.inline_keyboard.iter().flatten().zip(1..);
    let named: Vec<String> = rows.map(|(button, number)| format!("[{number}] {}", button.text)).collect();
    *buttons.lock().unwrap_or_else(PoisonError::into_inner) = Some((id, keyboard));
    format!("{text}\n{}", named.join("  "))
}

/// What somebody in the terminal says, and what the bot replies.
pub async fn ask(webhook: &Webhook, text: &str) -> Option<String> {
    reply(webhook, text, &Buttons::default()).await
}

/// What somebody in the terminal says, as an update of Telegram, and what the bot replies. A number presses a button.
async fn reply(webhook: &Webhook, text: &str, buttons: &Buttons) -> Option<String> {
    let chat = json!({"id": CHAT, "type": "private"});
    let from = json!({"id": CHAT, "is_bot": false});
    // without an id: it comes once, and nobody has to tell it from others
    let update = match pressed(text, buttons) {
        Some((id, data)) => json!({"callback_query": {
            "id": "terminal", "from": from, "data": data, "message": {"message_id": id, "date": 0, "chat": chat}}}),
        None => json!({"message": {"message_id": 1, "date": 0, "chat": chat, "from": from, "text": text}}),
    };
    match webhook.call(&update).await.reply? {
        WebhookReply::SendMessage(message) => {
            Some(with_buttons(message.text, message.reply_markup, 0, buttons))
        }
        WebhookReply::EditMessageText(edit) => Some(with_buttons(edit.text, edit.reply_markup, 0, buttons)),
        WebhookReply::AnswerCallbackQuery(answer) => Some(answer.text),
    }
}

/// The button that a number names.
fn pressed(text: &str, buttons: &Buttons) -> Option<(i64, String)> {
    let number: usize = text.trim().parse().ok()?;
    let buttons = buttons.lock().unwrap_or_else(PoisonError::into_inner);
    let (id, keyboard) = buttons.as_ref()?;
    let button = keyboard.inline_keyboard.iter().flatten().nth(number.checked_sub(1)?)?;
    Some((*id, button.callback_data.clone()))
}

fn converse(
    editor: &mut DefaultEditor,
    buttons: &Buttons,
    webhook: &Webhook,
    handle: &Handle,
) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    loop {
        match editor.readline("> ") {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                // Without it the line is missing from the history: nothing that would be worth an error.
                drop(editor.add_history_entry(line.as_str()));
                if let Some(reply) = handle.block_on(reply(webhook, &line, buttons)) {
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
