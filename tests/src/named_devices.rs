//! A table with many devices that have names, as a large office's controller has them.

use domain::document_record::{Change, DocumentRecord};
use domain::{Collection, Document, Mac};
use state::documents::{self, Told};
use state::{Source, Table};

/// When they were named, in milliseconds since 1970.
pub const NOW_MS: i64 = 1_795_000_000_000;
const FIRST: [&str; 20] = [
    "Robin", "Kim", "Sam", "Alex", "Noor", "Jo", "Ada", "Grace", "Linus", "Edsger", "Barbara", "Tony",
    "Donald", "Leslie", "Radia", "Vint", "Tim", "Margaret", "Ken", "Frances",
];
const THINGS: [&str; 10] =
    ["iPhone", "Laptop", "Tablet", "Printer", "Speaker", "TV", "Watch", "Camera", "Plug", "Sensor"];

/// The address of the device with this number.
#[must_use]
pub fn mac(number: u32) -> Mac {
    let [_, a, b, c] = number.to_be_bytes();
    Mac::new([0xa4, 0x83, 0xe7, a, b, c])
}

/// What the device with this number is called: each name once.
#[must_use]
pub fn label(number: u32) -> String {
    let pick = |list: &[&'static str], by: u32| list[by as usize % list.len()];
    format!("{}'s {} {number} (host-{number:05})", pick(&FIRST, number), pick(&THINGS, number / 20))
}

/// Names so many devices.
///
/// # Panics
/// When the table does not answer.
pub async fn name(table: &Table, devices: u32) {
    let source = Source { topic: "unifi.ace.user".to_owned(), life: 1, partition: 0 };
    let numbers: Vec<u32> = (0..devices).collect();
    for batch in numbers.chunks(1_000) {
        let told: Vec<Told> = batch.iter().map(|number| told(*number)).collect();
        documents::absorb(table, &source, Collection::Client, &told, NOW_MS).await.unwrap();
    }
}

fn told(number: u32) -> Told {
    let label = label(number);
    let (name, hostname) = label.split_once(" (").unwrap();
    let document = Document {
        mac: Some(mac(number)),
        name: Some(name.to_owned()),
        hostname: Some(hostname.trim_end_matches(')').to_owned()),
        oui: Some("Apple".to_owned()),
        ..Document::default()
    };
    let record =
        DocumentRecord { id: format!("{number:024x}"), order: None, change: Change::Snapshot(document) };
    Told { offset: number.into(), timestamp: NOW_MS, record }
}
