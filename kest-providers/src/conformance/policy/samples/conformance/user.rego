package conformance.user

import rego.v1

default allow := false

allow if input.subject.user == "alice"

allow if input.subject.user.role == "admin"
