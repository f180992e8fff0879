//! The command `probegram`.

#![recursion_limit = "256"] // the types of the SDK's futures nest deeply

use std::process::ExitCode;

use clap::Parser as _;
use probegram::cli::{Cli, Command};

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(demo) => {
            runtime::log::init_for_people("error");
            probegram::demo::run(demo).await
        }
        Command::Local(local) => {
            runtime::log::init_for_people("info,aws_config=warn");
            probegram::host::run(*local).await
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(2)
        }
    }
}
