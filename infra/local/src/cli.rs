//! The command line of `probegram`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use domain::{Collection, Mac};
use runtime::zoned::ZoneName;

use crate::changeover::StartAt;

/// Hears which Wi-Fi networks devices look for, and tells it in a chat.
#[derive(Debug, Parser)]
#[command(name = "probegram", version, about, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows all of it with a made-up household: capture, spool, statistics, chat
    #[command(
        after_help = "Examples:\n  probegram demo\n  probegram demo --time-zone Europe/London </dev/null"
    )]
    Demo(Demo),
    /// Runs the whole system on this machine, without an AWS account
    #[command(after_help = LOCAL_EXAMPLES)]
    Local(Box<Local>),
    /// Checks the topics of a Kafka cluster, and makes those that are missing
    #[command(after_help = TOPICS_EXAMPLES)]
    Topics(Topics),
    /// Lists the records that could not be read, and why
    #[command(after_help = QUARANTINE_EXAMPLES)]
    Quarantine(Quarantine),
    /// Prints a code that makes a Telegram chat the bot's owner, once
    #[command(after_help = OWNER_CODE_EXAMPLES)]
    OwnerCode(OwnerCode),
    /// Counts the whole log anew while the table goes on serving, compares, and lets the new counts serve
    #[command(after_help = REBUILD_EXAMPLES)]
    Rebuild(Rebuild),
    /// Writes what the table holds of devices, or of all, as JSON lines
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Export),
    /// Forgets what was heard of a device
    #[command(after_help = FORGET_EXAMPLES)]
    Forget(Forget),
    /// Feeds the functions of a stack from a Kafka that AWS does not reach
    #[command(after_help = EVENT_SOURCES_EXAMPLES)]
    EventSources(EventSources),
    /// Tells Telegram where a stack's bot is reached, or what Telegram says of that
    #[command(subcommand, after_help = WEBHOOK_EXAMPLES)]
    Webhook(Webhook),
    /// Looks at all parts of a stack on AWS, and says what is wrong and what mends it
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(OfStack),
    /// Takes the names of devices from an export of a UniFi controller
    #[command(long_about = UNIFI_IMPORT_ABOUT, after_help = UNIFI_IMPORT_EXAMPLES)]
    UnifiImport(UnifiImport),
}

const UNIFI_IMPORT_ABOUT: &str = "Takes the names of devices from an export of a UniFi controller

It is for a controller whose MongoDB runs alone, so that no connector can read its changes: names are as new as the last import. Export again and type the \
same command whenever you like, or let cron do it.

What a file is, its content says: mongoexport's JSON, a document a line or in an array; mongodump's BSON; an answer of the controller's API. Of each document \
_id, mac, name, hostname, oui, is_guest, model and type are taken; nothing else goes into the table or to Kafka. A file that cannot be read to its end is not \
imported, and then neither are the others.";

const UNIFI_IMPORT_EXAMPLES: &str = "Examples:
  # by mongoexport, on the controller; see first what it gives, then import it
  for c in user device; do mongoexport --port 27117 --db ace --collection $c --fields=_id,mac,name,hostname,oui,is_guest,model,type --out $c.json; done
  probegram unifi-import user.json device.json --dry-run
  probegram unifi-import user.json device.json

  # by mongodump; devices that the controller has forgotten lose their names here too
  for c in user device; do mongodump --port 27117 --db ace --collection $c --out dump; done
  probegram unifi-import dump/ace --remove-missing

  # by the controller's API (a UniFi OS console: /api/auth/login, and /proxy/network before /api/s); the answer goes on by a pipe
  curl -sk -c cookie -d @login.json -H 'Content-Type: application/json' https://unifi:8443/api/login   # {\"username\":…,\"password\":…}
  for p in rest/user stat/device; do curl -sk -b cookie https://unifi:8443/api/s/default/$p | probegram unifi-import -; done

  # into the table of a stack on AWS
  probegram unifi-import user.json device.json --stack probegram

  # to Kafka, from where `materialize` takes it into the table
  probegram unifi-import user.json device.json --bootstrap-servers broker:9092 --kafka-config ~/kafka.properties";

const WEBHOOK_EXAMPLES: &str = "Examples:
  # after the stack was deployed, and whenever the secret token is to change: makes a new one, and prints a link for the first owner
  probegram webhook set --stack probegram

  # what Telegram last complained of, and what to do; ends with 0 if nothing is wrong, with 1 otherwise
  probegram webhook check --stack probegram

  # so that another program can have the bot, such as `probegram local`
  probegram webhook delete --stack probegram";

const DOCTOR_EXAMPLES: &str = "Examples:
  # ends with 0 if nothing is wrong, with 1 otherwise
  probegram doctor --stack probegram
  AWS_PROFILE=home AWS_REGION=eu-west-2 probegram doctor --stack probegram";

const OWNER_CODE_EXAMPLES: &str = "Examples:
  # for the bot of this machine, also while `probegram local` runs
  probegram owner-code

  # for a stack on AWS
  probegram owner-code --stack probegram";

const REBUILD_EXAMPLES: &str = "Examples:
  # from the agent's spool, or from Kafka; also while `probegram local` runs. After Ctrl-C it goes on where it was
  probegram rebuild
  probegram rebuild --bootstrap-servers broker:9092

  # only look what would change; then take it into service though it differs
  probegram rebuild --no-flip
  probegram rebuild --accept

  # let the generation before serve again
  probegram rebuild --back";

const EXPORT_EXAMPLES: &str = "Without addresses it is all. Codes of owners and invitations, and addresses and keys of outgoing webhooks, are left out.

Examples:
  # what there is of a device, for whom it belongs to; also while `probegram local` runs
  probegram export a4:83:e7:4e:39:15

  # all of a stack, into a file that you alone can read
  probegram export --stack probegram --output probegram.jsonl";

const FORGET_EXAMPLES: &str = "Examples:
  # it shows what there is, and asks
  probegram forget a4:83:e7:4e:39:15

  # without a question, in a stack
  probegram forget a4:83:e7:4e:39:15 --stack probegram --yes";

const EVENT_SOURCES_EXAMPLES: &str = "Examples:
  # what Lambda's event source mappings would do: for a broker at home, or a stand-in of AWS. Until Ctrl-C
  probegram event-sources --stack probegram --bootstrap-servers broker:9092";

const TOPICS_EXAMPLES: &str = "Examples:
  # what differs from what Probegram needs; ends with 0 if nothing does, with 1 otherwise
  probegram topics --bootstrap-servers broker:9092

  # make what is missing; a topic that is there is never changed
  probegram topics --bootstrap-servers pkc-1.example.com:9092 --kafka-config ~/kafka.properties --create

  # those of a stack on AWS; its functions may not make topics, so that takes a login of its own
  probegram topics --stack probegram
  probegram topics --stack probegram --kafka-config ~/kafka.properties --create";

const QUARANTINE_EXAMPLES: &str = "Examples:
  # of the last 14 days, also while `probegram local` runs
  probegram quarantine

  # of a stack on AWS
  probegram quarantine --stack probegram

  # the bytes of each record that is kept
  probegram quarantine --days 1 --json | jq -r .value_base64 | base64 -d";

const LOCAL_EXAMPLES: &str = "Examples:
  # statistics of what capture-agent has put into its spool; a chat in this terminal
  probegram local

  # the same for good, as a Telegram bot; it prints a link by which you become its owner
  probegram local --telegram-token-file ~/.probegram-token

  # from a Kafka cluster that needs a password
  probegram local --bootstrap-servers pkc-1.example.com:9092 --kafka-config ~/kafka.properties

  # ask it
  curl http://127.0.0.1:8080/v1/devices/a4:83:e7:4e:39:15
  curl http://127.0.0.1:8080/v1/status";

/// Options of `probegram demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Time zone in which times are told [default: this machine's]
    #[arg(long, value_name = "NAME")]
    pub time_zone: Option<ZoneName>,
}

/// Options of `probegram local`.
#[derive(Debug, Args)]
pub struct Local {
    /// Directory of the table and of the agent's spool [default: the user's data directory, ~/.local/share/probegram]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Keep the table in memory: it is gone at the end
    #[arg(long, conflicts_with = "data")]
    pub in_memory: bool,

    /// Which log
    #[command(flatten)]
    pub log: WhichLog,

    /// Where names come from
    #[command(flatten)]
    pub topics: UnifiTopics,

    /// Topic in which sensors say how they are
    #[arg(long, value_name = "NAME", default_value = capture_agent::spool::SENSORS)]
    pub sensors_topic: String,

    /// Tell the owners when no record has come in for so many minutes, for a feed whose sensors send no heartbeats. Not where
    /// nobody may be near for as long [default: nobody is told]
    #[arg(long, value_name = "MINUTES")]
    pub ingest_stalled_after: Option<NonZeroU32>,

    /// How to go on when the table was fed from another log
    #[arg(long, value_enum)]
    pub start_at: Option<StartAt>,

    /// Use a DynamoDB at this endpoint instead of the embedded one; region and credentials come from the environment
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "in_memory"])]
    pub dynamodb_endpoint: Option<String>,

    /// The table's name at that endpoint; it is made if it is not there
    #[arg(long, value_name = "NAME", default_value = crate::embedded::TABLE)]
    pub table: String,

    /// Invoke deployed functions through the Lambda API at this endpoint, `aggregate`, `bot`, and if they are there `materialize`
    /// and `alert`, instead of running them in this process; region and credentials come from the environment. Their TABLE_NAME is the table above
    #[arg(long, value_name = "URL", requires_all = ["dynamodb_endpoint", "bootstrap_servers"],
          conflicts_with_all = ["telegram_token_file", "telegram_token_secret", "start_at", "ingest_stalled_after"])]
    pub functions: Option<String>,

    /// Address of the JSON interface: on this machine alone. Port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,

    /// Time zone in which times are told [default: this machine's]
    #[arg(long, value_name = "NAME")]
    pub time_zone: Option<ZoneName>,

    /// File with the bot's token. With it the bot is in Telegram, without it in this terminal
    #[arg(long, value_name = "FILE")]
    pub telegram_token_file: Option<PathBuf>,

    /// Name or ARN of the secret in AWS Secrets Manager with the bot's token
    #[arg(long, value_name = "NAME", conflicts_with = "telegram_token_file")]
    pub telegram_token_secret: Option<String>,

    /// Bot API server to use
    #[arg(long, value_name = "URL", default_value = telegram::client::API_URL)]
    pub telegram_api_url: String,

    /// How long a batch waits to become full, in seconds [default: as in template.yaml]
    #[arg(long, value_name = "SECONDS")]
    pub batching_window: Option<u64>,

    /// Keep a device's days for so many days
    #[arg(long, value_name = "DAYS", default_value_t = aggregate::Context::DAY_RETENTION_DAYS)]
    pub day_retention: u32,

    /// Keep a device's totals for so many days after it was last heard [default: until it is forgotten]
    #[arg(long, value_name = "DAYS")]
    pub totals_retention: Option<u32>,
}

/// Which table an operator's command works on.
#[derive(Debug, Args)]
pub struct WhichTable {
    /// Directory of the table [default: the user's data directory, ~/.local/share/probegram]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// The table of this stack on AWS; region and credentials come from the environment, as for the AWS CLI
    #[arg(long, value_name = "NAME", conflicts_with_all = ["data", "dynamodb_endpoint", "table"])]
    pub stack: Option<String>,

    /// Use the DynamoDB at this endpoint instead; region and credentials come from the environment
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub dynamodb_endpoint: Option<String>,

    /// The table's name at that endpoint
    #[arg(long, value_name = "NAME", default_value = crate::embedded::TABLE, requires = "dynamodb_endpoint")]
    pub table: String,
}

impl WhichTable {
    /// The data directory.
    ///
    /// # Errors
    /// When none is named and the user has no home.
    pub fn data(&self) -> anyhow::Result<PathBuf> {
        match &self.data {
            Some(data) => Ok(data.clone()),
            None => Ok(capture_agent::spool::default_directory()?),
        }
    }
}

/// Options of `probegram topics`.
#[derive(Debug, Args)]
pub struct Topics {
    /// The cluster and the topics' names of this stack on AWS, with the login of its functions unless --kafka-config has another; region and
    /// credentials come from the environment, as for the AWS CLI
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,

    /// The cluster's brokers [default with --stack: those of the stack, if it is fed by Confluent]
    #[arg(long, value_name = "HOST:PORT,…", required_unless_present = "stack")]
    pub bootstrap_servers: Option<String>,

    /// File with more of librdkafka's settings, a `name=value` a line: security.protocol, sasl.username, …
    #[arg(long, value_name = "FILE")]
    pub kafka_config: Option<PathBuf>,

    /// Make the topics that are missing
    #[arg(long)]
    pub create: bool,

    /// How many brokers keep a topic that is made [default: as the cluster is set]
    #[arg(long, value_name = "N", requires = "create", value_parser = clap::value_parser!(i32).range(1..=100))]
    pub replication_factor: Option<i32>,
}

/// Options of `probegram export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Addresses of devices
    #[arg(value_name = "MAC")]
    pub devices: Vec<Mac>,

    /// Which table
    #[command(flatten)]
    pub which: WhichTable,

    /// A new file for it, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Options of `probegram forget`.
#[derive(Debug, Args)]
pub struct Forget {
    /// Addresses of devices
    #[arg(value_name = "MAC", required = true)]
    pub devices: Vec<Mac>,

    /// Which table
    #[command(flatten)]
    pub which: WhichTable,

    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Options of `probegram event-sources`.
#[derive(Debug, Args)]
pub struct EventSources {
    /// The stack whose functions are fed, as its own event source mappings say
    #[arg(long, value_name = "NAME")]
    pub stack: String,

    /// The cluster's brokers
    #[arg(long, value_name = "HOST:PORT,…")]
    pub bootstrap_servers: String,

    /// File with more of librdkafka's settings, a `name=value` a line: security.protocol, sasl.username, …
    #[arg(long, value_name = "FILE")]
    pub kafka_config: Option<PathBuf>,
}

/// Which stack.
#[derive(Debug, Args)]
pub struct OfStack {
    /// The stack on AWS; region and credentials come from the environment, as for the AWS CLI
    #[arg(long, value_name = "NAME")]
    pub stack: String,
}

/// What `probegram webhook` does.
#[derive(Debug, Subcommand)]
pub enum Webhook {
    /// Makes a secret token, lets the stack know it, and tells Telegram to post updates there. Typed again it mends what was interrupted
    Set(OfStack),
    /// Says whether Telegram posts updates there, and what it last complained of
    Check(OfStack),
    /// Tells Telegram to post updates nowhere
    Delete(DeleteWebhook),
}

/// Options of `probegram webhook delete`.
#[derive(Debug, Args)]
pub struct DeleteWebhook {
    /// Which stack
    #[command(flatten)]
    pub stack: OfStack,

    /// Drop the updates that wait
    #[arg(long)]
    pub drop_pending: bool,
}

/// Options of `probegram owner-code`.
#[derive(Debug, Args)]
pub struct OwnerCode {
    /// Which table
    #[command(flatten)]
    pub which: WhichTable,
}

/// Options of `probegram quarantine`.
#[derive(Debug, Args)]
pub struct Quarantine {
    /// Which table
    #[command(flatten)]
    pub which: WhichTable,

    /// The topic; its records in a spool are listed too [default: the stack's, or pcap]
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,

    /// How many days back, by the time at which Kafka or the spool took the record
    #[arg(long, value_name = "N", default_value_t = state::quarantine::KEPT_DAYS, value_parser = clap::value_parser!(u32).range(1..=3660))]
    pub days: u32,

    /// A line of JSON for each record, with all bytes that are kept, in base64
    #[arg(long)]
    pub json: bool,

    /// Time zone in which times are told [default: this machine's]
    #[arg(long, value_name = "NAME")]
    pub time_zone: Option<ZoneName>,
}

/// The log that is read.
#[derive(Debug, Args)]
pub struct WhichLog {
    /// Directory of the agent's spool [default: the data directory]
    #[arg(long, value_name = "DIR", conflicts_with = "bootstrap_servers")]
    pub spool: Option<PathBuf>,

    /// Read Kafka at these brokers instead of the spool
    #[arg(long, value_name = "HOST:PORT,…")]
    pub bootstrap_servers: Option<String>,

    /// File with more of librdkafka's settings, a `name=value` a line: security.protocol, sasl.username, …
    #[arg(long, value_name = "FILE", requires = "bootstrap_servers")]
    pub kafka_config: Option<PathBuf>,
}

/// Options of `probegram rebuild`.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// Which table
    #[command(flatten)]
    pub which: WhichTable,

    /// Which log
    #[command(flatten)]
    pub log: WhichLog,

    /// Let the new generation serve though it says something else than the old one
    #[arg(long, conflicts_with = "no_flip")]
    pub accept: bool,

    /// Stop after the comparison: the old generation goes on serving
    #[arg(long)]
    pub no_flip: bool,

    /// Let the generation serve that served before this one, and do nothing else
    #[arg(long, conflicts_with_all = ["accept", "no_flip", "spool"])]
    pub back: bool,

    /// Remove the consumer of a generation that does not serve, and do nothing else: after a rebuild that is not to go on
    #[arg(long, requires = "stack", conflicts_with_all = ["accept", "no_flip", "back", "bootstrap_servers", "spool"])]
    pub stop: bool,

    /// Keep a device's days for so many days: as in `probegram local`
    #[arg(long, value_name = "DAYS", default_value_t = aggregate::Context::DAY_RETENTION_DAYS)]
    pub day_retention: u32,

    /// Keep a device's totals for so many days after it was last heard: as in `probegram local` [default: until it is forgotten]
    #[arg(long, value_name = "DAYS")]
    pub totals_retention: Option<u32>,
}

/// Options of `probegram unifi-import`.
#[derive(Debug, Args)]
pub struct UnifiImport {
    /// Exports of the controller: files, - for standard input, or the directory that mongodump made for database ace
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// The collection that all documents are from [default: each document tells]
    #[arg(long, value_enum, value_name = "user|device", hide_possible_values = true)]
    pub collection: Option<UnifiCollection>,

    /// Take away what an earlier import has brought and this one does not name, of each collection of which it has a document. Only for
    /// exports of whole collections: the API's stat/sta has nobody who is not at home just now. Into the table and into topics are two
    /// ways: what came by the one is not taken away by the other
    #[arg(long, conflicts_with = "dry_run")]
    pub remove_missing: bool,

    /// Print the address and the name of each device, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Which table
    #[command(flatten)]
    pub which: WhichTable,

    /// Write to Kafka at these brokers instead, as Debezium's connector would
    #[arg(long, value_name = "HOST:PORT,…", conflicts_with_all = ["data", "dynamodb_endpoint", "stack"])]
    pub bootstrap_servers: Option<String>,

    /// File with more of librdkafka's settings, a `name=value` a line: security.protocol, sasl.username, …
    #[arg(long, value_name = "FILE", requires = "bootstrap_servers")]
    pub kafka_config: Option<PathBuf>,

    /// The topics, which are also where the table says that names come from
    #[command(flatten)]
    pub topics: UnifiTopics,
}

/// Where the UniFi controller's documents are.
#[derive(Debug, Clone, Args)]
pub struct UnifiTopics {
    /// Topic of the UniFi controller's clients
    #[arg(long, value_name = "NAME", default_value = "unifi.ace.user")]
    pub clients_topic: String,

    /// Topic of the UniFi controller's own devices
    #[arg(long, value_name = "NAME", default_value = "unifi.ace.device")]
    pub devices_topic: String,
}

/// A collection of the controller's, as MongoDB calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnifiCollection {
    /// Clients.
    User,
    /// The network's own devices.
    Device,
}

impl From<UnifiCollection> for Collection {
    fn from(collection: UnifiCollection) -> Self {
        match collection {
            UnifiCollection::User => Self::Client,
            UnifiCollection::Device => Self::Device,
        }
    }
}
