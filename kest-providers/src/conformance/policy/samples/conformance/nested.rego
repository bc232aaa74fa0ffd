package conformance.nested

import rego.v1

default allow := false

allow if input.object.attributes.owner.name == "alice"

allow if input.object.attributes.deep.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d == "found"
