//! Lambda on loopback: ministack runs the very zips that are deployed, each environment a process that talks to a Runtime API.
//!
//! It comes from PyPI, once, into `target/ministack`. Not AWS: an environment is no sandbox, its memory has no limit, and an
//! invocation takes 50 ms at least.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{Environment, FunctionCode, Runtime as LambdaRuntime, State};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::fetched::{fetched, has_venv};
use crate::kafka::Port;
use crate::process::Running;
use crate::recorded_calls::{Calls, Recorder};
use crate::until;

/// It bounds a hang on a busy machine, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long an invocation may take, in seconds.
const TIMEOUT_S: i32 = 30;

/// What our programs need to call it.
pub const ENVIRONMENT: [(&str, &str); 3] =
    [("AWS_REGION", "eu-west-2"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

/// A running Lambda. It is killed, with the functions in it, when this goes out of scope.
pub struct Lambda {
    program: Running,
    client: Client,
    runtime: Runtime,
    port: Port,
    files: TempDir,
    recorder: Recorder,
}

impl Lambda {
    /// Starts it and waits until it answers. Where Python's venv is missing it says so on standard error and gives None: the
    /// test is skipped.
    ///
    /// # Panics
    /// If it does not come up; and with `CI=true` also where something is missing.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !has_venv("Lambda on this machine") {
            return None;
        }
        let home = ministack();
        let port = Port::reserve();
        let endpoint = format!("http://127.0.0.1:{}", port.number());
        let files = TempDir::new().expect("a temporary folder");
        let recorder = Recorder::start(&endpoint);
        let program = Running::start(
            Command::new(home.join("venv/bin/ministack"))
                .env("BIND_HOST", "127.0.0.1") // it would listen on all addresses
                .env("GATEWAY_PORT", port.number().to_string())
                .env("LAMBDA_EXECUTOR", "local")
                .env("AWS_ENDPOINT_URL", recorder.endpoint()) // the functions inherit it
                .env("TMPDIR", files.path())
                .env("LOG_LEVEL", "ERROR"),
        );
        let config = aws_sdk_lambda::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-west-2"))
            .credentials_provider(Credentials::new("test", "test", None, None, "this machine"))
            .endpoint_url(endpoint)
            .build();
        let client = Client::from_conf(config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut lambda = Self { program, client, runtime, port, files, recorder };
        until(PATIENCE, "Lambda", || {
            if let Some(status) = lambda.program.exit_status() {
                panic!("ministack ended with {status}\n{}", lambda.program.stderr());
            }
            lambda.runtime.block_on(lambda.client.list_functions().send()).ok()
        });
        Some(lambda)
    }

    /// Where it serves: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// What its functions have asked of AWS so far, by their names.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.recorder.calls()
    }

    /// Deploys a program as the `bootstrap` of a new function with this environment.
    ///
    /// # Panics
    /// If it is refused.
    pub fn deploy(&self, name: &str, program: &Path, environment: &[(String, String)]) {
        let zip = self.files.path().join(format!("{name}.zip"));
        let folder = TempDir::new_in(self.files.path()).expect("a temporary folder");
        fs::copy(program, folder.path().join("bootstrap")).expect("a copy of the program");
        let zipped = Command::new("python3")
            .args(["-m", "zipfile", "-c"])
            .arg(&zip)
            .arg("bootstrap")
            .current_dir(folder.path())
            .output()
            .expect("python3");
        assert!(zipped.status.success(), "{}", String::from_utf8_lossy(&zipped.stderr));
        let code = FunctionCode::builder().zip_file(Blob::new(fs::read(zip).expect("the zip"))).build();
        let request = self
            .client
            .create_function()
            .function_name(name)
            .runtime(LambdaRuntime::Providedal2023)
            .handler("bootstrap")
            .role("arn:aws:iam::000000000000:role/probegram")
            .code(code)
            .timeout(TIMEOUT_S)
            .memory_size(256)
            .environment(variables(environment));
        self.runtime.block_on(request.send()).expect("a function");
        self.wait_until_active(name);
    }

    /// Gives a function another environment; new environments have it.
    ///
    /// # Panics
    /// If it is refused.
    pub fn configure(&self, name: &str, environment: &[(String, String)]) {
        let request = self
            .client
            .update_function_configuration()
            .function_name(name)
            .environment(variables(environment));
        self.runtime.block_on(request.send()).expect("another configuration");
        self.wait_until_active(name);
    }

    fn wait_until_active(&self, name: &str) {
        until(PATIENCE, name, || {
            let function =
                self.runtime.block_on(self.client.get_function().function_name(name).send()).ok()?;
            (function.configuration()?.state() == Some(&State::Active)).then_some(())
        });
    }

    /// What a function has written so far to standard output and standard error, as CloudWatch has it. ministack puts it there at
    /// the end of an invocation: what is written just then may come with the next one.
    ///
    /// # Panics
    /// If there is nothing, or too much: ministack tells of 50 invocations, and keeps the last 10,000 lines of each.
    #[must_use]
    pub fn log(&self, function: &str) -> String {
        const INVOCATIONS: usize = 50;
        const LINES: usize = 10_000;
        let group = format!("/aws/lambda/{function}");
        let streams = self.logs("DescribeLogStreams", &json!({"logGroupName": group}));
        let streams = streams["logStreams"].as_array().expect("a log of each invocation");
        assert!(streams.len() < INVOCATIONS, "ministack does not tell of more invocations");
        let mut log = String::new();
        for stream in streams {
            let mut page = json!({"logGroupName": group, "logStreamName": stream["logStreamName"], "startFromHead": true});
            let mut lines = 0;
            loop {
                let mut answer = self.logs("GetLogEvents", &page);
                let events = answer["events"].as_array().expect("lines");
                if events.is_empty() {
                    break;
                }
                for event in events {
                    log.push_str(event["message"].as_str().expect("a line"));
                    log.push('\n');
                }
                lines += events.len();
                page["nextToken"] = answer["nextForwardToken"].take();
            }
            assert!(lines < LINES, "ministack does not keep more lines of an invocation");
        }
        log
    }

    /// Asks CloudWatch Logs.
    fn logs(&self, operation: &str, request: &Value) -> Value {
        /// Nothing of it is looked at but the region.
        const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=test/20200101/eu-west-2/logs/aws4_request, \
                                 SignedHeaders=host, Signature=0";
        let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        let call = client
            .post(self.endpoint())
            .header("x-amz-target", format!("Logs_20140328.{operation}"))
            .header("content-type", "application/x-amz-json-1.1")
            .header("authorization", SIGNATURE)
            .body(request.to_string());
        self.runtime.block_on(async {
            let answer = call.send().await.expect("an answer").text().await.expect("a whole answer");
            serde_json::from_str(&answer).expect("JSON")
        })
    }

    /// What kills its environments, wherever it is called.
    #[must_use]
    pub fn reaper(&self) -> Reaper {
        Reaper { parent: self.program.id() }
    }
}

fn variables(environment: &[(String, String)]) -> Environment {
    let variables: HashMap<String, String> = environment.iter().cloned().collect();
    Environment::builder().set_variables(Some(variables)).build()
}

/// Kills the environments of a Lambda.
#[derive(Debug, Clone, Copy)]
pub struct Reaper {
    parent: u32,
}

impl Reaper {
    /// Kills all environments that run now (SIGKILL), whatever they are doing, and tells how many.
    ///
    /// # Panics
    /// If the system does not tell what runs.
    #[must_use]
    pub fn kill_all(self) -> usize {
        // one that has ended by itself meanwhile cannot be killed, and need not
        self.environments().into_iter().filter(|pid| kill(*pid, Signal::SIGKILL).is_ok()).count()
    }

    /// The processes of its environments.
    fn environments(self) -> Vec<Pid> {
        let processes = fs::read_dir("/proc").expect("the processes of this machine");
        processes
            .filter_map(|entry| {
                let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
                // `31511 (bootstrap) S 30383 …`: name, state, parent
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                let (_pid, rest) = stat.split_once('(')?;
                let (name, rest) = rest.rsplit_once(')')?;
                let mut fields = rest.split_whitespace();
                let (state, parent) = (fields.next()?, fields.next()?.parse::<u32>().ok()?);
                (name == "bootstrap" && state != "Z" && parent == self.parent).then_some(Pid::from_raw(pid))
            })
            .collect()
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        // killed first, it starts no more of them; they would outlive it
        let reaper = self.reaper();
        let environments = reaper.environments();
        self.program.kill();
        for pid in environments {
            let _one_that_has_ended_already_is_what_was_wanted = kill(pid, Signal::SIGKILL);
        }
    }
}

/// The folder `target/ministack` with ministack in `venv`, fetched when it is not there as the requirements want it.
fn ministack() -> PathBuf {
    fetched("ministack", "venv", "requirements.txt", |venv, requirements| {
        let mut make = Command::new("python3");
        make.args(["-m", "venv"]).arg(venv);
        let mut fill = Command::new(venv.join("bin/pip"));
        fill.args(["install", "--quiet", "--requirement"]).arg(requirements);
        vec![make, fill]
    })
}
