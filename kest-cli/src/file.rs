//! Files that the commands write.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::input::Unusable;

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Refuse,
    Replace,
}

/// Writes a file, whole or not at all: nobody reads half of it, and what was there stays if it cannot be written.
///
/// # Errors
/// When it cannot be written, or is there already and may not be replaced.
pub(crate) fn write(path: &Path, bytes: &[u8], existing: Existing) -> Result<(), Unusable> {
    let beside = beside(path)?;
    let written = new(&beside, bytes).and_then(|()| match existing {
        // A second name for a file is refused where the name is taken, also by somebody who comes in between.
        Existing::Refuse => fs::hard_link(&beside, path),
        Existing::Replace => fs::rename(&beside, path),
    });
    // It has its other name now, or is of no use.
    let _ = fs::remove_file(&beside);
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Unusable(format!("`{}` exists already; --force replaces it", path.display()))
        }
        _ => Unusable(format!("cannot write `{}`: {error}", path.display())),
    })
}

/// A name for the unfinished file, in the same folder and so on the same disk.
fn beside(path: &Path) -> Result<PathBuf, Unusable> {
    let name = path
        .file_name()
        .ok_or_else(|| Unusable(format!("`{}` names no file; give --output a file name", path.display())))?;
    Ok(path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id())))
}

fn new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Left behind by a process of the same id that was killed.
    let _ = fs::remove_file(path);
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
