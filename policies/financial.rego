# Payments: limits by role over the whole day, a second pair of eyes above a threshold, nobody pays or approves
# himself, screened counterparties in known countries, and input that somebody vouches for. Amounts are whole minor
# units (cents).
package financial

import rego.v1

# For a day's payments together, this one included.
limits := {"clerk": 100000, "manager": 1000000, "treasurer": 100000000}

# Who may approve, and how much.
approver_limits := {"manager": 1000000, "treasurer": 100000000}

# Above this, somebody else approves.
alone_up_to := 50000

# Currencies with two decimals, so that the limits mean about the same.
currencies := {"CHF", "EUR", "GBP", "USD"}

countries := {
	"AT", "BE", "CH", "DE", "DK", "ES", "FI", "FR", "GB", "IE", "IT", "LU", "NL", "NO", "PT", "SE", "US",
}

unvouched := {"llm_generated", "unverified", "unverified_input"}

default allow := false

allow if {
	trusted
	well_formed
	counterparty_clear
	total <= limits[input.subject.user.role]
	approval_where_needed
}

# A call that raises its own trust does not pay in the same breath.
trusted if {
	input.trust_score >= 60
	input.environment.trust_override == null
	not tainted
}

tainted if {
	some taint in input.subject.taints
	taint in unvouched
}

# Also what this very call would remove.
tainted if {
	some taint in input.environment.inherited_taints
	taint in unvouched
}

well_formed if {
	named(input.object.id)
	named(input.subject.user.sub)
	named(input.object.attributes.payee)
	input.object.attributes.payee != input.subject.user.sub
	input.object.attributes.currency in currencies
	whole(input.object.attributes.amount)
	input.object.attributes.amount > 0
	whole(input.object.attributes.spent_today)
	input.object.attributes.spent_today >= 0
}

counterparty_clear if {
	input.object.attributes.screening == "clear"
	input.object.attributes.country in countries
}

# Several small payments are a large one.
total := input.object.attributes.amount + input.object.attributes.spent_today if well_formed

approval_where_needed if {
	total <= alone_up_to
	input.subject.agent == null
}

# The approval is of this payment, by somebody else who may.
approval_where_needed if {
	named(input.object.attributes.approval.by)
	input.object.attributes.approval.by != input.subject.user.sub
	input.object.attributes.approval.by != input.object.attributes.payee
	total <= approver_limits[input.object.attributes.approval.role]
	input.object.attributes.approval.payment == input.object.id
	input.object.attributes.approval.amount == input.object.attributes.amount
	input.object.attributes.approval.currency == input.object.attributes.currency
	input.object.attributes.approval.payee == input.object.attributes.payee
}

# What Cedar can hold, too.
whole(number) if {
	is_number(number)
	number == floor(number)
	number >= -9007199254740991
	number <= 9007199254740991
}

named(text) if {
	is_string(text)
	text != ""
}

within_limit if total <= limits[input.subject.user.role]

reason := "nobody vouches for this payment's input: trust below 60, raised by this call, or tainted" if {
	not trusted
} else := "id, user, payee, amount, currency or the day's sum is missing or senseless, or the user pays himself" if {
	not well_formed
} else := "the counterparty is not screened and clear, or in no country that is paid to" if {
	not counterparty_clear
} else := "the day's payments would exceed the role's limit" if {
	not within_limit
} else := "this payment needs the approval of somebody else who may"
