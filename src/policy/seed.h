/*
 * After a start of the server: what the last minute really held.
 */
#ifndef SMEM_POLICY_SEED_H
#define SMEM_POLICY_SEED_H

/*
 * Counts this database's writes of the last minute, once after each start of
 * the server.  Whoever comes meanwhile waits for the end of that, or goes away
 * where it must not wait.  Costs nothing when the server has run for a minute.
 * In a transaction.
 */
extern void smem_quota_seed(bool wait);

#endif
