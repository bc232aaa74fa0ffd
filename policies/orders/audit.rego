# The platform's own rule for every call of the shop: somebody must be named.
package orders.audit

default allow := false

allow if input.subject.user != null

reason := "nobody is named as the user" if input.subject.user == null
