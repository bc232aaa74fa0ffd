//! Identities of OpenID Connect: a subject is one only within its issuer. Spec §10.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;

use std::sync::Arc;

use kest_core::entry::KestEntry;
use kest_core::error::IdentityError;
use kest_core::identity::{BoxFuture, IdentityAttributes, IdentityProvider, OidcSubject};
use kest_core::jws::Jws;
use kest_core::keys::{Jwk, Jwks};
use kest_core::verify::{Anchors, Authority, Grant, KeySource, ProviderKeys, Verifier, VerifierBuilder};
use serde_json::{Value, json};
use verify_support::{Workload, name_of, passport};

const OURS: &str = "https://issuer.example";
const EVIL: &str = "https://evil.example";

fn admin(key: u8) -> Workload {
    Workload { id: "admin".to_owned(), ..Workload::new(key) }
}

fn of(w: &Workload, issuer: &str, number: u64) -> Value {
    let mut payload = w.root(number);
    payload["labels"]["kest.oidc.iss"] = json!(issuer);
    payload["labels"]["kest.oidc.sub"] = json!(w.id);
    payload
}

fn anchored(anchors: &[(&str, &Workload)]) -> VerifierBuilder {
    let mut map = Anchors::new();
    for (name, w) in anchors {
        map.insert(name, Jwks(vec![w.jwk()])).unwrap();
    }
    Verifier::builder().keys(map)
}

fn refused<S: ToString>(entries: &[S], builder: VerifierBuilder) -> String {
    name_of(passport(entries).verify(&builder.build()).unwrap_err().failure())
}

#[test]
fn a_name_is_issuer_and_subject() {
    let w = admin(1);
    let read = |payload: &Value| KestEntry::from_payload(&kest_core::canonical::to_vec(payload).unwrap());
    assert_eq!(read(&of(&w, OURS, 0)).unwrap().anchored_as(), "https://issuer.example#admin");
    assert_eq!(read(&w.root(0)).unwrap().anchored_as(), "admin");
    let subject = OidcSubject { issuer: OURS.into(), subject: "admin".into() };
    assert_eq!(subject.anchored_as(), "https://issuer.example#admin");
}

#[test]
fn the_same_subject_of_two_issuers_is_two_principals() {
    let (ours, theirs) = (admin(1), admin(2));
    let names = [("https://issuer.example#admin", &ours), ("https://evil.example#admin", &theirs)];
    // The same entry id: unique for each principal, and these are two.
    let entries = [ours.sign(&of(&ours, OURS, 0)), theirs.sign(&of(&theirs, EVIL, 0))];
    let verified = passport(&entries).verify(&anchored(&names).build()).unwrap();
    assert_eq!(verified.report().identity.reason, "all 2 principals are anchored");
    // Neither signs for the other.
    assert_eq!(refused(&[theirs.sign(&of(&theirs, OURS, 0))], anchored(&names)), "UnknownKey");
    let twice = [
        ours.sign(&of(&ours, OURS, 0)),
        ours.sign(&{
            let mut again = of(&ours, OURS, 0);
            again["timestamp_ms"] = json!(5);
            again
        }),
    ];
    assert_eq!(refused(&twice, anchored(&names)), "RepeatedEntryId");
}

#[test]
fn the_bare_subject_is_nobody() {
    let w = admin(1);
    let entry = w.sign(&of(&w, EVIL, 0));
    // A plain workload of that name is anchored, and it is somebody else.
    assert_eq!(refused(&[&entry], anchored(&[("admin", &w)])), "UnknownPrincipal");
    assert_eq!(
        refused(&[w.sign(&w.root(0))], anchored(&[("https://evil.example#admin", &w)])),
        "UnknownPrincipal"
    );
}

#[test]
fn authority_is_of_the_issuers_subject() {
    let w = admin(1);
    let rules = |rules: &[(&str, Grant)]| Authority::new(rules.iter().copied()).unwrap();
    let score = |issuer: &str, authority: Authority| {
        let name = format!("{issuer}#admin");
        let builder = anchored(&[(&name, &w)]).authority(authority);
        let verified = passport(&[w.sign(&of(&w, issuer, 0))]).verify(&builder.build()).unwrap();
        verified.effective()[0].trust_score
    };
    // What `admin` may do says nothing of the `admin` of an issuer.
    assert_eq!(score(EVIL, rules(&[("admin", Grant::own())])), 0);
    assert_eq!(score(OURS, rules(&[("https://issuer.example#admin", Grant::own())])), 80);
    assert_eq!(score(EVIL, rules(&[("https://issuer.example#admin", Grant::own())])), 0);
    // All subjects of an issuer.
    assert_eq!(score(OURS, rules(&[("https://issuer.example#*", Grant::own())])), 80);
    assert_eq!(score(EVIL, rules(&[("https://issuer.example#*", Grant::own())])), 0);
    assert_eq!(score("https://issuer.example.evil", rules(&[("https://issuer.example#*", Grant::own())])), 0);
}

#[test]
fn half_an_identity_is_none() {
    let w = admin(1);
    let names = ["admin", "https://issuer.example#admin", "#admin", "https://issuer.example#"];
    let names: Vec<(&str, &Workload)> = names.into_iter().map(|name| (name, &w)).collect();
    let cases: [fn(&mut Value); 8] = [
        |labels| drop(labels.as_object_mut().unwrap().remove("kest.oidc.sub")),
        |labels| drop(labels.as_object_mut().unwrap().remove("kest.oidc.iss")),
        |labels| labels["kest.oidc.sub"] = json!("other"),
        |labels| labels["kest.oidc.sub"] = json!(""),
        |labels| labels["kest.oidc.iss"] = json!(""),
        |labels| labels["kest.oidc.iss"] = json!("https://issuer.example#a"),
        |labels| labels["kest.oidc.iss"] = Value::Null,
        |labels| labels["kest.oidc.sub"] = json!(7),
    ];
    for (number, change) in cases.into_iter().enumerate() {
        let mut payload = of(&w, OURS, 0);
        change(&mut payload["labels"]);
        for payload in [payload.clone(), Workload::foreign(payload)] {
            assert_eq!(refused(&[w.sign(&payload)], anchored(&names)), "Schema/Label", "{number}");
        }
    }
    // Of another implementation, and whole.
    let foreign = w.sign(&Workload::foreign(of(&w, OURS, 0)));
    passport(&[foreign]).verify(&anchored(&names).build()).unwrap();
}

#[derive(Debug)]
struct Provider(Jwk, IdentityAttributes);

impl IdentityProvider for Provider {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        Ok("admin".into())
    }

    fn sign(&self, _payload: &[u8]) -> Result<Jws, IdentityError> {
        unreachable!("only its keys are asked for")
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(std::future::ready(self.sign(payload)))
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        Ok(Jwks(vec![self.0.clone()]))
    }

    fn attributes(&self) -> Option<&IdentityAttributes> {
        Some(&self.1)
    }
}

#[test]
fn a_provider_is_anchored_under_its_whole_name() {
    let w = admin(1);
    let oidc = Some(OidcSubject { issuer: OURS.into(), subject: "admin".into() });
    let provider = Provider(w.jwk(), IdentityAttributes { oidc, ..IdentityAttributes::default() });
    let anchors = Anchors::from_provider(&provider).unwrap();
    assert_eq!(anchors.principals().collect::<Vec<_>>(), ["https://issuer.example#admin"]);
    let live = ProviderKeys::new(Arc::new(provider));
    assert!(live.keys("admin").unwrap().is_none());
    let entry = w.sign(&of(&w, OURS, 0));
    passport(&[entry]).verify(&Verifier::new(live)).unwrap();
    let plain = Provider(w.jwk(), IdentityAttributes::default());
    let anchors = Anchors::from_provider(&plain).unwrap();
    assert_eq!(anchors.principals().collect::<Vec<_>>(), ["admin"]);
}
