//! A small Linux in QEMU with two virtual 802.11 cards that hear each other: `infra/virtual-radio` makes it, a shell on its serial
//! port does what it is told.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::process::target;

/// How long the machine may take for an answer, its start included. It bounds a hang: without hardware virtualisation and beside a
/// build, it is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running machine. It is killed when this goes out of scope.
pub struct VirtualMachine {
    qemu: Child,
    commands: ChildStdin,
    lines: Receiver<String>,
    console: PathBuf,
    /// One machine at a time: they share their files, and they are slow enough alone.
    _lock: File,
}

impl VirtualMachine {
    /// Starts a machine that has `program` in its `/bin`. Without QEMU it says on standard error that the test is skipped.
    ///
    /// # Panics
    /// If it does not start, and with `CI=true` when QEMU is missing.
    #[must_use]
    pub fn start(program: &Path) -> Option<Self> {
        if Command::new("qemu-system-x86_64").arg("--version").output().is_err()
            || !cfg!(target_arch = "x86_64")
        {
            let message = "a virtual radio needs QEMU on x86-64: run `infra/packages radio`";
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
            crate::say_skipped(message);
            return None;
        }
        let home = target().join("virtual-radio");
        fs::create_dir_all(&home).expect("a folder in target");
        let lock = File::create(home.join("lock")).expect("a lock file in target");
        lock.lock().expect("a lock on a file in target");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/virtual-radio");
        let made = Command::new(script).arg(program).arg(&home).output().expect("infra/virtual-radio");
        assert!(made.status.success(), "infra/virtual-radio: {}", String::from_utf8_lossy(&made.stderr));

        let console = home.join("console.log");
        let mut qemu = Command::new("qemu-system-x86_64")
            .args(["-machine", "pc", "-accel", "tcg", "-cpu", "max", "-m", "512", "-no-reboot"])
            .args(["-nodefaults", "-display", "none"])
            .args(["-kernel", "kernel", "-initrd", "initramfs", "-append", "console=ttyS0 panic=-1"])
            .args(["-serial", "file:console.log", "-serial", "stdio"])
            .current_dir(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("qemu-system-x86_64");
        let commands = qemu.stdin.take().expect("a pipe");
        let output = BufReader::new(qemu.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            // ends with the machine, or when nobody waits for it any more
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut machine = Self { qemu, commands, lines, console, _lock: lock };
        assert_eq!(machine.line("the start"), "READY"); // what is sent before is lost
        Some(machine)
    }

    /// What a shell command prints, its errors included. What it leaves in the background goes on.
    ///
    /// # Panics
    /// If it fails, or there is no answer.
    pub fn run(&mut self, command: &str) -> String {
        let (status, output) = self.try_run(command);
        assert_eq!(status, 0, "`{command}` in the virtual machine: {output}");
        output
    }

    /// The exit status of a shell command and what it prints.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn try_run(&mut self, command: &str) -> (i32, String) {
        let (status, output) = self.answer(command);
        (status, String::from_utf8_lossy(&output).into_owned())
    }

    /// Copies a file out of the machine.
    ///
    /// # Panics
    /// If it is not there.
    pub fn copy_out(&mut self, file: &str, to: &Path) {
        let (status, content) = self.answer(&format!("cat {file}"));
        assert_eq!(status, 0, "{file} in the virtual machine: {}", String::from_utf8_lossy(&content));
        fs::write(to, content).expect("a file of the test");
    }

    fn answer(&mut self, command: &str) -> (i32, Vec<u8>) {
        writeln!(self.commands, "{}", base64_simd::STANDARD.encode_to_string(command))
            .expect("a running virtual machine");
        let answer = self.line(command);
        let (status, output) = answer.split_once(' ').unwrap_or((&answer, "")); // trimmed when it is empty
        let output = base64_simd::STANDARD.decode_to_vec(output).expect("base64");
        (status.parse().expect("an exit status"), output)
    }

    fn line(&mut self, command: &str) -> String {
        let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let console = fs::read(&self.console).unwrap_or_default();
            let console = String::from_utf8_lossy(&console);
            panic!("no answer to `{command}`, {error}; the machine's console says:\n{console}")
        });
        line.trim_end().to_owned()
    }
}

impl Drop for VirtualMachine {
    fn drop(&mut self) {
        // what a failed test would have to look at
        if thread::panicking() {
            let asked = writeln!(self.commands, "{}", base64_simd::STANDARD.encode_to_string("cat /tmp/log"));
            let said = asked.ok().and_then(|()| self.lines.recv_timeout(PATIENCE).ok()).unwrap_or_default();
            let log = said
                .split_once(' ')
                .and_then(|(_, log)| base64_simd::STANDARD.decode_to_vec(log.trim()).ok());
            eprintln!(
                "/tmp/log in the virtual machine:\n{}",
                String::from_utf8_lossy(&log.unwrap_or_default())
            );
        }
        // it has nothing to lose
        self.qemu.kill().expect("SIGKILL to a child");
        self.qemu.wait().expect("the end of a child");
    }
}
