# Non-interference (Goguen and Meseguer): what one domain does must not be seen in another, unless the relation below
# lets it. A flow carries the domains it comes from as taints (`domain:north`) and answers for all of them.
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

default allow := false

# What is observed shows in the user's domain.
allow if {
	input.object.attributes.command == "observe"
	known
	marked
	flows(input.object.attributes.domain, input.subject.user.domain)
	all_flow(input.subject.user.domain)
}

# What is altered shows in the object's domain.
allow if {
	input.object.attributes.command == "alter"
	known
	flows(input.subject.user.domain, input.object.attributes.domain)
	all_flow(input.object.attributes.domain)
}

known if {
	is_set(may_affect[input.subject.user.domain])
	is_set(may_affect[input.object.attributes.domain])
}

flows(source, target) if source in may_affect[target]

# Everything that the flow has met, also what this very call would remove.
all_flow(target) if {
	every source, _ in may_affect {
		unmet_or_flows(source, target)
	}
}

unmet_or_flows(source, target) if flows(source, target)

unmet_or_flows(source, _) if not concat("", ["domain:", source]) in met

met contains taint if some taint in input.subject.taints

met contains taint if some taint in input.environment.inherited_taints

# What is observed leaves its domain in the lineage.
marked if {
	known
	concat("", ["domain:", input.object.attributes.domain]) in input.subject.taints
}

known_command if input.object.attributes.command in {"observe", "alter"}

unmarked_observation if {
	input.object.attributes.command == "observe"
	not marked
}

reason := "`command` is not observe or alter" if {
	not known_command
} else := "the user or the object is of no known domain" if {
	not known
} else := "what is observed must be marked: add its `domain:…` to `added_taints`" if {
	unmarked_observation
} else := "one of the flow's domains may not be seen where this call would show it"
