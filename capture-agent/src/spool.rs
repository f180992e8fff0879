//! The spool: the agent's own log on disk, in one SQLite file. Records by topic, each with an offset that never restarts.
//!
//! Exactly one connection writes, prunes and checkpoints ([`Spool`]); every other opens read-only ([`SpoolReader`]). So a
//! reader's position is the reader's own, and the rare corruption by two connections that write or checkpoint at one moment
//! (sqlite.org/wal.html, "the WAL-reset bug", mended in 3.51.3) cannot happen. A lock file keeps a second agent out.
//!
//! `synchronous=FULL`: a commit survives a pulled plug. `max_page_count` bounds the file, and a ballast file is given up
//! when somebody else fills the disk: with a write-ahead log even a DELETE needs room.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use etcetera::BaseStrategy as _;
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, OptionalExtension as _};

/// The topic of the probe requests, in the spool and by default in Kafka.
pub const PCAP: &str = "pcap";
/// The topic of the heartbeats, likewise.
pub const SENSORS: &str = "sensors";

const DATABASE: &str = "spool.db";
const DATABASE_IN_THE_MAKING: &str = "spool.db.new";
const LOCK: &str = "spool.lock";
const BALLAST: &str = "spool.ballast";

/// Enough for SQLite to checkpoint on a full disk, by which the database may grow as much as the log held: a thousand pages and
/// one commit. From then on log and database are written in place.
const BALLAST_BYTES: usize = 8 << 20;
const PAGES_BEFORE_A_CHECKPOINT: usize = 1_000;
/// SQLite's default, written into the file when it is made.
const PAGE_BYTES: u64 = 4096;
/// Rows of one DELETE: it goes through the write-ahead log, which one of 90,000 rows grew to 46 MB.
const ROWS_A_DELETE: usize = 1_000;
/// Pages kept free below the bound, so that a commit seldom runs into it: more than two of the largest.
const RESERVE_PAGES: u64 = (8 << 20) / PAGE_BYTES;
/// A log that grew beyond this, because readers kept it from being reset, is waited for and cut.
const LONG_LOG_BYTES: u64 = 64 << 20;
/// Written into the file as `user_version`.
const SCHEMA_VERSION: i64 = 1;
/// Before this nobody captured: such a time is a clock that was not set, and says nothing about age.
const YEAR_2000_MS: i64 = 946_684_800_000;

const SCHEMA: &str = "
    CREATE TABLE spool(id TEXT NOT NULL) STRICT;
    CREATE TABLE records(
        offset INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key BLOB, value BLOB NOT NULL, timestamp INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE topics(
        topic TEXT PRIMARY KEY, end INTEGER NOT NULL DEFAULT 0, acknowledged INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE imports(
        path BLOB NOT NULL, occurrence INTEGER NOT NULL, size INTEGER NOT NULL, modified INTEGER NOT NULL,
        frame INTEGER NOT NULL, finished INTEGER NOT NULL, PRIMARY KEY(path, occurrence)
    ) STRICT;
";

/// What can go wrong with a spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process writes it.
    #[error(
        "the spool {0} is in use by another capture-agent: stop that one, or give another directory with --spool"
    )]
    InUse(PathBuf),
    /// It was made by a later version of this program.
    #[error(
        "the spool {0} was made by a newer version of this program: use that, or give another directory with --spool"
    )]
    TooNew(PathBuf),
    /// Its bound is reached and nothing in it may be dropped.
    #[error(
        "the spool is full: its bound is {} MiB and nothing in it may be dropped yet; raise --spool-bytes, or send it on with --bootstrap-servers",
        .bytes >> 20
    )]
    Full {
        /// The bound in bytes.
        bytes: u64,
    },
    /// The disk has no room left.
    #[error("the disk of the spool {0} is full: make room on it; what was committed is safe")]
    DiskFull(PathBuf),
    /// There is no home directory to keep data in.
    #[error("there is no home directory to keep the spool in: give a directory with --spool")]
    NoHome,
    /// The bound is too small to work within.
    #[error("a spool needs at least {} bytes", Retention::LEAST_BYTES)]
    TooSmall,
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite says no.
    #[error("the spool's database fails: {0}")]
    Database(#[from] rusqlite::Error),
}

impl SpoolError {
    /// Whether there was no room: pruning, or time, may mend it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } | Self::DiskFull(_) => true,
            Self::Database(error) => error.sqlite_error_code() == Some(ErrorCode::DiskFull),
            _ => false,
        }
    }
}

/// The directory of the spool when none is named, which is where `probegram local` looks for it:
/// `$XDG_DATA_HOME/probegram`, usually `~/.local/share/probegram`.
///
/// # Errors
/// [`SpoolError::NoHome`].
pub fn default_directory() -> Result<PathBuf, SpoolError> {
    let base = etcetera::choose_base_strategy().map_err(|_no_home| SpoolError::NoHome)?;
    Ok(base.data_dir().join("probegram"))
}

/// How much a spool keeps.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// The largest size of the database file in bytes, at least [`Self::LEAST_BYTES`]. The write-ahead log comes on top.
    pub bytes: u64,
    /// How long a record is kept.
    pub age: Duration,
    /// What happens at the bound to records that nobody acknowledged.
    pub when_full: WhenFull,
}

impl Retention {
    /// The largest commit fits in several times.
    pub const LEAST_BYTES: u64 = 16 << 20;
}

/// What happens at the bound to records that nobody acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest go, and are counted: a live capture.
    DropOldest,
    /// They stay, and the new ones are refused: an import, whose file is still there later.
    Refuse,
}

/// How far a capture file has been taken into the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportPosition {
    /// The file's canonical path.
    pub path: Vec<u8>,
    /// How many times the same file stands before it in the list of files.
    pub occurrence: i64,
    /// The file's size in bytes: with another one it is another file.
    pub size: i64,
    /// The file's time of modification in nanoseconds since 1970: likewise.
    pub modified: i64,
    /// The number, from 1, of the last frame that was taken.
    pub frame: u64,
    /// Whether that was the file's last.
    pub finished: bool,
}

/// The one writer of a spool.
#[derive(Debug)]
pub struct Spool {
    connection: Connection,
    directory: PathBuf,
    id: String,
    retention: Retention,
    /// The bound that holds now, in pages: while the disk is full, what the database has. A page in the log for which there is
    /// no place in the database could never be checkpointed, and that would be the end.
    most_pages: u64,
    dropped: u64,
    _lock: File,
}

impl Spool {
    /// Opens the spool in a directory, and makes both when they are not there.
    ///
    /// # Errors
    /// [`SpoolError::InUse`] when another process has it open for writing, and what else keeps it from being opened.
    pub fn open(directory: &Path, retention: Retention) -> Result<Self, SpoolError> {
        if retention.bytes < Retention::LEAST_BYTES {
            return Err(SpoolError::TooSmall);
        }
        fs::create_dir_all(directory).map_err(|source| file_error(directory, source))?;
        let lock = lock(directory)?;
        let path = directory.join(DATABASE);
        if !path.try_exists().map_err(|source| file_error(&path, source))? {
            create(directory)?;
        }
        let connection = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > SCHEMA_VERSION {
            return Err(SpoolError::TooNew(directory.to_owned()));
        }
        connection.pragma_update(None, "synchronous", "FULL")?;
        // like the bound, these are the connection's and not the file's
        connection.query_row("PRAGMA journal_size_limit=16777216", [], |_limit| Ok(()))?;
        connection.query_row(
            &format!("PRAGMA wal_autocheckpoint={PAGES_BEFORE_A_CHECKPOINT}"),
            [],
            |_pages| Ok(()),
        )?;
        let id = id_of(&connection)?;
        let mut spool = Self {
            connection,
            directory: directory.to_owned(),
            id,
            retention,
            most_pages: 0,
            dropped: 0,
            _lock: lock,
        };
        spool.bound()?;
        Ok(spool)
    }

    /// The spool's own random name. A new file is a new source.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory it lies in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How much it keeps.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// How many records went, since it was opened, before anybody acknowledged them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Runs `work` in one transaction. When this returns Ok, all of it is on the disk; otherwise none of it is. `work` may run
    /// several times: again after room has been made.
    ///
    /// # Errors
    /// [`SpoolError::Full`] and [`SpoolError::DiskFull`] when retention may not make room, and what SQLite says.
    pub fn write<T>(
        &mut self,
        mut work: impl FnMut(&mut Writes<'_>) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        while self.used_pages()? + self.reserve() > self.most_pages {
            if self.delete_what_may_go()? == 0 {
                break;
            }
        }
        match self.attempt(&mut work) {
            Err(error) if error.is_full() => {}
            result => return result,
        }
        match self.make_room().and_then(|()| self.attempt(&mut work)) {
            Err(error) if !error.is_full() => Err(error),
            Err(_full) if self.is_disk_full() => Err(SpoolError::DiskFull(self.directory.clone())),
            Err(_full) => Err(SpoolError::Full { bytes: self.retention.bytes }),
            written => written,
        }
    }

    /// What is due now and then: records beyond their age go (`only_acknowledged`: those alone), a long log is cut, the ballast is
    /// put back.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn maintain(&mut self, only_acknowledged: bool) -> Result<(), SpoolError> {
        let oldest =
            now_ms().saturating_sub(i64::try_from(self.retention.age.as_millis()).unwrap_or(i64::MAX));
        let aged = Dated { from: YEAR_2000_MS, before: oldest };
        while self.delete_acknowledged(aged)? >= ROWS_A_DELETE {}
        while !only_acknowledged && self.delete_oldest(aged)? >= ROWS_A_DELETE {}
        self.cut_long_log()?;
        if self.is_disk_full() {
            self.bound()?;
        }
        Ok(())
    }

    /// Moves all of the log into the database, as closing it does, so that closing is quick.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn checkpoint(&self) -> Result<(), SpoolError> {
        Ok(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_busy| Ok(()))?)
    }

    /// How far a file that was not read to its end, or whose import did not end, has been taken.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn import_position(
        &self,
        path: &[u8],
        occurrence: i64,
    ) -> Result<Option<ImportPosition>, SpoolError> {
        let mut select = self.connection.prepare_cached(
            "SELECT size, modified, frame, finished FROM imports WHERE path = ?1 AND occurrence = ?2",
        )?;
        let position = select
            .query_row((path, occurrence), |row| {
                Ok(ImportPosition {
                    path: path.to_owned(),
                    occurrence,
                    size: row.get(0)?,
                    modified: row.get(1)?,
                    frame: row.get(2)?,
                    finished: row.get(3)?,
                })
            })
            .optional()?;
        Ok(position)
    }

    /// The offset up to which a topic has been acknowledged; 0 for none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn acknowledged(&self, topic: &str) -> Result<i64, SpoolError> {
        acknowledged(&self.connection, topic)
    }

    fn attempt<T>(
        &self,
        work: &mut impl FnMut(&mut Writes<'_>) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        // SQLite rolls back by itself on a full disk, and dropping the transaction then tries in vain, which is all right
        let transaction = self.connection.unchecked_transaction()?;
        let result = {
            let mut writes = Writes {
                connection: &self.connection,
                insert: self.connection.prepare_cached(
                    "INSERT INTO records(topic, key, value, timestamp) VALUES (?1, ?2, ?3, ?4)",
                )?,
                now_ms: now_ms(),
                newest: Vec::new(),
            };
            let result = work(&mut writes)?;
            writes.note_ends()?;
            result
        };
        transaction.commit()?;
        Ok(result)
    }

    /// After SQLite ran out of room. Pages of deleted rows are used again, so no more is deleted than a commit or two need, however
    /// often this is tried on a disk that stays full.
    fn make_room(&mut self) -> Result<(), SpoolError> {
        // what ran into our own bound was, before it was rolled back, at most one commit away from it
        if self.pages()? + self.reserve() <= self.most_pages {
            self.give_up_ballast()?;
            self.set_most_pages(self.pages()?)?;
        }
        // a log that was checkpointed is written from its beginning again and need not grow
        self.connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_busy| Ok(()))?;
        while self.free_pages()? < self.reserve() {
            if self.delete_what_may_go()? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Sets the bound of the file: that of the retention when there is room for the ballast, else what the file has.
    fn bound(&mut self) -> Result<(), SpoolError> {
        let by_retention = self.retention.bytes / PAGE_BYTES;
        let most = if self.restore_ballast() { by_retention } else { self.pages()?.min(by_retention) };
        self.set_most_pages(most)
    }

    fn set_most_pages(&mut self, pages: u64) -> Result<(), SpoolError> {
        self.most_pages = pages;
        // answers with what holds, which is never less than the file has
        Ok(self.connection.query_row(&format!("PRAGMA max_page_count={pages}"), [], |_pages| Ok(()))?)
    }

    fn is_disk_full(&self) -> bool {
        self.most_pages < self.retention.bytes / PAGE_BYTES
    }

    /// How many pages are kept free.
    fn reserve(&self) -> u64 {
        RESERVE_PAGES.min(self.most_pages / 2)
    }

    /// Deletes some of what may go, the acknowledged first. How many rows went.
    fn delete_what_may_go(&mut self) -> Result<usize, SpoolError> {
        let any_time = Dated { from: i64::MIN, before: i64::MAX };
        let rows = self.delete_acknowledged(any_time)?;
        if rows > 0 || self.retention.when_full == WhenFull::Refuse {
            return Ok(rows);
        }
        self.delete_oldest(any_time)
    }

    fn delete_acknowledged(&self, dated: Dated) -> Result<usize, SpoolError> {
        let mut topics = self
            .connection
            .prepare_cached("SELECT topic, acknowledged FROM topics WHERE acknowledged > 0")?;
        let topics = topics
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?
            .collect::<Result<Vec<_>, _>>()?;
        for (topic, acknowledged) in topics {
            let rows = self
                .connection
                .prepare_cached(
                    "DELETE FROM records WHERE offset IN
                     (SELECT offset FROM records WHERE topic = ?1 AND offset <= ?2 ORDER BY offset LIMIT ?3)
                     AND timestamp >= ?4 AND timestamp < ?5",
                )?
                .execute((topic, acknowledged, ROWS_A_DELETE, dated.from, dated.before))?;
            if rows > 0 {
                return Ok(rows);
            }
        }
        Ok(0)
    }

    /// Deletes the oldest. The acknowledged are gone by then, so these count as dropped.
    fn delete_oldest(&mut self, dated: Dated) -> Result<usize, SpoolError> {
        let rows = self
            .connection
            .prepare_cached(
                "DELETE FROM records WHERE offset IN (SELECT offset FROM records ORDER BY offset LIMIT ?1)
                 AND timestamp >= ?2 AND timestamp < ?3",
            )?
            .execute((ROWS_A_DELETE, dated.from, dated.before))?;
        self.dropped += rows as u64;
        Ok(rows)
    }

    fn used_pages(&self) -> Result<u64, SpoolError> {
        Ok(self.pages()?.saturating_sub(self.free_pages()?))
    }

    fn free_pages(&self) -> Result<u64, SpoolError> {
        pragma(&self.connection, "PRAGMA freelist_count")
    }

    fn pages(&self) -> Result<u64, SpoolError> {
        pragma(&self.connection, "PRAGMA page_count")
    }

    fn cut_long_log(&self) -> Result<(), SpoolError> {
        let log = self.directory.join(format!("{DATABASE}-wal"));
        if fs::metadata(log).is_ok_and(|log| log.len() > LONG_LOG_BYTES) {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn give_up_ballast(&self) -> Result<(), SpoolError> {
        let path = self.directory.join(BALLAST);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(file_error(&path, source)),
            Ok(()) => {
                tracing::warn!("the disk of the spool {} is full: make room on it", self.directory.display());
                Ok(())
            }
        }
    }

    /// Whether it is there. Without room for it there is none.
    fn restore_ballast(&self) -> bool {
        let path = self.directory.join(BALLAST);
        if fs::metadata(&path).is_ok_and(|ballast| ballast.len() == BALLAST_BYTES as u64) {
            return true;
        }
        // written, not set to a length: a hole takes no room
        let written = File::create(&path).and_then(|mut ballast| {
            ballast.write_all(&vec![0; BALLAST_BYTES]).and_then(|()| ballast.sync_all())
        });
        let Err(error) = written else { return true };
        tracing::debug!("no ballast beside the spool for now: {error}");
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!("cannot remove {}: {error}", path.display());
        }
        false
    }
}

/// The writes of one transaction.
pub struct Writes<'a> {
    connection: &'a Connection,
    insert: CachedStatement<'a>,
    now_ms: i64,
    newest: Vec<(String, i64)>,
}

impl Writes<'_> {
    /// Appends a record to a topic and returns its offset.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn append(&mut self, topic: &str, key: Option<&[u8]>, value: &[u8]) -> Result<i64, SpoolError> {
        self.insert.execute((topic, key, value, self.now_ms))?;
        let offset = self.connection.last_insert_rowid();
        match self.newest.iter_mut().find(|(known, _)| known == topic) {
            Some((_, newest)) => *newest = offset,
            None => self.newest.push((topic.to_owned(), offset)),
        }
        Ok(offset)
    }

    /// Appends a record in the place of the newest of a topic, if that has the same key: of what a key says only the latest counts.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn replace(&mut self, topic: &str, key: &[u8], value: &[u8]) -> Result<i64, SpoolError> {
        self.connection
            .prepare_cached(
                "DELETE FROM records WHERE offset = (SELECT end - 1 FROM topics WHERE topic = ?1) AND topic = ?1 AND key = ?2",
            )?
            .execute((topic, key))?;
        self.append(topic, Some(key), value)
    }

    /// Notes that a topic needs nothing at or below this offset any more. It never goes back.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn acknowledge(&mut self, topic: &str, offset: i64) -> Result<(), SpoolError> {
        self.connection
            .prepare_cached(
                "INSERT INTO topics(topic, acknowledged) VALUES (?1, ?2)
                 ON CONFLICT(topic) DO UPDATE SET acknowledged = max(acknowledged, excluded.acknowledged)",
            )?
            .execute((topic, offset))?;
        Ok(())
    }

    /// Notes how far a file has been taken.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn note_import(&mut self, position: &ImportPosition) -> Result<(), SpoolError> {
        let ImportPosition { path, occurrence, size, modified, frame, finished } = position;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO imports(path, occurrence, size, modified, frame, finished)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((path, occurrence, size, modified, frame, finished))?;
        Ok(())
    }

    /// Forgets how far a file has been taken: its import has ended, and the file, read again, counts again.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn forget_import(&mut self, path: &[u8], occurrence: i64) -> Result<(), SpoolError> {
        self.connection
            .prepare_cached("DELETE FROM imports WHERE path = ?1 AND occurrence = ?2")?
            .execute((path, occurrence))?;
        Ok(())
    }

    fn note_ends(&self) -> Result<(), SpoolError> {
        for (topic, newest) in &self.newest {
            self.connection
                .prepare_cached(
                    "INSERT INTO topics(topic, end) VALUES (?1, ?2) ON CONFLICT(topic) DO UPDATE SET end = excluded.end",
                )?
                .execute((topic, newest + 1))?;
        }
        Ok(())
    }
}

/// A record as the spool holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolRecord {
    /// Its place: greater than that of every record before it, in any topic.
    pub offset: i64,
    /// When it was appended, in milliseconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// What it is about: for topic `pcap` the text of the source MAC.
    pub key: Option<Vec<u8>>,
    /// What it says.
    pub value: Vec<u8>,
}

/// A reader of a spool, beside its writer or without one. Its position is its own.
#[derive(Debug)]
pub struct SpoolReader {
    connection: Connection,
    database: PathBuf,
    id: String,
}

impl SpoolReader {
    /// Opens the spool in a directory; `None` while there is none.
    ///
    /// # Errors
    /// What keeps it from being opened.
    pub fn open_read_only(directory: &Path) -> Result<Option<Self>, SpoolError> {
        let path = directory.join(DATABASE);
        if !path.try_exists().map_err(|source| file_error(&path, source))? {
            return Ok(None);
        }
        let connection = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        // it reads everything once: SQLite's usual 2 MB would be kept for nothing, by each of several readers
        connection.pragma_update(None, "cache_size", -256)?;
        let id = id_of(&connection)?;
        Ok(Some(Self { connection, database: path, id }))
    }

    /// The spool's own random name. A new file is a new source.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The file that it reads.
    #[must_use]
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// The records of a topic after an offset (0 for the first), in order: at most `max_records`, and at most `max_bytes` of keys and
    /// values, but always one if there is one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn read(
        &self,
        topic: &str,
        after_offset: i64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<SpoolRecord>, SpoolError> {
        let mut records = Vec::new();
        // topics share one sequence of offsets: without the end, a quiet topic's reader would look through all of a busy one
        let end = self.end(topic)?;
        if after_offset.saturating_add(1) >= end {
            return Ok(records);
        }
        let mut select = self.connection.prepare_cached(
            "SELECT offset, timestamp, key, value FROM records
             WHERE offset > ?1 AND offset < ?2 AND topic = ?3 ORDER BY offset LIMIT ?4",
        )?;
        let mut rows = select.query((after_offset, end, topic, max_records))?;
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let key = row.get_ref(2)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
            let value = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
            bytes += key.map_or(0, <[u8]>::len) + value.len();
            if bytes > max_bytes && !records.is_empty() {
                break;
            }
            records.push(SpoolRecord {
                offset: row.get(0)?,
                timestamp: row.get(1)?,
                key: key.map(<[u8]>::to_vec),
                value: value.to_vec(),
            });
        }
        Ok(records)
    }

    /// The offset after the newest record a topic has ever had, pruned or not; 0 when it never had one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn end(&self, topic: &str) -> Result<i64, SpoolError> {
        let mut select = self.connection.prepare_cached("SELECT end FROM topics WHERE topic = ?1")?;
        Ok(select.query_row([topic], |row| row.get(0)).optional()?.unwrap_or(0))
    }

    /// The offset of the oldest record that a topic still has; its [`Self::end`] when it has none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn first(&self, topic: &str) -> Result<i64, SpoolError> {
        let end = self.end(topic)?;
        let mut select = self.connection.prepare_cached(
            "SELECT offset FROM records WHERE offset < ?1 AND topic = ?2 ORDER BY offset LIMIT 1",
        )?;
        Ok(select.query_row((end, topic), |row| row.get(0)).optional()?.unwrap_or(end))
    }

    /// When the oldest record of a topic after an offset was appended, in milliseconds since 1970.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn oldest_after(&self, topic: &str, offset: i64) -> Result<Option<i64>, SpoolError> {
        let end = self.end(topic)?;
        let mut select = self.connection.prepare_cached(
            "SELECT timestamp FROM records WHERE offset > ?1 AND offset < ?2 AND topic = ?3 ORDER BY offset LIMIT 1",
        )?;
        Ok(select.query_row((offset, end, topic), |row| row.get(0)).optional()?)
    }

    /// The offset up to which a topic has been acknowledged by Kafka; 0 for none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn acknowledged(&self, topic: &str) -> Result<i64, SpoolError> {
        acknowledged(&self.connection, topic)
    }
}

/// The times of appending that a deletion goes for, in milliseconds since 1970.
#[derive(Clone, Copy)]
struct Dated {
    from: i64,
    before: i64,
}

fn lock(directory: &Path) -> Result<File, SpoolError> {
    let path = directory.join(LOCK);
    let lock = File::create(&path).map_err(|source| file_error(&path, source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(SpoolError::InUse(directory.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(file_error(&path, source)),
    }
}

/// Makes the file under another name first: a reader sees no spool or a whole one, never one without its tables.
fn create(directory: &Path) -> Result<(), SpoolError> {
    let path = directory.join(DATABASE_IN_THE_MAKING);
    for leftover in ["", "-wal", "-shm"] {
        let leftover = directory.join(format!("{DATABASE_IN_THE_MAKING}{leftover}"));
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file_error(&leftover, error));
            }
            _removed_or_not_there => {}
        }
    }
    let mut connection = Connection::open(&path)?;
    connection.query_row("PRAGMA journal_mode=WAL", [], |_mode| Ok(()))?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    transaction.execute("INSERT INTO spool(id) VALUES (?1)", [format!("{:016x}", fastrand::u64(..))])?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()?;
    connection.close().map_err(|(_connection, error)| error)?;
    fs::rename(&path, directory.join(DATABASE)).map_err(|source| file_error(&path, source))?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| file_error(directory, source))
}

fn id_of(connection: &Connection) -> Result<String, SpoolError> {
    Ok(connection.query_row("SELECT id FROM spool", [], |row| row.get(0))?)
}

fn acknowledged(connection: &Connection, topic: &str) -> Result<i64, SpoolError> {
    let mut select = connection.prepare_cached("SELECT acknowledged FROM topics WHERE topic = ?1")?;
    Ok(select.query_row([topic], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn pragma(connection: &Connection, pragma: &str) -> Result<u64, SpoolError> {
    Ok(connection.prepare_cached(pragma)?.query_row([], |row| row.get(0))?)
}

fn file_error(path: &Path, source: std::io::Error) -> SpoolError {
    SpoolError::File { path: path.to_owned(), source }
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    fn retention(when_full: WhenFull) -> Retention {
        Retention { bytes: Retention::LEAST_BYTES, age: WEEK, when_full }
    }

    fn append(spool: &mut Spool, topic: &str, values: &[&str]) -> Vec<i64> {
        spool
            .write(|writes| {
                values.iter().map(|value| writes.append(topic, Some(b"key"), value.as_bytes())).collect()
            })
            .unwrap()
    }

    fn values(reader: &SpoolReader, topic: &str, after: i64) -> Vec<String> {
        let records = reader.read(topic, after, 1_000_000, usize::MAX).unwrap();
        records.into_iter().map(|record| String::from_utf8(record.value).unwrap()).collect()
    }

    /// Appends commits of a thousand records of 1 KiB until one is refused or `most` are in. How many are in.
    fn fill(spool: &mut Spool, most: usize) -> Result<usize, (usize, SpoolError)> {
        let value = [b'x'; 1024];
        for commit in 0..most {
            let written = spool.write(|writes| {
                for _ in 0..1_000 {
                    writes.append(PCAP, None, &value)?;
                }
                Ok(())
            });
            written.map_err(|error| (commit, error))?;
        }
        Ok(most)
    }

    #[test]
    fn a_reader_sees_no_spool_or_a_whole_one_and_only_its_topic() {
        let directory = tempfile::tempdir().unwrap();
        assert!(SpoolReader::open_read_only(directory.path()).unwrap().is_none());
        let mut spool = Spool::open(directory.path(), retention(WhenFull::Refuse)).unwrap();
        let reader = SpoolReader::open_read_only(directory.path()).unwrap().unwrap();
        assert_eq!(reader.id(), spool.id());
        assert_eq!((reader.first(PCAP).unwrap(), reader.end(PCAP).unwrap()), (0, 0));
        let first = append(&mut spool, PCAP, &["a", "b"]);
        let other = append(&mut spool, "sensors", &["s"]);
        let last = append(&mut spool, PCAP, &["c"]);
        assert_eq!(values(&reader, PCAP, 0), ["a", "b", "c"]);
        assert_eq!(values(&reader, PCAP, first[1]), ["c"]);
        assert_eq!(values(&reader, "sensors", 0), ["s"]);
        assert_eq!((reader.first(PCAP).unwrap(), reader.end(PCAP).unwrap()), (first[0], last[0] + 1));
        assert_eq!(reader.end("sensors").unwrap(), other[0] + 1);
        assert_eq!(reader.read(PCAP, 0, 2, usize::MAX).unwrap().len(), 2);
        assert_eq!(reader.read(PCAP, 0, 9, 1).unwrap().len(), 1, "one, however large");
    }

    #[test]
    fn a_reader_needs_no_writer() {
        let directory = tempfile::tempdir().unwrap();
        append(&mut Spool::open(directory.path(), retention(WhenFull::Refuse)).unwrap(), PCAP, &["a"]);
        let reader = SpoolReader::open_read_only(directory.path()).unwrap().unwrap();
        assert_eq!(values(&reader, PCAP, 0), ["a"]);
        let mut spool = Spool::open(directory.path(), retention(WhenFull::Refuse)).unwrap();
        append(&mut spool, PCAP, &["b"]);
        assert_eq!(values(&reader, PCAP, 0), ["a", "b"]);
    }

    #[test]
    fn a_second_writer_is_kept_out() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Spool::open(directory.path(), retention(WhenFull::Refuse)).unwrap();
        let second = Spool::open(directory.path(), retention(WhenFull::Refuse));
        assert!(matches!(second, Err(SpoolError::InUse(_))), "{second:?}");
    }

    #[test]
    fn a_failed_transaction_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path(), retention(WhenFull::Refuse)).unwrap();
        let failed: Result<(), _> = spool.write(|writes| {
            writes.append(PCAP, None, b"a")?;
            Err(SpoolError::NoHome)
        });
        assert!(failed.is_err());
        append(&mut spool, PCAP, &["b"]);
        let reader = SpoolReader::open_read_only(directory.path()).unwrap().unwrap();
        assert_eq!(values(&reader, PCAP, 0), ["b"]);
    }

    #[test]
    fn a_full_spool_of_a_live_capture_drops_the_acknowledged_then_the_oldest_and_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path(), retention(WhenFull::DropOldest)).unwrap();
        fill(&mut spool, 5).unwrap();
        spool.write(|writes| writes.acknowledge(PCAP, 2_000)).unwrap();
        fill(&mut spool, 45).unwrap();
        let reader = SpoolReader::open_read_only(directory.path()).unwrap().unwrap();
        let first = reader.first(PCAP).unwrap();
        assert_eq!(reader.end(PCAP).unwrap(), 50_001);
        assert_eq!(
            u64::try_from(first).unwrap() - 1 - 2_000,
            spool.dropped(),
            "all but the acknowledged are counted"
        );
        assert!(first > 30_000, "{first}");
        assert!(fs::metadata(directory.path().join(DATABASE)).unwrap().len() <= Retention::LEAST_BYTES);
    }

    #[test]
    fn a_full_spool_of_an_import_refuses_until_something_is_acknowledged() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path(), retention(WhenFull::Refuse)).unwrap();
        let (commits, error) = fill(&mut spool, 100).unwrap_err();
        assert!(matches!(error, SpoolError::Full { .. }), "{error}");
        assert!(error.to_string().contains("--spool-bytes"), "{error}");
        let reader = SpoolReader::open_read_only(directory.path()).unwrap().unwrap();
        assert_eq!(reader.first(PCAP).unwrap(), 1);
        assert_eq!(reader.end(PCAP).unwrap(), i64::try_from(commits * 1_000 + 1).unwrap());
        spool.write(|writes| writes.acknowledge(PCAP, 5_000)).unwrap();
        fill(&mut spool, 3).unwrap();
        assert_eq!(reader.first(PCAP).unwrap(), 5_001);
        assert_eq!(spool.dropped(), 0);
    }

    #[test]
    fn offsets_never_restart() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(
            directory.path(),
            Retention { age: Duration::ZERO, ..retention(WhenFull::DropOldest) },
        )
        .unwrap();
        let before = append(&mut spool, PCAP, &["a", "b"]);
        // of age zero is what was appended before this millisecond
        while now_ms()
            <= SpoolReader::open_read_only(directory.path()).unwrap().unwrap().read(PCAP, 1, 1, 1).unwrap()[0]
                .timestamp
        {}
        spool.maintain(true).unwrap();
        assert_eq!(spool.dropped(), 0, "nothing is acknowledged");
        spool.maintain(false).unwrap();
        assert_eq!(spool.dropped(), 2);
        drop(spool);
        let mut spool = Spool::open(directory.path(), retention(WhenFull::DropOldest)).unwrap();
        let reader = SpoolReader::open_read_only(directory.path()).unwrap().unwrap();
        assert_eq!((reader.first(PCAP).unwrap(), reader.end(PCAP).unwrap()), (before[1] + 1, before[1] + 1));
        assert_eq!(append(&mut spool, PCAP, &["c"]), [before[1] + 1]);
    }

    #[test]
    fn acknowledged_positions_and_imports_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let position = ImportPosition {
            path: b"/captures/a.pcap".to_vec(),
            occurrence: 0,
            size: 24,
            modified: 1,
            frame: 7,
            finished: false,
        };
        let mut spool = Spool::open(directory.path(), retention(WhenFull::Refuse)).unwrap();
        spool
            .write(|writes| {
                writes.acknowledge(PCAP, 7)?;
                writes.acknowledge(PCAP, 5)?;
                writes.note_import(&position)
            })
            .unwrap();
        drop(spool);
        let mut spool = Spool::open(directory.path(), retention(WhenFull::Refuse)).unwrap();
        assert_eq!(spool.acknowledged(PCAP).unwrap(), 7);
        assert_eq!(spool.import_position(&position.path, 1).unwrap(), None);
        assert_eq!(spool.import_position(&position.path, 0).unwrap().as_ref(), Some(&position));
        spool.write(|writes| writes.forget_import(&position.path, 0)).unwrap();
        assert_eq!(spool.import_position(&position.path, 0).unwrap(), None);
    }

    #[test]
    fn a_spool_of_a_newer_version_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        drop(Spool::open(directory.path(), retention(WhenFull::Refuse)).unwrap());
        let newer = Connection::open(directory.path().join(DATABASE)).unwrap();
        newer.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
        drop(newer);
        let opened = Spool::open(directory.path(), retention(WhenFull::Refuse));
        assert!(matches!(opened, Err(SpoolError::TooNew(_))), "{opened:?}");
    }

    #[test]
    fn a_crash_while_the_file_was_made_leaves_nothing_in_the_way() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(DATABASE_IN_THE_MAKING), b"half a database").unwrap();
        fs::write(directory.path().join(format!("{DATABASE_IN_THE_MAKING}-wal")), b"half a log").unwrap();
        append(&mut Spool::open(directory.path(), retention(WhenFull::Refuse)).unwrap(), PCAP, &["a"]);
    }

    #[test]
    fn while_the_disk_is_full_a_live_capture_goes_on_within_the_pages_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let ballast = directory.path().join(BALLAST);
        let database = || fs::metadata(directory.path().join(DATABASE)).unwrap().len();
        let roomy = Retention { bytes: 1 << 30, ..retention(WhenFull::DropOldest) };
        let mut spool = Spool::open(directory.path(), roomy).unwrap();
        fill(&mut spool, 30).unwrap();
        drop(spool);
        // in its place there is no room for the ballast, as on a full disk
        fs::remove_file(&ballast).unwrap();
        fs::create_dir(&ballast).unwrap();
        let before = database();
        let mut spool = Spool::open(directory.path(), roomy).unwrap();
        fill(&mut spool, 60).unwrap();
        assert!(spool.dropped() > 0);
        assert_eq!(database(), before);
        fs::remove_dir(&ballast).unwrap();
        spool.maintain(false).unwrap();
        let dropped = spool.dropped();
        fill(&mut spool, 30).unwrap();
        assert_eq!(spool.dropped(), dropped, "there is room again");
        assert!(database() > before);
    }
}
