use serde_json::json;

use super::{OTHER_TRACE, STORES, Shop, TRACE, audit, run};

const TRUSTED: [&str; 2] = ["--anchors", "anchors.json"];

#[test]
fn a_trace_is_drawn_with_its_denials() {
    let shop = Shop::new();
    let folder = shop.write();
    for store in STORES {
        let run = audit(&folder, "show", store, &[TRACE, "--oneline"]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert!(lines[0].starts_with(&format!("○ {} browse", &shop.hash(0)[..12])), "{}", run.stdout);
        assert!(run.stdout.contains(&format!("⊘ {} refund", &shop.hash(2)[..12])), "{}", run.stdout);
        assert!(run.stdout.contains("denied by shop/limits (platform): \"too much\""), "{}", run.stdout);
        assert!(!run.stdout.contains("stock"), "{}", run.stdout);
        assert!(run.stdout.ends_with("4 entries, 1 denied; not verified: give --anchors or --bundle\n"));
        let run = audit(&folder, "show", store, &[&[TRACE][..], &TRUSTED].concat());
        assert_eq!(run.code, 0);
        assert!(run.stdout.contains('●') && run.stdout.contains("each signature is good"), "{}", run.stdout);
        assert!(run.stdout.contains("received 20"), "{}", run.stdout);
    }
}

#[test]
fn an_entry_is_found_by_id_and_hash_with_what_is_before_and_after_it() {
    let shop = Shop::new();
    let folder = shop.write();
    let id = "01a2007c-b7aa-7386-b112-000000000003";
    for store in STORES {
        for what in [id, &shop.hash(3), &shop.hash(3)[..8], &shop.hash(3)[..32]] {
            let run = audit(&folder, "show", store, &[what, "--json"]);
            assert_eq!(run.code, 0, "{what}: {}", run.stderr);
            let lineage = run.json()["lineage"].clone();
            let operations: Vec<_> =
                lineage.as_array().unwrap().iter().map(|entry| entry["operation"].clone()).collect();
            assert_eq!(operations, ["browse", "pay", "ship"], "{what}");
            assert_eq!((&lineage[1]["asked"], &lineage[2]["asked"]), (&json!(false), &json!(true)));
            assert_eq!(lineage[2]["status"], json!("not verified"));
        }
        let after = audit(&folder, "show", store, &[&shop.hash(1), "--oneline"]).stdout;
        assert!(after.contains("▶") && after.contains("ship") && after.contains("refund"), "{after}");
        assert!(audit(&folder, "show", store, &[OTHER_TRACE]).stdout.contains("stock"));
    }
}

#[test]
fn parents_in_other_stores_are_named() {
    let mut shop = Shop::new();
    shop.kept = vec![1, 3];
    let folder = shop.write();
    for store in STORES {
        let run = audit(&folder, "show", store, &[&shop.hash(3)]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let outside = format!("after {}, outside of this store", &shop.hash(0)[..12]);
        assert!(run.stdout.contains(&outside), "{}", run.stdout);
        assert!(run.stdout.contains("1 parent outside of this store"), "{}", run.stdout);
        let json = audit(&folder, "show", store, &[&shop.hash(3), "--json"]).json();
        assert_eq!(json["lineage"][0]["outside_parents"], json!([shop.hash(0)]));
    }
}

#[test]
fn what_is_not_there_is_refused() {
    let shop = Shop::new();
    let folder = shop.write();
    for store in STORES {
        for what in
            ["01a2007c-b7aa-7386-b112-00000000dead", "abc", "no such thing", &"0".repeat(32), &"0".repeat(64)]
        {
            audit(&folder, "show", store, &[what]).unusable("no entry of the store has");
        }
    }
}

#[test]
fn wrong_signatures_are_marked() {
    let shop = Shop::new();
    let folder = shop.write();
    let other = crate::support::Lineage::new();
    let keys = json!({crate::support::PRINCIPAL: {"keys": [
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}});
    std::fs::write(folder.join("wrong.json"), keys.to_string()).unwrap();
    assert!(!other.jwk().to_json().to_string().contains("11qYAY"));
    for store in STORES {
        let run = audit(&folder, "show", store, &[TRACE, "--anchors", "wrong.json"]);
        assert_eq!(run.code, 1);
        assert!(run.stdout.contains("✗") && run.stdout.contains("fails: "), "{}", run.stdout);
        assert!(run.stdout.ends_with("4 bad\n"), "{}", run.stdout);
    }
}

#[test]
fn show_and_graph_point_to_audit_show() {
    let folder = Shop::new().write();
    for store in ["audit", "audit.db", "audit/0000000001.jsonl"] {
        run(&folder, &["show", store]).unusable("`kest audit show` draws");
        run(&folder, &["graph", store, "--format", "dot"]).unusable("`kest audit show` draws");
    }
}
