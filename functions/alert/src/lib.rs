//! The function `alert`: tells chats, and outgoing webhooks, of devices that look for watched networks. What the seed did with a
//! push query over a join of stream and table, and a loop around it.
//!
//! It is fed by topic `pcap` with short windows, and called every minute for what is due, which is also when the watchdog looks at the
//! sensors.

pub mod error;
pub mod event_source_mappings;
pub mod handler;
mod sighted;
mod watch_list;
pub mod watchdog;

pub use error::Error;
pub use event_source_mappings::EventSourceMappings;
pub use handler::{Context, Report, handle};
pub use watchdog::Watchdog;
