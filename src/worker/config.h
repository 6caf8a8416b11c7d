/*
 * What a courier is told of the settings.
 */
#ifndef SMEM_WORKER_CONFIG_H
#define SMEM_WORKER_CONFIG_H

#include "core/buf.h"
#include "core/sink.h"

/* Appends a CONFIG frame. */
extern void smem_config_frame(SmemSink sink, SmemBuf *buf);

#endif
