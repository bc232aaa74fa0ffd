package kest.allow_trusted

default allow := false

allow if input.trust_score >= 40
