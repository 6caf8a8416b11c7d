/*
 * Exactly once on Kafka: pages, their commits, and what is left of them when
 * the courier dies, Kafka fails or another courier takes over.
 */
#include "pages_bed.h"

#define PRODUCE 0
#define END_TXN 26

static bool
says(const Bed *bed, const char *text)
{
	return strstr(bed->drive.error, text) != NULL;
}

static void
stop(Bed *bed)
{
	tap_is_int(drive_stop(&bed->drive), 0, "the courier ends well");
	bed_free(bed);
}

static void
test_plain(const char *real)
{
	Bed *bed = bed_new(real);

	tap_ok(BED_UNTIL(bed, bed->committed_came), "COMMITTED comes before any row");
	tap_ok(bed->committed == 0 && bed->committed_rows == 0, "and names nothing on a fresh topic");
	bed->sent = 5000;
	bed_check(bed, "plain");
	printf("# %llu pages\n", (unsigned long long) bed->page);
	tap_ok(bed->page >= 3, "no page is larger than 2000 rows");
	tap_is_int(bed_read(bed, bed->position, 1, NULL, NULL), (int) bed->page,
			   "each page has its record");
	tap_ok(BED_UNTIL(bed, bed->drive.state.in_flight == 0 &&
							  bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED),
		   "nothing is in flight, and the circuit is closed");
	tap_is_int((long long) bed->drive.state.retries, 0, "nothing was tried twice");
	stop(bed);
}

static void
test_gate(const char *real)
{
	Bed *bed = bed_new(real);

	bed->slow = true;
	bed->sent = 10;
	tap_ok(BED_UNTIL(bed, bed->page == 1), "the first page is told");
	bed->sent = 500;
	bed_pass(bed, 700);
	tap_ok(bed->page == 1 && bed->heaped > 0, "the next one is not, before it is recorded");
	tap_is_int(bed_read(bed, bed->position, 1, NULL, NULL), 1, "nor committed");
	tap_ok(bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED, "which is no trouble of Kafka's");
	bed->slow = false;
	bed_record_page(bed);
	bed_check(bed, "recorded at last");
	smem_frame_number(&bed->drive.out, SMEM_FRAME_RECORDED, bed->page + 1);
	BED_UNTIL(bed, bed->drive.over);
	tap_is_int(drive_stop(&bed->drive), 1, "a page that was never told cannot be recorded");
	bed_free(bed);
}

static bool
position_is_there(Bed *bed, int pages)
{
	for (int i = 0; i < 600; i++)
	{
		if (bed_read(bed, bed->position, 1, NULL, NULL) >= pages)
			return true;
	}
	return false;
}

/* Writes only: what the courier says stays where it dies with it. */
static void
push_out(Bed *bed)
{
	for (int i = 0; i < 100 && smem_buf_len(&bed->drive.out) > 0; i++)
	{
		drive_write(&bed->drive);
		poll(NULL, 0, 1);
	}
}

static void
test_dead(const char *real)
{
	Bed *bed = bed_new(real);

	bed->large = 25;
	bed->sent = 50;
	bed_check(bed, "a row too large for the client");
	tap_ok(bed->deaths == 1 && bed->dead[25], "is dead, and no other");
	bed->large = 51;
	bed->sent = 51;
	BED_UNTIL(bed, bed->done == 51);
	bed->sent = 60;
	bed_check(bed, "a page of nothing but such a row");
	tap_is_int(bed->deaths, 2, "dead rows");
	stop(bed);
}

/* The rows of a refused batch are sent in ever smaller ones, until one is refused alone. */
static void
test_refused_batch(void)
{
	Bed *bed = bed_new(NULL);

	bed->sent = 10;
	BED_UNTIL(bed, bed->done == 10);
	rd_kafka_mock_push_request_errors(bed->cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_INVALID_RECORD);
	bed->sent = 100;
	tap_ok(BED_UNTIL(bed, bed->done == 100), "a batch refused whose rows pass alone");
	tap_ok(bed->deaths <= 1, "and no row is dead that was not alone");
	tap_ok(bed->gaps == 0 && bed->early == 0, "pages without a gap");
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED),
		   "the circuit is closed");
	stop(bed);
}

static void
test_kill_after_commit(const char *real)
{
	Bed *bed = bed_new(real);
	int	 before;

	bed->sent = 50;
	BED_UNTIL(bed, bed->done == 50);
	before = (int) bed->page;
	bed->sent = 100;
	bed_feed(bed);
	push_out(bed);
	tap_ok(position_is_there(bed, before + 1), "a page is committed");
	bed_kill(bed);
	bed_start(bed);
	tap_ok(BED_UNTIL(bed, bed->committed_came), "killed before it could say so; the next courier "
												"asks Kafka");
	tap_is_int((long long) bed->committed, before + 1, "and names the page");
	tap_ok(bed->committed_rows > 0 && bed->done == 50 + bed->committed_rows, "and its rows");
	bed->sent = 150;
	bed_check(bed, "killed between commit and outcome");
	tap_ok(bed->page > bed->committed, "numbers go on");
	stop(bed);
}

static void
test_failures(void)
{
	static const struct
	{
		int					request;
		rd_kafka_resp_err_t code;
		const char		   *title;
	} cases[] = {
		{PRODUCE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "a produce request is refused"},
		{PRODUCE, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, "fenced while producing"},
		{END_TXN, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, "the coordinator is away"},
		{END_TXN, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, "the commit fails for good"},
		{END_TXN, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, "fenced at the commit"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Bed *bed = bed_new(NULL);

		bed->sent = 100;
		BED_UNTIL(bed, bed->done == 100);
		rd_kafka_mock_push_request_errors(bed->cluster, (int16_t) cases[i].request, 1,
										  cases[i].code);
		bed->sent = 300;
		tap_ok(BED_UNTIL(bed, bed->done == 300), "%s: all rows are recorded", cases[i].title);
		tap_ok(bed->gaps == 0 && bed->early == 0,
			   "pages without a gap, rows without a second outcome");
		bed_read(bed, bed->topic, 3, bed_note, bed);
		/* The mock shows what was not committed, too; but a commit in doubt is found, not repeated. */
		if (cases[i].request == END_TXN)
			tap_is_int(bed->messages, 300, "nothing was sent twice");
		tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED &&
								  bed->drive.error[0] == '\0'),
			   "the circuit is closed again");
		stop(bed);
	}
}

static bool
pinged(Bed *bed)
{
	static uint64_t number;
	int64_t			start = drive_clock_us();

	number++;
	smem_frame_number(&bed->drive.out, SMEM_FRAME_PING, number);
	return BED_UNTIL(bed, bed->drive.pong == number) && drive_clock_us() - start < 1000000;
}

static void
test_broker_away(void)
{
	Bed *bed = bed_new(NULL);

	rd_kafka_mock_broker_set_down(bed->cluster, 1);
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_OPEN && bed->drive.error[0]),
		   "no broker at the start: the circuit opens and says why: %s", bed->drive.error);
	tap_ok(!bed->committed_came && pinged(bed), "nothing is known, and pings are answered");
	tap_is_int(bed->drive.state.in_flight, 1, "what an older courier left may still be on its way");
	rd_kafka_mock_broker_set_up(bed->cluster, 1);
	bed->sent = 300;
	tap_ok(BED_UNTIL(bed, bed->done == 300), "rows go when it is back");
	rd_kafka_mock_broker_set_down(bed->cluster, 1);
	bed->sent = 600;
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_OPEN && bed->drive.error[0]),
		   "away under load: the circuit opens");
	tap_ok(pinged(bed), "pings are answered");
	rd_kafka_mock_broker_set_up(bed->cluster, 1);
	tap_ok(BED_UNTIL(bed, bed->done == 600), "and all rows go");
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED),
		   "the circuit is closed");
	stop(bed);
}

static void
test_pause(const char *real)
{
	Bed *bed = bed_new(real);
	int	 done;

	bed->sent = 5000;
	BED_UNTIL(bed, bed->done > 0);
	smem_frame_pause(&bed->drive.out, true);
	tap_ok(BED_UNTIL(bed, bed->drive.state.paused && bed->drive.state.in_flight == 0),
		   "a pause comes to rest");
	bed_pass(bed, 200);
	done = bed->done;
	bed_pass(bed, 500);
	tap_ok(bed->done == done && done < 5000, "and no further page is committed (%d rows are)",
		   done);
	bed_read(bed, bed->topic, 3, bed_note, bed);
	if (real != NULL)
		tap_is_int(bed->messages, done, "the topic has what was told");
	smem_frame_pause(&bed->drive.out, false);
	bed_check(bed, "paused");
	stop(bed);
}

static void
test_mode_change(void)
{
	Bed				 *bed = bed_new(NULL);
	const char *const pairs[] = {"sink", "kafka", "kafka_brokers", bed->brokers, NULL};

	BED_UNTIL(bed, bed->committed_came);
	drive_config(&bed->drive, pairs);
	BED_UNTIL(bed, bed->drive.over);
	tap_is_int(drive_stop(&bed->drive), 1, "a courier keeps one promise: for the other it ends");
	bed_free(bed);
}

/* Real only: the mock neither fences nor hides. */

static void
test_rival(const char *real)
{
	Bed	 *bed = bed_new(real);
	Drive rival;

	bed->sent = 100;
	BED_UNTIL(bed, bed->done == 100);
	rival = bed->drive;
	bed_start(bed);
	tap_ok(BED_UNTIL(bed, bed->committed_came) && bed->committed > 0,
		   "a second courier of the same source takes over");
	{
		Drive second = bed->drive;

		bed->drive = rival;
		bed->given = bed->sent;
		bed->sent += 1;
		bed_send(bed, bed->sent, 60);
		bed->given = bed->sent;
		tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_OPEN &&
								  (says(bed, "fence") || says(bed, "epoch"))),
			   "the first one is fenced and says so: %s", bed->drive.error);
		tap_is_int(bed->done, 100, "and delivers nothing");
		rival = bed->drive;
		bed->drive = second;
	}
	bed->given = 0;
	bed->sent = 200;
	bed_check(bed, "the second goes on");
	kill(rival.pid, SIGKILL);
	waitpid(rival.pid, NULL, 0);
	close(rival.fd);
	stop(bed);
}

/* A transaction of another source, left open in the position topic. */
static rd_kafka_t *
open_stranger(Bed *bed)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t		*rk;

	rd_kafka_conf_set(conf, "bootstrap.servers", bed->brokers, NULL, 0);
	rd_kafka_conf_set(conf, "transactional.id", bed->topic, NULL, 0);
	rd_kafka_conf_set(conf, "log_level", "2", NULL, 0);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
	rd_kafka_init_transactions(rk, 20000);
	rd_kafka_begin_transaction(rk);
	rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(bed->position), RD_KAFKA_V_PARTITION(0),
					  RD_KAFKA_V_KEY("stranger", 8), RD_KAFKA_V_VALUE("x", 1), RD_KAFKA_V_END);
	rd_kafka_flush(rk, 20000);
	return rk;
}

static void
test_stranger(const char *real)
{
	Bed		   *bed = bed_new(real);
	rd_kafka_t *stranger;
	uint64_t	page;

	bed->sent = 10;
	BED_UNTIL(bed, bed->done == 10);
	stranger = open_stranger(bed);
	bed->sent = 20;
	BED_UNTIL(bed, bed->done == 20);
	page = bed->page;
	bed_kill(bed);
	bed_start(bed);
	bed_pass(bed, 4000);
	tap_ok(!bed->committed_came, "an open transaction hides our last record: nothing is said");
	tap_ok(bed->drive.state.circuit == SMEM_CIRCUIT_OPEN && says(bed, "another producer"),
		   "but why: %s", bed->drive.error);
	rd_kafka_abort_transaction(stranger, 20000);
	tap_ok(BED_UNTIL(bed, bed->committed_came), "until it ends");
	tap_ok(bed->committed == page, "and the record is the last one");
	bed->sent = 30;
	bed_check(bed, "a stranger's transaction");
	rd_kafka_destroy(stranger);
	stop(bed);
}

/* Many records of others lie between the end and ours. */
static void
test_far_back(const char *real)
{
	Bed				*bed = bed_new(real);
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t		*rk;
	uint64_t		 page;

	bed->sent = 10;
	BED_UNTIL(bed, bed->done == 10);
	page = bed->page;
	bed_kill(bed);
	rd_kafka_conf_set(conf, "bootstrap.servers", bed->brokers, NULL, 0);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
	for (int i = 0; i < 3000; i++)
		rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(bed->position), RD_KAFKA_V_PARTITION(0),
						  RD_KAFKA_V_KEY("other", 5), RD_KAFKA_V_VALUE("x", 1), RD_KAFKA_V_END);
	rd_kafka_flush(rk, 20000);
	rd_kafka_destroy(rk);
	bed_start(bed);
	tap_ok(BED_UNTIL(bed, bed->committed_came) && bed->committed == page,
		   "a record far from the end is found");
	bed->sent = 20;
	bed_check(bed, "far back");
	stop(bed);
}

static void
test_kills(const char *real)
{
	Bed *bed = bed_new(real);
	int	 kills = 0;

	srand(7);
	bed->sent = 15000;
	BED_UNTIL(bed, bed->committed_came);
	while (kills < 20 && bed->done < bed->sent)
	{
		bed_pass(bed, rand() % 400);
		/* Half of the deaths find what was said unread. */
		if (kills % 2 == 0)
		{
			bed_feed(bed);
			push_out(bed);
			poll(NULL, 0, rand() % 100);
		}
		bed_kill(bed);
		kills++;
		bed_start(bed);
	}
	printf("# %d kills, %llu pages\n", kills, (unsigned long long) bed->page);
	bed_check(bed, "killed at any moment");
	stop(bed);
}

static void
test_all_of(const char *real)
{
	test_plain(real);
	test_gate(real);
	test_kill_after_commit(real);
	test_dead(real);
	test_pause(real);
	test_far_back(real);
}

int
main(void)
{
	const char *real = getenv("SMEM_KAFKA_BOOTSTRAP");

	signal(SIGPIPE, SIG_IGN);
	test_all_of(NULL);
	test_failures();
	test_refused_batch();
	test_broker_away();
	test_mode_change();
	if (real == NULL || real[0] == '\0')
	{
		tap_skip("a real Kafka", "SMEM_KAFKA_BOOTSTRAP is not set");
		return tap_done();
	}
	test_all_of(real);
	test_rival(real);
	test_stranger(real);
	test_kills(real);
	return tap_done();
}
