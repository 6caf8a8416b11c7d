/*
 * Frames of the worker, as the courier's own loop takes them, in two reads.
 *
 * Claims: a row's strings lie inside its frame, and written again it is the
 * same bytes; settings can be asked for; what makes no sense breaks the
 * courier and nothing else.
 */
#include "fuzz.h"

#define main courier_main
#include "../../src/courier/main.c"
#undef main

#include "core/lanes.h"

#define ITEMS 8

/* A sink that queues rows as the real one does, and sends them nowhere. */
typedef struct FakeSink
{
	SmemHost  *host;
	SmemLanes *lanes;
	uint32_t   dropped;
	bool	   paused;
} FakeSink;

static void
note_drop(void *arg, const SmemItem *item, SmemOutcomeKind kind, uint32_t delay_ms)
{
	FakeSink   *fake = arg;
	SmemOutcome out = {.id = item->row.id, .kind = (uint8_t) kind, .delay_ms = delay_ms};

	fake->dropped++;
	smem_host_outcome(fake->host, &out);
}

static void *
open_fake(SmemHost *host)
{
	FakeSink *fake = smem_alloc(sizeof(*fake));

	fake->host = host;
	fake->lanes = smem_lanes_new(note_drop, fake);
	return fake;
}

static void
close_fake(void *sink)
{
	FakeSink *fake = sink;

	smem_lanes_free(fake->lanes);
	smem_release(fake);
}

static void
configure_fake(void *sink, const SmemConfig *config)
{
	int64_t n = smem_config_int(config, "batch_size", 5, 1, 10);

	(void) sink;
	FUZZ_CLAIM(n >= 1 && n <= 10);
	FUZZ_CLAIM(smem_config_text(config, "source", "none") != NULL);
	(void) smem_config_bool(config, "kafka_exactly_once", false);
}

/* A row that was read is the row that was written. */
static void
check_row(const SmemRow *row)
{
	SmemBuf	   buf;
	SmemRow	   again;
	SmemReader rd;
	uint8_t	   type;

	smem_buf_init(&buf, 2 * SMEM_FRAME_MAX);
	smem_frame_row(&buf, row);
	FUZZ_CLAIM(smem_frame_next(&buf, &type, &rd) == SMEM_FRAME_READY && type == SMEM_FRAME_ROW);
	smem_get_row(&rd, &again);
	FUZZ_CLAIM(!rd.bad && rd.at == rd.end);
	FUZZ_CLAIM(again.id == row->id && again.flags == row->flags &&
			   again.attempts == row->attempts && again.created_us == row->created_us);
	FUZZ_CLAIM(again.payload.len == row->payload.len && again.key.len == row->key.len);
	smem_buf_free(&buf);
}

static bool
accept_fake(void *sink, const SmemRow *row)
{
	FakeSink *fake = sink;

	check_row(row);
	return smem_lanes_push(fake->lanes, row, fake->host->now);
}

static bool
has_room_fake(void *sink)
{
	return smem_lanes_count(((FakeSink *) sink)->lanes) < 64;
}

/* Takes a batch, and ends its rows in each of the ways there are. */
static SmemTime
tick_fake(void *sink)
{
	FakeSink *fake = sink;
	SmemTake  take = {.items = ITEMS, .bytes = 4096};
	SmemItem *items[ITEMS];
	uint32_t  n;

	n = smem_lanes_take(fake->lanes, &take, fake->host->now, items);

	FUZZ_CLAIM(n <= ITEMS);
	for (uint32_t i = n; i > 0; i--)
	{
		if (items[i - 1]->row.attempts % 3 == 1)
			smem_lanes_close(fake->lanes, items[i - 1], fake->host->now);
		else if (items[i - 1]->row.attempts % 3 == 2)
			smem_lanes_put_back(fake->lanes, &items[i - 1], 1, fake->host->now);
		else
			smem_lanes_settle(fake->lanes, items[i - 1], fake->host->now);
	}
	return SMEM_TIME_NEVER;
}

static void
try_now_fake(void *sink)
{
	smem_lanes_wake(((FakeSink *) sink)->lanes);
}

static void
pause_fake(void *sink, bool paused)
{
	((FakeSink *) sink)->paused = paused;
}

static bool
recorded_fake(void *sink, uint64_t page)
{
	(void) sink;
	return page % 2 == 0;
}

static void
state_fake(void *sink, SmemSinkState *state)
{
	state->queued = smem_lanes_count(((FakeSink *) sink)->lanes);
}

#define FAKE_OPS                                                                                   \
	.open = open_fake, .configure = configure_fake, .accept = accept_fake,                         \
	.has_room = has_room_fake, .try_now = try_now_fake, .pause = pause_fake,                       \
	.recorded = recorded_fake, .tick = tick_fake, .state = state_fake, .close = close_fake

const SmemSinkOps smem_somabrain_sink = {.name = "somabrain", FAKE_OPS};
const SmemSinkOps smem_kafka_sink = {.name = "kafka", FAKE_OPS};

/* Rows as the frame reader gives them, whatever stands in the body. */
static void
read_rows(const SmemBuf *buf)
{
	SmemReader rd;
	SmemRow	   row;
	uint8_t	   type;
	SmemStr	   frame;

	if (smem_frame_next(buf, &type, &rd) != SMEM_FRAME_READY)
		return;
	frame.data = rd.at;
	frame.len = (size_t) (rd.end - rd.at);
	FUZZ_CLAIM(smem_frame_size(buf) <= smem_buf_len(buf));
	smem_get_row(&rd, &row);
	FUZZ_CLAIM(rd.at <= rd.end);
	FUZZ_CLAIM(is_within(row.tenant, frame) && is_within(row.session, frame) &&
			   is_within(row.namespace, frame) && is_within(row.persona, frame) &&
			   is_within(row.role, frame) && is_within(row.key, frame) &&
			   is_within(row.traceparent, frame) && is_within(row.universe, frame) &&
			   is_within(row.extras, frame) && is_within(row.payload, frame));
	/* What follows the row in its frame is for a later version of it. */
	if (!rd.bad && rd.at == rd.end && type == SMEM_FRAME_ROW)
	{
		SmemBuf again;

		smem_buf_init(&again, 2 * SMEM_FRAME_MAX);
		smem_frame_row(&again, &row);
		FUZZ_CLAIM(smem_buf_len(&again) == smem_frame_size(buf) &&
				   memcmp(smem_buf_head(&again), smem_buf_head(buf), smem_buf_len(&again)) == 0);
		smem_buf_free(&again);
	}
}

static void
arrive(SmemCourier *courier, const uint8_t *bytes, size_t n)
{
	smem_buf_append(&courier->link.in, bytes, n);
	read_rows(&courier->link.in);
	while (take_frames(courier) == false && !courier->broken && !courier->link.over &&
		   !has_room(courier))
		courier->ops->tick(courier->sink);
	if (courier->sink != NULL && !courier->broken)
		courier->ops->tick(courier->sink);
	smem_link_outcomes(&courier->link);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SmemCourier courier = {0};
	Input		in = {data, size};
	size_t		first = next_byte(&in);

	if (first > in.left)
		first = in.left;
	courier.host.outcomes = &courier.outcomes;
	courier.host.frames = &courier.frames;
	courier.link.host = &courier.host;
	smem_buf_init(&courier.outcomes, SMEM_OUTCOMES_MAX);
	smem_buf_init(&courier.frames, SMEM_OUTCOMES_MAX);
	smem_buf_init(&courier.link.in, SMEM_FRAME_MAX);
	smem_buf_init(&courier.link.out, SMEM_FRAME_MAX);
	smem_config_init(&courier.config);
	arrive(&courier, in.at, first);
	if (!courier.broken && !courier.link.over)
		arrive(&courier, in.at + first, in.left - first);
	if (courier.sink != NULL)
		courier.ops->close(courier.sink);
	smem_config_free(&courier.config);
	smem_buf_free(&courier.outcomes);
	smem_buf_free(&courier.frames);
	smem_buf_free(&courier.link.in);
	smem_buf_free(&courier.link.out);
	return 0;
}
