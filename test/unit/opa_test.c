/*
 * Decisions of Open Policy Agent: each kind of answer, the reason of a denial,
 * and the circuit.
 */
#include "opa_bed.h"

typedef struct Case
{
	const char *title;
	Reply		reply;
	const char *reason; /* begin of it */
	bool		server; /* the server's fault: in a row, such answers open the circuit */
} Case;

static const char *large; /* an answer beyond every ceiling */

static const Case cases[] = {
	{"nothing", {.manner = ANSWER, .status = 200, .body = "{}"}, "undefined decision", false},
	{"a string",
	 {.manner = ANSWER, .status = 200, .body = "{\"result\": \"true\"}"},
	 "decision of the policy is not a boolean",
	 false},
	{"a number",
	 {.manner = ANSWER, .status = 200, .body = "{\"result\": 1}"},
	 "decision of the policy is not a boolean",
	 false},
	{"null",
	 {.manner = ANSWER, .status = 200, .body = "{\"result\": null}"},
	 "decision of the policy is not a boolean",
	 false},
	{"an object",
	 {.manner = ANSWER, .status = 200, .body = "{\"result\": {\"allow\": true}}"},
	 "decision of the policy is not a boolean",
	 false},
	{"an array", {.manner = ANSWER, .status = 200, .body = "[true]"}, "answer of", true},
	{"no JSON", {.manner = ANSWER, .status = 200, .body = "true!"}, "answer of", true},
	{"half of it",
	 {.manner = ANSWER, .status = 200, .body = "{\"result\": true"},
	 "answer of",
	 true},
	{"no body", {.manner = ANSWER, .status = 200}, "answer of", true},
	{"201",
	 {.manner = ANSWER, .status = 201, .body = "{\"result\": true}"},
	 "Open Policy Agent answered with status 201",
	 false},
	{"307",
	 {.manner = ANSWER, .status = 307, .headers = "Location: /elsewhere\r\n"},
	 "Open Policy Agent answered with status 307",
	 false},
	{"400", {.manner = ANSWER, .status = 400}, "Open Policy Agent answered with status 400", false},
	{"500",
	 {.manner = ANSWER, .status = 500, .body = "{\"result\": true}"},
	 "Open Policy Agent answered with status 500",
	 true},
	{"silence", {.manner = HANG}, "Open Policy Agent did not answer in time", true},
	{"a reset", {.manner = RESET}, "connection to Open Policy Agent gave no", true},
	{"no HTTP",
	 {.manner = RAW, .body = "SSH-2.0-OpenSSH_9.2\r\n\r\n"},
	 "connection to Open Policy Agent gave no",
	 true},
	{"an endless answer",
	 {.manner = ANSWER, .status = 200},
	 "answer of Open Policy Agent is too",
	 true},
};

#define CASES ((int) (sizeof(cases) / sizeof(cases[0])))

static bool checks_too;

/* knob: which case the questions meet; the courier's own ones do, once checks_too is set. */
static Reply
answer_case(Bed *bed, const Ask *ask)
{
	Reply reply;

	if (is_check(ask) && !checks_too)
		return say("{\"result\": false}");
	reply = cases[bed->knob].reply;
	if (strcmp(cases[bed->knob].title, "an endless answer") == 0)
	{
		reply.body = large;
		reply.body_len = 9 << 20;
	}
	return reply;
}

static void
check_case(int which)
{
	const char	 *title = cases[which].title;
	Bed			 *bed = opa_start(answer_case, which, "200");
	Client		  client = client_start(bed);
	const Answer *answer = ask_one(bed, &client, 1, 60000, "{\"action\":\"a secret\"}");

	tap_ok(answer->verdict == SMEM_VERDICT_FAILED &&
			   strncmp(answer->reason, cases[which].reason, strlen(cases[which].reason)) == 0,
		   "%s: no decision: %s", title, answer->reason);
	tap_ok(strstr(answer->reason, "secret") == NULL, "%s: nothing of the input in it", title);
	tap_ok(bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED, "%s: one opens no circuit", title);
	checks_too = cases[which].server;
	for (uint32_t number = 2; number < 5; number++)
		client_ask(&client, number, 60000, "{}  ");
	OPA_UNTIL(bed, &client, 1, answered == 4);
	if (cases[which].server)
		tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_OPEN &&
								  strncmp(bed->drive.error, cases[which].reason, 9) == 0),
			   "%s: three in a row do: %s", title, bed->drive.error);
	else
	{
		tap_ok(bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED, "%s: nor do three", title);
	}
	checks_too = false;
	client_close(&client);
	tap_is_int(bed_stop(bed), 0, "the courier ends well");
}

/* knob: what is said of the reason; -1: the decision is true. */
static const Reply reasons[] = {
	{.manner = ANSWER,
	 .status = 200,
	 .body = "{\"result\": {\"allow\": false, \"reason\": \"be\\u00e9cause\", \"rule\": \"pii\"}}"},
	{.manner = ANSWER, .status = 200, .body = "{\"result\": {\"reason\": \"only\"}}"},
	{.manner = ANSWER, .status = 200, .body = "{}"},
	{.manner = ANSWER, .status = 200, .body = "{\"result\": {\"reason\": 1, \"rule\": [2]}}"},
	{.manner = ANSWER, .status = 200, .body = "{\"result\": {\"reason\": \"a\\u0000b\"}}"},
	{.manner = ANSWER,
	 .status = 200,
	 .body = "{\"result\": {\"allow\": true, \"reason\": \"allowed\", \"rule\": \"allowed\"}}"},
	{.manner = ANSWER, .status = 500},
	{.manner = RESET},
	{.manner = HANG},
};

#define REASONS ((int) (sizeof(reasons) / sizeof(reasons[0])))

static Reply
answer_why(Bed *bed, const Ask *ask)
{
	if (asks_why(ask))
		return reasons[bed->knob];
	return say(bed->knob < 0 ? "{\"result\": true, \"decision_id\": \"x\"}" : "{\"result\":false}");
}

static void
check_decisions(void)
{
	static const char *const plain = "denied by the policy at /v1/data/soma/policy/allow";
	Bed						*bed = opa_start(answer_why, -1, "4000");
	Client					 client = client_start(bed);
	const Answer			*answer = ask_one(bed, &client, 0, 1000, "{\"action\":\"x\"}");

	tap_ok(answer->verdict == SMEM_VERDICT_ALLOW && !answer->reason[0] && !answer->rule[0], "true");
	for (int i = 0; i < REASONS; i++)
	{
		int64_t begin = drive_clock_us();

		bed->knob = i;
		answer = ask_one(bed, &client, (uint32_t) i + 1, 4000, "{\"action\":\"x\"}");
		tap_ok(answer->verdict == SMEM_VERDICT_DENY && answer->count == 1, "false, %d: denied", i);
		/* Silence, too: nobody would wait for it any more when all of the time is over. */
		tap_ok(drive_clock_us() - begin < 3000000, "long before its time is over");
		tap_is(answer->rule, i == 0 ? "pii" : "", "its rule");
		tap_is(answer->reason,
			   i == 0	? "be\xc3\xa9"
						  "cause"
			   : i == 1 ? "only"
						: plain,
			   "its reason");
	}
	client_close(&client);
	tap_is_int(bed_stop(bed), 0, "the courier ends well");
}

static Reply
allow(Bed *bed, const Ask *ask)
{
	(void) bed;
	(void) ask;
	return say("{\"result\": true}");
}

static void
check_circuit(void)
{
	Bed			 *bed = opa_start(allow, 0, "1000");
	Client		  client = client_start(bed);
	const Answer *answer;

	tap_ok(BED_UNTIL(bed, bed->asked > 0), "the courier asks by itself");
	tap_is_int(ask_one(bed, &client, 1, 1000, "{}")->verdict, SMEM_VERDICT_ALLOW, "allowed");
	bed_down(bed);
	answer = ask_one(bed, &client, 2, 1000, "{}");
	tap_is_int(answer->verdict, SMEM_VERDICT_FAILED, "refused: no decision");
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_OPEN && bed->drive.error[0]),
		   "refused: the circuit is open");
	tap_ok(bed->drive.state.failures < 3, "at once");
	answer = ask_one(bed, &client, 3, 1000, "{}");
	tap_ok(strncmp(answer->reason, "could not reach Open Policy Agent: ", 35) == 0, "refused: %s",
		   answer->reason);
	bed->asked = 0;
	bed_up(bed);
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED && !bed->drive.error[0]),
		   "it closes without a question of a session's");
	tap_is_int(ask_one(bed, &client, 4, 1000, "{}")->verdict, SMEM_VERDICT_ALLOW, "allowed again");
	client_close(&client);
	tap_is_int(bed_stop(bed), 0, "the courier ends well");
}

/* knob 1: nothing is answered. */
static Reply
silent(Bed *bed, const Ask *ask)
{
	(void) ask;
	return bed->knob ? (Reply){.manner = HANG} : say("{\"result\": true}");
}

/* Nobody asks: the courier finds out by itself, and while it is open it alone asks. */
static void
check_idle(void)
{
	Bed	  *bed = opa_start(silent, 0, "100");
	Client client = client_start(bed);
	int	   asked;

	BED_UNTIL(bed, bed->asked > 0);
	bed->knob = 1;
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_OPEN),
		   "silence is found without a question: %s", bed->drive.error);
	asked = bed->asked;
	for (uint32_t i = 0; i < 200; i++)
		client_ask(&client, i, 1000, "{ }");
	tap_ok(OPA_UNTIL(bed, &client, 1, answered == 200), "while it is open, everything is answered");
	tap_is_int(answers[7].verdict, SMEM_VERDICT_FAILED, "with no decision");
	tap_ok(bed->asked - asked < 20, "and goes nowhere");
	bed->knob = 0;
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED), "it closes");
	client_close(&client);
	bed_stop(bed);
}

static void
check_settings(void)
{
	static const char *const bad[] = {"ftp://x", "http://a b", ""};
	Bed						*bed = opa_start(allow, 0, "1000");
	Client					 client = client_start(bed);

	for (uint32_t i = 0; i < 3; i++)
	{
		const char *pairs[] = {"sink", "opa", "opa_url", bad[i], "opa_decision_path", "/x", NULL};

		drive_config(&bed->drive, pairs);
		BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_OPEN);
		tap_ok(ask_one(bed, &client, i, 500, "{}")->verdict == SMEM_VERDICT_FAILED &&
				   strstr(answers[i].reason, "make no http or https address") != NULL,
			   "address \"%s\": %s", bad[i], answers[i].reason);
	}
	opa_configure(bed, "1000");
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED), "better ones cure it");
	tap_is_int(ask_one(bed, &client, 9, 1000, "{}")->verdict, SMEM_VERDICT_ALLOW, "at once");
	client_close(&client);
	bed_stop(bed);
}

int
main(void)
{
	char *zeros = malloc(9 << 20);

	memset(zeros, ' ', 9 << 20);
	large = zeros;
	opa_enter();
	check_decisions();
	for (int i = 0; i < CASES; i++)
		check_case(i);
	check_circuit();
	check_idle();
	check_settings();
	opa_leave();
	free(zeros);
	return tap_done();
}
