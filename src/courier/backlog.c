#include "courier/backlog.h"

#include <assert.h>
#include <string.h>

/* What an idle entry may keep: most rows fit, and the whole pool stays small. */
#define KEEP_BYTES 2048

bool
smem_backlog_init(SmemBacklog *rows)
{
	SmemPending *entry;

	memset(rows, 0, sizeof(*rows));
	entry = rows->pool = smem_alloc(SMEM_BACKLOG_ROWS * sizeof(SmemPending));
	if (entry == NULL)
		return false;
	for (int i = SMEM_BACKLOG_ROWS - 1; i >= 0; i--)
	{
		smem_event_init(&entry[i].event);
		entry[i].next = rows->free;
		rows->free = &entry[i];
	}
	return true;
}

void
smem_backlog_free(SmemBacklog *rows)
{
	for (int i = 0; rows->pool != NULL && i < SMEM_BACKLOG_ROWS; i++)
		smem_event_free(&rows->pool[i].event);
	smem_release(rows->pool);
	memset(rows, 0, sizeof(*rows));
}

bool
smem_backlog_has_room(const SmemBacklog *rows)
{
	return rows->free != NULL && rows->bytes < SMEM_BACKLOG_BYTES;
}

bool
smem_backlog_add(SmemBacklog *rows, const SmemRow *row)
{
	SmemPending *entry = rows->free;

	if (entry == NULL || !smem_event_build(&entry->event, row))
		return false;
	rows->free = entry->next;
	entry->id = row->id;
	entry->handed = false;
	entry->suspect = false;
	entry->tries = 0;
	entry->prev = rows->last;
	entry->next = NULL;
	if (rows->last != NULL)
		rows->last->next = entry;
	else
		rows->first = entry;
	rows->last = entry;
	if (rows->unsent == NULL)
		rows->unsent = entry;
	rows->count++;
	rows->bytes += smem_event_size(&entry->event);
	return true;
}

void
smem_backlog_hand(SmemBacklog *rows, SmemPending *row)
{
	assert(row == rows->unsent && !row->handed);
	row->handed = true;
	row->tries++;
	rows->handed++;
	rows->unsent = row->next;
}

void
smem_backlog_return(SmemBacklog *rows, SmemPending *row)
{
	assert(row->handed);
	row->handed = false;
	rows->handed--;
}

void
smem_backlog_suspect(SmemBacklog *rows, SmemPending *row)
{
	if (!row->suspect)
		rows->suspects++;
	row->suspect = true;
}

void
smem_backlog_rewind(SmemBacklog *rows)
{
	assert(rows->handed == 0);
	rows->unsent = rows->first;
}

static void
unlink_row(SmemBacklog *rows, SmemPending *row)
{
	if (row == rows->unsent)
		rows->unsent = row->next;
	if (row->prev != NULL)
		row->prev->next = row->next;
	else
		rows->first = row->next;
	if (row->next != NULL)
		row->next->prev = row->prev;
	else
		rows->last = row->prev;
}

void
smem_backlog_remove(SmemBacklog *rows, SmemPending *row)
{
	if (row->handed)
		smem_backlog_return(rows, row);
	if (row->suspect)
		rows->suspects--;
	unlink_row(rows, row);
	rows->count--;
	rows->bytes -= smem_event_size(&row->event);
	smem_buf_reset(&row->event.text);
	smem_buf_trim(&row->event.text, KEEP_BYTES);
	row->next = rows->free;
	rows->free = row;
}
