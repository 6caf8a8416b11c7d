#include "courier/target.h"

#include <string.h>

#include "courier/properties.h"

void
smem_target_init(SmemTarget *target)
{
	smem_buf_init(&target->brokers, SMEM_FRAME_MAX);
	smem_buf_init(&target->topic, SMEM_FRAME_MAX);
	smem_buf_init(&target->dead_letter_topic, SMEM_FRAME_MAX);
	smem_buf_init(&target->path, SMEM_FRAME_MAX);
	smem_buf_init(&target->position_topic, SMEM_FRAME_MAX);
	smem_buf_init(&target->source, SMEM_FRAME_MAX);
	smem_buf_init(&target->file, SMEM_FRAME_MAX);
	smem_buf_init(&target->used, SMEM_FRAME_MAX);
}

void
smem_target_free(SmemTarget *target)
{
	smem_buf_free(&target->brokers);
	smem_buf_free(&target->topic);
	smem_buf_free(&target->dead_letter_topic);
	smem_buf_free(&target->path);
	smem_buf_free(&target->position_topic);
	smem_buf_free(&target->source);
	smem_buf_free(&target->file);
	smem_buf_free(&target->used);
}

static void
keep_text(SmemBuf *buf, const SmemConfig *config, const char *name, const char *fallback)
{
	smem_buf_reset(buf);
	smem_buf_puts(buf, smem_config_text(config, name, fallback));
	(void) smem_buf_text(buf);
}

/* Reads the file; a file that cannot be read is a print of its own. */
static bool
take_print(SmemTarget *target, SmemBuf *print, SmemError *err)
{
	bool fine;

	err->text[0] = '\0';
	fine = smem_properties_read(smem_buf_text(&target->path), &target->file, err);
	smem_buf_reset(print);
	smem_buf_printf(print, "%s\n%s\n%s\n%s\n%s\n", smem_buf_text(&target->brokers),
					smem_buf_text(&target->topic), smem_buf_text(&target->dead_letter_topic),
					smem_buf_text(&target->path), err->text);
	smem_buf_puts(print, smem_buf_text(&target->file));
	if (target->exactly_once)
		smem_buf_printf(print, "\n%s", smem_buf_text(&target->source));
	return fine;
}

bool
smem_target_configure(SmemTarget *target, const SmemConfig *config)
{
	SmemBuf	  print;
	SmemError unused;
	bool	  same;

	keep_text(&target->brokers, config, "kafka_brokers", "");
	keep_text(&target->topic, config, "kafka_topic", "memory.wal");
	keep_text(&target->dead_letter_topic, config, "kafka_dead_letter_topic", "memory.wal.dlq");
	keep_text(&target->path, config, "kafka_config_file", "");
	keep_text(&target->source, config, "source", "somamem");
	smem_buf_reset(&target->position_topic);
	smem_buf_printf(&target->position_topic, "%s.position", smem_buf_text(&target->topic));
	target->exactly_once = smem_config_bool(config, "kafka_exactly_once", false);
	smem_buf_init(&print, SMEM_FRAME_MAX);
	(void) take_print(target, &print, &unused);
	same = strcmp(smem_buf_text(&print), smem_buf_text(&target->used)) == 0;
	smem_buf_free(&print);
	return !same;
}

bool
smem_target_use(SmemTarget *target, SmemError *err)
{
	if (!take_print(target, &target->used, err))
		return false;
	if (smem_buf_len(&target->brokers) == 0)
		return smem_error_set(err, SMEM_ERROR_CONFIG, true, "no Kafka broker is configured");
	return true;
}
