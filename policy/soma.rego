# The decision on what is done to a tenant's memory: may this be done, and if not, why not.
#
# The input is {action, resource, tenant, payload, context, query}.  One rule answers: the first
# that has something to say of
#
#   1. what this policy knows at all          (_own: rules.rego, a rule per action and resource)
#   2. what nobody may do                     (_forbidden_to_all)
#   3. what an administrator may do           (_administrator)
#   4. the conditions of the action's own     (_own again)
#
# The same decision is built into the extension; cases/ holds what both have to answer.  Whoever
# changes a rule here changes it for OPA alone, and somamem.policy = opa is then what counts.
package soma.policy

# Writes that a tenant has in any minute, where the input names no limit.  A limit of 0 is none.
writes_per_minute := 1000

# Characters that the tool "echo" takes.
echo_characters := 10000

# Bytes that the tool "document_ingest" takes: 50 MiB.
ingest_bytes := 52428800

timestamp_formats := {"ISO", "UNIX", "RFC3339", "US"}

tools := {"echo", "timestamp", "document_ingest"}

# A setting whose name has one of these in it, in lower case, is an administrator's.
sensitive_words := {"api_key", "secret_key", "password", "token", "private_key"}

# What people are told, by the name of the rule that decided.
reasons := {
	"allowed": "allowed",
	"administrator": "allowed to an administrator of the tenant",
	"unknown_action": "no rule allows this action on this resource",
	"tool_unknown": "the tool is not known",
	"payload_tenants_differ": "payload.tenant and payload.metadata.tenant differ",
	"settings_key": "payload.key must be a string",
	"tenant_missing": "tenant must be a non-empty string",
	"payload_tenant": "tenant is not the tenant that the payload names",
	"rate_limit": "the tenant has used up its writes of this minute",
	"pii": "payload.content has an e-mail address or a telephone number",
	"query_tenant": "tenant is not query.tenant",
	"session_tenant": "the session does not belong to the tenant",
	"not_owner": "only the owner of the session or an administrator of its tenant may delete",
	"echo_text": sprintf("payload.args.text must be a string of at most %d characters", [echo_characters]),
	"timestamp_format": "payload.args.format must be ISO, UNIX, RFC3339 or US",
	"ingest_size": sprintf("payload.args.size_bytes must be a whole number from 0 to %d", [ingest_bytes]),
	"ingest_tenant": "tenant is not in context.allowed_tenants",
	"settings_sensitive": "only an administrator may change a sensitive setting",
	"not_admin": "only an administrator may change the tool catalog",
}

# METADATA
# title: Refuse what nothing below allows
default allow := false

# METADATA
# title: May it be done
# description: A boolean for every input, and false for one that is no object.
# entrypoint: true
allow := decision.allow

# METADATA
# title: The decision with its reason
# description: '{"allow": boolean, "reason": what people are told, "rule": its short name}'
# entrypoint: true
decision := {
	"allow": _verdict in {"allowed", "administrator"},
	"reason": object.get(reasons, _verdict, _verdict),
	"rule": _verdict,
}

# METADATA
# title: The name of the rule that decides
_verdict := "tool_unknown" if {
	input.action == "tool.execute"
	not _resource in tools
} else := "unknown_action" if {
	not _own
} else := _forbidden_to_all if {
	_forbidden_to_all
} else := _administrator if {
	_administrator
} else := _own

# METADATA
# title: The same tenant in both places, or in one
_forbidden_to_all := "payload_tenants_differ" if {
	input.action == "memory.write"
	_is_named(_payload_tenant)
	_is_named(_metadata_tenant)
	not _same(_payload_tenant, _metadata_tenant)
}

# METADATA
# title: No setting without a name
_forbidden_to_all := "settings_key" if {
	input.action == "settings.update"
	not is_string(_setting)
}

# METADATA
# title: Everything within the tenant of one's own session, nothing across
# description: Undefined for others, an administrator of another tenant among them.
_administrator := "payload_tenant" if {
	_is_administrator
	input.action == "memory.write"
	_payload_names_another
} else := "query_tenant" if {
	_is_administrator
	input.action == "memory.recall"
	_is_named(_query_tenant)
	not _same(_query_tenant, _tenant)
} else := "administrator" if {
	_is_administrator
}

# METADATA
# title: An administrator in a session of the tenant
_is_administrator if {
	input.context.is_admin == true
	_same(_session_tenant, _tenant)
}

# METADATA
# title: The payload is of another tenant
_payload_names_another if {
	_is_named(_payload_tenant)
	not _same(_payload_tenant, _tenant)
}

# METADATA
# title: The payload's metadata are of another tenant
_payload_names_another if {
	_is_named(_metadata_tenant)
	not _same(_metadata_tenant, _tenant)
}

# METADATA
# title: Present, and neither null nor empty
# description: A number or an object is named, and is the same as nothing.
_is_named(value) if {
	not value in {null, ""}
}

# METADATA
# title: Two non-empty strings that are equal
# description: Missing, null and empty values are never equal to anything.
_same(a, b) if {
	_is_text(a)
	a == b
}

# METADATA
# title: A non-empty string
_is_text(value) if {
	is_string(value)
	value != ""
}
