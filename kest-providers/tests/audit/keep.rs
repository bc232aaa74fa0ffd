//! What sinks keep, and what they refuse.

use std::fs;
use std::thread;
use std::time::Duration;

use kest_core::config::{Config, Durability};
use kest_core::error::AuditErrorKind;
use kest_core::verify::{KeySource as _, UnverifiedPassport, Verifier};
use kest_providers::audit::{FileAudit, Store, open};
use kest_providers::conformance;

use crate::support::{Folder, KINDS, Kind, Says, read, sample, sample_of, segments, signer};

#[test]
fn they_conform() {
    for kind in KINDS {
        for durability in [Durability::Process, Durability::Power] {
            let folder = Folder::new();
            let sink = kind.open_as(folder.path(), durability).unwrap();
            let stored = || {
                let (entries, findings) = read(&kind.store(folder.path()));
                assert_eq!(findings, [], "{kind:?}");
                entries.into_iter().map(|stored| stored.jws).collect()
            };
            conformance::audit::run(&*sink, &*signer("a"), &stored)
                .unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        }
    }
}

#[test]
fn a_store_is_closed_and_opened_again_and_has_the_keys_beside_the_entries() {
    for kind in KINDS {
        let folder = Folder::new();
        let (a, b) = (signer("a"), signer("b"));
        for round in 0..3 {
            let sink = kind.open(folder.path()).unwrap();
            for number in 0..4 {
                let signer = if number % 2 == 0 { &a } else { &b };
                sink.append(&sample(signer, round * 10 + number).record()).unwrap();
            }
        }
        let store = kind.store(folder.path());
        let (entries, findings) = read(&store);
        assert_eq!((entries.len(), findings.len()), (12, 0), "{kind:?}: {findings:?}");
        assert!(entries.is_sorted_by_key(|stored| stored.received_ms));
        let keys = store.keys().unwrap();
        assert_eq!(
            keys.workloads().collect::<Vec<_>>(),
            ["spiffe://example.org/a", "spiffe://example.org/b"]
        );
        assert_eq!(keys.keys("spiffe://example.org/a").unwrap().unwrap().0.len(), 1, "a key is kept once");
        assert_eq!(keys.keys("spiffe://example.org/c").unwrap(), None);
        let verifier = Verifier::builder().keys(keys).build();
        for stored in entries {
            let text = serde_json::to_string(&[stored.jws]).unwrap();
            UnverifiedPassport::deserialize(&text).unwrap().verify(&verifier).unwrap();
        }
    }
}

#[test]
fn a_second_writer_is_refused_until_the_first_has_closed() {
    for kind in KINDS {
        let folder = Folder::new();
        let first = kind.open(folder.path()).unwrap();
        let error = kind.open(folder.path()).unwrap_err();
        assert_eq!(error.kind(), AuditErrorKind::Locked, "{kind:?}: {error}");
        assert!(error.to_string().contains("another writer"), "{error}");
        drop(first);
        kind.open(folder.path()).unwrap();
    }
}

#[test]
fn a_closed_sink_refuses() {
    let folder = Folder::new();
    let sink = FileAudit::open(Kind::File.path(folder.path())).unwrap();
    let signer = signer("a");
    use kest_core::audit::AuditSink as _;
    sink.append(&sample(&signer, 1).record()).unwrap();
    sink.close().unwrap();
    let error = sink.append(&sample(&signer, 2).record()).unwrap_err();
    assert_eq!(error.kind(), AuditErrorKind::Closed);
    assert_eq!(read(&Kind::File.store(folder.path())).0.len(), 1);
}

#[test]
fn a_missing_folder_and_a_strange_file_are_named() {
    for kind in KINDS {
        let error = kind.open("/nonexistent-kest/x".as_ref()).unwrap_err();
        assert_eq!(error.kind(), AuditErrorKind::Open, "{error}");
        assert!(error.to_string().contains("/nonexistent-kest/x"), "{error}");
    }
    let folder = Folder::new();
    let strange = folder.path().join("notes.txt");
    fs::write(&strange, "dear diary").unwrap();
    assert!(Store::open(&strange).unwrap_err().to_string().contains("no audit store"));
    let error = FileAudit::open(&strange).unwrap_err();
    assert!(
        error.kind() == AuditErrorKind::Open && error.to_string().contains("name one in `[audit]`"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&strange).unwrap(), "dear diary");
    assert!(Store::open(folder.path().join("none")).is_err());
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(Store::open(&empty).unwrap().scan().unwrap_err().to_string().contains("no segment"));
}

#[test]
fn segments_are_rotated_and_the_oldest_go() {
    let folder = Folder::new();
    let path = Kind::File.path(folder.path());
    let signer = signer("a");
    use kest_core::audit::AuditSink as _;
    let sink = FileAudit::builder(&path).rotate_bytes(10_000).retain_files(3).open().unwrap();
    for number in 0..60 {
        sink.append(&sample(&signer, number).record()).unwrap();
    }
    drop(sink);
    let files = segments(folder.path());
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(!files[0].ends_with("0000000001.jsonl"));
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() <= 10_000 + 2_000);
        // Each has the keys that its entries need.
        assert_eq!(Store::open(file).unwrap().keys().unwrap().workloads().count(), 1, "{file:?}");
    }
    let (entries, findings) = read(&Kind::File.store(folder.path()));
    assert_eq!(findings, []);
    let last = sample(&signer, 59).jws.into_string();
    assert_eq!(entries.last().unwrap().jws, last, "signatures of Ed25519 are deterministic");
}

#[test]
fn a_segment_is_ended_by_age_and_old_ones_go() {
    let folder = Folder::new();
    let path = Kind::File.path(folder.path());
    let signer = signer("a");
    use kest_core::audit::AuditSink as _;
    let age = Duration::from_millis(40);
    let sink = FileAudit::builder(&path).rotate_age(age).retain_age(age * 2).open().unwrap();
    let begun = std::time::Instant::now();
    let mut number = 0;
    while begun.elapsed() < age * 8 {
        sink.append(&sample(&signer, number).record()).unwrap();
        number += 1;
        thread::yield_now();
    }
    drop(sink);
    let files = segments(folder.path());
    assert!(!files[0].ends_with("0000000001.jsonl"), "{files:?}");
    assert_eq!(read(&Kind::File.store(folder.path())).1, []);
}

#[cfg(feature = "sqlite")]
#[test]
fn old_rows_go_and_the_rest_still_checks() {
    use kest_core::audit::AuditSink as _;
    use kest_providers::audit::SqliteAudit;
    let folder = Folder::new();
    let path = Kind::Sqlite.path(folder.path());
    let signer = signer("a");
    {
        let sink = SqliteAudit::open(&path).unwrap();
        for number in 0..20 {
            let says = Says { operation: "pay", taints: &["pii"], ..Says::default() };
            sink.append(&sample_of(&signer, number, &says).record()).unwrap();
        }
    }
    let until = std::time::Instant::now() + Duration::from_millis(30);
    while std::time::Instant::now() < until {
        thread::yield_now();
    }
    let sink = SqliteAudit::builder(&path).retain_age(Duration::from_millis(20)).open().unwrap();
    sink.append(&sample(&signer, 20).record()).unwrap();
    drop(sink);
    let (entries, findings) = read(&Kind::Sqlite.store(folder.path()));
    assert_eq!(findings, []);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].place.to_string(), "entry 21");
}

#[test]
fn a_full_store_refuses_and_keeps_what_it_has() {
    for kind in KINDS {
        let folder = Folder::new();
        let text = format!(
            "[audit]\nsink = \"{}\"\npath = \"{}\"\nmax_bytes = 1048576\n",
            if *kind == Kind::File { "file" } else { "sqlite" },
            kind.path(folder.path()).display(),
        );
        let sink = open(&Config::parse(&text).unwrap()).unwrap().unwrap();
        let signer = signer("a");
        let says = Says { operation: "pay", padding: 20_000, ..Says::default() };
        let mut kept = 0;
        let error = loop {
            match sink.append(&sample_of(&signer, kept, &says).record()) {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
            assert!(kept < 1_000);
        };
        assert_eq!(error.kind(), AuditErrorKind::Full, "{error}");
        assert!(error.to_string().contains("max_bytes"), "{error}");
        assert!(kept > 20, "{kept}");
        // A small one may still fit; whatever is acknowledged is there.
        let more = u64::from(sink.append(&sample(&signer, 5_000).record()).is_ok());
        drop(sink);
        let (entries, findings) = read(&kind.store(folder.path()));
        assert_eq!((entries.len() as u64, findings.len()), (kept + more, 0), "{kind:?}");
    }
    assert!(open(&Config::default()).unwrap().is_none());
}

#[test]
fn a_full_store_frees_itself_of_what_is_too_old() {
    let (age, most) = (Duration::from_millis(400), 1 << 20);
    for kind in KINDS {
        let folder = Folder::new();
        let path = kind.path(folder.path());
        let open = || -> std::sync::Arc<dyn kest_core::audit::AuditSink> {
            match kind {
                // Segments are never ended by age: without room for more none would be.
                Kind::File => std::sync::Arc::new(
                    FileAudit::builder(&path)
                        .max_bytes(most)
                        .retain_age(age)
                        .rotate_age(age * 10_000)
                        .open()
                        .unwrap(),
                ),
                #[cfg(feature = "sqlite")]
                Kind::Sqlite => std::sync::Arc::new(
                    kest_providers::audit::SqliteAudit::builder(&path)
                        .max_bytes(most)
                        .retain_age(age)
                        .open()
                        .unwrap(),
                ),
            }
        };
        let signer = signer("a");
        let says = Says { operation: "pay", padding: 20_000, ..Says::default() };
        let sink = open();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let (mut kept, mut refused) = (0, 0);
        while kept < 150 {
            match sink.append(&sample_of(&signer, kept, &says).record()) {
                Ok(()) => kept += 1,
                Err(error) => {
                    assert_eq!(error.kind(), AuditErrorKind::Full, "{kind:?}: {error}");
                    refused += 1;
                }
            }
            assert!(std::time::Instant::now() < deadline, "{kind:?}: {kept} kept, {refused} refused");
        }
        assert_eq!(read(&kind.store(folder.path())).1, [], "{kind:?}");
        drop(sink);
        // Opening does the same: what is left after a while is young.
        let until = std::time::Instant::now() + age * 2;
        while std::time::Instant::now() < until {
            thread::yield_now();
        }
        let before = read(&kind.store(folder.path())).0.len();
        drop(open());
        let (entries, findings) = read(&kind.store(folder.path()));
        assert_eq!(findings, [], "{kind:?}");
        assert!(entries.len() < before, "{kind:?}: {} of {before} are left", entries.len());
    }
}

#[test]
fn receipts_of_denials_have_a_share_of_their_own() {
    use kest_core::audit::AuditSink as _;
    let folder = Folder::new();
    let signer = signer("a");
    let says = Says { operation: "pay", denied: true, ..Says::default() };
    let sink = FileAudit::builder(Kind::File.path(folder.path())).rotate_bytes(40_000).open().unwrap();
    let mut kept = 0;
    let error = loop {
        match sink.append(&sample_of(&signer, kept, &says).record().denial()) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), AuditErrorKind::Full);
    assert!(kept >= 1 && kept * 1_500 < 40_000 / 4, "{kept}");
    sink.append(&sample(&signer, 900).record()).unwrap();
}

#[cfg(feature = "sqlite")]
#[test]
fn receipts_of_denials_never_take_the_room_of_entries() {
    use kest_core::audit::AuditSink as _;
    use kest_providers::audit::SqliteAudit;
    let (most, signer) = (1 << 20, signer("a"));
    let receipt = Says { operation: "pay", denied: true, ..Says::default() };
    let entry = Says { operation: "pay", padding: 20_000, ..Says::default() };

    let folder = Folder::new();
    let sink = SqliteAudit::builder(Kind::Sqlite.path(folder.path())).max_bytes(most).open().unwrap();
    let (mut bytes, mut number) = (0, 0);
    let error = loop {
        let sample = sample_of(&signer, number, &receipt);
        match sink.append(&sample.record().denial()) {
            Ok(()) => bytes += sample.jws.as_str().len() as u64,
            Err(error) => break error,
        }
        number += 1;
        assert!(bytes <= most / 8, "{bytes}");
    };
    assert_eq!(error.kind(), AuditErrorKind::Full);
    assert!(error.to_string().contains("eighth"), "{error}");
    sink.append(&sample_of(&signer, 5_000, &entry).record()).unwrap();

    let folder = Folder::new();
    let sink = SqliteAudit::builder(Kind::Sqlite.path(folder.path())).max_bytes(most).open().unwrap();
    let (mut refused, mut after) = (0, 0);
    for number in 0..1_000 {
        if let Err(error) = sink.append(&sample_of(&signer, 2_000 + number, &receipt).record().denial()) {
            assert!(error.to_string().contains("tenth"), "{error}");
            refused += 1;
        }
        match sink.append(&sample_of(&signer, number, &entry).record()) {
            Ok(()) => after += u64::from(refused > 0),
            Err(error) => {
                assert_eq!(error.kind(), AuditErrorKind::Full);
                break;
            }
        }
    }
    assert!(refused > 0 && after > 0, "{refused} receipts refused, {after} entries after");
    assert_eq!(read(&Kind::Sqlite.store(folder.path())).1, []);
}

#[test]
fn what_is_no_entry_is_refused_where_it_must_be_filed() {
    #[cfg(feature = "sqlite")]
    {
        use kest_core::audit::AuditRecord;
        let folder = Folder::new();
        let sink = Kind::Sqlite.open(folder.path()).unwrap();
        let signer = signer("a");
        let record = AuditRecord::new("a.b.c", &[0; 32], "x", "w", &*signer);
        assert_eq!(sink.append(&record).unwrap_err().kind(), AuditErrorKind::Malformed);
        sink.append(&sample(&signer, 1).record()).unwrap();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn many_calls_of_one_thread_share_a_write() {
    for kind in KINDS {
        let folder = Folder::new();
        let sink = kind.open(folder.path()).unwrap();
        let signer = signer("a");
        let samples: Vec<_> = (0..200).map(|number| sample(&signer, number)).collect();
        let records: Vec<_> = samples.iter().map(|sample| sample.record()).collect();
        let mut waiting: Vec<_> = records.iter().map(|record| sink.append_async(record)).collect();
        let all = std::future::poll_fn(|cx| {
            waiting.retain_mut(|future| match future.as_mut().poll(cx) {
                std::task::Poll::Ready(result) => {
                    result.unwrap();
                    false
                }
                std::task::Poll::Pending => true,
            });
            if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
        assert_eq!(read(&kind.store(folder.path())).0.len(), 200);
    }
}

#[test]
fn little_room_makes_calls_wait_and_loses_none() {
    use kest_core::audit::AuditSink as _;
    let folder = Folder::new();
    let sink = FileAudit::builder(Kind::File.path(folder.path())).queue_bytes(2_000).open().unwrap();
    let signer = signer("a");
    thread::scope(|scope| {
        for thread in 0..8 {
            let (sink, signer) = (&sink, &signer);
            scope.spawn(move || {
                for number in 0..50 {
                    sink.append(&sample(signer, thread * 100 + number).record()).unwrap();
                }
            });
        }
    });
    assert_eq!(read(&Kind::File.store(folder.path())).0.len(), 400);
}
