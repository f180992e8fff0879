//! As much of Lambda's Runtime API as a function needs, on loopback: a deployable function runs against it as its own process.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A request of the function, which waits for an answer.
struct Asked {
    path: String,
    body: Vec<u8>,
    answer: Sender<Vec<u8>>,
}

/// A running function, which waits for its next event. It is killed when this goes out of scope.
pub(crate) struct Function {
    process: Child,
    asked: Receiver<Asked>,
    next: Sender<Vec<u8>>,
}

impl Function {
    /// Starts a program as Lambda would, and waits until it asks for the first event.
    pub(crate) fn start(program: &Path, environment: &[(&str, &str)], stdout: Stdio) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", listener.local_addr().unwrap().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "function")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "group")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
            .envs(environment.iter().copied());
        let (ask, asked) = channel();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let ask = ask.clone();
                thread::spawn(move || serve(connection.unwrap(), &ask));
            }
        });
        let process = command.stdin(Stdio::null()).stdout(stdout).spawn().unwrap();
        let next = next(&asked);
        Self { process, asked, next }
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What the process writes to standard output, if it was started with a pipe.
    #[allow(dead_code)] // one of two benchmarks reads it
    pub(crate) fn stdout(&mut self) -> impl BufRead + use<> {
        BufReader::new(self.process.stdout.take().unwrap())
    }

    /// Has the function handle an event, until it asks for the next: its answer, or the error it tells.
    pub(crate) fn invoke(&mut self, event: &str) -> Result<String, String> {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 1\r\nLambda-Runtime-Deadline-Ms: 4102444800000\r\n\
             Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-west-2:1:function:function\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{event}",
            event.len()
        );
        self.next.send(answer.into_bytes()).unwrap();
        let Asked { path, body, answer } = self.asked.recv().unwrap();
        answer.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec()).unwrap();
        self.next = next(&self.asked);
        let body = String::from_utf8_lossy(&body).into_owned();
        if path.ends_with("/response") { Ok(body) } else { Err(body) }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Waits until the function asks for an event.
fn next(asked: &Receiver<Asked>) -> Sender<Vec<u8>> {
    let Asked { path, body, answer } = asked.recv().unwrap();
    assert!(path.ends_with("/invocation/next"), "{path}: {}", String::from_utf8_lossy(&body));
    answer
}

/// Hands over the requests of one connection, one after the other.
fn serve(connection: TcpStream, ask: &Sender<Asked>) {
    connection.set_nodelay(true).unwrap();
    let mut requests = BufReader::new(connection.try_clone().unwrap());
    let mut answers = connection;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            // the function was killed
            if requests.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .map(|length| length.trim().parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        requests.read_exact(&mut body).unwrap();
        let (answer, answered) = channel();
        if ask.send(Asked { path, body, answer }).is_err() {
            return;
        }
        let Ok(answer) = answered.recv() else { return };
        if answers.write_all(&answer).is_err() {
            return;
        }
    }
}
