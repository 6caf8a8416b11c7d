/*
 * Whose a row is, in 64 bits: what the shipment log keeps of a tenant and a
 * session, so that erase finds their receipts when their rows are gone.
 *
 * Upper half: hash of the tenant.  Lower half: hash of tenant and session.
 * The value stands in tables and dumps, and must be the same wherever it is
 * computed: FNV-1a with 64 bits over the names in UTF-8, a zero byte between
 * them, then the finalizer of MurmurHash3, because halves of FNV-1a alone
 * differ too little between names that do.
 */
#ifndef SMEM_CORE_OWNER_H
#define SMEM_CORE_OWNER_H

#include "core/frame.h"

/* Of a row whose names are not known: it has no receipt, either. */
#define SMEM_OWNER_UNKNOWN ((uint64_t) 0)

/* What two owners have in common who are the same tenant, or the same session of one. */
#define SMEM_OWNER_TENANT ((uint64_t) 0xFFFFFFFF00000000)
#define SMEM_OWNER_SESSION ((uint64_t) 0xFFFFFFFFFFFFFFFF)

extern uint64_t smem_owner(SmemStr tenant, SmemStr session);

#endif
