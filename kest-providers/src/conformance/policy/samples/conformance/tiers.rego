package conformance.tiers

import rego.v1

default allow := false

allow if {
    input.environment.policy_tier == "enterprise"
    "conformance/tiers" in input.environment.policy_names
    not "conformance/baseline" in input.environment.active_deviations
}
