//! A service asks two others at the same time, and joins the lineage that they give back.

use kest::verify::VerifiedPassport;
use kest_lab::{Call, Folder, Lab, Plan, Step, Via, audit, local_anchors, local_id};
use serde_json::{Value, json};

use crate::attested::attested;
use crate::{bearer, host, local, provider, start};

/// What follows the calls comes after what both callees did last.
fn joined(passport: &VerifiedPassport, serialized: &Value, callees: [&str; 2]) {
    let hashes: Vec<String> = passport.passport().entries().iter().map(kest::PassportEntry::hash).collect();
    let entries = passport.entries();
    assert_eq!(entries.len(), 4, "{serialized:#}");
    assert_eq!(&*entries[0].operation, "b");
    assert_eq!(&*entries[3].operation, "repeated");
    let mut parents = entries[3].parent_ids();
    parents.sort();
    let mut tips = vec![hashes[1].clone(), hashes[2].clone()];
    tips.sort();
    assert_eq!(parents, tips);
    let mut between = [&*entries[1].operation, &*entries[2].operation];
    between.sort_unstable();
    assert_eq!(between, callees);
    for entry in &entries[1..3] {
        assert_eq!(entry.parent_ids(), [hashes[0].clone()]);
    }
}

fn to(via: Via, origin: String, peer: Option<String>) -> Call {
    Call { via, origin, peer, plan: Plan::default() }
}

#[test]
fn over_plain_connections_callees_are_named() {
    let Some(_) = Lab::from_env() else { return };
    let folder = Folder::new();
    let names = ["b", "c", "d"];
    let [mut b, mut c, mut d] = names.map(|name| local(name, &names));
    for config in [&mut b, &mut c, &mut d] {
        config.returned = true;
    }
    b.hosts = vec![host(&c), host(&d)];
    b.callees = vec![(host(&c), local_id("c")), (host(&d), local_id("d"))];
    let [b, c, d] = [b, c, d].map(|config| start(&folder, config));
    for second in [Via::Http1, Via::Http2, Via::Grpc] {
        let plan = Step::Join(vec![to(Via::Http1, c.origin(), None), to(second, d.origin(), None)]);
        let answer = b.ask(&[], [plan]).good();
        let passport = &answer["passport"];
        joined(&audit(passport, &local_anchors(&names)), passport, ["c", "d"]);
    }
}

#[test]
fn over_mutual_tls_the_connection_says_who_answered() {
    let Some(lab) = Lab::from_env() else { return };
    let (spire, provider) = (attested(&lab), provider(&lab));
    let [mut b, mut c, mut d] = ["fan-b", "fan-c", "fan-d"].map(|name| spire.config(name));
    for (config, operation) in [(&mut b, "b"), (&mut c, "c"), (&mut d, "d")] {
        config.returned = true;
        config.operation = Some(operation.to_owned());
    }
    b.issuer = Some(provider.issuer());
    b.hosts = vec![host(&c), host(&d)];
    c.tls = true;
    d.tls = true;
    let [b, c, d] = [b, c, d].map(|config| spire.start(config));
    let alice = bearer(&provider, json!({ "user": "alice" }));
    for (via, peer) in [(Via::Mtls, None), (Via::MtlsGrpc, None), (Via::PinnedGrpc, Some(spire.id("fan-d")))]
    {
        let plan = Step::Join(vec![to(Via::Mtls, c.origin(), None), to(via, d.origin(), peer)]);
        let answer = b.ask(&[("authorization", &alice)], [plan]).good();
        let passport = &answer["passport"];
        let verified = spire.audit(passport);
        joined(&verified, passport, ["c", "d"]);
        // What comes back from nobody known counts for 40 at most.
        assert_eq!(verified.entries()[3].trust_score, 50, "{via:?}");
    }
}
