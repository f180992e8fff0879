//! Our programs as people run them: separate processes, ended by signals.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal;
use nix::unistd::Pid;
use tempfile::TempDir;

pub use nix::sys::signal::Signal;

use crate::until;

/// How long a program may take to say what is waited for. It bounds a hang on a busy machine, nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program of this workspace, built beside the running test.
///
/// # Panics
/// If it has not been built: `cargo test` alone builds only what the tests link.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    existing(built().join(name), "cargo build --workspace --all-targets")
}

/// A program of this workspace as `make build` leaves it, optimised: what a benchmark measures.
///
/// # Panics
/// If it has not been built.
#[must_use]
pub fn release_binary(name: &str) -> PathBuf {
    existing(target().join("release").join(name), "make build")
}

/// libfaketime, which gives a program another clock. Without it says on standard error that the test is skipped.
///
/// # Panics
/// With `CI=true` when it is missing.
#[must_use]
pub fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let found =
        folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists());
    if found.is_none() {
        let message = "a clock that steps needs libfaketime: run `infra/packages test`";
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
        crate::say_skipped(message);
    }
    found
}

fn existing(binary: PathBuf, built_by: &str) -> PathBuf {
    assert!(binary.is_file(), "{} is missing: run `{built_by}` first", binary.display());
    binary
}

/// The folder `target`.
pub(crate) fn target() -> PathBuf {
    built().parent().expect("the folder around target/debug").to_owned()
}

/// Where cargo puts programs: `target/debug`, when the test is `target/debug/deps/NAME-HASH`.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    test.ancestors().nth(2).expect("cargo puts tests into target/debug/deps").to_owned()
}

/// CPU time of all threads of a process: the first number of /proc/PID/task/*/schedstat, in nanoseconds.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn cpu_time(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    let nanoseconds = threads.map(|thread| {
        let path = thread.expect("a thread").path().join("schedstat");
        let text = fs::read_to_string(path).expect("a thread");
        text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).expect("nanoseconds")
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// A running program. It is killed when this goes out of scope.
pub struct Running {
    child: Child,
    name: String,
    output: TempDir,
}

impl Running {
    /// Starts a program with nothing on its standard input. What it writes goes to files, so it never waits for a
    /// reader, and what it wrote last survives its end.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = TempDir::new().expect("a temporary folder");
        let file = |name| File::create(output.path().join(name)).expect("a temporary file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Self { child, name, output }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that gets the program's standard output.
    #[must_use]
    pub fn stdout_path(&self) -> PathBuf {
        self.output.path().join("stdout")
    }

    /// What the program has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout_path())
    }

    /// What the program has written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.output.path().join("stderr"))
    }

    /// Waits for a whole line on standard output that starts with `prefix`, and gives what follows the prefix.
    ///
    /// # Panics
    /// If the program ends without it, or a minute passes.
    pub fn wait_for_line(&mut self, prefix: &str) -> String {
        let what = format!("a line `{prefix}…` of {}", self.name);
        until(PATIENCE, &what, || {
            // asked before the output is read: what was written before the end must be found after it
            let exited = self.exit_status();
            let stdout = self.stdout();
            let line = stdout
                .split_inclusive('\n')
                .filter_map(|line| line.strip_suffix('\n'))
                .find_map(|line| line.strip_prefix(prefix));
            match (line, exited) {
                (Some(rest), _) => Some(rest.to_owned()),
                (None, None) => None,
                (None, Some(status)) => {
                    panic!("no {what}: it ended with {status}\n{stdout}\n{}", self.stderr())
                }
            }
        })
    }

    /// How the program ended, or None while it runs.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the program has been seen to end before.
    pub fn signal(&mut self, signal: Signal) {
        assert!(self.exit_status().is_none(), "{} has ended: {}", self.name, self.stderr());
        // not yet waited for, so the id cannot have gone to another process
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        signal::kill(pid, signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// Waits until the program ends by itself, `within` a time that only bounds a hang.
    ///
    /// # Panics
    /// If it goes on running.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        until(within + PATIENCE, "the end of a program", || {
            let exited = self.exit_status();
            let late = exited.is_none() && Instant::now() > deadline;
            assert!(!late, "{} does not end:\n{}{}", self.name, self.stdout(), self.stderr());
            exited
        })
    }

    /// Kills the program (SIGKILL: it can neither see nor delay it) and waits until it is gone. One that has
    /// ended already stays as it is.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().expect("SIGKILL to a child");
        self.child.wait().expect("the end of a child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("the output of a child")).into_owned()
}
