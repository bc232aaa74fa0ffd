//! Certificate authorities and SVIDs for the fake agent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, RsaKeySize, SanType,
};
use time::OffsetDateTime;

use super::proto;

/// The authority of a trust domain.
pub(crate) struct Ca {
    pub(crate) domain: String,
    pub(crate) der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// An SVID that can be sent.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) id: String,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) pkcs8: Vec<u8>,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new(domain: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority(domain, "root");
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { domain: domain.to_owned(), der, issuer: Issuer::new(params, key) }
    }

    /// An authority below this one: its certificate, and what it signs with.
    pub(crate) fn intermediate(&self, change: impl FnOnce(&mut CertificateParams)) -> (Vec<u8>, Self) {
        let key = KeyPair::generate().unwrap();
        let mut params = authority(&self.domain, "intermediate");
        change(&mut params);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        (der.clone(), Self { domain: self.domain.clone(), der, issuer: Issuer::new(params, key) })
    }

    /// The SVID of `/path`, for an hour.
    pub(crate) fn svid(&self, path: &str) -> Issued {
        self.svid_for(path, Duration::from_secs(3_600))
    }

    /// The SVID of `/path`, for a while from now.
    pub(crate) fn svid_for(&self, path: &str, valid: Duration) -> Issued {
        self.issue(KeyPair::generate().unwrap(), path, |params| params.not_after = at(valid))
    }

    pub(crate) fn svid_rsa(&self, path: &str) -> Issued {
        self.issue(
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
            path,
            |_| {},
        )
    }

    /// An SVID that `change` has spoiled, or not.
    pub(crate) fn issue(
        &self,
        key: KeyPair,
        path: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let id = format!("spiffe://{}{path}", self.domain);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![uri(&id)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = OffsetDateTime::now_utc() - Duration::from_secs(30);
        params.not_after = at(Duration::from_secs(3_600));
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Issued { id, chain: vec![leaf.der().to_vec()], pkcs8: key.serialize_der(), pem: key.serialize_pem() }
    }

    /// What an agent sends for an SVID of this domain.
    pub(crate) fn update(&self, svid: &Issued) -> proto::X509SvidResponse {
        let svid = proto::X509Svid {
            spiffe_id: svid.id.clone(),
            x509_svid: svid.chain.concat(),
            x509_svid_key: svid.pkcs8.clone(),
            bundle: self.der.clone(),
            hint: String::new(),
        };
        proto::X509SvidResponse { svids: vec![svid], ..Default::default() }
    }
}

impl Issued {
    /// With certificates after its own.
    pub(crate) fn through(mut self, intermediates: &[&[u8]]) -> Self {
        self.chain.extend(intermediates.iter().map(|der| der.to_vec()));
        self
    }
}

pub(crate) fn uri(uri: &str) -> SanType {
    SanType::URI(Ia5String::try_from(uri).unwrap())
}

/// That much after now.
pub(crate) fn at(after: Duration) -> OffsetDateTime {
    OffsetDateTime::now_utc() + after
}

pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn authority(domain: &str, name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, domain);
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![uri(&format!("spiffe://{domain}"))];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
