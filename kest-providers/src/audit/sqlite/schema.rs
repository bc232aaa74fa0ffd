//! Tables, and how older ones become these.

use std::fmt;

use kest_core::text::Quoted;
use rusqlite::{Connection, Transaction, params};

/// What `PRAGMA user_version` says.
pub(super) const VERSION: i64 = 1;
/// `KEST`, in `PRAGMA application_id`.
pub(super) const APPLICATION: i64 = 0x4b45_5354;

/// The steps from each version to the next.
const STEPS: [&str; 1] = ["
    CREATE TABLE migrations(version INTEGER PRIMARY KEY, applied_ms INTEGER NOT NULL, by TEXT NOT NULL) STRICT;
    -- Where both chains begin (after what retention has deleted) and end, the bytes of receipts of denials, and how many
    -- entries a block of `postings` has.
    CREATE TABLE head(
        id INTEGER PRIMARY KEY CHECK (id = 1),
        first_seq INTEGER NOT NULL, first_link BLOB NOT NULL,
        seq INTEGER NOT NULL, link BLOB NOT NULL,
        keys_seq INTEGER NOT NULL, keys_link BLOB NOT NULL,
        denial_bytes INTEGER NOT NULL, block INTEGER NOT NULL
    ) STRICT;
    -- What retention has deleted: after entry `after_seq` the chain says that it begins after `first_seq`.
    CREATE TABLE retired(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        after_seq INTEGER NOT NULL, at_ms INTEGER NOT NULL, first_seq INTEGER NOT NULL, first_link BLOB NOT NULL
    ) STRICT;
    CREATE INDEX retired_after ON retired(after_seq);
    -- No index is kept of them: each would be written with every commit.
    CREATE TABLE entries(
        seq INTEGER PRIMARY KEY,
        received_ms INTEGER NOT NULL,
        denied INTEGER NOT NULL,
        chain BLOB NOT NULL,
        jws TEXT NOT NULL
    ) STRICT;
    -- What complete blocks of entries are found by: `place` is the field and the block, `terms` hashes and positions.
    CREATE TABLE postings(place INTEGER PRIMARY KEY, terms BLOB NOT NULL) STRICT;
    -- Entries that were received, by the clock, before the one before them: between them time goes forward.
    CREATE TABLE steps(seq INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE keys(
        seq INTEGER PRIMARY KEY,
        received_ms INTEGER NOT NULL,
        workload TEXT NOT NULL,
        jwks TEXT NOT NULL,
        chain BLOB NOT NULL
    ) STRICT;
"];

/// Why a file is not taken.
#[derive(Debug)]
pub(super) enum Unfit {
    /// Another program's.
    Foreign,
    /// Written by a newer version.
    Newer(i64),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// The version of a store; 0 for a file without tables.
pub(super) fn version(db: &Connection) -> Result<i64, Unfit> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let application: i64 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version, tables) {
        (0, 0, 0) => Ok(0),
        (APPLICATION, VERSION, _) => Ok(VERSION),
        (APPLICATION, newer, _) if newer > VERSION => Err(Unfit::Newer(newer)),
        (APPLICATION, older, _) if older > 0 => Ok(older),
        _ => Err(Unfit::Foreign),
    }
}

/// A table, an index, a view or a trigger.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Object {
    name: String,
    kind: String,
    table: String,
    sql: Option<String>,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {}", self.kind, Quoted(&self.name), Quoted(&self.table))
    }
}

/// What a store of [`VERSION`] has otherwise than sinks make it, in words: a trigger can let rows vanish that are
/// written, an index with a condition rows that are searched for. What SQLite notes for itself (`ANALYZE`) is left out.
pub(in crate::audit) fn altered(db: &Connection) -> rusqlite::Result<Option<String>> {
    let (ours, found) = (objects(&as_made()?)?, objects(db)?);
    let strange = found.iter().find(|object| !ours.contains(object));
    let missing = ours.iter().find(|object| !found.iter().any(|other| other.name == object.name));
    Ok(match (strange, missing) {
        (Some(object), _) => Some(format!("the {object} is not as sinks make it")),
        (None, Some(object)) => Some(format!("the {object} is gone")),
        (None, None) => None,
    })
}

fn as_made() -> rusqlite::Result<Connection> {
    let db = Connection::open_in_memory()?;
    for step in STEPS {
        db.execute_batch(step)?;
    }
    Ok(db)
}

fn objects(db: &Connection) -> rusqlite::Result<Vec<Object>> {
    let sql = "SELECT name, type, tbl_name, sql FROM sqlite_schema \
               WHERE NOT (type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4')) ORDER BY name LIMIT 1000";
    let mut sql = db.prepare(sql)?;
    let rows = sql.query_map([], |row| {
        Ok(Object { name: row.get(0)?, kind: row.get(1)?, table: row.get(2)?, sql: row.get(3)? })
    })?;
    rows.collect()
}

/// Brings a store to [`VERSION`], in the transaction. A new one gets blocks of so many entries.
pub(super) fn migrate(
    tx: &Transaction<'_>,
    from: i64,
    now_ms: i64,
    block: u16,
) -> Result<(), rusqlite::Error> {
    for (done, step) in STEPS.iter().enumerate() {
        let to = done as i64 + 1;
        if to <= from {
            continue;
        }
        tx.execute_batch(step)?;
        tx.execute(
            "INSERT INTO migrations(version, applied_ms, by) VALUES (?1, ?2, ?3)",
            params![to, now_ms, concat!("kest-rust ", env!("CARGO_PKG_VERSION"))],
        )?;
    }
    if from == 0 {
        let start = crate::audit::chain::START;
        tx.execute("INSERT INTO head VALUES (1, 0, ?1, 0, ?1, 0, ?1, 0, ?2)", params![start, block])?;
    }
    tx.pragma_update(None, "application_id", APPLICATION)?;
    tx.pragma_update(None, "user_version", VERSION)
}
