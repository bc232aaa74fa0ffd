package orders.refund

import rego.v1

default allow := false

allow if {
	input.trust_score >= 40
	not "unverified" in input.subject.taints
}
