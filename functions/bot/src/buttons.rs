//! Buttons: those below an alert, and those below lists. Whoever is in a chat may press what the chat may do; what a button sends
//! back proves nothing, so all of it is checked. Pressing one again does the same again.

use domain::{Mac, Origin, WatchId, Who};
use state::chats;
use state::messages::{self, Alert, Content, Destination, Message, MessageId};
use telegram::message::{CallbackAnswer, Edit, WebhookReply};
use telegram::update::CallbackQuery;

use crate::asking::Asking;
use crate::error::Error;
use crate::reply::{self, Question, Reply};
use crate::{courtesy, devices, hooks, members, naming, settings, watching};

const TOO_OLD: &str = "This message is too old; /watches lists what is watched.";
const OF_ANOTHER_CHAT: &str = "That button is of another chat.";
const UNKNOWN: &str = "I don't know this button any more.";
const FOR_OWNERS: &str = "That is for the bot's owners.";

/// What is done about a button.
enum Pressed {
    /// This is shown for a moment.
    Told(String),
    /// That, and the list that the button was below is shown anew.
    List(String, Box<Reply>),
    /// This is said in a message of its own.
    Said(Box<Reply>),
    /// The one who pressed is asked for a reply.
    Asked(Question),
}

/// Does what a button says, and answers it.
pub(crate) async fn press(query: &CallbackQuery, asking: &Asking<'_>) -> WebhookReply {
    let answer = |text: String| CallbackAnswer { callback_query_id: query.id.clone(), text };
    let data = query.data.as_deref().unwrap_or_default();
    match try_press(data, asking).await {
        Ok(Pressed::Told(text)) => WebhookReply::AnswerCallbackQuery(answer(text)),
        Ok(Pressed::List(text, list)) => match &query.message {
            Some(message) => {
                courtesy::answer_callback(asking.context, &answer(text)).await;
                let edit = Edit::new(asking.chat.id, message.message_id, list.text);
                WebhookReply::EditMessageText(edit.with_keyboard(list.keyboard))
            }
            None => WebhookReply::AnswerCallbackQuery(answer(text)),
        },
        Ok(Pressed::Said(reply)) => {
            courtesy::answer_callback(asking.context, &answer(String::new())).await;
            reply.into_message(asking.chat.id)
        }
        Ok(Pressed::Asked(question)) => {
            courtesy::answer_callback(asking.context, &answer(String::new())).await;
            let of = query.from.as_ref().filter(|_| !asking.is_private).map(|from| from.id);
            let to = query.message.as_ref().map(|message| message.message_id);
            question.into_message(asking.chat.id, of, to)
        }
        Err(error) => {
            tracing::error!(error = runtime::log::with_causes(&error), "a button could not be obeyed");
            WebhookReply::AnswerCallbackQuery(answer(reply::QUERY_FAILED.to_owned()))
        }
    }
}

async fn try_press(data: &str, asking: &Asking<'_>) -> Result<Pressed, Error> {
    let (verb, of) = data.split_once(':').unwrap_or((data, ""));
    match verb {
        "mute" | "ignore" | "unwatch" => match MessageId::read(of) {
            Some(id) => of_alert(verb, &id, asking).await.map(Pressed::Told),
            None => Ok(unknown()),
        },
        watching::UNWATCH => match of.parse() {
            Ok(id) => unwatch(id, asking).await,
            Err(_) => Ok(unknown()),
        },
        devices::DEVICE => match of.parse() {
            Ok(mac) => Ok(Pressed::Said(Box::new(devices::one(mac, asking).await?))),
            Err(_) => Ok(unknown()),
        },
        naming::NAME => match of.parse() {
            Ok(mac) => Ok(Pressed::Asked(naming::ask(mac))),
            Err(_) => Ok(unknown()),
        },
        settings::IGNORE => match of.parse() {
            Ok(mac) => Ok(Pressed::Said(Box::new(settings::ignore_this(mac, asking).await?))),
            Err(_) => Ok(unknown()),
        },
        settings::UNIGNORE => match of.parse() {
            Ok(mac) => unignore(mac, asking).await,
            Err(_) => Ok(unknown()),
        },
        members::DISALLOW | hooks::UNHOOK if !asking.is_owner() => Ok(Pressed::Told(FOR_OWNERS.to_owned())),
        members::DISALLOW => match of.parse() {
            Ok(id) if id == asking.chat.id => Ok(Pressed::Told(members::NOT_ONESELF.to_owned())),
            Ok(id) => {
                members::remove(asking, id).await?;
                let told = format!("Chat {id} may not ask any more");
                Ok(Pressed::List(told, Box::new(members::chats(asking).await?)))
            }
            Err(_) => Ok(unknown()),
        },
        hooks::UNHOOK if !state::hooks::is_id(of) => Ok(unknown()),
        hooks::UNHOOK => {
            let was_there = state::hooks::remove(asking.table(), of).await?;
            let told = if was_there { "The webhook is removed" } else { "The webhook was removed already" };
            Ok(Pressed::List(told.to_owned(), Box::new(hooks::hooks(asking).await?)))
        }
        _ => Ok(unknown()),
    }
}

fn unknown() -> Pressed {
    Pressed::Told(UNKNOWN.to_owned())
}

async fn unwatch(id: WatchId, asking: &Asking<'_>) -> Result<Pressed, Error> {
    let watches = watching::of_chat(asking).await?;
    let told = match watches.iter().find(|watch| watch.id() == id) {
        Some(watch) => {
            watching::end(asking, watch.origin, &watch.pattern).await?;
            format!("No longer watched: {}", reply::name(&watch.pattern))
        }
        None => "That was not watched any more".to_owned(),
    };
    let now = asking.again().await?;
    let list = watching::shown(&watching::of_chat(&now).await?, &now);
    Ok(Pressed::List(told, Box::new(list)))
}

async fn unignore(mac: Mac, asking: &Asking<'_>) -> Result<Pressed, Error> {
    let chat = settings::remove_ignored(asking, mac).await?;
    let list = settings::ignored(chat.as_ref().unwrap_or(&asking.chat), asking).await?;
    Ok(Pressed::List(format!("Alerts about {mac} again"), Box::new(list)))
}

/// Does what a button below an alert says, and writes it there.
async fn of_alert(verb: &str, id: &MessageId, asking: &Asking<'_>) -> Result<String, Error> {
    let found = messages::find(asking.table(), std::slice::from_ref(id)).await?.pop();
    let Some(message) = found else { return Ok(TOO_OLD.to_owned()) };
    let Content::Alert(alert) = &message.content else { return Ok(UNKNOWN.to_owned()) };
    if !is_here(&message, asking).await? {
        return Ok(OF_ANOTHER_CHAT.to_owned());
    }
    let origin = origin(alert, asking);
    let note = match verb {
        "mute" => {
            let until = asking.now_ms.saturating_add(watching::MUTE_MS);
            watching::silence(asking, &[watching::id(origin, &alert.pattern)], until).await?;
            format!("muted until {}", asking.moment(until))
        }
        "ignore" => match alert.who {
            Who::Passing => {
                return Ok("Passing phones change their address: there is no device to ignore.".to_owned());
            }
            Who::Device(mac) if settings::add_ignored(asking, mac).await? => {
                "this device is ignored".to_owned()
            }
            Who::Device(_) => return Ok(settings::too_many().text.to_string()),
        },
        _ => {
            // its own, and the topic's if that has the same
            for watch in
                watching::of_chat(asking).await?.iter().filter(|watch| watch.pattern == alert.pattern)
            {
                watching::end(asking, watch.origin, &watch.pattern).await?;
            }
            "no longer watched".to_owned()
        }
    };
    if let Some(message) = messages::note(asking.table(), id, &note).await? {
        courtesy::refresh(asking.context, &message).await;
    }
    Ok(note)
}

/// Whether a message is one of this chat, or of what it was before.
async fn is_here(message: &Message, asking: &Asking<'_>) -> Result<bool, Error> {
    let to = match message.to {
        Destination::Chat(to) => Some(to),
        Destination::Hook(_) => None,
    };
    for chat in [Some(message.chat), to].into_iter().flatten() {
        if chat == asking.chat.id {
            return Ok(true);
        }
        if chats::follow(asking.table(), chat).await?.is_some_and(|chat| chat.id == asking.chat.id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Who made the watch of an alert. That of a chat is made by what the chat is now.
fn origin(alert: &Alert, asking: &Asking<'_>) -> Origin {
    let is_of_topic = watching::id(Origin::Topic, &alert.pattern) == alert.watch;
    if is_of_topic { Origin::Topic } else { Origin::Chat(asking.chat.id) }
}
