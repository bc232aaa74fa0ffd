# Money moves for users whose order came all the way through the shop, and up to a limit.
package shop.charge

import rego.v1

default allow := false

allow if not reason

reason := "the call is on nobody's behalf" if {
	not is_string(input.subject.user)
} else := "a charge is never the first call of a lineage" if {
	input.environment.is_root
} else := "a charge needs a trust score of 40" if {
	input.subject.trust_score < 40
} else := "more than 500.00 needs a person" if {
	input.object.attributes.amount_cents > 50000
}
