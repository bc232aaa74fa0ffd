package orders.old

import rego.v1

default allow := false

allow if input.trust_score >= 10

reason := "too little trust"
