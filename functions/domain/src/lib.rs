//! The vocabulary of Probegram, pure: bytes in, values out. No I/O, no AWS, no async runtime.
//!
//! * What the air says: [`link_layer`] finds the 802.11 frame in what a capture holds, `probe_request` reads it.
//! * What the topic says: [`record`] turns a [`Probe`] into a record of topic `pcap` and back, in every form it has had.
//! * What topic `sensors` says: [`heartbeat`]; what is wrong then, and when it is told: [`watchdog`].
//! * What we keep: [`tally`], a commutative monoid over probes.
//! * What somebody wants to hear of: [`watch`], and when it is told: [`episode`].

mod avs;
pub mod document;
pub mod document_record;
pub mod episode;
pub mod event_time;
mod fingerprint;
pub mod heartbeat;
pub mod link_layer;
pub mod list_record;
pub mod mac;
pub mod odd_numbers;
pub mod plain_json;
mod ppi;
mod prism;
pub mod probe;
mod probe_request;
mod radiotap;
pub mod record;
pub mod schema_registry;
pub mod ssid;
pub mod tally;
pub mod vendor;
pub mod watch;
pub mod watchdog;

pub use document::{Collection, Document};
pub use episode::{Episode, Sighting, Who};
pub use event_time::{Day, EventTime};
pub use heartbeat::Heartbeat;
pub use mac::Mac;
pub use probe::{Probe, SsidElement};
pub use ssid::Ssid;
pub use watch::{Origin, Pattern, Watch, WatchId};
