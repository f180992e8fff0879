//! Messages that are to be sent, or were: what a chat or an outgoing webhook is told.
//!
//! A message is *pending* until it is *sent*, told in a *digest*, or *dropped* for a reason. Whoever sends it first claims it by a
//! lease: a condition lets one alone do so, and if that one dies, another may when the lease is over. So each is sent at least
//! once, and twice only if somebody died, or the answer was lost, between sending and noting it.

use std::fmt;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::watchdog::{News, Piece, Reason};
use domain::{EventTime, Mac, Pattern, Ssid, WatchId, Who};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::key::{self, Key};
use crate::table::{Backoff, Expect, Put, Table, Update};
use crate::watchdog::Subject;

/// How long a message is kept after it was made, in milliseconds: its buttons work as long.
pub const KEPT_MS: i64 = 14 * 24 * 60 * 60 * 1000;
/// How long one who has claimed a message has it for himself. Longer than an attempt to send it takes.
pub const LEASE_MS: i64 = 60 * 1000;

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A chat of Telegram, or the one in the terminal.
    Chat(i64),
    /// An outgoing webhook by its id.
    Hook(String),
}

/// As in the table.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chat(id) => write!(f, "chat/{id}"),
            Self::Hook(id) => write!(f, "hook/{id}"),
        }
    }
}

impl Destination {
    fn read(item: &Attributes) -> Result<Self, Error> {
        let text = item.text("to")?;
        match text.split_once('/') {
            Some(("chat", id)) => id.parse().map(Self::Chat).map_err(|_no_number| item.unreadable("to")),
            Some(("hook", id)) => Ok(Self::Hook(id.to_owned())),
            _ => Err(item.unreadable("to")),
        }
    }

    /// What of it lies in index `due`.
    fn due_in(&self) -> String {
        format!("MESSAGES#{self}")
    }
}

/// What a message is called: 32 hexadecimal digits, which fit into a button of Telegram.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(String);

impl MessageId {
    /// The id of the message for an episode that a record opened: the same record gives the same id.
    #[must_use]
    pub fn of_opening(to: &Destination, watch: WatchId, source: &str, offset: i64) -> Self {
        Self::of(&format!("{to}#{watch}#{source}#{offset}"))
    }

    /// The id of the message that something is wrong, of this kind and first seen at this time (milliseconds since 1970), or that it is
    /// well again: a second round that tells the same gives the same id.
    #[must_use]
    pub fn of_notice(to: &Destination, subject: &Subject, kind: &str, seen_ms: i64, news: News) -> Self {
        let subject = key::watchdog(subject).sk;
        Self::of(&format!("NOTICE#{to}#{subject}#{seen_ms}#{news:?}#{kind}"))
    }

    /// The id of a digest that begins with this message, made at this time (milliseconds since 1970).
    #[must_use]
    pub fn of_digest(first: &Self, made_ms: i64) -> Self {
        Self::of(&format!("DIGEST#{first}#{made_ms}"))
    }

    /// The id that somebody names, such as a button.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let is_id = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_id.then(|| Self(text.to_owned()))
    }

    fn of(text: &str) -> Self {
        Self(format!("{:032x}", xxh3_128(text.as_bytes())))
    }

    fn key(&self) -> Key {
        key::message(&self.0)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is called.
    pub id: MessageId,
    /// Where it goes.
    pub to: Destination,
    /// The chat whose watch it is about.
    pub chat: i64,
    /// When it was made, in milliseconds since 1970.
    pub made_ms: i64,
    /// What it tells.
    pub content: Content,
    /// What has become of it.
    pub state: State,
    /// What somebody did about it by its buttons.
    pub note: Option<String>,
    /// Whether it is never edited again: it is gone in its chat.
    pub is_final: bool,
}

/// What a message tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// That an episode began.
    Alert(Box<Alert>),
    /// That a sensor, or the way from it, is in trouble, or well again.
    Notice(Box<Notice>),
    /// What other messages would have told, which were too many.
    Digest(Vec<MessageId>),
}

/// An episode, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The watch.
    pub watch: WatchId,
    /// What it is about.
    pub pattern: Pattern,
    /// Why it is.
    pub reason: Option<String>,
    /// Whose episode it is.
    pub who: Who,
    /// Who sent the probe request that opened it.
    pub mac: Mac,
    /// What that named.
    pub ssid: Ssid,
    /// When it was heard.
    pub time: EventTime,
    /// How strong it was, in dBm.
    pub signal_dbm: Option<i8>,
    /// Which sensor heard it.
    pub sensor: Option<String>,
    /// What has come of it so far.
    pub counted: Counted,
}

/// Something that is wrong, or was, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Of which sensor; `None` for the way from Kafka into the table.
    pub sensor: Option<String>,
    /// What kind of, as in [`domain::watchdog::Condition`].
    pub kind: String,
    /// What is wrong, or was.
    pub reason: Reason,
    /// Since when, in milliseconds since 1970.
    pub since: EventTime,
    /// Since when it is well again, in milliseconds since 1970.
    pub well_since: Option<EventTime>,
    /// If it is that nothing comes in.
    pub ingest: Option<Ingest>,
    /// The message before which it is not sent: that it is well again is not told before that something was wrong.
    pub follows: Option<MessageId>,
}

/// That nothing comes in, or that it does again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ingest {
    /// When the newest record came in, in milliseconds since 1970; `None` when none ever did.
    pub latest: Option<EventTime>,
}

/// How far an episode has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Probe requests.
    pub count: u64,
    /// When the last was heard.
    pub last: EventTime,
    /// Different addresses.
    pub addresses: usize,
}

/// What has become of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is to be sent.
    Pending,
    /// It was sent.
    Sent {
        /// When it first was, in milliseconds since 1970.
        sent_ms: i64,
        /// Telegram's id of it in its chat; 0 where there is none.
        telegram_id: i64,
        /// So many it tells of.
        shown: u64,
    },
    /// It is told of in this digest.
    Digested(MessageId),
    /// It is not sent, for this reason.
    Dropped(String),
}

impl Message {
    /// A new message that is to be sent now.
    #[must_use]
    pub const fn new(id: MessageId, to: Destination, chat: i64, content: Content, made_ms: i64) -> Self {
        Self { id, to, chat, made_ms, content, state: State::Pending, note: None, is_final: false }
    }

    /// The item of a new message, due at once.
    pub(crate) fn new_item(&self) -> Attributes {
        let mut item = item::with_key(&self.id.key());
        item.put("to", item::text(self.to.to_string()));
        item.put("chat", item::number(self.chat));
        item.put("made", item::number(self.made_ms));
        item.put("state", item::text(PENDING));
        item.put_index(Some(key::due(&self.to.due_in(), self.made_ms)));
        item.put_expiry(Some(self.made_ms.saturating_add(KEPT_MS)));
        match &self.content {
            Content::Digest(members) => {
                let members = members.iter().map(|id| item::text(&id.0)).collect();
                item.put("members", AttributeValue::L(members));
            }
            Content::Notice(notice) => {
                let piece = |piece: &Piece| match piece {
                    Piece::Time(time) => item::number(time),
                    Piece::Words(words) => item::text(words),
                };
                let pieces = notice.reason.pieces().iter().map(piece).collect();
                item.put("pieces", AttributeValue::L(pieces));
                item.put("kind", item::text(&notice.kind));
                item.put("since", item::number(notice.since));
                if let Some(sensor) = &notice.sensor {
                    item.put("sensor", item::text(sensor));
                }
                if let Some(well_since) = notice.well_since {
                    item.put("well_since", item::number(well_since));
                }
                if let Some(before) = &notice.follows {
                    item.put("follows", item::text(&before.0));
                }
                if let Some(Ingest { latest }) = notice.ingest {
                    item.put("latest_ingest", item::number(latest.unwrap_or(NEVER)));
                }
            }
            Content::Alert(alert) => {
                item.put("watch", item::text(alert.watch.to_string()));
                item.put("pattern", bytes(alert.pattern.canonical()));
                // not `mac` and `ssid`: these put an item into indexes
                item.put("sender", item::text(alert.mac.to_string()));
                item.put("named", bytes(alert.ssid.bytes()));
                item.put("time", item::number(alert.time));
                if let Some(reason) = &alert.reason {
                    item.put("reason", item::text(reason));
                }
                if let Some(signal) = alert.signal_dbm {
                    item.put("signal_dbm", item::number(signal));
                }
                if let Some(sensor) = &alert.sensor {
                    item.put("sensor", item::text(sensor));
                }
                item.put("count", item::number(alert.counted.count));
                item.put("last", item::number(alert.counted.last));
                item.put("addresses", item::number(alert.counted.addresses));
            }
        }
        item
    }

    fn read(item: &Attributes) -> Result<Self, Error> {
        let id = |text: &str, name| MessageId::read(text).ok_or_else(|| item.unreadable(name));
        let state = match item.text("state")? {
            PENDING => State::Pending,
            SENT => State::Sent {
                sent_ms: item.number("sent_at")?,
                telegram_id: item.number("telegram_id")?,
                shown: item.number("shown")?,
            },
            DIGESTED => State::Digested(id(item.text("digest")?, "digest")?),
            DROPPED => State::Dropped(item.text("dropped")?.to_owned()),
            _ => return Err(item.unreadable("state")),
        };
        let content = match item.get("members").and_then(|members| members.as_l().ok()) {
            Some(members) => {
                let member = |member: &AttributeValue| {
                    let text = member.as_s().map_err(|_other| item.unreadable("members"))?;
                    id(text, "members")
                };
                Content::Digest(members.iter().map(member).collect::<Result<_, _>>()?)
            }
            None if item.contains_key("pieces") => Content::Notice(Box::new(Notice::read(item)?)),
            None => Content::Alert(Box::new(Alert::read(item)?)),
        };
        Ok(Self {
            id: id(item.text("pk")?.rsplit('#').next().unwrap_or_default(), "pk")?,
            to: Destination::read(item)?,
            chat: item.number("chat")?,
            made_ms: item.number("made")?,
            content,
            state,
            note: item.optional_text("note").map(str::to_owned),
            is_final: item.optional_text("dropped").is_some(),
        })
    }
}

impl Notice {
    fn read(item: &Attributes) -> Result<Self, Error> {
        let unreadable = || item.unreadable("pieces");
        let piece = |piece: &AttributeValue| match piece {
            AttributeValue::N(time) => time.parse().map(Piece::Time).map_err(|_no_number| unreadable()),
            AttributeValue::S(words) => Ok(Piece::Words(words.clone())),
            _ => Err(unreadable()),
        };
        let pieces = item.get("pieces").and_then(|pieces| pieces.as_l().ok()).ok_or_else(unreadable)?;
        let latest = item.optional_number::<EventTime>("latest_ingest")?;
        Ok(Self {
            sensor: item.optional_text("sensor").map(str::to_owned),
            kind: item.text("kind")?.to_owned(),
            reason: pieces.iter().map(piece).collect::<Result<_, _>>()?,
            since: item.number("since")?,
            well_since: item.optional_number("well_since")?,
            ingest: latest.map(|latest| Ingest { latest: (latest != NEVER).then_some(latest) }),
            follows: item.optional_text("follows").and_then(MessageId::read),
        })
    }
}

/// No time at which anything came in.
const NEVER: EventTime = -1;

impl Alert {
    fn read(item: &Attributes) -> Result<Self, Error> {
        let binary = |name: &str| {
            let blob = item.get(name).and_then(|value| value.as_b().ok());
            blob.map(AsRef::as_ref).ok_or_else(|| item.unreadable(name))
        };
        let mac = item.text("sender")?.parse().map_err(|_no_mac| item.unreadable("sender"))?;
        Ok(Self {
            watch: item.text("watch")?.parse().map_err(|_no_id| item.unreadable("watch"))?,
            pattern: Pattern::of_canonical(binary("pattern")?).ok_or_else(|| item.unreadable("pattern"))?,
            reason: item.optional_text("reason").map(str::to_owned),
            who: Who::of(mac),
            mac,
            ssid: Ssid::new(binary("named")?).map_err(|_no_ssid| item.unreadable("named"))?,
            time: item.number("time")?,
            signal_dbm: item.optional_number("signal_dbm")?,
            sensor: item.optional_text("sensor").map(str::to_owned),
            counted: Counted {
                count: item.number("count")?,
                last: item.number("last")?,
                addresses: item.number("addresses")?,
            },
        })
    }
}

const PENDING: &str = "pending";
const SENT: &str = "sent";
const DIGESTED: &str = "digested";
const DROPPED: &str = "dropped";

/// `state` is a word that DynamoDB keeps for itself, as is `count`.
const NAMES: &[(&str, &str)] = &[("#state", "state")];

/// A message that is somebody's to send or edit, until its lease is over.
#[derive(Debug)]
pub struct Claim {
    /// The message.
    pub message: Message,
    token: String,
}

/// Makes a message, unless it was made already. It is due at once.
///
/// # Errors
/// When the table does not answer.
pub async fn make(table: &Table, message: &Message) -> Result<(), Error> {
    match table.put(message.new_item(), &Expect::Nothing).await? {
        Put::Written | Put::Refused(_) => Ok(()),
    }
}

/// Claims a message whose time has come, to send it or to tell more in it. `None` when it is somebody else's, or done.
///
/// # Errors
/// When the table does not answer.
pub async fn claim(table: &Table, id: &MessageId, now_ms: i64) -> Result<Option<Claim>, Error> {
    let token: String = std::iter::repeat_with(fastrand::alphanumeric).take(12).collect();
    let until = now_ms.saturating_add(LEASE_MS);
    let updated = table
        .update(Update {
            key: &id.key(),
            expression: "SET lease = :lease, lease_until = :until, due = :due",
            condition: "attribute_exists(due_in) AND due <= :now \
                        AND (attribute_not_exists(lease_until) OR lease_until <= :now_ms)",
            names: &[],
            values: vec![
                (":lease", item::text(&token)),
                (":until", item::number(until)),
                (":due", item::text(key::due_range(until))),
                (":now", item::text(key::due_range(now_ms))),
                (":now_ms", item::number(now_ms)),
            ],
        })
        .await?;
    match updated {
        Some(item) => Ok(Some(Claim { message: Message::read(&item)?, token })),
        None => Ok(None),
    }
}

impl Claim {
    /// Notes that the message was sent, or edited, and told of so many probe requests. If more are counted meanwhile it stays due.
    ///
    /// # Errors
    /// When the table does not answer: the message is sent once more when the lease is over.
    pub async fn sent(self, table: &Table, telegram_id: i64, shown: u64, now_ms: i64) -> Result<(), Error> {
        let values = || {
            vec![
                (":lease", item::text(&self.token)),
                (":sent", item::text(SENT)),
                (":id", item::number(telegram_id)),
                (":shown", item::number(shown)),
                (":now", item::number(now_ms)),
            ]
        };
        let done = Update {
            key: &self.message.id.key(),
            expression: "SET #state = :sent, sent_at = if_not_exists(sent_at, :now), telegram_id = :id, \
                         shown = :shown REMOVE lease, lease_until, due_in, due",
            condition: "lease = :lease AND (attribute_not_exists(#count) OR #count <= :shown)",
            names: &[("#state", "state"), ("#count", "count")],
            values: values(),
        };
        if table.update(done).await?.is_some() {
            return Ok(());
        }
        let more = Update {
            key: &self.message.id.key(),
            expression: "SET #state = :sent, sent_at = if_not_exists(sent_at, :now), telegram_id = :id, \
                         shown = :shown, due = :due REMOVE lease, lease_until",
            condition: "lease = :lease",
            names: NAMES,
            values: [values(), vec![(":due", item::text(key::due_range(now_ms)))]].concat(),
        };
        // Refused: the lease was over, and it is somebody else's.
        table.update(more).await.map(drop)
    }

    /// Gives the message back, to be sent at a later time.
    ///
    /// # Errors
    /// When the table does not answer: it is due when the lease is over.
    pub async fn defer(self, table: &Table, due_ms: i64) -> Result<(), Error> {
        self.end(
            table,
            "SET due = :due REMOVE lease, lease_until",
            (":due", item::text(key::due_range(due_ms))),
        )
        .await
    }

    /// Notes that the message will not be sent, and why; of one that was sent, that it is not edited any more.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn dropped(self, table: &Table, why: &str) -> Result<(), Error> {
        let expression = match self.message.state {
            State::Sent { .. } => "SET dropped = :why REMOVE lease, lease_until, due_in, due",
            _ => "SET #state = :dropped, dropped = :why REMOVE lease, lease_until, due_in, due",
        };
        self.end(table, expression, (":why", item::text(why))).await
    }

    async fn end(self, table: &Table, expression: &str, value: (&str, AttributeValue)) -> Result<(), Error> {
        let sets_state = expression.contains("#state");
        let mut values = vec![(":lease", item::text(&self.token)), value];
        if sets_state {
            values.push((":dropped", item::text(DROPPED)));
        }
        let update = Update {
            key: &self.message.id.key(),
            expression,
            condition: "lease = :lease",
            names: if sets_state { NAMES } else { &[] },
            values,
        };
        table.update(update).await.map(drop)
    }
}

/// The messages to a destination that are due, those longest due first; at most `limit`.
///
/// # Errors
/// When the table does not answer.
pub async fn due(table: &Table, to: &Destination, now_ms: i64, limit: i32) -> Result<Vec<MessageId>, Error> {
    let keys = table.query_due(&to.due_in(), &key::due_range(now_ms), limit).await?;
    Ok(keys.iter().filter_map(|key| MessageId::read(key.pk.rsplit('#').next()?)).collect())
}

/// The messages of these ids that there are, as of now. One that cannot be read is left out, and the log says so: it must not hold
/// up the others.
///
/// # Errors
/// When the table does not answer.
pub async fn find(table: &Table, ids: &[MessageId]) -> Result<Vec<Message>, Error> {
    let keys: Vec<Key> = ids.iter().map(MessageId::key).collect();
    let mut items = table.batch_get(&keys.iter().collect::<Vec<_>>(), true).await?;
    let found = keys.iter().filter_map(|key| items.remove(key));
    Ok(found
        .filter_map(|item| {
            Message::read(&item).inspect_err(|error| tracing::error!(%error, "a message cannot be read")).ok()
        })
        .collect())
}

/// Makes a digest of messages. It is due at once. Of two who begin one at the same time each takes what it can; one that is left
/// without any need not be sent.
///
/// # Errors
/// When the table does not answer.
pub async fn begin_digest(
    table: &Table,
    to: &Destination,
    chat: i64,
    members: Vec<MessageId>,
    now_ms: i64,
) -> Result<Option<MessageId>, Error> {
    let Some(first) = members.first() else { return Ok(None) };
    let id = MessageId::of_digest(first, now_ms);
    let digest = Message::new(id.clone(), to.clone(), chat, Content::Digest(members), now_ms);
    make(table, &digest).await?;
    Ok(Some(id))
}

/// Takes a pending message into a digest. Whether it is in it: one that somebody is sending just now, or has sent, is not.
///
/// # Errors
/// When the table does not answer.
pub async fn take_into_digest(
    table: &Table,
    id: &MessageId,
    digest: &MessageId,
    now_ms: i64,
) -> Result<bool, Error> {
    let update = Update {
        key: &id.key(),
        expression: "SET #state = :digested, digest = :digest REMOVE lease, lease_until, due_in, due",
        condition: "(#state = :digested AND digest = :digest) OR \
                    (#state = :pending AND (attribute_not_exists(lease_until) OR lease_until <= :now))",
        names: NAMES,
        values: vec![
            (":digested", item::text(DIGESTED)),
            (":digest", item::text(&digest.0)),
            (":pending", item::text(PENDING)),
            (":now", item::number(now_ms)),
        ],
    };
    Ok(table.update(update).await?.is_some())
}

/// Notes how far the episode of a message has come. One that was sent is then due to be edited.
///
/// # Errors
/// When the table does not answer.
pub async fn count(table: &Table, id: &MessageId, counted: Counted, now_ms: i64) -> Result<(), Error> {
    let values = |state: Option<&'static str>| {
        let mut values = vec![
            (":count", item::number(counted.count)),
            (":last", item::number(counted.last)),
            (":addresses", item::number(counted.addresses)),
        ];
        values.extend(state.map(|state| (":state", item::text(state))));
        values
    };
    let names = &[("#state", "state"), ("#count", "count"), ("#last", "last")];
    let mut pause = Backoff::default();
    loop {
        let message = match find(table, std::slice::from_ref(id)).await?.pop() {
            Some(message) => message,
            None => return Ok(()), // its time was over
        };
        let Content::Alert(alert) = &message.content else { return Ok(()) };
        if alert.counted.count >= counted.count {
            return Ok(());
        }
        let state = match message.state {
            State::Pending => PENDING,
            State::Sent { .. } => SENT,
            State::Digested(_) => DIGESTED,
            State::Dropped(_) => DROPPED,
        };
        // what was posted to a webhook cannot be edited
        let is_edited = state == SENT && !message.is_final && matches!(message.to, Destination::Chat(_));
        let set = "SET #count = :count, #last = :last, addresses = :addresses";
        let due = key::due(&message.to.due_in(), now_ms);
        let mut values = values(Some(state));
        let expression = if is_edited {
            values.extend([(":due_in", item::text(due.hash.1)), (":due", item::text(due.range.1))]);
            format!("{set}, due_in = :due_in, due = :due")
        } else {
            set.to_owned()
        };
        let update = Update {
            key: &id.key(),
            expression: &expression,
            condition: "#state = :state AND #count < :count",
            names,
            values,
        };
        if table.update(update).await?.is_some() {
            return Ok(());
        }
        if !pause.wait().await {
            let Key { pk, sk } = id.key();
            return Err(Error::Contended { pk, sk, attempts: Backoff::ATTEMPTS });
        }
    }
}

/// Writes under a message what somebody did about it. The message as it is then, if it is still there.
///
/// # Errors
/// When the table does not answer.
pub async fn note(table: &Table, id: &MessageId, note: &str) -> Result<Option<Message>, Error> {
    let update = Update {
        key: &id.key(),
        expression: "SET note = :note",
        condition: "attribute_exists(pk)",
        names: &[],
        values: vec![(":note", item::text(note))],
    };
    table.update(update).await?.as_ref().map(Message::read).transpose()
}

pub(crate) fn bytes(value: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}
