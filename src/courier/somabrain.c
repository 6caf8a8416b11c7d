/*
 * The SomaBrain sink: its settings, its state, its place in the loop.
 */
#include "courier/brain.h"

#include <stdio.h>
#include <string.h>

#define SMEM_ANSWER_MAX ((size_t) 8 * 1024 * 1024)
#define SMEM_ANSWER_BASE ((size_t) 64 * 1024)
#define SMEM_ANSWER_ITEM ((size_t) 16 * 1024) /* a result has a coordinate, warnings, some words */
#define SMEM_ROOM ((size_t) 32 * 1024 * 1024) /* no more rows are taken above this */
#define SMEM_ITEMS_MAX 10000
#define SMEM_THRESHOLD 3 /* failures in a row that open the circuit */
#define SMEM_URL_MAX 8192

/* A row leaves its lane without having been sent. */
static void
drop_row(void *arg, const SmemItem *item, SmemOutcomeKind kind, uint32_t delay_ms)
{
	SmemBrain  *brain = arg;
	SmemOutcome out = {.id = item->row.id, .kind = (uint8_t) kind, .delay_ms = delay_ms};

	if (kind == SMEM_OUTCOME_HELD)
	{
		out.class = smem_str("http_429");
		out.reason = smem_str("service throttles the tenant");
	}
	smem_host_outcome(brain->host, &out);
}

static void
put_back_all(SmemList *batches)
{
	SmemNode *node;

	while ((node = smem_list_first(batches)) != NULL)
	{
		SmemBatch *batch = SMEM_HOLDER(node, SmemBatch, node);

		smem_brain_put_back(batch, batch->split.rows);
	}
}

static void
close_sink(void *sink)
{
	SmemBrain *brain = sink;

	if (brain == NULL)
		return;
	smem_http_close(brain->http);
	/* The lanes own the rows. */
	put_back_all(&brain->on_wire);
	put_back_all(&brain->waiting);
	smem_lanes_free(brain->lanes);
	smem_secret_free(&brain->token);
	for (int i = 0; i < SMEM_BRAIN_FORMS; i++)
		smem_buf_free(&brain->url[i]);
	smem_buf_free(&brain->scratch);
	smem_release(brain->results);
	smem_release(brain);
}

static void *
open_sink(SmemHost *host)
{
	SmemBrain *brain = smem_alloc(sizeof(*brain));

	if (brain == NULL)
		return NULL;
	brain->host = host;
	smem_list_init(&brain->waiting);
	smem_list_init(&brain->on_wire);
	brain->waiting_next = SMEM_TIME_NEVER;
	smem_secret_init(&brain->token);
	for (int i = 0; i < SMEM_BRAIN_FORMS; i++)
		smem_buf_init(&brain->url[i], SMEM_URL_MAX);
	smem_buf_init(&brain->scratch, SMEM_ANSWER_MAX);
	smem_breaker_init(&brain->brk, SMEM_THRESHOLD);
	brain->lanes = smem_lanes_new(drop_row, brain);
	brain->http = smem_http_open(host, SMEM_ANSWER_MAX);
	brain->results = smem_alloc(SMEM_ITEMS_MAX * sizeof(*brain->results));
	if (brain->lanes == NULL || brain->http == NULL || brain->results == NULL)
	{
		close_sink(brain);
		return NULL;
	}
	return brain;
}

static size_t
without_slashes(const char *text)
{
	size_t n = strlen(text);

	while (n > 0 && text[n - 1] == '/')
		n--;
	return n;
}

/* Builds the three addresses; false when the setting is no address. */
static bool
set_urls(SmemBrain *brain, const char *url, const char *prefix)
{
	static const char *const paths[] = {"/memory/remember/batch", "/memory/remember", "/remember"};
	size_t					 base = without_slashes(url);
	size_t					 prefixed = without_slashes(prefix);

	for (int i = 0; i < SMEM_BRAIN_FORMS; i++)
	{
		SmemBuf *buf = &brain->url[i];

		smem_buf_reset(buf);
		smem_buf_append(buf, url, base);
		/* The legacy form is older than any prefix. */
		if (prefixed > 0 && i != SMEM_BRAIN_LEGACY)
		{
			if (prefix[0] != '/')
				smem_buf_putc(buf, '/');
			smem_buf_append(buf, prefix, prefixed);
		}
		smem_buf_puts(buf, paths[i]);
		if (buf->failed)
			return false;
	}
	return strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
}

static void
set_limits(SmemBrain *brain, const SmemConfig *config)
{
	brain->timeout = smem_config_int(config, "somabrain_timeout", 5000, 1, 3600000) * SMEM_MSEC;
	brain->concurrency = (uint32_t) smem_config_int(config, "somabrain_concurrency", 8, 1, 256);
	brain->take.items =
		(uint32_t) smem_config_int(config, "somabrain_batch_items", 100, 1, SMEM_ITEMS_MAX);
	brain->take.bytes =
		(size_t) smem_config_int(config, "somabrain_batch_bytes", 1000000, 1, 32 * 1024 * 1024);
	brain->retry.initial = smem_config_int(config, "retry_initial", 1000, 1, 86400000) * SMEM_MSEC;
	brain->retry.max = smem_config_int(config, "retry_max", 60000, 1, 86400000) * SMEM_MSEC;
	brain->items_limit = brain->take.items;
	brain->passes_in_row = 0;
}

/* Answers grow with what is asked; as many as there are connections may be held at once. */
static size_t
max_answer(const SmemBrain *brain)
{
	size_t bytes = SMEM_ANSWER_BASE + SMEM_ANSWER_ITEM * brain->take.items;

	return bytes < SMEM_ANSWER_MAX ? bytes : SMEM_ANSWER_MAX;
}

static void
wake(void *sink)
{
	SmemBrain *brain = sink;

	brain->check_due = 0;
	smem_breaker_wake(&brain->brk, brain->host->now);
	smem_lanes_wake(brain->lanes);
	smem_brain_release_waiting(brain);
}

static void
configure(void *sink, const SmemConfig *config)
{
	SmemBrain *brain = sink;
	bool	   ok = set_urls(brain, smem_config_text(config, "somabrain_url", ""),
							 smem_config_text(config, "somabrain_path_prefix", ""));

	set_limits(brain, config);
	smem_http_set_max_answer(brain->http, max_answer(brain));
	ok = smem_http_set_ca_file(brain->http, smem_config_text(config, "somabrain_ca_file", NULL)) &&
		 ok;
	smem_secret_set(&brain->token, smem_config_text(config, "somabrain_token_file", NULL));
	brain->form = SMEM_BRAIN_BATCH;
	brain->forms_refused = 0;
	brain->usable = ok;
	if (!ok)
	{
		/* Without addresses nothing is checked again before the next settings. */
		for (int i = 0; i < SMEM_BRAIN_FORMS; i++)
			smem_buf_reset(&brain->url[i]);
		smem_error_set(&brain->settings_error, SMEM_ERROR_CONFIG, false,
					   "setting \"somamem.somabrain_url\" is no http or https address");
	}
	wake(brain);
}

static bool
accept_row(void *sink, const SmemRow *row)
{
	SmemBrain *brain = sink;

	return smem_lanes_push(brain->lanes, row, brain->host->now);
}

static bool
has_room(void *sink)
{
	SmemBrain *brain = sink;

	return smem_lanes_bytes(brain->lanes) < SMEM_ROOM;
}

static void
pause_sink(void *sink, bool paused)
{
	((SmemBrain *) sink)->paused = paused;
}

static SmemTime
tick(void *sink)
{
	SmemBrain *brain = sink;
	SmemTime   work = smem_brain_dispatch(brain);
	uint32_t   in_flight = brain->in_flight;
	SmemTime   timer = smem_http_tick(brain->http);

	/* A call that ended at once has changed what may go. */
	return brain->in_flight < in_flight ? brain->host->now : smem_time_min(work, timer);
}

static SmemTime
next_attempt(const SmemBrain *brain)
{
	SmemTime at = smem_breaker_next(&brain->brk, brain->host->now);

	if (brain->paused)
		return SMEM_TIME_NEVER;
	if (brain->brk.state != SMEM_BREAKER_CLOSED || at > brain->host->now)
		return at;
	return brain->waiting_count > 0 ? brain->waiting_next : SMEM_TIME_NEVER;
}

static void
fill_state(void *sink, SmemSinkState *state)
{
	SmemBrain				*brain = sink;
	static const SmemCircuit circuits[] = {
		[SMEM_BREAKER_CLOSED] = SMEM_CIRCUIT_CLOSED,
		[SMEM_BREAKER_HALF_OPEN] = SMEM_CIRCUIT_HALF_OPEN,
		[SMEM_BREAKER_OPEN] = SMEM_CIRCUIT_OPEN,
	};

	memset(state, 0, sizeof(*state));
	state->circuit = (uint8_t) circuits[brain->brk.state];
	state->failures = brain->brk.failures;
	state->retries = brain->retries;
	state->in_flight = brain->in_flight;
	state->queued = smem_lanes_count(brain->lanes);
	/* Coarse, so that two clocks read one after the other do not make it change. */
	state->next_attempt_us = smem_host_wall(brain->host, next_attempt(brain)) / 100000 * 100000;
	if (!brain->usable)
	{
		state->circuit = SMEM_CIRCUIT_OPEN;
		state->last_error = smem_str(brain->settings_error.text);
	}
	else if (brain->failing)
		state->last_error = smem_str(brain->last_error);
}

const SmemSinkOps smem_somabrain_sink = {
	.name = "somabrain",
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
