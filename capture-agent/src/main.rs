//! The agent on the sensor: wires the command line to the parts.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use capture_agent::agent::{self, End, Source};
use capture_agent::cli::Cli;
use capture_agent::import::Import;
use capture_agent::live::Radio;
use capture_agent::output::{self, Outcome};
use capture_agent::producer::{Connection, Kafka, read_properties};
use capture_agent::recorder::Recorder;
use capture_agent::spool::{self, Retention, Spool, WhenFull};
use capture_agent::stderr::say;
use clap::Parser as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing_subscriber::EnvFilter;

/// A capture file is cut or damaged.
const DAMAGED: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .log_internal_errors(false) // a closed standard error must not end the capture
        .with_env_filter(EnvFilter::new(&cli.log))
        .init();
    let run = if cli.output.is_some() { print(&cli) } else { keep(&cli) };
    match run {
        Ok(code) => code,
        Err(error) => {
            say(format_args!("capture-agent: {error:#}"));
            ExitCode::FAILURE
        }
    }
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
    for signal in [SIGINT, SIGTERM] {
        // the second one ends the program at once
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let kafka = match &cli.bootstrap_servers {
        Some(servers) => Some(Kafka::new(Connection {
            bootstrap_servers: servers.clone(),
            topic: cli.topic.clone(),
            sensors_topic: spool::SENSORS.to_owned(),
            properties: cli.kafka_config.as_deref().map(read_properties).transpose()?.unwrap_or_default(),
        })?),
        None => None,
    };
    let radio = cli.interface.as_deref().map(Radio::open).transpose()?;
    let directory = match &cli.spool {
        Some(Some(directory)) => directory.clone(),
        _ => spool::default_directory()?,
    };
    let when_full = if radio.is_some() { WhenFull::DropOldest } else { WhenFull::Refuse };
    let retention = Retention { bytes: cli.spool_bytes, age: cli.spool_age(), when_full };
    let spool = Spool::open(&directory, retention)?;
    tracing::info!("spool {} in {}", spool.id(), directory.display());
    let source = match radio {
        Some(radio) => Source::Radio(radio),
        None => Source::Files(Import::resume(&cli.read, &spool)?),
    };
    let ended = agent::run(source, Recorder::new(cli.fcs.into(), cli.sensor()), spool, kafka, &stop)?;
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
