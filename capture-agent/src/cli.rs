//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser, ValueEnum};
use domain::link_layer::FcsPolicy;

const EXAMPLES: &str = "\
Examples:
  Print the probe requests of a capture as JSON, one a line:
    capture-agent --read capture.pcapng --output -
  The same of a capture that another program makes:
    tcpdump -i wlan0 -U -w - type mgt subtype probe-req | capture-agent --read - --output -
  Take captures into the spool that `probegram local` reads:
    capture-agent --read monday.pcap tuesday.pcap --spool
  Send them to Kafka (through the spool; ends when Kafka has them all):
    capture-agent --read capture.pcap --bootstrap-servers kafka.example:9092
  Listen by a card in monitor mode until Ctrl-C:
    capture-agent --interface wlan0 --sensor hallway --bootstrap-servers kafka.example:9092

Exit status: 0 all done; 1 not done, and why; 2 a capture file is cut or damaged (what could be read was), or wrong arguments.";

/// Hears Wi-Fi probe requests, from a radio or from capture files, and passes them on.
#[derive(Debug, Clone, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 110)]
#[command(group(ArgGroup::new("source").required(true).args(["read", "interface"])))]
#[command(group(ArgGroup::new("sink").required(true).multiple(true).args(["output", "spool", "bootstrap_servers"])))]
pub struct Cli {
    /// Read these capture files (pcap or pcapng); - is standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub read: Vec<PathBuf>,

    /// Listen by this network interface, whose card is in monitor mode
    #[arg(long, value_name = "IFACE", conflicts_with = "output")]
    pub interface: Option<String>,

    /// What to do with a probe request whose frame check sequence is wrong: verify drops it, ignore keeps it (for anonymised captures)
    #[arg(
        long,
        value_enum,
        value_name = "verify|ignore",
        default_value = "verify",
        hide_possible_values = true
    )]
    pub fcs: Fcs,

    /// The name of this sensor in the records [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub sensor: Option<String>,

    /// Write one JSON record a line to this file; - is standard output
    #[arg(long, value_name = "-|FILE", conflicts_with_all = ["spool", "bootstrap_servers"])]
    pub output: Option<PathBuf>,

    /// Keep the records in the spool in this directory [default: the one that `probegram local` reads]
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    pub spool: Option<Option<PathBuf>>,

    /// The largest size of the spool: bytes, or with KiB, MiB or GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = bytes)]
    pub spool_bytes: u64,

    /// How many days the spool keeps a record
    #[arg(long, value_name = "DAYS", default_value = "7")]
    pub spool_days: u32,

    /// Send the records to this Kafka, through the spool
    #[arg(long, value_name = "HOST:PORT,…")]
    pub bootstrap_servers: Option<String>,

    /// The topic in Kafka
    #[arg(long, default_value = crate::spool::PCAP, requires = "bootstrap_servers")]
    pub topic: String,

    /// A file of librdkafka properties, such as security.protocol and sasl.password
    #[arg(long, value_name = "FILE", requires = "bootstrap_servers")]
    pub kafka_config: Option<PathBuf>,

    /// What is logged on standard error, for example info or capture_agent=debug
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info", hide_env_values = true)]
    pub log: String,
}

/// What to do with a wrong frame check sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fcs {
    /// Drop the frame.
    Verify,
    /// Keep it.
    Ignore,
}

impl From<Fcs> for FcsPolicy {
    fn from(fcs: Fcs) -> Self {
        match fcs {
            Fcs::Verify => Self::Verify,
            Fcs::Ignore => Self::Ignore,
        }
    }
}

impl Cli {
    /// The name of the sensor.
    #[must_use]
    pub fn sensor(&self) -> String {
        self.sensor.clone().unwrap_or_else(|| gethostname::gethostname().to_string_lossy().into_owned())
    }

    /// How long the spool keeps a record.
    #[must_use]
    pub fn spool_age(&self) -> Duration {
        Duration::from_secs(u64::from(self.spool_days) * 24 * 3600)
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit: u64 = match text.strip_prefix(digits).unwrap_or_default() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("{other:?} is no unit: bytes, or KiB, MiB or GiB")),
    };
    let number: u64 = digits.parse().map_err(|_not_a_number| "expected a size such as 512MiB".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("capture-agent").chain(arguments.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn one_source_and_one_way_out_are_asked_for() {
        for good in [
            "--read a b --output -",
            "--fcs ignore --output - --read -",
            "--read a --spool",
            "--read a --spool dir --bootstrap-servers h:1 --topic t --kafka-config f",
            "--read a --bootstrap-servers h:1",
            "--interface wlan0 --spool dir --sensor hallway",
        ] {
            assert!(parse(good).is_ok(), "{good}: {}", parse(good).unwrap_err());
        }
        for bad in [
            "",
            "--read a",
            "--read a --interface wlan0 --spool",
            "--read a --output - --spool",
            "--read a --output - --bootstrap-servers h:1",
            "--interface wlan0 --output -",
            "--output -",
            "--read a --spool --fcs maybe",
            "--read a --spool --spool-bytes 1GB",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_size_is_bytes_or_has_a_binary_unit() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("16MiB"), Ok(16 << 20));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        for bad in ["", "MiB", "1.5GiB", "-1", "1 MiB", "99999999999999999999", "99999999999GiB", "1é"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
