//! `probegram local`: hosts the functions, the table, and the ways in and out.

use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bot::context::SecretHash;
use bot::status::Positions;
use capture_agent::spool::SENSORS;
use delivery::{Post, Telegram};
use http::HeaderValue;
use jiff::tz::TimeZone;
use rdkafka::config::ClientConfig;
use runtime::secret::{Place, Secret};
use secrecy::ExposeSecret as _;
use serde_json::value::RawValue;
use state::generation::consumer_group;
use state::tallies::Retention;
use state::{Generation, Table, generation, identity};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::account;
use crate::changeover::{self, Log, Plan};
use crate::cli::Local;
use crate::directory::DataDirectory;
use crate::embedded::Embedded;
use crate::event_source::EventSource;
use crate::function::{Bot, Deployed, Function};
use crate::long_polling::{self, Webhook};
use crate::shutdown::{self, Shutdown, Signals};
use crate::table_socket::{self, TableSocket};
use crate::template::{EventSourceMapping, Template};
use crate::{http_api, kafka_source, owner_code, remote_table, spool_source, terminal};

/// How often expired items are deleted, a rebuild is looked at, and the pointer to the generation that serves.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOK_AT_POINTER_EVERY: Duration = Duration::from_secs(5);
/// How often what is due is done: messages that had to wait, counts to be told. On AWS it is every minute; here it costs nothing.
const ROUND_EVERY: Duration = Duration::from_secs(5);
/// How long the end may take.
const GRACE: Duration = Duration::from_secs(8);

/// A table with the functions around it.
#[derive(Debug)]
pub struct Host {
    /// The function `bot`.
    pub bot: Arc<bot::Context>,
    /// The webhook of the bot, called from this process.
    pub webhook: Webhook,
    /// Where the readers stand.
    pub positions: Positions,
    table: Table,
    mappings: Mappings,
    /// The table's id, which the consumer groups carry: a new table has new groups, so they begin at the beginning of the topics.
    id: String,
    base_group: String,
    retention: Retention,
    post: Post,
    /// From when on the newest record is too old, in milliseconds.
    ingest_stalled_after_ms: Option<i64>,
    /// The functions that are fed, where they do not run in this process.
    deployed: Option<DeployedFunctions>,
}

/// How the functions are fed.
#[derive(Debug, Clone)]
pub struct Mappings {
    /// `aggregate`, by topic `pcap`.
    pub aggregate: EventSourceMapping,
    /// `materialize`, by each of its topics.
    pub materialize: Vec<EventSourceMapping>,
    /// What its topics are called.
    pub topics: materialize::Topics,
    /// What the consumer groups of `materialize` begin with.
    pub materialize_prefix: String,
    /// `alert`, by topic `pcap`.
    pub alert: EventSourceMapping,
}

impl Mappings {
    /// Those of the template, with another window if one is given; `topics` is what the topics of `materialize` are called.
    ///
    /// # Errors
    /// When the template has no such mapping: a mistake of ours, that a test finds.
    pub fn read(
        template: &Template,
        topics: materialize::Topics,
        window_s: Option<u64>,
    ) -> anyhow::Result<Self> {
        let mapping = |name| {
            let mut mapping = template.mapping(name)?;
            mapping.window_s = window_s.unwrap_or(mapping.window_s);
            anyhow::Ok(mapping)
        };
        Ok(Self {
            aggregate: mapping("AggregateBlueMapping")?,
            materialize: [
                (mapping("WatchListMapping")?, &topics.watch_list),
                (mapping("ClientsMapping")?, &topics.clients),
                (mapping("DevicesMapping")?, &topics.devices),
                (mapping("SensorsMapping")?, &topics.sensors),
            ]
            .map(|(mapping, topic)| EventSourceMapping { topic: topic.clone(), ..mapping })
            .into(),
            topics,
            materialize_prefix: template.variable("MaterializeFunction", "CONSUMER_GROUP_PREFIX")?,
            alert: mapping("AlertMapping")?,
        })
    }
}

/// Functions on Lambda, or what stands for it. One that is not there is not fed.
#[derive(Debug, Clone)]
pub struct DeployedFunctions {
    aggregate: Deployed,
    materialize: Option<Deployed>,
    alert: Option<Deployed>,
}

impl DeployedFunctions {
    /// The functions at a Lambda endpoint.
    async fn find(function: impl Fn(&str) -> Deployed) -> anyhow::Result<Self> {
        let mut others = [Some(function("materialize")), Some(function("alert"))];
        for other in &mut others {
            let Some(deployed) = other else { continue };
            if !deployed.exists().await? {
                tracing::warn!("there is no function {} there: nothing feeds it", deployed.name());
                *other = None;
            }
        }
        let [materialize, alert] = others;
        Ok(Self { aggregate: function("aggregate"), materialize, alert })
    }
}

impl Host {
    /// The functions around a table; `telegram` is the bot in which they speak.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn new(
        table: Table,
        mappings: Mappings,
        retention: Retention,
        time_zone: TimeZone,
        telegram: Telegram,
    ) -> anyhow::Result<Self> {
        let id = identity::of(&table).await?;
        let base_group = format!("{}-{id}", mappings.aggregate.consumer_group);
        let secret: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
        let positions = Positions::default();
        let post = Post::new(table.clone(), time_zone.clone(), runtime::clock::now_ms, telegram);
        let bot = Arc::new(bot::Context {
            table: table.clone(),
            generation: Generation::of(table.clone()),
            aggregate_group: base_group.clone(),
            secrets: vec![SecretHash::of(secret.as_bytes())],
            time_zone,
            open_to_this_machine: true,
            positions: positions.clone(),
            post: post.clone(),
            now_ms: runtime::clock::now_ms,
        });
        let webhook = Webhook::new(Arc::clone(&bot), HeaderValue::try_from(secret)?);
        Ok(Self {
            bot,
            webhook,
            positions,
            table,
            mappings,
            id,
            base_group,
            retention,
            post,
            ingest_stalled_after_ms: None,
            deployed: None,
        })
    }

    /// Has the watchdog tell when the newest record is older than so many minutes.
    #[must_use]
    pub fn with_ingest_stalled_after(self, minutes: Option<NonZeroU32>) -> Self {
        let after_ms = minutes.map(|minutes| alert::handler::minutes_ms(minutes.get()));
        Self { ingest_stalled_after_ms: after_ms, ..self }
    }

    /// Feeds these deployed functions instead of those in this process. They keep the progress of the groups that the template
    /// names.
    #[must_use]
    pub fn with_deployed(self, functions: DeployedFunctions) -> Self {
        let base_group = self.mappings.aggregate.consumer_group.clone();
        Self { base_group, deployed: Some(functions), ..self }
    }

    /// The consumer group that writes a generation.
    #[must_use]
    pub fn group(&self, generation: u32) -> String {
        consumer_group(&self.base_group, generation)
    }

    /// What feeds `aggregate` for a generation.
    #[must_use]
    pub fn aggregate(&self, generation: u32) -> EventSource {
        let group = self.group(generation);
        let function = match &self.deployed {
            Some(deployed) => Function::Deployed(deployed.aggregate.clone()),
            None => Function::Aggregate(aggregate::Context {
                table: self.table.clone(),
                group: group.clone(),
                generation,
                retention: self.retention,
                now_ms: runtime::clock::now_ms,
            }),
        };
        self.event_source(&self.mappings.aggregate, group, function)
    }

    /// What feeds `materialize`, a source a topic; none if it is not there.
    #[must_use]
    pub fn materialize(&self) -> Vec<EventSource> {
        let Mappings { materialize, materialize_prefix: prefix, topics, .. } = &self.mappings;
        let source = |mapping: &EventSourceMapping| match &self.deployed {
            Some(deployed) => {
                let function = Function::Deployed(deployed.materialize.clone()?);
                Some(self.event_source(mapping, format!("{prefix}-{}", mapping.topic), function))
            }
            None => {
                let context = materialize::Context {
                    table: self.table.clone(),
                    group_prefix: format!("{prefix}-{}", self.id),
                    topics: topics.clone(),
                    now_ms: runtime::clock::now_ms,
                };
                let group = context.group(&mapping.topic);
                Some(self.event_source(mapping, group, Function::Materialize(context)))
            }
        };
        materialize.iter().filter_map(source).collect()
    }

    /// What feeds `alert`, if it is there.
    #[must_use]
    pub fn alert(&self) -> Option<EventSource> {
        let mapping = &self.mappings.alert;
        let (group, function) = match &self.deployed {
            Some(deployed) => (mapping.consumer_group.clone(), Function::Deployed(deployed.alert.clone()?)),
            None => {
                let group = format!("{}-{}", mapping.consumer_group, self.id);
                let mut watchdog = alert::Watchdog::of(self.base_group.clone());
                watchdog.settings.ingest_stalled_after_ms = self.ingest_stalled_after_ms;
                let context = alert::Context {
                    table: self.table.clone(),
                    group: group.clone(),
                    post: self.post.clone(),
                    watchdog,
                    max_age_ms: alert::Context::max_age_ms(alert::Context::MAX_AGE_HOURS),
                    now_ms: runtime::clock::now_ms,
                };
                (group, Function::Alert(context))
            }
        };
        Some(self.event_source(mapping, group, function))
    }

    fn event_source(&self, mapping: &EventSourceMapping, group: String, function: Function) -> EventSource {
        EventSource {
            mapping: mapping.clone(),
            group,
            function,
            table: self.table.clone(),
            positions: self.positions.clone(),
        }
    }

    /// Whether the group that writes a generation has read everything that there is.
    #[must_use]
    pub fn is_caught_up(&self, generation: u32) -> bool {
        self.positions.is_caught_up(&consumer_group(&self.base_group, generation))
    }

    /// Whether a generation can serve: a log that is not there has nothing to read, and nothing to serve.
    fn is_complete(&self, generation: u32) -> bool {
        self.is_caught_up(generation)
            && self.positions.has_partitions(&consumer_group(&self.base_group, generation))
    }
}

/// Runs until SIGINT or SIGTERM; with a terminal and no Telegram, until the chat is left.
///
/// # Errors
/// What keeps it from running, with what to do.
pub async fn run(options: Local) -> anyhow::Result<()> {
    let template = Template::read()?;
    let topics = materialize::Topics {
        clients: options.topics.clients_topic.clone(),
        devices: options.topics.devices_topic.clone(),
        // in a spool it has a name of its own, however it is called in Kafka
        sensors: match &options.log.bootstrap_servers {
            Some(_kafka) => options.sensors_topic.clone(),
            None => SENSORS.to_owned(),
        },
        ..materialize::Topics::default()
    };
    let mappings = Mappings::read(&template, topics, options.batching_window)?;
    let data = match &options.data {
        Some(data) => data.clone(),
        None => capture_agent::spool::default_directory()?,
    };
    let (table, embedded, lock) = open_table(&options, &data, &template).await?;
    let socket = lock.as_ref().map(TableSocket::bind).transpose().unwrap_or_else(|error| {
        tracing::warn!("other commands cannot use the table while this runs: {error:#}");
        None
    });
    let (_socket, at_socket) = socket.unzip();
    let time_zone = options.time_zone.clone().map_or_else(TimeZone::system, |zone| zone.0);
    let retention = Retention::in_days(options.day_retention, options.totals_retention);
    let in_terminal = chats_in_terminal(&options);
    let client = telegram(&options).await?;
    let (bot, terminal) = match &client {
        Some(client) => (Telegram::ready(client.clone()), None),
        None if in_terminal => {
            let (client, terminal) = terminal::Terminal::new();
            (Telegram::ready(client), Some(terminal))
        }
        None => (Telegram::none(), None),
    };
    let host = Host::new(table, mappings, retention, time_zone, bot).await?;
    let mut host = host.with_ingest_stalled_after(options.ingest_stalled_after);
    let mut api = Bot::Here(Arc::clone(&host.bot));
    if let Some(endpoint) = &options.functions {
        let function = Deployed::at(Some(endpoint)).await;
        api = Bot::Deployed(function("bot"));
        host = host.with_deployed(DeployedFunctions::find(function).await?);
    }
    let host = Arc::new(host);

    let kafka = options
        .log
        .bootstrap_servers
        .as_deref()
        .map(|servers| kafka_config(servers, options.log.kafka_config.as_deref()))
        .transpose()?
        .map(|mut config| {
            as_member(&mut config, gethostname::gethostname().to_string_lossy());
            config
        });
    let log = kafka.as_ref().map_or(Log::Spool, Log::Kafka);
    let now_ms = runtime::clock::now_ms();
    let plan = changeover::plan(
        &host.table,
        &host.base_group,
        &host.mappings.aggregate.topic,
        log,
        options.start_at,
        now_ms,
    )
    .await?;
    let listener = http_api::bind(options.http).await?;
    // before anybody is told that it is ready: until now a signal ends it at once, and nothing is lost
    let mut signals = Signals::listen()?;
    let address = listener.local_addr()?;

    let (trigger, shutdown) = shutdown::channel();
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let stop = shutdown.clone();
    tasks.spawn(async move { Ok(http_api::serve(listener, api, stop).await?) });
    if let (Some(listener), Some(embedded)) = (at_socket, embedded.clone()) {
        let stop = shutdown.clone();
        tasks.spawn(async move { Ok(table_socket::serve(listener, embedded, stop).await?) });
    }
    let spool = options.log.spool.clone().unwrap_or(data);
    if let Some(alert) = host.alert() {
        changeover::begin_alerts(&host.table, &alert, log, &spool, now_ms).await?;
        tasks.spawn(rounds(alert.function.clone(), shutdown.clone()));
        feed(alert, kafka.clone(), spool.clone(), &shutdown, &mut tasks);
    }
    for source in host.materialize() {
        // of its topics a spool has that of the sensors alone
        if kafka.is_some() || source.mapping.topic == SENSORS {
            feed(source, kafka.clone(), spool.clone(), &shutdown, &mut tasks);
        }
    }
    tasks.spawn(follow(Arc::clone(&host), kafka, spool, plan, shutdown.clone()));
    if let Some(embedded) = embedded {
        tasks.spawn(sweep(embedded, shutdown.clone()));
    }

    let mut stdout = std::io::stdout();
    writeln!(stdout, "ready http://{address}")?;
    stdout.flush()?;

    if let Some(client) = client {
        owner_code::print_if_none_owns(&host.table, &client).await?;
        let (webhook, stop) = (host.webhook.clone(), shutdown.clone());
        tasks.spawn(async move {
            long_polling::set_commands(&client, &webhook).await;
            long_polling::run(&client, &webhook, &stop).await;
            Ok(())
        });
    }
    let ended = tokio::select! {
        () = signals.wait() => Ok(()),
        chat = chat(&host, terminal) => chat,
        task = failed(&mut tasks) => task,
    };
    trigger.pull();
    let finished = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        tracing::warn!(
            "something did not end in time: what it had not finished is done again at the next start"
        );
    }
    ended
}

/// Whether the bot is in Telegram.
const fn is_in_telegram(options: &Local) -> bool {
    options.telegram_token_file.is_some() || options.telegram_token_secret.is_some()
}

/// Whether the bot is in this terminal.
#[must_use]
pub fn chats_in_terminal(options: &Local) -> bool {
    !is_in_telegram(options) && options.functions.is_none() && terminal::is_ours()
}

/// The table, and what it needs to stay.
async fn open_table(
    options: &Local,
    data: &Path,
    template: &Template,
) -> anyhow::Result<(Table, Option<Embedded>, Option<DataDirectory>)> {
    if let Some(endpoint) = &options.dynamodb_endpoint {
        let table = remote_table::open(endpoint, &options.table, template).await?;
        return Ok((table, None, None));
    }
    if options.in_memory {
        let embedded = Embedded::open(None, template)?;
        return Ok((embedded.table(), Some(embedded), None));
    }
    let directory = DataDirectory::open(data)?;
    let embedded = Embedded::open(Some(&directory.table()), template)?;
    Ok((embedded.table(), Some(embedded), Some(directory)))
}

/// Feeds a function from Kafka or from the spool.
pub fn feed(
    source: EventSource,
    kafka: Option<ClientConfig>,
    spool: PathBuf,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) {
    // Until something is read, nobody knows whether there is more.
    source.positions.update(&source.group, &source.mapping.topic, |reader| reader.partitions_known = false);
    let stop = shutdown.clone();
    match kafka {
        Some(config) => {
            let handle = Handle::current();
            tasks.spawn_blocking(move || kafka_source::run(&source, &config, &handle, &stop));
        }
        None => {
            tasks.spawn(async move { spool_source::run(&source, &spool, &stop).await });
        }
    }
}

/// Calls `alert` for what is due, as the schedule does on AWS.
///
/// # Errors
/// None: what fails is due in the next round.
pub async fn rounds(alert: Function, shutdown: Shutdown) -> anyhow::Result<()> {
    let event = RawValue::from_string(alert::handler::ROUND.to_owned())?;
    let mut fails = false;
    while !shutdown.is_pulled() {
        tokio::select! {
            () = tokio::time::sleep(ROUND_EVERY) => {}
            () = shutdown.wait() => break,
        }
        let outcome = alert.handle(&event).await;
        match &outcome {
            // said once, and not every few seconds
            Err(error) if !fails => {
                tracing::warn!(
                    error = runtime::log::with_causes(error),
                    "messages that are due have to wait"
                );
            }
            _ => {}
        }
        fails = outcome.is_err();
    }
    Ok(())
}

/// Feeds the generation that is to be written, and goes over to another one when somebody lets that serve: a generation is written
/// by its own group alone.
async fn follow(
    host: Arc<Host>,
    kafka: Option<ClientConfig>,
    spool: PathBuf,
    mut plan: Plan,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    loop {
        let (trigger, stop) = shutdown::channel();
        let mut feeds = JoinSet::new();
        feed(host.aggregate(plan.generation), kafka.clone(), spool.clone(), &stop, &mut feeds);
        let next = tokio::select! {
            next = next_plan(&host, plan) => Some(next),
            failure = failed(&mut feeds) => return failure,
            () = shutdown.wait() => None,
        };
        trigger.pull();
        while let Some(ended) = feeds.join_next().await {
            ended.context("a part of probegram panicked")??;
        }
        let Some(next) = next else { return Ok(()) };
        host.positions.forget(&host.group(plan.generation));
        if host.deployed.is_some() {
            bail!(
                "generation {} serves now: give the deployed function aggregate GENERATION={0} and CONSUMER_GROUP={}, then start again",
                next.generation,
                host.group(next.generation)
            );
        }
        if !changeover::is_fed_from(&host.table, &host.base_group, next.generation, kafka.is_some()).await? {
            bail!(
                "generation {} serves now, and it is fed from another log than this program reads: start again as for that one",
                next.generation
            );
        }
        tracing::info!(generation = next.generation, "another generation serves, and is fed from now on");
        plan = next;
    }
}

/// Returns when another generation is to be written than the plan says; until then takes a complete rebuild into service.
async fn next_plan(host: &Host, mut plan: Plan) -> Plan {
    let mut looked = tokio::time::Instant::now();
    loop {
        if let Some(old) = plan.replaces
            && host.is_complete(plan.generation)
        {
            match generation::flip(&host.table, old, plan.generation).await {
                Ok(_by_us_or_by_another) => {
                    tracing::info!(generation = plan.generation, "the rebuild is complete and serves");
                    plan.replaces = None;
                }
                Err(error) => tracing::warn!(
                    error = runtime::log::with_causes(&error),
                    "the rebuild is complete but cannot be taken into service yet"
                ),
            }
        }
        if looked.elapsed() >= LOOK_AT_POINTER_EVERY {
            looked = tokio::time::Instant::now();
            match host.bot.generation.refresh().await {
                Ok(serving) if serving == plan.generation => plan.replaces = None,
                Ok(serving) if plan.replaces == Some(serving) => {}
                Ok(serving) => return Plan { generation: serving, replaces: None },
                Err(error) => tracing::warn!(
                    error = runtime::log::with_causes(&error),
                    "the table does not tell which generation serves"
                ),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Deletes expired items now and then.
async fn sweep(embedded: Embedded, shutdown: Shutdown) -> anyhow::Result<()> {
    while !shutdown.is_pulled() {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            () = shutdown.wait() => break,
        }
        match embedded.sweep() {
            Ok(0) => {}
            Ok(items) => tracing::info!(items, "expired items were deleted"),
            Err(error) => tracing::warn!(%error, "expired items could not be deleted"),
        }
    }
    Ok(())
}

/// Returns when a task has failed.
///
/// # Errors
/// Why it failed.
pub async fn failed(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(task) = tasks.join_next().await {
        task.context("a part of probegram panicked")??;
    }
    std::future::pending().await
}

/// A chat in the terminal, if there is one.
async fn chat(host: &Host, terminal: Option<terminal::Terminal>) -> anyhow::Result<()> {
    let Some(terminal) = terminal else { return std::future::pending().await };
    terminal::let_in(&host.table).await?;
    writeln!(std::io::stdout(), "\nSend me a MAC address, or /help. Ctrl-D leaves.")?;
    terminal.chat(host.webhook.clone()).await
}

/// The bot with its token.
async fn telegram(options: &Local) -> anyhow::Result<Option<telegram::Client>> {
    let place = match (&options.telegram_token_file, &options.telegram_token_secret) {
        (Some(file), _) => Place::File(file.clone()),
        (None, Some(name)) => Place::SecretsManager(name.clone()),
        (None, None) => return Ok(None),
    };
    let secret = Secret::at(place, Some(account::config().await));
    let token = secret.read().await?;
    let client = telegram::Client::new(&options.telegram_api_url, token.expose_secret().into())?;
    Ok(Some(client))
}

/// librdkafka's settings for these brokers.
///
/// # Errors
/// When the file cannot be read, or is none of properties.
pub fn kafka_config(servers: &str, file: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("client.id", "probegram");
    for (name, value) in file.map(capture_agent::producer::read_properties).transpose()?.unwrap_or_default() {
        config.set(name, value);
    }
    config.set("bootstrap.servers", servers);
    Ok(config)
}

/// Makes the client the same member of its group after a start anew: the group would wait 45 s for one that was killed.
pub fn as_member(config: &mut ClientConfig, name: impl Into<String>) {
    const NAME: &str = "group.instance.id";
    if config.get(NAME).is_none() {
        config.set(NAME, name);
    }
}
