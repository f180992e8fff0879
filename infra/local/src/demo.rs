//! `probegram demo`: a made-up household, heard by the agent, counted by `aggregate`, told by `bot`. All of it the real code.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use capture_agent::agent::{self, Done, Source};
use capture_agent::import::Import;
use capture_agent::recorder::Recorder;
use capture_agent::spool::{Retention as SpoolRetention, Spool, WhenFull};
use domain::link_layer::FcsPolicy;
use jiff::tz::TimeZone;
use state::Generation;
use state::tallies::Retention;
use tokio::task::JoinSet;

use crate::cli::Demo;
use crate::embedded::Embedded;
use crate::host::{self, Host};
use crate::household::{self, GUESTS, HOME, LAPTOP, SPEAKER};
use crate::shutdown::Signals;
use crate::template::Template;
use crate::{shutdown, terminal};

/// How often it is looked whether everything is counted.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// An address that nobody in the household has.
const UNKNOWN: &str = "00:11:22:33:44:55";

/// Shows the whole road. On a terminal a chat follows, elsewhere a short conversation. Leaves nothing behind.
///
/// # Errors
/// When a part of the road fails.
pub async fn run(options: Demo) -> anyhow::Result<()> {
    // beside the program, so that even a demo that is killed leaves nothing outside of the build's folder
    let program = std::env::current_exe().context("where this program is cannot be told")?;
    let directory =
        tempfile::Builder::new().prefix("demo-").tempdir_in(program.parent().unwrap_or(Path::new(".")));
    let directory = directory
        .or_else(|_read_only| tempfile::tempdir())
        .context("there is no place for the demo's files")?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "A day in a made-up household, ending now. The road that it goes is the real one:\n")?;

    let capture = directory.path().join("household.pcap");
    let mut file = BufWriter::new(File::create(&capture)?);
    let frames = household::write_capture(runtime::clock::now_ms(), &mut file)?;
    file.into_inner()?.sync_all()?;
    writeln!(stdout, "  capture    {frames} frames, as a card in the hallway hears them (pcap, radiotap)")?;

    let heard = listen(&capture, directory.path())?;
    let counts = heard.counts.context("the agent was stopped")?;
    writeln!(stdout, "  agent      {} probe requests among them, kept in the spool", counts.probe_requests)?;

    let template = Template::read()?;
    let mut mapping = template.mapping("AggregateMapping")?;
    mapping.window_s = 0; // nobody wants to wait for a batch to become full
    let embedded = Embedded::open(None, &template)?;
    let time_zone = options.time_zone.map_or_else(TimeZone::system, |zone| zone.0);
    let retention = Retention::in_days(aggregate::Context::DAY_RETENTION_DAYS, None);
    let host = Host::new(embedded.table(), mapping, retention, time_zone, vec![terminal::CHAT]).await?;

    let mut signals = Signals::listen()?;
    let (trigger, shutdown) = shutdown::channel();
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    host::feed(&host, None, directory.path().to_owned(), Generation::FIRST, &shutdown, &mut tasks);
    let told = tokio::select! {
        told = tell(&host, &embedded) => told,
        task = host::failed(&mut tasks) => task,
        () = signals.wait() => Ok(()),
    };
    trigger.pull();
    while tasks.join_next().await.is_some() {}
    told
}

/// The agent reads the capture into its spool.
fn listen(capture: &Path, directory: &Path) -> anyhow::Result<Done> {
    let day = Duration::from_secs(24 * 60 * 60);
    let spool =
        Spool::open(directory, SpoolRetention { bytes: 64 << 20, age: day, when_full: WhenFull::Refuse })?;
    let files = Import::resume(&[capture.to_owned()], &spool)?;
    let recorder = Recorder::new(FcsPolicy::Verify, "hallway".to_owned());
    Ok(agent::run(Source::Files(files), recorder, spool, None, &Arc::new(AtomicBool::new(false)))?.done)
}

async fn tell(host: &Host, embedded: &Embedded) -> anyhow::Result<()> {
    while !host.is_caught_up(Generation::FIRST) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "  aggregate  every one counted once, in {} items of the table", embedded.items()?)?;
    writeln!(stdout, "  bot        answers from the table\n")?;
    if terminal::is_ours() {
        writeln!(
            stdout,
            "Ask for a device, such as {LAPTOP} or {SPEAKER},\nor for a network: /ssid {GUESTS}. /help tells more, Ctrl-D leaves.\n"
        )?;
        return terminal::chat(host.webhook.clone()).await;
    }
    let spoken = SPEAKER.replace(':', "-").to_uppercase();
    for question in [LAPTOP, &spoken, &format!("/ssid {GUESTS}"), &format!("/ssid {HOME}"), UNKNOWN] {
        let reply = terminal::ask(&host.webhook, question).await.context("the bot gave no answer")?;
        writeln!(stdout, "> {question}\n{reply}\n")?;
    }
    writeln!(
        stdout,
        "In a terminal you ask yourself. README.md says how to use captures of your own, Telegram, and Kafka."
    )?;
    Ok(())
}
