/*
 * librdkafka's mock cluster as a broker of its own, for error codes and delays
 * that a real Kafka does not give on demand, and for machines without Java.
 *
 * Prints "ready BOOTSTRAP" and then obeys lines on its standard input:
 *
 *   down N | up N          broker N (1..), 0: every one
 *   rtt N MS               delays the answers of broker N, 0: of every one
 *   errors API N CODE      fails the next N requests of an API key (0: Produce)
 *   topic NAME PARTITIONS  makes a topic; others appear by themselves
 *   leader TOPIC PARTITION N
 *
 * Each is answered by "ok" or "error TEXT".  End of file or SIGTERM: exit.
 * Limits: a partition keeps about 5 MB, and read_committed shows aborted
 * transactions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#define ERRORS_MAX 1000

typedef struct Mock
{
	rd_kafka_mock_cluster_t *cluster;
	int						 brokers;
} Mock;

typedef rd_kafka_resp_err_t (*BrokerCall)(rd_kafka_mock_cluster_t *cluster, int32_t broker);

static rd_kafka_resp_err_t
for_brokers(Mock *mock, int broker, BrokerCall call)
{
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
	int					i;

	for (i = 1; i <= mock->brokers && err == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		if (broker == 0 || broker == i)
			err = call(mock->cluster, i);
	return err;
}

static rd_kafka_resp_err_t
set_delay(Mock *mock, int broker, int delay_ms)
{
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
	int					i;

	for (i = 1; i <= mock->brokers && err == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		if (broker == 0 || broker == i)
			err = rd_kafka_mock_broker_set_rtt(mock->cluster, i, delay_ms);
	return err;
}

static rd_kafka_resp_err_t
push_errors(Mock *mock, int api, int n, int code)
{
	rd_kafka_resp_err_t errors[ERRORS_MAX];
	int					i;

	if (n < 1 || n > ERRORS_MAX)
		return RD_KAFKA_RESP_ERR__INVALID_ARG;
	for (i = 0; i < n; i++)
		errors[i] = (rd_kafka_resp_err_t) code;
	rd_kafka_mock_push_request_errors_array(mock->cluster, (int16_t) api, (size_t) n, errors);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t
obey(Mock *mock, const char *line)
{
	char name[200];
	int	 a;
	int	 b;
	int	 c;

	if (sscanf(line, "down %d", &a) == 1)
		return for_brokers(mock, a, rd_kafka_mock_broker_set_down);
	if (sscanf(line, "up %d", &a) == 1)
		return for_brokers(mock, a, rd_kafka_mock_broker_set_up);
	if (sscanf(line, "rtt %d %d", &a, &b) == 2)
		return set_delay(mock, a, b);
	if (sscanf(line, "errors %d %d %d", &a, &b, &c) == 3)
		return push_errors(mock, a, b, c);
	if (sscanf(line, "topic %199s %d", name, &a) == 2)
		return rd_kafka_mock_topic_create(mock->cluster, name, a, 1);
	if (sscanf(line, "leader %199s %d %d", name, &a, &b) == 3)
		return rd_kafka_mock_partition_set_leader(mock->cluster, name, a, b);
	return RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED;
}

int
main(int argc, char **argv)
{
	Mock		mock = {NULL, argc > 1 ? atoi(argv[1]) : 1};
	char		error[512];
	char		line[512];
	rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), error, sizeof(error));

	if (rk == NULL || mock.brokers < 1 ||
		(mock.cluster = rd_kafka_mock_cluster_new(rk, mock.brokers)) == NULL)
	{
		fputs("kafkamock: could not start (usage: kafkamock [BROKERS])\n", stderr);
		return 1;
	}
	printf("ready %s\n", rd_kafka_mock_cluster_bootstraps(mock.cluster));
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
	{
		rd_kafka_resp_err_t err = obey(&mock, line);

		if (err)
			printf("error %s\n", rd_kafka_err2str(err));
		else
			puts("ok");
		fflush(stdout);
	}
	rd_kafka_mock_cluster_destroy(mock.cluster);
	rd_kafka_destroy(rk);
	return 0;
}
