//! What it costs to find a device by a part of its name: one Query of each index, never a Scan.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::BTreeMap;

use probegram::embedded::Embedded;
use probegram::template::Template;
use probegram_tests::named_devices::{self, NOW_MS, label, mac};
use probegram_tests::scheduled_table::{Fate, ScheduledTable};
use state::names::View;
use state::search::{self, Found};
use tokio::task::LocalSet;

const DEVICES: u32 = 2_000;

/// Searches, and counts the requests by operation and index: those that go on with a page are not counted anew.
async fn search(table: &ScheduledTable, asked: &'static str) -> (Found, BTreeMap<String, usize>) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut requests: BTreeMap<String, usize> = BTreeMap::new();
    let scheduled = table.scheduled();
    let local = LocalSet::new();
    let found = local
        .run_until(async {
            let mut searching = tokio::task::spawn_local(async move {
                search::search(&scheduled, 1, View::Chat(7), asked, NOW_MS).await.unwrap()
            });
            loop {
                tokio::select! {
                    biased;
                    found = &mut searching => return found.unwrap(),
                    () = tokio::task::yield_now() => {}
                }
                while table.waiting() > 0 {
                    let (operation, body) = table.peek(0);
                    if body.get("ExclusiveStartKey").is_none_or(serde_json::Value::is_null) {
                        let index = body["IndexName"].as_str().unwrap_or("table");
                        *requests.entry(format!("{operation} {index}")).or_default() += 1;
                    }
                    table.release(0, Fate::Answered, &mut random);
                }
            }
        })
        .await;
    (found, requests)
}

#[tokio::test]
async fn a_part_of_a_name_costs_one_query_of_the_names_and_one_a_device_that_is_shown() {
    let table = ScheduledTable::new(Embedded::open(None, &Template::read().unwrap()).unwrap());
    named_devices::name(&table.direct(), DEVICES).await;
    let known = |requests: &[(&str, usize)]| {
        requests.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect::<BTreeMap<_, _>>()
    };

    let (found, requests) = search(&table, "HOST-01234").await;
    assert_eq!(found.partial.len(), 1);
    assert_eq!((found.partial[0].0, found.partial[0].1.best()), (mac(1_234), Some(label(1_234).as_str())));
    assert_eq!(requests, known(&[("Query by_label", 1), ("Query by_mac", 1), ("BatchGetItem table", 1)]));

    let (found, requests) = search(&table, "robin's iphone").await;
    let robins = DEVICES as usize / 200;
    assert_eq!((found.partial.len(), found.more), (robins, 0));
    assert_eq!(
        requests,
        known(&[("Query by_label", 1), ("Query by_mac", robins), ("BatchGetItem table", 1)])
    );

    let (found, requests) = search(&table, "host").await;
    assert_eq!((found.partial.len(), found.more), (search::MAX_FOUND, DEVICES as usize - search::MAX_FOUND));
    assert_eq!(requests["Query by_mac"], search::MAX_FOUND, "no more than are shown");

    let (found, requests) = search(&table, "Robbin's Lapptop 20").await;
    assert_eq!(found.nearest[0].0, mac(20));
    assert_eq!(requests, known(&[("Query by_label", 1), ("Query by_mac", 3), ("BatchGetItem table", 1)]));

    let (found, requests) = search(&table, "e7:00:04:D2").await;
    assert_eq!(found.partial.iter().map(|(mac, _)| *mac).collect::<Vec<_>>(), [mac(1_234)]);
    let of_address = known(&[
        ("Query by_label", 1),
        ("Query by_day", 2), // today's devices and yesterday's
        ("Query by_mac", 1),
        ("BatchGetItem table", 1),
    ]);
    assert_eq!(requests, of_address);
}
