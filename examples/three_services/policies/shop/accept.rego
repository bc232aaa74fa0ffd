# The orders service takes work on somebody's behalf only: the user comes with the lineage, signed by the shop.
package shop.accept

import rego.v1

default allow := false

allow if {
	is_string(input.subject.user)
	input.subject.trust_score >= 40
}
