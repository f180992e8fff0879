//! The agent on the sensor: wires the settings to the parts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::Context as _;
use capture_agent::agent::{self, End, Radios, Source};
use capture_agent::cli::{Cli, ClockPolicy, Property};
use capture_agent::clock::SystemClock;
use capture_agent::config_file::{self, Verb};
use capture_agent::doctor;
use capture_agent::flood::Flood;
use capture_agent::health::Health;
use capture_agent::import::Import;
use capture_agent::kafka_check;
use capture_agent::live::{Listener, Shared};
use capture_agent::output::{self, Outcome};
use capture_agent::producer::{
    BY_MSK_IAM, Connection, Kafka, KafkaSettingsError, parse_property, read_properties,
};
use capture_agent::pseudonym::Pseudonyms;
use capture_agent::radio::{Control, Tuning};
use capture_agent::recorder::Recorder;
use capture_agent::ring::Ring;
use capture_agent::spool::{self, Retention, Spool, SpoolError, WhenFull};
use capture_agent::stderr::say;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use tracing_subscriber::EnvFilter;

/// A capture file is cut or damaged.
const DAMAGED: u8 = 2;
/// As clap does for wrong arguments.
const WRONG_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    let (verb, cli) = match config_file::settings() {
        Ok(settings) => settings,
        Err(error) => {
            say(format_args!("capture-agent: {error}"));
            return ExitCode::from(WRONG_SETTINGS);
        }
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .log_internal_errors(false) // a closed standard error must not end the capture
        .with_env_filter(EnvFilter::new(&cli.log))
        .init();
    let run = match verb {
        Verb::Capture if cli.output.is_some() => print(&cli),
        Verb::Capture => keep(&cli),
        Verb::Doctor => examine(&cli),
    };
    match run {
        Ok(code) => code,
        Err(error) => {
            say(format_args!("capture-agent: {}", in_one_line(&error)));
            ExitCode::from(if is_of_settings(&error) { WRONG_SETTINGS } else { 1 })
        }
    }
}

/// Whether only other settings mend it. Of anything else a service hopes that it passes, and is started again.
fn is_of_settings(error: &anyhow::Error) -> bool {
    error.is::<KafkaSettingsError>() || matches!(error.downcast_ref(), Some(SpoolError::NoHome))
}

/// An error with its causes, those alone that it does not tell itself.
fn in_one_line(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |line, cause| match line.as_str() {
        "" => cause,
        told if told.contains(&cause) => line,
        told => format!("{told}: {cause}"),
    })
}

/// `--output`
fn print(cli: &Cli) -> anyhow::Result<ExitCode> {
    let path = cli.output.as_deref().context("no --output")?;
    let mut recorder = Recorder::new(cli.fcs.into(), cli.sensor());
    let writing = || format!("cannot write {}", path.display());
    let lines = output::open(path, &cli.read).with_context(writing)?;
    let outcome = output::write_lines(&cli.read, &mut recorder, lines).with_context(writing)?;
    if outcome != Outcome::OutputClosed {
        say(format_args!("{}", recorder.counts()));
    }
    Ok(if outcome == Outcome::Damaged { ExitCode::from(DAMAGED) } else { ExitCode::SUCCESS })
}

/// `--spool`, `--bootstrap-servers`
fn keep(cli: &Cli) -> anyhow::Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        // the second one ends the program at once
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let kafka = kafka(cli)?;
    let directory = spool_directory(cli)?;
    let is_live = !cli.interface.is_empty();
    let when_full = if is_live { WhenFull::DropOldest } else { WhenFull::Refuse };
    let retention = Retention { bytes: cli.spool_bytes, age: cli.spool_age(), when_full };
    let spool = Spool::open(&directory, retention)?;
    tracing::info!("spool {} in {}", spool.id(), directory.display());
    let source = if is_live {
        Source::Radios(radios(cli, &directory)?)
    } else {
        Source::Files(Import::resume(&cli.read, &spool)?, Recorder::new(cli.fcs.into(), cli.sensor()))
    };
    let ended = agent::run(source, spool, kafka, &stop)?;
    let end = ended.done.end;
    say(format_args!("{}", ended.done));
    ended.close()?;
    Ok(match end {
        End::Complete => ExitCode::SUCCESS,
        End::Damaged => ExitCode::from(DAMAGED),
        End::Stopped => {
            say(format_args!("stopped before the end: the same command goes on from here"));
            ExitCode::FAILURE
        }
    })
}

fn kafka(cli: &Cli) -> anyhow::Result<Option<Kafka>> {
    let Some(bootstrap_servers) = cli.bootstrap_servers.clone() else { return Ok(None) };
    let parse = |property: &Property| parse_property(&property.0);
    let mut properties = cli.properties_below.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    properties.extend(cli.kafka_config.as_deref().map(read_properties).transpose()?.unwrap_or_default());
    for property in &cli.properties {
        properties.push(parse(property)?);
    }
    if cli.msk_iam {
        let (property, mechanism) = BY_MSK_IAM;
        properties.push((property.to_owned(), mechanism.to_owned()));
    }
    let (topic, sensors_topic) = (cli.topic.clone(), cli.sensors_topic.clone());
    let connection = Connection { bootstrap_servers, topic, sensors_topic, properties };
    Ok(Some(Kafka::new(connection)?))
}

fn spool_directory(cli: &Cli) -> anyhow::Result<PathBuf> {
    Ok(match &cli.spool {
        Some(Some(directory)) => directory.clone(),
        _ => spool::default_directory()?,
    })
}

fn ring_directory(cli: &Cli, spool: &Path) -> PathBuf {
    cli.ring_directory.clone().unwrap_or_else(|| spool.join("ring"))
}

fn radios(cli: &Cli, spool: &Path) -> anyhow::Result<Radios> {
    let health = Arc::new(Health::new(&cli.sensor()));
    let pseudonyms = match cli.pseudonymize {
        Some(whom) => {
            let pseudonyms = Pseudonyms::open(spool, whom, cli.pseudonym_period)?;
            Some(Arc::new(Mutex::new(pseudonyms)))
        }
        None => None,
    };
    let flood = Arc::new(Mutex::new(Flood::new(cli.flood_limit, Instant::now())));
    let shared = Shared { health: Arc::clone(&health), flood, pseudonyms };
    let (mut listeners, mut failed) = (Vec::new(), Vec::new());
    for interface in &cli.interface {
        let ring = match cli.ring {
            Some(size) => {
                let directory = ring_directory(cli, spool);
                let ring = Ring::new(&directory, interface, size);
                Some(ring.with_context(|| format!("cannot use {}", directory.display()))?)
            }
            None => None,
        };
        let tuning = Tuning {
            set_monitor: cli.set_monitor,
            channels: cli.channels.clone(),
            dwell: cli.dwell,
            all_frames: cli.ring_all,
        };
        let recorder = Recorder::new(cli.fcs.into(), cli.sensor());
        let control = Control::new(interface, tuning);
        let clock = SystemClock::new(cli.clock);
        let (listener, error) =
            Listener::start(control, cli.silent_after, clock, recorder, ring, shared.clone());
        failed.extend(error);
        listeners.push(listener);
    }
    // a person reads why; a service on a sensor has nobody, and its card may come
    let is_service = std::env::var_os("NOTIFY_SOCKET").is_some();
    if failed.len() == listeners.len() && !is_service {
        return Err(failed.swap_remove(0).into());
    }
    for error in &failed {
        tracing::warn!("{error}");
    }
    Ok(Radios { listeners, health, metrics: cli.metrics })
}

/// `doctor`
fn examine(cli: &Cli) -> anyhow::Result<ExitCode> {
    let mut findings = Vec::new();
    if cli.read.is_empty() {
        findings.push(doctor::rights());
        let interfaces =
            if cli.interface.is_empty() { doctor::wireless_interfaces() } else { cli.interface.clone() };
        if interfaces.is_empty() {
            findings.push(doctor::no_card());
        }
        for interface in &interfaces {
            findings.extend(doctor::interface(interface, cli.set_monitor, cli.channels.as_ref()));
        }
        findings.push(doctor::clock(cli.clock == ClockPolicy::Trust));
    }
    let spool = spool_directory(cli)?;
    findings.push(doctor::spool(&spool, cli.spool_bytes));
    if cli.ring.is_some() {
        findings.push(doctor::ring(&ring_directory(cli, &spool), &spool));
    }
    if let Some(kafka) = kafka(cli)? {
        findings.extend(kafka_check::check(&kafka));
    }
    Ok(if doctor::tell(&findings, std::io::stdout())? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
