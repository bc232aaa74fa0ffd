# Non-interference (Goguen and Meseguer): what one domain does must not be seen in another, unless the relation below
# lets it. A flow carries the domains that acted in it, and those it has observed, as taints (`domain:north`), and
# answers for all of them.
package goguen_meseguer

import rego.v1

# Whose doings may show in a domain. Two tenants that never see one another, their billing, and an audit that takes
# from all and gives to nobody.
may_affect := {
	"north": {"north"},
	"south": {"south"},
	"billing": {"north", "south", "billing"},
	"audit": {"north", "south", "billing", "audit"},
}

# All taints of the deployment. One that is not listed is refused: it may be a domain in another spelling.
known_taints := {
	"domain:north", "domain:south", "domain:billing", "domain:audit",
	"label:unclassified", "label:confidential", "label:secret", "label:top_secret",
	"label:crypto", "label:nato", "label:nuclear",
	"break_glass", "contains_pii", "llm_generated", "unverified", "unverified_input",
}

default allow := false

# What is observed shows in the user's domain.
allow if {
	input.object.attributes.command == "observe"
	known
	only_known_taints
	marked
	flows(input.object.attributes.domain, input.subject.user.domain)
	all_flow(input.subject.user.domain)
}

# What is altered shows in the object's domain.
allow if {
	input.object.attributes.command == "alter"
	known
	only_known_taints
	marked
	flows(input.subject.user.domain, input.object.attributes.domain)
	all_flow(input.object.attributes.domain)
}

known if {
	is_set(may_affect[input.subject.user.domain])
	is_set(may_affect[input.object.attributes.domain])
}

flows(source, target) if source in may_affect[target]

# Everything that the flow has met.
all_flow(target) if {
	every source, _ in may_affect {
		unmet_or_flows(source, target)
	}
}

unmet_or_flows(source, target) if flows(source, target)

unmet_or_flows(source, _) if not concat("", ["domain:", source]) in met

only_known_taints if {
	every taint in met {
		taint in known_taints
	}
}

# Also what this very call would remove.
met contains taint if some taint in input.subject.taints

met contains taint if some taint in input.environment.inherited_taints

# Whoever acts leaves his domain in the lineage, and so does what is observed.
marked if {
	known
	concat("", ["domain:", input.subject.user.domain]) in input.subject.taints
	observed_marked
}

observed_marked if input.object.attributes.command == "alter"

observed_marked if {
	known
	concat("", ["domain:", input.object.attributes.domain]) in input.subject.taints
}

known_command if input.object.attributes.command in {"observe", "alter"}

reason := "`command` is not observe or alter" if {
	not known_command
} else := "the user or the object is of no known domain" if {
	not known
} else := "the flow has a taint that this policy does not know: list it, or correct its spelling" if {
	not only_known_taints
} else := "the user's domain, and what is observed, must be marked: add `domain:…` to `added_taints`" if {
	not marked
} else := "one of the flow's domains may not be seen where this call would show it"
