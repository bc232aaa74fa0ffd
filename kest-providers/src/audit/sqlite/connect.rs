//! Opening a database, for writing and for reading.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use kest_core::config::Durability;
use kest_core::error::AuditErrorKind;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::SqliteAuditBuilder;
use super::error::failure;
use super::held::log_of;
use super::schema::{self, Unfit};
use super::whole;
use crate::audit::failure::Failure;
use crate::audit::file::now_ms;
use crate::audit::private;

/// Of a new database.
const PAGE_BYTES: u32 = 4_096;

const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

pub(super) fn connect(settings: &SqliteAuditBuilder) -> Result<Connection, Failure> {
    let path = &settings.path;
    let cannot = |error| failure("open", path, error).opening();
    let mut db = Connection::open_with_flags(path, FLAGS | OpenFlags::SQLITE_OPEN_CREATE).map_err(cannot)?;
    db.busy_timeout(Duration::from_secs(5)).map_err(cannot)?;
    rows_alone(&db).map_err(cannot)?;
    db.set_prepared_statement_cache_capacity(32);
    let version = schema::version(&db).map_err(|unfit| why_unfit(path, unfit))?;
    if version == 0 {
        db.pragma_update(None, "page_size", PAGE_BYTES).map_err(cannot)?;
    }
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(cannot)?;
    if mode != "wal" {
        return Err(Failure::new(
            AuditErrorKind::Open,
            format!("`{}` cannot be kept in WAL mode; use a local file system", path.display()),
        ));
    }
    flush(&db, settings).map_err(cannot)?;
    if version < schema::VERSION {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(cannot)?;
        schema::migrate(&tx, version, whole(now_ms()), settings.block).map_err(cannot)?;
        tx.commit().map_err(cannot)?;
    }
    if let Some(what) = schema::altered(&db).map_err(cannot)? {
        return Err(Failure::new(
            AuditErrorKind::Open,
            format!(
                "`{}` was altered: {what}; keep it as it is, find out who did that, and name another file",
                path.display()
            ),
        ));
    }
    if let Some(most) = settings.max_bytes {
        let page: i64 = db.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(cannot)?;
        let pages = whole(most) / page.max(1);
        // The answer is what is in force.
        db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).map_err(cannot)?;
    }
    Ok(db)
}

/// Creates the file, if it is not there, for its owner alone. SQLite gives the files beside it the same mode.
pub(super) fn create(path: &Path) -> Result<(), Failure> {
    let bytes = |path: &Path| fs::symlink_metadata(path).map_or(0, |about| about.len());
    let log = log_of(path);
    // SQLite deletes a log that stands beside an empty database.
    if bytes(path) == 0 && bytes(&log) > 0 {
        return Err(Failure::new(
            AuditErrorKind::Open,
            format!(
                "`{}` is not there, or empty, but its log is: put the database back beside `{}`, or move the log away \
                 too",
                path.display(),
                log.display()
            ),
        ));
    }
    match private::create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Failure::io("create", path, error).opening());
        }
        Ok(_) | Err(_) => {}
    }
    // What stands at its other end is somebody else's to choose.
    if fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink()) {
        return Err(Failure::new(
            AuditErrorKind::Open,
            format!("`{}` is a symbolic link; name the file itself", path.display()),
        ));
    }
    Ok(())
}

/// What an earlier process has left in the log is brought into the database, flushed there, and the log begins anew.
///
/// After a flush that failed the kernel may call pages of the log clean that never reached the device, and this process
/// cannot know. What is written behind them would be lost with them: reading a log ends where it has a hole.
pub(super) fn renew(db: &Connection, path: &Path) -> Result<(), Failure> {
    let cannot = |error| failure("bring the log into", path, error).opening();
    let busy: bool = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(cannot)?;
    if busy {
        return Err(Failure::new(
            AuditErrorKind::Locked,
            format!(
                "a reader holds the log of `{}`, and for `power` it has to begin anew; end the reader and start again",
                path.display()
            ),
        ));
    }
    Ok(())
}

/// Another connection to a database that is open: it brings the log into it while the first one writes.
pub(super) fn beside(settings: &SqliteAuditBuilder) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(&settings.path, FLAGS)?;
    rows_alone(&db)?;
    flush(&db, settings)?;
    // Whether the log may go when the store is closed is for the first one to say.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Until it has read something it does not know of the log.
    db.query_row("SELECT count(*) FROM head", [], |_| Ok(()))?;
    Ok(db)
}

/// What others put into the database does nothing on this connection, also while it is open: no trigger runs, and no
/// view stands for a table.
pub(in crate::audit) fn rows_alone(db: &Connection) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(())
}

fn flush(db: &Connection, settings: &SqliteAuditBuilder) -> rusqlite::Result<()> {
    // In WAL mode NORMAL leaves commits to the operating system and flushes at checkpoints alone, so that the file is
    // whole after a power failure too; FULL flushes the log at each commit.
    let synchronous = match settings.durability {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    db.pragma_update(None, "synchronous", synchronous)?;
    // The writer sees to it.
    db.pragma_update(None, "wal_autocheckpoint", 0)
}

/// Checks that a file is a store of this version, for readers.
pub(in crate::audit) fn fit_to_read(db: &Connection, path: &Path) -> Result<(), Failure> {
    match schema::version(db) {
        Ok(schema::VERSION) => Ok(()),
        Ok(0) => Err(Failure::new(
            AuditErrorKind::Open,
            format!(
                "`{name}` has no tables; if it was copied while it was written, copy `{name}-wal` beside it too, which \
                 has what was written last",
                name = path.display()
            ),
        )),
        Ok(older) => Err(Failure::new(
            AuditErrorKind::Open,
            format!(
                "`{}` is of version {older} of the audit store; a sink that opens it brings it to version {}",
                path.display(),
                schema::VERSION
            ),
        )),
        Err(unfit) => Err(why_unfit(path, unfit)),
    }
}

fn why_unfit(path: &Path, unfit: Unfit) -> Failure {
    let name = path.display();
    match unfit {
        Unfit::Foreign => Failure::new(
            AuditErrorKind::Open,
            format!("`{name}` is a database of something else; name another file"),
        ),
        Unfit::Newer(version) => Failure::new(
            AuditErrorKind::Open,
            format!(
                "`{name}` is of version {version} of the audit store, and this kest knows {}; use a newer kest",
                schema::VERSION
            ),
        ),
        Unfit::Sqlite(error) => failure("read", path, error).opening(),
    }
}
