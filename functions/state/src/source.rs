//! Where records come from.

use std::fmt;
use std::str::FromStr;

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

/// The text is no source such as `pcap@1/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a source such as pcap@1/3")]
pub struct NotASource;

impl FromStr for Source {
    type Err = NotASource;

    fn from_str(text: &str) -> Result<Self, NotASource> {
        // a spool has an @ in its name
        let (topic, place) = text.rsplit_once('@').ok_or(NotASource)?;
        let (life, partition) = place.split_once('/').ok_or(NotASource)?;
        Ok(Self {
            topic: topic.to_owned(),
            life: life.parse().map_err(|_no_number| NotASource)?,
            partition: partition.parse().map_err(|_no_number| NotASource)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_it_is_written() {
        for text in ["pcap@1/3", "pcap@spool-0123456789ab@12/0"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for text in ["", "pcap", "pcap@1", "pcap@/", "pcap@a/3"] {
            assert_eq!(text.parse::<Source>(), Err(NotASource), "{text}");
        }
    }
}
