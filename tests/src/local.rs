//! `probegram local` as people run it, asked over its JSON interface as programs ask it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use capture_agent::spool::{PCAP, Retention, Spool, WhenFull};
use domain::record::{self, Record};
use domain::{EventTime, Mac, Probe, Ssid, SsidElement};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::process::{Running, binary};
use crate::until;

/// How long the table may take to be where the log is. It bounds a hang on a busy machine, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running `probegram local`. It is killed when this goes out of scope.
pub struct Local {
    /// The process.
    pub program: Running,
    address: String,
    client: reqwest::Client,
    runtime: Runtime,
}

/// An answer over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// The command `probegram local` with these options, at a free port, with batches that go out at once.
#[must_use]
pub fn command<O: AsRef<OsStr>>(options: impl IntoIterator<Item = O>) -> Command {
    let mut command = Command::new(binary("probegram"));
    command
        .args(["local", "--http", "127.0.0.1:0", "--batching-window", "0"])
        .args(options)
        .env_remove("RUST_LOG");
    command
}

impl Local {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        Self::at(Running::start(command))
    }

    /// One that was started already; waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn at(mut program: Running) -> Self {
        let address = program.wait_for_line("ready ");
        let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { program, address, client, runtime }
    }

    /// Starts it with its table and spool in this directory.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn in_directory(data: &Path) -> Self {
        Self::start(&mut command([OsStr::new("--data"), data.as_os_str()]))
    }

    /// Where it serves: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks for a path, and its query if it has one.
    ///
    /// # Panics
    /// If there is no answer.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.address)))
    }

    /// Asks for a path as if it were that of another host.
    ///
    /// # Panics
    /// If there is no answer.
    #[must_use]
    pub fn get_of_host(&self, host: &str, path: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.address)).header("Host", host))
    }

    /// Posts a body with these headers to a path.
    ///
    /// # Panics
    /// If there is no answer.
    #[must_use]
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
        let request = self.client.post(format!("{}{path}", self.address)).body(body.into());
        self.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.runtime.block_on(async {
            let response = request.send().await.expect("an answer");
            Answer {
                status: response.status().as_u16(),
                body: response.text().await.expect("a whole answer"),
            }
        })
    }

    /// The answer to a path as JSON.
    ///
    /// # Panics
    /// If it is another one than 200 and JSON.
    #[must_use]
    pub fn json(&self, path: &str) -> Value {
        let Answer { status, body } = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path} is not JSON ({error}): {body}"))
    }

    /// What it says about a device, whatever that is.
    #[must_use]
    pub fn device(&self, mac: Mac) -> Answer {
        self.get(&format!("/v1/devices/{mac}"))
    }

    /// What `/v1/status` says.
    #[must_use]
    pub fn status(&self) -> Value {
        self.json("/v1/status")
    }

    /// Waits until it says that it has caught up, and that the ends of the partitions add up to `end`: a program can be caught up
    /// with what it knows, and not yet know of the newest records.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_until_caught_up(&self, end: i64) {
        let mut last = Value::Null;
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(PATIENCE, "a table that has caught up", || {
                last = self.status();
                let ends = last["partitions"].as_array()?.iter().map(|partition| partition["end"].as_i64());
                let is_there = ends.sum::<Option<i64>>()? == end;
                (is_there && last["caught_up"] == Value::Bool(true)).then_some(())
            });
        }));
        assert!(told.is_ok(), "not caught up with {end}: {last}\n{}", self.program.stderr());
    }

    /// What it says about these devices.
    #[must_use]
    pub fn devices(&self, macs: &BTreeSet<Mac>) -> Vec<Answer> {
        macs.iter().map(|mac| self.device(*mac)).collect()
    }

    /// What it says about these SSIDs, page by page.
    #[must_use]
    pub fn ssids(&self, ssids: &BTreeSet<Ssid>) -> Vec<Answer> {
        let mut answers = Vec::new();
        for ssid in ssids {
            let mut after = String::new();
            loop {
                let answer = self.get(&format!("/v1/ssids?hex={}{after}", ssid.hex()));
                let next = serde_json::from_str::<Value>(&answer.body).expect("JSON")["next"].take();
                answers.push(answer);
                let Some(next) = next.as_str() else { break };
                after = format!("&after={}", next.replace('#', "%23"));
            }
        }
        answers
    }
}

/// A probe request of our own making, as it could have been heard in 2023.
#[must_use]
pub fn probe(mac: Mac, time: EventTime, ssid: SsidElement) -> Probe {
    Probe {
        time,
        source: Some(mac),
        receiver: None,
        bssid: None,
        ssid,
        signal_dbm: Some(-60),
        channel: Some(6),
        sequence: None,
        fingerprint: None,
        sensor: Some("hallway".to_owned()),
    }
}

/// The record of a probe request, as the agent writes it.
#[must_use]
pub fn encoded(probe: &Probe) -> Vec<u8> {
    let mut record = Vec::new();
    record::encode(probe, probe.sensor.as_deref().unwrap_or_default(), &mut record);
    record
}

/// Puts records into the spool of a directory, and gives the end of its topic `pcap`.
///
/// # Panics
/// If the spool cannot be written.
pub fn fill_spool(directory: &Path, records: &[Vec<u8>]) -> i64 {
    let day = Duration::from_secs(24 * 60 * 60);
    let retention = Retention { bytes: 1 << 30, age: day, when_full: WhenFull::Refuse };
    let mut spool = Spool::open(directory, retention).expect("a spool");
    spool
        .write(|writes| records.iter().try_fold(0, |_, record| writes.append(PCAP, None, record)))
        .expect("a spool that can be written")
        + 1
}

/// Who sent the probe requests of a feed, a record a line, and which SSIDs they name.
///
/// # Panics
/// If a record cannot be read.
#[must_use]
pub fn heard_in(feed: &str) -> (BTreeSet<Mac>, BTreeSet<Ssid>) {
    let (mut macs, mut ssids) = (BTreeSet::new(), BTreeSet::new());
    for line in feed.lines() {
        if let Record::Probe(probe) = record::decode(line.as_bytes()).expect("a record") {
            macs.extend(probe.source);
            if let SsidElement::Named(ssid) = probe.ssid {
                ssids.insert(ssid);
            }
        }
    }
    (macs, ssids)
}

/// Carries an operation of DynamoDB's API out on the table of the `probegram local` that runs in this directory.
///
/// # Panics
/// If it is refused, or none runs.
pub fn table(data: &Path, operation: &str, body: &Value) -> Value {
    let client = reqwest::Client::builder().unix_socket(data.join("state.sock")).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let post =
            client.post("http://table/").header("x-amz-target", format!("DynamoDB_20120810.{operation}"));
        let answer = post.body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    })
}
