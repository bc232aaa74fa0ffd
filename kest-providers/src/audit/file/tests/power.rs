//! The power fails, after flushes that the device did not do.

use std::collections::HashMap;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use super::*;
use crate::audit::file::segments;

/// A device whose flush fails at a step. As Linux does, it says so once: the pages are clean from then on, and whoever
/// flushes again is told that all is well.
#[derive(Debug, Clone)]
struct Device(Arc<Pages>);

#[derive(Debug)]
struct Pages {
    /// Which flush of this process fails, and whether the process ends with it.
    failing: Option<u64>,
    flushes: AtomicU64,
    gone: AtomicU64,
    /// By file number: bytes that were flushed, and those between that never were.
    files: Arc<Mutex<HashMap<u64, Kept>>>,
    folders: Arc<Mutex<Vec<PathBuf>>>,
}

#[derive(Debug, Default, Clone)]
struct Kept {
    flushed: u64,
    lost: Vec<(u64, u64)>,
}

impl Device {
    fn new(failing: Option<u64>) -> Self {
        Self(Arc::new(Pages {
            failing,
            flushes: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            files: Arc::default(),
            folders: Arc::default(),
        }))
    }

    /// The same device as another process meets it.
    fn next(&self) -> Self {
        let (files, folders) = (Arc::clone(&self.0.files), Arc::clone(&self.0.folders));
        Self(Arc::new(Pages {
            failing: None,
            flushes: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            files,
            folders,
        }))
    }

    fn alive(&self) -> io::Result<()> {
        if self.0.gone.load(Ordering::SeqCst) == 0 {
            Ok(())
        } else {
            Err(io::Error::other("the process is gone"))
        }
    }

    /// Leaves of each segment what the device has.
    fn power_fails(&self, folder: &Folder) {
        for number in segments(&folder.0).unwrap() {
            let path = folder.0.join(crate::audit::file::segment_name(number));
            let file = File::options().write(true).open(path).unwrap();
            let kept = self.0.files.lock().get(&file.metadata().unwrap().ino()).cloned().unwrap_or_default();
            for (from, to) in kept.lost {
                file.write_all_at(&vec![0; usize::try_from(to - from).unwrap()], from).unwrap();
            }
            file.set_len(kept.flushed).unwrap();
        }
    }
}

impl Disk for Device {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.alive()?;
        let file = RealDisk.create(path)?;
        self.0.files.lock().insert(file.metadata()?.ino(), Kept::default());
        Ok(file)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        self.alive()?;
        RealDisk.write(file, bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.alive()?;
        let about = file.metadata()?;
        let mut files = self.0.files.lock();
        let kept = files.entry(about.ino()).or_default();
        let from = std::mem::replace(&mut kept.flushed, about.len());
        if self.0.failing == Some(self.0.flushes.fetch_add(1, Ordering::SeqCst)) {
            kept.lost.push((from, about.len()));
            self.0.gone.store(1, Ordering::SeqCst);
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.alive()?;
        RealDisk.cut(file, length)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.alive()?;
        self.0.folders.lock().push(folder.to_path_buf());
        RealDisk.sync_folder(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        RealDisk.remove(path)
    }

    fn put_aside(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive()?;
        RealDisk.put_aside(from, to)
    }
}

#[test]
fn what_is_acknowledged_after_a_restart_does_not_rest_on_what_an_earlier_process_failed_to_flush() {
    let signer = LocalEd25519Provider::new().unwrap();
    // The head's flush, and those of entries.
    for failing in 0..8 {
        let (folder, device) = (Folder::new(), Device::new(Some(failing)));
        let mut acknowledged = Vec::new();
        let first = builder(&folder, Durability::Power).open_on(device.clone());
        if let Ok(sink) = &first {
            for number in 0..20 {
                let jws = signed(&signer, number);
                if append(sink, &signer, &jws).is_ok() {
                    acknowledged.push(jws.into_string());
                }
            }
        }
        assert!(first.is_err() || acknowledged.len() < 8, "{failing}");
        drop(first);
        let second = device.next();
        let sink = builder(&folder, Durability::Power).open_on(second.clone()).unwrap();
        for number in 100..103 {
            let jws = signed(&signer, number);
            append(&sink, &signer, &jws).unwrap();
            acknowledged.push(jws.into_string());
        }
        drop(sink);
        second.power_fails(&folder);
        has(&stored(&folder), &acknowledged, &format!("flush {failing}"));
    }
}

#[test]
fn the_name_of_a_store_is_flushed_before_anything_is_acknowledged() {
    for durability in [Durability::Process, Durability::Power] {
        let (folder, device) = (Folder::new(), Device::new(None));
        let sink = builder(&folder, durability).open_on(device.clone()).unwrap();
        let whole = folder.0.canonicalize().unwrap();
        let flushed = device.0.folders.lock().contains(&whole.parent().unwrap().to_path_buf());
        assert_eq!(flushed, durability == Durability::Power);
        drop(sink);
    }
}

#[test]
fn killed_at_each_step_of_opening_again_it_loses_nothing() {
    let signer = LocalEd25519Provider::new().unwrap();
    let mut kills = 0;
    let ends: [(&str, &[u8]); 3] =
        [("whole", b""), ("torn", b"{\"v\":1,\"received_ms\":1"), ("damaged", b"no line\n")];
    for (end, text) in ends {
        for part in [Part::Nothing, Part::Half, Part::All] {
            for at in 0.. {
                let folder = Folder::new();
                let mut acknowledged = Vec::new();
                let sink = builder(&folder, Durability::Process).open().unwrap();
                for number in 0..3 {
                    let jws = signed(&signer, number);
                    append(&sink, &signer, &jws).unwrap();
                    acknowledged.push(jws.into_string());
                }
                drop(sink);
                let last = folder.0.join("0000000001.jsonl");
                File::options().append(true).open(&last).unwrap().write_all(text).unwrap();
                let what = format!("{end} {part:?} {at}");
                let disk = Unlucky::new(at, Fate::Dies(part));
                drop(builder(&folder, Durability::Power).open_on(disk.clone()));
                let durability = if at % 2 == 0 { Durability::Power } else { Durability::Process };
                let sink =
                    builder(&folder, durability).open().unwrap_or_else(|error| panic!("{what}: {error}"));
                let jws = signed(&signer, 9);
                append(&sink, &signer, &jws).unwrap();
                acknowledged.push(jws.into_string());
                drop(sink);
                let left = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path());
                assert!(
                    !left.into_iter().any(|path| path.extension().is_some_and(|x| x == "anew")),
                    "{what}"
                );
                if end == "damaged" {
                    let text = fs::read_to_string(&last).unwrap();
                    assert!(text.ends_with("no line\n"), "{what}: damage stays");
                    let text = text + &fs::read_to_string(folder.0.join("0000000002.jsonl")).unwrap();
                    assert!(acknowledged.iter().all(|jws| text.matches(jws.as_str()).count() == 1), "{what}");
                } else {
                    has(&stored(&folder), &acknowledged, &what);
                }
                if disk.0.met.lock().is_none() {
                    break;
                }
                kills += 1;
            }
        }
    }
    assert!(kills > 60, "{kills}");
}
