//! The command `probegram`.

#![recursion_limit = "256"] // the types of the SDK's futures nest deeply

use std::process::ExitCode;

use clap::Parser as _;
use probegram::cli::{Cli, Command};
use probegram::terminal::Settings;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("probegram cannot start its threads: {error}");
            return ExitCode::from(2);
        }
    };
    let settings = Settings::keep();
    let outcome = runtime.block_on(run(cli.command));
    drop(settings);
    // A thread that waits for a line of the terminal, or for a broker that is away, is not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        // Whoever read what we print has had enough, as in `probegram demo | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(demo) => {
            runtime::log::init_for_people("error");
            probegram::demo::run(demo).await?;
        }
        Command::Local(local) => {
            // in a chat only trouble may come between the lines
            let level =
                if probegram::host::chats_in_terminal(&local) { "warn" } else { "info,aws_config=warn" };
            runtime::log::init_for_people(level);
            probegram::host::run(*local).await?;
        }
        Command::Topics(topics) => {
            runtime::log::init_for_people("warn");
            return probegram::topics::run(topics).await;
        }
        Command::Quarantine(quarantine) => {
            runtime::log::init_for_people("warn");
            return probegram::quarantine::run(quarantine).await;
        }
        Command::OwnerCode(owner_code) => {
            runtime::log::init_for_people("warn");
            probegram::owner_code::run(owner_code).await?;
        }
        Command::Rebuild(rebuild) => {
            runtime::log::init_for_people("warn");
            return probegram::rebuild::run(rebuild).await;
        }
        Command::Export(options) => {
            runtime::log::init_for_people("warn");
            return probegram::export::run(options).await;
        }
        Command::Forget(options) => {
            runtime::log::init_for_people("warn");
            return probegram::forget::run(options).await;
        }
        Command::EventSources(options) => {
            runtime::log::init_for_people("info,aws_config=warn");
            return probegram::event_sources::run(options).await;
        }
        Command::Webhook(webhook) => {
            runtime::log::init_for_people("warn");
            return probegram::webhook::run(webhook).await;
        }
        Command::Doctor(doctor) => {
            runtime::log::init_for_people("error");
            return probegram::doctor::run(doctor).await;
        }
        Command::UnifiImport(import) => {
            runtime::log::init_for_people("warn");
            probegram::unifi_import::run(import).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
