//! How things are, for people: how far the counting is, how the sensors are, what waits, and to whom nothing is sent any more.

use delivery::hook::host_of;
use domain::{EventTime, Origin};
use state::messages::{self, Destination, State};
use state::{chats, hooks};
use telegram::Text;

use crate::asking::Asking;
use crate::error::Error;
use crate::reply::{self, Reply};
use crate::{health, status, watching};

/// So many messages that wait are counted.
const MAX_WAITING: i32 = 100;
/// A message that has to wait is due within a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// `/status`
pub(crate) async fn status(asking: &Asking<'_>) -> Result<Reply, Error> {
    let context = asking.context;
    let generation = context.generation.serving().await?;
    let group = state::generation::consumer_group(&context.aggregate_group, generation);
    let progress = status::status(&context.table, generation, &group, &context.positions).await?;
    let watches = watching::of_chat(asking).await?;
    let (shared, own): (Vec<_>, Vec<_>) = watches
        .iter()
        .filter(|watch| asking.chat.wants(watch))
        .partition(|watch| watch.origin == Origin::Topic);
    let sensors = health::look(&context.table, asking.now_ms).await?;
    let text = Text::from(progress.in_words()).append(sensors.in_words(&asking.zone));
    let mut text = text.plain(format!(
        "\n👁 {} of this chat, {} from topic ssid_alert_list",
        if own.len() == 1 { "1 watch".to_owned() } else { format!("{} watches", own.len()) },
        shared.len()
    ));
    let waiting = waiting(asking).await?;
    if !waiting.is_empty() {
        text = text.plain(format!("\n📭 {waiting}"));
    }
    let stopped = all_stopped(asking).await?;
    if stopped.is_empty() {
        return Ok(text.into());
    }
    Ok(reply::list(text.plain("\n⚠️ Nothing is sent any more to:"), stopped, 0).into())
}

/// How many messages wait to be sent to this chat, in words; nothing when none does.
async fn waiting(asking: &Asking<'_>) -> Result<String, Error> {
    let to = Destination::Chat(asking.chat.id);
    let soon = asking.now_ms.saturating_add(DAY_MS);
    let due = messages::due(asking.table(), &to, soon, MAX_WAITING).await?;
    let messages = messages::find(asking.table(), &due).await?;
    // one that was sent is due when it is to be edited
    let count = messages.iter().filter(|message| message.state == State::Pending).count();
    Ok(match count {
        0 => String::new(),
        1 => "1 message waits to be sent to this chat".to_owned(),
        count if due.len() >= usize::try_from(MAX_WAITING).unwrap_or(usize::MAX) => {
            format!("{count} or more messages wait to be sent to this chat")
        }
        count => format!("{count} messages wait to be sent to this chat"),
    })
}

/// Chats and webhooks to which nothing is sent any more: an owner sees all, a member its own.
async fn all_stopped(asking: &Asking<'_>) -> Result<Vec<Text>, Error> {
    let is_shown = |chat: i64| asking.is_owner() || chat == asking.chat.id;
    let mut lines = Vec::new();
    let chats = chats::all(asking.table()).await?;
    for chat in chats.iter().filter(|chat| is_shown(chat.id) && chat.moved_to.is_none()) {
        if let Some((why, since)) = &chat.stopped {
            let title = chat.title.as_deref().map(|title| format!(" {}", reply::echo(title)));
            let called = format!("chat {}{}", chat.id, title.unwrap_or_default());
            lines.push(Text::new().code(called).plain(format!(", {}", stopped(why, *since, asking))));
        }
    }
    for hook in hooks::all(asking.table()).await?.iter().filter(|hook| is_shown(hook.chat)) {
        if let Some((why, since)) = &hook.stopped {
            let called = format!("webhook {} {}", hook.id, reply::echo(&host_of(hook)));
            lines.push(Text::new().code(called).plain(format!(", {}", stopped(why, *since, asking))));
        }
    }
    Ok(lines)
}

/// Why nothing is sent any more, and since when.
pub(crate) fn stopped(why: &str, since: EventTime, asking: &Asking<'_>) -> String {
    format!("stopped since {}: {}", asking.moment(since), reply::echo(why))
}
