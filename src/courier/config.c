#include "courier/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SMEM_CONFIG_BYTES ((size_t) 1024 * 1024)

void
smem_config_init(SmemConfig *config)
{
	smem_buf_init(&config->text, SMEM_CONFIG_BYTES);
	config->n = 0;
}

void
smem_config_free(SmemConfig *config)
{
	smem_buf_free(&config->text);
	config->n = 0;
}

static size_t
keep_text(SmemConfig *config, SmemStr s)
{
	size_t at = smem_buf_len(&config->text);

	smem_buf_append(&config->text, s.data, s.len);
	smem_buf_putc(&config->text, '\0');
	return at;
}

bool
smem_config_add(SmemConfig *config, SmemStr name, SmemStr value)
{
	if (config->n == SMEM_CONFIG_MAX)
		return false;
	config->name[config->n] = keep_text(config, name);
	config->value[config->n] = keep_text(config, value);
	config->n++;
	return !config->text.failed;
}

bool
smem_config_read(SmemConfig *config, SmemReader *rd)
{
	uint32_t n = smem_get_u32(rd);

	smem_buf_reset(&config->text);
	config->n = 0;
	for (uint32_t i = 0; i < n && !rd->bad; i++)
	{
		SmemStr name = smem_get_str(rd);
		SmemStr value = smem_get_str(rd);

		if (rd->bad || !smem_config_add(config, name, value))
			return false;
	}
	return !rd->bad && rd->at == rd->end;
}

const char *
smem_config_text(const SmemConfig *config, const char *name, const char *fallback)
{
	const char *text = config->n > 0 ? smem_buf_head(&config->text) : NULL;

	for (int i = config->n - 1; i >= 0; i--)
	{
		if (strcmp(text + config->name[i], name) == 0)
			return text[config->value[i]] != '\0' ? text + config->value[i] : fallback;
	}
	return fallback;
}

int64_t
smem_config_int(const SmemConfig *config, const char *name, int64_t fallback, int64_t min,
				int64_t max)
{
	const char *text = smem_config_text(config, name, NULL);
	char	   *end;
	long long	v;

	if (text == NULL)
		return fallback;
	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0')
		return fallback;
	return v < min ? min : v > max ? max : v;
}

bool
smem_config_bool(const SmemConfig *config, const char *name, bool fallback)
{
	const char *text = smem_config_text(config, name, NULL);

	if (text == NULL)
		return fallback;
	return strcmp(text, "on") == 0 || strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
}
