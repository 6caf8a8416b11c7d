#include "postgres.h"

#include "pg/flush.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"

XLogRecPtr
smem_wal_end(void)
{
	XLogRecPtr lsn = GetXLogInsertRecPtr();

	/*
	 * On a page boundary the insert position is already behind the next
	 * page's header, which nobody has written: a flush up to there would wait
	 * for a record that does not exist.
	 */
	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		return lsn - SizeOfXLogLongPHD;
	if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return lsn - SizeOfXLogShortPHD;
	return lsn;
}

void
smem_flush_as_committed(void)
{
	XLogRecPtr lsn;

	if (synchronous_commit == SYNCHRONOUS_COMMIT_OFF)
		return;
	lsn = smem_wal_end();
	XLogFlush(lsn);
	if (!SyncRepRequested())
		return;
	HOLD_INTERRUPTS();
	SyncRepWaitForLSN(lsn, false);
	RESUME_INTERRUPTS();
}
