#include "postgres.h"

#include "worker/metrics.h"

#include "pg/version.h"

void
smem_metrics_write(SmemBuf *out, bool openmetrics)
{
	smem_buf_puts(out, "# HELP somamem_build_info Version of the extension.\n"
					   "# TYPE somamem_build_info gauge\n"
					   "somamem_build_info{version=\"" SMEM_VERSION "\"} 1\n");
	if (openmetrics)
		smem_buf_puts(out, "# EOF\n");
}
