//! The table: its keys, the guarded merge, and the questions one can ask it. The only crate that names aws-sdk-dynamodb.
//!
//! Everything lies in one table (`pk`, `sk`). Nothing in it is ever incremented: each item says which records of which
//! source it has absorbed, so a record that is delivered again is told apart (see [`merge`]).

pub mod chats;
pub mod codes;
pub mod comparison;
pub mod device;
pub mod documents;
pub mod episodes;
pub mod error;
pub mod export;
mod folded;
pub mod forget;
pub mod generation;
pub mod hooks;
pub mod identity;
mod item;
pub mod key;
pub mod merge;
pub mod messages;
pub mod names;
pub mod outbox;
pub mod progress;
pub mod quarantine;
mod random;
pub mod recent;
pub mod search;
pub mod sensors;
pub mod source;
pub mod ssid;
pub mod table;
pub mod tallies;
pub mod updates;
pub mod watchdog;
pub mod watches;

pub use error::Error;
pub use generation::Generation;
pub use source::Source;
pub use table::Table;
