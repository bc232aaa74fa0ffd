//! What a filter finds is what it fits, whatever the blocks.

use std::cell::Cell;

use kest_core::canonical;
use kest_core::identity::IdentityProvider as _;
use kest_core::jws::Jws;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rusqlite::Connection;
use serde_json::json;

use super::super::head::Head;
use super::super::retire::delete_before;
use super::{Folder, append, small_blocks};
use crate::audit::{Filter, Store};
use crate::identity::LocalEd25519Provider;

/// What an entry says.
#[derive(Debug, Clone)]
pub(super) struct Says {
    pub(super) workload: usize,
    pub(super) operation: usize,
    pub(super) user: Option<usize>,
    pub(super) taints: Vec<bool>,
    pub(super) denied: bool,
    pub(super) trace: usize,
}

const TAINTS: [&str; 3] = ["pii", "raw", "unverified"];

impl Says {
    pub(super) fn taints(&self) -> Vec<&'static str> {
        TAINTS.into_iter().zip(&self.taints).filter_map(|(taint, has)| has.then_some(taint)).collect()
    }

    pub(super) fn sign(&self, signers: &[LocalEd25519Provider], number: usize) -> Jws {
        let signer = &signers[self.workload];
        let mut labels = json!({
            "principal": &*signer.workload_id().unwrap(), "trace_id": format!("{:032x}", self.trace),
        });
        if let Some(user) = self.user {
            labels["kest.identity"] = format!("{{\"user\":\"user-{user}\"}}").into();
        }
        let mut metadata = json!({
            "function": "shop::pay", "policies": {},
            "trust": { "model": "guide", "override": null, "source_type": "system" },
        });
        if self.denied {
            metadata["denied"] = json!({ "policy": "kest", "reason": null, "tier": "function" });
        }
        let payload = json!({
            "added_taints": self.taints(), "classification": if self.denied { "denial" } else { "system" },
            "content_hash": "", "entry_id": id(number), "environment": {}, "input_hash": "", "labels": labels,
            "metadata": metadata, "operation": format!("step-{}", self.operation), "otel_context": {},
            "parent_ids": ["0"],
            "policy_context": {
                "app_policies": [], "deviations": [], "enterprise_policies": [], "function_policies": ["kest"],
                "platform_policies": [],
            },
            "removed_taints": [], "runtime": { "name": "kest-rust", "version": "0.1.0" },
            "schema_version": "0.3.0", "taints": self.taints(), "timestamp_ms": 1_795_304_503_000_u64,
            "trust_score": 100,
        });
        signer.sign(&canonical::to_vec(&payload).unwrap()).unwrap()
    }
}

pub(super) fn id(number: usize) -> String {
    format!("01900000-0000-7000-8000-{number:012x}")
}

pub(super) fn signers() -> Vec<LocalEd25519Provider> {
    ["a", "b"]
        .map(|name| {
            LocalEd25519Provider::new().unwrap().with_workload_id(format!("spiffe://example.org/{name}"))
        })
        .into()
}

fn says() -> impl Strategy<Value = Says> {
    let taints = proptest::collection::vec(any::<bool>(), TAINTS.len());
    let user = proptest::option::of(0..3_usize);
    (0..2_usize, 0..3_usize, user, taints, proptest::bool::weighted(0.2), 0..6_usize).prop_map(
        |(workload, operation, user, taints, denied, trace)| Says {
            workload,
            operation,
            user,
            taints,
            denied,
            trace,
        },
    )
}

/// One more of each than there are, so that some are looked for in vain.
fn filter() -> impl Strategy<Value = Filter> {
    let rarely = |most: usize| proptest::option::weighted(0.3, 0..most);
    let texts = (rarely(80), rarely(7), rarely(3), rarely(4), rarely(4), rarely(4));
    let rest = (
        proptest::option::weighted(0.3, any::<bool>()),
        any::<bool>(),
        proptest::option::weighted(0.3, 0..9_usize),
        proptest::option::weighted(0.3, 0..60_u64),
        proptest::option::weighted(0.3, 0..60_u64),
    );
    (texts, rest).prop_map(
        |(
            (entry, trace, workload, operation, user, taint),
            (denied, newest_first, limit, since_ms, until_ms),
        )| Filter {
            since_ms,
            until_ms,
            entry_id: entry.map(id),
            trace_id: trace.map(|trace| format!("{trace:032x}")),
            workload: workload.map(|index| format!("spiffe://example.org/{}", ["a", "b", "c"][index])),
            operation: operation.map(|operation| format!("step-{operation}")),
            user: user.map(|user| format!("user-{user}")),
            taint: taint.map(|taint| ["pii", "raw", "unverified", "other"][taint].to_owned()),
            denied,
            newest_first,
            limit,
        },
    )
}

/// What the filter says, without a look at how stores do it.
fn fits(filter: &Filter, number: usize, says: &Says, received_ms: u64) -> bool {
    let same = |wanted: &Option<String>, found: Option<String>| wanted.is_none() || *wanted == found;
    filter.since_ms.is_none_or(|since| received_ms >= since)
        && filter.until_ms.is_none_or(|until| received_ms < until)
        && same(&filter.entry_id, Some(id(number)))
        && same(&filter.trace_id, Some(format!("{:032x}", says.trace)))
        && same(&filter.workload, Some(format!("spiffe://example.org/{}", ["a", "b"][says.workload])))
        && same(&filter.operation, Some(format!("step-{}", says.operation)))
        && same(&filter.user, says.user.map(|user| format!("user-{user}")))
        && filter.taint.as_ref().is_none_or(|taint| says.taints().contains(&&**taint))
        && filter.denied.is_none_or(|denied| denied == says.denied)
}

#[test]
fn a_filter_finds_what_fits_whatever_the_blocks_and_what_retention_took() {
    let signers = signers();
    let entries = proptest::collection::vec((says(), 0..4_u64, proptest::bool::weighted(0.05)), 1..70);
    let filters = proptest::collection::vec(filter(), 30);
    let cut = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(40) });
    let strategy = (entries, 1..24_u16, cut, filters);
    let (complete, found_in_all) = (Cell::new(0), Cell::new(0));
    let ran = runner.run(&strategy, |(entries, block, (reopened, cut), filters)| {
        let folder = Folder::new();
        let file = folder.0.join("audit.sqlite");
        let reopened = reopened.index(entries.len());
        let mut gone = 0;
        let mut sink = small_blocks(&file, block).open().unwrap();
        for (number, (says, ..)) in entries.iter().enumerate() {
            if number == reopened && number > 0 {
                // The next has the terms of the block under way from its rows, which retention may have cut.
                drop(sink);
                gone = cut.index(number);
                let mut db = Connection::open(&file).unwrap();
                let mut head = Head::read(&db).unwrap();
                delete_before(&mut db, &mut head, gone as i64, u64::MAX, 1).unwrap();
                drop(db);
                sink = small_blocks(&file, 1_000).open().unwrap();
            }
            append(&sink, &signers[says.workload], &says.sign(&signers, number));
        }
        drop(sink);
        let store = Store::open(&file).unwrap();
        let findings: Vec<_> =
            store.scan().unwrap().filter(|seen| !matches!(seen, Ok(crate::audit::Seen::Entry(_)))).collect();
        prop_assert!(findings.is_empty(), "{findings:?}");
        // Times of which each is known, and that now and then go back.
        let db = Connection::open(&file).unwrap();
        db.execute("DELETE FROM steps", []).unwrap();
        let (mut now, mut received) = (20, Vec::new());
        for (number, (_, later, back)) in entries.iter().enumerate() {
            if *back && number > 0 {
                now -= 10_u64.min(now);
            } else {
                now += later;
            }
            let seq = number as i64 + 1;
            if received.last().is_none_or(|last| now < *last) {
                db.execute("INSERT INTO steps VALUES (?1)", [seq]).unwrap();
            }
            received.push(now);
            db.execute("UPDATE entries SET received_ms = ?1 WHERE seq = ?2", [now as i64, seq]).unwrap();
        }
        let postings: u32 = db.query_row("SELECT count(*) FROM postings", [], |row| row.get(0)).unwrap();
        complete.set(complete.get() + postings);
        drop(db);
        for filter in &filters {
            let mut wanted: Vec<String> = entries
                .iter()
                .enumerate()
                .skip(gone)
                .filter(|(number, (says, ..))| fits(filter, *number, says, received[*number]))
                .map(|(number, _)| format!("entry {}", number + 1))
                .collect();
            if filter.newest_first {
                wanted.reverse();
            }
            wanted.truncate(filter.limit.unwrap_or(usize::MAX));
            let listed: Vec<String> =
                store.list(filter).unwrap().map(|stored| stored.unwrap().place.to_string()).collect();
            found_in_all.set(found_in_all.get() + listed.len());
            prop_assert_eq!(&listed, &wanted, "{:?}", filter);
        }
        Ok(())
    });
    ran.unwrap();
    let (complete, found_in_all) = (complete.get(), found_in_all.get());
    assert!(complete > 300 && found_in_all > 500, "{complete} postings, {found_in_all} found");
}
