//! The command line. Every setting may also stand in a file or in the environment: see [`crate::config_file`].

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ArgGroup, Parser, ValueEnum};
use domain::link_layer::FcsPolicy;

use crate::channels::ChannelPlan;
use crate::pseudonym::Whom;
use crate::ring::RingSize;
use crate::spool::Retention;

/// The heading of the settings of a radio: they mean nothing to who reads files.
pub const RADIO: &str = "Radio";

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
  Listen until Ctrl-C, by a card that is put into monitor mode and back, on three channels in turn:
    capture-agent --interface wlan1 --set-monitor --channels 1,6,11 --spool
  Send what is heard to Confluent Cloud; cloud.properties holds sasl.username and sasl.password:
    capture-agent --interface wlan1 --bootstrap-servers pkc-1.confluent.cloud:9092 --kafka-config cloud.properties
  … or to MSK, as the role or user whose AWS credentials are found:
    capture-agent --interface wlan1 --bootstrap-servers b-1.x.kafka.eu-west-1.amazonaws.com:9098 --msk-iam
  What is missing for that, without doing it:
    capture-agent doctor --interface wlan1 --bootstrap-servers kafka.example:9092

Settings are also read from a file (--config FILE, TOML, the same names: `interface = [\"wlan1\"]`, `set-monitor = true`, and
librdkafka's properties in a table [kafka]) and from the environment (CAPTURE_AGENT_SET_MONITOR=true, CAPTURE_AGENT_KAFKA_SASL_PASSWORD=…).
The command line beats the environment, which beats the file, of which what does not go with the stronger is passed over. A switch
that the file sets is taken back by its variable: CAPTURE_AGENT_SET_MONITOR=false. Secrets belong into a file: other users see a
command line.

Exit status: 0 all done; 1 not done, and why; 2 a capture file is cut or damaged (what could be read was), or wrong settings.";

/// Hears Wi-Fi probe requests, from radios or from capture files, and passes them on.
#[derive(Debug, Clone, Parser)]
#[command(name = "capture-agent", version, after_help = EXAMPLES, max_term_width = 110)]
#[command(override_usage = "capture-agent [doctor] <--read FILE… | --interface IFACE…> [OPTIONS]")]
#[command(group(ArgGroup::new("source").required(true).args(["read", "interface"])))]
#[command(group(ArgGroup::new("sink").required(true).multiple(true).args(["output", "spool", "bootstrap_servers"])))]
pub struct Cli {
    /// Read these capture files (pcap or pcapng); - is standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub read: Vec<PathBuf>,

    /// Listen by this network interface; may be given several times
    #[arg(long, value_name = "IFACE", conflicts_with = "output", value_delimiter = ',', value_parser = name)]
    pub interface: Vec<String>,

    /// Settings from this TOML file; command line and environment beat it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The name of this sensor in the records [default: the host's name]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub sensor: Option<String>,

    /// What to do with a probe request whose frame check sequence is wrong: verify drops it, ignore keeps it (for anonymised captures)
    #[arg(
        long,
        value_enum,
        value_name = "verify|ignore",
        default_value = "verify",
        hide_possible_values = true
    )]
    pub fcs: Fcs,

    /// Write one JSON record a line to this file; - is standard output
    #[arg(long, value_name = "-|FILE", conflicts_with_all = ["spool", "bootstrap_servers"])]
    pub output: Option<PathBuf>,

    /// Put the card into monitor mode, and back at the end
    #[arg(long, requires = "interface", conflicts_with = "read", help_heading = RADIO)]
    pub set_monitor: bool,

    /// Tune the card to these channels in turn, such as 1,6,11,36, or to all that it may use; between its visits a channel is not heard
    #[arg(long, value_name = "LIST|all", requires = "interface", conflicts_with = "read", help_heading = RADIO)]
    pub channels: Option<ChannelPlan>,

    /// How long to stay on a channel
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = dwell, help_heading = RADIO)]
    pub dwell: Duration,

    /// Take a card up anew that gave no frame of any kind for so long
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = patience, help_heading = RADIO)]
    pub silent_after: Duration,

    /// When the time of a frame is believed: wait keeps frames in memory until the system's clock is synchronised, trust takes it as it is
    #[arg(
        long,
        value_enum,
        value_name = "wait|trust",
        default_value = "wait",
        hide_possible_values = true,
        help_heading = RADIO
    )]
    pub clock: ClockPolicy,

    /// So many random addresses that were not heard before are let through in a minute; 0 lets all through
    #[arg(long, value_name = "NUMBER", default_value = "6000", help_heading = RADIO)]
    pub flood_limit: u32,

    /// Also keep the frames in capture files: so many, each of such a time; the oldest is overwritten
    #[arg(long, value_name = "12x3600s", requires = "interface", conflicts_with = "read", help_heading = RADIO)]
    pub ring: Option<RingSize>,

    /// Keep frames of every kind in these files, not probe requests alone: more work, and other people's traffic
    #[arg(long, requires = "ring", conflicts_with = "read", help_heading = RADIO)]
    pub ring_all: bool,

    /// The directory of these files [default: ring, in the spool's directory]
    #[arg(long, value_name = "DIR", requires = "ring", conflicts_with = "read", help_heading = RADIO)]
    pub ring_directory: Option<PathBuf>,

    /// Send pseudonyms in the place of these addresses; nobody without the key on this sensor can tell whose they are
    #[arg(
        long,
        value_enum,
        value_name = "locally-administered|all",
        conflicts_with_all = ["ring", "ring_all", "ring_directory", "read"],
        hide_possible_values = true,
        help_heading = RADIO
    )]
    pub pseudonymize: Option<Whom>,

    /// How long a pseudonym lasts; then its key is thrown away
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = patience, help_heading = RADIO)]
    pub pseudonym_period: Duration,

    /// Keep the records in the spool in this directory [default: the one that `probegram local` reads]
    #[arg(long, value_name = "DIR", num_args = 0..=1, help_heading = "Spool")]
    pub spool: Option<Option<PathBuf>>,

    /// The largest size of the spool: bytes, or with KiB, MiB or GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = spool_bytes, help_heading = "Spool")]
    pub spool_bytes: u64,

    /// How many days the spool keeps a record
    #[arg(long, value_name = "DAYS", default_value = "7", help_heading = "Spool")]
    pub spool_days: u32,

    /// Send the records to this Kafka, through the spool
    #[arg(long, value_name = "HOST:PORT,…", value_parser = servers, help_heading = "Kafka")]
    pub bootstrap_servers: Option<String>,

    /// The topic of the probe requests
    #[arg(long, value_name = "TOPIC", default_value = crate::spool::PCAP, help_heading = "Kafka")]
    pub topic: String,

    /// The topic of the heartbeats
    #[arg(long, value_name = "TOPIC", default_value = crate::spool::SENSORS, help_heading = "Kafka")]
    pub sensors_topic: String,

    /// A file of librdkafka's properties, such as security.protocol and sasl.password
    #[arg(long, value_name = "FILE", help_heading = "Kafka")]
    pub kafka_config: Option<PathBuf>,

    /// One more of librdkafka's properties; may be given several times
    #[arg(short = 'X', value_name = "PROPERTY=VALUE", action = ArgAction::Append, help_heading = "Kafka")]
    pub properties: Vec<Property>,

    /// Those that the file of `--kafka-config` beats: it was named in a stronger place.
    #[arg(skip)]
    pub properties_below: Vec<Property>,

    /// Log in to Amazon MSK by IAM, with the AWS credentials of the environment, a profile, a role or the instance
    #[arg(long, help_heading = "Kafka")]
    pub msk_iam: bool,

    /// Serve metrics for Prometheus at http://ADDRESS/metrics, an address of this machine alone such as 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    pub metrics: Option<SocketAddr>,

    /// What is logged on standard error, for example info or capture_agent=debug
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info", hide_env_values = true)]
    pub log: String,
}

/// A property of librdkafka, `name=value`. The value may be a secret, and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Property(pub String);

impl From<&str> for Property {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.0.split_once('=').map_or("", |(name, _value)| name);
        write!(f, "{name}=…")
    }
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

/// When the system's clock is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClockPolicy {
    /// When the kernel says that it is synchronised.
    Wait,
    /// Always, but before the year 2000.
    Trust,
}

impl Cli {
    /// Takes the host's name for the sensor's where that is not given, and looks at what flags mean together.
    ///
    /// # Errors
    /// What is wrong, and what to give.
    pub fn complete(&mut self, host: &OsStr) -> Result<(), String> {
        if let Some(twice) = first_twice(&self.interface) {
            return Err(format!("--interface {twice} is given twice: each interface is listened by once"));
        }
        if self.sensor.is_none() {
            let of_host = host.to_str().ok_or_else(|| "expected a text in UTF-8".to_owned()).and_then(name);
            let of_host = of_host.map_err(|why| {
                format!(
                    "the name of this host, {host:?}, cannot be the sensor's: {why}; give one with --sensor"
                )
            })?;
            self.sensor = Some(of_host);
        }
        Ok(())
    }

    /// The name of the sensor, once the settings are [complete](Self::complete).
    #[must_use]
    pub fn sensor(&self) -> String {
        self.sensor.clone().unwrap_or_default()
    }

    /// How long the spool keeps a record.
    #[must_use]
    pub fn spool_age(&self) -> Duration {
        Duration::from_secs(u64::from(self.spool_days) * 24 * 3600)
    }
}

fn first_twice(names: &[String]) -> Option<&String> {
    names.iter().enumerate().find_map(|(index, name)| names.get(..index)?.contains(name).then_some(name))
}

/// The rule for the key of a heartbeat, and for what stands in a record; and nobody reads a name with control characters.
fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err("expected a name of 1 to 255 bytes without control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn servers(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) || text.split(',').all(|server| server.trim().is_empty()) {
        return Err("expected HOST:PORT, or several with commas between them".to_owned());
    }
    Ok(text.to_owned())
}

fn spool_bytes(text: &str) -> Result<u64, String> {
    let bytes = bytes(text)?;
    if bytes < Retention::LEAST_BYTES {
        return Err(format!("expected {} MiB or more", Retention::LEAST_BYTES >> 20));
    }
    Ok(bytes)
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

/// A card needs some milliseconds to change its channel, and a phone that scans stays for tens of them.
fn dwell(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(20), Duration::from_secs(3600))
}

fn patience(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(10), Duration::from_secs(366 * 24 * 3600))
}

fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|why| format!("{why}: expected a time such as 250ms, 90s, 5m or 1d"))?;
    if !(least..=most).contains(&duration) {
        let [least, most] = [least, most].map(humantime::format_duration);
        return Err(format!("expected {least} to {most}"));
    }
    Ok(duration)
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_no_address| "expected an address such as 127.0.0.1:9464".to_owned())?;
    if !address.ip().is_loopback() {
        return Err(
            "metrics are for this machine alone: give 127.0.0.1 or [::1], and let a proxy that asks for \
                    a password serve them to others"
                .to_owned(),
        );
    }
    Ok(address)
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
            "--read a --bootstrap-servers h:1 -X acks=all -X linger.ms=5",
            "--interface wlan0 --spool dir --sensor hallway",
            "--interface wlan0 --interface wlan1 --spool --set-monitor --channels 1,6,11 --dwell 1s",
            "--interface wlan0,wlan1 --spool --ring 12x3600s --ring-all",
            "--interface wlan0 --spool --pseudonymize all --pseudonym-period 12h --metrics 127.0.0.1:9464",
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
            "--read a --spool --set-monitor",
            "--read a --spool --ring-all",
            "--read a --spool --ring-directory dir",
            "--interface wlan0 --spool --channels one",
            "--interface wlan0 --spool --dwell 1ms",
            "--interface wlan0 --spool --ring 12",
            "--interface wlan0 --spool --ring 12x3600s --pseudonymize all",
            "--interface wlan0 --spool --metrics 0.0.0.0:9464",
            "--read a --spool --spool-bytes 15MiB",
            "--read a --spool --sensor=",
            "--read a --spool --sensor a\u{7}b",
            "--read a --bootstrap-servers=",
            "--read a --bootstrap-servers ,",
            "--interface= --spool",
            "--interface wlan0, --spool",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_short_and_printable_and_that_of_the_host_is_no_exception() {
        for good in ["hallway", "Flur 2, Süd", &"n".repeat(255)] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "a\nb", "\u{85}", &"n".repeat(256)] {
            assert!(name(bad).is_err(), "{bad:?}");
            let error = parse("--read a --spool").unwrap().complete(OsStr::new(bad)).unwrap_err();
            assert!(error.ends_with("give one with --sensor"), "{error}");
        }
        let mut cli = parse("--read a --spool --sensor hallway").unwrap();
        assert_eq!((cli.complete(OsStr::new("")), cli.sensor().as_str()), (Ok(()), "hallway"));
        let mut cli = parse("--read a --spool").unwrap();
        assert_eq!((cli.complete(OsStr::new("pi")), cli.sensor().as_str()), (Ok(()), "pi"));
    }

    #[test]
    fn an_interface_is_listened_by_once() {
        for (interfaces, is_good) in
            [("--interface a,b", true), ("--interface a,a", false), ("--interface a,b --interface a", false)]
        {
            let mut cli = parse(&format!("{interfaces} --spool")).unwrap();
            assert_eq!(cli.complete(OsStr::new("pi")).is_ok(), is_good, "{interfaces}");
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
