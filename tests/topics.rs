//! What `probegram topics` says about a real cluster, and makes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::fs;
use std::process::Command;
use std::time::Duration;

use probegram_tests::frames::{pcap, probe_request, radiotap, with_fcs};
use probegram_tests::kafka::Kafka;
use probegram_tests::process::{Running, Signal, binary};
use probegram_tests::until;
use tempfile::TempDir;

/// How long the command may take. It bounds a hang, nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its exit code, and what it says on standard output and standard error.
fn topics(options: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary("probegram"));
    let mut program = Running::start(command.arg("topics").args(options).env_remove("RUST_LOG"));
    let code = program.wait(PATIENCE).code();
    (code, program.stdout(), program.stderr())
}

#[test]
fn what_is_missing_is_said_and_made_and_then_right() {
    let Some(kafka) = Kafka::start() else { return };
    let servers = kafka.bootstrap_servers();
    let (code, said, errors) = topics(&["--bootstrap-servers", &servers]);
    assert_eq!((code, errors.as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("topic pcap: missing") && said.contains("--create"), "{said}");
    let (code, said, _) = topics(&["--bootstrap-servers", &servers]);
    assert_eq!(code, Some(1), "looking makes nothing: {said}");

    let (code, _, errors) =
        topics(&["--bootstrap-servers", &servers, "--create", "--replication-factor", "3"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("it has not so many brokers"), "{errors}");

    let (code, said, errors) = topics(&["--bootstrap-servers", &servers, "--create"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("pcap: made, with 4 partitions"), "{said}");
    assert!(said.contains("ssid_alert_list: made, with 1 partition"), "{said}");
    assert!(said.contains("sensors: made, with 1 partition; cleanup.policy: compact"), "{said}");
    let (code, said, errors) = topics(&["--bootstrap-servers", &servers, "--create"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    for right in [
        "right    partitions: 4\n",
        "right    message.timestamp.type: LogAppendTime\n",
        "right    cleanup.policy: delete\n",
        "right    retention.ms: 30 days\n",
        "right    retention.bytes: without limit\n",
        "right    max.message.bytes: 1048588 bytes\n",
        "right    cleanup.policy: compact\n",
    ] {
        assert!(said.contains(right), "{right}: {said}");
    }
    assert!(!said.contains("differs"), "{said}");
}

#[test]
fn what_differs_is_said_with_its_consequence_and_never_changed() {
    let Some(kafka) = Kafka::start() else { return };
    let servers = kafka.bootstrap_servers();
    kafka.create_topic("pcap", 1);
    for _twice in 0..2 {
        let (code, said, errors) = topics(&["--bootstrap-servers", &servers, "--create"]);
        assert_eq!((code, errors.as_str()), (Some(1), ""), "{said}");
        for told in [
            "differs  partitions: 1, should be 4 or more: Lambda reads each with one function",
            "--alter --topic pcap --partitions 4\n",
            "differs  message.timestamp.type: CreateTime, should be LogAppendTime: retention goes by the time",
            "--entity-name pcap --add-config message.timestamp.type=LogAppendTime\n",
            "right    retention.ms: without limit\n",
            "Nothing was changed.",
        ] {
            assert!(said.contains(told), "{told}: {said}");
        }
        assert_eq!(said.matches("differs").count(), 2, "{said}");
    }
}

/// A broker that makes topics would make them with settings of its own, for a name that may be mistyped.
#[test]
fn looking_and_sending_make_no_topic_where_the_broker_would() {
    let Some(kafka) = Kafka::that_makes_topics() else { return };
    let servers = kafka.bootstrap_servers();
    kafka.produce("made", b"by a producer that does not forbid it\n");
    let directory = TempDir::new().unwrap();
    let (capture, spool) = (directory.path().join("capture.pcap"), directory.path().join("spool"));
    let request = probe_request([0xa4, 0x83, 0xe7, 1, 2, 3], b"RNM0", 1);
    fs::write(&capture, pcap(127, &[radiotap(-50, &with_fcs(request))])).unwrap();
    let agent = || {
        let mut command = Command::new(binary("capture-agent"));
        command.env_remove("RUST_LOG");
        command
    };
    let mut doctor = Running::start(
        agent().arg("doctor").arg("--spool").arg(&spool).args(["--bootstrap-servers", &servers]),
    );
    assert!(!doctor.wait(PATIENCE).success());
    assert!(doctor.stdout().contains("has no topic pcap"), "{}{}", doctor.stdout(), doctor.stderr());
    let mut sending = Running::start(
        agent()
            .args(["--sensor", "test", "--read"])
            .arg(&capture)
            .arg("--spool")
            .arg(&spool)
            .args(["--bootstrap-servers", &servers]),
    );
    until(PATIENCE, "that the topic is missing is said", || {
        sending.stderr().contains("has no topic pcap").then_some(())
    });
    sending.signal(Signal::SIGTERM);
    assert_eq!(sending.wait(PATIENCE).code(), Some(1));
    let (_, said, _) = topics(&["--bootstrap-servers", &servers]);
    assert!(said.contains("topic pcap: missing") && said.contains("topic sensors: missing"), "{said}");
    assert_eq!(kafka.read_all("made").len(), 1);
}

#[test]
fn a_cluster_that_is_away_or_refuses_is_one_clear_line() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("kafka.properties");
    let (code, said, errors) = topics(&["--bootstrap-servers", "127.0.0.1:1"]);
    assert_eq!((code, said.as_str()), (Some(2), ""));
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("Kafka at 127.0.0.1:1 does not answer"), "{errors}");
    assert!(errors.contains("Connection refused"), "{errors}");

    let Some(kafka) = Kafka::start() else { return };
    fs::write(
        &file,
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=a\nsasl.password=hunter2",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let (code, _, errors) =
        topics(&["--bootstrap-servers", &kafka.bootstrap_servers(), "--kafka-config", file]);
    assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
    assert!(errors.contains("Kafka at") && !errors.contains("hunter2"), "{errors}");
}
