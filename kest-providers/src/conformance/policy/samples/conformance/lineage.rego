package conformance.lineage

import rego.v1

default allow := false

allow if {
    input.environment.is_root == true
    input.environment.source_type == "system"
    input.environment.parent_hash == "0"
}

allow if {
    input.environment.is_root == false
    input.environment.inherited_trust_score >= 50
    input.environment.parent_hash == "aa11"
    "bb22" in input.environment.parent_hashes
}
