/*
 * The built-in rules: who may do what to whose memory.
 *
 * One decision over one input, the same that the Rego package makes of it;
 * policy/cases is the proof.  Pure: the caller brings the writes of the last
 * minute with the input.
 */
#ifndef SMEM_CORE_POLICY_H
#define SMEM_CORE_POLICY_H

#include "core/frame.h"

typedef enum SmemPolicyRule
{
	SMEM_POLICY_ALLOWED,
	SMEM_POLICY_ADMINISTRATOR,
	SMEM_POLICY_UNKNOWN_ACTION,
	SMEM_POLICY_TOOL_UNKNOWN,
	SMEM_POLICY_PAYLOAD_TENANTS_DIFFER,
	SMEM_POLICY_SETTINGS_KEY,
	SMEM_POLICY_TENANT_MISSING,
	SMEM_POLICY_PAYLOAD_TENANT,
	SMEM_POLICY_RATE_LIMIT,
	SMEM_POLICY_PII,
	SMEM_POLICY_QUERY_TENANT,
	SMEM_POLICY_SESSION_TENANT,
	SMEM_POLICY_NOT_OWNER,
	SMEM_POLICY_ECHO_TEXT,
	SMEM_POLICY_TIMESTAMP_FORMAT,
	SMEM_POLICY_INGEST_SIZE,
	SMEM_POLICY_INGEST_TENANT,
	SMEM_POLICY_SETTINGS_SENSITIVE,
	SMEM_POLICY_NOT_ADMIN
} SmemPolicyRule;

#define SMEM_POLICY_RULES (SMEM_POLICY_NOT_ADMIN + 1)

/* Rows of the table of rules, the last one for what it does not name. */
#define SMEM_POLICY_ROWS 14

/* Writes a minute where the input names no limit; a limit of 0 is none. */
#define SMEM_POLICY_RATE_LIMIT_DEFAULT 1000

typedef enum SmemPolicyKind
{
	SMEM_POLICY_ABSENT,
	SMEM_POLICY_NULL,
	SMEM_POLICY_FALSE,
	SMEM_POLICY_TRUE,
	SMEM_POLICY_STRING, /* text is what it stands for */
	SMEM_POLICY_WHOLE,	/* a number that is whole, not negative and below 10^18 */
	SMEM_POLICY_NUMBER, /* any other number */
	SMEM_POLICY_ARRAY,	/* text is its JSON */
	SMEM_POLICY_OBJECT
} SmemPolicyKind;

typedef struct SmemPolicyValue
{
	SmemPolicyKind kind;
	SmemStr		   text;
	uint64_t	   number;
} SmemPolicyValue;

/* All that the rules look at; zeroed, it is the input {}.  Texts belong to the caller. */
typedef struct SmemPolicyInput
{
	SmemPolicyValue action;
	SmemPolicyValue resource;
	SmemPolicyValue tenant;
	SmemPolicyValue query_tenant;
	struct
	{
		SmemPolicyValue tenant;
		SmemPolicyValue metadata_tenant;
		SmemPolicyValue content;
		SmemPolicyValue key;
		SmemPolicyValue args_text;
		SmemPolicyValue args_format;
		SmemPolicyValue args_size_bytes;
	} payload;
	struct
	{
		SmemPolicyValue is_admin;
		SmemPolicyValue session_tenant;
		SmemPolicyValue session_owner;
		SmemPolicyValue user;
		SmemPolicyValue writes_last_minute;
		SmemPolicyValue rate_limit_per_minute;
		SmemPolicyValue pii_filter;
		SmemPolicyValue allowed_tenants;
	} context;
} SmemPolicyInput;

typedef struct SmemPolicyDecision
{
	bool		   allow;
	SmemPolicyRule rule;
} SmemPolicyDecision;

/*
 * Reads the input from JSON; false where that is no object, or arena failed.
 * The input points into the text and into the arena, which is not to grow
 * while the input is in use.
 */
extern bool smem_policy_read(SmemStr json, SmemBuf *arena, SmemPolicyInput *input);

/* A memory.write on somabrain of the tenant's own; content may be absent, a limit of 0 is none. */
extern void smem_policy_input_write(SmemPolicyInput *input, SmemStr tenant, SmemStr content,
									bool pii_deny, uint32_t writes_last_minute, uint32_t limit);

extern SmemPolicyDecision smem_policy_decide(const SmemPolicyInput *input);

/* The rule's short name, and the reason for people. */
extern const char *smem_policy_rule_name(SmemPolicyRule rule);
extern const char *smem_policy_reason(SmemPolicyRule rule);

/* The row of the table, SMEM_POLICY_ROWS - 1 where none fits; and its labels, which are few. */
extern int		   smem_policy_row(SmemStr action, SmemStr resource);
extern const char *smem_policy_row_action(int row);	  /* "other" for the last */
extern const char *smem_policy_row_resource(int row); /* "any" where it is not looked at */

#endif
