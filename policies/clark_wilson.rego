# Integrity by well-formed transactions (Clark and Wilson): a user changes a constrained data item (CDI) only through a
# transformation procedure (TP) that somebody else has certified for this user and this item.
package clark_wilson

import rego.v1

unverified := {"llm_generated", "unverified", "unverified_input"}

default allow := false

allow if {
	certified
	separated
	input.object.attributes.verified == true
	well_formed_input
}

# E2: the triple is this user, this function, this item; E3: the user is somebody.
certified if {
	named(input.subject.user.sub)
	named(input.object.id)
	input.object.attributes.certificate.user == input.subject.user.sub
	input.object.attributes.certificate.tp == input.environment.function
	input.object.attributes.certificate.cdi == input.object.id
}

# E4: who certifies does not execute.
separated if {
	named(input.object.attributes.certificate.certifier)
	input.object.attributes.certificate.certifier != input.subject.user.sub
}

# C5: unconstrained data only into a TP that is certified to check or refuse it.
well_formed_input if input.object.attributes.certificate.takes_unconstrained == true

well_formed_input if {
	input.trust_score >= 80
	input.environment.trust_override == null
	not tainted
}

tainted if {
	some taint in input.subject.taints
	taint in unverified
}

# Also what this very call would remove.
tainted if {
	some taint in input.environment.inherited_taints
	taint in unverified
}

named(text) if {
	is_string(text)
	text != ""
}

reason := "no certificate for this user, this function and this item" if {
	not certified
} else := "who certifies a procedure does not execute it" if {
	not separated
} else := "the item has not passed its integrity verification" if {
	not input.object.attributes.verified == true
} else := "the procedure is not certified for unconstrained input"
