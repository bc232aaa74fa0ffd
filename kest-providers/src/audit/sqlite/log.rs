//! SQLite's log, and how it is brought into the database.

use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::SqliteAuditBuilder;
use super::connect::beside;
use super::step;

/// How much stands in the log, about, and who brings it into the database.
///
/// SQLite would do so by itself within a commit, and keep to itself how it went. Here another thread does it while entries
/// are written. As it never comes to the end then, the writer itself does what is left from time to time, whereupon the log
/// begins anew.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Bytes since a pass has begun.
    part: usize,
    /// Bytes since the writer's own pass.
    whole: usize,
    helper: Option<Helper>,
}

impl Log {
    /// How many times the bytes after which a pass begins the log may have before the writer makes one itself.
    const PARTS: usize = 8;

    /// After a commit of so many bytes.
    pub(super) fn grows(&mut self, bytes: usize) {
        /// Pages that change beside those of the entries: what is half full, what is above, `head`.
        const AROUND: usize = 4 * 4_096;
        self.part = self.part.saturating_add(bytes).saturating_add(AROUND);
        self.whole = self.whole.saturating_add(bytes).saturating_add(AROUND);
    }

    /// Sees to it that the log stays short. An error is that of a pass: the log still has everything.
    pub(super) fn shorten(&mut self, db: &Connection, settings: &SqliteAuditBuilder) -> rusqlite::Result<()> {
        let most = settings.log_bytes.saturating_mul(Self::PARTS);
        if let Some(helper) = &mut self.helper {
            // Where the device takes less than it is given, calls wait.
            match helper.ended(self.whole >= most.saturating_mul(2)) {
                None => return Ok(()),
                Some(result) => result?,
            }
        }
        if self.whole >= most {
            (self.part, self.whole) = (0, 0);
            return pass(db);
        }
        if self.part < settings.log_bytes {
            return Ok(());
        }
        self.part = 0;
        if self.helper.is_none() {
            self.helper = Helper::start(settings)?;
        }
        match &mut self.helper {
            Some(helper) => helper.begin(),
            None => return pass(db),
        }
        Ok(())
    }

    /// Ends the other thread, and with it its connection. An error is that of its last pass.
    pub(super) fn rest(&mut self) -> rusqlite::Result<()> {
        self.helper.take().map_or(Ok(()), |mut helper| helper.end())
    }
}

/// Brings into the database what no reader holds, and flushes both.
fn pass(db: &Connection) -> rusqlite::Result<()> {
    step();
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    step();
    Ok(())
}

/// The thread that makes passes.
#[derive(Debug)]
struct Helper {
    ask: Option<SyncSender<()>>,
    told: Receiver<rusqlite::Result<()>>,
    runs: bool,
    thread: Option<JoinHandle<()>>,
}

impl Helper {
    /// None where the operating system gives no thread.
    fn start(settings: &SqliteAuditBuilder) -> rusqlite::Result<Option<Self>> {
        let db = beside(settings)?;
        let (ask, asked) = mpsc::sync_channel(1);
        let (tell, told) = mpsc::sync_channel(1);
        let work = move || {
            while asked.recv().is_ok() {
                // Nobody wants to know any more.
                if tell.send(pass(&db)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("kest-audit-log".to_owned()).spawn(work).ok();
        Ok(thread.map(|thread| Self { ask: Some(ask), told, runs: false, thread: Some(thread) }))
    }

    fn begin(&mut self) {
        self.runs = self.ask.as_ref().is_some_and(|ask| ask.try_send(()).is_ok());
    }

    fn end(&mut self) -> rusqlite::Result<()> {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing to tell.
            let _ = thread.join();
        }
        self.told.try_recv().unwrap_or(Ok(()))
    }

    /// How the pass went; none while it is under way, unless that is to be waited for.
    fn ended(&mut self, wait: bool) -> Option<rusqlite::Result<()>> {
        if !self.runs {
            return Some(Ok(()));
        }
        let told = if wait {
            self.told.recv().map_err(|_| TryRecvError::Disconnected)
        } else {
            self.told.try_recv()
        };
        self.runs = matches!(told, Err(TryRecvError::Empty));
        match told {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            // It has panicked; the writer makes the passes.
            Err(TryRecvError::Disconnected) => Some(Ok(())),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Nobody asks any more how it went.
        let _ = self.end();
    }
}
