//! What the exporters to this machine have in common.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;

use crate::error::{TelemetryError, TelemetryErrorKind};

/// Takes spans, and may take its time: it is called by the thread of the batches alone.
pub(crate) trait Sink: Send + 'static {
    /// Takes all of them, or none.
    ///
    /// # Errors
    /// When they are not kept.
    fn take(&mut self, spans: &[SpanData], resource: &Resource) -> Result<(), String>;
}

/// A sink as an exporter of OpenTelemetry.
pub(crate) struct Local<S> {
    sink: Mutex<S>,
    resource: Resource,
}

impl<S: Sink> Local<S> {
    pub(super) fn new(sink: S) -> Self {
        Self { sink: Mutex::new(sink), resource: Resource::builder_empty().build() }
    }
}

impl<S: Sink> SpanExporter for Local<S> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.sink.lock().take(&batch, &self.resource).map_err(OTelSdkError::InternalFailure)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.clone();
    }
}

impl<S> fmt::Debug for Local<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// Opens a file to read it and to append to it, and makes it where there is none: for its owner alone, for spans name
/// users and hold passports. One that stands there must be this user's: whoever owns it reads what is written.
pub(super) fn open(path: &Path) -> Result<File, TelemetryError> {
    let cannot = |error: io::Error| cannot_open(path, &error).with_source(error);
    let file = match make(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => take(path).map_err(cannot)?,
        made => made.map_err(cannot)?,
    };
    let about = file.metadata().map_err(cannot)?;
    if about.is_dir() {
        return Err(cannot_open(path, &"it is a folder"));
    }
    if !about.is_file() {
        return Err(cannot_open(path, &"it is no regular file"));
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::uid(&about) != rustix::process::geteuid().as_raw() {
        return Err(cannot_open(path, &"it belongs to another user; move it away, or name another file"));
    }
    Ok(file)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    options
}

fn make(path: &Path) -> io::Result<File> {
    let mut options = options();
    options.create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    // The umask may have taken something from the owner too.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

fn take(path: &Path) -> io::Result<File> {
    let mut options = options();
    follow_nothing(&mut options);
    match options.open(path) {
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Err(io::Error::new(error.kind(), "it is a symbolic link; name the file itself"))
        }
        opened => opened,
    }
}

#[cfg(unix)]
fn follow_nothing(options: &mut OpenOptions) {
    use rustix::fs::OFlags;
    // Opening a pipe would wait for whoever reads from it.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, flags.bits().cast_signed());
}

#[cfg(not(unix))]
fn follow_nothing(_: &mut OpenOptions) {}

pub(super) fn cannot_open(path: &Path, why: &dyn fmt::Display) -> TelemetryError {
    TelemetryError::new(
        TelemetryErrorKind::Open,
        format!("cannot open `{}` for spans: {why}", path.display()),
    )
}

pub(super) fn told(error: &io::Error) -> String {
    error.to_string()
}
