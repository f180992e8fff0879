//! A real Apache Kafka on loopback: one node in KRaft mode, its data in a temporary folder.
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
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tempfile::TempDir;

use crate::process::{Running, target};
use crate::until;

/// How long the broker may take for anything. It bounds a hang on a busy machine, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long one question to the broker may take before it is asked again.
const QUESTION: Duration = Duration::from_secs(5);

/// Java's name for "every jar of the folder".
const CLASS_PATH: &str = "lib/*";

/// Any 16 bytes in base64; the same for every broker, because each has one node and folders of its own.
const CLUSTER_ID: &str = "cHJvYmVncmFtLXRlc3RzMA";

/// A running broker. It is killed and its data is removed when this goes out of scope.
pub struct Kafka {
    broker: Running,
    admin: AdminClient<DefaultClientContext>,
    port: Port,
    _controller_port: Port,
    home: PathBuf,
    data: TempDir,
}

/// A record as it lies in a topic, ordered by place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The partition it lies in.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
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
        if let Some(missing) = missing() {
            let message = format!("a real Kafka needs {missing}: run `infra/packages test`");
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
            crate::say_skipped(&message);
            return None;
        }
        let home = jars();
        let (port, controller_port) = (Port::reserve(&home), Port::reserve(&home));
        let data = TempDir::new().expect("a temporary folder");
        let (broker_port, controller) = (port.number, controller_port.number);
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{broker_port},CONTROLLER://127.0.0.1:{controller}\n\
             log.dirs={}\n\
             auto.create.topics.enable=false\n\
             offsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             # a restart after kill -9 waits until the old registration has run out\n\
             broker.session.timeout.ms=1000\n\
             broker.heartbeat.interval.ms=300\n",
            data.path().join("log").display()
        );
        fs::write(data.path().join("server.properties"), properties).expect("the broker's configuration");
        let formatted = java(&home)
            .args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"])
            .arg(data.path().join("server.properties"))
            .output()
            .expect("java");
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        let admin = ClientConfig::new()
            .set("bootstrap.servers", format!("127.0.0.1:{broker_port}"))
            .set("reconnect.backoff.max.ms", "200")
            .create()
            .expect("an admin client");
        let mut kafka = Self {
            broker: broker(&home, data.path()),
            admin,
            port,
            _controller_port: controller_port,
            home,
            data,
        };
        kafka.wait_until_ready();
        Some(kafka)
    }

    /// The address for clients, `127.0.0.1:PORT`. It stays the same over a restart.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
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
            TopicReplication::Fixed(1),
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

    /// Kills the broker (SIGKILL) and waits until it is gone. What it had acknowledged lies in its data.
    pub fn kill(&mut self) {
        self.broker.kill();
    }

    /// Starts the broker again on the same data and address, and waits until it answers.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        self.broker.kill();
        self.broker = broker(&self.home, self.data.path());
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
        until(PATIENCE, "a broker that answers", || {
            if let Some(status) = self.broker.exit_status() {
                panic!("the broker ended with {status}\n{}{}", self.broker.stdout(), self.broker.stderr());
            }
            let metadata = self.admin.inner().fetch_metadata(None, QUESTION).ok()?;
            (!metadata.brokers().is_empty()).then_some(())
        });
    }
}

fn java(home: &Path) -> Command {
    let mut java = Command::new("java");
    java.current_dir(home).args(["-Xmx512m", "-cp", CLASS_PATH]);
    java
}

fn broker(home: &Path, data: &Path) -> Running {
    Running::start(java(home).arg("kafka.Kafka").arg(data.join("server.properties")))
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
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/kafka/pom.xml");
    let home = target().join("kafka");
    fs::create_dir_all(&home).expect("target/kafka");
    // one fetches, others that start at the same time wait; the lock goes with the process, however it ends
    let lock = File::create(home.join("lock")).expect("target/kafka/lock");
    lock.lock().expect("a lock on target/kafka/lock");
    let wanted = fs::read(&pom).expect("the pom");
    let lib = home.join("lib");
    let fetched = lib.join("pom.xml"); // written last: proves that all of them are there
    if fs::read(&fetched).is_ok_and(|found| found == wanted) {
        return home;
    }
    if lib.exists() {
        fs::remove_dir_all(&lib).expect("removal of target/kafka/lib");
    }
    let maven = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies"])
        .arg(format!("-DoutputDirectory={}", lib.display()))
        .arg("-f")
        .arg(&pom)
        .output()
        .expect("mvn");
    assert!(
        maven.status.success(),
        "Maven cannot fetch Kafka, see whether it reaches its repository:\n{}{}",
        String::from_utf8_lossy(&maven.stdout),
        String::from_utf8_lossy(&maven.stderr)
    );
    fs::write(fetched, wanted).expect("target/kafka/lib/pom.xml");
    home
}

/// A port of loopback that is ours as long as this lives: no other test takes it, nor, being below the range from
/// which the system gives ports to connections, anyone by chance. So a broker that is killed finds it free again.
struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    fn reserve(home: &Path) -> Self {
        let ports = home.join("ports");
        fs::create_dir_all(&ports).expect("target/kafka/ports");
        (20_000..30_000)
            .find_map(|number: u16| {
                let lock = File::create(ports.join(number.to_string())).expect("target/kafka/ports");
                match lock.try_lock() {
                    Ok(()) => {}
                    Err(TryLockError::WouldBlock) => return None,
                    Err(TryLockError::Error(error)) => panic!("target/kafka/ports cannot be locked: {error}"),
                }
                TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
                Some(Self { number, _lock: lock })
            })
            .expect("a free port from 20000 to 29999")
    }
}
