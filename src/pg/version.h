/*
 * The version of the extension; the same as default_version in somamem.control.
 */
#ifndef SMEM_PG_VERSION_H
#define SMEM_PG_VERSION_H

#define SMEM_VERSION "0.1"

#endif
