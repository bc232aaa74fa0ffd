//! Entries of a store, each checked by itself, and running hashes that were kept elsewhere.

use std::fs;
use std::sync::Arc;

use kest_core::audit::AuditRecord;
use kest_core::verify::{Verifier, VerifyFailure};
use kest_providers::audit::{Checked, FindingKind, Seen, Store};
use kest_providers::identity::LocalEd25519Provider;
use sha2::Digest as _;

use crate::support::{Folder, KINDS, Kind, Says, read, sample, sample_of, segments, signer};

fn verifier(store: &Store) -> Verifier {
    Verifier::builder().keys(store.keys().unwrap()).build()
}

/// Places of entries that failed, with their failures, and the number of the good ones.
fn checked(store: &Store, verifier: &Verifier) -> (usize, Vec<(String, VerifyFailure)>) {
    let (mut good, mut bad) = (0, Vec::new());
    for checked in store.scan().unwrap().check(verifier, Some(3)).unwrap() {
        match checked.unwrap() {
            Checked::Entry(_, Ok(_)) => good += 1,
            Checked::Entry(stored, Err(failure)) => bad.push((stored.place.to_string(), failure)),
            other => panic!("{other:?}"),
        }
    }
    (good, bad)
}

/// An entry whose signature is another's.
fn forged(signer: &Arc<LocalEd25519Provider>) -> (String, [u8; 32]) {
    let (a, b) = (sample(signer, 1), sample(signer, 2));
    let (text, _) = a.jws.as_str().rsplit_once('.').unwrap();
    let (_, signature) = b.jws.as_str().rsplit_once('.').unwrap();
    let jws = format!("{text}.{signature}");
    let hash = sha2::Sha256::digest(&jws).into();
    (jws, hash)
}

#[test]
fn each_entry_is_checked_and_those_that_nobody_signed_are_named() {
    for kind in KINDS {
        let folder = Folder::new();
        let (a, b) = (signer("a"), signer("b"));
        {
            let sink = kind.open(folder.path()).unwrap();
            for number in 0..1_000 {
                if number == 500 {
                    let (jws, hash) = forged(&b);
                    sink.append(&AuditRecord::new(&jws, &hash, "id", "spiffe://example.org/b", &*b)).unwrap();
                    continue;
                }
                let says = Says { operation: "pay", denied: number % 7 == 0, ..Says::default() };
                let sample = sample_of(if number % 3 == 0 { &a } else { &b }, number, &says);
                sink.append(&sample.record()).unwrap();
            }
        }
        let store = kind.store(folder.path());
        let place = read(&store).0[500].place.to_string();
        let (good, bad) = checked(&store, &verifier(&store));
        assert_eq!(good, 999, "{kind:?}");
        assert!(matches!(&*bad, [(at, VerifyFailure::Signature)] if *at == place), "{kind:?}: {bad:?}");

        // Of a workload that nobody knows, each is refused, and of the others none.
        let known = Verifier::builder().keys(kest_core::verify::ProviderKeys::new(a.clone())).build();
        let (good, bad) = checked(&store, &known);
        assert_eq!((good, bad.len()), (334, 666), "{kind:?}");
        let unknown = |failure: &VerifyFailure| matches!(failure, VerifyFailure::UnknownPrincipal { .. });
        assert!(bad.iter().all(|(_, failure)| unknown(failure)), "{bad:?}");
    }
}

#[test]
fn it_stops_when_nobody_asks_any_more_and_gives_back_the_scan() {
    for kind in KINDS {
        let folder = Folder::new();
        let signer = signer("a");
        {
            let sink = kind.open(folder.path()).unwrap();
            for number in 0..4_000 {
                sink.append(&sample(&signer, number).record()).unwrap();
            }
        }
        let store = kind.store(folder.path());
        let mut checks = store.scan().unwrap().check(&verifier(&store), Some(1)).unwrap();
        assert!(checks.next().unwrap().is_ok());
        let (done, all) = checks.progress();
        assert!(done < all, "{done} of {all}");
        drop(checks);
        let mut checks = store.scan().unwrap().check(&verifier(&store), Some(1)).unwrap();
        assert_eq!(checks.by_ref().count(), 4_000);
        let (done, all) = checks.progress();
        assert_eq!(done, all);
        let scan = checks.into_scan().unwrap();
        assert_eq!(scan.keys().workloads().count(), 1);
        let mut whole = store.scan().unwrap();
        assert_eq!(whole.tip(), None);
        assert_eq!(whole.by_ref().count(), 4_000);
        assert!(scan.tip().is_some() && scan.tip() == whole.tip(), "{kind:?}");
    }
}

#[test]
fn more_threads_than_a_machine_has_are_not_begun() {
    let folder = Folder::new();
    let sink = Kind::File.open(folder.path()).unwrap();
    sink.append(&sample(&signer("a"), 1).record()).unwrap();
    let store = Kind::File.store(folder.path());
    for threads in [0, 100_000, usize::MAX] {
        let checks = store.scan().unwrap().check(&verifier(&store), Some(threads)).unwrap();
        assert_eq!(checks.count(), 1, "{threads}");
    }
}

#[test]
fn a_hash_that_was_kept_elsewhere_finds_an_end_that_was_cut_off() {
    for kind in KINDS {
        let folder = Folder::new();
        let signer = signer("a");
        let mut tips = Vec::new();
        for round in 0..3 {
            {
                let sink = kind.open(folder.path()).unwrap();
                for number in 0..5 {
                    sink.append(&sample(&signer, round * 10 + number).record()).unwrap();
                }
            }
            let mut scan = kind.store(folder.path()).scan().unwrap();
            assert_eq!(scan.by_ref().count(), 5 * (tips.len() + 1));
            tips.push(scan.tip().unwrap());
        }
        let findings = |tip: &str| -> Vec<_> {
            let scan = kind.store(folder.path()).scan().unwrap().expecting(tip).unwrap();
            let findings = scan.filter_map(|seen| match seen.unwrap() {
                Seen::Finding(finding) => Some((finding.kind, finding.place.to_string())),
                _ => None,
            });
            findings.collect()
        };
        for tip in &tips {
            assert_eq!(findings(tip), [], "{kind:?}");
        }
        cut_off(*kind, &folder);
        // Without the hash it cannot be seen.
        assert_eq!(read(&kind.store(folder.path())).1, []);
        assert_eq!(findings(&tips[1]), [], "{kind:?}");
        assert_eq!(findings(&tips[2]), [(FindingKind::Missing, "store".to_owned())], "{kind:?}");
        let error = kind.store(folder.path()).scan().unwrap().expecting("ABC").unwrap_err();
        assert!(error.to_string().contains("no SHA-256"), "{error}");
    }
}

/// Takes the last two entries away, as somebody does who knows how.
fn cut_off(kind: Kind, folder: &Folder) {
    match kind {
        Kind::File => {
            let last = segments(folder.path()).pop().unwrap();
            let text = fs::read_to_string(&last).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let kept: String = lines[..lines.len() - 2].iter().map(|line| format!("{line}\n")).collect();
            fs::write(&last, kept).unwrap();
        }
        #[cfg(feature = "sqlite")]
        Kind::Sqlite => rusqlite::Connection::open(kind.path(folder.path()))
            .unwrap()
            .execute_batch(
                "DELETE FROM entries WHERE seq > 13; \
                 UPDATE head SET seq = 13, link = (SELECT chain FROM entries WHERE seq = 13)",
            )
            .unwrap(),
    }
}

fn found(scan: &mut kest_providers::audit::Scan) -> Vec<FindingKind> {
    let findings = scan.filter_map(|seen| match seen.unwrap() {
        Seen::Finding(finding) => Some(finding.kind),
        _ => None,
    });
    findings.collect()
}

#[test]
fn a_hash_that_only_a_head_claims_is_not_met() {
    use kest_core::audit::AuditSink as _;
    use kest_providers::audit::{FileAudit, Scan};

    let folder = Folder::new();
    let signer = signer("a");
    let sink = FileAudit::builder(Kind::File.path(folder.path())).rotate_bytes(8_000).open().unwrap();
    for number in 0..20 {
        sink.append(&sample(&signer, number).record()).unwrap();
    }
    drop(sink);
    let files = segments(folder.path());
    let end = |file: &std::path::Path| {
        let mut scan = Store::open(file).unwrap().scan().unwrap();
        assert_eq!(found(&mut scan), []);
        scan.tip().unwrap()
    };
    let (first, second) = (end(&files[0]), end(&files[1]));
    let store = Kind::File.store(folder.path());
    for tip in [&first, &second] {
        let mut scan = store.scan().unwrap().expecting(tip).unwrap();
        assert_eq!((found(&mut scan), scan.retired()), (vec![], None));
    }
    // The second segment alone, as a file and through a pipe: its head names the first one's end, and has not read it.
    let scan = |piped: bool| match piped {
        false => Store::open(&files[1]).unwrap().scan().unwrap(),
        true => Scan::of_segment(fs::File::open(&files[1]).unwrap()),
    };
    for piped in [false, true] {
        assert_eq!(found(&mut scan(piped).expecting(&first).unwrap()), [FindingKind::Gone]);
        assert_eq!(found(&mut scan(piped).expecting(&second).unwrap()), []);
    }
    fs::remove_file(&files[0]).unwrap();
    let kinds = found(&mut store.scan().unwrap().expecting(&first).unwrap());
    assert_eq!(kinds, [FindingKind::Missing, FindingKind::Missing, FindingKind::Gone]);
    // A line that claims the hash without coming to it.
    let folder = Folder::new();
    drop(Kind::File.open(folder.path()).unwrap());
    let segment = segments(folder.path()).remove(0);
    let mut text = fs::read_to_string(&segment).unwrap();
    text.push_str(&format!("{{\"v\":1,\"received_ms\":1,\"jws\":\"a.b.c\",\"c\":\"{first}\"}}\n"));
    fs::write(&segment, text).unwrap();
    let scan = Kind::File.store(folder.path()).scan().unwrap();
    let kinds = found(&mut scan.expecting(&first).unwrap());
    assert!(kinds.contains(&FindingKind::Broken) && kinds.contains(&FindingKind::Missing), "{kinds:?}");
}

#[cfg(feature = "sqlite")]
#[test]
fn what_retention_took_is_told_in_the_chain_and_nobody_else_takes_the_beginning() {
    use std::time::{Duration, Instant};

    use kest_core::audit::AuditSink as _;
    use kest_providers::audit::SqliteAudit;

    let folder = Folder::new();
    let path = Kind::Sqlite.path(folder.path());
    let signer = signer("a");
    let change = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let age = Duration::from_millis(20);
    let mut number = 0;
    let mut tips = Vec::new();
    for _ in 0..3 {
        let sink = SqliteAudit::builder(&path).retain_age(age).open().unwrap();
        for _ in 0..10 {
            sink.append(&sample(&signer, number).record()).unwrap();
            number += 1;
        }
        drop(sink);
        let (entries, findings) = read(&Kind::Sqlite.store(folder.path()));
        assert_eq!(findings, []);
        assert!(!entries.is_empty());
        let mut scan = Store::open(&path).unwrap().scan().unwrap();
        assert!(scan.by_ref().all(|seen| seen.is_ok()));
        tips.push(scan.tip().unwrap());
        let until = Instant::now() + age * 2;
        while Instant::now() < until {
            std::thread::yield_now();
        }
    }
    let sink = SqliteAudit::builder(&path).retain_age(age).open().unwrap();
    sink.append(&sample(&signer, number).record()).unwrap();
    drop(sink);
    let (entries, findings) = read(&Kind::Sqlite.store(folder.path()));
    assert_eq!((entries.len(), findings.len()), (1, 0), "{findings:?}");
    assert_eq!(entries[0].place.to_string(), "entry 31");
    // More is written, and then somebody takes the beginning away and says that it was retention.
    let sink = SqliteAudit::open(&path).unwrap();
    for number in 40..50 {
        sink.append(&sample(&signer, number).record()).unwrap();
    }
    drop(sink);
    // Of the last one nothing is left but the store's word that it stood there.
    let whole = |tip: &str| {
        let mut scan = Store::open(&path).unwrap().scan().unwrap().expecting(tip).unwrap();
        assert_eq!(found(&mut scan), []);
        scan.taken()
    };
    let mut before = Store::open(&path).unwrap().scan().unwrap();
    assert_eq!(found(&mut before), []);
    let before = before.tip().unwrap();
    assert_eq!(whole(&before), None, "what was gone by then, it vouches for");
    for (tip, kind) in tips.iter().zip([FindingKind::Missing, FindingKind::Missing, FindingKind::Gone]) {
        let mut scan = Store::open(&path).unwrap().scan().unwrap().expecting(tip).unwrap();
        assert_eq!(found(&mut scan), [kind], "{tips:?}");
        assert_eq!(scan.retired().as_deref(), Some("entries 1 to 30"));
    }
    let mut scan = Store::open(&path).unwrap().scan().unwrap();
    assert_eq!(found(&mut scan), []);
    let mut later = Store::open(&path).unwrap().scan().unwrap().expecting(&scan.tip().unwrap()).unwrap();
    assert_eq!(found(&mut later), []);
    change(
        "DELETE FROM entries WHERE seq <= 35; \
         UPDATE head SET first_seq = 35, first_link = (SELECT zeroblob(32))",
    );
    let findings = read(&Kind::Sqlite.store(folder.path())).1;
    assert_eq!((findings[0].kind, findings[0].place.to_string().as_str()), (FindingKind::Missing, "store"));
    assert!(findings[0].detail.contains("does not say that retention"), "{findings:?}");
}

#[cfg(feature = "sqlite")]
#[test]
fn what_a_database_says_that_retention_took_after_a_tip_was_kept_is_told() {
    let folder = Folder::new();
    let path = Kind::Sqlite.path(folder.path());
    let sink = Kind::Sqlite.open(folder.path()).unwrap();
    for number in 0..5 {
        sink.append(&sample(&signer("a"), number).record()).unwrap();
    }
    drop(sink);
    let (entries, _) = read(&Kind::Sqlite.store(folder.path()));
    let mut scan = Store::open(&path).unwrap().scan().unwrap();
    assert_eq!(found(&mut scan), []);
    let kept = scan.tip().unwrap();
    // As retention does it, with its sums done.
    let db = rusqlite::Connection::open(&path).unwrap();
    let link = |seq: i64| -> Vec<u8> {
        db.query_row("SELECT chain FROM entries WHERE seq = ?1", [seq], |row| row.get(0)).unwrap()
    };
    let (first, last) = (link(2), link(5));
    let hex: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = sha2::Sha256::digest(format!("retired\n5\n1\n2\n{hex}"));
    let end = sha2::Sha256::digest([&last[..], b"t", &text[..]].concat()).to_vec();
    db.execute_batch("DELETE FROM entries WHERE seq <= 2").unwrap();
    db.execute("INSERT INTO retired(after_seq, at_ms, first_seq, first_link) VALUES (5, 1, 2, ?1)", [&first])
        .unwrap();
    db.execute("UPDATE head SET first_seq = 2, first_link = ?1, link = ?2", [&first, &end]).unwrap();
    drop(db);
    let taken = |tip: &str| {
        let mut scan = Store::open(&path).unwrap().scan().unwrap().expecting(tip).unwrap();
        let kinds = found(&mut scan);
        assert!(!kinds.contains(&FindingKind::Missing), "{kinds:?}");
        scan.taken().map(|taken| (taken.what, taken.before_ms))
    };
    assert_eq!(taken(&kept), Some(("entries 1 to 2".to_owned(), Some(entries[2].received_ms))));
    assert_eq!(taken(&end.iter().map(|byte| format!("{byte:02x}")).collect::<String>()), None);
}
