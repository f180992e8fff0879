//! What the watchdog remembers from round to round, of each sensor and of the way from Kafka into the table.
//!
//! An item is guarded by its version: of two rounds that overlap one alone goes on with it. That something is to be told stands in it
//! before any message is made, and that it was told after all are: whoever dies between has the next round make them again, and a
//! message that was made already is refused by its id.

use domain::watchdog::Memory;

use crate::Table;
use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::key;
use crate::table::{Expect, Put};

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A sensor by its name.
    Sensor(String),
    /// The way from Kafka into the table.
    Way,
}

/// What is remembered of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// What is watched.
    pub subject: Subject,
    /// What is remembered of it.
    pub memory: Memory,
    /// Counts the writes of the item: its guard. 0 before the first.
    version: i64,
}

impl Remembered {
    /// Nothing yet.
    #[must_use]
    pub fn nothing(subject: Subject) -> Self {
        Self { subject, memory: Memory::default(), version: 0 }
    }

    /// Writes it. Whether nobody else has written it meanwhile: then what is remembered is another's, and nothing was written.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn write(&mut self, table: &Table) -> Result<bool, Error> {
        let mut item = item::with_key(&key::watchdog(&self.subject));
        let version = self.version.saturating_add(1);
        item.put("version", item::number(version));
        item.put("memory", item::text(self.memory.encode()));
        let expect = match self.version {
            0 => Expect::Nothing,
            version => Expect::Number("version", version),
        };
        match table.put(item, &expect).await? {
            Put::Written => {
                self.version = version;
                Ok(true)
            }
            Put::Refused(_) => Ok(false),
        }
    }

    /// Forgets it, if nobody else has written it meanwhile.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn forget(&self, table: &Table) -> Result<bool, Error> {
        let limit = self.version.saturating_add(1);
        table.delete_below(&key::watchdog(&self.subject), "version", limit).await
    }

    fn read(item: &Attributes) -> Result<Self, Error> {
        let subject = key::subject_of(item.text("sk")?).ok_or_else(|| item.unreadable("sk"))?;
        // A watchdog that cannot remember must go on all the same.
        let memory = Memory::decode(item.text("memory")?).unwrap_or_else(|error| {
            tracing::error!(%error, ?subject, "what the watchdog remembers cannot be read, and is forgotten");
            Memory::default()
        });
        Ok(Self { subject, memory, version: item.number("version")? })
    }
}

/// All that is remembered, as of now.
///
/// # Errors
/// When the table does not answer.
pub async fn all(table: &Table) -> Result<Vec<Remembered>, Error> {
    table.query(key::WATCHDOG, " ").await?.iter().map(Remembered::read).collect()
}
