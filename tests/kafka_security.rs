//! The agent at a Kafka that lets in only whom it knows: every way in delivers every record, and everything that can be wrong is said in
//! one line, once, however often it is tried.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use capture_agent::drain::Drain;
use capture_agent::msk_iam;
use capture_agent::producer::{Connection, Kafka, parse_property};
use capture_agent::recorder::Recorded;
use capture_agent::spool::{Retention, Spool, SpoolReader, WhenFull};
use capture_agent::spool_writer::SpoolWriter;
use probegram_tests::frames::{pcap, probe_request, radiotap, with_fcs};
use probegram_tests::process::{Running, Signal, binary};
use probegram_tests::secured_kafka::{
    AWS_KEY, AWS_REGION, FREE_TOPIC, Listener, PASSWORD, READER, STRANGER, SecuredKafka, WATCHER, WRITER,
    WRONG_PASSWORD,
};
use probegram_tests::{botocore, until};
use tempfile::TempDir;

/// Bounds a hang, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);
const RECORDS: u32 = 100;
/// What is said, and what was noticed again and not said.
const LOG: &str = "capture_agent=debug";

/// The broker, one for all tests that run at the same time.
fn broker() -> Option<Arc<SecuredKafka>> {
    static BROKER: Mutex<Weak<SecuredKafka>> = Mutex::new(Weak::new());
    let mut broker = BROKER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = broker.upgrade() {
        return Some(running);
    }
    let started = Arc::new(SecuredKafka::start()?);
    started.kafka().create_topic(FREE_TOPIC, 1);
    *broker = Arc::downgrade(&started);
    Some(started)
}

/// What one agent has: a capture, a spool, and settings of Kafka.
struct Sensor {
    directory: TempDir,
}

impl Sensor {
    fn new(settings: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let frames: Vec<Vec<u8>> = (0..RECORDS)
            .map(|number| {
                let [_, a, b, c] = number.to_be_bytes();
                radiotap(-50, &with_fcs(probe_request([0xa4, 0x83, 0xe7, a, b, c], b"RNM0", 1)))
            })
            .collect();
        fs::write(directory.path().join("capture.pcap"), pcap(127, &frames)).unwrap();
        fs::write(directory.path().join("kafka.properties"), settings).unwrap();
        Self { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, servers: &str, topic: &str, log: &str) -> Command {
        let mut command = Command::new(binary("capture-agent"));
        command.args(["--sensor", "test", "--log", log, "--topic", topic]);
        command.arg("--read").arg(self.file("capture.pcap")).arg("--spool").arg(self.file("spool"));
        command.args(["--bootstrap-servers", servers, "--kafka-config"]).arg(self.file("kafka.properties"));
        for variable in ["RUST_LOG", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"] {
            command.env_remove(variable);
        }
        // nobody else's credentials, and no search of a cloud that this machine may be in
        command.env("HOME", self.directory.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    fn start(&self, servers: &str, topic: &str) -> Running {
        Running::start(&mut self.command(servers, topic, LOG))
    }
}

/// The lines that a person sees without asking for more, but for what is good news.
fn complaints(program: &Running) -> Vec<String> {
    let all = program.stderr();
    let loud = all.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
    loud.map(str::to_owned).collect()
}

fn info(program: &Running, text: &str) -> usize {
    program.stderr().lines().filter(|line| line.contains(" INFO ") && line.contains(text)).count()
}

/// How often the same was noticed again and kept to itself.
fn repeated(program: &Running, text: &str) -> usize {
    program.stderr().lines().filter(|line| line.contains(" DEBUG ") && line.contains(text)).count()
}

fn assert_no_secret(text: &str) {
    for secret in [PASSWORD, WRONG_PASSWORD, AWS_KEY.1] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

fn tls(broker: &SecuredKafka) -> String {
    format!("ssl.ca.location={}\n", broker.certificate("ca.pem").display())
}

fn mutual_tls(broker: &SecuredKafka, name: &str) -> String {
    let (key, certificate) =
        (broker.certificate(&format!("{name}.key")), broker.certificate(&format!("{name}.crt")));
    format!(
        "security.protocol=SSL\n{}ssl.key.location={}\nssl.certificate.location={}\n",
        tls(broker),
        key.display(),
        certificate.display()
    )
}

fn unsecured_token(broker: &SecuredKafka, principal: &str) -> String {
    format!(
        "security.protocol=SASL_SSL\n{}sasl.mechanism=OAUTHBEARER\nenable.sasl.oauthbearer.unsecure.jwt=true\nsasl.oauthbearer.config=principal={principal}\n",
        tls(broker)
    )
}

#[test]
fn every_way_in_delivers_every_record() {
    let Some(broker) = broker() else { return };
    let scram_without_tls = format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanisms=SCRAM-SHA-512\nsasl.username={WRITER}\nsasl.password={PASSWORD}\n"
    );
    let ways = [
        ("scram-512", Listener::SaslTls, broker.login("SCRAM-SHA-512", WRITER, PASSWORD)),
        ("scram-256", Listener::SaslTls, broker.login("SCRAM-SHA-256", WRITER, PASSWORD)),
        ("plain", Listener::SaslTls, broker.login("PLAIN", WRITER, PASSWORD)),
        ("scram-without-tls", Listener::Sasl, scram_without_tls),
        ("mutual-tls", Listener::MutualTls, mutual_tls(&broker, "sensor")),
        ("token", Listener::SaslTls, unsecured_token(&broker, "token-bearer")),
    ];
    let running: Vec<_> = ways
        .into_iter()
        .map(|(topic, listener, settings)| {
            broker.kafka().create_topic(topic, 2);
            let sensor = Sensor::new(&settings);
            let program = sensor.start(&broker.address(listener), topic);
            (topic, sensor, program)
        })
        .collect();
    for (topic, _sensor, mut program) in running {
        let status = program.wait(PATIENCE);
        assert!(status.success(), "{topic}: {}", program.stderr());
        assert_eq!(complaints(&program), Vec::<String>::new(), "{topic}");
        assert_eq!(info(&program, "connected to Kafka"), 1, "{topic}: {}", program.stderr());
        assert_eq!(broker.kafka().read_all(topic).len(), RECORDS as usize, "{topic}");
        assert_no_secret(&program.stderr());
    }
}

#[test]
fn a_login_by_iam_delivers_and_says_no_secret_even_when_asked_for_everything() {
    let Some(broker) = broker() else { return };
    let topic = "iam";
    broker.kafka().create_topic(topic, 1);
    let sensor = Sensor::new(&format!("{}debug=all\n", tls(&broker)));
    let mut command = sensor.command(&broker.address(Listener::MskIam), topic, "trace");
    command.arg("--msk-iam").env("AWS_REGION", AWS_REGION);
    command.env("AWS_ACCESS_KEY_ID", AWS_KEY.0).env("AWS_SECRET_ACCESS_KEY", AWS_KEY.1);
    let mut program = Running::start(&mut command);
    let status = program.wait(PATIENCE);
    let said = program.stderr();
    assert!(status.success(), "{said}");
    assert_eq!(broker.kafka().read_all(topic).len(), RECORDS as usize);
    assert_eq!(complaints(&program), Vec::<String>::new());
    assert_no_secret(&said);
    // the token itself lets in for 15 minutes who has it: base64url of `https://kafka.`
    assert!(said.contains("TRACE") && !said.contains("aHR0cHM6Ly9rYWZrYS4"), "a token is said");
    assert!(!said.contains("X-Amz-Signature="), "a signed URL is said");
}

/// A consumer and a producer, and what asks for topics.
#[test]
fn a_login_by_iam_lets_names_in_and_topics_be_looked_at() {
    let Some(broker) = broker() else { return };
    let devices = "iam.device";
    broker.kafka().create_topic(devices, 1);
    let directory = TempDir::new().unwrap();
    let (export, settings) =
        (directory.path().join("device.json"), directory.path().join("kafka.properties"));
    let device = |number: u8| {
        format!(r#"{{"_id":{{"$oid":"{number:024x}"}},"mac":"80:2a:a8:00:01:{number:02x}","name":"Attic"}}"#)
    };
    fs::write(&settings, format!("{}sasl.mechanism=AWS_MSK_IAM\n", tls(&broker))).unwrap();
    let probegram = |arguments: &[&str]| {
        let mut command = Command::new(binary("probegram"));
        command.args(arguments).args(["--bootstrap-servers", &broker.address(Listener::MskIam)]);
        command.arg("--kafka-config").arg(&settings);
        for variable in ["RUST_LOG", "AWS_PROFILE", "AWS_SESSION_TOKEN"] {
            command.env_remove(variable);
        }
        command.env("HOME", directory.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_REGION", AWS_REGION);
        command.env("AWS_ACCESS_KEY_ID", AWS_KEY.0).env("AWS_SECRET_ACCESS_KEY", AWS_KEY.1);
        let mut program = Running::start(&mut command);
        let code = program.wait(PATIENCE).code();
        assert_no_secret(&(program.stdout() + &program.stderr()));
        (code, program.stdout(), program.stderr())
    };
    let import = [
        "unifi-import",
        export.to_str().unwrap(),
        "--collection",
        "device",
        "--devices-topic",
        devices,
        "--remove-missing",
    ];
    for (numbers, records) in [(&[1, 2][..], 2), (&[2], 4)] {
        let lines: Vec<String> = numbers.iter().map(|number| device(*number)).collect();
        fs::write(&export, lines.join("\n")).unwrap();
        let (code, said, errors) = probegram(&import);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
        // the second time one of them anew, and a tombstone of the other
        assert_eq!(broker.kafka().read_all(devices).len(), records, "{said}");
    }

    let (code, said, errors) = probegram(&["topics"]);
    assert_eq!((code, errors.as_str()), (Some(1), ""), "{said}");
    assert!(
        said.contains("topic unifi.ace.device: missing, and cannot be made with a login by IAM"),
        "{said}"
    );
    assert!(
        said.contains("--create --topic unifi.ace.device --partitions 1 --config cleanup.policy=compact"),
        "{said}"
    );
}

/// Something wrong, and a part of the line that tells of it.
struct Wrong {
    what: &'static str,
    listener: Option<Listener>,
    settings: String,
    topic: &'static str,
    said: &'static str,
    /// What is noted when it is tried again and not said.
    again: &'static str,
    environment: Vec<(&'static str, &'static str)>,
}

fn wrongs(broker: &SecuredKafka) -> Vec<Wrong> {
    let wrong = |what, listener, settings, said| Wrong {
        what,
        listener,
        settings,
        topic: "pcap",
        said,
        again: said,
        environment: Vec::new(),
    };
    let login = |mechanism, user, password| broker.login(mechanism, user, password);
    let of_a_stranger = login("PLAIN", WRITER, PASSWORD).replace("ca.pem", "stranger-ca.pem");
    let without_certificate = format!("security.protocol=SSL\n{}", tls(broker));
    let by_iam = format!("{}sasl.mechanism=AWS_MSK_IAM\n", tls(broker));
    let (sasl_tls, mutual) = (Some(Listener::SaslTls), Some(Listener::MutualTls));
    vec![
        wrong(
            "a wrong password by PLAIN",
            sasl_tls,
            login("PLAIN", WRITER, WRONG_PASSWORD),
            "refuses the login: check sasl.username",
        ),
        wrong(
            "a wrong password by SCRAM",
            sasl_tls,
            login("SCRAM-SHA-512", WRITER, WRONG_PASSWORD),
            "refuses the login: check sasl.username",
        ),
        wrong(
            "a certificate of an authority that is not ours",
            sasl_tls,
            of_a_stranger,
            "cannot be trusted: set ssl.ca.location",
        ),
        wrong(
            "a certificate of another host",
            Some(Listener::OtherName),
            login("SCRAM-SHA-512", WRITER, PASSWORD),
            "is of another host name",
        ),
        Wrong {
            // librdkafka itself tells every 30 s only that the other end hung up
            again: "cannot be reached",
            ..wrong(
                "no TLS at a port of TLS",
                sasl_tls,
                String::new(),
                "check that security.protocol in --kafka-config is the one of this port",
            )
        },
        wrong(
            "TLS at a port without",
            None,
            format!("security.protocol=SSL\n{}", tls(broker)),
            "speaks no TLS on this port",
        ),
        wrong(
            "a mechanism that is not enabled",
            Some(Listener::Sasl),
            login("PLAIN", WRITER, PASSWORD).replace("SASL_SSL", "SASL_PLAINTEXT"),
            "does not take logins by PLAIN",
        ),
        wrong("no certificate of ours", mutual, without_certificate, "wants a certificate of this sensor"),
        wrong(
            "a certificate of ours that has expired",
            mutual,
            mutual_tls(broker, "expired"),
            "wants a certificate of this sensor",
        ),
        Wrong {
            topic: "nowhere",
            ..wrong(
                "a missing topic",
                sasl_tls,
                login("PLAIN", WRITER, PASSWORD),
                "has no topic nowhere: create it",
            )
        },
        wrong(
            "a topic that is hidden from us",
            sasl_tls,
            login("PLAIN", STRANGER, PASSWORD),
            "does not let this user see topic pcap",
        ),
        wrong(
            "a forbidden write",
            sasl_tls,
            login("PLAIN", READER, PASSWORD),
            "does not let this user write to topic pcap: allow it WRITE",
        ),
        wrong(
            "a forbidden idempotent write",
            sasl_tls,
            login("PLAIN", WATCHER, PASSWORD),
            "does not let this user write idempotently",
        ),
        Wrong {
            environment: vec![
                ("AWS_REGION", AWS_REGION),
                ("AWS_ACCESS_KEY_ID", AWS_KEY.0),
                ("AWS_SECRET_ACCESS_KEY", WRONG_PASSWORD),
            ],
            ..wrong(
                "a signature by another key",
                Some(Listener::MskIam),
                by_iam.clone(),
                "refuses the token: check that its user or role",
            )
        },
        Wrong {
            environment: vec![("AWS_REGION", AWS_REGION)],
            ..wrong(
                "no credentials of AWS",
                Some(Listener::MskIam),
                by_iam,
                "no AWS credentials were found in AWS_ACCESS_KEY_ID",
            )
        },
    ]
}

#[test]
fn everything_that_can_be_wrong_is_said_in_one_line_however_often_it_is_tried() {
    let Some(broker) = broker() else { return };
    broker.kafka().create_topic("pcap", 1);
    let running: Vec<_> = wrongs(&broker)
        .into_iter()
        .map(|wrong| {
            // tried again soon, so that the test need not wait
            let sensor = Sensor::new(&format!("{}reconnect.backoff.max.ms=1000\n", wrong.settings));
            let servers = wrong
                .listener
                .map_or_else(|| broker.kafka().bootstrap_servers(), |listener| broker.address(listener));
            let mut command = sensor.command(&servers, wrong.topic, LOG);
            command.envs(wrong.environment.iter().copied());
            (Running::start(&mut command), wrong, sensor)
        })
        .collect();
    for (mut program, wrong, _sensor) in running {
        let Wrong { what, said, again, .. } = wrong;
        // said once, and then tried at least twice more
        until(PATIENCE, &format!("{what}: {said}"), || {
            let status = program.exit_status();
            assert!(status.is_none(), "{what}: it ended: {}", program.stderr());
            let complaints = complaints(&program);
            let is_said = !complaints.is_empty() && repeated(&program, again) >= 2;
            (is_said || complaints.iter().any(|line| !line.contains(said))).then_some(())
        });
        program.signal(Signal::SIGTERM);
        let status = program.wait(PATIENCE);
        assert_eq!(status.code(), Some(1), "{what}: {}", program.stderr());
        let complaints = complaints(&program);
        assert!(
            complaints.len() == 1 && complaints[0].contains(said),
            "{what}: {complaints:#?}\n{}",
            program.stderr()
        );
        assert_no_secret(&program.stderr());
    }
    assert!(broker.kafka().read_all("pcap").is_empty());
}

#[test]
fn when_it_works_again_that_is_said_once_and_everything_arrives() {
    let Some(broker) = broker() else { return };
    let sensor = Sensor::new(&broker.login("SCRAM-SHA-256", WRITER, PASSWORD));
    let mut program = sensor.start(&broker.address(Listener::SaslTls), "late");
    until(PATIENCE, "the missing topic", || (complaints(&program).len() == 1).then_some(()));
    broker.kafka().create_topic("late", 1);
    assert!(program.wait(PATIENCE).success(), "{}", program.stderr());
    assert_eq!(complaints(&program).len(), 1, "{}", program.stderr());
    assert_eq!(info(&program, "has topic late now"), 1, "{}", program.stderr());
    assert_eq!(broker.kafka().read_all("late").len(), RECORDS as usize);
}

#[test]
fn a_certificate_that_is_renewed_is_taken_up_without_a_new_start() {
    let Some(broker) = broker() else { return };
    broker.kafka().create_topic("renewed", 1);
    let mine = TempDir::new().unwrap();
    let renew = |name: &str| {
        for kind in ["key", "crt"] {
            let (from, to) = (broker.certificate(&format!("{name}.{kind}")), mine.path().join(kind));
            fs::copy(from, to).unwrap();
        }
    };
    renew("expired");
    let settings = format!(
        "security.protocol=SSL\n{}ssl.key.location={}\nssl.certificate.location={}\n",
        tls(&broker),
        mine.path().join("key").display(),
        mine.path().join("crt").display()
    );
    let sensor = Sensor::new(&settings);
    let mut program = sensor.start(&broker.address(Listener::MutualTls), "renewed");
    until(PATIENCE, "the certificate to be refused", || (complaints(&program).len() == 1).then_some(()));
    renew("sensor");
    // between the two copies it may see a key that is not the certificate's, which it says and outlives
    assert!(program.wait(PATIENCE).success(), "{}", program.stderr());
    assert_eq!(info(&program, "can be reached again"), 1, "{}", program.stderr());
    assert_eq!(broker.kafka().read_all("renewed").len(), RECORDS as usize);
}

/// A metadata service of a container: gives credentials that are good for a few seconds, and counts how often it is asked.
fn credentials_of_a_container() -> (String, Arc<AtomicUsize>) {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/credentials", service.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        for connection in service.incoming().take(100) {
            let mut connection = connection.unwrap();
            let mut request = [0; 4096];
            let _a_request_without_a_body = connection.read(&mut request).unwrap();
            let expiration = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(6);
            let body = format!(
                r#"{{"AccessKeyId":"{}","SecretAccessKey":"{}","Token":"","Expiration":"{expiration:.0}"}}"#,
                AWS_KEY.0, AWS_KEY.1
            );
            let length = body.len();
            write!(connection, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (address, asked)
}

#[test]
fn a_token_of_iam_is_renewed_before_the_credentials_end() {
    let Some(broker) = broker() else { return };
    let (address, asked) = credentials_of_a_container();
    let region = format!("sasl.oauthbearer.config=region={AWS_REGION}\n");
    let sensor = Sensor::new(&format!("{}sasl.mechanism=AWS_MSK_IAM\n{region}", tls(&broker)));
    let mut command = sensor.command(&broker.address(Listener::MskIam), "renewed-token", LOG);
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", address);
    for variable in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        command.env_remove(variable);
    }
    let mut program = Running::start(&mut command);
    // without its topic it waits, connected
    until(PATIENCE, "more tokens than the first", || (asked.load(Ordering::Relaxed) >= 3).then_some(()));
    broker.kafka().create_topic("renewed-token", 1);
    assert!(program.wait(PATIENCE).success(), "{}", program.stderr());
    assert_eq!(complaints(&program).len(), 1, "{}", program.stderr());
    assert_eq!(broker.kafka().read_all("renewed-token").len(), RECORDS as usize);
}

/// A spool with a drain to topic `records`, as the agent has them.
fn drain(directory: &Path, servers: String, settings: &str, topics: (&str, &str)) -> (SpoolWriter, Drain) {
    let retention =
        Retention { bytes: 64 << 20, age: Duration::from_secs(3600), when_full: WhenFull::DropOldest };
    let spool = Spool::open(directory, retention).unwrap();
    let writer = SpoolWriter::start(spool, true).unwrap();
    let kafka = Kafka::new(Connection {
        bootstrap_servers: servers,
        topic: topics.0.to_owned(),
        sensors_topic: topics.1.to_owned(),
        properties: settings.lines().map(|line| parse_property(line).unwrap()).collect(),
    })
    .unwrap();
    let reader = SpoolReader::open_read_only(directory).unwrap().unwrap();
    let drain = Drain::start(kafka, reader, writer.intake()).unwrap();
    (writer, drain)
}

#[test]
fn heartbeats_that_are_forbidden_or_missing_a_topic_hold_no_record_up() {
    let Some(broker) = broker() else { return };
    broker.kafka().create_topic("forbidden-sensors", 1);
    for sensors_topic in ["forbidden-sensors", "sensors-of-nowhere"] {
        let directory = TempDir::new().unwrap();
        let settings = broker.login("PLAIN", READER, PASSWORD);
        let servers = broker.address(Listener::SaslTls);
        let (writer, drain) = drain(directory.path(), servers, &settings, (FREE_TOPIC, sensors_topic));
        let (status, intake) = (drain.status(), writer.intake());
        let before = broker.kafka().read_all(FREE_TOPIC).len() as i64;
        for number in 0..3 {
            intake.beat("hallway", b"{}".to_vec());
            intake.push(Recorded { key: Some(b"key"), value: b"{}" }, 0).unwrap();
            until(PATIENCE, "the record beside a heartbeat", || {
                (status.delivered_records() == number + 1).then_some(())
            });
        }
        assert_eq!(status.delivered(), [(0, before + 2)].into(), "{sensors_topic}");
        if sensors_topic == "forbidden-sensors" {
            let said = until(PATIENCE, "what is wrong", || status.trouble());
            assert!(said.contains("write to topic forbidden-sensors"), "{said}");
        }
        drain.end_when_all_is_sent();
        assert!(drain.join().is_complete);
        writer.finish().unwrap();
    }
}

#[test]
fn the_newest_heartbeat_goes_out_also_when_it_is_time_to_stop() {
    let Some(broker) = broker() else { return };
    broker.kafka().create_topic("records", 1);
    broker.kafka().create_topic("sensors", 1);
    let directory = TempDir::new().unwrap();
    let settings = broker.login("SCRAM-SHA-512", WRITER, PASSWORD);
    let servers = broker.address(Listener::SaslTls);
    let (writer, drain) = drain(directory.path(), servers, &settings, ("records", "sensors"));
    let taken = || broker.kafka().read_all("sensors");
    writer.intake().beat("hallway", b"first".to_vec());
    until(PATIENCE, "a heartbeat", || (!taken().is_empty()).then_some(()));
    writer.intake().beat("hallway", b"last".to_vec());
    assert!(writer.flush(PATIENCE));
    drain.stop();
    let drained = drain.join();
    assert_eq!(drained.delivered, 0, "heartbeats are no records");
    let newest = taken().pop().unwrap();
    assert_eq!((newest.key.as_deref(), newest.value.as_deref()), (Some(&b"hallway"[..]), Some(&b"last"[..])));
    writer.finish().unwrap();
}

#[test]
fn capture_goes_on_while_kafka_is_unreachable_and_its_spool_full() {
    let directory = TempDir::new().unwrap();
    let retention = Retention {
        bytes: Retention::LEAST_BYTES,
        age: Duration::from_secs(3600),
        when_full: WhenFull::DropOldest,
    };
    let spool = Spool::open(directory.path(), retention).unwrap();
    let writer = SpoolWriter::start(spool, true).unwrap();
    let kafka = Kafka::new(Connection {
        bootstrap_servers: "127.0.0.1:1".to_owned(),
        topic: "pcap".to_owned(),
        sensors_topic: "sensors".to_owned(),
        properties: Vec::new(),
    })
    .unwrap();
    let reader = SpoolReader::open_read_only(directory.path()).unwrap().unwrap();
    let drain = Drain::start(kafka, reader, writer.intake()).unwrap();
    let intake = writer.intake();
    let value = vec![b'x'; 1_000];
    // three times what the spool holds: no push waits for Kafka, or this would never end
    for _number in 0..50_000 {
        intake.push(Recorded { key: Some(b"key"), value: &value }, 0).unwrap();
    }
    assert!(writer.flush(PATIENCE));
    let status = drain.status();
    let trouble = until(PATIENCE, "what is wrong", || status.trouble());
    assert!(trouble.contains("127.0.0.1:1 cannot be reached"), "{trouble}");
    assert_eq!(status.delivered_records(), 0);
    drain.stop();
    assert!(!drain.join().is_complete);
    let written = writer.finish().unwrap();
    assert!(written.spool.dropped() + written.lost > 0);
}

#[test]
fn the_url_of_a_token_is_botocore_s_byte_for_byte() {
    for (at, region, token) in [
        (1_440_938_160, "us-east-1", None),
        (1_893_456_000, "eu-west-1", Some("FwoGZXIvYXdzE/+a token+with=every~thing.-_")),
        (1_700_000_001, "cn-north-1", Some("")),
    ] {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let token = token.filter(|token| !token.is_empty());
        let of_botocore =
            botocore::presigned_url(at, region, ("AKIDEXAMPLE", secret, token.unwrap_or_default()));
        let Some(of_botocore) = of_botocore else { return };
        let credentials = Credentials::new("AKIDEXAMPLE", secret, token.map(str::to_owned), None, "test");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        let ours = msk_iam::presigned(&credentials, region, time).unwrap();
        let (url, user_agent) = ours.split_once("&User-Agent=").unwrap();
        assert_eq!(url, of_botocore);
        assert!(user_agent.starts_with("aws-msk-iam-sasl-signer-probegram%2F"), "{user_agent}");
    }
}
