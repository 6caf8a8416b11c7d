/*
 * Judges answers, and finds in them what they say of each row.
 */
#include "courier/brain.h"

#include <stdio.h>
#include <string.h>

#include "core/encode.h"
#include "core/json.h"

#define SMEM_COORDINATE_MAX 16384 /* a longer one is left out of the receipt */
#define SMEM_REQUEST_ID_MAX 1024
#define SMEM_DETAIL_MAX 200
#define SMEM_QUOTE 16 /* so many bytes of a row in an answer's words are a quotation */

static void
set_judgement(SmemJudgement *judgement, SmemVerdict verdict, const char *class, const char *reason)
{
	judgement->verdict = verdict;
	snprintf(judgement->class, sizeof(judgement->class), "%s", class);
	snprintf(judgement->reason, sizeof(judgement->reason), "%s", reason);
}

static void
judge_fault(const SmemHttpAnswer *answer, SmemJudgement *judgement)
{
	switch (answer->fault)
	{
		case SMEM_HTTP_TIMEOUT:
			set_judgement(judgement, SMEM_VERDICT_DOUBT, "timeout",
						  "service did not answer in time");
			break;
		case SMEM_HTTP_BROKEN:
			set_judgement(judgement, SMEM_VERDICT_DOUBT, "broken_off",
						  "connection gave no whole answer");
			break;
		case SMEM_HTTP_TOO_LARGE:
			set_judgement(judgement, SMEM_VERDICT_DOUBT, "answer_too_large",
						  "answer of the service is too long");
			break;
		case SMEM_HTTP_LOCAL:
			set_judgement(judgement, SMEM_VERDICT_SINK, "local", "courier is out of memory");
			break;
		default:
			set_judgement(judgement, SMEM_VERDICT_SINK, "unreachable", "");
			snprintf(judgement->reason, sizeof(judgement->reason), "could not reach service: %s",
					 answer->error);
			/* It may name what a server's certificate says. */
			smem_clean_text(judgement->reason);
	}
}

static SmemVerdict
judge_status(int status, bool retry_after)
{
	if (status >= 200 && status < 300)
		return SMEM_VERDICT_PASSED;
	switch (status)
	{
		case 401:
		case 403:
			return SMEM_VERDICT_SINK;
		case 404:
			return SMEM_VERDICT_FORM;
		case 408:
		case 425:
			return SMEM_VERDICT_DOUBT;
		case 429:
			return SMEM_VERDICT_TENANT;
		case 503:
			return retry_after ? SMEM_VERDICT_SINK : SMEM_VERDICT_DOUBT;
	}
	if (status >= 400 && status < 500)
		return SMEM_VERDICT_ROW;
	return status >= 500 ? SMEM_VERDICT_DOUBT : SMEM_VERDICT_SINK;
}

/* The member of the answer that says what is wrong, where it is or holds a string. */
static SmemStr
find_detail(SmemStr value, int depth)
{
	static const char *const names[] = {"detail", "error", "message", "msg"};
	SmemStr					 none = {NULL, 0};
	SmemJsonWalk			 walk;
	SmemStr					 name;
	SmemStr					 member;
	SmemStr					 found;

	if (smem_json_is_string(value))
		return depth > 0 ? value : none;
	if (depth > 3)
		return none;
	if (smem_json_array(value, &walk))
		return smem_json_element(&walk, &member) ? find_detail(member, depth + 1) : none;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (!smem_json_object(value, &walk))
			return none;
		while (smem_json_member(&walk, &name, &member))
		{
			if (!smem_json_equals(name, smem_str(names[i])))
				continue;
			found = find_detail(member, depth + 1);
			if (smem_str_present(found))
				return found;
		}
	}
	return none;
}

void
smem_brain_judge(const SmemHttpAnswer *answer, SmemJudgement *judgement)
{
	SmemStr value;

	judgement->detail.data = NULL;
	judgement->detail.len = 0;
	if (answer->fault != SMEM_HTTP_ANSWERED)
	{
		judge_fault(answer, judgement);
		return;
	}
	judgement->verdict = judge_status(answer->status, answer->retry_after_s >= 0);
	snprintf(judgement->class, sizeof(judgement->class), "http_%d", answer->status);
	if (answer->status == 401 || answer->status == 403)
		snprintf(judgement->reason, sizeof(judgement->reason),
				 "service answered %d: it does not accept the token", answer->status);
	else
		snprintf(judgement->reason, sizeof(judgement->reason), "service answered %d",
				 answer->status);
	if (judgement->verdict == SMEM_VERDICT_ROW && smem_json_check(answer->body, &value))
		judgement->detail = find_detail(value, 0);
}

static bool
quotes(SmemStr words, SmemStr text)
{
	if (words.len < SMEM_QUOTE)
		return false;
	for (size_t i = 0; i + SMEM_QUOTE <= words.len; i++)
	{
		if (memmem(text.data, text.len, words.data + i, SMEM_QUOTE) != NULL)
			return true;
	}
	return false;
}

static void
blank_controls(char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		if ((unsigned char) p[i] < 0x20 || p[i] == 0x7f)
			p[i] = ' ';
	}
}

void
smem_brain_explain(SmemJudgement *judgement, const SmemItem *item)
{
	size_t	at = strlen(judgement->reason);
	SmemBuf buf;
	SmemStr words;

	if (!smem_str_present(judgement->detail) || judgement->detail.len > 64 * 1024)
		return;
	smem_buf_init(&buf, 256 * 1024);
	smem_json_unescape(&buf, judgement->detail);
	words.data = smem_buf_text(&buf);
	words.len = smem_buf_len(&buf);
	words = smem_cut_text(words, SMEM_DETAIL_MAX);
	/* A validator's message may repeat what it refused. */
	if (words.len > 0 && !quotes(words, item->row.payload) &&
		at + words.len + 3 < sizeof(judgement->reason))
	{
		memcpy(judgement->reason + at, ": ", 2);
		memcpy(judgement->reason + at + 2, words.data, words.len);
		blank_controls(judgement->reason + at + 2, words.len);
		judgement->reason[at + 2 + words.len] = '\0';
	}
	smem_buf_free(&buf);
}

/* What is needed of an answer, or of one of its results. */
typedef struct SmemBrainMembers
{
	SmemStr ok;
	SmemStr success;
	SmemStr key;
	SmemStr results;
	SmemStr coordinate;
	SmemStr coord;
	SmemStr request_id;
} SmemBrainMembers;

static bool
read_members(SmemStr object, SmemBrainMembers *members)
{
	const struct
	{
		SmemStr	 name;
		SmemStr *value;
	} wanted[] = {
		{{"ok", 2}, &members->ok},
		{{"success", 7}, &members->success},
		{{"key", 3}, &members->key},
		{{"results", 7}, &members->results},
		{{"coordinate", 10}, &members->coordinate},
		{{"coord", 5}, &members->coord},
		{{"request_id", 10}, &members->request_id},
	};
	SmemJsonWalk walk;
	SmemStr		 name;
	SmemStr		 value;

	memset(members, 0, sizeof(*members));
	if (!smem_json_object(object, &walk))
		return false;
	while (smem_json_member(&walk, &name, &value))
	{
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		{
			if (smem_json_equals(name, wanted[i].name))
			{
				*wanted[i].value = value;
				break;
			}
		}
	}
	return true;
}

static void
fill_result(SmemBrainResult *result, const SmemBrainMembers *members)
{
	result->found = true;
	result->coordinate =
		smem_str_present(members->coordinate) ? members->coordinate : members->coord;
	result->request_id = members->request_id;
}

/* The row that a result is of: mostly the next one; n when it is of none. */
static uint32_t
match_key(SmemStr key, SmemItem **items, uint32_t n, uint32_t next)
{
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t at = (next + i) % n;

		if (smem_json_equals(key, items[at]->row.key))
			return at;
	}
	return n;
}

static int
read_batch_results(SmemStr array, SmemItem **items, uint32_t n, SmemBrainResult *results)
{
	SmemJsonWalk walk;
	SmemStr		 element;
	uint32_t	 next = 0;
	int			 found = 0;

	if (!smem_json_array(array, &walk))
		return -1;
	while (smem_json_element(&walk, &element))
	{
		SmemBrainMembers members;
		uint32_t		 at;

		if (!read_members(element, &members) || !smem_json_is_string(members.key))
			continue;
		at = match_key(members.key, items, n, next);
		if (at == n)
			continue;
		next = at + 1 < n ? at + 1 : 0;
		if (!results[at].found)
			found++;
		fill_result(&results[at], &members);
	}
	return found;
}

/* The single forms answer for the one row that was sent; where a key is shown, it must be its. */
static int
read_single_result(const SmemBrainMembers *members, SmemItem **items, SmemBrainResult *results)
{
	bool claims = smem_json_is(members->ok, "true") || smem_json_is(members->success, "true") ||
				  smem_str_present(members->coordinate) || smem_str_present(members->coord);

	if (!claims)
		return -1;
	if (smem_json_is_string(members->key) && !smem_json_equals(members->key, items[0]->row.key))
		return 0;
	fill_result(&results[0], members);
	return 1;
}

int
smem_brain_results(SmemStr body, SmemBrainForm form, SmemItem **items, uint32_t n,
				   SmemBrainResult *results, SmemJudgement *judgement)
{
	SmemBrainMembers members;
	SmemStr			 value;
	int				 found = -1;

	memset(results, 0, n * sizeof(*results));
	if (!smem_json_check(body, &value) || !read_members(value, &members))
	{
		set_judgement(judgement, SMEM_VERDICT_DOUBT, "not_contract",
					  "service answered with something that is no JSON object");
		return -1;
	}
	if (smem_json_is(members.ok, "false"))
	{
		set_judgement(judgement, SMEM_VERDICT_DOUBT, "not_ok", "service answered \"ok\": false");
		return -1;
	}
	if (!smem_str_present(members.ok) || smem_json_is(members.ok, "true"))
	{
		if (smem_str_present(members.results))
			found = read_batch_results(members.results, items, n, results);
		else if (form != SMEM_BRAIN_BATCH)
			found = read_single_result(&members, items, results);
	}
	if (found < 0)
		set_judgement(judgement, SMEM_VERDICT_DOUBT, "not_contract",
					  "answer of the service lacks what the contract asks for");
	else if (found == 0)
		set_judgement(judgement, SMEM_VERDICT_DOUBT, "no_result",
					  "answer of the service has no result for the key");
	return found > 0 ? found : -1;
}

SmemStr
smem_brain_receipt(SmemBuf *buf, const SmemBrainResult *result)
{
	SmemStr		receipt;
	const char *comma = "";

	smem_buf_reset(buf);
	smem_buf_putc(buf, '{');
	if (smem_str_present(result->coordinate) && result->coordinate.len <= SMEM_COORDINATE_MAX &&
		smem_json_storable(result->coordinate))
	{
		smem_buf_puts(buf, "\"coordinate\": ");
		smem_buf_append(buf, result->coordinate.data, result->coordinate.len);
		comma = ", ";
	}
	if (smem_json_is_string(result->request_id) && result->request_id.len <= SMEM_REQUEST_ID_MAX &&
		smem_json_storable(result->request_id))
	{
		smem_buf_puts(buf, comma);
		smem_buf_puts(buf, "\"request_id\": ");
		smem_buf_append(buf, result->request_id.data, result->request_id.len);
	}
	smem_buf_putc(buf, '}');
	receipt.data = smem_buf_text(buf);
	receipt.len = smem_buf_len(buf);
	return receipt;
}
