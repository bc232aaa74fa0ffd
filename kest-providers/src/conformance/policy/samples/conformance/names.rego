package conformance.names

import rego.v1

default allow := false

allow if {
    input.environment.operation == "charge"
    input.environment.function == "shop::orders::charge"
    input.identity == input.subject.workload
    input.subject.workload == "spiffe://example.org/a \"b\" \\c\\ 'd' ünï-✓"
    input.object.id == "order \"17\" \\n {}"
}

allow if {
    input.environment.operation == "list"
    input.object.id == null
}
