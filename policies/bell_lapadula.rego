# Confidentiality by labels (Bell and LaPadula): no read up, no write down. A label is a level and a set of categories.
# What a flow has read is marked in its lineage by taints (`label:secret`), and a write answers for all of it.
package bell_lapadula

import rego.v1

rank := {"unclassified": 0, "confidential": 1, "secret": 2, "top_secret": 3}

# A category that is not listed is refused: it may be a spelling mistake.
known_categories := {"crypto", "nato", "nuclear"}

default allow := false

allow if {
	labelled
	known_access
	may_read
	may_write
}

may_read if not reads

may_read if {
	subject_dominates
	marked
}

may_write if not writes

may_write if {
	object_dominates
	contained
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
	rank[input.subject.user.level] >= rank[input.object.attributes.level]
	every category in input.object.attributes.categories {
		category in input.subject.user.categories
	}
}

# The *-property, for who acts.
object_dominates if {
	rank[input.object.attributes.level] >= rank[input.subject.user.level]
	every category in input.subject.user.categories {
		category in input.object.attributes.categories
	}
}

# What is read leaves its label in the lineage, or a higher one.
marked if {
	level_marked
	every category in input.object.attributes.categories {
		concat("", ["label:", category]) in input.subject.taints
	}
}

level_marked if rank[input.object.attributes.level] == 0

level_marked if {
	some level, height in rank
	height >= rank[input.object.attributes.level]
	concat("", ["label:", level]) in input.subject.taints
}

# The *-property, for what the flow has read: also for what this very call would remove.
contained if {
	every level, height in rank {
		fits_level(level, height)
	}
	every category in known_categories {
		fits_category(category)
	}
}

fits_level(_, height) if height <= rank[input.object.attributes.level]

fits_level(level, _) if not concat("", ["label:", level]) in seen

fits_category(category) if category in input.object.attributes.categories

fits_category(category) if not concat("", ["label:", category]) in seen

seen contains taint if some taint in input.subject.taints

seen contains taint if some taint in input.environment.inherited_taints

reason := "`access` is not read, append or write" if {
	not known_access
} else := "the user or the object has no known level and categories" if {
	not labelled
} else := "no read up: the object's label is not within the user's" if {
	reads
	not subject_dominates
} else := "no write down: the user's label is not within the object's" if {
	writes
	not object_dominates
} else := "what is read must be marked: add its labels to `added_taints`" if {
	reads
	not marked
} else := "no write down: the flow has read what is above the object's label"
