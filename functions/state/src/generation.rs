//! Which generation of the tallies serves. A rebuild writes the next one beside it and then flips the pointer.

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
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

    /// The number of the serving generation as of now, for the cache too.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn refresh(&self) -> Result<u32, Error> {
        let generation = serving(&self.table).await?;
        *self.cached.lock().await = Some((tokio::time::Instant::now(), generation));
        Ok(generation)
    }
}

/// Which generations there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    /// The one that answers are read from.
    pub serving: u32,
    /// The one that served before it, if any did.
    pub before: Option<u32>,
    /// The greatest that has ever served.
    highest: u32,
}

impl Pointer {
    /// The generation that a rebuild writes. One that has served is never begun anew, also if another serves again: its group has
    /// written it, and that group goes on with it when it serves again. One that was begun and never served is this one again.
    #[must_use]
    pub const fn next(&self) -> u32 {
        self.highest.saturating_add(1)
    }
}

/// Which generations there are as of now.
///
/// # Errors
/// When the table does not answer.
pub async fn pointer(table: &Table) -> Result<Pointer, Error> {
    read(table.get(&key::generation()).await?.as_ref())
}

fn read(item: Option<&Attributes>) -> Result<Pointer, Error> {
    let Some(item) = item else {
        return Ok(Pointer { serving: Generation::FIRST, before: None, highest: Generation::FIRST });
    };
    let serving = item.number("serving")?;
    let highest = item.optional_number("highest")?.unwrap_or(serving);
    Ok(Pointer { serving, before: item.optional_number("before")?, highest })
}

/// The number of the serving generation as of now.
///
/// # Errors
/// When the table does not answer.
pub async fn serving(table: &Table) -> Result<u32, Error> {
    Ok(pointer(table).await?.serving)
}

/// Lets another generation serve, if `from` still does. `false` when somebody else has flipped it.
///
/// # Errors
/// When the table does not answer.
pub async fn flip(table: &Table, from: u32, to: u32) -> Result<bool, Error> {
    let old = table.get(&key::generation()).await?;
    let mut item = item::with_key(&key::generation());
    item.put("serving", item::number(to));
    item.put("before", item::number(from));
    item.put("highest", item::number(read(old.as_ref())?.highest.max(to)));
    let expect = match old {
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
