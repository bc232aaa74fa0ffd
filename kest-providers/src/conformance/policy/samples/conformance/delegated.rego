package conformance.delegated

import rego.v1

default allow := false

allow if {
    input.subject.agent == "agent-7"
    input.subject.task.ticket == "T-1"
}
