package conformance.taints

import rego.v1

default allow := false

allow if {
    not pii
    not unclean
}

pii if "contains_pii" in input.subject.taints

unclean if {
    "untrusted_html" in input.environment.inherited_taints
    not "untrusted_html" in input.environment.removed_taints
}
