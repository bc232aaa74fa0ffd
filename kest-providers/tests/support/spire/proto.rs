//! The messages of the SPIFFE Workload API that the tests send. SPIFFE Workload API §5, §6.

use std::collections::HashMap;

/// `X509SVIDResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct X509SvidResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) svids: Vec<X509Svid>,
    #[prost(map = "string, bytes", tag = "3")]
    pub(crate) federated_bundles: HashMap<String, Vec<u8>>,
}

/// `X509SVID`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct X509Svid {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) x509_svid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) x509_svid_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) bundle: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(crate) hint: String,
}

/// `JWTBundlesResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct JwtBundlesResponse {
    #[prost(map = "string, bytes", tag = "1")]
    pub(crate) bundles: HashMap<String, Vec<u8>>,
}

impl X509SvidResponse {
    /// With the authorities of a federated trust domain.
    pub(crate) fn federated(mut self, domain: &str, bundle: Vec<u8>) -> Self {
        self.federated_bundles.insert(format!("spiffe://{domain}"), bundle);
        self
    }

    /// With the SVIDs of another answer after one's own.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.svids.extend(other.svids);
        self
    }

    /// With a hint on its first SVID.
    pub(crate) fn hinted(mut self, hint: &str) -> Self {
        self.svids[0].hint = hint.to_owned();
        self
    }
}
