package conformance

import rego.v1

default allow := false

allow if input.trust_score >= 10

reason := "the trust score is below 10"
