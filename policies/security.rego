# Hygiene of trust and taints, for a whole platform: what is privileged wants trusted and untainted input from a named
# user, and nothing becomes more trusted or cleaner without somebody else's approval. A sanitiser is judged by what it
# received, never by what it claims.
package security

import rego.v1

unverified := {"llm_generated", "unverified", "unverified_input"}

default allow := false

allow if {
	untouched
	ordinary
}

allow if {
	untouched
	input.trust_score >= 80
	somebody
	not tainted
}

# A call that raises or cleans does nothing privileged on top.
allow if {
	ordinary
	approved
	worth_raising
}

# An object that does not say so is privileged.
ordinary if input.object.attributes.privileged == false

# A name, or an object with one.
somebody if named(input.subject.user)

somebody if named(input.subject.user.sub)

# Everything that came in tainted still is, and the score is no higher than what came in.
untouched if {
	every taint in input.environment.inherited_taints {
		taint in input.subject.taints
	}
	not_raised
}

not_raised if input.environment.trust_override == null

# An override also hides the score of a source of the call's own, such as a model.
not_raised if {
	input.environment.source_type == null
	is_number(input.environment.inherited_trust_score)
	input.environment.trust_override <= input.environment.inherited_trust_score
}

tainted if {
	some taint in input.subject.taints
	taint in unverified
}

# Somebody else approved that this function does so, and no agent does.
approved if {
	input.subject.agent == null
	named(input.subject.user.sub)
	named(input.object.attributes.approval.by)
	input.object.attributes.approval.by != input.subject.user.sub
	input.object.attributes.approval.function == input.environment.function
}

# Not from nothing (a root), not what this call brings in itself, not from an adversary or a bare model (0), and not to
# what only systems have.
worth_raising if {
	input.environment.source_type == null
	is_number(input.environment.inherited_trust_score)
	input.environment.inherited_trust_score >= 10
	input.trust_score <= 90
}

named(text) if {
	is_string(text)
	text != ""
}

reason := "raising trust or removing taints is not for a privileged call (one whose `privileged` is not false)" if {
	not untouched
	not ordinary
} else := "somebody else must approve that this function raises trust or removes taints, and no agent does it" if {
	not untouched
	not approved
} else := "what came in is worth too little, or the claim too much, to raise or clean it, or this call is a source" if {
	not untouched
} else := "a privileged call needs a named user" if {
	not somebody
} else := "a privileged call takes no unverified data" if {
	tainted
} else := "a privileged call needs a trust score of 80"
