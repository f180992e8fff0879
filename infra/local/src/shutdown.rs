//! Ending: everything that runs listens for it.

use tokio::sync::watch;

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

/// Returns at SIGINT (Ctrl-C) or SIGTERM.
///
/// # Errors
/// When the signals cannot be listened to.
pub async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}
