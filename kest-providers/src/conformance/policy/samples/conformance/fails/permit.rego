package conformance.fails.permit

import rego.v1

default allow := false

allow if to_number(input.object.attributes.limit) < 5
