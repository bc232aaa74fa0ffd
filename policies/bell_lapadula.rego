# Confidentiality by labels (Bell and LaPadula): no read up, no write down. A label is a level and a set of categories.
# Whoever acts leaves his label in the lineage as taints (`label:secret`), and every later call answers for them.
package bell_lapadula

import rego.v1

rank := {"unclassified": 0, "confidential": 1, "secret": 2, "top_secret": 3}

# A category that is not listed is refused: it may be a spelling mistake.
known_categories := {"crypto", "nato", "nuclear"}

# All taints of the deployment. One that is not listed is refused: it may be a label in another spelling.
known_taints := {
	"label:unclassified", "label:confidential", "label:secret", "label:top_secret",
	"label:crypto", "label:nato", "label:nuclear",
	"domain:north", "domain:south", "domain:billing", "domain:audit",
	"break_glass", "contains_pii", "llm_generated", "unverified", "unverified_input",
}

default allow := false

allow if {
	known_access
	labelled
	only_known_taints
	marked
	may_read
	may_write
}

may_read if not reads

may_read if {
	subject_dominates
	holds_flow(input.subject.user)
}

may_write if not writes

may_write if {
	object_dominates
	holds_flow(input.object.attributes)
}

reads if input.object.attributes.access in {"read", "write"}

writes if input.object.attributes.access in {"append", "write"}

known_access if reads

known_access if writes

labelled if {
	rank[input.subject.user.level] >= 0
	rank[input.object.attributes.level] >= 0
	listed(input.subject.user.categories)
	listed(input.object.attributes.categories)
}

listed(categories) if {
	is_array(categories)
	every category in categories {
		category in known_categories
	}
}

# The simple security property.
subject_dominates if {
	labelled
	rank[input.subject.user.level] >= rank[input.object.attributes.level]
	every category in input.object.attributes.categories {
		category in input.subject.user.categories
	}
}

# The *-property, for who acts.
object_dominates if {
	labelled
	rank[input.object.attributes.level] >= rank[input.subject.user.level]
	every category in input.subject.user.categories {
		category in input.object.attributes.categories
	}
}

# Whoever acts leaves his label, or a higher one, and with it that of all that he may read.
marked if {
	labelled
	level_marked
	every category in input.subject.user.categories {
		concat("", ["label:", category]) in input.subject.taints
	}
}

level_marked if rank[input.subject.user.level] == 0

level_marked if {
	some level, height in rank
	height >= rank[input.subject.user.level]
	concat("", ["label:", level]) in input.subject.taints
}

# Both properties, for who acted before: the label dominates all that the flow has met.
holds_flow(label) if {
	every level, height in rank {
		holds_level(label, level, height)
	}
	every category in known_categories {
		holds_category(label, category)
	}
}

holds_level(label, _, height) if height <= rank[label.level]

holds_level(_, level, _) if not concat("", ["label:", level]) in seen

holds_category(label, category) if category in label.categories

holds_category(_, category) if not concat("", ["label:", category]) in seen

only_known_taints if {
	every taint in seen {
		taint in known_taints
	}
}

# Also what this very call would remove.
seen contains taint if some taint in input.subject.taints

seen contains taint if some taint in input.environment.inherited_taints

reason := "`access` is not read, append or write" if {
	not known_access
} else := "the user or the object has no known level and categories" if {
	not labelled
} else := "the flow has a taint that this policy does not know: list it, or correct its spelling" if {
	not only_known_taints
} else := "no read up: the object's label is not within the user's" if {
	reads
	not subject_dominates
} else := "no write down: the user's label is not within the object's" if {
	writes
	not object_dominates
} else := "who acts must be marked: add the labels of the user to `added_taints`" if {
	not marked
} else := "no read up: the flow has met what is above the user's label" if {
	reads
	not holds_flow(input.subject.user)
} else := "no write down: the flow has met what is above the object's label"
