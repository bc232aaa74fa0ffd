# Health records by purpose of use (HIPAA, 45 CFR 164): minimum necessary, a treatment relationship, consent for what
# is more sensitive, the patient's own access, and break-glass with a reason and a mark in the lineage.
package healthcare

import rego.v1

unverified := {"llm_generated", "unverified", "unverified_input"}

# Who may see what for treatment.
treatment_sections := {
	"physician": {"demographics", "encounters", "medications", "results", "notes", "psychotherapy_notes", "substance_use"},
	"nurse": {"demographics", "encounters", "medications", "results", "notes"},
	"pharmacist": {"demographics", "medications", "results"},
}

payment_sections := {"demographics", "insurance", "billing", "encounters"}

# Without names: quality and audit do not need them.
operations_sections := {"encounters", "medications", "results"}

# 164.524(a)(1)(i): psychotherapy notes are left out.
own_sections := {
	"demographics", "insurance", "billing", "encounters", "medications", "results", "notes", "substance_use", "directory",
}

emergency_sections := {"demographics", "encounters", "medications", "results", "notes", "substance_use"}

emergencies := {"life_threatening", "unable_to_consent", "disaster"}

sensitive := {"psychotherapy_notes", "substance_use"}

default allow := false

allow if {
	trusted
	somebody
	purpose_allows
}

# A call that raises its own trust opens no record in the same breath.
trusted if {
	input.trust_score >= 40
	input.environment.trust_override == null
	not tainted
}

tainted if {
	some taint in input.subject.taints
	taint in unverified
}

# Also what this very call would remove.
tainted if {
	some taint in input.environment.inherited_taints
	taint in unverified
}

somebody if named(input.subject.user.sub)

# 164.506, 164.514(d): treatment, by those who treat, what their role needs.
purpose_allows if {
	input.object.attributes.purpose == "treatment"
	input.object.attributes.relationship in {"treating", "referred"}
	only(treatment_sections[input.subject.user.role])
	consented
}

# 164.502(b): payment and operations, the minimum necessary.
purpose_allows if {
	input.object.attributes.purpose == "payment"
	input.subject.user.role == "biller"
	only(payment_sections)
}

purpose_allows if {
	input.object.attributes.purpose == "operations"
	input.subject.user.role == "auditor"
	only(operations_sections)
}

# 164.510(a): the facility's directory, unless the patient objects.
purpose_allows if {
	input.object.attributes.purpose == "directory"
	input.subject.user.role in {"registrar", "nurse"}
	input.object.attributes.patient_agrees == true
	only({"directory"})
}

# 164.524: the patient's own access.
purpose_allows if {
	input.object.attributes.purpose == "patient_access"
	input.subject.user.role == "patient"
	input.object.attributes.patient == input.subject.user.sub
	only(own_sections)
}

# 164.312(a)(2)(ii): break-glass, by a clinician in person, with a reason, an incident, and a mark that stays.
purpose_allows if {
	input.object.attributes.purpose == "emergency"
	input.subject.user.role in {"physician", "nurse"}
	input.subject.agent == null
	input.object.attributes.break_glass.reason in emergencies
	named(input.object.attributes.break_glass.incident)
	"break_glass" in input.subject.taints
	only(emergency_sections)
}

# Nothing asked for is not little: a service that does not say what it reads may read all.
only(needed) if {
	is_array(input.object.attributes.sections)
	count(input.object.attributes.sections) > 0
	every section in input.object.attributes.sections {
		section in needed
	}
}

# 164.508(a)(2), 42 CFR 2.31: by name, and consent to one is none to the other.
consented if not sensitive_sections

consented if {
	is_array(input.object.attributes.consent)
	is_array(input.object.attributes.sections)
	every consent in input.object.attributes.consent {
		consent in sensitive
	}
	every section in input.object.attributes.sections {
		plain_or_consented(section)
	}
}

plain_or_consented(section) if not section in sensitive

plain_or_consented(section) if section in input.object.attributes.consent

sensitive_sections if {
	is_array(input.object.attributes.sections)
	some section in input.object.attributes.sections
	section in sensitive
}

named(text) if {
	is_string(text)
	text != ""
}

treats if {
	input.object.attributes.purpose == "treatment"
	input.object.attributes.relationship in {"treating", "referred"}
}

reason := "nobody vouches for this call's input: trust below 40, raised by this call, or tainted" if {
	not trusted
} else := "nobody is named as the user (`sub`)" if {
	not somebody
} else := "sensitive sections need the patient's consent by name" if {
	treats
	only(treatment_sections[input.subject.user.role])
	not consented
} else := "more than this role needs for treatment, or no `sections` named" if {
	treats
} else := "no treatment relationship with this patient" if {
	input.object.attributes.purpose == "treatment"
} else := "break-glass needs a clinician, no agent, a known reason, an incident and the taint `break_glass`" if {
	input.object.attributes.purpose == "emergency"
} else := "this role has no such purpose, or it needs less than these `sections`"
