//! The data directory of this machine: the agent's spool and the table lie in it.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// A data directory that is ours alone while this lives.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Makes the directory if need be, and keeps other instances out: the embedded table is for one program at a time.
    ///
    /// # Errors
    /// When it cannot be written, or another instance has it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)
            .with_context(|| format!("cannot make the data directory {}", path.display()))?;
        let lock = path.join("state.lock");
        let lock = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => {
                bail!(
                    "another probegram uses {}: stop it, or name another directory with --data",
                    path.display()
                )
            }
            Err(std::fs::TryLockError::Error(error)) => Err(error).context("cannot lock the data directory"),
        }
    }

    /// The table's file.
    #[must_use]
    pub fn table(&self) -> PathBuf {
        self.path.join("state.db")
    }
}
