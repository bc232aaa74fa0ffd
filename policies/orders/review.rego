# A reviewer may vouch for an order: judged by who reviews and by what came in, not by what the review claims.
package orders.review

default allow := false

allow if {
	input.subject.user.role == "reviewer"
	input.environment.inherited_trust_score >= 40
	input.environment.trust_override >= 0 # not null
	input.environment.trust_override <= 70
}

reason := "only a reviewer may vouch for an order" if input.subject.user.role != "reviewer"
