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
        match Self::open_if_free(path)? {
            Some(directory) => Ok(directory),
            None => bail!(
                "another probegram uses {}: stop it, or name another directory with --data",
                path.display()
            ),
        }
    }

    /// The directory, or `None` while another instance has it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open_if_free(path: &Path) -> anyhow::Result<Option<Self>> {
        let lock = path.join("state.lock");
        let lock = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { path: path.to_owned(), _lock: lock })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error).context("cannot lock the data directory"),
        }
    }

    /// The table's file.
    #[must_use]
    pub fn table(&self) -> PathBuf {
        table(&self.path)
    }

    /// The socket through which others on this machine use the table meanwhile.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(&self.path)
    }
}

/// The table's file in a data directory.
#[must_use]
pub fn table(directory: &Path) -> PathBuf {
    directory.join("state.db")
}

/// The table's socket in a data directory.
#[must_use]
pub fn socket(directory: &Path) -> PathBuf {
    directory.join("state.sock")
}
