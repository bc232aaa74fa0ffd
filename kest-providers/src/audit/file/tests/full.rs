//! A disk that is really full, and what retention may take.

use super::*;
use crate::audit::file::spare;

/// A disk with so much room.
#[derive(Debug, Clone)]
struct Small(Arc<Room>);

#[derive(Debug)]
struct Room {
    left: Arc<Mutex<u64>>,
    step: AtomicU64,
    /// The last step of the process.
    last: u64,
}

impl Small {
    fn new(left: u64) -> Self {
        Self::of(Arc::new(Mutex::new(left)), u64::MAX)
    }

    fn of(left: Arc<Mutex<u64>>, last: u64) -> Self {
        Self(Arc::new(Room { left, step: AtomicU64::new(0), last }))
    }

    fn step(&self) -> io::Result<()> {
        let over = self.0.step.fetch_add(1, Ordering::SeqCst) >= self.0.last;
        if over { Err(io::Error::other("the process is gone")) } else { Ok(()) }
    }

    fn is_over(&self) -> bool {
        self.0.step.load(Ordering::SeqCst) > self.0.last
    }
}

impl Disk for Small {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        RealDisk.create(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        let mut left = self.0.left.lock();
        let fits = bytes.len().min(usize::try_from(*left).unwrap());
        *left -= fits as u64;
        file.write_all(&bytes[..fits])?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.step()?;
        *self.0.left.lock() += file.metadata()?.len() - length;
        RealDisk.cut(file, length)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        let length = fs::symlink_metadata(path)?.len();
        RealDisk.remove(path)?;
        *self.0.left.lock() += length;
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.sync_folder(folder)
    }
}

fn retaining(folder: &Folder) -> FileAuditBuilder {
    // Ended by size alone, and old at once.
    builder(folder, Durability::Process)
        .rotate_age(Duration::from_hours(1))
        .retain_age(Duration::from_millis(1))
}

/// Appends until it is acknowledged, unless the process ends; how often it was refused before.
fn insists(sink: &FileAudit, signer: &LocalEd25519Provider, jws: &Jws, disk: &Small) -> Option<u32> {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    for refused in 0.. {
        match append(sink, signer, jws) {
            Ok(()) => return Some(refused),
            Err(_) if disk.is_over() => return None,
            Err(kind) => assert_eq!(kind, AuditErrorKind::Full),
        }
        assert!(std::time::Instant::now() < deadline, "retention makes no room");
    }
    None
}

/// That nothing is missing but a beginning, which retention took.
#[track_caller]
fn ends_with_all(folder: &Folder, acknowledged: &[String], what: &str) {
    let stored = stored(folder);
    let first = acknowledged.iter().position(|jws| stored.contains(jws)).expect(what);
    has(&stored, &acknowledged[first..], what);
}

const ROOM: u64 = spare::BYTES as u64 + 10_000;

#[test]
fn retention_makes_room_on_a_full_disk() {
    let (signer, folder, disk) = (LocalEd25519Provider::new().unwrap(), Folder::new(), Small::new(ROOM));
    // Segments would get larger than what is there, so it is never a new one that makes room.
    let sink = retaining(&folder).rotate_bytes(4_500).open_on(disk.clone()).unwrap();
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for number in 0..60 {
        let jws = signed(&signer, number);
        // Somebody else takes what room there is.
        if number == 8 {
            *disk.0.left.lock() = 0;
        }
        refused += insists(&sink, &signer, &jws, &disk).unwrap();
        acknowledged.push(jws.into_string());
    }
    assert!(refused > 0, "the disk was never full");
    drop(sink);
    ends_with_all(&folder, &acknowledged, "full");
    assert_eq!(fs::metadata(folder.0.join("spare")).unwrap().len(), spare::BYTES as u64, "it is there again");
}

#[test]
fn without_retention_there_is_no_spare_file_and_nothing_goes() {
    let (signer, folder, disk) = (LocalEd25519Provider::new().unwrap(), Folder::new(), Small::new(10_000));
    let sink = builder(&folder, Durability::Process).open_on(disk).unwrap();
    let mut acknowledged = Vec::new();
    for number in 0..60 {
        let jws = signed(&signer, number);
        match append(&sink, &signer, &jws) {
            Ok(()) => acknowledged.push(jws.into_string()),
            Err(kind) => assert_eq!(kind, AuditErrorKind::Full),
        }
    }
    drop(sink);
    assert!(acknowledged.len() < 60 && !folder.0.join("spare").exists());
    has(&stored(&folder), &acknowledged, "full");
}

#[test]
fn killed_at_each_step_on_a_full_disk_it_loses_nothing_and_frees_itself_afterwards() {
    let signer = LocalEd25519Provider::new().unwrap();
    let mut kills = 0;
    for last in 1.. {
        let (folder, left) = (Folder::new(), Arc::new(Mutex::new(ROOM)));
        let mut acknowledged = Vec::new();
        let disk = Small::of(Arc::clone(&left), last);
        if let Ok(sink) = retaining(&folder).open_on(disk.clone()) {
            for number in 0..24 {
                if number == 8 {
                    *left.lock() = 0;
                }
                let jws = signed(&signer, number);
                if insists(&sink, &signer, &jws, &disk).is_none() {
                    break;
                }
                acknowledged.push(jws.into_string());
            }
        }
        let over = disk.is_over();
        let disk = Small::of(left, u64::MAX);
        let sink =
            retaining(&folder).open_on(disk.clone()).unwrap_or_else(|error| panic!("step {last}: {error}"));
        for number in 100..112 {
            let jws = signed(&signer, number);
            insists(&sink, &signer, &jws, &disk).unwrap();
            acknowledged.push(jws.into_string());
        }
        drop(sink);
        ends_with_all(&folder, &acknowledged, &format!("step {last}"));
        if !over {
            break;
        }
        kills += 1;
    }
    assert!(kills > 40, "{kills}");
}

/// A store whose last line lacks its newline, all else of it acknowledged, on a disk without any room.
fn unended(signer: &LocalEd25519Provider) -> (Folder, PathBuf, Vec<String>) {
    let (folder, mut acknowledged) = (Folder::new(), Vec::new());
    let sink = retaining(&folder).open().unwrap();
    for number in 0..2 {
        let jws = signed(signer, number);
        append(&sink, signer, &jws).unwrap();
        acknowledged.push(jws.into_string());
    }
    drop(sink);
    let segment = folder.0.join("0000000001.jsonl");
    let file = File::options().write(true).open(&segment).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    (folder, segment, acknowledged)
}

#[test]
fn the_spare_file_has_room_for_a_newline_that_is_missing_wherever_the_process_is_killed() {
    let signer = LocalEd25519Provider::new().unwrap();
    for last in 0.. {
        let (folder, _, mut acknowledged) = unended(&signer);
        let left = Arc::new(Mutex::new(0));
        let first = retaining(&folder).open_on(Small::of(Arc::clone(&left), last));
        let killed = first.is_err();
        drop(first);
        let sink = retaining(&folder).open_on(Small::of(left, u64::MAX));
        let sink = sink.unwrap_or_else(|error| panic!("step {last}: {error}"));
        let jws = signed(&signer, 100);
        append(&sink, &signer, &jws).unwrap();
        acknowledged.push(jws.into_string());
        drop(sink);
        ends_with_all(&folder, &acknowledged, &format!("step {last}"));
        if !killed {
            assert!(last > 3, "{last}");
            break;
        }
    }
}

#[test]
fn without_any_room_for_its_newline_a_line_is_not_cut_off() {
    let signer = LocalEd25519Provider::new().unwrap();
    let (folder, segment, acknowledged) = unended(&signer);
    fs::remove_file(folder.0.join("spare")).unwrap();
    let before = fs::read(&segment).unwrap();
    let error = retaining(&folder).open_on(Small::new(0)).unwrap_err();
    assert_eq!(error.kind(), AuditErrorKind::Open);
    assert!(error.to_string().starts_with("cannot repair `"), "{error}");
    assert!(error.to_string().contains("make room"), "{error}");
    assert_eq!(fs::read(&segment).unwrap(), before);
    // With room for nothing else it is whole again.
    let sink = builder(&folder, Durability::Process).open_on(Small::new(1)).unwrap();
    drop(sink);
    assert_eq!(fs::read(&segment).unwrap(), [&*before, b"\n"].concat());
    has(&stored(&folder), &acknowledged, "whole");
}
