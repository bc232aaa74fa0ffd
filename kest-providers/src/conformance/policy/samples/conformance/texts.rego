package conformance.texts

import rego.v1

default allow := false

allow if input.object.attributes.text == input.object.attributes["the \"same\" \\ text ✓"]
