//! A provider that renews its keys.

use kest_lab::{Folder, Lab, OidcProvider, send};
use serde_json::json;

use crate::{bearer, local, problem, provider, start};

#[test]
fn keys_that_rotate_are_followed_and_dropped_ones_do_not_count_any_more() {
    let Some(lab) = Lab::from_env() else { return };
    let (folder, provider) = (Folder::new(), provider(&lab));
    let mut config = local("a", &["a"]);
    config.issuer = Some(provider.issuer());
    let a = start(&folder, config);
    let token = |provider: &OidcProvider| bearer(provider, json!({ "user": "alice" }));
    let status = |token: &str| a.ask(&[("authorization", token)], []).status;

    let first = token(&provider);
    assert_eq!(status(&first), 200);
    tell(&provider, "/_lab/rotate");
    let second = token(&provider);
    assert_eq!([&second, &first].map(|token| status(token)), [200, 200]);

    tell(&provider, "/_lab/rotate");
    tell(&provider, "/_lab/drop-old");
    let third = token(&provider);
    assert_eq!(status(&third), 200);
    for dropped in [&first, &second] {
        let refused = a.ask(&[("authorization", dropped)], []);
        assert_eq!((refused.status, problem(&refused.body)), (401, "invalid-token"), "{}", refused.body);
    }

    // For another service, and of nobody.
    let elsewhere = bearer(&provider, json!({ "user": "alice", "resource": "urn:elsewhere" }));
    assert_eq!(status(&elsewhere), 401);
    assert_eq!(a.ask(&[], []).status, 401);
    assert_eq!(status(&third), 200);
}

fn tell(provider: &OidcProvider, path: &str) {
    assert_eq!(send(provider.port(), "POST", path, &[], "").unwrap().status, 200, "{path}");
}
