//! The function `materialize`: keeps what a topic says as a table, the latest record of each key. What the seed did with
//! `CREATE TABLE` in ksqlDB, for the watch list and for the names of devices.

mod batch;
mod documents;
pub mod error;
pub mod handler;
mod sensors;
mod watch_list;

pub use error::Error;
pub use handler::{Context, Report, Topics, handle};
