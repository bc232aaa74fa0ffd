package conformance.overrides

import rego.v1

default allow := false

allow if not lifted

lifted if {
    input.environment.trust_override != null
    input.environment.inherited_trust_score != null
    input.environment.trust_override > input.environment.inherited_trust_score
}
