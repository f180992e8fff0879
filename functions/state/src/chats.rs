//! The chats that may ask, what each may do, and how it wants to be told.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{EventTime, Mac, Origin, Watch, WatchId};

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::key::{self, Key};
use crate::table::{Backoff, Expect, Put, Table};
use crate::{names, watches};

/// What a chat may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ask, and watch for itself.
    Member,
    /// Also let chats in and out, and set outgoing webhooks.
    Owner,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Owner => "owner",
        }
    }

    pub(crate) fn read(item: &Attributes) -> Result<Self, Error> {
        match item.text("role")? {
            "owner" => Ok(Self::Owner),
            "member" => Ok(Self::Member),
            _ => Err(item.unreadable("role")),
        }
    }

    pub(crate) fn write(self, item: &mut Attributes) {
        item.put("role", item::text(self.name()));
    }
}

/// As people are told it.
impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A chat that may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// Its id: negative for groups.
    pub id: i64,
    /// What it may do.
    pub role: Role,
    /// Since when it may, in milliseconds since 1970: what came into the log before is not told to it.
    pub since_ms: EventTime,
    /// Its title, of a group.
    pub title: Option<String>,
    /// Why nothing is sent to it any more, and since when: it blocked the bot, it is gone.
    pub stopped: Option<(String, EventTime)>,
    /// What it has become: a group that was upgraded has another id.
    pub moved_to: Option<i64>,
    /// The IANA name of the time zone in which it is told times.
    pub time_zone: Option<String>,
    /// When alerts make no sound: from and to, in minutes of the day in its time zone.
    pub quiet: Option<(u16, u16)>,
    /// Whether it does not want the topic's watches at all.
    pub shared_off: bool,
    /// Watches of the topic that it does not want.
    pub off: BTreeSet<WatchId>,
    /// Until when it does not want to hear of a watch, in milliseconds since 1970.
    pub mutes: BTreeMap<WatchId, EventTime>,
    /// Devices that it does not want to hear of.
    pub ignored: BTreeSet<Mac>,
    /// Whether it does not want to hear of sensors in trouble. Members never do.
    pub health_off: bool,
    /// Counts the writes of the item: its guard.
    version: i64,
}

impl Chat {
    /// More devices cannot be ignored: the item must stay small, it is read for every batch.
    pub const MAX_IGNORED: usize = 500;

    fn new(id: i64, role: Role, since_ms: EventTime) -> Self {
        Self {
            id,
            role,
            since_ms,
            title: None,
            stopped: None,
            moved_to: None,
            time_zone: None,
            quiet: None,
            shared_off: false,
            off: BTreeSet::new(),
            mutes: BTreeMap::new(),
            ignored: BTreeSet::new(),
            health_off: false,
            version: 0,
        }
    }

    /// Whether a watch is one of this chat's: its own, or one of the topic's that it has not switched off.
    #[must_use]
    pub fn wants(&self, watch: &Watch) -> bool {
        match watch.origin {
            Origin::Chat(chat) => chat == self.id,
            Origin::Topic => !self.shared_off && !self.off.contains(&watch.id()),
        }
    }

    /// Whether it does not want to hear of a watch just now.
    #[must_use]
    pub fn is_muted(&self, watch: WatchId, now_ms: i64) -> bool {
        self.mutes.get(&watch).is_some_and(|until| *until > now_ms)
    }

    /// Whether it is told when a sensor, or the way from it, is in trouble.
    #[must_use]
    pub fn wants_health(&self) -> bool {
        self.role == Role::Owner && !self.health_off && self.is_reached()
    }

    /// Whether anything is sent to it.
    #[must_use]
    pub const fn is_reached(&self) -> bool {
        self.stopped.is_none() && self.moved_to.is_none()
    }

    fn read(item: &Attributes) -> Result<Self, Error> {
        let id = item.text("sk")?.parse().map_err(|_no_number| item.unreadable("sk"))?;
        let texts = |name: &str| -> Vec<&String> {
            item.get(name).and_then(|set| set.as_ss().ok()).into_iter().flatten().collect()
        };
        let parsed = |name: &str, text: &str| text.parse().map_err(|_other| item.unreadable(name));
        let stopped = match item.optional_text("stopped") {
            Some(why) => Some((why.to_owned(), item.number("stopped_at")?)),
            None => None,
        };
        let quiet = match (item.optional_number("quiet_from")?, item.optional_number("quiet_to")?) {
            (Some(from), Some(to)) => Some((from, to)),
            _ => None,
        };
        let mut mutes = BTreeMap::new();
        if let Some(map) = item.get("mutes").and_then(|map| map.as_m().ok()) {
            for (watch, until) in map {
                let until = until.as_n().ok().and_then(|until| until.parse().ok());
                mutes.insert(parsed("mutes", watch)?, until.ok_or_else(|| item.unreadable("mutes"))?);
            }
        }
        Ok(Self {
            role: Role::read(item)?,
            since_ms: item.number("since")?,
            title: item.optional_text("title").map(str::to_owned),
            stopped,
            moved_to: item.optional_number("moved_to")?,
            time_zone: item.optional_text("time_zone").map(str::to_owned),
            quiet,
            shared_off: item.optional_number::<u8>("shared_off")?.is_some(),
            off: texts("off").into_iter().map(|watch| parsed("off", watch)).collect::<Result<_, _>>()?,
            mutes,
            ignored: texts("ignored")
                .into_iter()
                .map(|mac| mac.parse().map_err(|_no_mac| item.unreadable("ignored")))
                .collect::<Result<_, _>>()?,
            health_off: item.optional_number::<u8>("health_off")?.is_some(),
            version: item.number("version")?,
            id,
        })
    }

    fn write(&self) -> Attributes {
        let mut item = item::with_key(&key::chat(self.id));
        self.role.write(&mut item);
        item.put("since", item::number(self.since_ms));
        item.put("version", item::number(self.version));
        let texts = [("title", &self.title), ("time_zone", &self.time_zone)];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
            item.put(name, item::text(text));
        }
        if let Some((why, at)) = &self.stopped {
            item.put("stopped", item::text(why));
            item.put("stopped_at", item::number(at));
        }
        if let Some(to) = self.moved_to {
            item.put("moved_to", item::number(to));
        }
        if let Some((from, to)) = self.quiet {
            item.put("quiet_from", item::number(from));
            item.put("quiet_to", item::number(to));
        }
        if self.shared_off {
            item.put("shared_off", item::number(1));
        }
        if self.health_off {
            item.put("health_off", item::number(1));
        }
        // a set of DynamoDB is never empty
        if !self.off.is_empty() {
            item.put("off", AttributeValue::Ss(self.off.iter().map(ToString::to_string).collect()));
        }
        if !self.ignored.is_empty() {
            item.put("ignored", AttributeValue::Ss(self.ignored.iter().map(ToString::to_string).collect()));
        }
        if !self.mutes.is_empty() {
            let mutes = self.mutes.iter().map(|(watch, until)| (watch.to_string(), item::number(until)));
            item.put("mutes", AttributeValue::M(mutes.collect()));
        }
        item
    }
}

/// All chats that are or were allowed, those that have become others too, as of now.
///
/// # Errors
/// When the table does not answer.
pub async fn all(table: &Table) -> Result<Vec<Chat>, Error> {
    table.query(key::CHATS, " ").await?.iter().map(Chat::read).collect()
}

/// The chat of this id, if it may ask.
///
/// # Errors
/// When the table does not answer.
pub async fn find(table: &Table, id: i64) -> Result<Option<Chat>, Error> {
    let chat = table.get(&key::chat(id)).await?.as_ref().map(Chat::read).transpose()?;
    Ok(chat.filter(|chat| chat.moved_to.is_none()))
}

/// Where messages for a chat go: to itself, or to what it has become, however often.
///
/// # Errors
/// When the table does not answer.
pub async fn follow(table: &Table, id: i64) -> Result<Option<Chat>, Error> {
    const MOST: usize = 8;
    let mut id = id;
    for _ in 0..MOST {
        match table.get(&key::chat(id)).await?.as_ref().map(Chat::read).transpose()? {
            Some(Chat { moved_to: Some(to), .. }) => id = to,
            other => return Ok(other),
        }
    }
    Ok(None)
}

/// Changes a chat, if it is there: `change` is called again when somebody else was quicker. The chat as it is then.
///
/// # Errors
/// When the table does not answer.
pub async fn change(table: &Table, id: i64, change: impl Fn(&mut Chat)) -> Result<Option<Chat>, Error> {
    upsert(table, id, None, change).await
}

/// Lets a chat in, or gives it another role. What it had set stays.
///
/// # Errors
/// When the table does not answer.
pub async fn allow(
    table: &Table,
    id: i64,
    role: Role,
    title: Option<&str>,
    now_ms: i64,
) -> Result<Option<Chat>, Error> {
    upsert(table, id, Some(Chat::new(id, role, now_ms)), |chat| {
        chat.role = role;
        chat.stopped = None;
        chat.moved_to = None;
        if let Some(title) = title {
            chat.title = Some(title.to_owned());
        }
    })
    .await
}

async fn upsert(
    table: &Table,
    id: i64,
    otherwise: Option<Chat>,
    change: impl Fn(&mut Chat),
) -> Result<Option<Chat>, Error> {
    let key = key::chat(id);
    let mut current = table.get(&key).await?;
    let mut pause = Backoff::default();
    loop {
        let old = current.as_ref().map(Chat::read).transpose()?;
        let Some(mut chat) = old.clone().or_else(|| otherwise.clone()) else { return Ok(None) };
        change(&mut chat);
        if old.as_ref() == Some(&chat) {
            return Ok(Some(chat));
        }
        let expect = old.map_or(Expect::Nothing, |old| Expect::Number("version", old.version));
        chat.version = chat.version.saturating_add(1);
        match table.put(chat.write(), &expect).await? {
            Put::Written => return Ok(Some(chat)),
            Put::Refused(actual) => current = actual,
        }
        if !pause.wait().await {
            let Key { pk, sk } = key;
            return Err(Error::Contended { pk, sk, attempts: Backoff::ATTEMPTS });
        }
    }
}

/// Lets a chat out, with its watches and the names that it has given.
///
/// # Errors
/// When the table does not answer. Doing it again goes on where this stopped.
pub async fn disallow(table: &Table, id: i64) -> Result<(), Error> {
    watches::move_all(table, id, None).await?;
    names::move_all(table, id, None).await?;
    table.delete(&key::chat(id)).await
}

/// Follows a chat that has become another, with its settings, watches and names.
///
/// # Errors
/// When the table does not answer. Doing it again goes on where this stopped.
pub async fn migrate(table: &Table, from: i64, to: i64) -> Result<(), Error> {
    let Some(old) = table.get(&key::chat(from)).await?.as_ref().map(Chat::read).transpose()? else {
        return Ok(());
    };
    if from == to {
        return Ok(());
    }
    let mut new = Chat { id: to, moved_to: None, stopped: None, version: 0, ..old };
    // a watch of the chat has another name there
    for watch in watches::of_chat(table, from).await? {
        if let Some(until) = new.mutes.remove(&watch.id()) {
            let moved = Watch { origin: Origin::Chat(to), ..watch };
            new.mutes.insert(moved.id(), until);
        }
    }
    // the same again changes nothing: what was set in the new chat meanwhile stays
    upsert(table, to, Some(new), |_| {}).await?;
    watches::move_all(table, from, Some(to)).await?;
    names::move_all(table, from, Some(to)).await?;
    change(table, from, |chat| chat.moved_to = Some(to)).await?;
    Ok(())
}
