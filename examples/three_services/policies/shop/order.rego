# Who may place an order: anybody, in their own name.
package shop.order

import rego.v1

default allow := false

allow if {
	is_string(input.subject.user)
	input.object.attributes.amount_cents > 0
}
