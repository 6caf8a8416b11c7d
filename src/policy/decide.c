#include "postgres.h"

#include "policy/decide.h"

#include "core/policy.h"
#include "pg/jsonb.h"
#include "pg/ticks.h"
#include "policy/input.h"
#include "policy/opa.h"
#include "policy/quota.h"
#include "policy/refusals.h"
#include "policy/seed.h"

#define ACTION_WRITE "memory.write"
#define RESOURCE_WRITE "somabrain"

typedef struct Verdict
{
	SmemVerdictKind decided;
	bool			is_rate;
	const char	   *reason;
} Verdict;

/* Writes of one call that are decided on together. */
typedef struct Admission
{
	const SmemPolicyCaller *caller;
	const SmemPolicyWrite  *writes;
	int						n;
	uint32				   *figures; /* writes of the last minute before each */
	SmemPlaces			   *places;
	int						nplaces;
	Verdict				   *verdicts;
} Admission;

static bool
is_same(SmemStr a, SmemStr b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static uint32
nanoseconds_each(int64 since_us, int n)
{
	return (uint32) Min((smem_ticks_us() - since_us) * 1000 / n, (int64) PG_UINT32_MAX);
}

/*
 * The limit under which places are taken.  Where the rules built in decide,
 * it is theirs, and what does not fit takes none; elsewhere whoever decides
 * gets the figure, and refused writes give their places back.
 */
static uint32
places_limit(void)
{
	if (smem_guc_policy == SMEM_ENGINE_BUILTIN && !smem_guc_policy_dry_run &&
		smem_guc_rate_limit_per_minute > 0)
		return (uint32) smem_guc_rate_limit_per_minute;
	return PG_UINT32_MAX;
}

/* Runs of one tenant take their places together. */
static void
take_places(Admission *adm)
{
	uint32 limit = places_limit();

	for (int i = 0, run; i < adm->n; i += run)
	{
		SmemStr tenant = adm->writes[i].tenant;
		uint32	before;

		for (run = 1; i + run < adm->n && is_same(adm->writes[i + run].tenant, tenant);)
			run++;
		before = smem_quota_take(tenant, (uint32) run, limit, &adm->places[adm->nplaces++]);
		for (int k = 0; k < run; k++)
			adm->figures[i + k] = before + (uint32) k;
	}
}

static void
give_places_back(Admission *adm)
{
	for (int i = 0; i < adm->nplaces; i++)
		smem_quota_give_back(&adm->places[i]);
}

static void
take_decision(SmemPolicyDecision decision, Verdict *verdict)
{
	verdict->decided = decision.allow ? SMEM_DECIDED_ALLOW : SMEM_DECIDED_DENY;
	verdict->is_rate = decision.rule == SMEM_POLICY_RATE_LIMIT;
	verdict->reason = smem_policy_reason(decision.rule);
}

static void
take_answer(const SmemOpaAnswer *answer, Verdict *verdict)
{
	verdict->decided = answer->decided;
	verdict->is_rate = answer->rule != NULL &&
					   strcmp(answer->rule, smem_policy_rule_name(SMEM_POLICY_RATE_LIMIT)) == 0;
	verdict->reason = answer->reason != NULL ? answer->reason : "no reason was given";
}

static void
decide_builtin(Admission *adm)
{
	bool deny = smem_guc_pii_filter == SMEM_PII_DENY;

	for (int i = 0; i < adm->n; i++)
	{
		SmemStr			content = {NULL, 0};
		SmemPolicyInput input;

		if (deny)
			content = smem_input_utf8(smem_input_text(adm->writes[i].payload, "content"));
		smem_policy_input_write(&input, adm->writes[i].tenant, content, deny, adm->figures[i],
								(uint32) smem_guc_rate_limit_per_minute);
		take_decision(smem_policy_decide(&input), &adm->verdicts[i]);
	}
}

static SmemStr
opa_input(void *arg, int i)
{
	Admission *adm = arg;

	return smem_input_of_write(adm->caller, &adm->writes[i], adm->figures[i]);
}

static void
decide_opa(Admission *adm)
{
	SmemOpaAnswer *answers = palloc(sizeof(SmemOpaAnswer) * adm->n);

	PG_TRY();
	{
		smem_opa_ask(opa_input, adm, adm->n, answers);
	}
	PG_CATCH();
	{
		give_places_back(adm);
		PG_RE_THROW();
	}
	PG_END_TRY();
	for (int i = 0; i < adm->n; i++)
		take_answer(&answers[i], &adm->verdicts[i]);
	pfree(answers);
}

/* Counts every decision; returns the first write that is refused, or -1. */
static int
count_verdicts(Admission *adm, uint32 ns)
{
	static int row = -1;
	int		   first = -1;
	int		   n[SMEM_DECIDED] = {0};

	if (row < 0)
		row = smem_policy_row(smem_str(ACTION_WRITE), smem_str(RESOURCE_WRITE));
	for (int i = 0; i < adm->n; i++)
	{
		n[adm->verdicts[i].decided]++;
		if (first < 0 && adm->verdicts[i].decided != SMEM_DECIDED_ALLOW)
			first = i;
	}
	for (int decided = 0; decided < SMEM_DECIDED; decided++)
	{
		if (n[decided] > 0)
			smem_count_decisions(row, decided, smem_guc_policy, n[decided], ns);
	}
	return first;
}

static int
report_where(const SmemPolicyWrite *write, const char *what)
{
	if (write->ordinal > 0)
		return errmsg("policy refuses payload %d: %s", write->ordinal, what);
	return errmsg("policy refuses the write: %s", what);
}

/* The statement has the payload in it: what is refused for personal data is not to be logged with it. */
static int
hide_payload(void)
{
	errhidestmt(true);
	return errhidecontext(true);
}

static int
hint_when(SmemTime wait)
{
	if (wait == SMEM_TIME_NEVER)
		return errhint("So many never fit: write them in smaller batches.");
	return errhint("Try again in %.1f s.", (double) (wait + 99999) / SMEM_SEC);
}

static void
refuse_for_rate(const Admission *adm, const SmemPolicyWrite *write, const Verdict *verdict)
{
	int		 limit = smem_guc_rate_limit_per_minute;
	uint32	 wanted = 0;
	uint32	 figure = smem_quota_figure(write->tenant);
	SmemTime wait;

	for (int i = 0; i < adm->n; i++)
		wanted += is_same(adm->writes[i].tenant, write->tenant);
	wait = smem_quota_wait(write->tenant, wanted, limit > 0 ? (uint32) limit : PG_UINT32_MAX);
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED), report_where(write, verdict->reason),
			 hide_payload(),
			 errdetail("Tenant \"%.*s\" has written %u times in the last minute, and asks for %u"
					   " more; the setting \"somamem.rate_limit_per_minute\" is %d.",
					   (int) write->tenant.len, write->tenant.data, figure, wanted, limit),
			 hint_when(wait)));
}

static void
refuse(const Admission *adm, int i)
{
	const SmemPolicyWrite *write = &adm->writes[i];
	const Verdict		  *verdict = &adm->verdicts[i];

	if (verdict->decided == SMEM_DECIDED_NOTHING)
		ereport(
			ERROR,
			(errcode(ERRCODE_SYSTEM_ERROR), report_where(write, "there is no decision"),
			 hide_payload(),
			 errdetail("Engine \"%s\": %s.", smem_engine_name(smem_guc_policy), verdict->reason),
			 errhint("Without a decision nothing is written. The view somamem.workers and"
					 " somamem.health() show the policy worker.")));
	if (verdict->is_rate)
		refuse_for_rate(adm, write, verdict);
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), report_where(write, verdict->reason),
					hide_payload(),
					errdetail("Tenant \"%.*s\", decided by engine \"%s\".", (int) write->tenant.len,
							  write->tenant.data, smem_engine_name(smem_guc_policy))));
}

static void
note(SmemStr action, SmemStr resource, SmemStr tenant, const char *reason)
{
	SmemRefused refused = {.action = action,
						   .resource = resource,
						   .tenant = tenant,
						   .reason = reason,
						   .engine = smem_guc_policy};

	smem_refusal_note(&refused);
}

static void
decide_all(Admission *adm)
{
	int64 since = smem_ticks_us();
	int	  first;

	smem_quota_seed(true);
	take_places(adm);
	if (smem_guc_policy == SMEM_ENGINE_OPA)
		decide_opa(adm);
	else
		decide_builtin(adm);
	first = count_verdicts(adm, nanoseconds_each(since, adm->n));
	if (first < 0)
		return;
	note(smem_str(ACTION_WRITE), smem_str(RESOURCE_WRITE), adm->writes[first].tenant,
		 adm->verdicts[first].reason);
	if (smem_guc_policy_dry_run)
		return;
	give_places_back(adm);
	refuse(adm, first);
}

void
smem_policy_admit(const SmemPolicyCaller *caller, const SmemPolicyWrite *writes, int n)
{
	uint32	   figure;
	SmemPlaces places;
	Verdict	   verdict;
	Admission  adm = {.caller = caller,
					  .writes = writes,
					  .n = n,
					  .figures = &figure,
					  .places = &places,
					  .verdicts = &verdict};

	if (smem_guc_policy == SMEM_ENGINE_OFF || n == 0)
		return;
	if (n > 1)
	{
		adm.figures = palloc(sizeof(uint32) * n);
		adm.places = palloc(sizeof(SmemPlaces) * n);
		adm.verdicts = palloc(sizeof(Verdict) * n);
	}
	decide_all(&adm);
	if (n > 1)
	{
		pfree(adm.figures);
		pfree(adm.places);
		pfree(adm.verdicts);
	}
}

static bool
is_write(SmemStr action, SmemStr resource)
{
	return is_same(action, smem_str(ACTION_WRITE)) && is_same(resource, smem_str(RESOURCE_WRITE));
}

static SmemStr
one_input(void *arg, int i)
{
	return *(SmemStr *) arg;
}

/* The text has the server's figures in it already. */
static void
authorize_builtin(SmemStr text, Verdict *verdict)
{
	SmemBuf			   arena;
	SmemPolicyInput	   input;
	SmemPolicyDecision decision = {0};
	bool			   readable;

	smem_buf_init(&arena, SMEM_FRAME_MAX);
	readable = smem_policy_read(text, &arena, &input);
	if (readable)
		decision = smem_policy_decide(&input);
	smem_buf_free(&arena);
	if (!readable)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("input cannot be read"),
						errdetail("It is nested too deeply, or too large.")));
	take_decision(decision, verdict);
}

static void
decide_one(SmemStr text, Verdict *verdict)
{
	SmemOpaAnswer answer;

	if (smem_guc_policy == SMEM_ENGINE_BUILTIN)
	{
		authorize_builtin(text, verdict);
		return;
	}
	smem_opa_ask(one_input, &text, 1, &answer);
	take_answer(&answer, verdict);
	if (answer.decided == SMEM_DECIDED_NOTHING)
		verdict->reason = psprintf("there is no decision: %s", verdict->reason);
	else if (answer.decided == SMEM_DECIDED_ALLOW && answer.reason == NULL)
		verdict->reason = smem_policy_reason(SMEM_POLICY_ALLOWED);
}

/* A bound role has no say on others' tenants. */
static bool
is_of_another(const SmemPolicyCaller *caller, SmemStr tenant)
{
	return caller->is_bound && !is_same(tenant, caller->tenant);
}

void
smem_policy_authorize(const SmemPolicyCaller *caller, Jsonb *input, SmemPolicyAnswer *answer)
{
	SmemStr action = smem_input_text(&input->root, "action");
	SmemStr resource = smem_input_text(&input->root, "resource");
	SmemStr tenant = smem_input_text(&input->root, "tenant");
	bool	write = is_write(action, resource);
	Verdict verdict = {.decided = SMEM_DECIDED_DENY,
					   .reason = "the role is bound to another tenant"};
	int64	since = smem_ticks_us();

	answer->engine = smem_guc_policy;
	answer->allow = smem_guc_policy == SMEM_ENGINE_OFF;
	answer->reason = "policy is off";
	if (smem_guc_policy == SMEM_ENGINE_OFF && !is_of_another(caller, tenant))
		return;
	if (write)
		smem_quota_seed(true);
	if (!is_of_another(caller, tenant))
		decide_one(smem_input_of_caller(input, write,
										write && tenant.len > 0 ? smem_quota_figure(tenant) : 0),
				   &verdict);
	if (smem_guc_policy != SMEM_ENGINE_OFF)
		smem_count_decisions(smem_policy_row(action, resource), verdict.decided, smem_guc_policy, 1,
							 nanoseconds_each(since, 1));
	if (verdict.decided != SMEM_DECIDED_ALLOW)
		note(action, resource, tenant, verdict.reason);
	answer->allow = verdict.decided == SMEM_DECIDED_ALLOW;
	answer->reason = verdict.reason;
}
