//! A chat in the terminal: the same conversation as in Telegram, without an account.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Context as _;
use nix::sys::termios::{self, SetArg, Termios};
use nix::unistd;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::json;
use telegram::message::WebhookReply;
use tokio::runtime::Handle;

use crate::long_polling::Webhook;

/// The id of the chat in the terminal. Telegram's ids of private chats are those of users, and users begin far above it.
pub const CHAT: i64 = 1;

/// What somebody in the terminal says, as an update of Telegram, and what the bot replies.
pub async fn ask(webhook: &Webhook, text: &str) -> Option<String> {
    let chat = json!({"id": CHAT, "type": "private"});
    let update = json!({"update_id": 1, "message": {"message_id": 1, "date": 0, "chat": chat, "text": text}});
    let WebhookReply::SendMessage(message) = webhook.call(&update).await?;
    Some(message.text)
}

/// Chats until Ctrl-D or Ctrl-C.
///
/// # Errors
/// When the terminal fails.
pub async fn chat(webhook: Webhook) -> anyhow::Result<()> {
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || converse(&webhook, &handle)).await?
}

fn converse(webhook: &Webhook, handle: &Handle) -> anyhow::Result<()> {
    let mut editor = DefaultEditor::new().context("the terminal cannot be used for a chat")?;
    let mut stdout = std::io::stdout();
    loop {
        match editor.readline("> ") {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                // Without it the line is missing from the history: nothing that would be worth an error.
                drop(editor.add_history_entry(line.as_str()));
                if let Some(reply) = handle.block_on(ask(webhook, &line)) {
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
