//! Filters find the same in every kind of store.

use kest_providers::audit::Filter;
use serde_json::json;

use crate::support::{Folder, KINDS, Says, read, sample_of, signer};

#[test]
fn filters_find_what_fits() {
    for kind in KINDS {
        let folder = Folder::new();
        let (a, b) = (signer("a"), signer("b"));
        {
            let sink = kind.open(folder.path()).unwrap();
            for number in 0..60_u64 {
                let says = Says {
                    operation: if number % 3 == 0 { "pay" } else { "ship" },
                    user: match number % 4 {
                        0 => Some(json!("alice")),
                        1 => Some(json!({ "name": "bob", "id": 7 })),
                        _ => None,
                    },
                    taints: if number % 5 == 0 { &["pii", "raw"] } else { &[] },
                    denied: number % 10 == 9,
                    padding: 0,
                };
                let sample = sample_of(if number < 30 { &a } else { &b }, number, &says);
                let record = sample.record();
                sink.append(&if says.denied { record.denial() } else { record }).unwrap();
            }
        }
        let store = kind.store(folder.path());
        let all = read(&store).0;
        assert_eq!(all.len(), 60);
        let found = |filter: &Filter| -> Vec<usize> {
            let listed = store.list(filter).unwrap().map(|stored| stored.unwrap());
            listed.map(|stored| all.iter().position(|other| other.hash == stored.hash).unwrap()).collect()
        };
        let text = |text: &str| Some(text.to_owned());
        let every = |fits: fn(usize) -> bool| (0..60).filter(|number| fits(*number)).collect::<Vec<_>>();
        assert_eq!(found(&Filter::default()), every(|_| true));
        let w = Filter { workload: text("spiffe://example.org/b"), ..Filter::default() };
        assert_eq!(found(&w), every(|n| n >= 30));
        let o = Filter { operation: text("pay"), ..Filter::default() };
        assert_eq!(found(&o), every(|n| n % 3 == 0));
        assert_eq!(found(&Filter { user: text("alice"), ..Filter::default() }), every(|n| n % 4 == 0));
        let bob = Filter { user: text(r#"{"id":7,"name":"bob"}"#), ..Filter::default() };
        assert_eq!(found(&bob), every(|n| n % 4 == 1));
        assert_eq!(found(&Filter { taint: text("raw"), ..Filter::default() }), every(|n| n % 5 == 0));
        assert_eq!(found(&Filter { denied: Some(true), ..Filter::default() }), every(|n| n % 10 == 9));
        assert_eq!(found(&Filter { denied: Some(false), ..Filter::default() }), every(|n| n % 10 != 9));
        assert_eq!(found(&Filter { trace_id: Some(format!("{:032x}", 17)), ..Filter::default() }), [17]);
        let id = Filter { entry_id: text("01900000-0000-7000-8000-00000000000c"), ..Filter::default() };
        assert_eq!(found(&id), [12]);
        assert_eq!(found(&Filter { operation: text("nothing"), ..Filter::default() }), [0; 0]);
        assert_eq!(found(&Filter { limit: Some(3), ..o.clone() }), [0, 3, 6]);
        assert_eq!(found(&Filter { limit: Some(3), newest_first: true, ..o.clone() }), [57, 54, 51]);
        assert_eq!(found(&Filter { limit: Some(0), ..o.clone() }), [0; 0]);
        let taint = Filter { taint: text("pii"), newest_first: true, ..w.clone() };
        assert_eq!(found(&taint), [55, 50, 45, 40, 35, 30]);
        let middle = all[25].received_ms;
        for newest_first in [false, true] {
            let mut since: Vec<usize> = (0..60).filter(|n| all[*n].received_ms >= middle).collect();
            let mut until: Vec<usize> = (0..60).filter(|n| all[*n].received_ms < middle).collect();
            if newest_first {
                since.reverse();
                until.reverse();
            }
            assert_eq!(found(&Filter { since_ms: Some(middle), newest_first, ..Filter::default() }), since);
            assert_eq!(found(&Filter { until_ms: Some(middle), newest_first, ..Filter::default() }), until);
        }
        let future = Filter { since_ms: Some(u64::MAX), ..Filter::default() };
        assert_eq!(found(&future), [0; 0]);
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn times_are_found_although_the_clock_went_back() {
    use crate::support::{Kind, sample};

    let folder = Folder::new();
    let signer = signer("a");
    {
        let sink = Kind::Sqlite.open(folder.path()).unwrap();
        for number in 0..40 {
            sink.append(&sample(&signer, number).record()).unwrap();
        }
    }
    // Three runs, and one of a single entry: received 100…109, 105…114, 50, 60…78.
    let received = |seq: u64| match seq {
        1..=10 => 99 + seq,
        11..=20 => 94 + seq,
        21 => 50,
        _ => 38 + seq,
    };
    let db = rusqlite::Connection::open(Kind::Sqlite.path(folder.path())).unwrap();
    for seq in 1..=40_u64 {
        let values = [i64::try_from(received(seq)).unwrap(), i64::try_from(seq).unwrap()];
        db.execute("UPDATE entries SET received_ms = ?1 WHERE seq = ?2", values).unwrap();
    }
    db.execute_batch("DELETE FROM steps; INSERT INTO steps VALUES (11), (21)").unwrap();
    drop(db);
    let store = Kind::Sqlite.store(folder.path());
    for since_ms in [None, Some(0), Some(50), Some(51), Some(77), Some(100), Some(107), Some(112), Some(200)]
    {
        for until_ms in
            [None, Some(0), Some(50), Some(51), Some(78), Some(101), Some(106), Some(114), Some(200)]
        {
            for newest_first in [false, true] {
                let filter = Filter { since_ms, until_ms, newest_first, ..Filter::default() };
                let found: Vec<String> =
                    store.list(&filter).unwrap().map(|stored| stored.unwrap().place.to_string()).collect();
                let fits = |seq: &u64| {
                    since_ms.is_none_or(|since| received(*seq) >= since)
                        && until_ms.is_none_or(|until| received(*seq) < until)
                };
                let mut all: Vec<String> = (1..=40).filter(fits).map(|seq| format!("entry {seq}")).collect();
                if newest_first {
                    all.reverse();
                }
                assert_eq!(found, all, "{filter:?}");
            }
        }
    }
    let misfiled = |findings: Vec<kest_providers::audit::Finding>| {
        findings.iter().filter(|finding| finding.detail.contains("`steps`")).count()
    };
    assert_eq!(misfiled(read(&store).1), 0);
    let db = rusqlite::Connection::open(Kind::Sqlite.path(folder.path())).unwrap();
    db.execute_batch("DELETE FROM steps WHERE seq = 21").unwrap();
    drop(db);
    assert_eq!(misfiled(read(&store).1), 1);
}
