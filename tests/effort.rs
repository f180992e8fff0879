//! What a batch costs: one write for each item that it touches, and none when it was absorbed before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::BTreeSet;

use domain::{Day, Mac, Ssid, SsidElement};
use probegram::embedded::Embedded;
use probegram::event_source::{Batch, LogRecord, TimestampType};
use probegram::template::Template;
use probegram_tests::local::{encoded, probe};
use state::tallies::Retention;

const NOW_MS: i64 = 1_795_000_000_000;

#[tokio::test]
async fn a_batch_costs_one_write_an_item_and_nothing_when_it_comes_again() {
    let template = Template::read().unwrap();
    let mapping = template.mapping("AggregateBlueMapping").unwrap();
    let context = aggregate::Context {
        table: Embedded::open(None, &template).unwrap().table(),
        group: "aggregate".to_owned(),
        generation: 1,
        retention: Retention::in_days(400, None),
        now_ms: || NOW_MS,
    };
    let mut random = fastrand::Rng::with_seed(11);
    let mut next = 0;
    for _batch in 0..3 {
        let mut batch = Batch::new("pcap", 0, next);
        let mut touched = BTreeSet::new();
        for offset in next..next + 500 {
            let mac = Mac::new([0xa4, 0x83, 0xe7, 0, 0, random.u8(..40)]);
            let name = random.u8(b'a'..b'f');
            let time = NOW_MS - random.i64(0..3 * 24 * 60 * 60 * 1000);
            touched.insert((mac, "device".to_owned()));
            touched.insert((mac, Day::of(time).to_string()));
            touched.insert((mac, format!("SSID {name}")));
            let ssid = SsidElement::Named(Ssid::new(vec![name]).unwrap());
            let record = LogRecord {
                offset,
                timestamp: NOW_MS,
                timestamp_type: TimestampType::CreateTime,
                key: None,
                value: Some(encoded(&probe(mac, time, ssid))),
                headers: Vec::new(),
            };
            batch.take(record, &mapping).unwrap();
        }
        next = batch.next();
        let event = batch.event().unwrap();
        let first = aggregate::handle(&event, &context).await.unwrap();
        assert_eq!(first.effort.writes, touched.len() as u64);
        assert_eq!(first.effort.refusals, 0);
        let again = aggregate::handle(&event, &context).await.unwrap();
        assert_eq!((again.effort.writes, again.effort.refusals), (0, 0));
    }
}
