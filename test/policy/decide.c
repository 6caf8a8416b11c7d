/*
 * The built-in rules as a filter: an input in JSON on each line, and for each
 * a line "allow rule reason" with allow 1 or 0, or "none" where the input is
 * no JSON object.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/policy.h"

#define MAX_BYTES ((size_t) 64 * 1024 * 1024)

static void
decide(SmemStr line, SmemBuf *arena)
{
	SmemPolicyInput	   input;
	SmemPolicyDecision decision;

	if (!smem_policy_read(line, arena, &input))
	{
		puts("none");
		return;
	}
	decision = smem_policy_decide(&input);
	printf("%d %s %s\n", decision.allow, smem_policy_rule_name(decision.rule),
		   smem_policy_reason(decision.rule));
}

int
main(void)
{
	char   *text = NULL;
	size_t	size = 0;
	ssize_t n;
	SmemBuf arena;

	smem_buf_init(&arena, MAX_BYTES);
	while ((n = getline(&text, &size, stdin)) > 0)
	{
		SmemStr line = {text, (size_t) n};

		smem_buf_reset(&arena);
		decide(line, &arena);
	}
	smem_buf_free(&arena);
	free(text);
	return ferror(stdin) || fflush(stdout) != 0 ? 1 : 0;
}
