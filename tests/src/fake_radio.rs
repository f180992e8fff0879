//! A radio without hardware: a TAP device whose link type is radiotap, so that what is written to it is captured like frames of a
//! card in monitor mode. It has no nl80211: nothing about modes and channels can be tried with it (`virtual_machine` can).
//!
//! Python makes it, whose `ioctl` needs no unsafe code of ours. The device is gone when its process is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// `TUNSETIFF` with `IFF_TAP | IFF_NO_PI` and `TUNSETLINK` with `ARPHRD_IEEE80211_RADIOTAP`, of linux/if_tun.h and linux/if_arp.h. A
/// line is a frame in hexadecimal digits, with `*COUNT` behind it for as many.
const PROGRAM: &str = r"
import fcntl, os, struct, subprocess, sys
name = sys.argv[1]
device = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(device, 0x400454ca, struct.pack('16sH22s', name.encode(), 0x1002, b''))
fcntl.ioctl(device, 0x400454cd, 803)
subprocess.run(['ip', 'link', 'set', name, 'up', 'mtu', '4000'], check=True)
print('ready', flush=True)
for line in sys.stdin:
    frame, _, count = line.strip().partition('*')
    frame = bytes.fromhex(frame)
    for _ in range(int(count or 1)):
        os.write(device, frame)
    print('sent', flush=True)
";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A radio. Its card is pulled out when this goes out of scope.
pub struct FakeRadio {
    /// The interface's name.
    pub interface: String,
    process: Child,
    air: ChildStdin,
    answers: BufReader<std::process::ChildStdout>,
}

impl FakeRadio {
    /// Plugs one in. Where this machine lets nobody make network devices it says so, and the test is skipped.
    ///
    /// # Panics
    /// With `CI=true` where it cannot be made.
    #[must_use]
    pub fn plug_in() -> Option<Self> {
        // the names of tests that run at the same time differ
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let interface = format!("air{}x{number}", std::process::id() % 100_000);
        let radio = Self::plug_in_as(&interface);
        if radio.is_none() {
            let message = "a radio without hardware needs root, /dev/net/tun, Python and iproute2: run `infra/packages test`";
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
            crate::say_skipped(message);
        }
        radio
    }

    /// Plugs one in under this name, as a card gets its old name when it is plugged in again.
    ///
    /// # Panics
    /// If Python cannot be started.
    #[must_use]
    pub fn plug_in_as(interface: &str) -> Option<Self> {
        let mut process = Command::new("python3")
            .args(["-c", PROGRAM, interface])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let air = process.stdin.take().expect("its standard input");
        let answers = BufReader::new(process.stdout.take().expect("its standard output"));
        let mut radio = Self { interface: interface.to_owned(), process, air, answers };
        radio.answer().is_some_and(|answer| answer == "ready").then_some(radio)
    }

    /// Puts a frame with its radiotap header on the air, so many times.
    ///
    /// # Panics
    /// If the card is not up.
    pub fn send(&mut self, frame: &[u8], times: usize) {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.air, "{hex}*{times}").expect("a pipe");
        assert_eq!(self.answer().as_deref(), Some("sent"), "{} is not up", self.interface);
    }

    /// What `ip link set INTERFACE …` does.
    ///
    /// # Panics
    /// If it refuses.
    pub fn ip_link_set(&self, arguments: &[&str]) {
        let set = Command::new("ip").args(["link", "set", &self.interface]).args(arguments).status();
        assert!(set.expect("iproute2").success(), "ip link set {} {arguments:?}", self.interface);
    }

    fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.answers.read_line(&mut line).ok()?;
        (length > 0).then(|| line.trim().to_owned())
    }
}

impl Drop for FakeRadio {
    fn drop(&mut self) {
        self.process.kill().expect("SIGKILL to a child");
        self.process.wait().expect("the end of a child");
    }
}
