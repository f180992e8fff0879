//! The function `aggregate`: folds the probe requests of topic `pcap` into tallies. What the seed did with
//! `CREATE TABLE … GROUP BY` in ksqlDB.

mod batch;
pub mod error;
pub mod handler;

pub use error::Error;
pub use handler::{Context, Report, handle};
