//! `probegram demo`: a made-up household, heard by the agent, counted by `aggregate`, named by `materialize`, told by `bot`. All of
//! it the real code.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use capture_agent::agent::{self, Done, Source};
use capture_agent::import::Import;
use capture_agent::recorder::Recorder;
use capture_agent::spool::{Retention as SpoolRetention, Spool, WhenFull};
use delivery::Telegram;
use domain::link_layer::FcsPolicy;
use jiff::tz::TimeZone;
use state::Generation;
use state::tallies::Retention;
use tokio::task::JoinSet;

use crate::cli::Demo;
use crate::controller::{Controller, SPEAKER_NAME};
use crate::embedded::Embedded;
use crate::host::{self, Host, Mappings};
use crate::household::{self, GUESTS, HOME, LAPTOP, VISITOR};
use crate::shutdown::{Shutdown, Signals};
use crate::template::Template;
use crate::terminal::{Conversation, Terminal};
use crate::{shutdown, terminal};

/// How often it is looked whether everything is counted.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What the speaker is called later on.
const NEW_NAME: &str = "Kitchen radio";
/// How long after the beginning of a chat the speaker gets its new name.
const RENAMED_AFTER: Duration = Duration::from_secs(30);

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
    writeln!(stdout, "  capture      {frames} frames, as a card in the hallway hears them (pcap, radiotap)")?;

    let heard = listen(&capture, directory.path())?;
    let counts = heard.counts.context("the agent was stopped")?;
    writeln!(
        stdout,
        "  agent        {} probe requests among them, kept in the spool",
        counts.probe_requests
    )?;

    let template = Template::read()?;
    // nobody wants to wait for a batch to become full
    let topics = materialize::Topics::default();
    let mappings = Mappings::read(&template, topics.clone(), Some(0))?;
    let embedded = Embedded::open(None, &template)?;
    let time_zone = options.time_zone.map_or_else(TimeZone::system, |zone| zone.0);
    let retention = Retention::in_days(aggregate::Context::DAY_RETENTION_DAYS, None);
    let (client, terminal) = Terminal::new();
    let host = Host::new(embedded.table(), mappings, retention, time_zone, Telegram::ready(client)).await?;
    terminal::let_in(&embedded.table()).await?;

    let mut signals = Signals::listen()?;
    let (trigger, shutdown) = shutdown::channel();
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let spool = directory.path();
    host::feed(host.aggregate(Generation::FIRST), None, spool.to_owned(), &shutdown, &mut tasks);
    if let Some(alert) = host.alert() {
        tasks.spawn(host::rounds(alert.function.clone(), shutdown.clone()));
        host::feed(alert, None, spool.to_owned(), &shutdown, &mut tasks);
    }
    let clients = host.materialize().into_iter().find(|source| source.mapping.topic == topics.clients);
    let controller = Controller::new(clients.context("materialize does not read the controller's clients")?);
    let told = tokio::select! {
        told = tell(&host, &embedded, controller, terminal, spool, &shutdown) => told,
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
    Ok(agent::run(Source::Files(files, recorder), spool, None, &Arc::new(AtomicBool::new(false)))?.done)
}

async fn tell(
    host: &Host,
    embedded: &Embedded,
    mut controller: Controller,
    mut terminal: Terminal,
    spool: &Path,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    while !host.is_caught_up(Generation::FIRST) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "  aggregate    every one counted once, in {} items of the table", embedded.items()?)?;
    let named = controller.snapshot(runtime::clock::now_ms(), shutdown).await;
    writeln!(
        stdout,
        "  materialize  {named} devices have names in the UniFi controller, as Debezium tells them"
    )?;
    writeln!(stdout, "  bot          answers from the table")?;
    writeln!(stdout, "  alert        speaks up when a device looks for a network that is watched\n")?;
    let mut conversation = Conversation::new(host.webhook.clone());
    let watch = format!("/watch {GUESTS} guest network");
    if terminal::is_ours() {
        for question in ["speaker", &watch] {
            say(&mut conversation, question).await?;
        }
        writeln!(
            stdout,
            "Ask for a device by its name, a part of it or its address, such as laptop or {LAPTOP}; a number presses a button.\n\
             Ask for a network: /ssid {GUESTS}. /help tells more, Ctrl-D leaves.\n\n\
             In a moment a visitor comes to the door. In half a minute somebody calls \"{SPEAKER_NAME}\" \"{NEW_NAME}\" in the\n\
             controller: ask for kitchen before and after.\n"
        )?;
        return tokio::select! {
            chat = terminal.chat(host.webhook.clone()) => chat,
            failed = visits(spool.to_owned()) => failed,
            never = rename_later(&mut controller, shutdown) => never,
        };
    }
    for question in ["robin", "speaker", "2"] {
        say(&mut conversation, question).await?;
    }
    writeln!(
        stdout,
        "Somebody gives that speaker another name in the controller, and Debezium tells of it:\n"
    )?;
    controller.rename_speaker(NEW_NAME, runtime::clock::now_ms(), shutdown).await;
    let name = format!("/name {VISITOR} The neighbour");
    for question in
        ["kitchen", &format!("/ssid {HOME}"), &format!("/ssid {GUESTS}"), "vacuum cleener", &watch, &name]
    {
        say(&mut conversation, question).await?;
    }
    writeln!(stdout, "The neighbour comes to the door, and a phone in the hallway says by itself:\n")?;
    visitor_comes(spool.to_owned()).await?;
    let alert = terminal.next_message().await.context("the bot said nothing")?;
    writeln!(stdout, "{alert}\n")?;
    writeln!(
        stdout,
        "In a terminal you ask yourself. README.md says how to use captures of your own, Telegram, and Kafka."
    )?;
    Ok(())
}

/// Somebody says something, and the bot replies.
async fn say(conversation: &mut Conversation, text: &str) -> anyhow::Result<()> {
    let reply = conversation.say(text).await.context("the bot gave no answer")?;
    writeln!(std::io::stdout(), "> {text}\n{reply}\n")?;
    Ok(())
}

/// Somebody gives the speaker another name while the chat goes on.
async fn rename_later(controller: &mut Controller, shutdown: &Shutdown) -> anyhow::Result<()> {
    tokio::time::sleep(RENAMED_AFTER).await;
    controller.rename_speaker(NEW_NAME, runtime::clock::now_ms(), shutdown).await;
    std::future::pending().await
}

/// A visitor comes while somebody is reading, looks for the network once more a little later, and stays.
async fn visits(spool: PathBuf) -> anyhow::Result<()> {
    for wait in [Duration::from_secs(8), Duration::from_secs(20)] {
        tokio::time::sleep(wait).await;
        visitor_comes(spool.clone()).await?;
    }
    std::future::pending().await
}

/// The agent hears a visitor's phone.
async fn visitor_comes(spool: PathBuf) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || {
        let now_ms = runtime::clock::now_ms();
        let capture = spool.join(format!("visitor-{now_ms}.pcap"));
        let mut file = BufWriter::new(File::create(&capture)?);
        household::write_arrival(now_ms, &mut file)?;
        file.into_inner()?.sync_all()?;
        listen(&capture, &spool).map(drop)
    })
    .await?
}
