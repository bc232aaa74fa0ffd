//! Hops whose identities come from SPIRE.

use std::sync::OnceLock;

use kest::verify::{TrustBundles, UnverifiedPassport, VerifiedPassport, Verifier};
use kest_lab::{Agent, Domain, Entry, Folder, Hop, HopConfig, KeyType, Lab, free_port};
use serde_json::Value;

use crate::program;

/// A trust domain, shared by the tests that need one.
pub(crate) struct Attested {
    folder: Folder,
    domain: Domain,
    agent: Agent,
}

pub(crate) fn attested(lab: &Lab) -> &'static Attested {
    static ATTESTED: OnceLock<Attested> = OnceLock::new();
    ATTESTED.get_or_init(|| {
        let folder = Folder::new();
        let domain = Domain::start(lab, &folder, "kest.internal");
        let agent = domain.agent("agent", KeyType::EcP256);
        Attested { folder, domain, agent }
    })
}

impl Attested {
    /// A hop of this name; each name can be had once. It is bound to nobody but its peers.
    pub(crate) fn config(&self, name: &str) -> HopConfig {
        HopConfig {
            name: name.to_owned(),
            port: free_port(),
            spire: true,
            policies: vec!["hop/any".to_owned()],
            ..HopConfig::default()
        }
    }

    pub(crate) fn id(&self, name: &str) -> String {
        self.domain.id(&format!("hop/{name}"))
    }

    pub(crate) fn start(&self, config: HopConfig) -> Hop {
        let program = self.folder.program(program(), &config.name);
        let _ =
            self.domain.register(&self.agent, &Entry::of_program(&format!("hop/{}", config.name), &program));
        Hop::start(&self.folder, &program, config, Some(&self.agent.endpoint()))
    }

    /// Verifies strictly with what an auditor has: the bundle as the server exports it.
    pub(crate) fn audit(&self, passport: &Value) -> VerifiedPassport {
        let mut bundles = TrustBundles::new();
        bundles.insert_spiffe_json(self.domain.name(), self.domain.bundle().as_bytes()).unwrap();
        let verifier = Verifier::builder().keys(bundles).strict().build();
        UnverifiedPassport::deserialize(&passport.to_string()).unwrap().verify(&verifier).unwrap()
    }
}
