# For what changes things: user input at least (score 40). It keeps out the open internet, third parties and unknown
# callers, also when their data arrives through services that are themselves trusted.
package kest.allow_trusted

import rego.v1

default allow := false

allow if input.trust_score >= 40

reason := sprintf("the call's trust score is %d and must be at least 40", [input.trust_score])
