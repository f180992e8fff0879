//! Where records come from.

use std::fmt;

/// One partition of one life of a topic, `pcap@1/3`: within it offsets only grow and never mean two records.
///
/// A topic that is created again starts at offset 0 and so has another life. The spool of an agent, read directly, is the
/// topic `pcap@spool-<its id>`, apart from any topic of Kafka (which cannot have an `@` in its name).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The topic's name.
    pub topic: String,
    /// Which of the topics of that name, from 1.
    pub life: u32,
    /// The partition, from 0.
    pub partition: i32,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.topic, self.life, self.partition)
    }
}
