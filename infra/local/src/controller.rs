//! Sample data: what the UniFi controller of the made-up household knows of its devices, as Debezium tells it.

use std::collections::BTreeMap;

use domain::{Collection, Mac};
use serde_json::{Value, json};

use crate::event_source::{Batch, EventSource, LogRecord, TimestampType};
use crate::household::{LAPTOP, PRINTER, SPEAKER, VACUUM};
use crate::shutdown::Shutdown;
use crate::unifi_record;

/// The speaker that one hears, as it is called at first.
pub const SPEAKER_NAME: &str = "Kitchen speaker";

/// One that is switched off.
const SILENT_SPEAKER: Mac = Mac::new([0x40, 0xb4, 0xcd, 0x11, 0x22, 0x33]);
const CLIENTS: [(Mac, &str, &str); 5] = [
    (LAPTOP, "Robin's laptop", "robins-macbook"),
    (SPEAKER, SPEAKER_NAME, ""),
    (SILENT_SPEAKER, "Bedroom speaker", ""),
    (PRINTER, "", "BRN001BA90D517E"),
    (VACUUM, "Vacuum cleaner", ""),
];

/// The controller, and what its changes go to.
#[derive(Debug)]
pub struct Controller {
    /// The function `materialize`, as topic `unifi.ace.user` feeds it.
    source: EventSource,
    next: i64,
}

impl Controller {
    /// A controller whose changes go to a function.
    #[must_use]
    pub const fn new(source: EventSource) -> Self {
        Self { source, next: 0 }
    }

    /// Tells of all devices, as a connector's snapshot does. Returns how many.
    pub async fn snapshot(&mut self, now_ms: i64, shutdown: &Shutdown) -> usize {
        let record = |(mac, name, hostname): (Mac, &str, &str)| {
            (mac, unifi_record::snapshot(Collection::Client, &after(mac, name, hostname), now_ms))
        };
        self.tell(CLIENTS.into_iter().map(record).collect(), now_ms, shutdown).await;
        CLIENTS.len()
    }

    /// Somebody gives the speaker another name.
    pub async fn rename_speaker(&mut self, name: &str, now_ms: i64, shutdown: &Shutdown) {
        let record = unifi_record::update(Collection::Client, &after(SPEAKER, name, ""), now_ms);
        self.tell(vec![(SPEAKER, record)], now_ms, shutdown).await;
    }

    async fn tell(&mut self, records: Vec<(Mac, String)>, now_ms: i64, shutdown: &Shutdown) {
        let mut batch = Batch::new(&self.source.mapping.topic, 0, self.next);
        for (mac, value) in records {
            let record = LogRecord {
                offset: batch.next(),
                timestamp: now_ms,
                timestamp_type: TimestampType::CreateTime,
                key: Some(unifi_record::key(&Value::String(mac.to_string())).into_bytes()),
                value: Some(value.into_bytes()),
                headers: Vec::new(),
            };
            if batch.take(record, &self.source.mapping).is_err() {
                tracing::error!("the household has more devices than a batch takes");
            }
        }
        self.next = batch.next();
        self.source.deliver(&batch, shutdown).await;
    }
}

/// A document of `ace.user`; its address is its `_id`.
fn after(mac: Mac, name: &str, hostname: &str) -> String {
    let fields = BTreeMap::from([
        ("mac", json!(mac.to_string())),
        ("name", json!(name)),
        ("hostname", json!(hostname)),
        ("is_guest", json!(false)),
    ]);
    unifi_record::after(&Value::String(mac.to_string()), &fields)
}
