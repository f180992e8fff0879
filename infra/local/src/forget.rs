//! `probegram forget`: forgets what was heard of a device up to now, wherever it stands in the table.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use domain::Mac;
use state::export::{self, Exported};
use state::{Table, forget, generation};

use crate::cli::Forget;
use crate::said::say;
use crate::table_socket;
use crate::template::Template;

/// The mark lies so far in the future: a fold that began before it was written holds only events before it (functions/state/src/forget.rs).
const MARK_AHEAD_MS: i64 = 5_000;
/// What is about one device alone, and goes with it as a whole. Its counts go by their times, as the mark says.
const GOES: [&str; 4] = ["name", "episode", "message", "quarantine"];

/// Forgets devices.
///
/// # Errors
/// When the table does not answer. Typing it again goes on where it stopped.
pub async fn run(options: Forget) -> anyhow::Result<ExitCode> {
    let opened = table_socket::open(&options.which, &Template::read()?).await?;
    let table = &opened.table;
    let found = find(table, &options.devices).await?;
    for mac in &options.devices {
        say(&format!("{mac}: {}\n", counted(found.iter().filter(|item| item.mentions(*mac)))))?;
    }
    if !options.yes && !is_wanted()? {
        say("Nothing was changed.\n")?;
        return Ok(ExitCode::FAILURE);
    }
    let before = runtime::clock::now_ms().saturating_add(MARK_AHEAD_MS);
    let pointer = generation::pointer(table).await?;
    let generations: Vec<u32> = (1..=pointer.next()).collect();
    for mac in &options.devices {
        forget::forget(table, *mac, before, &generations).await?;
    }
    for item in
        found.iter().filter(|item| GOES.contains(&item.kind) && !is_for_others_too(item, &options.devices))
    {
        export::delete(table, &item.key).await?;
    }
    // What a fold that overlapped has put back holds only events before the mark: when that is past, it can go as well.
    let wait = before.saturating_sub(runtime::clock::now_ms());
    tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0))).await;
    for mac in &options.devices {
        forget::forget(table, *mac, before, &generations).await?;
    }
    let left = find(table, &options.devices).await?;
    for mac in &options.devices {
        say(&format!(
            "{mac} is forgotten: what was heard of it before now counts no more, in no rebuild either.\n"
        ))?;
    }
    let stays = left.iter().filter(|item| item.kind != "forgotten");
    if stays.clone().next().is_some() {
        say(&format!("Still there: {}\n", counted(stays.clone())))?;
    }
    if stays.clone().any(|item| item.kind == "message") {
        say(
            "An alert about random addresses is not sent yet: type this again when it is, and it goes too.\n",
        )?;
    }
    if stays.clone().any(|item| item.kind == "document") {
        say("Its name comes from the UniFi controller: delete it there.\n")?;
    }
    if stays.clone().any(|item| item.kind == "chat") {
        say("Chats that ignore or mute it still know its address: /settings there.\n")?;
    }
    say(
        "Topic pcap holds its records until their retention is over, and the table's backups for 35 days.\n",
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Whether it is an alert that is not told yet and speaks for all random addresses that pass by, of which this one was the first.
fn is_for_others_too(item: &Exported, devices: &[Mac]) -> bool {
    let is_pending = item.attributes.get("state") == Some(&export::Value::Text("pending".to_owned()));
    let random = devices.iter().filter(|mac| mac.is_locally_administered());
    item.kind == "message" && is_pending && random.into_iter().any(|mac| item.mentions(*mac))
}

/// All items in which one of the devices stands.
async fn find(table: &Table, devices: &[Mac]) -> anyhow::Result<Vec<Exported>> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let (items, next) = export::page(table, after.as_ref()).await?;
        found.extend(items.into_iter().filter(|item| devices.iter().any(|mac| item.mentions(*mac))));
        after = next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// How many items of each kind.
fn counted<'a>(items: impl Iterator<Item = &'a Exported>) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for item in items {
        *kinds.entry(item.kind).or_default() += 1;
    }
    if kinds.is_empty() {
        return "nothing in the table".to_owned();
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
    kinds.join(", ")
}

/// Asks the person at the terminal.
fn is_wanted() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("forgetting cannot be undone: say --yes");
    }
    say("This cannot be undone. Forget it? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
