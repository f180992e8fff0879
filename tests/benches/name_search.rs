//! How long a part of a name takes among 20,000 devices, in the embedded table of the release-like dev build: DynamoDB reads the
//! same entries, 1 MB a page.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)] // a benchmark's way to fail and to tell

use std::time::Instant;

use probegram::embedded::Embedded;
use probegram::template::Template;
use probegram_tests::named_devices::{self, NOW_MS};
use state::names::View;
use state::search::search;

const DEVICES: u32 = 20_000;
const RUNS: usize = 21;

fn main() {
    // cargo test runs benchmarks too, without this
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let table = Embedded::open(None, &Template::read().unwrap()).unwrap().table();
        named_devices::name(&table, DEVICES).await;
        let article = "no name has that in it, ".repeat(40);
        for (what, asked) in [
            ("one hit", "host-01234"),
            ("100 hits, the first 50 by name", "robin's iphone"),
            ("every name, the first 50", "host"),
            ("a part of an address", "e7:00:04:d2"),
            ("none, the nearest names", "Robbin's Lapptop 20"),
            ("an article that somebody forwards", &article),
        ] {
            let mut took = Vec::new();
            let mut hits = 0;
            for _ in 0..RUNS {
                let began = Instant::now();
                let found = search(&table, 1, View::Chat(7), asked, NOW_MS).await.unwrap();
                took.push(began.elapsed());
                hits = found.exact.len() + found.partial.len() + found.more;
            }
            took.sort_unstable();
            let ms = |at: usize| took[at].as_secs_f64() * 1e3;
            println!(
                "{what} ({asked:.24}): {hits} of {DEVICES} devices, p50 {:.0} ms, worst of {RUNS} {:.0} ms",
                ms(RUNS / 2),
                ms(RUNS - 1)
            );
        }
    });
}
