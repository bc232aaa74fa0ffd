//! What the file sink does to a disk, so that tests can let each step fail.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::audit::private;

/// The steps.
pub(super) trait Disk: fmt::Debug + Send + 'static {
    fn create(&self, path: &Path) -> io::Result<File> {
        private::create(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        private::open(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Makes names in a folder last.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn put_aside(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn keep(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        private::create(path)?.write_all(bytes)
    }
}

/// The operating system's.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {}
