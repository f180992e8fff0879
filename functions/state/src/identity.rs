//! Who this table is: an id made once, so that a consumer group that read for another table is never taken for ours.

use crate::error::Error;
use crate::item::{self, Item as _};
use crate::key;
use crate::table::{Expect, Put, Table};

/// The table's id, made now if it has none: 12 letters and digits.
///
/// # Errors
/// When the table does not answer.
pub async fn of(table: &Table) -> Result<String, Error> {
    let key = key::identity();
    if let Some(item) = table.get(&key).await? {
        return item.text("id").map(str::to_owned);
    }
    let id: String =
        std::iter::repeat_with(fastrand::alphanumeric).take(12).collect::<String>().to_lowercase();
    let mut item = item::with_key(&key);
    item.put("id", item::text(&id));
    match table.put(item, &Expect::Nothing).await? {
        Put::Written => Ok(id),
        Put::Refused(Some(other)) => other.text("id").map(str::to_owned),
        Put::Refused(None) => Err(Error::Contended { pk: key.pk, sk: key.sk, attempts: 1 }),
    }
}
