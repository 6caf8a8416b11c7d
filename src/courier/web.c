/*
 * The web sink: its settings, its state, its place in the loop.
 */
#include "courier/web.h"

#include <string.h>

#define SMEM_WEB_TROUBLE (2 * SMEM_ERROR_TEXT + 8)

static void
close_sink(void *sink)
{
	SmemWeb *web = sink;

	if (web == NULL)
		return;
	smem_listeners_close(&web->listeners);
	smem_web_stop(web);
	for (int i = SMEM_PATH_PAGE; i < SMEM_PATH_FILES_END; i++)
	{
		if (web->file[i] != NULL)
			MHD_destroy_response(web->file[i]);
	}
	if (web->live != NULL)
		MHD_destroy_response(web->live);
	smem_release(web);
}

static bool
make_files(SmemWeb *web)
{
	for (int i = SMEM_PATH_PAGE; i < SMEM_PATH_FILES_END; i++)
	{
		SmemWebType type = i == SMEM_PATH_PAGE ? SMEM_TYPE_HTML : SMEM_TYPE_SCRIPT;

		web->file[i] = smem_web_answer(web, type, smem_web_file((SmemWebPath) i));
		if (web->file[i] == NULL)
			return false;
	}
	return true;
}

static void *
open_sink(SmemHost *host)
{
	SmemWeb *web = smem_alloc(sizeof(*web));

	if (web == NULL)
		return NULL;
	web->host = host;
	smem_list_init(&web->idle);
	smem_list_init(&web->taking);
	smem_list_init(&web->fetches);
	smem_list_init(&web->done);
	smem_listeners_init(&web->listeners, host);
	web->live = smem_web_answer(web, SMEM_TYPE_TEXT, smem_str("ok\n"));
	if (web->live == NULL || !make_files(web) || !smem_web_start(web))
	{
		close_sink(web);
		return NULL;
	}
	return web;
}

static void
configure(void *sink, const SmemConfig *config)
{
	SmemWeb *web = sink;

	smem_web_configure_places(web, config);
	smem_listeners_configure(&web->listeners, config);
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
try_now(void *sink)
{
	(void) sink;
}

static void
pause_sink(void *sink, bool paused)
{
	/* Nothing here goes out by itself. */
	(void) sink;
	(void) paused;
}

static bool
take_frame(void *sink, uint8_t type, SmemReader *rd)
{
	return type == SMEM_FRAME_DOCUMENT && smem_web_take_document(sink, rd);
}

static SmemTime
tick(void *sink)
{
	SmemWeb *web = sink;
	SmemTime next;

	smem_listeners_tick(&web->listeners);
	smem_web_accept(web);
	smem_web_end_slow(web);
	smem_web_expire_fetches(web);
	smem_web_run(web);
	smem_web_send_fetches(web);
	next = smem_time_min(smem_listeners_next(&web->listeners), smem_web_next_end(web));
	return smem_time_min(next, smem_web_next_expiry(web));
}

static void
fill_state(void *sink, SmemSinkState *state)
{
	static char trouble[SMEM_WEB_TROUBLE];
	SmemWeb	   *web = sink;
	bool		served = smem_listeners_state(&web->listeners, trouble, sizeof(trouble));

	memset(state, 0, sizeof(*state));
	state->circuit = !served								 ? SMEM_CIRCUIT_OPEN
					 : smem_listeners_begin(&web->listeners) ? SMEM_CIRCUIT_HALF_OPEN
															 : SMEM_CIRCUIT_CLOSED;
	if (!served)
		state->last_error = smem_str(trouble);
}

const SmemSinkOps smem_web_sink = {
	.name = "web",
	.open = open_sink,
	.configure = configure,
	.accept = accept_row,
	.has_room = has_room,
	.try_now = try_now,
	.pause = pause_sink,
	.frame = take_frame,
	.tick = tick,
	.state = fill_state,
	.close = close_sink,
};
