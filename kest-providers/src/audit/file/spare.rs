//! Room for the segment after which old ones go, kept for when a disk is full.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::write::FileBackend;

/// Enough for a head, and the blocks that a folder may need for another name.
pub(super) const BYTES: usize = 64 << 10;

/// Deletes it; whether that has made any room. Also one of an earlier process, or what is left of one.
pub(super) fn remove<D: Disk>(disk: &D, folder: &Path) -> bool {
    disk.remove(&path(folder)).is_ok()
}

fn path(folder: &Path) -> PathBuf {
    folder.join("spare")
}

impl<D: Disk> FileBackend<D> {
    /// Makes the spare file, where retention will ever take anything. That there is no room for it now is no error: it
    /// is made when there is.
    pub(super) fn keep_spare(&mut self) {
        let settings = &self.settings;
        if self.has_spare || (settings.retain_age.is_none() && settings.retain_files.is_none()) {
            return;
        }
        let path = path(&settings.folder);
        let there =
            fs::symlink_metadata(&path).is_ok_and(|about| about.is_file() && about.len() >= BYTES as u64);
        self.has_spare = there || self.make_spare(&path).is_ok();
    }

    /// Deletes it; whether that has made any room.
    pub(super) fn give_up_spare(&mut self) -> bool {
        self.has_spare = false;
        remove(&self.disk, &self.settings.folder)
    }

    fn make_spare(&self, path: &Path) -> io::Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = self.disk.create(path)?;
        let written = self.disk.write(&mut file, &vec![0; BYTES]);
        if written.is_err() {
            // Half of it would take room and give none; what stays is made anew later.
            let _ = self.disk.remove(path);
        }
        written
    }
}
