# What the rules look at, as values that are always there: null where the input has none.
#
# Rules ask for these and not for input itself wherever they deny or negate: `not f(input.x)` is
# undefined where x is missing, and a refusal that is undefined does not refuse.
package soma.policy

# METADATA
# title: The input where it is an object
_document := input if {
	is_object(input)
} else := {}

# METADATA
# title: Who owns what is touched
_tenant := object.get(_document, "tenant", null)

# METADATA
# title: What is touched
_resource := object.get(_document, "resource", null)

# METADATA
# title: The tenant that is asked about
_query_tenant := object.get(_document, ["query", "tenant"], null)

# METADATA
# title: The tenant that the payload names
_payload_tenant := object.get(_document, ["payload", "tenant"], null)

# METADATA
# title: The tenant that the payload's metadata name
_metadata_tenant := object.get(_document, ["payload", "metadata", "tenant"], null)

# METADATA
# title: What is remembered
_content := object.get(_document, ["payload", "content"], null)

# METADATA
# title: The setting that is changed
_setting := object.get(_document, ["payload", "key"], null)

# METADATA
# title: The tenant of the session
_session_tenant := object.get(_document, ["context", "session_tenant"], null)

# METADATA
# title: The owner of the session
_session_owner := object.get(_document, ["context", "session_owner"], null)

# METADATA
# title: Who asks
_user := object.get(_document, ["context", "user"], null)
