//! What devices are called. A name belongs to an address and is joined when somebody asks, so that a new name is one for the past.
//!
//! Of several names one wins: that which the chat has given itself; then that of the network's own devices; then that of a client;
//! of several documents the last written, as MongoDB has it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use domain::{Collection, Mac};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::Table;
use crate::documents::{Living, Written};
use crate::error::Error;
use crate::folded::folded;
use crate::item::{self, Attributes, Item as _};
use crate::key::{self, Key};
use crate::table::{CONCURRENCY, Expect, Put};

/// The most names that a chat gives.
pub const MAX_GIVEN: usize = 1_000;
/// So much that names one address is looked at. A controller has one document, at times two, and each chat may give a name.
const MAX_OF_A_DEVICE: usize = 1_000;

/// All that a device is called.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Names {
    names: Vec<Name>,
    /// Whether the controller takes it for a guest. `None` when it does not know the device as a client.
    pub is_guest: Option<bool>,
    /// Which model it is, of the network's own devices.
    pub model: Option<String>,
    /// What it does, of the network's own devices: `uap`, `usw`, `ugw`.
    pub kind: Option<String>,
}

/// A name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name, as it was given.
    pub label: String,
    /// Who gave it.
    pub origin: Origin,
}

/// Who gave a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A chat.
    Chat(i64),
    /// A document, told by this topic.
    Topic(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Chat(chat) => write!(f, "chat:{chat}"),
            Self::Topic(topic) => f.write_str(topic),
        }
    }
}

impl Names {
    /// All names, the one that wins first.
    #[must_use]
    pub fn all(&self) -> &[Name] {
        &self.names
    }

    /// The name that wins, if there is one.
    #[must_use]
    pub fn best(&self) -> Option<&str> {
        self.names.first().map(|name| name.label.as_str())
    }
}

/// Whose names count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Those of the documents, and what this chat has given.
    Chat(i64),
    /// All, those of the chats too. Of several chats the last given wins.
    All,
}

impl View {
    /// Whether a name counts, by the partition key of what gives it.
    pub(crate) fn shows(self, pk: &str) -> bool {
        match (self, key::chat_of_names(pk)) {
            (Self::Chat(chat), Some(of)) => chat == of,
            (Self::All, _) | (_, None) => true,
        }
    }
}

/// What devices are called; those that have no name and no document are left out.
///
/// # Errors
/// When the table does not answer.
pub async fn of(
    table: &Table,
    macs: impl IntoIterator<Item = Mac>,
    view: View,
) -> Result<BTreeMap<Mac, Names>, Error> {
    let macs: BTreeSet<Mac> = macs.into_iter().collect();
    let questions: Vec<_> = macs.into_iter().map(|mac| keys_of(table, mac, view)).collect();
    let keys: Vec<Vec<Key>> = futures::stream::iter(questions).buffered(CONCURRENCY).try_collect().await?;
    let keys: BTreeSet<&Key> = keys.iter().flatten().collect();
    // as of now: an index lags behind
    let items = table.batch_get(&keys.into_iter().collect::<Vec<_>>(), true).await?;
    let mut given: BTreeMap<Mac, Vec<Given>> = BTreeMap::new();
    let mut documents: BTreeMap<Mac, Vec<Living>> = BTreeMap::new();
    for item in items.values() {
        match key::chat_of_names(item.text("pk")?) {
            Some(chat) => {
                let one = Given::read(item, chat)?;
                given.entry(one.mac).or_default().push(one);
            }
            None => {
                if let Some(living) = Living::read(item)?
                    && let Some(mac) = living.document.mac
                {
                    documents.entry(mac).or_default().push(living);
                }
            }
        }
    }
    let named: BTreeSet<Mac> = given.keys().chain(documents.keys()).copied().collect();
    let name = |mac: Mac| {
        let (given, documents) = (given.remove(&mac), documents.remove(&mac));
        (mac, joined(given.unwrap_or_default(), documents.unwrap_or_default()))
    };
    Ok(named.into_iter().map(name).collect())
}

/// What one device is called.
///
/// # Errors
/// When the table does not answer.
pub async fn of_device(table: &Table, mac: Mac, view: View) -> Result<Names, Error> {
    Ok(of(table, [mac], view).await?.remove(&mac).unwrap_or_default())
}

/// The keys of all that names a device.
async fn keys_of(table: &Table, mac: Mac, view: View) -> Result<Vec<Key>, Error> {
    let (entries, _) = table.query_entries(key::BY_MAC, ("mac", &mac.to_string()), MAX_OF_A_DEVICE).await?;
    // the index lags behind, and the chat wants to see at once what it has given
    let mut keys = match view {
        View::Chat(chat) => vec![key::name_of_chat(chat, mac)],
        View::All => Vec::new(),
    };
    for entry in &entries {
        let (pk, sk) = (entry.text("pk")?, entry.text("sk")?);
        if view.shows(pk) {
            keys.push(Key { pk: pk.to_owned(), sk: sk.to_owned() });
        }
    }
    Ok(keys)
}

fn joined(mut given: Vec<Given>, mut documents: Vec<Living>) -> Names {
    given.sort_by_key(|given| Reverse((given.given_ms, given.chat)));
    documents.sort_by(|a, b| rank(b).cmp(&rank(a)));
    let mut names = Names::default();
    for Given { chat, name, .. } in given {
        names.names.push(Name { label: name, origin: Origin::Chat(chat) });
    }
    for Living { topic, collection, document, .. } in documents {
        if let Some(label) = document.label(collection) {
            names.names.push(Name { label, origin: Origin::Topic(topic) });
        }
        match collection {
            Collection::Client => names.is_guest = names.is_guest.or(Some(document.is_guest == Some(true))),
            Collection::Device => {
                names.model = names.model.take().or(document.model);
                names.kind = names.kind.take().or(document.kind);
            }
        }
    }
    names
}

/// Among documents of one address the highest wins. An ObjectId begins with the time at which it was made.
fn rank(living: &Living) -> (Collection, Written, &str) {
    (living.collection, living.written, &living.id)
}

/// A name that a chat has given.
#[derive(Debug, Clone)]
struct Given {
    mac: Mac,
    chat: i64,
    name: String,
    given_ms: i64,
}

impl Given {
    fn read(item: &Attributes, chat: i64) -> Result<Self, Error> {
        let mac = item.text("sk")?.parse().map_err(|_no_mac| item.unreadable("sk"))?;
        Ok(Self { mac, chat, name: item.text("name")?.to_owned(), given_ms: item.number("given")? })
    }
}

/// Gives a device a name in a chat, whatever it had. `false` when the chat has given as many as it can.
///
/// # Errors
/// When the table does not answer.
pub async fn give(table: &Table, chat: i64, mac: Mac, name: &str, now_ms: i64) -> Result<bool, Error> {
    let key = key::name_of_chat(chat, mac);
    let given = table.query(&key::names_of_chat(chat), " ").await?;
    let is_there = given.iter().any(|item| item.optional_text("sk") == Some(&key.sk));
    if given.len() >= MAX_GIVEN && !is_there {
        return Ok(false);
    }
    let mut item = item::with_key(&key);
    item.put("name", item::text(name));
    item.put("given", item::number(now_ms));
    item.put("mac", item::text(mac.to_string()));
    item.put_index(Some(key::by_label(&folded(name), mac)));
    table.overwrite(item).await?;
    Ok(true)
}

/// Takes away the name that a chat has given to a device. Whether there was one.
///
/// # Errors
/// When the table does not answer.
pub async fn take_away(table: &Table, chat: i64, mac: Mac) -> Result<bool, Error> {
    let key = key::name_of_chat(chat, mac);
    let was_there = table.get(&key).await?.is_some();
    table.delete(&key).await?;
    Ok(was_there)
}

/// Gives a chat's names to the chat that it has become, or to nobody.
pub(crate) async fn move_all(table: &Table, from: i64, to: Option<i64>) -> Result<(), Error> {
    let moves = table.query(&key::names_of_chat(from), " ").await?.into_iter().map(async |item| {
        let key = Key { pk: key::names_of_chat(from), sk: item.text("sk")?.to_owned() };
        if let Some(to) = to {
            let mut moved = item;
            moved.put("pk", item::text(key::names_of_chat(to)));
            // one that was given there meanwhile stays
            let (Put::Written | Put::Refused(_)) = table.put(moved, &Expect::Nothing).await?;
        }
        table.delete(&key).await
    });
    let moves: Vec<_> = moves.collect();
    futures::stream::iter(moves).buffer_unordered(CONCURRENCY).try_collect().await
}
