//! The agent on the sensor: wires the command line to the parts.

use std::process::ExitCode;

use anyhow::Context as _;
use capture_agent::cli::Cli;
use capture_agent::output::{self, Outcome};
use capture_agent::recorder::Recorder;
use capture_agent::stderr::say;
use clap::Parser as _;
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
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            say(format_args!("capture-agent: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let mut recorder = Recorder::new(cli.fcs.into(), cli.sensor());
    let Some(path) = &cli.output else { anyhow::bail!("not yet") };
    let writing = || format!("cannot write {}", path.display());
    let lines = output::open(path, &cli.read).with_context(writing)?;
    let outcome = output::write_lines(&cli.read, &mut recorder, lines).with_context(writing)?;
    if outcome != Outcome::OutputClosed {
        say(format_args!("{}", recorder.counts()));
    }
    Ok(if outcome == Outcome::Damaged { ExitCode::from(DAMAGED) } else { ExitCode::SUCCESS })
}
