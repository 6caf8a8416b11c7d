# Every case of cases/*.json, and that there is a decision for what no case can hold.
#
# The cases are data.cases, with a member for each file: test/policy/run loads them so.
package soma.policy_test

import data.soma.policy

_cases := [expected | some file in data.cases; some expected in file]

_actions := [
	{"action": "memory.write", "resource": "somabrain"},
	{"action": "memory.write", "resource": "conversation_memory"},
	{"action": "memory.recall"},
	{"action": "memory.delete"},
	{"action": "conversation.send"},
	{"action": "conversation.reset"},
	{"action": "conversation.delete"},
	{"action": "tool.execute", "resource": "echo"},
	{"action": "tool.execute", "resource": "timestamp"},
	{"action": "tool.execute", "resource": "document_ingest"},
	{"action": "settings.update"},
	{"action": "tool.catalog.update"},
]

# An input that all actions are allowed with, and whatever a rule looks at in it.
_good := {
	"tenant": "harbor",
	"payload": {
		"tenant": "harbor",
		"metadata": {"tenant": "harbor"},
		"content": "The tide is out.",
		"key": "theme",
		"args": {"text": "Hello", "format": "ISO", "size_bytes": 1},
	},
	"query": {"tenant": "harbor"},
	"context": {
		"is_admin": true,
		"session_tenant": "harbor",
		"session_owner": "ann",
		"user": "ann",
		"writes_last_minute": 0,
		"rate_limit_per_minute": 10,
		"pii_filter": "deny",
		"allowed_tenants": ["harbor"],
	},
}

# Null is in for a value that is missing: cases try those.
_odd := [null, true, -1.5, ["harbor"]]

_no_objects := [null, true, false, 0, "", "memory.write", [], [{"action": "memory.recall"}]]

# A decision that says the same in all of its three members, and in allow.
_is_whole(decision, allow) if {
	is_boolean(allow)
	decision == {
		"allow": decision.rule in {"allowed", "administrator"},
		"reason": policy.reasons[decision.rule],
		"rule": decision.rule,
	}
	decision.allow == allow
}

test_case[expected.name] if {
	some expected in _cases
	decision := policy.decision with input as expected.input
	allow := policy.allow with input as expected.input
	_is_whole(decision, allow)
	[allow, decision.reason] == [expected.allow, expected.reason]
}

test_names_are_unique if count({expected.name | some expected in _cases}) == count(_cases)

test_cases_are_all_there if count(_cases) >= 150

test_every_rule_decides_a_case if {
	{expected.reason | some expected in _cases} == {reason | some reason in policy.reasons}
}

test_no_object_is_no_known_action if {
	every value in _no_objects {
		decision := policy.decision with input as value
		allow := policy.allow with input as value
		_is_whole(decision, allow)
		decision.rule == "unknown_action"
	}
}

test_values_are_there_in_no_object if {
	every value in _no_objects {
		tenant := policy._tenant with input as value
		tenant == null
	}
}

test_no_input_is_no_known_action if {
	_is_whole(policy.decision, policy.allow)
	policy.decision.rule == "unknown_action"
}

test_odd_values_are_decided_on if {
	every action in _actions {
		good := object.union(_good, action)
		paths := [path | walk(good, [path, _]); count(path) > 0]
		every path in paths {
			every value in _odd {
				odd := json.patch(good, [{"op": "replace", "path": path, "value": value}])
				decision := policy.decision with input as odd
				allow := policy.allow with input as odd
				_is_whole(decision, allow)
			}
		}
	}
}

# Whoever takes _forbidden_to_all out of the way has not let a second tenant in.
test_writes_are_for_one_tenant if {
	every pair in [["harbor", "meadow"], ["meadow", "harbor"]] {
		payload := {"tenant": pair[0], "metadata": {"tenant": pair[1]}}
		somabrain := policy._write_somabrain with input as {"tenant": "harbor", "payload": payload}
		conversation := policy._write_conversation with input as {"tenant": "harbor", "payload": payload}
		{somabrain, conversation} == {"payload_tenant"}
	}
}

# A rule of one's own may have a name that reasons does not know: it refuses, and says its name.
test_rule_without_reason_refuses if {
	decision := policy.decision with policy._verdict as "my_rule"
	decision == {"allow": false, "reason": "my_rule", "rule": "my_rule"}
}

test_decision_that_is_none_refuses if {
	allow := policy.allow with policy.decision as {}
	allow == false
}
