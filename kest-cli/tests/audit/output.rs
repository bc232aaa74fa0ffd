//! `--output` and `--force`: what is never written over.

use std::fs;
#[cfg(unix)]
use std::io::Read as _;
use std::path::Path;

use kest_providers::audit::SqliteAudit;

use super::{Shop, TRACE, audit, put, run};
use crate::support::Run;

fn export(folder: &Path, store: &str, output: &str, force: bool) -> Run {
    let force: &[&str] = if force { &["--force"] } else { &[] };
    audit(folder, "export", store, &[&["--trace", TRACE, "--output", output], force].concat())
}

/// Every file below a folder, with its content.
fn all(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        match path.is_dir() {
            true => files.extend(all(&path)),
            false => files.push((path.clone(), fs::read(path).unwrap())),
        }
    }
    files.sort();
    files
}

#[test]
fn evidence_is_never_written_over() {
    let shop = Shop::new();
    let folder = shop.write();
    let other = SqliteAudit::open(folder.join("other.db")).unwrap();
    put(&other, &shop.lineage.entries()[0], false);
    assert!(folder.join("other.db-wal").exists());
    fs::copy(folder.join("audit/0000000001.jsonl"), folder.join("copy.txt")).unwrap();
    // As writers put a torn last line aside: without the head of a segment.
    let line = fs::read_to_string(folder.join("audit/0000000001.jsonl")).unwrap();
    let line = line.lines().next_back().unwrap();
    assert!(line.starts_with("{\"v\":1,") && !line.contains("segment"), "{line}");
    for torn in ["audit/0000000001.1795304503210.torn", "torn.txt"] {
        fs::write(folder.join(torn), &line[..line.len() / 2]).unwrap();
    }
    fs::create_dir(folder.join("more")).unwrap();
    fs::hard_link(folder.join("audit.db"), folder.join("more/again")).unwrap();
    // Readers of a database make an index of its log, and a log that is empty.
    let evidence = || -> Vec<_> {
        let files = all(&folder).into_iter();
        files.filter(|(path, text)| !path.to_string_lossy().ends_with("-shm") && !text.is_empty()).collect()
    };
    let before = evidence();
    for (store, output) in [
        ("audit", "audit/0000000001.jsonl"),
        ("audit", "audit/../audit/0000000001.jsonl"),
        ("audit", "audit/lock"),
        ("audit", "audit/0000000002.jsonl"),
        ("audit", "audit/new.json"),
        ("audit/0000000001.jsonl", "audit/0000000001.jsonl"),
        ("audit/0000000001.jsonl", "audit/0000000002.jsonl"),
        ("audit/0000000001.jsonl", "audit/lock"),
        ("audit.db", "audit.db"),
        ("audit.db", "./more/../audit.db"),
        ("audit.db", "audit.db-wal"),
        ("audit.db", "audit.db-shm"),
        ("audit.db", "audit.db.lock"),
    ] {
        for force in [false, true] {
            export(&folder, store, output, force).unusable("evidence is not written over");
        }
    }
    for output in [
        "copy.txt",
        "more/again",
        "other.db",
        "other.db-wal",
        "audit/0000000001.jsonl",
        "audit/0000000001.1795304503210.torn",
        "torn.txt",
    ] {
        export(&folder, "audit.db", output, true).unusable("neither is written over");
        let graph = [
            "graph",
            "passport.json",
            "--format",
            "dot",
            "--anchors",
            "anchors.json",
            "--force",
            "--output",
            output,
        ];
        run(&folder, &graph).unusable("neither is written over");
    }
    let names = |files: &[(std::path::PathBuf, Vec<u8>)]| -> Vec<_> {
        files.iter().map(|(path, text)| (path.clone(), text.len())).collect()
    };
    assert_eq!(names(&evidence()), names(&before));
    assert!(evidence() == before, "something was written");
    assert_eq!(export(&folder, "audit.db", "more/out.json", false).code, 0);
    export(&folder, "audit.db", "more/out.json", false).unusable("exists already");
    assert_eq!(export(&folder, "audit.db", "more/out.json", true).code, 0);
}

/// A child that does not outlive its test.
#[cfg(unix)]
struct Reader(std::process::Child);

#[cfg(unix)]
impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_written_to_and_not_replaced() {
    use std::os::unix::fs::{FileTypeExt as _, symlink};
    use std::process::Command;

    let folder = Shop::new().write();
    let passport = export(&folder, "audit", "-", false).stdout;
    assert!(passport.starts_with("[\""), "{passport}");
    assert_eq!(export(&folder, "audit", "/dev/stdout", false).stdout, passport);
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    symlink("pipe", folder.join("to-pipe")).unwrap();
    for (output, force) in [("pipe", false), ("pipe", true), ("to-pipe", false), ("to-pipe", true)] {
        // Holds the pipe open, so that nobody waits for the other.
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 3<>pipe; exec head -n 1 <&3"]).current_dir(&folder);
        let mut reader = Reader(shell.stdout(std::process::Stdio::piped()).spawn().unwrap());
        let run = export(&folder, "audit", output, force);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{output} {force}");
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo(), "{output} {force}");
        let mut read = String::new();
        reader.0.stdout.take().unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, passport);
    }
    assert!(folder.join("to-pipe").is_symlink());
    // Links to files stay, and what they lead to is not replaced unless that is asked for.
    symlink("target.json", folder.join("link")).unwrap();
    export(&folder, "audit", "link", false).unusable("exists already");
    assert!(!folder.join("target.json").exists());
    fs::write(folder.join("target.json"), "kept, and longer than nothing").unwrap();
    export(&folder, "audit", "link", false).unusable("exists already");
    assert_eq!(export(&folder, "audit", "link", true).code, 0);
    assert!(folder.join("link").is_symlink());
    assert_eq!(fs::read_to_string(folder.join("target.json")).unwrap(), passport);
    symlink("audit/0000000001.jsonl", folder.join("evidence")).unwrap();
    export(&folder, "audit.db", "evidence", true).unusable("neither is written over");
    export(&folder, "audit", "evidence", true).unusable("evidence is not written over");
    export(&folder, "audit", "more/out.json", true).unusable("cannot write");
    fs::create_dir(folder.join("more")).unwrap();
    export(&folder, "audit", "more", true).unusable("cannot write");
}
