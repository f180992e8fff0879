//! `probegram topics`: the topics that Probegram needs, and whether a cluster has them so.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use capture_agent::producer::KafkaSettingsError;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::cli::Topics;
use crate::cluster::Reason;
use crate::host::kafka_config;
use crate::stack::Stack;
use crate::stack_kafka::kafka_of;

/// How long an answer of the cluster may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The broker's default.
const ANY_REPLICATION: i32 = -1;

/// A topic as Probegram needs it.
#[derive(Clone)]
struct Topic {
    name: Cow<'static, str>,
    /// The parameter of a stack that has another name.
    parameter: &'static str,
    /// At least.
    partitions: usize,
    settings: &'static [Setting],
}

/// A setting of a topic, and what happens when it differs.
struct Setting {
    name: &'static str,
    /// What a topic that is made gets.
    value: &'static str,
    wanted: Wanted,
    consequence: &'static str,
}

/// Which values do.
enum Wanted {
    /// This alone.
    Exactly,
    /// So many milliseconds or more; -1 is without end.
    AtLeastMs(i64),
    /// From so many bytes to so many.
    Bytes(i64, i64),
    /// No limit.
    NoLimit,
}

/// The settings of a topic that is a table.
const LATEST_OF_EACH_KEY: &[Setting] = &[
    Setting {
        name: "cleanup.policy",
        value: "compact",
        wanted: Wanted::Exactly,
        consequence: "Kafka forgets what was written long ago, and a new table does not know it",
    },
    Setting {
        name: "delete.retention.ms",
        value: "604800000",
        wanted: Wanted::AtLeastMs(604_800_000),
        consequence: "a deletion that the functions do not read in that time is lost, and what was deleted stays",
    },
];

/// The settings of the topic of the sensors: a table, and when a heartbeat came matters.
const LATEST_HEARTBEATS: &[Setting] = &[
    Setting {
        name: "cleanup.policy",
        value: "compact",
        wanted: Wanted::Exactly,
        consequence: "it grows by a heartbeat of each sensor every 30 s, or Kafka forgets a sensor that is silent",
    },
    Setting {
        name: "delete.retention.ms",
        value: "604800000",
        wanted: Wanted::AtLeastMs(604_800_000),
        consequence: "that a sensor is no more is lost if the functions do not read it in that time",
    },
    Setting {
        name: "message.timestamp.type",
        value: "LogAppendTime",
        wanted: Wanted::Exactly,
        consequence: "when a sensor was heard is told by the sensor's own clock, and one whose clock is behind seems silent",
    },
];

/// Every topic that Probegram reads or writes.
const TOPICS: &[Topic] = &[
    Topic {
        name: Cow::Borrowed("pcap"),
        parameter: "PcapTopic",
        partitions: 4,
        settings: &[
            Setting {
                name: "message.timestamp.type",
                value: "LogAppendTime",
                wanted: Wanted::Exactly,
                consequence: "retention goes by the time that a producer gives, so an old capture that it dates itself is deleted at \
                          once, and one record from the future makes Kafka refuse its whole batch",
            },
            Setting {
                name: "cleanup.policy",
                value: "delete",
                wanted: Wanted::Exactly,
                consequence: "records have the device's address as their key: compaction keeps one frame of each device, and a \
                          rebuild counts no other",
            },
            Setting {
                name: "retention.ms",
                value: "2592000000",
                wanted: Wanted::AtLeastMs(2_592_000_000),
                consequence: "a rebuild reaches no further back than this, and what the functions do not read in that time is lost",
            },
            Setting {
                name: "retention.bytes",
                value: "-1",
                wanted: Wanted::NoLimit,
                consequence: "a busy day pushes out records before their time",
            },
            Setting {
                // Lambda's event has at most 6 MB, and base64 makes 4 of 3: <https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html>
                name: "max.message.bytes",
                value: "1048588",
                wanted: Wanted::Bytes(1_048_588, 4_194_304),
                consequence: "Lambda takes 6 MB of JSON with base64, so a record of more than about 4.5 MB is never delivered and \
                          holds its partition up; below 1 MB Kafka refuses batches of the agent",
            },
        ],
    },
    Topic {
        name: Cow::Borrowed("ssid_alert_list"),
        parameter: "WatchListTopic",
        partitions: 1,
        settings: LATEST_OF_EACH_KEY,
    },
    Topic {
        name: Cow::Borrowed("unifi.ace.user"),
        parameter: "ClientsTopic",
        partitions: 1,
        settings: LATEST_OF_EACH_KEY,
    },
    Topic {
        name: Cow::Borrowed("unifi.ace.device"),
        parameter: "DevicesTopic",
        partitions: 1,
        settings: LATEST_OF_EACH_KEY,
    },
    Topic {
        name: Cow::Borrowed("sensors"),
        parameter: "SensorsTopic",
        partitions: 1,
        settings: LATEST_HEARTBEATS,
    },
];

/// What is made of topics that are missing: the name of each, its partitions, and its settings with their values.
pub fn made() -> impl Iterator<Item = (&'static str, usize, BTreeMap<&'static str, &'static str>)> {
    TOPICS.iter().map(|topic| {
        let settings = topic.settings.iter().map(|setting| (setting.name, setting.value));
        (&*topic.name, topic.partitions, settings.collect())
    })
}

/// Checks all topics, and makes those that are missing if that is wanted.
///
/// # Errors
/// When the cluster does not answer or refuses.
pub async fn run(options: Topics) -> anyhow::Result<ExitCode> {
    let (mut config, topics, which) = match &options.stack {
        Some(name) => {
            let stack = Stack::find(name).await?;
            let (servers, file) = (options.bootstrap_servers.as_deref(), options.kafka_config.as_deref());
            let which = format!("--stack {name}{}", servers.map_or_else(String::new, of_servers));
            (kafka_of(&stack, servers, file).await?, of_stack(&stack), which)
        }
        None => {
            let servers = options.bootstrap_servers.as_deref().unwrap_or_default();
            let config = kafka_config(servers, options.kafka_config.as_deref())?;
            (config, TOPICS.to_vec(), of_servers(servers).trim_start().to_owned())
        }
    };
    let servers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
    let reason = Reason::of(&mut config)?;
    config.set_log_level(RDKafkaLogLevel::Error);
    let admin: AdminClient<Reason> =
        config.create_with_context(reason.clone()).map_err(KafkaSettingsError::from)?;
    // it joins no group; librdkafka wants a name
    config.set("group.id", "probegram-topics");
    let consumer = config.create_with_context(reason.clone()).map_err(KafkaSettingsError::from)?;
    let cluster = Arc::new(Cluster { admin, consumer, reason, servers });
    // the token is asked for by an event, and the binding lets nobody hear the events of a client that administers
    let is_administered = !cluster.reason.is_by_iam();
    let mut all_right = true;
    for topic in &topics {
        let (asked, name) = (Arc::clone(&cluster), topic.name.clone());
        let partitions = tokio::task::spawn_blocking(move || asked.partitions(&name)).await??;
        let (is_right, text) = match partitions {
            Some(partitions) if is_administered => {
                topic.compare(partitions, Some(&cluster.settings(topic).await?), &cluster.servers)
            }
            Some(partitions) => topic.compare(partitions, None, &cluster.servers),
            None if !is_administered => (false, topic.to_be_made(&cluster.servers)),
            None if options.create => {
                cluster.create(topic, options.replication_factor.unwrap_or(ANY_REPLICATION)).await?;
                (true, topic.made())
            }
            None => (
                false,
                format!("topic {}: missing; `probegram topics {which} --create` makes it\n", topic.name),
            ),
        };
        all_right &= is_right;
        write!(std::io::stdout(), "{text}")?;
    }
    Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn of_servers(servers: &str) -> String {
    format!(" --bootstrap-servers {servers}")
}

/// The topics by the names that they have in a stack.
fn of_stack(stack: &Stack) -> Vec<Topic> {
    let named = |topic: &Topic| match stack.parameter(topic.parameter) {
        Some(name) if !name.is_empty() => Topic { name: Cow::Owned(name.to_owned()), ..topic.clone() },
        _ => topic.clone(),
    };
    TOPICS.iter().map(named).collect()
}

impl Topic {
    /// Whether a topic is as it should be, and what to say about it. Without settings of which nothing was learned, it is not.
    fn compare(&self, partitions: usize, found: Option<&ConfigResource>, servers: &str) -> (bool, String) {
        let mut right = Vec::new();
        let mut wrong = Vec::new();
        let mut unknown = None;
        if partitions >= self.partitions {
            right.push(format!("partitions: {partitions}"));
        } else {
            wrong.push(format!(
                "partitions: {partitions}, should be {} or more: Lambda reads each with one function at a time, and more cannot share the work\n      \
                 kafka-topics.sh --bootstrap-server {servers} --alter --topic {} --partitions {}",
                self.partitions, self.name, self.partitions
            ));
        }
        if found.is_none() {
            let settings: Vec<String> = self
                .settings
                .iter()
                .map(|setting| format!("{}: {}", setting.name, setting.in_words()))
                .collect();
            unknown = Some(format!(
                "settings, which cannot be asked for with a login by IAM here; they should be: {}\n      \
                 kafka-configs.sh --bootstrap-server {servers} --describe --all --entity-type topics --entity-name {}",
                settings.join(", "),
                self.name
            ));
        }
        let known = found.map(|found| self.settings.iter().map(move |setting| (setting, found)));
        for (setting, found) in known.into_iter().flatten() {
            let Some(value) = found.get(setting.name).and_then(|entry| entry.value.as_deref()) else {
                wrong.push(format!(
                    "{}: Kafka does not tell, should be {}: allow this user DescribeConfigs on the topic, or {}",
                    setting.name,
                    setting.in_words(),
                    setting.consequence
                ));
                continue;
            };
            let value_in_words = in_words(setting.name, value);
            if setting.accepts(value) {
                right.push(format!("{}: {value_in_words}", setting.name));
            } else {
                wrong.push(format!(
                    "{}: {value_in_words}, should be {}: {}\n      \
                     kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name {} --add-config {}={}",
                    setting.name,
                    setting.in_words(),
                    setting.consequence,
                    self.name,
                    setting.name,
                    setting.value
                ));
            }
        }
        let mut text = format!("topic {}\n", self.name);
        for line in &right {
            text += &format!("  right    {line}\n");
        }
        for line in &wrong {
            text += &format!("  differs  {line}\n");
        }
        if let Some(line) = &unknown {
            text += &format!("  unknown  {line}\n");
        }
        if !wrong.is_empty() || unknown.is_some() {
            text +=
                "Nothing was changed. Where Kafka wants a login, kafka-*.sh take it by --command-config.\n";
        }
        (wrong.is_empty() && unknown.is_none(), text)
    }

    /// How to make it where this program cannot.
    fn to_be_made(&self, servers: &str) -> String {
        let settings: String = self
            .settings
            .iter()
            .map(|setting| format!(" --config {}={}", setting.name, setting.value))
            .collect();
        format!(
            "topic {}: missing, and cannot be made with a login by IAM here\n      \
             kafka-topics.sh --bootstrap-server {servers} --create --topic {} --partitions {}{settings}\n",
            self.name, self.name, self.partitions
        )
    }

    fn made(&self) -> String {
        let settings: Vec<String> = self
            .settings
            .iter()
            .map(|setting| format!("{}: {}", setting.name, in_words(setting.name, setting.value)))
            .collect();
        let partitions = if self.partitions == 1 {
            "1 partition".to_owned()
        } else {
            format!("{} partitions", self.partitions)
        };
        format!("topic {}: made, with {partitions}; {}\n", self.name, settings.join(", "))
    }
}

impl Setting {
    fn accepts(&self, value: &str) -> bool {
        let number: Option<i64> = value.parse().ok();
        match self.wanted {
            Wanted::Exactly => value == self.value,
            Wanted::AtLeastMs(least) => number.is_some_and(|number| number < 0 || number >= least),
            Wanted::Bytes(least, most) => number.is_some_and(|number| (least..=most).contains(&number)),
            Wanted::NoLimit => number.is_some_and(|number| number < 0),
        }
    }

    /// What it should be.
    fn in_words(&self) -> String {
        let value = in_words(self.name, self.value);
        match self.wanted {
            Wanted::AtLeastMs(_) => format!("{value} or more"),
            Wanted::Exactly | Wanted::Bytes(..) | Wanted::NoLimit => value,
        }
    }
}

/// A value with its unit.
fn in_words(setting: &str, value: &str) -> String {
    match (setting, value.parse::<i64>()) {
        ("retention.ms" | "delete.retention.ms" | "retention.bytes", Ok(number)) if number < 0 => {
            "without limit".to_owned()
        }
        ("retention.ms" | "delete.retention.ms", Ok(ms)) => match (ms / 86_400_000, ms / 1000) {
            (0, seconds) => format!("{seconds} s"),
            (days, _) => format!("{days} days"),
        },
        (_, Ok(bytes)) => format!("{bytes} bytes"),
        (_, Err(_text)) => value.to_owned(),
    }
}

/// A cluster whose topics are looked at.
struct Cluster {
    admin: AdminClient<Reason>,
    /// Asks what needs no administrator: it can tell why there is no answer.
    consumer: BaseConsumer<Reason>,
    reason: Reason,
    servers: String,
}

impl Cluster {
    /// How many partitions a topic has; `None` when there is no such topic. Of all topics together: asked for by its name, a topic
    /// that is missing may be made by the broker.
    fn partitions(&self, topic: &str) -> anyhow::Result<Option<usize>> {
        self.reason.prepare(&self.consumer);
        let metadata = self
            .consumer
            .fetch_metadata(None, TIMEOUT)
            .map_err(|error| self.reason.explain_to(&self.consumer, &self.servers, &error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        Ok(found.map(|topic| topic.partitions().len()))
    }

    async fn settings(&self, topic: &Topic) -> anyhow::Result<ConfigResource> {
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let which = ResourceSpecifier::Topic(&topic.name);
        let mut answers =
            self.admin.describe_configs([&which], &options).await.map_err(|error| self.explain(&error))?;
        let answer = answers.pop().context("Kafka says nothing about the topic")?;
        answer.map_err(|code| self.explain(&KafkaError::AdminOp(code)))
    }

    async fn create(&self, topic: &Topic, replication: i32) -> anyhow::Result<()> {
        let partitions = i32::try_from(topic.partitions)?;
        let mut new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(replication));
        for setting in topic.settings {
            new = new.set(setting.name, setting.value);
        }
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
        let answers = self.admin.create_topics([&new], &options).await;
        for answer in answers.map_err(|error| self.explain(&error))? {
            answer.map_err(|(name, code)| match code {
                RDKafkaErrorCode::InvalidReplicationFactor => anyhow!(
                    "Kafka does not make topic {name}: it has not so many brokers; give --replication-factor"
                ),
                RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
                    anyhow!("Kafka does not make topic {name}: allow this user CREATE on the cluster")
                }
                other => anyhow!("Kafka does not make topic {name}: {other}"),
            })?;
        }
        Ok(())
    }

    fn explain(&self, error: &KafkaError) -> anyhow::Error {
        self.reason.explain(&self.servers, error)
    }
}
