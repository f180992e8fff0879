//! Pseudonyms in the place of addresses, made on the sensor: the true ones of passers-by never leave it.
//!
//! A pseudonym is the beginning of an HMAC-SHA-256 (RFC 2104) of the address, by a random key that lies beside the spool and is thrown
//! away after its period: from then on nobody can tell whose it was, or that two periods are of one device. Who has the sensor while a
//! key is there can try addresses. The bit of locally administered addresses is set (IEEE 802-2014, 8.4): no maker gave it. What else a probe
//! request says stays: names of networks, and the fingerprint of the model.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use domain::{EventTime, Mac};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

const FILE: &str = "pseudonym.key";
const KEY_BYTES: usize = 32;

/// Whose addresses are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Whom {
    /// Those that a device chose itself, as passing phones do.
    LocallyAdministered,
    /// All.
    All,
}

/// Why there can be no pseudonyms.
#[derive(Debug, thiserror::Error)]
pub enum PseudonymError {
    /// The key's file cannot be read or written.
    #[error("cannot use the key of the pseudonyms, {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system gives no random numbers.
    #[error("no key can be made for the pseudonyms: {0}")]
    Random(getrandom::Error),
}

/// What replaces addresses.
pub struct Pseudonyms {
    whom: Whom,
    period_ms: EventTime,
    path: PathBuf,
    /// `None` until the first address: before, the clock need not be set, and says no period.
    key: Option<Key>,
}

/// The key of a period, numbered from 1970 on.
struct Key {
    period: i64,
    bytes: [u8; KEY_BYTES],
}

impl Pseudonyms {
    /// Pseudonyms whose key lies in this directory.
    ///
    /// # Errors
    /// [`PseudonymError`] when a key could not be kept there, or one that is there cannot be read.
    pub fn open(directory: &Path, whom: Whom, period: Duration) -> Result<Self, PseudonymError> {
        let path = directory.join(FILE);
        let file_error = |source| PseudonymError::File { path: path.clone(), source };
        match fs::read(&path) {
            Ok(_key) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = path.with_extension("key.new");
                fs::File::create(&new).and_then(|_file| fs::remove_file(new)).map_err(file_error)?;
            }
            Err(error) => return Err(file_error(error)),
        }
        let period_ms = period.as_millis().try_into().unwrap_or(EventTime::MAX).max(1);
        Ok(Self { whom, period_ms, path, key: None })
    }

    /// What stands for an address now.
    ///
    /// # Errors
    /// Nothing can: without random numbers no address may leave the sensor.
    pub fn of(&mut self, mac: Mac, now_ms: EventTime) -> Result<Mac, PseudonymError> {
        if self.whom == Whom::LocallyAdministered && !mac.is_locally_administered() {
            return Ok(mac);
        }
        self.rotate(now_ms);
        let key = match self.key.take() {
            Some(key) => key,
            None => self.key_of(now_ms)?,
        };
        let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(&key.bytes) else {
            return Ok(Mac::new([0x02, 0, 0, 0, 0, 0])); // it takes a key of any length
        };
        self.key = Some(key);
        hmac.update(&mac.bytes());
        let digest = hmac.finalize().into_bytes();
        let mut bytes = [0; 6];
        bytes.iter_mut().zip(digest).for_each(|(byte, digest)| *byte = digest);
        let [first, ..] = &mut bytes;
        *first = (*first | 0x02) & !0x01; // locally administered, of one device
        Ok(Mac::new(bytes))
    }

    /// The key of the present period: of before a restart, or a new one.
    fn key_of(&self, now_ms: EventTime) -> Result<Key, PseudonymError> {
        let current = now_ms.div_euclid(self.period_ms);
        let known = fs::read(&self.path).ok().and_then(|content| Key::read(&content));
        if let Some(key) = known.filter(|key| key.period == current) {
            return Ok(key);
        }
        let key = Key::random(current).map_err(PseudonymError::Random)?;
        if let Err(error) = key.write(&self.path) {
            let path = self.path.display();
            tracing::error!("the new key of the pseudonyms holds until the agent ends, {path}: {error}");
        }
        Ok(key)
    }

    /// Throws the key away when its period is over. A clock that was set back does not bring a period back: its key is gone.
    pub fn rotate(&mut self, now_ms: EventTime) {
        let current = now_ms.div_euclid(self.period_ms);
        if self.key.as_ref().is_some_and(|key| key.period != current) {
            self.key = None;
            if let Err(error) = fs::remove_file(&self.path) {
                tracing::error!(
                    "the old key of the pseudonyms cannot be thrown away, {}: {error}",
                    self.path.display()
                );
            }
        }
    }
}

impl Key {
    fn random(period: i64) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self { period, bytes })
    }

    fn read(content: &[u8]) -> Option<Self> {
        let (period, bytes) = content.split_first_chunk()?;
        Some(Self { period: i64::from_be_bytes(*period), bytes: bytes.try_into().ok()? })
    }

    /// In the place of the old one at once, and for nobody else to read.
    fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("key.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&self.period.to_be_bytes())?;
        file.write_all(&self.bytes)?;
        file.sync_all()?;
        fs::rename(new, path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const NOON: EventTime = 1_795_564_800_000;
    const PHONE: Mac = Mac::new([0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15]);
    const PASSER_BY: Mac = Mac::new([0x62, 0x45, 0xb6, 0xc6, 0x7e, 0x03]);

    #[test]
    fn a_pseudonym_lasts_for_its_period_over_a_restart_and_says_nothing_in_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Pseudonyms::open(directory.path(), Whom::All, DAY).unwrap();
        let mut pseudonyms = open();
        let first = pseudonyms.of(PHONE, NOON).unwrap();
        assert!(first != PHONE && first.is_locally_administered() && first.bytes()[0] & 1 == 0);
        assert_eq!(open().of(PHONE, NOON + 3_600_000).unwrap(), first);
        assert_ne!(pseudonyms.of(PASSER_BY, NOON).unwrap(), first);
        let tomorrow = NOON + 24 * 3_600_000;
        assert_ne!(pseudonyms.of(PHONE, tomorrow).unwrap(), first);
        assert_ne!(open().of(PHONE, NOON).unwrap(), first, "the key is gone");
        let mode = fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn passers_by_alone_may_be_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let mut pseudonyms = Pseudonyms::open(directory.path(), Whom::LocallyAdministered, DAY).unwrap();
        assert_eq!(pseudonyms.of(PHONE, NOON).unwrap(), PHONE);
        assert_ne!(pseudonyms.of(PASSER_BY, NOON).unwrap(), PASSER_BY);
    }

    #[test]
    fn a_key_that_cannot_be_kept_is_an_error_at_the_start() {
        let opened = Pseudonyms::open(Path::new("/nowhere"), Whom::All, DAY);
        assert!(matches!(opened, Err(PseudonymError::File { .. })));
    }
}
