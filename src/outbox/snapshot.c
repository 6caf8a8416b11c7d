#include "postgres.h"

#include "outbox/snapshot.h"

#include "access/transam.h"
#include "access/xact.h"
#include "lib/stringinfo.h"
#include "pg/catalog.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

static int
compare_xid(const void *a, const void *b)
{
	uint64 x = *(const uint64 *) a;
	uint64 y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

bool
smem_snapshot_shows(const SmemSnapshot *snap, uint64_t xid)
{
	if (xid < snap->xmin)
		return true;
	if (xid >= snap->xmax)
		return false;
	return snap->nxip == 0 ||
		   bsearch(&xid, snap->xip, snap->nxip, sizeof(uint64), compare_xid) == NULL;
}

char *
smem_snapshot_text(const SmemSnapshot *snap)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, UINT64_FORMAT ":" UINT64_FORMAT ":", snap->xmin, snap->xmax);
	for (int i = 0; i < snap->nxip; i++)
		appendStringInfo(&text, "%s" UINT64_FORMAT, i > 0 ? "," : "", snap->xip[i]);
	return text.data;
}

void
smem_snapshot_parse(const char *text, SmemSnapshot *snap)
{
	char *at;
	int	  commas = 1;

	snap->xmin = strtoull(text, &at, 10);
	if (*at != ':')
		elog(ERROR, "malformed snapshot");
	snap->xmax = strtoull(at + 1, &at, 10);
	if (*at != ':')
		elog(ERROR, "malformed snapshot");
	at++;
	for (const char *p = at; *p != '\0'; p++)
		commas += *p == ',';
	snap->xip = palloc(sizeof(uint64) * commas);
	snap->nxip = 0;
	while (*at != '\0')
	{
		snap->xip[snap->nxip++] = strtoull(at, &at, 10);
		if (*at == ',')
			at++;
		else if (*at != '\0')
			elog(ERROR, "malformed snapshot");
	}
}

void
smem_moment_zero(SmemMoment *moment)
{
	memset(moment, 0, sizeof(*moment));
	moment->snapshot.xmin = FirstNormalTransactionId;
	moment->snapshot.xmax = FirstNormalTransactionId;
	moment->next_xid = FirstNormalTransactionId;
}

bool
smem_moment_is_zero(const SmemMoment *moment)
{
	return moment->next_xid <= FirstNormalTransactionId;
}

/* A snapshot's xid belongs to the epoch that puts it at or below the next one to be handed out. */
static uint64
widen(TransactionId xid, FullTransactionId next)
{
	uint64 epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return epoch << 32 | xid;
}

int64_t
smem_last_id(void)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum last;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(smem_relation_oid("outbox_id_seq"));
	fcinfo->args[0].isnull = false;
	last = pg_sequence_last_value(fcinfo);
	/* NULL before the first value. */
	return fcinfo->isnull ? 0 : DatumGetInt64(last);
}

void
smem_moment_take(SmemMoment *moment)
{
	Snapshot		  snapshot;
	FullTransactionId next;

	moment->high = smem_last_id();
	moment->next_xid = U64FromFullTransactionId(ReadNextFullTransactionId());

	snapshot = GetLatestSnapshot();
	next = ReadNextFullTransactionId();
	moment->snapshot.xmin = widen(snapshot->xmin, next);
	moment->snapshot.xmax = widen(snapshot->xmax, next);
	moment->snapshot.nxip = snapshot->xcnt;
	moment->snapshot.xip = palloc(sizeof(uint64) * (snapshot->xcnt + 1));
	for (uint32 i = 0; i < snapshot->xcnt; i++)
		moment->snapshot.xip[i] = widen(snapshot->xip[i], next);
	qsort(moment->snapshot.xip, snapshot->xcnt, sizeof(uint64), compare_xid);
}

void
smem_moment_copy(SmemMoment *to, const SmemMoment *from)
{
	*to = *from;
	to->snapshot.xip = palloc(sizeof(uint64) * (from->snapshot.nxip + 1));
	if (from->snapshot.nxip > 0)
		memcpy(to->snapshot.xip, from->snapshot.xip, sizeof(uint64) * from->snapshot.nxip);
}

void
smem_moment_free(SmemMoment *moment)
{
	if (moment->snapshot.xip != NULL)
		pfree(moment->snapshot.xip);
	moment->snapshot.xip = NULL;
	moment->snapshot.nxip = 0;
}

/* Of two that differ in nothing else, the later one has fewer in progress. */
bool
smem_moment_reached(const SmemMoment *moment, const SmemMoment *other)
{
	const SmemSnapshot *a = &moment->snapshot;
	const SmemSnapshot *b = &other->snapshot;

	if (moment->high < other->high || moment->next_xid < other->next_xid || a->xmax < b->xmax)
		return false;
	return moment->high > other->high || moment->next_xid > other->next_xid || a->xmax > b->xmax ||
		   a->nxip <= b->nxip;
}

bool
smem_moment_equal(const SmemMoment *a, const SmemMoment *b)
{
	return a->high == b->high && a->snapshot.xmax == b->snapshot.xmax &&
		   a->snapshot.nxip == b->snapshot.nxip &&
		   (a->snapshot.nxip == 0 ||
			memcmp(a->snapshot.xip, b->snapshot.xip, sizeof(uint64) * a->snapshot.nxip) == 0);
}
