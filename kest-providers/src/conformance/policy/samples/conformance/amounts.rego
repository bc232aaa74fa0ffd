package conformance.amounts

import rego.v1

default allow := false

allow if {
    input.object.attributes.paid == true
    input.object.attributes.amount <= input.object.attributes.limit
    "EUR" in input.object.attributes.currencies
}
