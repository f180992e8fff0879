//! A real Apache Kafka on loopback: one node or several in KRaft mode, their data in temporary folders.
//!
//! Its jars come from Maven, once, into `target/kafka`. A broker takes 3 to 5 seconds and 300 MB: tests of one file
//! may share one and use topics of their own.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tempfile::TempDir;

use crate::fetched::fetched;
use crate::process::Running;
use crate::slow_line::SlowLine;
use crate::until;

/// How long the broker may take for anything. It bounds a hang on a busy machine, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long one question to the broker may take before it is asked again.
const QUESTION: Duration = Duration::from_secs(5);

/// Java's name for "every jar of the folder".
const CLASS_PATH: &str = "lib/*";

/// Any 16 bytes in base64; the same for every broker, because each cluster has folders of its own.
const CLUSTER_ID: &str = "cHJvYmVncmFtLXRlc3RzMA";

/// A running cluster, of one broker unless more are asked for. It is killed and its data is removed when this goes out of scope.
pub struct Kafka {
    nodes: Vec<Node>,
    admin: AdminClient<DefaultClientContext>,
    _controller_port: Port,
    home: PathBuf,
    classes: Option<PathBuf>,
}

/// What a broker is to have beyond the usual.
#[derive(Default)]
pub(crate) struct Settings {
    /// Listeners as `,NAME://127.0.0.1:PORT`, whose protocols stand in the properties.
    pub(crate) listeners: String,
    /// The same as clients are told, where that is another port.
    pub(crate) advertised: Option<String>,
    /// Lines of `server.properties`.
    pub(crate) properties: String,
    /// Arguments for the formatting of its data.
    pub(crate) format: Vec<String>,
    /// A folder of classes beside the jars.
    pub(crate) classes: Option<PathBuf>,
}

/// A broker of the cluster; the first is the controller too.
struct Node {
    broker: Running,
    port: Port,
    data: TempDir,
}

/// A record to be produced.
#[derive(Debug, Clone, Default)]
pub struct NewRecord {
    /// The partition; by key without one.
    pub partition: Option<i32>,
    /// Its time stamp, milliseconds since 1970; now without one.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; None is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Whether it has headers, of bytes that are no ASCII.
    pub has_headers: bool,
}

/// A producer whose records must all be taken.
struct Acknowledged;

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _record)) = result {
            panic!("a record was refused: {error}");
        }
    }
}

/// A record as it lies in a topic, ordered by place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The partition it lies in.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its time stamp, milliseconds since 1970.
    pub timestamp: i64,
    /// The key, if it has one.
    pub key: Option<Vec<u8>>,
    /// The value; None is a tombstone.
    pub value: Option<Vec<u8>>,
}

impl Kafka {
    /// Starts a broker and waits until it answers. Where Java, Maven or kcat is missing it says so on standard error
    /// and gives None: the test is skipped.
    ///
    /// # Panics
    /// If the broker does not come up; and with `CI=true` also where something is missing, so that no test is
    /// skipped unseen.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::with_brokers(1)
    }

    /// The same with several brokers, of which every topic is on all.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    #[must_use]
    pub fn with_brokers(count: usize) -> Option<Self> {
        Self::with_settings(count, |_home| Settings::default())
    }

    /// A broker that makes a topic as soon as anybody asks for it by its name and does not forbid that.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    #[must_use]
    pub fn that_makes_topics() -> Option<Self> {
        Self::with_settings(1, |_home| Settings {
            // of two the later holds
            properties: "auto.create.topics.enable=true\n".to_owned(),
            ..Settings::default()
        })
    }

    /// A broker, also by a line that can be made narrow: the broker and the line, whose address is for clients.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    #[must_use]
    pub fn behind_a_slow_line() -> Option<(Self, SlowLine, String)> {
        let (near, far) = (Port::reserve(), Port::reserve());
        let (near_port, far_port) = (near.number(), far.number());
        let kafka = Self::with_settings(1, |_home| Settings {
            listeners: format!(",SLOW://127.0.0.1:{far_port}"),
            advertised: Some(format!(",SLOW://127.0.0.1:{near_port}")),
            properties:
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SLOW:PLAINTEXT\n\
                         inter.broker.listener.name=PLAINTEXT\n"
                    .to_owned(),
            ..Settings::default()
        })?;
        let line = SlowLine::start(near, far);
        Some((kafka, line, format!("127.0.0.1:{near_port}")))
    }

    /// Brokers with settings that are made when it is known where the jars are.
    pub(crate) fn with_settings(count: usize, settings: impl FnOnce(&Path) -> Settings) -> Option<Self> {
        if let Some(missing) = missing() {
            let message = format!("a real Kafka needs {missing}: run `infra/packages test`");
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
            crate::say_skipped(&message);
            return None;
        }
        let home = jars();
        let settings = settings(&home);
        let controller_port = Port::reserve();
        let nodes: Vec<Node> = (0..count)
            .map(|number| Node::start(&home, number, count, controller_port.number, &settings))
            .collect();
        let admin = ClientConfig::new()
            .set("bootstrap.servers", addresses(&nodes))
            .set("reconnect.backoff.max.ms", "200")
            .create()
            .expect("an admin client");
        let classes = settings.classes;
        let mut kafka = Self { nodes, admin, _controller_port: controller_port, home, classes };
        kafka.wait_until_ready();
        Some(kafka)
    }

    /// The addresses for clients, `127.0.0.1:PORT`, with commas. They stay the same over a restart.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        addresses(&self.nodes)
    }

    /// Creates a topic that keeps its records for ever: retention goes by their time stamps, and ours are of 2020.
    /// Waits until every partition can be written and read.
    ///
    /// # Panics
    /// If the broker refuses, for one because the topic exists.
    pub fn create_topic(&self, name: &str, partitions: usize) {
        let topic = NewTopic::new(
            name,
            i32::try_from(partitions).expect("a number of partitions"),
            TopicReplication::Fixed(i32::try_from(self.nodes.len()).expect("a number of brokers")),
        )
        .set("retention.ms", "-1");
        let created = block_on(self.admin.create_topics([&topic], &AdminOptions::new()));
        for result in created.expect("an answer of the broker") {
            result.unwrap_or_else(|(name, error)| panic!("topic {name} cannot be created: {error}"));
        }
        until(PATIENCE, name, || (self.partitions_with_leader(name)? == partitions).then_some(()));
    }

    /// Deletes a topic and waits until no client sees it any more.
    ///
    /// # Panics
    /// If the broker refuses, for one because there is no such topic.
    pub fn delete_topic(&self, name: &str) {
        let deleted = block_on(self.admin.delete_topics(&[name], &AdminOptions::new()));
        for result in deleted.expect("an answer of the broker") {
            result.unwrap_or_else(|(name, error)| panic!("topic {name} cannot be deleted: {error}"));
        }
        until(PATIENCE, "the end of a topic", || (self.partitions_with_leader(name)? == 0).then_some(()));
    }

    /// Deletes what lies before these offsets, as retention does: partition and offset.
    ///
    /// # Panics
    /// If the broker refuses.
    pub fn delete_records_before(&self, topic: &str, offsets: &[(i32, i64)]) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).expect("an offset");
        }
        let deleted = block_on(self.admin.delete_records(&list, &AdminOptions::new()));
        for partition in deleted.expect("an answer of the broker").elements() {
            partition.error().unwrap_or_else(|error| panic!("records of {topic} cannot be deleted: {error}"));
        }
    }

    /// The broker that leads a partition, from 0 on, as soon as one does.
    ///
    /// # Panics
    /// If none does.
    #[must_use]
    pub fn leader(&self, topic: &str, partition: i32) -> usize {
        until(PATIENCE, "a leader", || {
            let metadata = self.admin.inner().fetch_metadata(Some(topic), QUESTION).ok()?;
            let partitions = metadata.topics().first()?.partitions();
            let leader = partitions.iter().find(|found| found.id() == partition)?.leader();
            usize::try_from(leader).ok()?.checked_sub(1)
        })
    }

    /// Kills the first broker (SIGKILL) and waits until it is gone. What it had acknowledged lies in its data.
    pub fn kill(&mut self) {
        self.kill_broker(0);
    }

    /// Kills a broker. The first of several should live: it alone is the controller.
    pub fn kill_broker(&mut self, number: usize) {
        self.nodes[number].broker.kill();
    }

    /// Starts the first broker again on the same data and address, and waits until it answers.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        self.restart_broker(0);
    }

    /// Starts a broker again, and waits until all of them answer and every partition has all its replicas.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart_broker(&mut self, number: usize) {
        let home = self.home.clone();
        let node = &mut self.nodes[number];
        node.broker.kill();
        node.broker = broker(&home, self.classes.as_deref(), node.data.path());
        self.wait_until_ready();
    }

    /// Pipes lines into `kcat -P`, as the seed does: each is a record without a key, in a random partition.
    ///
    /// # Panics
    /// If kcat does not deliver them all.
    pub fn produce(&self, topic: &str, lines: &[u8]) {
        let mut kcat = Command::new("kcat")
            .args(["-P", "-b", &self.bootstrap_servers(), "-t", topic])
            // a partition for each record, said and not left to kcat's version: librdkafka by default keeps to one for
            // 10 ms, so that a short feed could lie in one or two
            .args(["-X", "topic.partitioner=random", "-X", "sticky.partitioning.linger.ms=0"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("kcat");
        let written = kcat.stdin.take().expect("its standard input").write_all(lines);
        let status = kcat.wait().expect("the end of kcat");
        assert!(status.success(), "kcat ended with {status}");
        written.expect("kcat has read everything");
    }

    /// Produces records as they are, and waits until all are acknowledged.
    ///
    /// # Panics
    /// If the broker refuses one.
    pub fn produce_records(&self, topic: &str, records: &[NewRecord]) {
        let producer: ThreadedProducer<Acknowledged> = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap_servers())
            .set("enable.idempotence", "true")
            .create_with_context(Acknowledged)
            .expect("a producer");
        for record in records {
            let mut waiting = BaseRecord::<[u8], [u8]>::to(topic);
            waiting.partition = record.partition;
            waiting.timestamp = record.timestamp;
            waiting.key = record.key.as_deref();
            waiting.payload = record.value.as_deref();
            waiting.headers = record.has_headers.then(|| {
                OwnedHeaders::new().insert(Header { key: "na\u{ef}ve", value: Some(b"\xc3\xab\xff\x00") })
            });
            producer.send(waiting).map_err(|(error, _record)| error).expect("room for a record");
        }
        producer.flush(PATIENCE).expect("acknowledgements");
    }

    /// Every record of a topic, by partition and offset.
    ///
    /// # Panics
    /// If the topic does not exist or the broker does not answer.
    #[must_use]
    pub fn read_all(&self, topic: &str) -> Vec<Record> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap_servers())
            .set("group.id", "not used") // librdkafka wants one; partitions are assigned by hand, nothing is committed
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .expect("a consumer");
        let mut unread = self.partitions_with_leader(topic).expect("an answer of the broker");
        assert!(unread > 0, "topic {topic} is missing");
        let mut partitions = TopicPartitionList::new();
        for partition in 0..i32::try_from(unread).expect("a number of partitions") {
            partitions.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&partitions).expect("an assignment");
        let mut records = Vec::new();
        while unread > 0 {
            match consumer.poll(PATIENCE).expect("an answer of the broker") {
                Ok(message) => records.push(Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp: message.timestamp().to_millis().expect("a time stamp"),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                }),
                Err(KafkaError::PartitionEOF(_)) => unread -= 1,
                Err(error) => panic!("topic {topic} cannot be read: {error}"),
            }
        }
        records.sort();
        records
    }

    /// How many partitions of a topic have a leader, 0 if there is no such topic; None if the broker does not answer.
    fn partitions_with_leader(&self, topic: &str) -> Option<usize> {
        let metadata = self.admin.inner().fetch_metadata(None, QUESTION).ok()?;
        let topic = metadata.topics().iter().find(|found| found.name() == topic);
        Some(topic.map_or(0, |topic| topic.partitions().iter().filter(|found| found.leader() >= 0).count()))
    }

    /// The port opens before the broker works, so only an answer counts.
    fn wait_until_ready(&mut self) {
        until(PATIENCE, "brokers that answer", || {
            for Node { broker, .. } in &mut self.nodes {
                if let Some(status) = broker.exit_status() {
                    panic!("a broker ended with {status}\n{}{}", broker.stdout(), broker.stderr());
                }
            }
            let metadata = self.admin.inner().fetch_metadata(None, QUESTION).ok()?;
            let partitions = || metadata.topics().iter().flat_map(|topic| topic.partitions());
            let whole = partitions().all(|partition| partition.isr().len() == self.nodes.len());
            (metadata.brokers().len() == self.nodes.len() && whole).then_some(())
        });
    }
}

impl Node {
    /// The broker of this number, from 0 on, formatted and started.
    fn start(home: &Path, number: usize, count: usize, controller: u16, settings: &Settings) -> Self {
        let port = Port::reserve();
        let data = TempDir::new().expect("a temporary folder");
        let (broker_port, id) = (port.number, number + 1);
        let (roles, listeners) = match number {
            0 => ("broker,controller", format!(",CONTROLLER://127.0.0.1:{controller}")),
            _ => ("broker", String::new()),
        };
        // with one broker a restart after kill -9 waits until the old registration has run out
        let (session_ms, heartbeat_ms) = if count == 1 { (1_000, 300) } else { (3_000, 500) };
        let properties = format!(
            "process.roles={roles}\n\
             node.id={id}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{broker_port}{listeners}{}\n\
             log.dirs={}\n\
             auto.create.topics.enable=false\n\
             min.insync.replicas={}\n\
             offsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor={count}\n\
             transaction.state.log.replication.factor={count}\n\
             transaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             broker.session.timeout.ms={session_ms}\n\
             broker.heartbeat.interval.ms={heartbeat_ms}\n\
             {}{}",
            settings.listeners,
            data.path().join("log").display(),
            count.min(2),
            settings.advertised.as_ref().map_or_else(String::new, |others| {
                format!("advertised.listeners=PLAINTEXT://127.0.0.1:{broker_port}{others}\n")
            }),
            settings.properties,
        );
        fs::write(data.path().join("server.properties"), properties).expect("the broker's configuration");
        let formatted = java(home, None)
            .args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"])
            .arg(data.path().join("server.properties"))
            .args(&settings.format)
            .output()
            .expect("java");
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        Self { broker: broker(home, settings.classes.as_deref(), data.path()), port, data }
    }
}

fn addresses(nodes: &[Node]) -> String {
    nodes.iter().map(|node| format!("127.0.0.1:{}", node.port.number)).collect::<Vec<_>>().join(",")
}

fn java(home: &Path, classes: Option<&Path>) -> Command {
    let mut java = Command::new("java");
    let class_path = match classes {
        Some(classes) => format!("{CLASS_PATH}:{}", classes.display()),
        None => CLASS_PATH.to_owned(),
    };
    java.current_dir(home).args(["-Xmx512m", "-cp", &class_path]);
    java
}

fn broker(home: &Path, classes: Option<&Path>, data: &Path) -> Running {
    Running::start(java(home, classes).arg("kafka.Kafka").arg(data.join("server.properties")))
}

/// What is not installed, of that which a real Kafka needs here.
fn missing() -> Option<&'static str> {
    let answer = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // `openjdk 17.0.15 2025-04-15`
    let java = answer("java", "--version").and_then(|text| {
        let version = text.split_whitespace().nth(1)?;
        version.split(|character: char| !character.is_ascii_digit()).next()?.parse::<u32>().ok()
    });
    if java.is_none_or(|version| version < 17) {
        Some("Java 17 or newer")
    } else if answer("mvn", "--version").is_none() {
        Some("Maven")
    } else if answer("kcat", "-V").is_none() {
        Some("kcat")
    } else {
        None
    }
}

/// The folder `target/kafka` with Kafka's jars in `lib`, fetched when they are not there as the pom wants them.
fn jars() -> PathBuf {
    fetched("kafka", "lib", "pom.xml", |lib, pom| {
        let mut maven = Command::new("mvn");
        maven
            .args(["-q", "-B", "dependency:copy-dependencies"])
            .arg(format!("-DoutputDirectory={}", lib.display()))
            .arg("-f")
            .arg(pom);
        vec![maven]
    })
}

/// A port of loopback that is ours as long as this lives: no other test takes it, nor, being below the range from
/// which the system gives ports to connections, anyone by chance. So a broker that is killed finds it free again.
pub(crate) struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Its number.
    pub(crate) const fn number(&self) -> u16 {
        self.number
    }

    /// A free one. Who has it is noted for the whole machine: tests of another checkout may run beside these.
    pub(crate) fn reserve() -> Self {
        let ports = std::env::temp_dir().join("probegram-test-ports");
        fs::create_dir_all(&ports).expect("a folder for temporary files");
        (20_000..30_000)
            .find_map(|number: u16| {
                // a file of another user is a port of another user
                let lock = File::create(ports.join(number.to_string())).ok()?;
                match lock.try_lock() {
                    Ok(()) => {}
                    Err(TryLockError::WouldBlock) => return None,
                    Err(TryLockError::Error(error)) => panic!("a port cannot be locked: {error}"),
                }
                TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
                Some(Self { number, _lock: lock })
            })
            .expect("a free port from 20000 to 29999")
    }
}
