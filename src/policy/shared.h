/*
 * What policy keeps in shared memory: counts of writes, figures of decisions,
 * the log of refusals.  Empty after a crash restart.
 */
#ifndef SMEM_POLICY_SHARED_H
#define SMEM_POLICY_SHARED_H

/* Asks for the memory; while libraries are preloaded. */
extern void smem_policy_install(void);

#endif
