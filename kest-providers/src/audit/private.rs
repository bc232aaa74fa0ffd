//! Folders and files of a store: for their owner alone, and not somewhere else behind a symbolic link.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// Creates a folder that nobody but its owner may enter, whatever the umask. One that is there stays as it is.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(false);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, FOLDER);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => allow(&fs::symlink_metadata(path)?, FOLDER, |mode| fs::set_permissions(path, mode)),
    }
}

/// Creates a file to read and to append to, which nobody but its owner may read or write, whatever the umask.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = options();
    options.create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE);
    let file = options.open(path)?;
    allow(&file.metadata()?, FILE, |mode| file.set_permissions(mode))?;
    Ok(file)
}

/// Opens a file to read and to append to.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = options();
    follow_nothing(&mut options);
    let strange = |what: &str| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, and no file of a store"))
    };
    let file = match options.open(path) {
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(strange("a symbolic link")),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(strange("no regular file"));
    }
    Ok(file)
}

/// What a file is, however it is called: its device and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    number: u64,
}

impl FileId {
    #[cfg(unix)]
    pub(super) fn of(about: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { device: about.dev(), number: about.ino() }
    }

    /// Files are told apart where the platform says how.
    #[cfg(not(unix))]
    pub(super) fn of(_: &Metadata) -> Self {
        Self {}
    }
}

#[cfg(unix)]
const FOLDER: u32 = 0o700;
#[cfg(unix)]
const FILE: u32 = 0o600;
#[cfg(not(unix))]
const FOLDER: u32 = 0;
#[cfg(not(unix))]
const FILE: u32 = 0;

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    options
}

#[cfg(unix)]
fn follow_nothing(options: &mut OpenOptions) {
    // Opening a pipe would wait for whoever reads from it.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, flags);
}

#[cfg(not(unix))]
fn follow_nothing(_: &mut OpenOptions) {}

/// Gives back to the owner what the umask took.
#[cfg(unix)]
fn allow(about: &Metadata, mode: u32, set: impl FnOnce(fs::Permissions) -> io::Result<()>) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if about.permissions().mode() & 0o777 == mode { Ok(()) } else { set(fs::Permissions::from_mode(mode)) }
}

#[cfg(not(unix))]
fn allow(_: &Metadata, _: u32, _: impl FnOnce(fs::Permissions) -> io::Result<()>) -> io::Result<()> {
    Ok(())
}
