//! What is installed on a sensor: systemd takes the unit, the program takes the configuration, and what is built for another
//! processor says what this one's says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use capture_agent::cli::Cli;
use capture_agent::config_file::arguments;
use capture_agent::spool::{PCAP, SpoolReader};
use clap::{CommandFactory as _, Parser as _};
use probegram_tests::frames::{avs, other, pcap, pcapng, ppi, prism, probe_request, radiotap, with_fcs};
use probegram_tests::process::binary;
use probegram_tests::until;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;

const UNIT: &str = include_str!("../capture-agent/packaging/capture-agent.service");
const EXAMPLE: &str = include_str!("../capture-agent/packaging/capture-agent.toml");
const MANIFEST: &str = include_str!("../capture-agent/Cargo.toml");
/// Where the package puts the example.
const CONFIGURATION: &str = "/etc/probegram/capture-agent.toml";
/// Bounds a hang, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

/// What systemd-analyze says of the unit, with this build's program in the place of the one that is not installed; None, and a
/// line on standard error, where there is no systemd.
fn systemd_analyze(unit: &str, words: &[&str]) -> Option<Output> {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("capture-agent.service");
    let program = binary("capture-agent");
    fs::write(&file, unit.replace("=/usr/bin/capture-agent ", &format!("={} ", program.display()))).unwrap();
    match Command::new("systemd-analyze").args(words).arg(&file).output() {
        Ok(output) => Some(output),
        Err(_) => {
            writeln!(std::io::stderr(), "skipped: there is no systemd-analyze to judge the unit")
                .expect("standard error");
            None
        }
    }
}

/// systemd passes over what it does not know, and says so; an unknown key is a protection that is not there.
#[test]
fn systemd_takes_every_line_of_the_unit() {
    let Some(output) = systemd_analyze(UNIT, &["verify"]) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    // of this unit alone: the machine has others
    let said: Vec<_> = said.lines().filter(|line| line.contains("capture-agent")).collect();
    assert!(output.status.success() && said.is_empty(), "{said:#?}");
}

/// systemd's own measure, of 100, where a service without protection has 96 and the unit 25.
#[test]
fn the_service_is_exposed_to_little() {
    let bounded = ["security", "--offline=true", "--threshold=30"];
    let Some(output) = systemd_analyze(UNIT, &bounded) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let exposed = UNIT.replace("\nSystemCallFilter=", "\n#SystemCallFilter=");
    let output = systemd_analyze(&exposed, &bounded).unwrap();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The values of a key of the unit.
fn unit(key: &str) -> Vec<&'static str> {
    UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn unit_and_package_and_configuration_mean_the_same_files() {
    assert_eq!(unit("ExecStart"), [format!("/usr/bin/capture-agent --config {CONFIGURATION}")]);
    for installed in
        ["\"usr/bin/\", \"755\"", "\"packaging/capture-agent.toml\", \"etc/probegram/\", \"640\""]
    {
        assert!(MANIFEST.contains(installed), "{installed}");
    }
    let [directory] = unit("StateDirectory")[..] else { panic!("one directory") };
    assert_eq!(arguments(EXAMPLE).unwrap(), [OsString::from(format!("--spool=/var/lib/{directory}"))]);
    // as which user, and with what, the example has the doctor asked
    for key in ["User", "StateDirectory", "StateDirectoryMode", "AmbientCapabilities", "EnvironmentFile"] {
        let [value] = unit(key)[..] else { panic!("one {key}") };
        assert!(EXAMPLE.contains(&format!("{key}={value}")), "{key}={value}");
    }
    let users = include_str!("../capture-agent/packaging/capture-agent.sysusers");
    let [user] = unit("User")[..] else { panic!("one user") };
    assert!(users.lines().any(|line| line.starts_with(&format!("u {user} - "))), "{users}");
}

/// The lines of the example that are settings behind a #, with whether they are librdkafka's.
fn offered() -> Vec<(bool, &'static str)> {
    let (ours, kafka) = EXAMPLE.split_once("\n[kafka]\n").expect("the table of librdkafka's properties");
    let settings = |text: &'static str, is_kafka: bool| {
        let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
        // "# " begins a sentence, "##" a heading
        lines
            .filter(|line| !line.starts_with([' ', '#']))
            .map(move |line| (is_kafka, line))
            .filter(|(_, line)| !line.is_empty())
    };
    settings(ours, false).chain(settings(kafka, true)).collect()
}

#[test]
fn each_line_that_the_example_offers_is_a_setting() {
    let offered = offered();
    assert!(offered.iter().filter(|(is_kafka, _)| *is_kafka).count() > 4, "{offered:?}");
    for (is_kafka, line) in offered {
        let ring = if line.starts_with("ring-") { "ring = \"12x3600s\"\n" } else { "" };
        let card = if line.starts_with("interface ") { "" } else { "interface = [\"wlan1\"]\n" };
        let text = if is_kafka {
            format!("{card}{EXAMPLE}{line}\n")
        } else {
            format!("{card}{ring}{line}\n{EXAMPLE}")
        };
        let arguments = arguments(&text).unwrap_or_else(|error| panic!("{line}: {error}"));
        let parsed = Cli::try_parse_from(std::iter::once("capture-agent".into()).chain(arguments));
        let cli = parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(cli.properties.len(), usize::from(is_kafka), "{line}");
    }
}

/// So that a new flag is not forgotten, and a changed default does not make the example lie.
#[test]
fn the_example_has_every_setting_of_a_radio_with_its_default() {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for (_, line) in offered().into_iter().filter(|(is_kafka, _)| !is_kafka) {
        for argument in arguments(line).unwrap() {
            let argument = argument.into_string().unwrap();
            let (flag, value) = argument.trim_start_matches('-').split_once('=').unwrap_or((&argument, ""));
            values.insert(flag.trim_start_matches('-').to_owned(), value.to_owned());
        }
    }
    let command = Cli::command();
    for flag in command.get_arguments() {
        let Some(long) = flag.get_long() else { continue };
        // what reads files, writes to a terminal, or stands in the example without a #
        if ["read", "output", "config", "spool", "ring-all", "help", "version"].contains(&long) {
            continue;
        }
        let value = values.get(long).unwrap_or_else(|| panic!("the example lacks {long}"));
        if let Some(default) = flag.get_default_values().first().filter(|_| flag.get_action().takes_values())
        {
            assert_eq!(value.as_str(), default.to_str().unwrap(), "{long}");
        }
    }
}

/// Captures in which the processors could differ: every link type, byte order and length, SSIDs of any bytes, the signal's sign.
fn captures(directory: &Path) -> Vec<PathBuf> {
    let mut random = fastrand::Rng::with_seed(64);
    let frames: Vec<Vec<u8>> = (0..4_000_u16)
        .map(|number| {
            let ssid: Vec<u8> = (0..random.usize(0..=32)).map(|_| random.u8(..)).collect();
            let source = [
                random.u8(..) & 0xfe,
                random.u8(..),
                random.u8(..),
                random.u8(..),
                random.u8(..),
                random.u8(..),
            ];
            match number % 4 {
                0 => other(random.u8(..), random.usize(10..300)),
                _ => with_fcs(probe_request(source, &ssid, random.u16(0..4096))),
            }
        })
        .collect();
    let mut behind = |header: fn(i8, &[u8]) -> Vec<u8>| -> Vec<Vec<u8>> {
        frames.iter().map(|frame| header(random.i8(..), frame)).collect()
    };
    let (radiotap, ppi, avs, prism) = (behind(radiotap), behind(ppi), behind(avs), behind(prism));
    let mut damaged = pcap(127, &radiotap);
    damaged.truncate(damaged.len() * 2 / 3);
    let files = [
        ("radiotap.pcap", pcap(127, &radiotap)),
        ("bare.pcap", pcap(105, &frames)),
        ("mixed.pcapng", pcapng(&[(127, &radiotap), (192, &ppi), (163, &avs), (119, &prism)])),
        ("damaged.pcap", damaged),
    ];
    files
        .into_iter()
        .map(|(name, content)| {
            let path = directory.join(name);
            fs::write(&path, content).unwrap();
            path
        })
        .collect()
}

fn run(program: &Path, words: &[&str], files: &[&Path]) -> Output {
    let mut command = Command::new(program);
    command.args(words).args(files).env_remove("RUST_LOG");
    command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

fn values(spool: &Path) -> Vec<Vec<u8>> {
    let reader = SpoolReader::open_read_only(spool).unwrap().expect("a spool");
    let records = reader.read(PCAP, 0, usize::try_from(i64::MAX).unwrap(), usize::MAX).unwrap();
    records.into_iter().map(|record| record.value).collect()
}

/// The values that this cluster's topic has, when they are so many.
fn delivered(bootstrap_servers: &str, expected: usize) -> Vec<Vec<u8>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", "packaging")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(PCAP, 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let mut values = Vec::new();
    until(PATIENCE, "every record in the topic", || {
        // all that is there: `until` takes a rest before it asks again
        while let Some(message) = consumer.poll(Duration::from_millis(200)) {
            values.push(message.unwrap().payload().expect("a value").to_vec());
        }
        (values.len() == expected).then_some(())
    });
    values
}

#[test]
#[ignore = "infra/cross-build runs it, with the program that it has built in PROBEGRAM_FOREIGN_AGENT"]
fn a_program_for_another_processor_says_what_this_ones_says() {
    let foreign =
        PathBuf::from(std::env::var_os("PROBEGRAM_FOREIGN_AGENT").expect("PROBEGRAM_FOREIGN_AGENT"));
    let native = binary("capture-agent");
    let directory = TempDir::new().unwrap();
    let captures = captures(directory.path());
    for word in ["--version", "--help"] {
        let [theirs, ours] = [&foreign, &native].map(|program| run(program, &[word], &[]));
        assert!(theirs.status.success() && theirs.stdout == ours.stdout, "{word}: {theirs:?}");
    }

    let mut lines = Vec::new();
    for capture in &captures {
        for fcs in ["verify", "ignore"] {
            let words = ["--sensor", "test", "--fcs", fcs, "--output", "-", "--read"];
            let [theirs, ours] = [&foreign, &native].map(|program| run(program, &words, &[capture]));
            assert_eq!(
                theirs.status.code(),
                ours.status.code(),
                "{}",
                String::from_utf8_lossy(&theirs.stderr)
            );
            assert!(theirs.stdout == ours.stdout, "{} {fcs}", capture.display());
            assert_eq!(String::from_utf8_lossy(&theirs.stderr), String::from_utf8_lossy(&ours.stderr));
            if fcs == "verify" && ours.status.success() {
                lines.extend(
                    ours.stdout
                        .split_inclusive(|&byte| byte == b'\n')
                        .map(|line| line[..line.len() - 1].to_vec()),
                );
            }
        }
    }
    assert!(lines.len() > 10_000, "{}", lines.len());

    // into a spool by one, read by the other, gone on with by either
    let whole: Vec<&Path> = captures[..3].iter().map(PathBuf::as_path).collect();
    for (name, first, second) in [("foreign", &foreign, &native), ("native", &native, &foreign)] {
        let spool = directory.path().join(name);
        for (program, files) in [(first, &whole[..1]), (second, &whole[1..])] {
            let words = ["--sensor", "test", "--spool", spool.to_str().unwrap(), "--read"];
            let output = run(program, &words, files);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert!(values(&spool) == lines, "the spool that the {name} one began");
    }

    // and by librdkafka out of it
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(PCAP, 1, 1).unwrap();
    let (servers, spool) = (cluster.bootstrap_servers(), directory.path().join("sent"));
    let words =
        ["--sensor", "test", "--bootstrap-servers", &servers, "--spool", spool.to_str().unwrap(), "--read"];
    let output = run(&foreign, &words, &whole);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(delivered(&servers, lines.len()) == lines, "what was delivered");
}
