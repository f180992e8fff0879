//! Which generation of the tallies serves. A rebuild writes the next one beside it and then flips the pointer.

use crate::error::Error;
use crate::item::{self, Item as _};
use crate::key;
use crate::table::{Expect, Put, Table};

/// The generation that answers are read from, cached: a flip is seen within [`Generation::MAX_AGE`].
#[derive(Debug)]
pub struct Generation {
    table: Table,
    cached: tokio::sync::Mutex<Option<(tokio::time::Instant, u32)>>,
}

impl Generation {
    /// The first generation, which serves until a rebuild has made another.
    pub const FIRST: u32 = 1;
    const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(30);

    /// The serving generation of a table. Nothing is asked yet.
    #[must_use]
    pub fn of(table: Table) -> Self {
        Self { table, cached: tokio::sync::Mutex::new(None) }
    }

    /// The number of the serving generation.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn serving(&self) -> Result<u32, Error> {
        let mut cached = self.cached.lock().await;
        match *cached {
            Some((since, generation)) if since.elapsed() < Self::MAX_AGE => Ok(generation),
            _ => {
                let generation = serving(&self.table).await?;
                *cached = Some((tokio::time::Instant::now(), generation));
                Ok(generation)
            }
        }
    }
}

/// The number of the serving generation as of now.
///
/// # Errors
/// When the table does not answer.
pub async fn serving(table: &Table) -> Result<u32, Error> {
    let item = table.get(&key::generation()).await?;
    item.map_or(Ok(Generation::FIRST), |item| item.number("serving"))
}

/// Lets another generation serve, if `from` still does. `false` when somebody else has flipped it.
///
/// # Errors
/// When the table does not answer.
pub async fn flip(table: &Table, from: u32, to: u32) -> Result<bool, Error> {
    let mut item = item::with_key(&key::generation());
    item.put("serving", item::number(to));
    let expect = match table.get(&key::generation()).await? {
        None if from == Generation::FIRST => Expect::Nothing,
        _ => Expect::Number("serving", from.into()),
    };
    Ok(matches!(table.put(item, &expect).await?, Put::Written))
}

/// The consumer group that writes a generation: each has its own, and the first the plain name.
#[must_use]
pub fn consumer_group(base: &str, generation: u32) -> String {
    if generation == Generation::FIRST { base.to_owned() } else { format!("{base}-{generation}") }
}
