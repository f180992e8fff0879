//! The whole system on one machine: the handlers that Lambda runs, fed with the very JSON that AWS feeds them.
//!
//! ```text
//! spool of the agent ─┐                         ┌─ aggregate ───┐         ┌─ terminal chat
//!                     ├─ event source mappings ─┼─ materialize ─┼─ table ─┼─ bot ─ Telegram by long polling
//! Kafka ──────────────┘                         └─ alert ───────┘         └─ JSON over HTTP
//! ```

#![recursion_limit = "256"] // the types of the SDK's futures nest deeply

pub mod account;
pub mod blue_green;
pub mod changeover;
pub mod cli;
pub mod cluster;
pub mod controller;
pub mod demo;
pub mod directory;
pub mod doctor;
pub mod embedded;
pub mod event_source;
pub mod event_sources;
pub mod export;
pub mod filter;
pub mod forget;
pub mod function;
pub mod host;
pub mod household;
pub mod http_api;
mod intrinsic;
pub mod kafka_source;
pub mod log_extent;
pub mod long_polling;
pub mod owner_code;
pub mod quarantine;
pub mod rebuild;
pub mod remote_table;
mod said;
pub mod short_form;
pub mod shutdown;
pub mod spool_source;
pub mod stack;
pub mod stack_kafka;
pub mod table_socket;
pub mod template;
pub mod terminal;
pub mod topics;
pub mod unifi_document;
pub mod unifi_export;
pub mod unifi_import;
pub mod unifi_record;
pub mod unifi_topic;
pub mod webhook;
