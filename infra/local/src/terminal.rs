//! A chat in the terminal: the same conversation as in Telegram, without an account.

use anyhow::Context as _;
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

/// Chats until Ctrl-D or Ctrl-C. Blocks: it wants a thread of its own.
///
/// # Errors
/// When the terminal fails.
pub fn chat(
    webhook: &Webhook,
    handle: &Handle,
    mut say: impl FnMut(&str) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut editor = DefaultEditor::new().context("the terminal cannot be used for a chat")?;
    loop {
        match editor.readline("> ") {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                // Without it the line is missing from the history: nothing that would be worth an error.
                drop(editor.add_history_entry(line.as_str()));
                if let Some(reply) = handle.block_on(ask(webhook, &line)) {
                    say(&format!("{reply}\n"))?;
                }
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(()),
            Err(error) => return Err(error).context("the terminal cannot be read"),
        }
    }
}
