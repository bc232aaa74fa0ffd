//! Which keys belong beside entries, and which stand there.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use kest_core::audit::AuditRecord;
use kest_core::error::{AuditError, AuditErrorKind};
use kest_core::jws::Algorithm;
use kest_core::keys::{Jwk, Jwks, mock_kid};
use parking_lot::RwLock;
use serde::Deserialize;

use super::item::LONGEST_TEXT;

/// Public keys beside the entries that they verify.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct KeyRecord {
    pub(super) workload: String,
    /// A JWK set as JSON text.
    pub(super) jwks: String,
}

impl KeyRecord {
    /// Bytes it takes in a store, about.
    pub(super) fn size(&self) -> usize {
        const AROUND: usize = 160;
        self.jwks.len() + self.workload.len() + AROUND
    }
}

/// Remembers the keys of signers, so that providers are not asked at each entry.
#[derive(Debug, Default)]
pub(super) struct KnownKeys {
    /// By the protected header, which names the key: what is kept for one holds that key.
    headers: RwLock<HashMap<Box<str>, Arc<KeyRecord>>>,
}

impl KnownKeys {
    /// The keys that belong beside the record.
    pub(super) fn of(&self, record: &AuditRecord<'_>) -> Result<Arc<KeyRecord>, AuditError> {
        const MOST: usize = 1_024;
        if let Some(known) = self.headers.read().get(record.header())
            && *known.workload == *record.workload
        {
            return Ok(Arc::clone(known));
        }
        let cannot = |why: &dyn std::fmt::Display| {
            let workload = record.workload;
            let message = format!("the public keys of `{workload}` cannot be kept beside its entry: {why}");
            AuditError::new(AuditErrorKind::Keys, message)
        };
        let mut keys = record.public_keys().map_err(|error| cannot(&error).with_source(error))?;
        if !has_key_of(&mut keys, record.header()) {
            return Err(cannot(
                &"none of them is the one that it was signed with, by the thumbprint in its header; if the identity's \
                  key was exchanged meanwhile, call again",
            ));
        }
        let jwks = keys.to_json().to_string();
        if jwks.len() > LONGEST_TEXT {
            return Err(cannot(&format_args!("they are larger than {LONGEST_TEXT} bytes")));
        }
        let keys = Arc::new(KeyRecord { workload: record.workload.to_owned(), jwks });
        let mut headers = self.headers.write();
        if headers.len() >= MOST {
            headers.clear();
        }
        headers.insert(record.header().into(), Arc::clone(&keys));
        Ok(keys)
    }
}

/// Whether the key that a header names by its thumbprint (spec §3) is among the signer's as they are now. That of the
/// header's own certificate is added: with it an identity that has been renewed meanwhile costs no call.
fn has_key_of(keys: &mut Jwks, header: &str) -> bool {
    #[derive(Deserialize)]
    struct Header<'a> {
        alg: Cow<'a, str>,
        kid: Cow<'a, str>,
        #[serde(default)]
        x5c: Vec<Cow<'a, str>>,
    }

    let Ok(json) = URL_SAFE_NO_PAD.decode_to_vec(header) else { return false };
    let Ok(Header { alg, kid, x5c }) = serde_json::from_slice(&json) else { return false };
    // Everybody knows the mock's, and it is kept nowhere.
    if alg == Algorithm::Hs256.as_str() {
        return kid == mock_kid();
    }
    if keys.0.iter().any(|key| key.thumbprint() == kid) {
        return true;
    }
    let leaf = x5c.first().and_then(|leaf| STANDARD.decode_to_vec(leaf.as_bytes()).ok());
    let leaf = leaf.and_then(|der| Jwk::from_certificate(&der).ok()).filter(|key| key.thumbprint() == kid);
    let there = leaf.is_some();
    keys.0.extend(leaf);
    there
}

/// Keys that stand in a segment or a database.
#[derive(Debug, Default)]
pub(super) struct Kept {
    all: HashSet<Arc<KeyRecord>>,
    /// The same by address, for a quick answer. Held, so that no other gets the address.
    seen: HashMap<usize, Arc<KeyRecord>>,
}

impl Kept {
    pub(super) fn has(&mut self, keys: &Arc<KeyRecord>) -> bool {
        const MOST: usize = 1_024;
        let address = Arc::as_ptr(keys).addr();
        if self.seen.contains_key(&address) {
            return true;
        }
        if !self.all.contains(keys) {
            return false;
        }
        if self.seen.len() >= MOST {
            self.seen.clear();
        }
        self.seen.insert(address, Arc::clone(keys));
        true
    }

    pub(super) fn extend(&mut self, keys: impl IntoIterator<Item = Arc<KeyRecord>>) {
        self.all.extend(keys);
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kest_core::error::IdentityError;
    use kest_core::identity::{BoxFuture, IdentityProvider};
    use kest_core::jws::{EncodedHeader, Jws};

    use super::*;
    use crate::identity::LocalEd25519Provider;

    /// Signs with one key after the other.
    #[derive(Debug)]
    struct Rotating {
        keys: [LocalEd25519Provider; 2],
        now: AtomicUsize,
    }

    impl Rotating {
        fn new() -> Self {
            let keys = [(); 2].map(|()| LocalEd25519Provider::new().unwrap());
            Self { keys, now: AtomicUsize::new(0) }
        }

        fn rotate(&self) {
            self.now.fetch_xor(1, Ordering::SeqCst);
        }

        fn key(&self) -> &LocalEd25519Provider {
            &self.keys[self.now.load(Ordering::SeqCst)]
        }
    }

    impl IdentityProvider for Rotating {
        fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
            Ok("spiffe://example.org/shop".into())
        }

        fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
            self.key().sign(payload)
        }

        fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
            self.key().sign_async(payload)
        }

        fn public_keys(&self) -> Result<Jwks, IdentityError> {
            self.key().public_keys()
        }
    }

    #[test]
    fn beside_an_entry_stands_the_key_that_it_was_signed_with() {
        let (signer, known) = (Rotating::new(), KnownKeys::default());
        let thumbprint = |number: usize| signer.keys[number].public_keys().unwrap().0[0].thumbprint();
        let of = |jws: &Jws| {
            let hash = jws.hash();
            let record = AuditRecord::new(jws.as_str(), &hash, "id", "w", &signer);
            known.of(&record).map(|keys| keys.jwks.clone()).map_err(|e| (e.kind(), e.to_string()))
        };
        let first = signer.sign(b"{}").unwrap();
        // Before the keys were asked for.
        signer.rotate();
        let (kind, message) = of(&first).unwrap_err();
        assert_eq!(kind, AuditErrorKind::Keys);
        assert!(message.contains("exchanged meanwhile"), "{message}");
        let second = signer.sign(b"{}").unwrap();
        let jwks = of(&second).unwrap();
        assert!(jwks.contains(&thumbprint(1)) && !jwks.contains(&thumbprint(0)), "{jwks}");
        // What was refused was not remembered either.
        assert_eq!(of(&first).unwrap_err().0, AuditErrorKind::Keys);
        signer.rotate();
        for jws in [&first, &second, &first] {
            let key = thumbprint(usize::from(jws == &second));
            assert!(of(jws).unwrap().contains(&key));
        }
    }

    #[test]
    fn a_key_is_had_from_the_certificate_that_an_entry_brings() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap();
        let key = Jwk::from_certificate(certificate.der()).unwrap();
        let header = |kid: &str| {
            let header = EncodedHeader::with_x5c(Algorithm::EdDsa, kid, &[certificate.der().to_vec()]);
            header.signing_input(b"").trim_end_matches('.').to_owned()
        };
        let mut keys = Jwks::default();
        assert!(!has_key_of(&mut keys, &header("another")));
        assert_eq!(keys, Jwks::default());
        assert!(has_key_of(&mut keys, &header(&key.thumbprint())));
        assert_eq!(keys.0, [key]);
        let mock = |kid: &str| EncodedHeader::new(Algorithm::Hs256, kid).signing_input(b"");
        assert!(has_key_of(&mut Jwks::default(), mock(mock_kid()).trim_end_matches('.')));
        assert!(!has_key_of(&mut Jwks::default(), mock("another").trim_end_matches('.')));
        assert!(!has_key_of(&mut keys, "no header"));
    }

    #[test]
    fn keys_are_known_by_what_they_say() {
        let record =
            |workload: &str| Arc::new(KeyRecord { workload: workload.to_owned(), jwks: "{}".to_owned() });
        let (a, same, b) = (record("a"), record("a"), record("b"));
        let mut kept = Kept::default();
        assert!(!kept.has(&a));
        kept.extend([Arc::clone(&a)]);
        assert!(kept.has(&a) && kept.has(&same) && !kept.has(&b));
        assert_eq!(kept.len(), 1);
    }
}
