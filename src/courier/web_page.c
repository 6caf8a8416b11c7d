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
EMBED(smem_file_page_script, "components/health-page.js");
EMBED(smem_file_banner, "components/health-banner.js");
EMBED(smem_file_state, "components/health-state.js");

static SmemStr
span(const char *begin, const char *end)
{
	return (SmemStr){begin, (size_t) (end - begin)};
}

SmemStr
smem_web_file(SmemWebPath path)
{
	switch (path)
	{
		case SMEM_PATH_PAGE:
			return span(smem_file_page, smem_file_page_end);
		case SMEM_PATH_PAGE_SCRIPT:
			return span(smem_file_page_script, smem_file_page_script_end);
		case SMEM_PATH_BANNER:
			return span(smem_file_banner, smem_file_banner_end);
		case SMEM_PATH_STATE:
			return span(smem_file_state, smem_file_state_end);
		default:
			return (SmemStr){NULL, 0};
	}
}
