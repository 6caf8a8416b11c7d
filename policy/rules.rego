# The rule of each action and resource: the first of its conditions that does not hold, or "allowed".
#
# An action or a resource without a rule here is refused.  What is asked of everyone, and what an
# administrator is spared, is in soma.rego.
package soma.policy

# METADATA
# title: memory.write on somabrain
# description: For the tenant that the payload names, within the rate, without PII where it is denied.
_own := _write_somabrain if {
	input.action == "memory.write"
	input.resource == "somabrain"
}

# METADATA
# title: memory.write on conversation_memory
# description: For the tenant that the metadata name, never with PII.
_own := _write_conversation if {
	input.action == "memory.write"
	input.resource == "conversation_memory"
}

# METADATA
# title: memory.recall
# description: For the tenant that the query names, in a session of that tenant.
_own := _recall if input.action == "memory.recall"

# METADATA
# title: memory.delete
# description: By the owner of the session.
_own := _delete if input.action == "memory.delete"

# METADATA
# title: conversation.send, conversation.reset and conversation.delete
# description: In a session of the tenant.
_own := _converse if input.action in {"conversation.send", "conversation.reset", "conversation.delete"}

# METADATA
# title: tool.execute on echo
# description: A text that is not too long.
_own := _echo if {
	input.action == "tool.execute"
	input.resource == "echo"
}

# METADATA
# title: tool.execute on timestamp
# description: A format that is known.
_own := _timestamp if {
	input.action == "tool.execute"
	input.resource == "timestamp"
}

# METADATA
# title: tool.execute on document_ingest
# description: A document that is not too large, for a tenant that may.
_own := _ingest if {
	input.action == "tool.execute"
	input.resource == "document_ingest"
}

# METADATA
# title: settings.update
# description: A setting that is not sensitive.
_own := _update_setting if input.action == "settings.update"

# METADATA
# title: tool.catalog.update
# description: By administrators alone.
_own := "not_admin" if input.action == "tool.catalog.update"

# METADATA
# title: Conditions of a write to somabrain
_write_somabrain := "tenant_missing" if {
	not _is_text(_tenant)
} else := "payload_tenant" if {
	_payload_names_another
} else := "payload_tenant" if {
	not _payload_names_tenant
} else := "rate_limit" if {
	not _within_rate
} else := "pii" if {
	input.context.pii_filter == "deny"
	_has_pii(_content)
} else := "allowed"

# METADATA
# title: Conditions of a write to a conversation's memory
_write_conversation := "tenant_missing" if {
	not _is_text(_tenant)
} else := "payload_tenant" if {
	not _same(_metadata_tenant, _tenant)
} else := "payload_tenant" if {
	_payload_names_another
} else := "pii" if {
	_has_pii(_content)
} else := "allowed"

# METADATA
# title: Conditions of a recall
_recall := "tenant_missing" if {
	not _is_text(_tenant)
} else := "query_tenant" if {
	not _same(_query_tenant, _tenant)
} else := "session_tenant" if {
	not _same(_session_tenant, _tenant)
} else := "allowed"

# METADATA
# title: Conditions of a deletion
_delete := "not_owner" if {
	not _same(_session_owner, _user)
} else := "allowed"

# METADATA
# title: Conditions of a conversation
_converse := "tenant_missing" if {
	not _is_text(_tenant)
} else := "session_tenant" if {
	not _same(_session_tenant, _tenant)
} else := "allowed"

# METADATA
# title: Conditions of an echo
_echo := "allowed" if {
	is_string(input.payload.args.text)
	count(input.payload.args.text) <= echo_characters
} else := "echo_text"

# METADATA
# title: Conditions of a timestamp
_timestamp := "allowed" if {
	input.payload.args.format in timestamp_formats
} else := "timestamp_format"

# METADATA
# title: Conditions of an ingestion
_ingest := "ingest_size" if {
	not _size_fits
} else := "ingest_tenant" if {
	not _tenant_may_ingest
} else := "allowed"

# METADATA
# title: Conditions of a change of a setting
_update_setting := "settings_sensitive" if {
	some word in sensitive_words
	contains(lower(_setting), word)
} else := "allowed"

# METADATA
# title: The payload names the tenant
_payload_names_tenant if _same(_payload_tenant, _tenant)

# METADATA
# title: The payload's metadata name the tenant
_payload_names_tenant if _same(_metadata_tenant, _tenant)

# METADATA
# title: The tenant has a write left in this minute
# description: context.writes_last_minute does not count the one that is asked for.
_within_rate if {
	_is_whole(_writes)
	_is_whole(_limit)
	_writes < _limit
}

# METADATA
# title: The tenant has no limit
_within_rate if {
	_is_whole(_writes)
	_limit == 0
}

# METADATA
# title: Writes of the tenant in the minute before this one
_writes := input.context.writes_last_minute if {
	input.context.writes_last_minute != null
} else := 0

# METADATA
# title: Writes that the tenant has in any minute
_limit := input.context.rate_limit_per_minute if {
	input.context.rate_limit_per_minute != null
} else := writes_per_minute

# METADATA
# title: A document that is not too large
_size_fits if {
	_is_whole(input.payload.args.size_bytes)
	input.payload.args.size_bytes <= ingest_bytes
}

# METADATA
# title: A tenant that may ingest documents
_tenant_may_ingest if {
	_is_text(_tenant)
	is_array(input.context.allowed_tenants)
	_tenant in input.context.allowed_tenants
}

# METADATA
# title: A whole number, not negative, of at most 18 digits
# description: 1.0 and 5e3 are whole. Beyond that floor is not exact any more.
_is_whole(value) if {
	is_number(value)
	value >= 0
	value < 1000000000000000000
	floor(value) == value
}
