# The Chinese Wall (Brewer and Nash): who has seen one company of a conflict-of-interest class sees no other of it, and
# who has seen several companies writes to none. The history comes from the service's own records.
package brewer_nash

import rego.v1

default allow := false

# Sanitised information names nobody, so the wall does not run through it. It is not written to here.
allow if {
	known
	input.object.attributes.access == "read"
	input.object.attributes.sanitised == true
}

allow if {
	known
	input.object.attributes.access == "read"
	input.object.attributes.sanitised == false
	own_history
	only_this(input.object.attributes.history.in_class)
}

allow if {
	known
	input.object.attributes.access == "write"
	input.object.attributes.sanitised == false
	own_history
	only_this(input.object.attributes.history.in_class)
	only_this(input.object.attributes.history.all)
}

known if {
	named(input.subject.user.sub)
	named(input.object.attributes.conflict_class)
	named(input.object.attributes.dataset)
}

# Another user's history proves nothing, nor does one of another class.
own_history if {
	input.object.attributes.history.user == input.subject.user.sub
	input.object.attributes.history.conflict_class == input.object.attributes.conflict_class
	is_array(input.object.attributes.history.in_class)
}

only_this(datasets) if {
	is_array(datasets)
	every dataset in datasets {
		dataset == input.object.attributes.dataset
	}
}

named(text) if {
	is_string(text)
	text != ""
}

reason := "the user's `sub`, the object's `conflict_class` or its `dataset` is missing" if {
	not known
} else := "the history is not this user's in this class" if {
	not own_history
} else := "the user is on another side of this wall" if {
	not only_this(input.object.attributes.history.in_class)
} else := "who has seen other companies does not write to this one" if {
	input.object.attributes.access == "write"
	input.object.attributes.sanitised == false
} else := "neither a read nor a write of a dataset whose `sanitised` is known"
