//! Calls to Telegram beside the answer, which goes back in the webhook's response: none of them is needed for it, none holds it up
//! for long, and whether they succeed is in the log alone.

use std::time::Duration;

use state::chats::Role;
use state::messages::Message;
use telegram::TelegramError;
use telegram::client::CommandScope;
use telegram::message::CallbackAnswer;

use crate::commands::commands;
use crate::context::Context;

/// How long a call may hold up the answer: the function has 30 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// Offers a chat the commands of its role.
pub(crate) async fn offer_commands(context: &Context, chat: i64, role: Role) {
    let Some(client) = context.post.telegram.client().await else { return };
    let commands = commands(role);
    done("its commands", client.set_commands(&commands, CommandScope::Chat(chat))).await;
}

/// Offers a chat its commands no more.
pub(crate) async fn take_commands(context: &Context, chat: i64) {
    let Some(client) = context.post.telegram.client().await else { return };
    done("its commands", client.delete_commands(CommandScope::Chat(chat))).await;
}

/// Tells the button that it was pressed, so that it stops spinning.
pub(crate) async fn answer_callback(context: &Context, answer: &CallbackAnswer) {
    let Some(client) = context.post.telegram.client().await else { return };
    done("a button's answer", client.answer_callback(answer)).await;
}

/// The bot's name in links.
pub(crate) async fn user_name(context: &Context) -> Option<String> {
    done("the bot's name", context.post.telegram.user_name()).await?
}

/// Edits an alert to what it tells now.
pub(crate) async fn refresh(context: &Context, message: &Message) {
    if tokio::time::timeout(PATIENCE, context.post.refresh(message)).await.is_err() {
        tracing::warn!("Telegram takes too long to edit a message");
    }
}

async fn done<T>(what: &str, call: impl Future<Output = Result<T, TelegramError>>) -> Option<T> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(result)) => Some(result),
        Ok(Err(error)) => {
            tracing::warn!(what, error = runtime::log::with_causes(&error), "a call to Telegram failed");
            None
        }
        Err(_elapsed) => {
            tracing::warn!(what, "a call to Telegram takes too long");
            None
        }
    }
}
