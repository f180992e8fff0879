//! The agent on the sensor: radio or file, 802.11, spool, topic.

pub mod capture_file;
pub mod cli;
pub mod input;
pub mod output;
pub mod recorder;
pub mod spool;
pub mod stderr;
