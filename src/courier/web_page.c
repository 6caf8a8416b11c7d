/*
 * The files of webui/, as they were when this was compiled.
 */
#include "courier/web.h"

/* SMEM_WEBUI is the folder, given by the Makefile. */
#define EMBED(name, file)                                                                          \
	__asm__(".section .rodata\n" #name ":\n.incbin \"" SMEM_WEBUI "/" file "\"\n" #name            \
			"_end:\n.byte 0\n.previous\n");                                                        \
	extern const char name[] __attribute__((visibility("hidden")));                                \
	extern const char name##_end[] __attribute__((visibility("hidden")))

EMBED(smem_file_page, "index.html");
EMBED(smem_file_script, "components/health-banner.js");

SmemStr
smem_web_page(void)
{
	return (SmemStr){smem_file_page, (size_t) (smem_file_page_end - smem_file_page)};
}

SmemStr
smem_web_script(void)
{
	return (SmemStr){smem_file_script, (size_t) (smem_file_script_end - smem_file_script)};
}
