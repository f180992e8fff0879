//! Ending: everything that runs listens for it.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The exit code of a command that was interrupted, as a shell has it for Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Told to all tasks when the program is to end.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Says that the program is to end.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// A trigger and what listens to it.
#[must_use]
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// The program is to end.
    pub fn pull(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Returns when the program is to end.
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        // An error means that the trigger is gone, and with it the program.
        let _ended: Result<_, _> = receiver.wait_for(|ended| *ended).await.map(drop);
    }

    /// Whether the program is to end.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        *self.0.borrow()
    }
}

/// SIGINT (Ctrl-C) and SIGTERM. From when this is made on they end nothing by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens to them.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Returns when one has come.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
