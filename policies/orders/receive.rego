# Anybody may place an order; what comes from nowhere (trust 0) may not even do that.
package orders.receive

default allow := false

allow if {
	input.trust_score >= 10
	input.subject.user != null
}

reason := "an order needs a customer" if input.subject.user == null
