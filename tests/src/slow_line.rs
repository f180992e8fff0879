//! A bad line: TCP through a narrow place on loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::kafka::Port;

/// How often some bytes get through.
const TICK: Duration = Duration::from_millis(50);
/// As good as no bound.
const WIDE: usize = 1 << 30;

/// A listener whose connections lead to another port of this machine. It ends when this goes out of scope.
pub struct SlowLine {
    near: Port,
    _far: Port,
    /// Bytes a second, in the direction of the other port.
    rate: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl SlowLine {
    /// A line on this port to that one, as quick as can be for now.
    ///
    /// # Panics
    /// If the port is not free.
    #[must_use]
    pub(crate) fn start(near: Port, far: Port) -> Self {
        let to = far.number();
        let listener = TcpListener::bind(("127.0.0.1", near.number())).expect("the port of the line");
        let (rate, is_over) = (Arc::new(AtomicUsize::new(WIDE)), Arc::new(AtomicBool::new(false)));
        let line = Self { near, _far: far, rate: Arc::clone(&rate), is_over: Arc::clone(&is_over) };
        thread::spawn(move || {
            for near in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // a broker that is away takes no connection, and the other side sees this one end
                if let (Ok(near), Ok(far)) = (near, TcpStream::connect(("127.0.0.1", to))) {
                    carry(near.try_clone().expect("a socket"), far.try_clone().expect("a socket"), Arc::clone(&rate));
                    carry(far, near, Arc::new(AtomicUsize::new(WIDE)));
                }
            }
        });
        line
    }

    /// From now on so many bytes a second get through; the answers are not held back.
    pub fn narrow(&self, bytes_a_second: usize) {
        self.rate.store(bytes_a_second, Ordering::Relaxed);
    }

    /// From now on all do.
    pub fn widen(&self) {
        self.narrow(WIDE);
    }
}

impl Drop for SlowLine {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // wakes the listener; whether it is there to be woken does not matter
        drop(TcpStream::connect(("127.0.0.1", self.near.number())));
    }
}

/// Carries bytes in one direction until one side ends.
fn carry(mut from: TcpStream, mut to: TcpStream, rate: Arc<AtomicUsize>) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let rate = rate.load(Ordering::Relaxed);
            let most = (rate / 20).clamp(1, buffer.len());
            let Some(read) = from.read(&mut buffer[..most]).ok().filter(|read| *read > 0) else { break };
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
            if rate < WIDE {
                thread::sleep(TICK);
            }
        }
        // the other direction ends too; a socket that is closed already may refuse
        drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
    });
}
