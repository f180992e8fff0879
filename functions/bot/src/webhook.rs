//! Telegram's webhook: an update in, at most one message out, in the body of the response.
//! <https://core.telegram.org/bots/api#making-requests-when-getting-updates>
//!
//! Anything but 2xx would bring the update back for a day, and hold up its chat: so whatever we do not understand is 200. An update
//! of a chat that is let in is answered once: it is claimed by its number.

use state::chats;
use state::updates::{self, Claim};
use telegram::message::WebhookReply;
use telegram::update::{CallbackQuery, Chat, IncomingMessage};
use telegram::{Message, Update};

use crate::asking::Asking;
use crate::context::Context;
use crate::error::Error;
use crate::{buttons, conversation, courtesy, members, reply};

/// The header that carries the secret token that was given to `setWebhook`.
pub(crate) const SECRET_HEADER: &str = "x-telegram-bot-api-secret-token";

/// Whether a request comes from Telegram. A stranger costs one comparison.
pub(crate) fn is_from_telegram(token: Option<&[u8]>, context: &Context) -> bool {
    token.is_some_and(|token| {
        context.secrets.iter().fold(false, |known, secret| secret.matches(token) | known)
    })
}

/// What becomes of an update.
pub(crate) enum Outcome {
    /// There is nothing to say to it.
    Silence,
    /// This is said.
    Said(Box<WebhookReply>),
    /// It has to come again: somebody is answering it just now, or the table does not answer.
    Again,
}

impl From<Option<WebhookReply>> for Outcome {
    fn from(reply: Option<WebhookReply>) -> Self {
        reply.map_or(Self::Silence, |reply| Self::Said(Box::new(reply)))
    }
}

/// What happened in a chat, of what we answer.
enum Event<'a> {
    /// Somebody wrote, perhaps in reply to what a bot has said.
    Text(&'a str, Option<&'a str>),
    /// Somebody pressed a button.
    Button(&'a CallbackQuery),
    /// The bot is something else there now.
    Standing(&'a str),
    /// The group is this chat from now on.
    Becomes(i64),
}

/// Answers an update.
pub(crate) async fn answer(body: &[u8], context: &Context) -> Outcome {
    let update: Update = match serde_json::from_slice(body) {
        Ok(update) => update,
        Err(error) => {
            tracing::warn!(%error, "an update is not JSON as Telegram writes it");
            return Outcome::Silence;
        }
    };
    try_answer(&update, context).await.unwrap_or_else(|error| {
        tracing::error!(error = runtime::log::with_causes(&error), "an update could not be answered");
        Outcome::Again
    })
}

async fn try_answer(update: &Update, context: &Context) -> Result<Outcome, Error> {
    if let Some(IncomingMessage { chat, migrate_from_chat_id: Some(from), .. }) = &update.message {
        become_of(*from, chat, context).await?;
    }
    let Some((place, event)) = event(update) else { return Ok(Outcome::Silence) };
    match chats::find(&context.table, place.id).await? {
        Some(chat) => {
            once(update.update_id, context, async || act(&event, chat.clone(), place, context).await).await
        }
        None => stranger(update.update_id, &event, place, context).await,
    }
}

/// What happened, and where.
fn event(update: &Update) -> Option<(&Chat, Event<'_>)> {
    if let Some(message) = &update.message {
        let text = message.text.as_deref().filter(|text| !text.trim().is_empty());
        let becomes = message.migrate_to_chat_id.filter(|to| message.chat.is_group() && *to < 0);
        let event = match (becomes, text) {
            (Some(to), _) => Event::Becomes(to),
            (None, Some(text)) => Event::Text(text, of_a_bot(message)),
            (None, None) => return None,
        };
        return Some((&message.chat, event));
    }
    if let Some(query) = &update.callback_query {
        return Some((&query.message.as_ref()?.chat, Event::Button(query)));
    }
    let member = update.my_chat_member.as_ref()?;
    Some((&member.chat, Event::Standing(&member.new_status)))
}

/// The text that a message replies to, if a bot wrote it.
fn of_a_bot(message: &IncomingMessage) -> Option<&str> {
    let replied_to = message.reply_to_message.as_ref()?;
    let is_of_a_bot = replied_to.from.as_ref().is_some_and(|from| from.is_bot);
    replied_to.text.as_deref().filter(|_| is_of_a_bot)
}

/// Answers an update that was not answered yet. The chat in the terminal does not count its updates.
async fn once(
    id: Option<i64>,
    context: &Context,
    answer: impl AsyncFnOnce() -> Result<Option<WebhookReply>, Error>,
) -> Result<Outcome, Error> {
    let Some(id) = id else { return Ok(answer().await?.into()) };
    let answering = match updates::claim(&context.table, id, (context.now_ms)()).await? {
        Claim::Ours(answering) => answering,
        Claim::InProgress => return Ok(Outcome::Again),
        Claim::Done => return Ok(Outcome::Silence),
    };
    let reply = answer().await?;
    if let Err(error) = answering.done(&context.table).await {
        // it is answered twice if it comes again; not to answer at all would be worse
        tracing::error!(error = runtime::log::with_causes(&error), "an update may be answered twice");
    }
    Ok(reply.into())
}

/// What is done and said in a chat that is let in.
async fn act(
    event: &Event<'_>,
    chat: chats::Chat,
    place: &Chat,
    context: &Context,
) -> Result<Option<WebhookReply>, Error> {
    match event {
        Event::Text(text, replied_to) => {
            let asking = Asking::new(context, heard_from(chat, context).await?, place.is_private());
            let reply = conversation::answer(text, *replied_to, &asking).await;
            Ok(reply.map(|reply| reply.into_message(place.id)))
        }
        Event::Button(query) => {
            let asking = Asking::new(context, heard_from(chat, context).await?, place.is_private());
            Ok(Some(buttons::press(query, &asking).await))
        }
        Event::Standing(status) => {
            stand(status, chat.id, place.is_private(), context).await?;
            Ok(None)
        }
        Event::Becomes(to) => {
            chats::migrate(&context.table, chat.id, *to).await?;
            courtesy::offer_commands(context, *to, chat.role).await;
            Ok(None)
        }
    }
}

/// A chat to which nothing was sent any more has spoken: it can be reached again.
async fn heard_from(chat: chats::Chat, context: &Context) -> Result<chats::Chat, Error> {
    if chat.stopped.is_none() {
        return Ok(chat);
    }
    let changed = chats::change(&context.table, chat.id, |chat| chat.stopped = None).await?;
    Ok(changed.unwrap_or(chat))
}

/// Whether the bot can speak in a chat has changed.
async fn stand(status: &str, chat: i64, is_private: bool, context: &Context) -> Result<(), Error> {
    let now_ms = (context.now_ms)();
    match status {
        "kicked" | "left" => {
            let why = if is_private { "the bot was blocked" } else { "the bot was removed" };
            chats::change(&context.table, chat, |chat| {
                if chat.stopped.is_none() {
                    chat.stopped = Some((why.to_owned(), now_ms));
                }
            })
            .await?;
        }
        "member" | "administrator" => {
            chats::change(&context.table, chat, |chat| chat.stopped = None).await?;
        }
        _ => {}
    }
    Ok(())
}

/// A supergroup says which group it was. It is not let in yet, unless the group's own word came first.
async fn become_of(from: i64, to: &Chat, context: &Context) -> Result<(), Error> {
    let are_groups = from < 0 && to.id < 0 && to.is_group();
    if are_groups && chats::find(&context.table, from).await?.is_some() {
        chats::migrate(&context.table, from, to.id).await?;
    }
    Ok(())
}

/// A chat that is not let in: a code lets it in; else it learns in private, once a day, how it could be.
async fn stranger(
    id: Option<i64>,
    event: &Event<'_>,
    place: &Chat,
    context: &Context,
) -> Result<Outcome, Error> {
    let Event::Text(text, _) = event else { return Ok(Outcome::Silence) };
    if let Some(code) = members::code(text)
        && let Some(welcome) = members::claim(code, place, context).await?
    {
        // from now on it is not a stranger's: should it come again it is not answered again
        return once(id, context, async || Ok(Some(welcome.into_message(place.id)))).await;
    }
    tracing::info!(chat = place.id, "a chat that is not allowed asked something");
    let is_told =
        place.is_private() && updates::is_to_be_told(&context.table, place.id, (context.now_ms)()).await?;
    let line = is_told.then(|| WebhookReply::SendMessage(Message::new(place.id, reply::stranger(place.id))));
    Ok(line.into())
}
