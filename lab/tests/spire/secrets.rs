//! The private key of an SVID stays where it is.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use base64_simd::STANDARD;
use kest_lab::{Entry, KeyType, wait_for};

use crate::{LIMIT, started, world};

#[test]
fn no_log_and_no_answer_has_the_private_key() {
    let Some(world) = world() else { return };
    // Under an entry by user `spire-agent` gets the same SVID as the workload, and writes its key to a file.
    let agent = world.internal.agent("watched", KeyType::EcP256);
    let user = fs::metadata(world.folder.path()).unwrap().uid();
    let _ = world.internal.register(&agent, &Entry::new("workload/watched", format!("unix:uid:{user}")));
    let mut workload = started(&agent, &world.program("watched"));
    let mut answers = String::new();
    for command in ["id", "svid", "sign 5", "call", "health", "bundle", "log"] {
        answers.push_str(&workload.ask(command).to_string());
    }
    for command in ["bundle elsewhere.internal", "verify orders a.b.c"] {
        answers.push_str(&workload.try_ask(command).unwrap_err().to_string());
    }

    let keys = world.folder.sub("keys");
    wait_for("the key", LIMIT, || {
        let mut command = Command::new(world.lab.part("spire/spire-agent"));
        command.args(["api", "fetch", "x509", "-write"]).arg(&keys).arg("-socketPath").arg(agent.socket());
        command.output().unwrap().status.success().then_some(())
    });
    let pem = fs::read_to_string(keys.join("svid.0.key")).unwrap();
    let leaf = fs::read_to_string(keys.join("svid.0.pem")).unwrap();
    fs::remove_dir_all(&keys).unwrap();
    let forms = forms(&pem);

    let logged = workload.logged();
    // It is the log of this SVID: the certificate's own first line would be found in a passport.
    assert!(logged.contains("spiffe://kest.internal/workload/watched"), "nothing was logged: {logged}");
    let body: String = leaf.lines().skip(1).take_while(|line| !line.starts_with('-')).collect();
    let header = crate::header(workload.ask("sign 1").as_str().unwrap());
    assert_eq!(header["x5c"][0], body, "`spire-agent` was given another SVID");

    for (what, text) in [("the log", &logged), ("an answer", &answers)] {
        assert!(!text.contains("PRIVATE KEY"), "{what} has a key in PEM");
        for form in &forms {
            assert!(!text.contains(form), "{what} has the private key");
        }
    }
}

/// The private number of a P-256 key in PKCS#8, in the forms in which a careless program writes bytes.
fn forms(pem: &str) -> Vec<String> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode_to_vec(body.as_bytes()).unwrap();
    // RFC 5915 §3: version 1, then the octet string of 32 bytes.
    let mark = [0x02, 0x01, 0x01, 0x04, 0x20];
    let at = der.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len();
    let number = &der[at..at + 32];
    // Half of it is enough, and may begin at any byte as to base64.
    let part = &number[..16];
    let joined = |separator: &str| part.iter().map(u8::to_string).collect::<Vec<_>>().join(separator);
    let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![hex.to_uppercase(), hex, joined(", "), joined(",")];
    for shift in 0..3 {
        let text = STANDARD.encode_to_string(&number[shift..shift + 15]);
        forms.push(text.replace('+', "-").replace('/', "_"));
        forms.push(text);
    }
    // The search finds what there is to find.
    assert!(forms.iter().any(|form| body.contains(form)));
    forms
}
