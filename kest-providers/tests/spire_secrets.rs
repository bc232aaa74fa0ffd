//! That nothing which a `SpireProvider` shows or logs has a private key or a token in it.
#![cfg(feature = "spire")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/spire/mod.rs"]
mod support;

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use kest_core::identity::{IdentityProvider, Svid};
use kest_providers::identity::spire::{TlsContext, TlsRole};
use support::pki::{Ca, Issued};
use support::{Agent, PERMISSION_DENIED, Say, eventually_async, proto};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Everything that is logged in this process, at every level, by every crate.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0.lock().unwrap(), "{}={value:?} {value:#?} ", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
        self.0.lock().unwrap().push('\n');
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// How the bytes of a secret could be written.
fn spellings(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = |separator: &str| secret.iter().map(u8::to_string).collect::<Vec<_>>().join(separator);
    let mut all = vec![hex.to_uppercase(), hex, list(",")];
    all.extend([format!("{secret:x?}"), format!("{secret:02x?}"), format!("{secret:02X?}")].map(inner));
    all.push(inner(format!("{secret:#04x?}")).trim_end_matches(',').to_owned());
    for escaped in [secret.escape_ascii().to_string(), inner_of_bytes(secret)] {
        // Escaped once more where a text is shown by its own `Debug`.
        let again = format!("{escaped:?}");
        all.push(flat(&again[1..again.len() - 1]));
        all.push(flat(&escaped));
    }
    // Base64 of something larger: of the three ways to stand in it each has a middle of its own.
    for start in 0..3 {
        let middle = &secret[start..start + (secret.len() - start) / 3 * 3];
        all.push(STANDARD.encode_to_string(middle));
        all.push(URL_SAFE_NO_PAD.encode_to_string(middle));
    }
    all
}

/// Without white space, with which `{:#?}` sets each byte on a line of its own, at any depth.
fn flat(shown: &str) -> String {
    shown.chars().filter(|char| !char.is_whitespace()).collect()
}

/// A list without its brackets.
fn inner(list: String) -> String {
    flat(&list).trim_matches(['[', ']']).to_owned()
}

/// What stands in `b"…"`.
fn inner_of_bytes(secret: &[u8]) -> String {
    let shown = format!("{:?}", prost::bytes::Bytes::copy_from_slice(secret));
    shown.strip_prefix("b\"").unwrap().strip_suffix('"').unwrap().to_owned()
}

/// The private number of a P-256 key in PKCS#8: RFC 5915 §3, an OCTET STRING of 32 bytes after the version.
fn scalar(svid: &Issued) -> &[u8] {
    let at = svid.pkcs8.windows(5).position(|window| window == [2, 1, 1, 4, 32]).unwrap() + 5;
    &svid.pkcs8[at..at + 32]
}

fn assert_clean(shown: &str, secrets: &[Vec<String>]) {
    let shown = flat(shown);
    for spelling in secrets.iter().flatten() {
        assert!(!shown.contains(spelling.as_str()), "a secret is shown as {spelling}");
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let svid = Ca::new("own.test").svid("/a");
    let secrets = [spellings(scalar(&svid))];
    let hex: String = svid.pkcs8.iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = [
        format!("{:?}", svid.pkcs8),
        format!("{:#?}", svid.pkcs8),
        format!("{:#?}", Some([Some(&svid.pkcs8)])),
        format!("{:02x?}", svid.pkcs8),
        format!("{:#04x?}", svid.pkcs8),
        format!("{:?}", prost::bytes::Bytes::from(svid.pkcs8.clone())),
        format!("{:?}", format!("{:?}", prost::bytes::Bytes::from(svid.pkcs8.clone()))),
        svid.pkcs8.escape_ascii().to_string(),
        hex,
        svid.pem.clone(),
        URL_SAFE_NO_PAD.encode_to_string(&svid.pkcs8),
    ];
    for shown in shown.map(|shown| flat(&shown)) {
        assert!(secrets[0].iter().any(|spelling| shown.contains(spelling.as_str())), "{shown}");
    }
}

#[test]
fn no_key_and_no_token_is_ever_shown() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let ca = Ca::new("own.test");
    let mut svids: Vec<Issued> = (0..3).map(|_| ca.svid("/a")).collect();
    let token = "eyJhbGciOiJFUzI1NiJ9.c2VjcmV0LXBheWxvYWQ.c2VjcmV0LXNpZ25hdHVyZQ";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shown = runtime.block_on(async {
        let mut shown = String::new();
        let agent = Agent::with(&ca.update(&svids[0]));
        agent.send_jwt(&proto::JwtBundlesResponse {
            bundles: [("spiffe://own.test".to_owned(), b"{\"keys\":[]}".to_vec())].into(),
        });
        let provider = agent.provider();
        let mut show = |value: &dyn fmt::Debug| write!(shown, "{value:?}\n{value:#?}\n").unwrap();
        show(&provider);
        provider.register_rotation_callback(async |svid| Err(format!("{svid:?}").into())).unwrap();
        for svid in &svids[..3] {
            agent.send(&ca.update(svid));
            eventually_async("it rotates", async || {
                provider.get_svid().await.unwrap().chain()[0] == svid.chain[0]
            })
            .await;
            show(&provider);
            show(&provider.get_svid().await.unwrap());
        }
        for role in [TlsRole::Client, TlsRole::Server] {
            let context = provider.create_tls_context(role).await.unwrap();
            show(&context);
            match context {
                TlsContext::Client(config) => show(&config.client_auth_cert_resolver.resolve(&[], &[])),
                TlsContext::Server(config) => show(&config),
                _ => panic!(),
            }
        }
        let document = Svid::Jwt { token, audience: "orders" };
        show(&document);
        let error = provider.verify_svid(document).await.unwrap_err();
        show(&error);
        // Answers that cannot be used, with a key in them.
        for spoil in [0, 1, 2] {
            let mut update = ca.update(&svids[spoil]);
            let entry = &mut update.svids[0];
            match spoil {
                0 => entry.x509_svid_key.insert(0, 0x31),
                1 => entry.x509_svid.truncate(100),
                _ => entry.x509_svid = svids[0].chain[0].clone(),
            }
            let before = agent.x509_streams();
            agent.send(&update);
            if spoil < 2 {
                eventually_async("it asks again", async || agent.x509_streams() > before).await;
            }
            let fresh = agent.impatient();
            show(&fresh.get_svid().await.unwrap_err());
            show(&fresh);
        }
        svids.push(ca.svid_for("/a", Duration::from_secs(5)));
        agent.send(&ca.update(&svids[3]));
        eventually_async("it takes the last", async || {
            provider.get_svid().await.unwrap().chain()[0] == svids[3].chain[0]
        })
        .await;
        agent.say(Say::Status(PERMISSION_DENIED, "no identity issued"));
        eventually_async("it expires", async || provider.get_svid().await.is_err()).await;
        show(&provider.get_svid().await.unwrap_err());
        provider.shutdown().await;
        show(&provider);
        shown
    });
    let mut secrets: Vec<Vec<String>> = svids.iter().map(|svid| spellings(scalar(svid))).collect();
    let lines =
        |svid: &Issued| svid.pem.lines().filter(|line| !line.starts_with("---")).map(str::to_owned).collect();
    secrets.extend(svids.iter().map(lines));
    secrets.push(vec![
        token.to_owned(),
        "c2VjcmV0LXBheWxvYWQ".to_owned(),
        "c2VjcmV0LXNpZ25hdHVyZQ".to_owned(),
    ]);
    assert_eq!(secrets.len(), 9);
    let logged = log.0.lock().unwrap().clone();
    // Both have something in them that could have been one.
    assert!(
        shown.contains("spiffe://own.test/a") && logged.contains("SVID rotated"),
        "nothing was looked at"
    );
    assert!(logged.contains("a rotation callback failed"));
    assert_clean(&shown, &secrets);
    assert_clean(&logged, &secrets);
}
