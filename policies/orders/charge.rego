# Money moves only for input that somebody has vouched for, and never on a model's word alone.
package orders.charge

default allow := false

allow if {
	input.trust_score >= 60
	not "unverified_input" in input.subject.taints
	not "llm_generated" in input.subject.taints
	input.object.attributes.amount_cents > 0 # not null
	input.object.attributes.amount_cents <= 50000
}

reason := "the order's input was never reviewed (taint `unverified_input`)" if {
	"unverified_input" in input.subject.taints
} else := "a model's output stands behind this charge (taint `llm_generated`)" if {
	"llm_generated" in input.subject.taints
} else := sprintf("%d cents are above the limit of 50000", [input.object.attributes.amount_cents]) if {
	input.object.attributes.amount_cents > 50000
} else := sprintf("trust %d is below 60", [input.trust_score])
