/*
 * What a courier is told of the settings.
 */
#ifndef SMEM_WORKER_CONFIG_H
#define SMEM_WORKER_CONFIG_H

#include "core/buf.h"
#include "core/sink.h"

/* Append a CONFIG frame: for a sink, and for the couriers of the policy worker and the web worker. */
extern void smem_config_frame(SmemSink sink, SmemBuf *buf);
extern void smem_config_policy_frame(SmemBuf *buf);
extern void smem_config_web_frame(SmemBuf *buf);

#endif
