# Integrity by grades (Biba's strict integrity): no read down, no write up. How far an actor can be relied on is the
# call's trust score, which Kest computes from the lineage; nobody claims it.
package biba

import rego.v1

rank := {"low": 0, "medium": 1, "high": 2}

unverified := {"llm_generated", "unverified", "unverified_input"}

default allow := false

allow if {
	# A call that raises itself has no place in strict integrity; let a policy such as clark_wilson judge it.
	input.environment.trust_override == null
	input.object.attributes.access == "read"
	rank[input.object.attributes.integrity] >= grade
}

# To invoke another service is to write to it.
allow if {
	input.environment.trust_override == null
	input.object.attributes.access in {"write", "invoke"}
	rank[input.object.attributes.integrity] <= grade
}

grade := 0 if {
	tainted
} else := 2 if {
	input.trust_score >= 80
} else := 1 if {
	input.trust_score >= 40
} else := 0

tainted if {
	some taint in input.subject.taints
	taint in unverified
}

# Also what this very call would remove.
tainted if {
	some taint in input.environment.inherited_taints
	taint in unverified
}

known_access if input.object.attributes.access in {"read", "write", "invoke"}

known_integrity if rank[input.object.attributes.integrity] >= 0

reason := "`access` is not read, write or invoke" if {
	not known_access
} else := "the object's `integrity` is not low, medium or high" if {
	not known_integrity
} else := "a call does not raise its own trust" if {
	input.environment.trust_override != null
} else := "no read down: the object's integrity is below the call's" if {
	input.object.attributes.access == "read"
} else := "no write up: the call's integrity is below the object's"
