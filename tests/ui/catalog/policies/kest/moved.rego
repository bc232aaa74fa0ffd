package kest.strict

default allow := false
