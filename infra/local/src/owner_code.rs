//! `probegram owner-code`: who a bot belongs to is not who writes to it first, but who can read what its installation prints.

use std::io::Write as _;

use state::chats::{self, Chat, Role};
use state::{Table, codes};
use telegram::Client;

use crate::cli::OwnerCode;
use crate::template::Template;
use crate::{table_socket, terminal};

/// Prints a new code.
///
/// # Errors
/// When the table cannot be reached.
pub async fn run(options: OwnerCode) -> anyhow::Result<()> {
    let opened = table_socket::open(&options.which, &Template::read()?).await?;
    let code = codes::make(&opened.table, Role::Owner, runtime::clock::now_ms()).await?;
    writeln!(
        std::io::stdout(),
        "Within 24 hours, write this to the bot in Telegram: /start {code}\nIt works once, and makes that chat an owner."
    )?;
    Ok(())
}

/// Whether a chat of Telegram owns the bot.
pub(crate) fn is_owned(chats: &[Chat]) -> bool {
    let owns = |chat: &Chat| chat.role == Role::Owner && chat.is_reached() && chat.id != terminal::CHAT;
    chats.iter().any(owns)
}

/// Prints a new code, and the link that sends it, while no chat of Telegram owns the bot.
///
/// # Errors
/// When the table does not answer.
pub async fn print_if_none_owns(table: &Table, client: &Client) -> anyhow::Result<()> {
    if is_owned(&chats::all(table).await?) {
        return Ok(());
    }
    print(table, client, "a new start prints a new one").await
}

/// Prints a new code, the link that sends it, and how one gets another.
///
/// # Errors
/// When the table does not answer.
pub(crate) async fn print(table: &Table, client: &Client, another: &str) -> anyhow::Result<()> {
    let code = codes::make(table, Role::Owner, runtime::clock::now_ms()).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "This bot has no owner yet. To become it, write to it in Telegram: /start {code}")?;
    match client.user_name().await {
        Ok(name) => writeln!(stdout, "or open https://t.me/{name}?start={code}")?,
        Err(error) => {
            tracing::warn!(error = runtime::log::with_causes(&error), "the bot's name cannot be asked for")
        }
    }
    writeln!(stdout, "The code works once, within 24 hours; {another}.")?;
    stdout.flush()?;
    Ok(())
}
