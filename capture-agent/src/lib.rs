//! The agent on the sensor: radio or file, 802.11, spool, topic.

pub mod agent;
pub mod capture_file;
pub mod cli;
pub mod drain;
pub mod import;
pub mod in_flight;
pub mod input;
pub mod live;
pub mod output;
pub mod producer;
pub mod recorder;
pub mod spool;
pub mod spool_writer;
pub mod stderr;
