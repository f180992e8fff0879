//! Alert episodes in the table: each matching record is told by exactly one message.
//!
//! An item belongs to a chat, a watch and a device, and carries `seen`, the highest offset it has absorbed from each source, and
//! `version`. To absorb a batch: load the item, drop the records at or below `seen`, fold the others in, write on the condition that
//! `version` is what was loaded. Where an episode begins, its message is written in the same transaction, under an id that the
//! opening record gives: so there is no episode without its message and no message without its episode, whoever dies when, and
//! whatever is delivered again. It is the only transaction in the system.
//!
//! What follows in an episode is counted in silence, and lies in index `due` until it is told in the message (see [`flush`]).

use std::collections::{BTreeMap, HashSet};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::episode::Addresses;
use domain::{Episode, Sighting, Watch, Who};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::key::{self, Key};
use crate::messages::{self, Alert, Content, Counted, Destination, Message, MessageId};
use crate::table::{Backoff, CONCURRENCY, Expect, Put, Table, Transaction};
use crate::{Source, merge};

/// What follows in an episode is told at most so often, in milliseconds.
pub const TOLD_EVERY_MS: i64 = 60 * 1000;
/// How long an item outlives its last write. Records that are older than the limit of lateness open nothing, so by then no
/// redelivery needs it; and a quiet time that is longer must be remembered for as long.
fn kept_ms(watch: &Watch) -> i64 {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    messages::KEPT_MS.max(watch.cooldown_ms.saturating_add(DAY_MS))
}

/// A transaction has at most 100 writes: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html>
const MAX_WRITES: usize = 90;
/// So many counts of past episodes wait at most to be told.
const MAX_UNTOLD: usize = 100;
/// What lies in index `due`.
const DUE_IN: &str = "EPISODES";

/// The records of one source that one watch of one chat matches, of one device.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// The chat.
    pub chat: i64,
    /// Its watch.
    pub watch: &'a Watch,
    /// Whose episode it is.
    pub who: Who,
    /// Who is told: the chat, and its outgoing webhooks.
    pub to: &'a [Destination],
    /// The records, by offset.
    pub sightings: Vec<Sighting>,
}

/// What came of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Messages that were made, to be sent now, and where to.
    pub messages: Vec<(Destination, MessageId)>,
    /// Items that were written.
    pub writes: u64,
}

/// Absorbs the cases of a batch from one source.
///
/// # Errors
/// When the table does not answer: the batch has to be delivered again, and nothing is told twice.
pub async fn absorb(
    table: &Table,
    source: &Source,
    cases: &[Case<'_>],
    now_ms: i64,
) -> Result<Opened, Error> {
    let source = source.to_string();
    let work = cases.iter().map(|case| absorb_one(table, &source, case, now_ms));
    // Boxed: the future of a request has kilobytes, and there may be hundreds of cases.
    let work: Vec<_> = work.map(Box::pin).collect();
    futures::stream::iter(work)
        .buffered(CONCURRENCY)
        .try_fold(Opened::default(), |mut sum, one| async move {
            sum.messages.extend(one.messages);
            sum.writes += one.writes;
            Ok(sum)
        })
        .await
}

async fn absorb_one(table: &Table, source: &str, case: &Case<'_>, now_ms: i64) -> Result<Opened, Error> {
    let key = key::episode(case.chat, case.watch.id(), case.who);
    let mut opened = Opened::default();
    let mut current = table.get(&key).await?;
    // Messages that are there though their episode is not: an item that was lost. They are not sent again.
    let mut there: HashSet<MessageId> = HashSet::new();
    let mut pause = Backoff::default();
    loop {
        let old = current.as_ref().map(Stored::read).transpose()?;
        let Some(step) = fold(old.as_ref(), source, case, now_ms) else { return Ok(opened) };
        let expect = old.as_ref().map_or(Expect::Nothing, |old| Expect::Number("version", old.version));
        let item = step.stored.write(&key, now_ms.saturating_add(kept_ms(case.watch)));
        let new: Vec<&Message> =
            step.messages.iter().filter(|message| !there.contains(&message.id)).collect();
        let refused_by = if new.is_empty() {
            match table.put(item.clone(), &expect).await? {
                Put::Written => None,
                Put::Refused(actual) => Some(actual),
            }
        } else {
            let messages = new.iter().map(|message| (message.new_item(), Expect::Nothing));
            let writes = std::iter::once((item.clone(), expect)).chain(messages).collect();
            match table.transact(writes).await? {
                Transaction::Written => None,
                Transaction::Refused(reasons) => {
                    let mut reasons = reasons.into_iter();
                    let of_episode = reasons.next().flatten();
                    for (message, reason) in new.iter().zip(reasons) {
                        if reason.is_some() {
                            there.insert(message.id.clone());
                        }
                    }
                    match of_episode {
                        Some(actual) => Some(actual),
                        None => Some(table.get(&key).await?),
                    }
                }
            }
        };
        match refused_by {
            None => {
                opened.writes += 1 + new.len() as u64;
                let made = new.into_iter().map(|message| (message.to.clone(), message.id.clone()));
                opened.messages.extend(made);
                if step.is_whole {
                    return Ok(opened);
                }
                current = Some(item);
                pause = Backoff::default();
            }
            Some(actual) => {
                current = actual;
                if !pause.wait().await {
                    let Key { pk, sk } = key;
                    return Err(Error::Contended { pk, sk, attempts: Backoff::ATTEMPTS });
                }
            }
        }
    }
}

/// What is to be written for a part of a case.
struct Step {
    stored: Stored,
    /// Of the episodes that begin.
    messages: Vec<Message>,
    /// Whether that was all of the case.
    is_whole: bool,
}

/// Folds what is new of a case into what is stored: a pure function, called again after a refusal. In the order of offsets, so
/// that what does not fit into one transaction can go on at an offset. `None` when nothing is new.
fn fold(old: Option<&Stored>, source: &str, case: &Case<'_>, now_ms: i64) -> Option<Step> {
    let mut stored = old.cloned().unwrap_or_default();
    let seen = stored.seen.get(source).copied().unwrap_or(merge::NOTHING_SEEN);
    let mut new = case.sightings.iter().filter(|sighting| sighting.offset > seen).peekable();
    new.peek()?;
    let mut messages: Vec<Message> = Vec::new();
    while let Some(sighting) = new.peek() {
        let covered = stored
            .current
            .as_ref()
            .is_some_and(|current| current.episode.covers(sighting.time, case.watch.cooldown_ms));
        if !covered && messages.len() + case.to.len() > MAX_WRITES {
            break;
        }
        match &mut stored.current {
            Some(current) if covered => current.episode.absorb(sighting),
            _ => {
                stored.set_aside();
                stored.current = Some(Current::open(sighting, source, case));
                messages.extend(case.to.iter().map(|to| new_message(to, sighting, source, case, now_ms)));
            }
        }
        // a message that is made now tells how far its episode has come by now
        if let Some(current) = &mut stored.current {
            let counted = current.counted();
            for message in messages.iter_mut().filter(|message| current.messages.contains(&message.id)) {
                if let Content::Alert(alert) = &mut message.content {
                    alert.counted = counted;
                }
                current.told = counted.count;
            }
        }
        stored.seen.insert(source.to_owned(), sighting.offset);
        new.next();
    }
    if !stored.untold.is_empty() {
        stored.due_ms = Some(now_ms);
    } else if stored.current.as_ref().is_some_and(|current| current.told < current.episode.count) {
        stored.due_ms.get_or_insert(now_ms.saturating_add(TOLD_EVERY_MS));
    }
    let is_whole = new.peek().is_none();
    Some(Step { stored, messages, is_whole })
}

fn new_message(to: &Destination, sighting: &Sighting, source: &str, case: &Case<'_>, now_ms: i64) -> Message {
    let alert = Alert {
        watch: case.watch.id(),
        pattern: case.watch.pattern.clone(),
        reason: case.watch.reason.clone(),
        who: case.who,
        mac: sighting.mac,
        ssid: sighting.ssid.clone(),
        time: sighting.time,
        signal_dbm: sighting.signal_dbm,
        sensor: sighting.sensor.clone(),
        counted: Counted { count: 1, last: sighting.time, addresses: 1 },
    };
    let id = MessageId::of_opening(to, case.watch.id(), source, sighting.offset);
    Message::new(id, to.clone(), case.chat, Content::Alert(Box::new(alert)), now_ms)
}

/// What the item of an episode holds.
#[derive(Debug, Clone, Default, PartialEq)]
struct Stored {
    version: i64,
    /// By source.
    seen: BTreeMap<String, i64>,
    current: Option<Current>,
    /// Of past episodes what their messages do not tell yet.
    untold: Vec<(Vec<MessageId>, Counted)>,
    /// When something is to be told that was counted in silence.
    due_ms: Option<i64>,
}

/// The episode that goes on, or was the last.
#[derive(Debug, Clone, PartialEq)]
struct Current {
    episode: Episode,
    /// Its messages, one a destination.
    messages: Vec<MessageId>,
    /// So many probe requests they tell of.
    told: u64,
}

impl Current {
    fn open(sighting: &Sighting, source: &str, case: &Case<'_>) -> Self {
        let id = |to| MessageId::of_opening(to, case.watch.id(), source, sighting.offset);
        Self { episode: Episode::open(sighting), messages: case.to.iter().map(id).collect(), told: 0 }
    }

    fn counted(&self) -> Counted {
        let Episode { count, last, addresses, .. } = &self.episode;
        Counted { count: *count, last: *last, addresses: addresses.count() }
    }
}

impl Stored {
    /// Makes room for a new episode.
    fn set_aside(&mut self) {
        let Some(past) = self.current.take() else { return };
        if past.told < past.episode.count && self.untold.len() < MAX_UNTOLD {
            let counted = past.counted();
            self.untold.push((past.messages, counted));
        }
    }

    fn read(item: &Attributes) -> Result<Self, Error> {
        let seen = merge::seen_by_source(item)?;
        let current = match item.optional_number("count")? {
            None => None,
            Some(count) => {
                let addresses = item.get("addresses").and_then(|bytes| bytes.as_b().ok());
                let addresses = addresses.ok_or_else(|| item.unreadable("addresses"))?;
                let episode = Episode {
                    count,
                    first: item.number("first")?,
                    last: item.number("last")?,
                    addresses: Addresses::from_bytes(addresses.as_ref()),
                };
                let messages = ids(item.text("messages")?).ok_or_else(|| item.unreadable("messages"))?;
                Some(Current { episode, messages, told: item.number("told")? })
            }
        };
        let mut untold = Vec::new();
        for past in item.get("untold").and_then(|past| past.as_l().ok()).into_iter().flatten() {
            let read = past.as_s().ok().and_then(|text| read_untold(text));
            untold.push(read.ok_or_else(|| item.unreadable("untold"))?);
        }
        let due_ms = match item.optional_text("due") {
            Some(due) => Some(due.parse().map_err(|_no_number| item.unreadable("due"))?),
            None => None,
        };
        Ok(Self { version: item.number("version")?, seen, current, untold, due_ms })
    }

    /// The item as it is written next: the version is one more.
    fn write(&self, key: &Key, expires_ms: i64) -> Attributes {
        let mut item = item::with_key(key);
        item.put("version", item::number(self.version.saturating_add(1)));
        merge::put_seen_by_source(&mut item, &self.seen);
        if let Some(Current { episode, messages, told }) = &self.current {
            item.put("count", item::number(episode.count));
            item.put("first", item::number(episode.first));
            item.put("last", item::number(episode.last));
            item.put("addresses", messages::bytes(episode.addresses.to_bytes()));
            item.put("messages", item::text(joined(messages)));
            item.put("told", item::number(told));
        }
        if !self.untold.is_empty() {
            let untold = self.untold.iter().map(|(ids, Counted { count, last, addresses })| {
                item::text(format!("{count} {last} {addresses} {}", joined(ids)))
            });
            item.put("untold", AttributeValue::L(untold.collect()));
        }
        item.put_index(self.due_ms.map(|due| key::due(DUE_IN, due)));
        item.put_expiry(Some(expires_ms));
        item
    }
}

fn read_untold(text: &str) -> Option<(Vec<MessageId>, Counted)> {
    let mut parts = text.splitn(4, ' ');
    let counted = Counted {
        count: parts.next()?.parse().ok()?,
        last: parts.next()?.parse().ok()?,
        addresses: parts.next()?.parse().ok()?,
    };
    Some((ids(parts.next()?)?, counted))
}

fn joined(ids: &[MessageId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn ids(text: &str) -> Option<Vec<MessageId>> {
    text.split(' ').filter(|id| !id.is_empty()).map(MessageId::read).collect()
}

/// Tells the messages of at most `limit` episodes how far these have come, of those whose time has come. Returns how many were due.
/// One that cannot be read, or that others write all the time, stays due and does not hold up the others; the log says so.
///
/// # Errors
/// When the table does not answer.
pub async fn flush(table: &Table, now_ms: i64, limit: i32) -> Result<usize, Error> {
    let keys = table.query_due(DUE_IN, &key::due_range(now_ms), limit).await?;
    let work: Vec<_> = keys.iter().map(|key| Box::pin(flush_one(table, key, now_ms))).collect();
    let outcomes: Vec<Result<bool, Error>> =
        futures::stream::iter(work).buffered(CONCURRENCY).collect().await;
    for error in outcomes.into_iter().filter_map(Result::err) {
        tracing::warn!(%error, "an episode could not be told");
    }
    Ok(keys.len())
}

async fn flush_one(table: &Table, key: &Key, now_ms: i64) -> Result<bool, Error> {
    let Some(item) = table.get(key).await? else { return Ok(false) };
    let mut stored = Stored::read(&item)?;
    if stored.due_ms.is_none_or(|due| due > now_ms) {
        return Ok(false);
    }
    let expect = Expect::Number("version", stored.version);
    for (ids, counted) in std::mem::take(&mut stored.untold) {
        tell(table, &ids, counted, now_ms).await?;
    }
    if let Some(current) = &mut stored.current {
        let counted = current.counted();
        tell(table, &current.messages, counted, now_ms).await?;
        current.told = counted.count;
    }
    stored.due_ms = None;
    // Refused: more was counted meanwhile, and it is still due.
    let expires_ms = item.expiry_ms().unwrap_or_else(|| now_ms.saturating_add(messages::KEPT_MS));
    Ok(matches!(table.put(stored.write(key, expires_ms), &expect).await?, Put::Written))
}

async fn tell(table: &Table, ids: &[MessageId], counted: Counted, now_ms: i64) -> Result<(), Error> {
    for id in ids {
        messages::count(table, id, counted, now_ms).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use domain::{Mac, Origin, Pattern, Ssid};

    use super::*;

    const MINUTE: i64 = 60_000;

    fn watch(cooldown_ms: i64) -> Watch {
        let pattern = Pattern::read("RNM0", false).unwrap();
        Watch { origin: Origin::Chat(7), pattern, reason: None, made_ms: 0, cooldown_ms }
    }

    fn sighting(offset: i64, time: i64) -> Sighting {
        let (mac, ssid) = (Mac::new([0, 0, 0, 0, 0, 1]), Ssid::new(*b"RNM0").unwrap());
        Sighting { offset, time, mac, ssid, signal_dbm: None, sensor: None }
    }

    fn case<'a>(watch: &'a Watch, to: &'a [Destination], sightings: Vec<Sighting>) -> Case<'a> {
        Case { chat: 7, watch, who: Who::Device(Mac::new([0, 0, 0, 0, 0, 1])), to, sightings }
    }

    fn counts(step: &Step) -> Vec<u64> {
        let count = |message: &Message| match &message.content {
            Content::Alert(alert) => alert.counted.count,
            Content::Digest(_) | Content::Notice(_) => 0,
        };
        step.messages.iter().map(count).collect()
    }

    #[test]
    fn a_batch_of_several_visits_has_a_message_for_each() {
        let (watch, to) = (watch(15 * MINUTE), [Destination::Chat(7)]);
        let visits = [(0, 0), (1, 1), (2, 20 * MINUTE), (3, 60 * MINUTE), (4, 61 * MINUTE), (5, 2)];
        let case = case(&watch, &to, visits.iter().map(|(offset, time)| sighting(*offset, *time)).collect());
        let step = fold(None, "pcap@1/0", &case, 0).unwrap();
        assert_eq!(counts(&step), [2, 1, 3], "what comes late belongs to the last");
        assert!(step.is_whole && step.stored.due_ms.is_none() && step.stored.untold.is_empty());
        assert!(
            fold(Some(&step.stored), "pcap@1/0", &case, 0).is_none(),
            "delivered again, it is nothing new"
        );
        assert_eq!(
            counts(&fold(Some(&step.stored), "pcap@1/1", &case, 0).unwrap()),
            [0_u64; 0],
            "of another source"
        );
    }

    #[test]
    fn what_follows_in_silence_is_told_later_also_when_the_episode_is_over_by_then() {
        let (watch, to) = (watch(15 * MINUTE), [Destination::Chat(7)]);
        let first = fold(None, "s", &case(&watch, &to, vec![sighting(0, 0)]), 0).unwrap().stored;
        let more = fold(Some(&first), "s", &case(&watch, &to, vec![sighting(1, 9)]), 5).unwrap();
        assert!(more.messages.is_empty());
        assert_eq!(more.stored.due_ms, Some(5 + TOLD_EVERY_MS));
        let next = case(&watch, &to, vec![sighting(2, 60 * MINUTE)]);
        let next = fold(Some(&more.stored), "s", &next, 6).unwrap();
        assert_eq!((counts(&next), next.stored.due_ms), (vec![1], Some(6)));
        assert_eq!(next.stored.untold[0].1.count, 2);
    }

    #[test]
    fn more_than_a_transaction_holds_goes_on_where_it_stopped() {
        let (watch, to) = (watch(0), [Destination::Chat(7), Destination::Hook("a".to_owned())]);
        let case = case(&watch, &to, (0..100).map(|offset| sighting(offset, offset)).collect());
        let (mut stored, mut messages, mut steps) = (None, 0, 0);
        while let Some(step) = fold(stored.as_ref(), "s", &case, 0) {
            assert!(step.messages.len() < 100);
            messages += step.messages.len();
            steps += 1;
            stored = Some(step.stored);
        }
        assert_eq!((messages, steps), (200, 3));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (watch, to) = (watch(15 * MINUTE), [Destination::Chat(7)]);
        let key = key::episode(7, watch.id(), Who::Passing);
        let case = case(&watch, &to, vec![sighting(0, 0), sighting(1, 5)]);
        let mut stored = fold(None, "pcap@1/0", &case, 0).unwrap().stored;
        stored.set_aside();
        stored.current = Some(Current::open(&sighting(7, 9), "pcap@1/0", &case));
        stored.untold.push((
            vec![MessageId::of_digest(&stored.current.as_ref().unwrap().messages[0], 0)],
            Counted { count: 3, last: -4, addresses: 2 },
        ));
        stored.due_ms = Some(1_584_802_202_655);
        let read = Stored::read(&stored.write(&key, 0)).unwrap();
        stored.version += 1;
        assert_eq!(read, stored);
    }
}
