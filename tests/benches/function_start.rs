//! How soon a function is there: from its start until it asks for its first event, with the programs as `make build` leaves them.
//!
//! Then what the first call over TLS costs it, against a server of openssl whose certificate it trusts; and how large it is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)] // a benchmark's way to fail and to tell

#[path = "../../infra/local/benches/support/runtime_api.rs"]
mod runtime_api;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use probegram_tests::process::{cpu_time, release_binary};
use probegram_tests::until;
use runtime_api::Function;
use tempfile::TempDir;

const RUNS: usize = 31;
const GOAL_MS: f64 = 10.0;
/// In bytes. `infra/zips` asks for it of what is deployed.
const ZIP_GOAL: usize = 4_000_000;
/// Where Debian keeps the certificates of authorities as one file.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What the functions need to start, all together. The hash is of nothing that matters.
const ENVIRONMENT: [(&str, &str); 9] = [
    ("AWS_REGION", "eu-west-2"),
    ("AWS_ACCESS_KEY_ID", "local"),
    ("AWS_SECRET_ACCESS_KEY", "local"),
    ("TABLE_NAME", "state"),
    ("CONSUMER_GROUP", "aggregate"),
    ("CONSUMER_GROUP_PREFIX", "materialize"),
    ("TELEGRAM_SECRET", "telegram"),
    ("AGGREGATE_GROUP", "aggregate"),
    ("WEBHOOK_SECRET_SHA256", "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"),
];

fn main() {
    // cargo test runs benchmarks too, without this
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for name in ["aggregate", "materialize", "alert", "bot"] {
        let program = release_binary(name);
        println!(
            "{name}: {} bytes, {} in a zip file (goal: {ZIP_GOAL})",
            fs::metadata(&program).unwrap().len(),
            zipped(&program)
        );
        let bundle = [&ENVIRONMENT[..], &[("SSL_CERT_FILE", CERTIFICATES)]].concat();
        for (what, environment) in [("as it is", &ENVIRONMENT[..]), ("with SSL_CERT_FILE", &bundle)] {
            let mut starts: Vec<(Duration, Duration, u64)> = (0..RUNS)
                .map(|_| {
                    let began = Instant::now();
                    let function = Function::start(&program, environment, Stdio::null());
                    (began.elapsed(), cpu_time(function.id()), rss_kib(function.id()))
                })
                .collect();
            starts.sort_unstable();
            let (took, cpu, rss) = starts[RUNS / 2];
            let [took, cpu] = [took, cpu].map(|time| time.as_secs_f64() * 1e3);
            println!(
                "  {what}: {took:.1} ms from its start to the first /next (goal: {GOAL_MS}), {cpu:.1} ms CPU, then {rss} KiB"
            );
        }
    }
    first_tls_call(&release_binary("aggregate"));
}

/// The CPU time of the first invocation, which makes two requests over one connection, with TLS and without.
fn first_tls_call(program: &Path) {
    let data = TempDir::new().unwrap();
    let (key, certificate) = (data.path().join("key.pem"), data.path().join("certificate.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("no TLS call: openssl is missing, `apt-get install openssl`");
        return;
    }
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let port = free();
    let mut server = Command::new("openssl")
        .args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-key"])
        .arg(&key)
        .arg("-cert")
        .arg(&certificate)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (requests, answers) = (server.stdout.take().unwrap(), server.stdin.take().unwrap());
    std::thread::spawn(move || answer_nothing(requests, answers));
    until(Duration::from_secs(60), "openssl's server", || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
    });
    let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let plain_port = plain.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in plain.incoming() {
            let connection = connection.unwrap();
            answer_nothing(connection.try_clone().unwrap(), connection);
        }
    });
    let certificate = certificate.to_str().unwrap();
    let spent = |endpoint: String| {
        let settings = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_MAX_ATTEMPTS", "1"),
            ("AWS_LAMBDA_LOG_LEVEL", "off"),
            ("SSL_CERT_FILE", certificate),
        ];
        let environment = [&ENVIRONMENT[..], &settings].concat();
        let mut times: Vec<(Duration, String)> = (0..RUNS)
            .map(|_| {
                let mut function = Function::start(program, &environment, Stdio::null());
                let before = cpu_time(function.id());
                let event = r#"{"records":{"pcap-0":[{"topic":"pcap","partition":0,"offset":0,"timestamp":0,"value":null}]}}"#;
                let answer = function.invoke(event).unwrap_or_else(|error| error);
                (cpu_time(function.id()) - before, answer)
            })
            .collect();
        times.sort_unstable();
        times.swap_remove(RUNS / 2)
    };
    let (tls, answer) = spent(format!("https://localhost:{port}"));
    let (without, _) = spent(format!("http://localhost:{plain_port}"));
    println!(
        "first invocation of aggregate: {:.1} ms CPU with a TLS handshake, {:.1} ms without",
        tls.as_secs_f64() * 1e3,
        without.as_secs_f64() * 1e3
    );
    assert_eq!(answer, "null", "the function failed");
    server.kill().unwrap();
    server.wait().unwrap();
}

/// Answers the requests of one client after the other by an empty response, which is as good as "no such item" and "written".
fn answer_nothing(mut requests: impl Read, mut answers: impl Write) {
    let mut part = [0; 10_000];
    while let Ok(length @ 1..) = requests.read(&mut part) {
        // a request is done with its body, which is a JSON object
        if part[length - 1] == b'}'
            && answers.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err()
        {
            return;
        }
    }
}

/// How large a program is when it is packed as Lambda takes it. A zip file is deflated data and some 150 bytes of names.
fn zipped(program: &Path) -> usize {
    let packed = Command::new("gzip").arg("-9c").arg(program).stderr(Stdio::inherit()).output().unwrap();
    packed.stdout.len() + 150
}

fn rss_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
