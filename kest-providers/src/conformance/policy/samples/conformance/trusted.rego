package conformance.trusted

import rego.v1

default allow := false

allow if input.subject.trust_score >= 40
