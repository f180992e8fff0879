//! Forgetting a device: a mark that every fold and every reader consults by event time, and the deletion of what is there.
//!
//! The mark comes first. A fold that began before it may still put an item back; such an item holds events before the mark
//! only, so readers pass over it, the next fold starts it anew, and forgetting again sweeps it away. The mark stays for
//! ever: a rebuild reads old records again and must not bring the device back.

use std::collections::HashMap;

use domain::{EventTime, Mac};

use crate::error::Error;
use crate::item::{self, Item as _};
use crate::key::{self, Key};
use crate::table::{Backoff, Expect, Put, Table};

const BEFORE: &str = "before";

/// Forgets what was heard of a device before a time (milliseconds since 1970), in the given generations: events before it
/// count no more, and its items are deleted. Returns how many were.
///
/// The time has to be later than the moment at which the mark is written: some seconds from now. Then a fold that did not know
/// the mark holds only events before it, and the item it wrote can go as a whole.
///
/// # Errors
/// When the table does not answer. Forgetting again goes on where this stopped.
pub async fn forget(table: &Table, mac: Mac, before: EventTime, generations: &[u32]) -> Result<usize, Error> {
    set_mark(table, mac, before).await?;
    let mut deleted = 0;
    for generation in generations {
        for item in table.query(&key::device(*generation, mac), " ").await? {
            let key = Key { pk: item.text("pk")?.to_owned(), sk: item.text("sk")?.to_owned() };
            // An item that begins after the mark was made by a fold that knew the mark: it stays.
            deleted += usize::from(table.delete_below(&key, "first", before).await?);
        }
    }
    Ok(deleted)
}

/// The time before which a device is forgotten; the least there is when it never was.
///
/// # Errors
/// When the table does not answer.
pub async fn mark(table: &Table, mac: Mac) -> Result<EventTime, Error> {
    let item = table.get(&key::forget(mac)).await?;
    item.map_or(Ok(EventTime::MIN), |item| item.number(BEFORE))
}

/// The marks of those devices that have one.
pub(crate) async fn marks(table: &Table, devices: &[Mac]) -> Result<HashMap<Mac, EventTime>, Error> {
    let keys: Vec<Key> = devices.iter().map(|mac| key::forget(*mac)).collect();
    let mut items = table.batch_get(&keys.iter().collect::<Vec<_>>(), true).await?;
    devices
        .iter()
        .zip(&keys)
        .filter_map(|(mac, key)| items.remove(key).map(|item| Ok((*mac, item.number(BEFORE)?))))
        .collect()
}

/// The mark only ever moves forward.
async fn set_mark(table: &Table, mac: Mac, before: EventTime) -> Result<(), Error> {
    let key = key::forget(mac);
    let mut current = table.get(&key).await?;
    let mut pause = Backoff::default();
    loop {
        let expect = match &current {
            None => Expect::Nothing,
            Some(item) if item.number::<EventTime>(BEFORE)? >= before => return Ok(()),
            Some(item) => Expect::Number(BEFORE, item.number(BEFORE)?),
        };
        let mut item = item::with_key(&key);
        item.put(BEFORE, item::number(before));
        match table.put(item, &expect).await? {
            Put::Written => return Ok(()),
            Put::Refused(actual) => current = actual,
        }
        if !pause.wait().await {
            return Err(Error::Contended { pk: key.pk, sk: key.sk, attempts: Backoff::ATTEMPTS });
        }
    }
}
