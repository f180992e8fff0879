//! `probegram event-sources`: feeds the deployed functions of a stack from Kafka, in the place of Lambda's event source mappings: for a
//! Kafka that AWS does not reach, and for stand-ins of AWS, which have none.
//!
//! Which functions, topics, consumer groups, windows, sizes and filters these are stands in the stack's template as CloudFormation has it.
//! It is looked at again and again, so that a rebuild's mappings come and go as they would on AWS.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bot::status::Positions;
use rdkafka::config::ClientConfig;
use state::Table;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::cli::EventSources;
use crate::event_source::EventSource;
use crate::function::{Deployed, Function};
use crate::host::{self, kafka_config};
use crate::shutdown::{self, Shutdown, Signals, Trigger};
use crate::stack::Stack;
use crate::template::{EventSourceMapping, Template};
use crate::{kafka_source, remote_table};

/// How often it is looked which mappings the stack has.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the end may take: an invocation that is under way is not waited for longer.
const GRACE: Duration = Duration::from_secs(8);

/// Feeds the functions until SIGINT or SIGTERM.
///
/// # Errors
/// When there is no such stack, or Kafka's settings are none.
pub async fn run(options: EventSources) -> anyhow::Result<ExitCode> {
    let stack = Stack::find(&options.stack).await?;
    let config = kafka_config(&options.bootstrap_servers, options.kafka_config.as_deref())?;
    let table = remote_table::of_stack(&stack)?;
    let functions = Deployed::at(None).await;
    let mut signals = Signals::listen()?;
    let mut feeds = Feeds { config, table, running: BTreeMap::new(), tasks: JoinSet::new() };
    feeds.follow(&mappings(&stack).await?, &functions);
    writeln!(std::io::stdout(), "ready {}", stack.name())?;
    let ended = tokio::select! {
        () = signals.wait() => Ok(()),
        ended = feeds.run(stack.name(), &functions) => ended,
    };
    feeds.running.clear(); // which ends them
    let finished = async { while feeds.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        tracing::warn!("an invocation is still under way: its batch is delivered again at the next start");
    }
    ended.map(|()| ExitCode::SUCCESS)
}

/// The event source mappings of a stack, by their logical ids.
async fn mappings(stack: &Stack) -> anyhow::Result<BTreeMap<String, EventSourceMapping>> {
    let template = Template::of_stack(&stack.template().await?, stack.parameters(), stack.resources())?;
    let names = template.of_type("AWS::Lambda::EventSourceMapping").map(|(name, _)| name);
    // what is being made or deleted is in the template, and not there yet or any more
    let there = names.filter(|name| stack.resources().contains_key(*name));
    there.map(|name| Ok((name.to_owned(), template.mapping(name)?))).collect()
}

struct Feeds {
    config: ClientConfig,
    table: Table,
    running: BTreeMap<String, Feed>,
    tasks: JoinSet<anyhow::Result<()>>,
}

/// A mapping that is at work. It ends when this goes out of scope.
struct Feed {
    mapping: EventSourceMapping,
    trigger: Trigger,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.trigger.pull();
    }
}

impl Feeds {
    async fn run(&mut self, name: &str, functions: &impl Fn(&str) -> Deployed) -> anyhow::Result<()> {
        loop {
            let pause = tokio::time::sleep(LOOK_EVERY);
            tokio::select! {
                () = pause => {}
                Some(ended) = self.tasks.join_next() => {
                    ended.context("an event source panicked")??;
                    continue;
                }
            }
            let looked = async { mappings(&Stack::find(name).await?).await };
            match looked.await {
                Ok(mappings) => self.follow(&mappings, functions),
                Err(error) => tracing::warn!("the stack does not tell its mappings: {error:#}"),
            }
        }
    }

    /// Begins what is new, and ends what is no more.
    fn follow(
        &mut self,
        mappings: &BTreeMap<String, EventSourceMapping>,
        functions: &impl Fn(&str) -> Deployed,
    ) {
        self.running.retain(|name, feed| {
            let stays = mappings.get(name) == Some(&feed.mapping);
            if !stays {
                tracing::info!("{name} is no more");
            }
            stays
        });
        for (name, mapping) in mappings {
            if self.running.contains_key(name) {
                continue;
            }
            let EventSourceMapping { topic, consumer_group: group, .. } = mapping;
            tracing::info!("{name} feeds {} from topic {topic} as group {group}", mapping.function);
            let (trigger, stop) = shutdown::channel();
            self.begin(mapping, functions(&mapping.function), stop);
            self.running.insert(name.clone(), Feed { mapping: mapping.clone(), trigger });
        }
    }

    fn begin(&mut self, mapping: &EventSourceMapping, function: Deployed, stop: Shutdown) {
        let source = EventSource {
            mapping: mapping.clone(),
            group: mapping.consumer_group.clone(),
            function: Function::Deployed(function),
            table: self.table.clone(),
            positions: Positions::default(),
        };
        let mut config = self.config.clone();
        host::as_member(
            &mut config,
            format!("{}-{}", gethostname::gethostname().to_string_lossy(), mapping.topic),
        );
        let handle = Handle::current();
        self.tasks.spawn_blocking(move || kafka_source::run(&source, &config, &handle, &stop));
    }
}
