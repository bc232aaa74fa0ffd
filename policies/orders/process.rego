# Work inside the shop on an order that came from a customer.
package orders.process

default allow := false

allow if input.trust_score >= 40

reason := sprintf("trust %d is below 40", [input.trust_score]) if input.trust_score < 40
