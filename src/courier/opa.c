/*
 * The OPA sink: its settings, its state, its place in the loop.
 */
#include "courier/opa.h"

#include <stdio.h>
#include <string.h>

#define SMEM_OPA_ANSWER ((size_t) 256 * 1024)
#define SMEM_OPA_URL 8192

static const SmemAskersOps asker_ops = {.take = smem_opa_take, .gone = smem_opa_forget};

static void
release_all(SmemOpa *opa)
{
	SmemNode *node;

	for (int i = 0; i < SMEM_OPA_REQUESTS; i++)
	{
		if (opa->request[i].taken && opa->request[i].question != NULL)
			smem_ask_release(opa->request[i].question);
	}
	while ((node = smem_list_first(&opa->queue)) != NULL)
		smem_ask_release(smem_opa_dequeue(opa, node));
}

static void
close_sink(void *sink)
{
	SmemOpa *opa = sink;

	if (opa == NULL)
		return;
	smem_http_close(opa->http);
	release_all(opa);
	smem_askers_close(opa->askers);
	smem_buf_free(&opa->path);
	smem_buf_free(&opa->decision_url);
	smem_buf_free(&opa->reason_url);
	smem_buf_free(&opa->rule);
	smem_buf_free(&opa->reason);
	smem_release(opa);
}

static void *
open_sink(SmemHost *host)
{
	SmemOpa *opa = smem_alloc(sizeof(*opa));

	if (opa == NULL)
		return NULL;
	opa->host = host;
	opa->next_deadline = SMEM_TIME_NEVER;
	smem_list_init(&opa->queue);
	smem_buf_init(&opa->path, SMEM_OPA_URL);
	smem_buf_init(&opa->decision_url, SMEM_OPA_URL);
	smem_buf_init(&opa->reason_url, SMEM_OPA_URL);
	smem_buf_init(&opa->rule, SMEM_OPA_ANSWER);
	smem_buf_init(&opa->reason, SMEM_OPA_ANSWER);
	smem_breaker_init(&opa->brk, SMEM_OPA_THRESHOLD);
	opa->http = smem_http_open(host, SMEM_OPA_ANSWER);
	opa->askers = smem_askers_open(host, &asker_ops, opa);
	if (opa->http == NULL || opa->askers == NULL)
	{
		close_sink(opa);
		return NULL;
	}
	return opa;
}

/* Printable ASCII alone makes an address. */
static bool
is_plain(const char *text)
{
	while (*text > ' ' && *text < 0x7f)
		text++;
	return *text == '\0';
}

/* The rule "decision" stands beside the one that is asked. */
static void
set_addresses(SmemOpa *opa, const char *url, const char *path)
{
	size_t		base = strlen(url);
	const char *last = strrchr(path, '/');
	size_t		beside = last != NULL ? (size_t) (last - path) + 1 : 0;

	while (base > 0 && url[base - 1] == '/')
		base--;
	smem_buf_reset(&opa->path);
	smem_buf_reset(&opa->decision_url);
	smem_buf_reset(&opa->reason_url);
	smem_buf_puts(&opa->path, path);
	smem_buf_append(&opa->decision_url, url, base);
	smem_buf_puts(&opa->decision_url, path);
	smem_buf_append(&opa->reason_url, url, base);
	smem_buf_append(&opa->reason_url, path, beside);
	smem_buf_puts(&opa->reason_url, "decision");
}

static void
wake(void *sink)
{
	SmemOpa *opa = sink;

	smem_breaker_wake(&opa->brk, opa->host->now);
	opa->check_due = opa->host->now;
}

static void
configure(void *sink, const SmemConfig *config)
{
	SmemOpa	   *opa = sink;
	const char *url = smem_config_text(config, "opa_url", "");
	const char *path = smem_config_text(config, "opa_decision_path", "");
	char		before[SMEM_OPA_URL];

	snprintf(before, sizeof(before), "%s", smem_buf_text(&opa->decision_url));
	opa->timeout = smem_config_int(config, "opa_timeout", 1000, 1, 60000) * SMEM_MSEC;
	set_addresses(opa, url, path);
	opa->usable = (strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0) &&
				  path[0] == '/' && is_plain(url) && is_plain(path) && !opa->decision_url.failed &&
				  !opa->reason_url.failed;
	if (strcmp(before, smem_buf_text(&opa->decision_url)) != 0)
	{
		/* Another server, of which nothing is known. */
		opa->generation++;
		smem_breaker_init(&opa->brk, SMEM_OPA_THRESHOLD);
		opa->last_error[0] = '\0';
	}
	if (!opa->usable)
		smem_opa_set_error(opa,
						   "settings \"somamem.opa_url\" and \"somamem.opa_decision_path\""
						   " make no http or https address",
						   "");
	wake(opa);
}

static bool
accept_row(void *sink, const SmemRow *row)
{
	(void) sink;
	(void) row;
	return false;
}

static bool
has_room(void *sink)
{
	(void) sink;
	return true;
}

static void
pause_sink(void *sink, bool paused)
{
	/* Decisions are nothing that could be put off. */
	(void) sink;
	(void) paused;
}

static SmemTime
tick(void *sink)
{
	SmemOpa *opa = sink;
	SmemTime timer;

	smem_askers_tick(opa->askers);
	if (!smem_opa_closed(opa))
		smem_opa_refuse_all(opa);
	smem_opa_expire(opa);
	smem_opa_send(opa);
	smem_opa_check(opa);
	timer = smem_http_tick(opa->http);
	/* A call that ended at once has changed what may go. */
	if (!smem_list_empty(&opa->queue) && opa->in_flight < SMEM_OPA_REQUESTS)
		return opa->host->now;
	if (!smem_list_empty(&opa->queue))
		timer = smem_time_min(timer, opa->next_deadline - SMEM_MSEC);
	timer = smem_time_min(timer, smem_opa_next_check(opa));
	return smem_time_min(timer, smem_askers_next(opa->askers));
}

static void
fill_state(void *sink, SmemSinkState *state)
{
	SmemOpa	   *opa = sink;
	const char *deaf = smem_askers_error(opa->askers);
	bool		closed = smem_opa_closed(opa) && deaf == NULL;

	memset(state, 0, sizeof(*state));
	/* A probe is this side's own: for whoever asks, the circuit is open. */
	state->circuit = closed ? SMEM_CIRCUIT_CLOSED : SMEM_CIRCUIT_OPEN;
	state->failures = opa->brk.failures;
	state->in_flight = opa->in_flight;
	state->queued = opa->queued;
	if (deaf != NULL)
		state->last_error = smem_str(deaf);
	else if (opa->last_error[0] != '\0')
		state->last_error = smem_str(opa->last_error);
}

const SmemSinkOps smem_opa_sink = {
	.name = "opa",
	.open = open_sink,
	.configure = configure,
	.accept = accept_row,
	.has_room = has_room,
	.try_now = wake,
	.pause = pause_sink,
	.tick = tick,
	.state = fill_state,
	.close = close_sink,
};
