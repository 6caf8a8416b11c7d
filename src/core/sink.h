/*
 * The sinks, numbered as they stand in shared memory and in every loop.
 */
#ifndef SMEM_CORE_SINK_H
#define SMEM_CORE_SINK_H

#include <stdbool.h>

typedef enum SmemSink
{
	SMEM_SINK_SOMABRAIN = 0,
	SMEM_SINK_KAFKA = 1
} SmemSink;

#define SMEM_SINKS 2

static inline const char *
smem_sink_name(SmemSink sink)
{
	return sink == SMEM_SINK_SOMABRAIN ? "somabrain" : "kafka";
}

#endif
