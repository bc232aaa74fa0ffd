package base

import rego.v1

allow if {
	input.trust_score >= 10
