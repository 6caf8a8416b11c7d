#include "postgres.h"

#include "worker/stream.h"

SmemOpenStep *
smem_stream_step(SmemStream *st, int i)
{
	return &st->steps[(st->first_step + i) % SMEM_STEPS];
}

SmemOpenStep *
smem_stream_newest(SmemStream *st)
{
	return smem_stream_step(st, st->nsteps - 1);
}

void
smem_stream_begin(SmemStream *st, const SmemPosition *position)
{
	smem_moment_copy(&st->last, &position->from);
	smem_moment_copy(&st->from, &position->from);
}

static SmemOpenStep *
add_step(SmemStream *st, TimestampTz from_time)
{
	SmemOpenStep *open = smem_stream_step(st, st->nsteps++);

	memset(open, 0, sizeof(*open));
	open->number = st->next_number++;
	open->from_time = from_time;
	return open;
}

void
smem_stream_open_step(SmemStream *st, SmemSink sink, SmemMoment *to, int64_t after_id,
					  TimestampTz from_time)
{
	SmemOpenStep *open = add_step(st, from_time);

	open->step.from = st->last;
	open->step.to = *to;
	smem_moment_copy(&st->last, to);
	smem_step_begin(&open->step, sink, after_id);
}

void
smem_stream_fork(SmemStream *st, SmemStream *from)
{
	SmemOpenStep *origin = smem_stream_newest(from);
	SmemOpenStep *open = add_step(st, origin->from_time);

	smem_step_copy(&open->step, &origin->step);
	smem_moment_copy(&st->from, &origin->step.from);
	smem_moment_copy(&st->last, &origin->step.to);
	st->last_time = from->last_time;
}

bool
smem_stream_unread(SmemStream *st)
{
	return st->nsteps > 0 && !smem_stream_newest(st)->step.all_read;
}

static void
drop_step(SmemStream *st)
{
	SmemOpenStep *open = smem_stream_step(st, 0);

	smem_moment_free(&st->from);
	smem_moment_copy(&st->from, &open->step.to);
	smem_step_free(&open->step);
	st->first_step = (st->first_step + 1) % SMEM_STEPS;
	st->nsteps--;
	st->moved = true;
}

void
smem_stream_retire(SmemStream *st)
{
	while (st->nsteps > 0 && smem_stream_step(st, 0)->step.all_read &&
		   smem_stream_step(st, 0)->rows == 0)
		drop_step(st);
}

void
smem_stream_position(SmemStream *st, const SmemWindow *window, int n, SmemPosition *position)
{
	int		   left[SMEM_STEPS];
	SmemEntry *next = NULL;
	dlist_iter iter;

	for (int i = 0; i < st->nsteps; i++)
		left[i] = smem_stream_step(st, i)->rows;
	dlist_foreach (iter, (dlist_head *) &window->list[st->list])
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (n-- == 0)
		{
			next = entry;
			break;
		}
		left[entry->step - smem_stream_step(st, 0)->number]--;
	}
	memset(position, 0, sizeof(*position));
	position->from = st->from;
	for (int i = 0; i < st->nsteps; i++)
	{
		SmemOpenStep *open = smem_stream_step(st, i);

		if (open->step.all_read && left[i] == 0)
		{
			position->from = open->step.to;
			continue;
		}
		position->in_step = true;
		position->to = open->step.to;
		position->after_id =
			next != NULL && next->step == open->number ? next->id - 1 : open->step.read_id;
		return;
	}
}

void
smem_stream_row_gone(SmemStream *st, const SmemEntry *entry)
{
	smem_stream_step(st, (int) (entry->step - smem_stream_step(st, 0)->number))->rows--;
}

void
smem_stream_end(SmemStream *st)
{
	while (st->nsteps > 0)
		drop_step(st);
	smem_moment_free(&st->from);
	smem_moment_free(&st->last);
	if (st->closed)
		smem_moment_free(&st->until);
	pfree(st->tenant);
	st->tenant = NULL;
	st->closed = false;
}
