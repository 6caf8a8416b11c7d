# What the policy answers to each case of data.cases, beside what the case expects.
package soma.compare

_cases := [expected | some file in data.cases; some expected in file]

_answers[i] := {"allow": allow, "reason": decision.reason, "decided": decision.allow} if {
	some i, expected in _cases
	allow := data.soma.policy.allow with input as expected.input
	decision := data.soma.policy.decision with input as expected.input
}

_differences := [difference |
	some i, expected in _cases
	answer := object.get(_answers, i, "none")
	answer != {"allow": expected.allow, "reason": expected.reason, "decided": expected.allow}
	difference := sprintf("%s: expected \"%s\", got %v", [expected.name, expected.reason, answer])
]

# A line for each difference, and their number at the end.
report := concat("\n", array.concat(
	_differences,
	[sprintf("%d cases, %d differences", [count(_cases), count(_differences)])],
))
