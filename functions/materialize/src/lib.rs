//! The function `materialize`: keeps what a topic says as a table, the latest record of each key. What the seed did with
//! `CREATE TABLE` in ksqlDB, for topic `ssid_alert_list`: the watch list.

mod batch;
pub mod error;
pub mod handler;

pub use error::Error;
pub use handler::{Context, Report, handle};
