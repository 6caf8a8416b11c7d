#include "postgres.h"

#include "pg/flush.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "pg/settings.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/lwlock.h"

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

XLogRecPtr
smem_gate_open(void)
{
	XLogRecPtr lsn = smem_wal_end();

	XLogFlush(lsn);
	return smem_guc_ship_gate == SMEM_GATE_REMOTE ? lsn : InvalidXLogRecPtr;
}

/* Asked again and again rather than waited for: a shipper that waits in there would serve nobody. */
bool
smem_gate_is_passed(XLogRecPtr lsn)
{
	XLogRecPtr confirmed;

	if (lsn == InvalidXLogRecPtr || smem_guc_ship_gate == SMEM_GATE_LOCAL ||
		SyncRepStandbyNames == NULL || SyncRepStandbyNames[0] == '\0')
		return true;
	LWLockAcquire(SyncRepLock, LW_SHARED);
	confirmed = WalSndCtl->lsn[SYNC_REP_WAIT_FLUSH];
	LWLockRelease(SyncRepLock);
	return confirmed >= lsn;
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
