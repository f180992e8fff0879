//! How far are we: which part of each topic is in the table.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use state::{Table, progress};

use crate::error::Error;

/// Where the readers of the log stand. A host that reads the log itself keeps it; on AWS nobody knows it and it stays empty.
#[derive(Debug, Clone, Default)]
pub struct Positions(Arc<RwLock<BTreeMap<(Group, String), Reader>>>);

type Group = String;

/// Where one consumer group stands in one topic.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// Whether the partitions are known yet. A topic that does not exist has none, and is known.
    pub partitions_known: bool,
    /// By partition.
    pub partitions: BTreeMap<i32, Offsets>,
}

/// Where a reader stands in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The offset of the next record to be dealt with: all before it are folded, ignored, filtered or quarantined.
    pub next: i64,
    /// The offset after the newest record.
    pub end: i64,
}

impl Reader {
    fn is_caught_up(&self) -> bool {
        self.partitions_known && self.partitions.values().all(|at| at.next >= at.end)
    }
}

impl Positions {
    /// Changes what is known of a group's reader of a topic.
    pub fn update(&self, group: &str, topic: &str, change: impl FnOnce(&mut Reader)) {
        let mut readers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(readers.entry((group.to_owned(), topic.to_owned())).or_default());
    }

    /// Whether a group has read everything that there is in all its topics.
    #[must_use]
    pub fn is_caught_up(&self, group: &str) -> bool {
        let readers = self.snapshot();
        let mut of_group = readers.iter().filter(|((name, _topic), _reader)| name == group).peekable();
        of_group.peek().is_some() && of_group.all(|(_, reader)| reader.is_caught_up())
    }

    /// Whether a group has partitions to read.
    #[must_use]
    pub fn has_partitions(&self, group: &str) -> bool {
        let readers = self.snapshot();
        readers.iter().any(|((name, _topic), reader)| name == group && !reader.partitions.is_empty())
    }

    /// Where a group stands, by topic and partition.
    #[must_use]
    pub fn offsets(&self, group: &str) -> Vec<(String, i32, Offsets)> {
        let of_group = self.snapshot().into_iter().filter(|((name, _topic), _reader)| name == group);
        of_group
            .flat_map(|((_, topic), reader)| {
                reader.partitions.into_iter().map(move |(partition, at)| (topic.clone(), partition, at))
            })
            .collect()
    }

    /// Forgets a group that reads no more.
    pub fn forget(&self, group: &str) {
        let mut readers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|(name, _topic), _reader| name != group);
    }

    fn snapshot(&self) -> BTreeMap<(Group, String), Reader> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How far the table is, in the answer to `GET /v1/status`.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// Whether everything in the log is in the table; `null` where nobody knows the log's end (AWS).
    caught_up: Option<bool>,
    generation: u32,
    partitions: Vec<Partition>,
    groups: BTreeMap<Group, Vec<Partition>>,
}

#[derive(Debug, Serialize)]
struct Partition {
    topic: String,
    partition: i32,
    life: u32,
    /// The offset up to which every record is dealt with; -1 before the first.
    through: i64,
    end: Option<i64>,
    lag: Option<i64>,
    /// `kafka`, or `spool` when the agent's spool is read directly.
    log: &'static str,
}

/// How far the serving generation's `aggregate` (of consumer group `group`) and all other groups are.
pub(crate) async fn status(
    table: &Table,
    generation: u32,
    group: &str,
    positions: &Positions,
) -> Result<Status, Error> {
    let readers = positions.snapshot();
    let mut groups: BTreeMap<Group, Vec<Partition>> = BTreeMap::new();
    let mut names: Vec<&str> = readers.keys().map(|(group, _topic)| group.as_str()).collect();
    names.push(group);
    names.sort_unstable();
    names.dedup();
    for name in names {
        let progress = progress::of_group(table, name).await?;
        let life = |topic: &str, partition: i32| {
            progress
                .iter()
                .find(|at| at.topic == topic && at.partition == partition)
                .map_or(1, |at| at.progress.life)
        };
        let mut partitions: Vec<Partition> = readers
            .iter()
            .filter(|((of, _topic), _reader)| of == name)
            .flat_map(|((_, topic), reader)| {
                reader.partitions.iter().map(move |(partition, at)| (topic, partition, at))
            })
            .map(|(topic, partition, at)| {
                let life = life(topic, *partition);
                Partition::new(topic, *partition, life, at.next - 1, Some(at.end))
            })
            .collect();
        if !readers.keys().any(|(of, _topic)| of == name) {
            partitions.extend(progress.iter().map(|at| {
                Partition::new(&at.topic, at.partition, at.progress.life, at.progress.through, None)
            }));
        }
        groups.insert(name.to_owned(), partitions);
    }
    let caught_up = (!readers.is_empty()).then(|| readers.values().all(Reader::is_caught_up));
    let partitions = groups.remove(group).unwrap_or_default();
    Ok(Status { caught_up, generation, partitions, groups })
}

impl Status {
    /// How far the serving generation is, for people.
    pub(crate) fn in_words(&self) -> String {
        let behind: i64 = self.partitions.iter().filter_map(|partition| partition.lag).sum();
        match self.caught_up {
            Some(true) => "✅ All that was captured is counted".to_owned(),
            Some(false) if behind == 1 => "⏳ The counting is behind by 1 record".to_owned(),
            Some(false) if behind > 1 => format!("⏳ The counting is behind by {behind} records"),
            Some(false) => "⏳ Not all that was captured is read yet".to_owned(),
            None if self.partitions.is_empty() => "⏳ Nothing was counted yet".to_owned(),
            None => {
                let through = |partition: &Partition| {
                    format!(
                        "{} {} through offset {}",
                        partition.topic, partition.partition, partition.through
                    )
                };
                let partitions: Vec<String> = self.partitions.iter().map(through).collect();
                format!("📶 Counted: {}", telegram::limit::list(&partitions, ", ", 1_000))
            }
        }
    }
}

impl Partition {
    fn new(topic: &str, partition: i32, life: u32, through: i64, end: Option<i64>) -> Self {
        // The spool of an agent is a source of its own name, `pcap@spool-…`: see `state::Source`.
        let (topic, log) = match topic.split_once('@') {
            Some((topic, _spool)) => (topic, "spool"),
            None => (topic, "kafka"),
        };
        let lag = end.map(|end| end.saturating_sub(through.saturating_add(1)).max(0));
        Self { topic: topic.to_owned(), partition, life, through, end, lag, log }
    }
}
