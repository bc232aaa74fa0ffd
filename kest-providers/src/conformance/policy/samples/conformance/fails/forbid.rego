package conformance.fails.forbid

import rego.v1

default allow := false

allow if not over

over if to_number(input.object.attributes.limit) > 5
