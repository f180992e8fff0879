//! `probegram unifi-import`: names of devices from exports of a UniFi controller whose MongoDB runs alone, and so has no change stream.
//!
//! An import is to the topics and to the table what the snapshot of a connector is. All files are read before anything is written.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use domain::document_record::{Change, DocumentId, DocumentRecord};
use domain::{Collection, Document, Mac};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rdkafka::config::ClientConfig;
use state::documents::{self, Told};
use state::progress::{Place, Tracker};
use state::{Source, Table};
use telegram::limit;

use crate::cli::UnifiImport;
use crate::host::kafka_config;
use crate::said::say;
use crate::template::Template;
use crate::unifi_document::Exported;
use crate::unifi_topic::{NewRecord, Topic};
use crate::{table_socket, unifi_export, unifi_record};

/// In a source's name: not a topic, whose lives begin with 1, but files that were imported under its name.
const OF_FILES: u32 = 0;
/// Whose progress tells the number of the last import.
const GROUP: &str = "unifi-import";
/// So many documents go into the table at once.
const BATCH: usize = 1_000;
/// Fewer documents are written before anybody could see the progress.
const FEW: usize = 3_000;
/// The most UTF-16 code units that are shown of a name.
const MAX_SHOWN_UNITS: usize = 200;
const COLLECTIONS: [Collection; 2] = [Collection::Client, Collection::Device];

/// Imports the files.
///
/// # Errors
/// When a file cannot be read to its end, none has a device in it, or the table or Kafka does not take them.
pub async fn run(options: UnifiImport) -> anyhow::Result<()> {
    let (import, summary) = Import::read(&options)?;
    if options.dry_run {
        say(&import.list())?;
        // whoever has closed standard error does not want to know
        drop(writeln!(std::io::stderr(), "{summary}{}. Nothing was written.", import.in_words()));
        return Ok(());
    }
    say(&summary)?;
    let outcome = match &options.bootstrap_servers {
        Some(servers) => {
            let config = kafka_config(servers, options.kafka_config.as_deref())?;
            let servers = servers.clone();
            tokio::task::spawn_blocking(move || import.into_kafka(&options, &config, &servers)).await??
        }
        None => import.into_table(&options).await?,
    };
    say(&outcome)
}

/// What is imported.
struct Import {
    /// Each document once, as it was found last.
    documents: Vec<Exported>,
}

impl Import {
    /// Reads all files. The text says what is in each.
    fn read(options: &UnifiImport) -> anyhow::Result<(Self, String)> {
        let asked = options.collection.map(Collection::from);
        let mut documents: Vec<Exported> = Vec::new();
        let mut places: HashMap<(Collection, DocumentId), usize> = HashMap::new();
        let mut summary = String::new();
        for (path, collection) in files(&options.files)? {
            let export = unifi_export::read(&path, asked.or(collection))?;
            let of = |collection| {
                export.documents.iter().filter(|document| document.collection == collection).count()
            };
            let (clients, devices) = (of(Collection::Client), of(Collection::Device));
            write!(
                summary,
                "{}: {} and {}",
                path.display(),
                plural(clients, "client"),
                plural(devices, "device")
            )?;
            if export.left_out > 0 {
                write!(
                    summary,
                    "; {} left out, without a MAC address or with an _id that is too long",
                    HumanCount(export.left_out)
                )?;
            }
            summary.push('\n');
            for document in export.documents {
                // of one that stands twice the later counts
                let place = places
                    .entry((document.collection, document.record.id.clone()))
                    .or_insert(documents.len());
                match documents.get_mut(*place) {
                    Some(known) => *known = document,
                    None => documents.push(document),
                }
            }
        }
        ensure!(
            !documents.is_empty(),
            "there is no device to import: {}",
            summary.trim_end().replace('\n', ", ")
        );
        Ok((Self { documents }, summary))
    }

    fn of(&self, collection: Collection) -> impl Iterator<Item = &Exported> {
        self.documents.iter().filter(move |document| document.collection == collection)
    }

    fn ids(&self, collection: Collection) -> BTreeSet<&str> {
        self.of(collection).map(|document| document.record.id.as_str()).collect()
    }

    /// Every device, an address and what it is called a line.
    fn list(&self) -> String {
        let mut text = String::new();
        for document in &self.documents {
            if let Some((mac, label)) = named(document) {
                text += &format!("{mac} {}\n", label.as_deref().map_or("(no name)".to_owned(), shown));
            }
        }
        text
    }

    /// How many devices it has, and how many of them have a name.
    fn in_words(&self) -> String {
        let mut parts = Vec::new();
        for (collection, what) in [(Collection::Client, "client"), (Collection::Device, "device")] {
            let all = self.of(collection).count();
            let nameless = self.of(collection).filter(|document| label(document).is_none()).count();
            if all > 0 {
                let nameless = if nameless > 0 {
                    format!(" ({} without a name)", HumanCount(nameless as u64))
                } else {
                    String::new()
                };
                parts.push(format!("{}{nameless}", plural(all, what)));
            }
        }
        parts.join(" and ")
    }

    /// A name by which to ask.
    fn example(&self) -> Option<String> {
        self.documents.iter().find_map(label).map(|label| shown(&label))
    }

    /// Into the table. The text says what was done.
    async fn into_table(self, options: &UnifiImport) -> anyhow::Result<String> {
        let opened = table_socket::open(&options.which, &Template::read()?).await?;
        let progress = progress(self.documents.len());
        let (mut gone, mut staying) = (0, 0);
        for collection in COLLECTIONS {
            let told = self.of(collection).map(|document| document.record.clone()).collect::<Vec<_>>();
            if told.is_empty() {
                continue;
            }
            let topic = topic(options, collection);
            absorb(&opened.table, topic, collection, told, &progress).await?;
            let ids = self.ids(collection);
            let mut missing = documents::living_ids(&opened.table, topic).await?;
            missing.retain(|id| !ids.contains(id.as_str()));
            if options.remove_missing {
                gone += missing.len();
                let deleted = |id| DocumentRecord { id, order: None, change: Change::Deleted };
                let told = missing.into_iter().map(deleted).collect();
                absorb(&opened.table, topic, collection, told, &ProgressBar::hidden()).await?;
            } else {
                staying += missing.len();
            }
        }
        progress.finish_and_clear();
        let place = match &options.which.dynamodb_endpoint {
            Some(endpoint) => format!("table {} at {endpoint}", options.which.table),
            None => format!("the table in {}", options.which.data()?.display()),
        };
        let mut text = format!("Imported {} into {place}.\n", self.in_words());
        match (options.remove_missing, staying) {
            (true, _) => {
                writeln!(text, "Took away {} that this export does not name.", HumanCount(gone as u64))?
            }
            (false, 0) => {}
            (false, 1) => text += "1 that this export does not name stays; --remove-missing takes it away.\n",
            (false, _) => writeln!(
                text,
                "{} that this export does not name stay; --remove-missing takes them away.",
                HumanCount(staying as u64)
            )?,
        }
        if let Some(example) = self.example() {
            writeln!(text, "Ask the bot for one by its name: {example}")?;
        }
        Ok(text)
    }

    /// To Kafka. The text says what was done.
    fn into_kafka(
        self,
        options: &UnifiImport,
        config: &ClientConfig,
        servers: &str,
    ) -> anyhow::Result<String> {
        let now_ms = runtime::clock::now_ms();
        let mut writes = Vec::new();
        let (mut gone, mut unreadable) = (0_u64, 0);
        // each topic is there, and read, before anything is written to one
        for collection in COLLECTIONS {
            let mut records: Vec<NewRecord> = self
                .of(collection)
                .map(|document| NewRecord {
                    key: document.key.clone().into_bytes(),
                    value: Some(unifi_record::snapshot(collection, &document.after, now_ms)),
                    partition: None,
                })
                .collect();
            if records.is_empty() {
                continue;
            }
            let topic = Topic::new(config, servers, topic(options, collection));
            topic.check()?;
            if options.remove_missing {
                let ids = self.ids(collection);
                let known = topic.documents()?;
                unreadable += known.unreadable;
                for (_, whereabouts) in known.living().filter(|(id, _)| !ids.contains(id.as_str())) {
                    gone += 1;
                    for place in whereabouts {
                        // a tombstone alone: a deletion by Debezium says when MongoDB did it, which nobody knows here
                        records.push(NewRecord {
                            key: place.key.clone(),
                            value: None,
                            partition: Some(place.partition),
                        });
                    }
                }
            }
            writes.push((topic, records));
        }
        for (topic, records) in &writes {
            let progress = progress(records.len());
            let written = topic.write(records, &progress);
            progress.finish_and_clear();
            written?;
        }
        let names: Vec<&str> = writes.iter().map(|(topic, _)| topic.name()).collect();
        let plural = if names.len() == 1 { "" } else { "s" };
        let mut text =
            format!("Imported {} to topic{plural} {} at {servers}.\n", self.in_words(), names.join(" and "));
        if options.remove_missing {
            writeln!(text, "Took away {} that this export does not name.", HumanCount(gone))?;
        }
        if unreadable > 0 {
            writeln!(text, "Passed over {} records there that cannot be read.", HumanCount(unreadable))?;
        }
        if let Some(example) = self.example() {
            writeln!(
                text,
                "When `materialize`, or `probegram local` with these brokers, has read it, ask the bot for one by its name: {example}"
            )?;
        }
        Ok(text)
    }
}

/// Brings the table up to date with documents, each of which stands there once.
///
/// Offsets have to grow from one import to the next, and an import has each document once: so all have the time in milliseconds, or
/// the next number after the last import if the clock was set back since.
async fn absorb(
    table: &Table,
    topic: &str,
    collection: Collection,
    records: Vec<DocumentRecord>,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let source = Source { topic: topic.to_owned(), life: OF_FILES, partition: 0 };
    let now_ms = runtime::clock::now_ms();
    let tracker = Tracker::new(table, GROUP, topic, source.partition);
    let before = tracker.read().await?;
    let offset = now_ms.max(before.through + 1);
    let told: Vec<Told> =
        records.into_iter().map(|record| Told { offset, timestamp: now_ms, record }).collect();
    for batch in told.chunks(BATCH) {
        documents::absorb(table, &source, collection, batch, now_ms).await?;
        progress.inc(batch.len() as u64);
    }
    tracker.advance(before, &[Place { offset, timestamp: now_ms }]).await?;
    Ok(())
}

/// The files that are meant, with the collection where a name says it: mongodump names files after collections.
fn files(named: &[PathBuf]) -> anyhow::Result<Vec<(PathBuf, Option<Collection>)>> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push((path.clone(), None));
            continue;
        }
        let inner = path.join("ace");
        let directory = if inner.is_dir() { &inner } else { path };
        let found: Vec<_> =
            COLLECTIONS.into_iter().filter_map(|collection| dumped(directory, collection)).collect();
        if found.is_empty() {
            bail!(
                "there is neither user.bson nor device.bson in {}: name the directory that mongodump made for database ace, or files",
                directory.display()
            );
        }
        files.extend(found);
    }
    Ok(files)
}

fn dumped(directory: &Path, collection: Collection) -> Option<(PathBuf, Option<Collection>)> {
    let names = ["bson", "bson.gz"].map(|ending| directory.join(format!("{}.{ending}", collection.name())));
    names.into_iter().find(|file| file.exists()).map(|file| (file, Some(collection)))
}

fn topic(options: &UnifiImport, collection: Collection) -> &str {
    match collection {
        Collection::Client => &options.topics.clients_topic,
        Collection::Device => &options.topics.devices_topic,
    }
}

fn document(exported: &Exported) -> Option<&Document> {
    match &exported.record.change {
        Change::Snapshot(document) => Some(document),
        _ => None,
    }
}

fn label(exported: &Exported) -> Option<String> {
    document(exported)?.label(exported.collection)
}

fn named(exported: &Exported) -> Option<(Mac, Option<String>)> {
    Some((document(exported)?.mac?, label(exported)))
}

/// A name in a terminal, which it must not steer.
fn shown(name: &str) -> String {
    limit::line(name, MAX_SHOWN_UNITS)
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{} {what}s", HumanCount(count as u64)) }
}

/// A bar on a terminal, if it takes long enough to see one.
fn progress(length: usize) -> ProgressBar {
    if length < FEW {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr_with_hz(4));
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} documents, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}
