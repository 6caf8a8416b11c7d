/*
 * Making sure of what others have committed.
 */
#ifndef SMEM_PG_FLUSH_H
#define SMEM_PG_FLUSH_H

#include "access/xlogdefs.h"

/* End of the WAL inserted so far, in the form that a flush may ask for. */
extern XLogRecPtr smem_wal_end(void);

/*
 * The ship gate.  Opening it makes sure that no crash of this server undoes
 * what is visible now; it returns what the synchronous standbys must have
 * before that is sent, or InvalidXLogRecPtr where nothing is asked of them.
 */
extern XLogRecPtr smem_gate_open(void);
extern bool		  smem_gate_is_passed(XLogRecPtr lsn);

/*
 * Makes everything that is visible now as durable as synchronous_commit asks
 * of this session: nothing, our disk, or the synchronous standbys' too.
 */
extern void smem_flush_as_committed(void);

#endif
