//! Files that the commands write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::input::Unusable;
use crate::output::Out;
use crate::store::{SEGMENT, SQLITE, is_segment};

/// Where a command writes.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Destination {
    /// Write to this file, whole or not at all, instead of to standard output, which is also `-`; refuses one that exists.
    /// A device or a pipe is written to as it is
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file of --output if it exists; never an audit store or a part of one
    #[arg(long, requires = "output")]
    force: bool,
}

impl Destination {
    /// The file; none for standard output.
    pub(crate) fn path(&self) -> Option<&Path> {
        let is_standard = |path: &&Path| *path == Path::new("-") || *path == Path::new("/dev/stdout");
        self.output.as_deref().filter(|path| !is_standard(path))
    }

    /// # Errors
    /// When it cannot be written, or the file is there already and may not be replaced.
    pub(crate) fn write(&self, out: Out, text: &str) -> Result<(), Unusable> {
        let Some(path) = self.path() else { return out.write(text) };
        write(path, text.as_bytes(), if self.force { Existing::Replace } else { Existing::Refuse })
    }

    /// Refuses a file that belongs to the store that is read, or would.
    ///
    /// # Errors
    /// When it does.
    pub(crate) fn spares(&self, store: &Path) -> Result<(), Unusable> {
        let Some(path) = self.path() else { return Ok(()) };
        let Some(mut store) = store.canonicalize().ok() else { return Ok(()) };
        if store.file_name().and_then(|name| name.to_str()).is_some_and(is_segment) {
            // What is put beside a segment is in its store.
            store.pop();
        }
        let same = |path: &Path| {
            // Beside a database stand its log, the index of that and its lock.
            let beside = [".lock", "-shm", "-wal", "-journal"].iter().any(|end| {
                let mut name = store.clone().into_os_string();
                name.push(end);
                *path == *name
            });
            beside || path.starts_with(&store)
        };
        let named = path.parent().zip(path.file_name()).and_then(|(folder, name)| {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            Some(folder.canonicalize().ok()?.join(name))
        });
        if [named, path.canonicalize().ok()].into_iter().flatten().any(|path| same(&path)) {
            return Err(Unusable(format!(
                "`{}` is the audit store that is read, or a part of it; evidence is not written over: give --output \
                 another place",
                path.display()
            )));
        }
        Ok(())
    }
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Refuse,
    Replace,
}

/// Writes a file, whole or not at all: nobody reads half of it, and what was there stays if it cannot be written.
/// Where the disk has no second names for files, a new one can be seen half-written. Devices and pipes are written to,
/// and so is what a link leads to: only a regular file is replaced, and none of an audit store.
///
/// # Errors
/// When it cannot be written, or is there already and may not be replaced.
pub(crate) fn write(path: &Path, bytes: &[u8], existing: Existing) -> Result<(), Unusable> {
    spare_evidence(path)?;
    match standing(path) {
        Standing::Stream => through(path, bytes),
        Standing::Link if existing == Existing::Replace => through(path, bytes),
        Standing::File | Standing::Link | Standing::Folder | Standing::Nothing => {
            write_by(|from, to| fs::hard_link(from, to), path, bytes, existing)
        }
    }
}

/// Writes a file as [`write`] does, in the place of the one that is there. What a symbolic link leads to is replaced too,
/// whole or not at all, and the link stays.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Unusable> {
    match standing(path) {
        Standing::Link => write(&end_of(path)?, bytes, Existing::Replace),
        Standing::Stream | Standing::File | Standing::Folder | Standing::Nothing => {
            write(path, bytes, Existing::Replace)
        }
    }
}

/// Where a link leads, and what it leads to: a file, or a name that is free.
fn end_of(link: &Path) -> Result<PathBuf, Unusable> {
    // More are not followed by systems either.
    const LINKS: usize = 40;
    let mut path = link.to_path_buf();
    for _ in 0..LINKS {
        if !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
            return Ok(path);
        }
        let to = fs::read_link(&path)
            .map_err(|error| Unusable(format!("cannot read the link `{}`: {error}", path.display())))?;
        path = path.parent().unwrap_or(Path::new("")).join(to);
    }
    Err(Unusable(format!("`{}` is a symbolic link that leads to no file; remove it", link.display())))
}

/// What has the name already.
enum Standing {
    Nothing,
    File,
    /// A symbolic link to a file, or to nothing.
    Link,
    Folder,
    /// A device or a pipe, or a link to one.
    Stream,
}

fn standing(path: &Path) -> Standing {
    let Ok(own) = fs::symlink_metadata(path) else { return Standing::Nothing };
    match path.metadata() {
        Ok(leads_to) if leads_to.is_dir() => Standing::Folder,
        Ok(leads_to) if !leads_to.is_file() => Standing::Stream,
        Ok(_) if own.is_file() => Standing::File,
        Ok(_) | Err(_) => Standing::Link,
    }
}

/// Writes to what has the name, as a shell does.
fn through(path: &Path, bytes: &[u8]) -> Result<(), Unusable> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let written = options.open(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.flush()));
    written.map_err(|error| Unusable(format!("cannot write `{}`: {error}", path.display())))
}

/// Refuses a file that is there and is a segment, what was put aside of one, a database or its log. By its content: it may be a second name.
fn spare_evidence(path: &Path) -> Result<(), Unusable> {
    if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    let mut start = Vec::new();
    if let Err(error) = File::open(path).and_then(|file| file.take(24).read_to_end(&mut start)) {
        return Err(Unusable(format!(
            "`{}` exists already and cannot be read, so that it may be a part of an audit store: {error}; give another \
             file",
            path.display()
        )));
    }
    let stores: [&[u8]; 4] = [
        SQLITE,
        SEGMENT,
        // The log of a database.
        b"\x37\x7f\x06\x82",
        b"\x37\x7f\x06\x83",
    ];
    if stores.iter().any(|store| start.starts_with(store)) {
        return Err(Unusable(format!(
            "`{}` is a part of an audit store, or a database, and neither is written over; give another file",
            path.display()
        )));
    }
    Ok(())
}

fn write_by(
    link: impl FnOnce(&Path, &Path) -> io::Result<()>,
    path: &Path,
    bytes: &[u8],
    existing: Existing,
) -> Result<(), Unusable> {
    let beside = beside(path)?;
    let written = match new(&beside, bytes) {
        Ok(()) => publish(link, &beside, path, bytes, existing),
        Err(error) => Err(Unusable(format!(
            "cannot write `{}`: `{}`, which is to become it, cannot be written: {error}",
            path.display(),
            beside.display()
        ))),
    };
    // It has its other name now, or is of no use.
    let _ = fs::remove_file(&beside);
    written
}

fn publish(
    link: impl FnOnce(&Path, &Path) -> io::Result<()>,
    beside: &Path,
    path: &Path,
    bytes: &[u8],
    existing: Existing,
) -> Result<(), Unusable> {
    let published = match existing {
        Existing::Replace => fs::rename(beside, path),
        // A second name for a file is refused where the name is taken, also by somebody who comes in between.
        Existing::Refuse => link(beside, path).or_else(|error| match error.kind() {
            ErrorKind::AlreadyExists => Err(error),
            // FAT, some network disks and sandboxes have no second names, and say so in many ways.
            _ => create(path, bytes),
        }),
    };
    published.map_err(|error| match (existing, error.kind()) {
        (Existing::Refuse, ErrorKind::AlreadyExists) => {
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
    create(path, bytes)
}

/// Refuses a name that is taken; what it cannot finish it removes.
fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    /// A new empty folder.
    fn folder(name: &str) -> PathBuf {
        let path = env::temp_dir().join(format!("kest-cli-file-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_disk_without_links_takes_a_new_file_and_no_other() {
        let folder = folder("links");
        let path = folder.join("keys.json");
        for kind in [ErrorKind::PermissionDenied, ErrorKind::Unsupported] {
            let refuses = |_: &Path, _: &Path| Err(kind.into());
            write_by(refuses, &path, b"keys", Existing::Refuse).unwrap();
            let again = write_by(refuses, &path, b"others", Existing::Refuse).unwrap_err();
            assert!(again.0.contains("exists already; --force replaces it"), "{}", again.0);
            assert_eq!(fs::read(&path).unwrap(), b"keys");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "only that file is left");
            fs::remove_file(&path).unwrap();
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_name_that_is_taken_is_told_from_an_unfinished_file_that_is_in_the_way() {
        let folder = folder("beside");
        let path = folder.join("keys.json");
        let beside = beside(&path).unwrap();
        fs::create_dir(&beside).unwrap();
        for existing in [Existing::Refuse, Existing::Replace] {
            let error = write(&path, b"keys", existing).unwrap_err().0;
            assert!(error.contains(&beside.display().to_string()), "{error}");
            assert!(!error.contains("--force"), "{error}");
            assert!(!path.exists());
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
