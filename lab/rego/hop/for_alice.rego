# What is done for Alice alone, by whoever comes with her token or with a lineage that says so.
package hop.for_alice

import rego.v1

default allow := false

allow if {
	input.subject.user == "alice"
	input.trust_score >= 40
}
