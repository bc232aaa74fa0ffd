# The least that a call must be worth. It keeps out what came from an adversary or a language model (score 0) and lets
# through everything with a known origin, the open internet included (score 10).
package kest

import rego.v1

default allow := false

allow if input.trust_score >= 10

reason := sprintf("the call's trust score is %d and must be at least 10", [input.trust_score])
