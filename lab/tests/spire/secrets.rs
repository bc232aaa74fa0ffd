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
        assert!(!has(text, &forms), "{what} has the private key");
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    // Each kind of byte that is escaped in another way.
    let number = *b"\x00\n\t\r\"\\' a~\x7f\x80\xff\x1b0Zq\x00\x0112345678901234";
    let mut der = vec![0x30, 0x25];
    der.extend([0x02, 0x01, 0x01, 0x04, 0x20]);
    der.extend(number);
    let pem = format!("-----BEGIN-----\n{}\n-----END-----\n", STANDARD.encode_to_string(&der));
    let forms = forms(&pem);
    let escaped = r#"b"0%\x02\x01\x01\x04 \0\n\t\r\"\\' a~\x7f\x80\xff\x1b0Zq\0\x0112345678901234""#;
    let shown = [
        format!("{der:?}"),
        format!("{der:#?}"),
        format!("{:#?}", Some([Some(&der)])),
        format!("{der:02x?}"),
        der.escape_ascii().to_string(),
        escaped.to_owned(),
        format!("{escaped:?}"),
        pem,
    ];
    for shown in shown {
        assert!(has(&shown, &forms), "{shown}");
    }
    assert!(!has(&format!("{:?}", [1_u8; 40]), &forms));
}

/// Whether one of the forms stands in the text, white space aside: `{:#?}` sets each byte on a line of its own.
fn has(text: &str, forms: &[String]) -> bool {
    let text = flat(text);
    forms.iter().any(|form| text.contains(form))
}

fn flat(text: &str) -> String {
    text.chars().filter(|char| !char.is_whitespace()).collect()
}

/// What the `bytes` crate writes between `b"` and `"`.
fn escaped(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        0 => "\\0".to_owned(),
        b'\'' => "'".to_owned(),
        other => other.escape_ascii().to_string(),
    };
    bytes.iter().map(one).collect()
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
    let joined = |one: fn(&u8) -> String| part.iter().map(one).collect::<Vec<_>>().join(",");
    let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![hex.to_uppercase(), hex, joined(u8::to_string)];
    forms.extend([joined(|byte| format!("{byte:02x}")), joined(|byte| format!("{byte:02X}"))]);
    for escaped in [escaped(part), part.escape_ascii().to_string()] {
        // Escaped once more where a text is shown by its own `Debug`.
        let again = format!("{escaped:?}");
        forms.push(flat(&again[1..again.len() - 1]));
        forms.push(flat(&escaped));
    }
    for shift in 0..3 {
        let text = STANDARD.encode_to_string(&number[shift..shift + 15]);
        forms.push(text.replace('+', "-").replace('/', "_"));
        forms.push(text);
    }
    // The search finds what there is to find.
    assert!(forms.iter().any(|form| body.contains(form)));
    forms
}
