//! What `probegram quarantine` lists, with a running `probegram local` and without one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use domain::{Mac, SsidElement};
use probegram_tests::local::{Local, encoded, fill_spool, probe};
use probegram_tests::process::{Running, Signal, binary};
use serde_json::Value;
use tempfile::TempDir;

/// How long the command may take. It bounds a hang, nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its exit code, and what it says on standard output and standard error.
fn quarantine<O: AsRef<OsStr>>(data: &Path, options: &[O]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary("probegram"));
    command.args(["quarantine", "--time-zone", "Europe/London", "--data"]).arg(data).args(options);
    let mut program = Running::start(command.env_remove("RUST_LOG"));
    let code = program.wait(PATIENCE).code();
    (code, program.stdout(), program.stderr())
}

#[test]
fn what_could_not_be_read_is_listed_beside_a_running_probegram_and_after_it() {
    let data = TempDir::new().unwrap();
    let good = encoded(&probe(Mac::new([2; 6]), 1_700_000_000_000, SsidElement::Wildcard));
    let long = vec![b'x'; 10_000];
    let poison = [
        b"poison\n\x1b[31m\xff".to_vec(),
        long,
        b"{\"timestamp\":\"x\",\"wlan_fc_type_subtype\":[\"4\"]}".to_vec(),
    ];
    let records: Vec<Vec<u8>> = poison.iter().cloned().chain([good]).collect();
    let end = fill_spool(data.path(), &records);
    let mut local = Local::in_directory(data.path());
    local.wait_until_caught_up(end);

    let socket = data.path().join("state.sock");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let beside = quarantine::<&str>(data.path(), &[]);
    local.program.signal(Signal::SIGTERM);
    assert_eq!(local.program.wait(PATIENCE).code(), Some(0), "{}", local.program.stderr());
    assert!(!socket.exists(), "the socket is gone with the program");
    let after = quarantine::<&str>(data.path(), &[]);
    assert_eq!(beside, after);
    let (code, said, errors) = beside;
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    for told in [
        "(UTC): 3 records could not be read\n",
        "/0 offset 1\n",
        r"poison\n\u{1b}[31m\xff (13 bytes)",
        "x… (its first 4096 bytes are kept)",
        r#"{"timestamp":"x","wlan_fc_type_subtype":["4"]} (46 bytes)"#,
        "kept for 14 days",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(said.contains(" GMT  pcap@spool-") || said.contains(" BST  pcap@spool-"), "{said}");
    let offsets: Vec<&str> = said.lines().filter_map(|line| line.split(" offset ").nth(1)).collect();
    assert_eq!(offsets, ["3", "2", "1"], "newest first");

    let (_, lines, _) = quarantine(data.path(), &["--json"]);
    let values: Vec<Vec<u8>> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|record| base64_simd::STANDARD.decode_to_vec(record["value_base64"].as_str().unwrap()).unwrap())
        .rev()
        .collect();
    assert_eq!(values, [&poison[0], &poison[1][..4096], &poison[2]]);

    // a killed program leaves its socket, which the next one replaces
    let mut local = Local::in_directory(data.path());
    local.program.kill();
    assert!(socket.exists());
    assert_eq!(quarantine::<&str>(data.path(), &[]), after);
    let local = Local::in_directory(data.path());
    assert_eq!(quarantine::<&str>(data.path(), &[]), after);
    drop(local);
}

#[test]
fn of_a_flood_the_number_is_told_and_what_is_kept_is_listed() {
    let data = TempDir::new().unwrap();
    let end = fill_spool(data.path(), &vec![b"poison".to_vec(); 1_000]);
    let local = Local::in_directory(data.path());
    local.wait_until_caught_up(end);
    let (code, said, _) = quarantine::<&str>(data.path(), &[]);
    assert_eq!(code, Some(0));
    let kept = said.matches(" offset ").count();
    assert!((1..1_000).contains(&kept));
    let told =
        format!("1000 records could not be read, {kept} kept: of {} only the number is known", 1_000 - kept);
    assert!(said.contains(&told), "{told}: {said}");
    let (_, lines, warned) = quarantine(data.path(), &["--json"]);
    assert_eq!(lines.lines().count(), kept);
    assert!(warned.contains("1000 records could not be read"), "{warned}");
    let (_, nothing, _) = quarantine(data.path(), &["--topic", "other"]);
    assert!(nothing.contains("Nothing of topic other was quarantined in the last 14 days"), "{nothing}");
}

#[test]
fn a_table_that_is_not_there_is_said_and_not_made() {
    let data = TempDir::new().unwrap();
    let (code, _, errors) = quarantine::<&str>(data.path(), &[]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("there is no table in") && errors.contains("--data"), "{errors}");
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
}

#[test]
fn a_dynamodb_without_the_table_is_said_and_the_table_not_made() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let database = dynoxide::Database::memory().unwrap();
    let server = runtime.spawn(dynoxide::server::serve_with_shutdown(
        listener,
        database.clone(),
        std::future::pending(),
    ));
    for command in ["quarantine", "rebuild"] {
        let mut program = Running::start(
            Command::new(binary("probegram"))
                .args([command, "--dynamodb-endpoint", &endpoint, "--table", "stat"])
                .envs([
                    ("AWS_REGION", "eu-west-2"),
                    ("AWS_ACCESS_KEY_ID", "local"),
                    ("AWS_SECRET_ACCESS_KEY", "local"),
                ])
                .env_remove("RUST_LOG"),
        );
        assert_eq!(program.wait(PATIENCE).code(), Some(2), "{}", program.stderr());
        assert!(program.stderr().contains("there is no table stat at http://"), "{}", program.stderr());
    }
    assert!(database.get_table_metadata("stat").unwrap().is_none());
    server.abort();
}
