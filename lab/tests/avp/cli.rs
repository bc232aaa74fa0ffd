//! `kest policy sync` from a policy store.

use std::fs;

use kest_lab::{Folder, command, run};

use crate::store::{Cloud, REGION};

#[test]
fn the_lock_is_written_from_what_the_store_holds() {
    let Some(cloud) = Cloud::start() else { return };
    let store = cloud.store();
    let folder = Folder::new();
    let lock = folder.path().join("kest-policies.lock");
    let output = lock.to_str().unwrap();
    let home = folder.path().to_str().unwrap();
    let variables = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("HOME", home),
    ];
    let sync = |more: &[&str]| {
        let fixed = ["policy", "sync", "--avp", &store, "--avp-endpoint", cloud.url(), "--output", output];
        run(&command(), &[&fixed, more].concat(), &variables)
    };

    // A store without policies is taken for the wrong one.
    let (code, text) = sync(&[]);
    assert_eq!(code, 1, "{text}");
    assert!(!lock.exists(), "{text}");

    let permit =
        |name: &str| (String::new(), format!("permit(principal, action == Action::\"{name}\", resource);"));
    cloud.add(&store, &[permit("payments/large"), permit("orders/small")]);
    let (code, text) = sync(&[]);
    assert_eq!(code, 0, "{text}");
    let written = fs::read_to_string(&lock).unwrap();
    let names: Vec<&str> = written.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
    assert_eq!(names, [r#""orders/small""#, r#""payments/large""#], "{written}");
    assert_eq!(sync(&["--check"]).0, 0);

    cloud.add(&store, &[permit("orders/large")]);
    let (code, text) = sync(&["--check"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("orders/large") && !text.contains("orders/small"), "{text}");
    assert_eq!(fs::read_to_string(&lock).unwrap(), written, "`--check` writes nothing");
}
