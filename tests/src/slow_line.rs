//! A bad line: TCP through a narrow place on loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::kafka::Port;

/// So many pieces of a second's bytes get through one after the other.
const PIECES: usize = 20;
/// As good as no bound.
const WIDE: usize = 1 << 30;

/// A listener whose connections lead to another port of this machine, all over one line. It ends when this goes out of scope.
///
/// What a connection has taken before it was closed still comes through, as on a real line, and leaves the less for the next.
pub struct SlowLine {
    near: Port,
    _far: Port,
    way_there: Arc<Way>,
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
        let (there, back, is_over) =
            (Arc::new(Way::wide()), Arc::new(Way::wide()), Arc::new(AtomicBool::new(false)));
        let line = Self { near, _far: far, way_there: Arc::clone(&there), is_over: Arc::clone(&is_over) };
        thread::spawn(move || {
            for near in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // a broker that is away takes no connection, and the other side sees this one end
                if let (Ok(near), Ok(far)) = (near, TcpStream::connect(("127.0.0.1", to))) {
                    carry(
                        near.try_clone().expect("a socket"),
                        far.try_clone().expect("a socket"),
                        Arc::clone(&there),
                    );
                    carry(far, near, Arc::clone(&back));
                }
            }
        });
        line
    }

    /// From now on so many bytes a second get through; the answers are not held back.
    pub fn narrow(&self, bytes_a_second: usize) {
        self.way_there.rate.store(bytes_a_second, Ordering::Relaxed);
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

/// A direction of the line, which its connections share.
struct Way {
    /// Bytes a second.
    rate: AtomicUsize,
    /// When what was put on it so far will be through.
    free: Mutex<Instant>,
}

impl Way {
    fn wide() -> Self {
        Self { rate: AtomicUsize::new(WIDE), free: Mutex::new(Instant::now()) }
    }

    /// How many bytes to put on it at once.
    fn piece(&self) -> usize {
        (self.rate.load(Ordering::Relaxed) / PIECES).max(1)
    }

    /// Puts so many bytes on it behind those of all connections, and waits until they are through.
    fn pass(&self, bytes: usize) {
        let rate = self.rate.load(Ordering::Relaxed);
        if rate >= WIDE {
            return;
        }
        let now = Instant::now();
        let through = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = now.max(*free)
                + Duration::from_secs(1) * u32::try_from(bytes).expect("a piece")
                    / u32::try_from(rate).expect("a rate");
            *free
        };
        thread::sleep(through.saturating_duration_since(now));
    }
}

/// Carries bytes in one direction until one side ends.
fn carry(mut from: TcpStream, mut to: TcpStream, way: Arc<Way>) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let most = way.piece().min(buffer.len());
            let Some(read) = from.read(&mut buffer[..most]).ok().filter(|read| *read > 0) else { break };
            way.pass(read);
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        // the other direction ends too; a socket that is closed already may refuse
        drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
    });
}
