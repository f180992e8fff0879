//! The one routine that sends messages, and tells more in them later.
//!
//! Claim, send, note. What fails is due again later; nobody waits here: on Lambda waiting costs, and the schedule comes round every
//! minute. A destination that does not answer is left alone for the rest of the call, so that it cannot hold up the others.

use std::collections::BTreeMap;

use domain::{Mac, Who, vendor};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::tz::TimeZone;
use runtime::zoned::for_programs;
use serde_json::{Value, json};
use state::chats::{self, Chat};
use state::hooks::{self, Hook};
use state::messages::{self, Alert, Claim, Content, Destination, Message, MessageId, Notice, State};
use state::names::{self, Names, View};
use state::outbox::{self, Slot};
use state::{Error, Table, device, episodes};
use telegram::client::TelegramError;
use telegram::message::Edit;
use telegram::{Client, Text};

use crate::alert_text::Others;
use crate::hook::{HookError, Poster, Told};
use crate::telegram::Telegram;
use crate::{alert_text, digest_text, notice_text};

/// Destinations that are served at once.
const CONCURRENCY: usize = 8;
/// So many messages of a destination are looked at in one round; the rest in the next.
const MAX_DUE: i32 = 1_000;
/// So many messages of a destination are edited in one round.
const MAX_EDITS: usize = 10;
/// Episodes that are asked for at once, and how often in one round.
const EPISODES: i32 = 200;
const EPISODE_ROUNDS: usize = 10;
/// What had to wait for so long is told in a digest, in milliseconds: so there is at most one a minute.
const DIGEST_AFTER_MS: i64 = 60 * 1000;
/// So many of a device's items are read for the names of the other networks that it has looked for.
const SSID_ITEMS: i32 = 50;
/// So many alerts of a digest are listed for programs.
const MAX_LISTED: usize = 500;
/// The pause before a failed message is tried again grows with its age, within these bounds, in milliseconds.
const PAUSE_MS: std::ops::RangeInclusive<i64> = 5_000..=15 * 60 * 1000;
/// What was refused for so long is not sent any more, in milliseconds.
const REFUSED_FOR_MS: i64 = 24 * 60 * 60 * 1000;

/// Sends messages.
#[derive(Debug, Clone)]
pub struct Post {
    /// The table.
    pub table: Table,
    /// In which times are told, unless a chat has its own.
    pub time_zone: TimeZone,
    /// The present in milliseconds since 1970.
    pub now_ms: fn() -> i64,
    /// The bot.
    pub telegram: Telegram,
    poster: Option<Poster>,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Messages that were sent, digests too.
    pub sent: u64,
    /// Messages that tell more now.
    pub edited: u64,
    /// Messages that are told of in a digest.
    pub digested: u64,
    /// Messages that have to wait.
    pub deferred: u64,
    /// Messages that will not be sent.
    pub dropped: u64,
}

impl std::ops::AddAssign for Delivered {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.edited += other.edited;
        self.digested += other.digested;
        self.deferred += other.deferred;
        self.dropped += other.dropped;
    }
}

/// How an attempt has ended.
enum Outcome {
    /// Received, under this id of Telegram's.
    Received(i64),
    /// Not received; it may be at a later time, in milliseconds since 1970.
    NotBefore(i64),
    /// The destination wants peace until then.
    PauseUntil(i64),
    /// Perhaps received: it is sent again when the lease is over.
    AnswerLost,
    /// It never will be.
    Never(String),
    /// The chat has become another.
    MovedTo(i64),
}

/// What a message tells.
struct Telling {
    text: Text,
    keyboard: Option<telegram::Keyboard>,
    /// For webhooks, its kind and what programs read: they are told of devices alone.
    for_programs: Option<(&'static str, Value)>,
    /// So many probe requests it tells of.
    shown: u64,
    /// Whether it makes no sound at any time.
    is_silent: bool,
}

impl Post {
    /// What sends messages of this table.
    #[must_use]
    pub fn new(table: Table, time_zone: TimeZone, now_ms: fn() -> i64, telegram: Telegram) -> Self {
        let poster =
            Poster::new().inspect_err(|error| tracing::error!(%error, "webhooks cannot be called")).ok();
        Self { table, time_zone, now_ms, telegram, poster }
    }

    /// Sends messages that were just made, in their order, each destination for itself.
    ///
    /// # Errors
    /// When the table does not answer: what was not sent stays due.
    pub async fn deliver(&self, messages: &[(Destination, MessageId)]) -> Result<Delivered, Error> {
        let mut by_destination: BTreeMap<&Destination, Vec<&MessageId>> = BTreeMap::new();
        for (to, id) in messages {
            by_destination.entry(to).or_default().push(id);
        }
        let work: Vec<_> =
            by_destination.into_iter().map(|(to, ids)| Box::pin(self.deliver_in_order(to, ids))).collect();
        sum(futures::stream::iter(work).buffer_unordered(CONCURRENCY)).await
    }

    /// Does what is due: tells how far episodes have come, and sends and edits messages. To be called every minute. What fails for one
    /// does not hold up the others.
    ///
    /// # Errors
    /// When the table does not answer: what was not done stays due.
    pub async fn round(&self) -> Result<Delivered, Error> {
        let told = self.flush_episodes().await;
        let (chats, hooks) = futures::try_join!(chats::all(&self.table), hooks::all(&self.table))?;
        let chats = chats.into_iter().map(|chat| (Destination::Chat(chat.id), chat.id));
        let hooks = hooks.into_iter().map(|hook| (Destination::Hook(hook.id), hook.chat));
        let work: Vec<_> = chats
            .chain(hooks)
            .map(|(to, chat)| Box::pin(async move { self.serve(&to, chat).await }))
            .collect();
        let delivered = sum(futures::stream::iter(work).buffer_unordered(CONCURRENCY)).await?;
        told.map(|()| delivered)
    }

    async fn flush_episodes(&self) -> Result<(), Error> {
        for _ in 0..EPISODE_ROUNDS {
            let due = episodes::flush(&self.table, (self.now_ms)(), EPISODES).await?;
            if i32::try_from(due).is_ok_and(|due| due < EPISODES) {
                break;
            }
        }
        Ok(())
    }

    /// Does what is due for a destination.
    async fn serve(&self, to: &Destination, chat: i64) -> Result<Delivered, Error> {
        let now_ms = (self.now_ms)();
        let due = messages::due(&self.table, to, now_ms, MAX_DUE).await?;
        if due.is_empty() {
            return Ok(Delivered::default());
        }
        let Some(free) = outbox::free_slots(&self.table, to, now_ms).await? else {
            return Ok(Delivered::default());
        };
        let (mut notices, mut alerts): (Vec<Message>, Vec<Message>) = (Vec::new(), Vec::new());
        let (mut digests, mut told) = (Vec::new(), Vec::new());
        for message in messages::find(&self.table, &due).await? {
            match (&message.state, &message.content) {
                (State::Pending, Content::Notice(_)) => notices.push(message),
                (State::Pending, Content::Alert(_)) => alerts.push(message),
                (State::Pending, Content::Digest(_)) => digests.push(message.id),
                _ => told.push(message.id),
            }
        }
        // what is wrong with a sensor comes first, and does not drown among devices
        let mut left = free;
        for new in [&mut notices, &mut alerts] {
            let is_old = |message: &Message| message.made_ms <= now_ms.saturating_sub(DIGEST_AFTER_MS);
            if new.len() > left && new.iter().any(is_old) {
                let members = new.drain(..).map(|message| message.id).collect();
                digests.extend(messages::begin_digest(&self.table, to, chat, members, now_ms).await?);
            }
            left = left.saturating_sub(new.len());
            // in the order in which they were made: what had to wait is due later than what came after it
            new.sort_by_key(|message| message.made_ms);
        }
        told.truncate(MAX_EDITS);
        let new = notices.iter().chain(&alerts).map(|message| &message.id).take(free);
        let all: Vec<&MessageId> = digests.iter().chain(new).chain(&told).collect();
        self.deliver_in_order(to, all).await
    }

    async fn deliver_in_order(&self, to: &Destination, ids: Vec<&MessageId>) -> Result<Delivered, Error> {
        let mut delivered = Delivered::default();
        for id in ids {
            let (one, goes_on) = Box::pin(self.deliver_one(to, id)).await?;
            delivered += one;
            if !goes_on {
                break;
            }
        }
        Ok(delivered)
    }

    /// Delivers a message, if it is not somebody else's; and whether it is worth going on with this destination.
    async fn deliver_one(&self, to: &Destination, id: &MessageId) -> Result<(Delivered, bool), Error> {
        let mut delivered = Delivered::default();
        let Some(claim) = messages::claim(&self.table, id, (self.now_ms)()).await? else {
            return Ok((delivered, true));
        };
        let (state, content) = (&claim.message.state, &claim.message.content);
        if let (State::Pending, Content::Notice(notice)) = (state, content)
            && let Some(before) = &notice.follows
            && self.is_pending(before).await?
        {
            let later = self.next_try(&claim.message);
            claim.defer(&self.table, later).await?;
            delivered.deferred = 1;
            return Ok((delivered, true));
        }
        if matches!((state, content), (State::Pending, Content::Alert(_) | Content::Notice(_)))
            && let Slot::After(later) = outbox::take_slot(&self.table, to, (self.now_ms)()).await?
        {
            // those after it are due as they are: the next round sends them, or a digest of them
            claim.defer(&self.table, later).await?;
            delivered.deferred = 1;
            return Ok((delivered, false));
        }
        let told = match (state, content) {
            (State::Pending, Content::Alert(alert)) => self.alert(&claim.message, alert).await?,
            (State::Pending, Content::Notice(notice)) => self.notice(&claim.message, notice).await?,
            (State::Pending, Content::Digest(members)) => {
                let Some((told, count)) = self.digest(&claim.message, members).await? else {
                    // somebody else has sent them all, or has them in another digest
                    claim.dropped(&self.table, "nothing was left to be told").await?;
                    return Ok((delivered, true));
                };
                delivered.digested = count;
                told
            }
            (State::Sent { shown, .. }, Content::Alert(alert)) if alert.counted.count > *shown => {
                self.alert(&claim.message, alert).await?
            }
            // told already; what has an end is not due, and cannot be claimed
            (state, _) => {
                let (telegram_id, shown) = match state {
                    State::Sent { telegram_id, shown, .. } => (*telegram_id, *shown),
                    _ => (0, 0),
                };
                claim.sent(&self.table, telegram_id, shown, (self.now_ms)()).await?;
                return Ok((delivered, true));
            }
        };
        let was_sent = matches!(claim.message.state, State::Sent { .. });
        let outcome = match to {
            Destination::Chat(chat) => self.to_chat(*chat, &claim.message, &told).await?,
            Destination::Hook(hook) => self.to_hook(hook, &claim.message, &told).await?,
        };
        let goes_on = self.note(to, claim, outcome, told.shown, was_sent, &mut delivered).await?;
        Ok((delivered, goes_on))
    }

    async fn is_pending(&self, id: &MessageId) -> Result<bool, Error> {
        let found = messages::find(&self.table, std::slice::from_ref(id)).await?;
        Ok(found.iter().any(|message| message.state == State::Pending))
    }

    /// Notes how an attempt has ended; whether it is worth going on with this destination.
    async fn note(
        &self,
        to: &Destination,
        claim: Claim,
        outcome: Outcome,
        shown: u64,
        was_sent: bool,
        delivered: &mut Delivered,
    ) -> Result<bool, Error> {
        let now_ms = (self.now_ms)();
        let goes_on = matches!(outcome, Outcome::Received(_) | Outcome::Never(_));
        match outcome {
            Outcome::Received(telegram_id) => {
                claim.sent(&self.table, telegram_id, shown, now_ms).await?;
                if was_sent { delivered.edited = 1 } else { delivered.sent = 1 }
            }
            Outcome::NotBefore(later) => {
                claim.defer(&self.table, later).await?;
                delivered.deferred = 1;
            }
            Outcome::PauseUntil(later) => {
                outbox::pause(&self.table, to, later, now_ms).await?;
                claim.defer(&self.table, later).await?;
                delivered.deferred = 1;
            }
            Outcome::AnswerLost => delivered.deferred = 1,
            Outcome::Never(why) => {
                tracing::warn!(%to, why, "a message will not be sent");
                claim.dropped(&self.table, &why).await?;
                delivered.dropped = 1;
            }
            Outcome::MovedTo(chat) => {
                if let Destination::Chat(from) = to {
                    chats::migrate(&self.table, *from, chat).await?;
                }
                claim.defer(&self.table, now_ms).await?;
                delivered.deferred = 1;
            }
        }
        Ok(goes_on)
    }

    /// What an alert tells just now.
    async fn alert(&self, message: &Message, alert: &Alert) -> Result<Telling, Error> {
        let chat = chats::follow(&self.table, message.chat).await?;
        let zone = self.zone_of(chat.as_ref());
        let now_ms = (self.now_ms)();
        let mut names = self.names([alert.mac], chat.as_ref().map_or(message.chat, |chat| chat.id)).await;
        let name = names.remove(&alert.mac).unwrap_or_default();
        let others = match alert.who {
            Who::Passing => Others::default(),
            // a message without them is better than none
            Who::Device(_) => self.others(alert, now_ms).await.unwrap_or_else(|error| {
                tracing::warn!(
                    error = runtime::log::with_causes(&error),
                    "what else a device looked for is not known"
                );
                Others::default()
            }),
        };
        Ok(Telling {
            text: alert_text::text(message, alert, name.best(), &others, &zone, now_ms),
            keyboard: Some(alert_text::keyboard(message, alert)),
            for_programs: {
                let mut data = data(alert, Some(&name));
                if let Some(data) = data.as_object_mut() {
                    data.insert("chat".to_owned(), json!(message.chat));
                }
                Some(("probe.alert", data))
            },
            shown: alert.counted.count,
            is_silent: false,
        })
    }

    /// What a notice tells.
    async fn notice(&self, message: &Message, notice: &Notice) -> Result<Telling, Error> {
        let chat = chats::follow(&self.table, message.chat).await?;
        Ok(Telling {
            text: notice_text::text(notice, &self.zone_of(chat.as_ref())),
            keyboard: None,
            for_programs: None,
            shown: 0,
            // as the seed has it: that all is well need not wake anybody
            is_silent: notice.well_since.is_some(),
        })
    }

    /// Which other networks a device has looked for.
    async fn others(&self, alert: &Alert, now_ms: i64) -> Result<Others, Error> {
        let generation = state::generation::serving(&self.table).await?;
        let (mut ssids, may_be_more) =
            device::some_ssids(&self.table, generation, alert.mac, SSID_ITEMS, now_ms).await?;
        ssids.retain(|ssid| *ssid != alert.ssid);
        Ok(Others { ssids, may_be_more })
    }

    /// What devices are called by now, as a chat sees them.
    async fn names(&self, macs: impl IntoIterator<Item = Mac>, chat: i64) -> BTreeMap<Mac, Names> {
        // a message without them is better than none
        names::of(&self.table, macs, View::Chat(chat)).await.unwrap_or_else(|error| {
            tracing::warn!(error = runtime::log::with_causes(&error), "what devices are called is not known");
            BTreeMap::new()
        })
    }

    /// What a digest tells, when all its members are in it; and how many these are. `None` when none is.
    async fn digest(&self, digest: &Message, members: &[MessageId]) -> Result<Option<(Telling, u64)>, Error> {
        let now_ms = (self.now_ms)();
        let work = members
            .iter()
            .map(|member| messages::take_into_digest(&self.table, member, &digest.id, now_ms))
            .map(Box::pin);
        let _taken: Vec<bool> =
            futures::stream::iter(work.collect::<Vec<_>>()).buffered(CONCURRENCY).try_collect().await?;
        let found = messages::find(&self.table, members).await?;
        let (mut alerts, mut notices): (Vec<&Alert>, Vec<&Notice>) = (Vec::new(), Vec::new());
        for message in found.iter().filter(|message| message.state == State::Digested(digest.id.clone())) {
            match &message.content {
                Content::Alert(alert) => alerts.push(alert),
                Content::Notice(notice) => notices.push(notice),
                Content::Digest(_) => {}
            }
        }
        if alerts.is_empty() && notices.is_empty() {
            return Ok(None);
        }
        let chat = chats::follow(&self.table, digest.chat).await?;
        let zone = self.zone_of(chat.as_ref());
        if alerts.is_empty() {
            // of one kind all are: see `serve`
            let told = Telling {
                text: match notices.as_slice() {
                    [one] => notice_text::text(one, &zone),
                    _ => notice_text::digest(&notices, &zone),
                },
                keyboard: None,
                for_programs: None,
                shown: 0,
                is_silent: notices.iter().all(|notice| notice.well_since.is_some()),
            };
            return Ok(Some((told, notices.len() as u64)));
        }
        let listed: Vec<&Alert> = alerts.iter().take(MAX_LISTED).copied().collect();
        let macs = listed.iter().map(|alert| alert.mac);
        let names = self.names(macs, chat.map_or(digest.chat, |chat| chat.id)).await;
        let listed = listed.into_iter().map(|alert| data(alert, names.get(&alert.mac)));
        let listed: Vec<Value> = listed.collect();
        let told = Telling {
            text: digest_text::text(&alerts, &names, &zone),
            keyboard: None,
            for_programs: Some((
                "probe.digest",
                json!({"alerts": listed, "alert_count": alerts.len(), "chat": digest.chat}),
            )),
            shown: 0,
            is_silent: false,
        };
        Ok(Some((told, alerts.len() as u64)))
    }

    fn zone_of(&self, chat: Option<&Chat>) -> TimeZone {
        let name = chat.and_then(|chat| chat.time_zone.as_deref());
        name.and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(|| self.time_zone.clone())
    }

    async fn to_chat(&self, id: i64, message: &Message, told: &Telling) -> Result<Outcome, Error> {
        let Some(chat) = chats::follow(&self.table, id).await? else {
            return Ok(Outcome::Never("the chat is not allowed any more".to_owned()));
        };
        if let Some((why, _since)) = &chat.stopped {
            return Ok(Outcome::Never(why.clone()));
        }
        let Some(client) = self.telegram.client().await else {
            return Ok(Outcome::NotBefore(self.next_try(message)));
        };
        let said = match self.speak(&client, &chat, message, told, told.text.clone()).await {
            // a mistake of ours in the marks must not cost the message
            Err(TelegramError::BadEntities { description }) => {
                tracing::error!(
                    description,
                    "Telegram does not take the marks of a text: please report this"
                );
                self.speak(&client, &chat, message, told, Text::from(told.text.to_string())).await
            }
            said => said,
        };
        let error = match said {
            Ok(telegram_id) => return Ok(Outcome::Received(telegram_id)),
            Err(error) => error,
        };
        tracing::warn!(error = runtime::log::with_causes(&error), chat = chat.id, "Telegram");
        Ok(match error {
            TelegramError::TooManyRequests { retry_after } => {
                let wait = i64::try_from(retry_after.as_millis()).unwrap_or(i64::MAX);
                Outcome::PauseUntil((self.now_ms)().saturating_add(wait))
            }
            TelegramError::AnswerLost { .. } => Outcome::AnswerLost,
            TelegramError::ChatMoved { to } => Outcome::MovedTo(to),
            TelegramError::ChatGone { description } => {
                let now_ms = (self.now_ms)();
                let stopped = |chat: &mut Chat| chat.stopped = Some((description.clone(), now_ms));
                chats::change(&self.table, chat.id, stopped).await?;
                Outcome::Never(description)
            }
            TelegramError::MessageGone { description } | TelegramError::BadEntities { description } => {
                Outcome::Never(description)
            }
            // what we do not know may pass, such as a topic that is closed
            TelegramError::Refused { description, .. } if self.is_refused_for_long(message) => {
                Outcome::Never(description)
            }
            TelegramError::Refused { .. } => Outcome::NotBefore(self.next_try(message)),
            TelegramError::Unauthorized => {
                self.telegram.forget_token().await;
                Outcome::NotBefore(self.next_try(message))
            }
            // the network, the token, or whoever else uses it: somebody has to mend it, and then it goes out
            TelegramError::NotSent { .. } | TelegramError::NotAUrl | TelegramError::Conflict(_) => {
                Outcome::NotBefore(self.next_try(message))
            }
        })
    }

    /// Sends a message, or edits the one that was sent. Telegram's id of it.
    async fn speak(
        &self,
        client: &Client,
        chat: &Chat,
        message: &Message,
        told: &Telling,
        text: Text,
    ) -> Result<i64, TelegramError> {
        if let State::Sent { telegram_id, .. } = message.state {
            let edit = Edit::new(chat.id, telegram_id, text).with_keyboard(told.keyboard.clone());
            return client.edit_message(&edit).await.map(|()| telegram_id);
        }
        let zone = self.zone_of(Some(chat));
        let is_quiet = chat.quiet.is_some_and(|quiet| is_within(quiet, (self.now_ms)(), &zone));
        let new = telegram::Message::new(chat.id, text).silent(is_quiet || told.is_silent);
        let new = match &told.keyboard {
            Some(keyboard) => new.with_keyboard(keyboard.clone()),
            None => new,
        };
        client.send_message(&new).await
    }

    async fn to_hook(&self, id: &str, message: &Message, told: &Telling) -> Result<Outcome, Error> {
        let Some(hook) = hooks::find(&self.table, id).await? else {
            return Ok(Outcome::Never("the webhook was removed".to_owned()));
        };
        if let Hook { stopped: Some((why, _since)), .. } = hook {
            return Ok(Outcome::Never(why));
        }
        if matches!(message.state, State::Sent { .. }) {
            return Ok(Outcome::Received(0)); // what was posted cannot be edited
        }
        let Some(poster) = &self.poster else { return Ok(Outcome::NotBefore(self.next_try(message))) };
        let now_ms = (self.now_ms)();
        let (id, text) = (message.id.to_string(), told.text.to_string());
        let Some((kind, data)) = &told.for_programs else {
            return Ok(Outcome::Never("webhooks are told of devices alone".to_owned()));
        };
        let told = Told { id: &id, kind, text: &text, data: data.clone() };
        let Err(error) = poster.post(&hook, &told, now_ms).await else { return Ok(Outcome::Received(0)) };
        tracing::warn!(error = runtime::log::with_causes(&error), hook = hook.id, "an outgoing webhook");
        Ok(match error {
            HookError::TooManyRequests(wait) => {
                let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                Outcome::PauseUntil(now_ms.saturating_add(wait))
            }
            HookError::AnswerLost(_) => Outcome::AnswerLost,
            HookError::Gone => {
                hooks::stop(&self.table, &hook.id, &error.to_string(), now_ms).await?;
                Outcome::Never(error.to_string())
            }
            HookError::Refused(_) if self.is_refused_for_long(message) => Outcome::Never(error.to_string()),
            HookError::NotSent(_) | HookError::Refused(_) => Outcome::NotBefore(self.next_try(message)),
        })
    }

    fn is_refused_for_long(&self, message: &Message) -> bool {
        (self.now_ms)().saturating_sub(message.made_ms) > REFUSED_FOR_MS
    }

    /// When a message that failed is tried again: after half as long as it is old.
    fn next_try(&self, message: &Message) -> i64 {
        let now_ms = (self.now_ms)();
        let age = now_ms.saturating_sub(message.made_ms);
        now_ms.saturating_add((age / 2).clamp(*PAUSE_MS.start(), *PAUSE_MS.end()))
    }

    /// Edits a message that was sent to what it tells now, such as a note. What goes wrong is in the log: the next edit tells it.
    pub async fn refresh(&self, message: &Message) {
        if let Err(error) = self.try_refresh(message).await {
            tracing::warn!(error, "a message could not be edited");
        }
    }

    async fn try_refresh(&self, message: &Message) -> Result<(), String> {
        let why = |error: Error| runtime::log::with_causes(&error);
        let (State::Sent { .. }, Content::Alert(alert), Destination::Chat(chat)) =
            (&message.state, &message.content, &message.to)
        else {
            return Ok(());
        };
        let told = self.alert(message, alert).await.map_err(why)?;
        let Some(chat) = chats::follow(&self.table, *chat).await.map_err(why)? else { return Ok(()) };
        let Some(client) = self.telegram.client().await else { return Ok(()) };
        let said = self.speak(&client, &chat, message, &told, told.text.clone()).await;
        said.map(drop).map_err(|error| runtime::log::with_causes(&error))
    }
}

/// An alert for programs.
fn data(alert: &Alert, names: Option<&Names>) -> Value {
    let all = names.map(Names::all).unwrap_or_default().iter();
    let all: Vec<Value> =
        all.map(|name| json!({"label": name.label, "origin": name.origin.to_string()})).collect();
    json!({
        "mac": alert.mac.to_string(),
        "name": names.and_then(Names::best),
        "names": all,
        "vendor": vendor::of(alert.mac),
        "locally_administered": alert.mac.is_locally_administered(),
        "ssid": alert.ssid.text_lossy(),
        "ssid_hex": alert.ssid.hex(),
        "reason": alert.reason,
        "watch": alert.pattern.to_string(),
        "time": for_programs(alert.time),
        "signal_dbm": alert.signal_dbm,
        "sensor": alert.sensor,
        "probe_count": alert.counted.count,
        "last_probe": for_programs(alert.counted.last),
    })
}

/// What all have done. Each is carried out to its end, also when another fails: who is dropped between sending and noting it sends
/// twice.
async fn sum(parts: impl futures::Stream<Item = Result<Delivered, Error>>) -> Result<Delivered, Error> {
    parts
        .fold(Ok(Delivered::default()), |sum, one| async move {
            let (mut sum, one) = (sum?, one?);
            sum += one;
            Ok(sum)
        })
        .await
}

/// Whether a moment lies between two times of the day, in minutes, which may have midnight between them.
fn is_within((from, to): (u16, u16), now_ms: i64, zone: &TimeZone) -> bool {
    let Ok(now) = jiff::Timestamp::from_millisecond(now_ms) else { return false };
    let now = now.to_zoned(zone.clone());
    let minute = u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).unwrap_or(0);
    if from <= to { (from..to).contains(&minute) } else { minute >= from || minute < to }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_may_go_over_midnight() {
        let london = TimeZone::get("Europe/London").unwrap();
        let at = |hour: i64| (1_587_599_999_000 + 1_000) + (hour - 1) * 60 * 60 * 1000; // 2020-04-23, midnight UTC is 1:00 BST
        for (hour, quiet) in [(21, false), (22, true), (23, true), (24, true), (30, true), (31, false)] {
            assert_eq!(is_within((22 * 60, 7 * 60), at(hour), &london), quiet, "{hour}");
        }
        assert!(is_within((60, 120), at(1), &london) && !is_within((60, 120), at(2), &london));
        assert!(!is_within((60, 60), at(1), &london));
    }
}
