/*
 * The properties file for librdkafka.
 *
 * Claims: whatever a file says, the promises stand; an error is one line that
 * repeats nothing that could be a secret; a secret that the client's words repeat is replaced.
 */
#include "courier/properties.h"

#include "fuzz.h"

#define SECRET "Correct-Horse+Battery"

static void
check_promise(rd_kafka_conf_t *conf, const char *name, const char *expected)
{
	char   value[128] = "";
	size_t size = sizeof(value);

	FUZZ_CLAIM(rd_kafka_conf_get(conf, name, value, &size) == RD_KAFKA_CONF_OK);
	FUZZ_CLAIM(strcmp(value, expected) == 0);
}

static void
check_conf(const char *text)
{
	SmemProperties	 props = {"127.0.0.1:9", text, 100, 65536};
	SmemError		 err = {0};
	rd_kafka_conf_t *conf = smem_properties_conf(&props, &err);

	if (conf == NULL)
	{
		FUZZ_CLAIM(err.kind == SMEM_ERROR_CONFIG && strchr(err.text, '\n') == NULL);
		FUZZ_CLAIM(strstr(err.text, SECRET) == NULL);
		return;
	}
	check_promise(conf, "enable.idempotence", "true");
	check_promise(conf, "enable.gapless.guarantee", "true");
	check_promise(conf, "bootstrap.servers", "127.0.0.1:9");
	check_promise(conf, "test.mock.num.brokers", "0");
	rd_kafka_conf_destroy(conf);
}

static void
check_censor(const char *text)
{
	char said[320];

	snprintf(said, sizeof(said), "broker: user with " SECRET " refused");
	smem_properties_censor(text, said, sizeof(said));
	FUZZ_CLAIM(strstr(said, SECRET) == NULL);
	snprintf(said, sizeof(said), "broker: %s", text);
	smem_properties_censor("", said, sizeof(said));
	for (size_t i = 0; said[i] != '\0'; i++)
		FUZZ_CLAIM(said[i] >= 0x20 && said[i] <= 0x7e);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char line[] = "\nsasl.password = " SECRET "\n";
	char			 *text = malloc(size + sizeof(line));

	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	check_conf(text);
	/* A NUL of the input would end the text before the line with the secret. */
	for (size_t i = 0; i < size; i++)
	{
		if (text[i] == '\0')
			text[i] = ' ';
	}
	memcpy(text + size, line, sizeof(line));
	check_conf(text);
	check_censor(text);
	free(text);
	return 0;
}
