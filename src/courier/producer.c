#include "courier/producer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SETTLE_MS 500

/* Lives that are ending in a thread of their own. */
static pthread_mutex_t ending_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  ending_done = PTHREAD_COND_INITIALIZER;
static int			   ending;

/* Standard error belongs to the server's log; what matters comes as an event. */
static void
ignore_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	(void) rk, (void) level, (void) facility, (void) text;
}

static void
note_wakeup(void *arg, int fd, uint32_t events)
{
	uint64_t count;
	ssize_t	 n = read(fd, &count, sizeof(count));

	(void) n, (void) events;
	((SmemProducer *) arg)->woken = true;
}

static bool
open_queue(SmemProducer *prod, SmemLoop *loop, SmemError *err)
{
	uint64_t one = 1;

	prod->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (prod->fd < 0 || !smem_loop_watch(loop, prod->fd, EPOLLIN, note_wakeup, prod))
		return smem_error_set(err, SMEM_ERROR_SYSTEM, true, "could not watch the Kafka client: %s",
							  strerror(errno));
	prod->loop = loop;
	prod->queue = rd_kafka_queue_get_main(prod->rk);
	rd_kafka_queue_io_event_enable(prod->queue, prod->fd, &one, sizeof(one));
	/* What was queued before that wakes nobody. */
	prod->woken = true;
	return true;
}

static bool
open_client(SmemProducer *prod, const SmemProperties *props, SmemError *err)
{
	rd_kafka_conf_t *conf = smem_properties_conf(props, err);
	char			 text[SMEM_ERROR_TEXT];

	if (conf == NULL)
		return false;
	rd_kafka_conf_set_log_cb(conf, ignore_log);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
	prod->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	if (prod->rk == NULL)
	{
		rd_kafka_conf_destroy(conf);
		smem_properties_censor(props->file_text, text, sizeof(text));
		return smem_error_set(err, SMEM_ERROR_CONFIG, true, "could not start the Kafka client: %s",
							  text);
	}
	return true;
}

static bool
open_routes(SmemProducer *prod, const SmemTopics *topics, SmemError *err)
{
	prod->same_topic = strcmp(topics->writes, topics->dead_letters) == 0;
	return smem_route_open(&prod->routes[SMEM_ROUTE_WRITES], prod->rk, topics->writes, err) &&
		   (prod->same_topic || smem_route_open(&prod->routes[SMEM_ROUTE_DEAD_LETTERS], prod->rk,
												topics->dead_letters, err));
}

static bool
open_transactions(SmemProducer *prod, const char *topic, const SmemProperties *props,
				  SmemError *err)
{
	rd_kafka_conf_t *reader;

	if (props->transactional_id == NULL)
		return true;
	reader = smem_properties_reader(props, err);
	if (reader == NULL)
		return false;
	prod->txn = smem_txn_open(prod->loop, prod->rk, reader, topic, props->transactional_id, err);
	if (prod->txn == NULL)
		return false;
	smem_txn_order(prod->txn, SMEM_TXN_PREPARE);
	return true;
}

bool
smem_producer_open(SmemProducer *prod, SmemLoop *loop, const SmemTopics *topics,
				   const SmemProperties *props, SmemError *err)
{
	memset(prod, 0, sizeof(*prod));
	prod->fd = -1;
	if (open_client(prod, props, err) && open_queue(prod, loop, err) &&
		open_routes(prod, topics, err) && open_transactions(prod, topics->position, props, err))
		return true;
	smem_producer_close(prod);
	return false;
}

typedef struct Ending
{
	rd_kafka_t *rk;
	SmemTxn	   *txn;
} Ending;

/* Joins threads that may sit in a name server's answer: the loop cannot wait for that. */
static void *
end_life(void *arg)
{
	Ending *life = arg;

	if (life->txn != NULL)
		smem_txn_join(life->txn);
	rd_kafka_destroy(life->rk);
	smem_release(life);
	pthread_mutex_lock(&ending_lock);
	ending--;
	pthread_cond_signal(&ending_done);
	pthread_mutex_unlock(&ending_lock);
	return NULL;
}

static void
end_in_background(const SmemProducer *prod)
{
	Ending	 *life = smem_alloc(sizeof(*life));
	pthread_t thread;

	/* Without memory the program is about to end anyway. */
	if (life == NULL)
		return;
	life->rk = prod->rk;
	life->txn = prod->txn;
	pthread_mutex_lock(&ending_lock);
	ending++;
	pthread_mutex_unlock(&ending_lock);
	if (pthread_create(&thread, NULL, end_life, life) == 0)
		pthread_detach(thread);
	else
		end_life(life);
}

void
smem_producer_close(SmemProducer *prod)
{
	if (prod->rk == NULL)
		return;
	if (prod->queue != NULL)
	{
		rd_kafka_queue_io_event_enable(prod->queue, -1, NULL, 0);
		smem_loop_unwatch(prod->loop, prod->fd);
		rd_kafka_queue_destroy(prod->queue);
	}
	if (prod->fd >= 0)
		close(prod->fd);
	if (prod->held > 0)
		rd_kafka_purge(prod->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
									 RD_KAFKA_PURGE_F_NON_BLOCKING);
	for (int i = 0; i < SMEM_ROUTES; i++)
		smem_route_close(&prod->routes[i]);
	if (prod->txn != NULL)
		smem_txn_end(prod->txn);
	end_in_background(prod);
	prod->txn = NULL;
	prod->rk = NULL;
	prod->queue = NULL;
	prod->fd = -1;
	prod->held = 0;
}

bool
smem_producer_settle(void)
{
	struct timespec until;
	bool			settled;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += SETTLE_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L)
	{
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	pthread_mutex_lock(&ending_lock);
	while (ending > 0 && pthread_cond_timedwait(&ending_done, &ending_lock, &until) == 0)
		;
	settled = ending == 0;
	pthread_mutex_unlock(&ending_lock);
	return settled;
}

/* Two names of one topic are one topic to the library, and must be one route. */
static SmemRoute *
choose_route(SmemProducer *prod, const SmemEvent *ev)
{
	bool apart = ev->dead_letter && !prod->same_topic;

	return &prod->routes[apart ? SMEM_ROUTE_DEAD_LETTERS : SMEM_ROUTE_WRITES];
}

bool
smem_producer_admits(SmemProducer *prod, const SmemEvent *ev, SmemTime now)
{
	/* A transaction with a gap is never committed. */
	if (prod->txn != NULL)
		return true;
	return smem_route_admits(choose_route(prod, ev), smem_event_part(ev, ev->key), prod->held == 0,
							 now);
}

static rd_kafka_headers_t *
make_headers(const SmemEvent *ev, SmemStr source)
{
	SmemEventHeader		list[SMEM_EVENT_HEADERS];
	int					n = smem_event_headers(ev, source, list);
	rd_kafka_headers_t *headers = rd_kafka_headers_new((size_t) n);

	for (int i = 0; i < n; i++)
		rd_kafka_header_add(headers, list[i].name, -1, list[i].value.data,
							(ssize_t) list[i].value.len);
	return headers;
}

static SmemProduced
classify(rd_kafka_t *rk, rd_kafka_resp_err_t code, SmemError *err)
{
	char				text[SMEM_ERROR_TEXT];
	rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(rk, text, sizeof(text));

	/* The report of the batch that failed is on its way, and says why. */
	if (fatal == RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE || code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		return SMEM_PRODUCED_FULL;
	if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
		return SMEM_PRODUCED_TOO_LARGE;
	smem_error_set(err, SMEM_ERROR_SINK, true, "Kafka producer failed: %.200s",
				   fatal != RD_KAFKA_RESP_ERR_NO_ERROR ? text : rd_kafka_err2str(code));
	return SMEM_PRODUCED_TROUBLE;
}

SmemProduced
smem_producer_send(SmemProducer *prod, const SmemEvent *ev, SmemStr source, void *message,
				   SmemTime now, SmemError *err)
{
	SmemRoute		   *route = choose_route(prod, ev);
	SmemStr				key = smem_event_part(ev, ev->key);
	SmemStr				value = smem_event_part(ev, ev->value);
	rd_kafka_headers_t *headers = make_headers(ev, source);
	rd_kafka_error_t   *error;
	rd_kafka_resp_err_t code;
	rd_kafka_vu_t		parts[] = {
			  {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = route->topic},
			  {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *) key.data, key.len}},
			  {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *) value.data, value.len}},
			  {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
			  {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = message},
	  };

	/* Neither copied nor freed: the value stays ours, for the next life if need be. */
	error = rd_kafka_produceva(prod->rk, parts, sizeof(parts) / sizeof(parts[0]));
	if (error == NULL)
	{
		prod->held++;
		smem_route_note_sent(route, key, now);
		return SMEM_PRODUCED_OK;
	}
	code = rd_kafka_error_code(error);
	rd_kafka_error_destroy(error);
	rd_kafka_headers_destroy(headers);
	return classify(prod->rk, code, err);
}

SmemProduced
smem_producer_send_position(SmemProducer *prod, const char *topic, SmemStr key, SmemStr value,
							void *message, SmemError *err)
{
	SmemRoute		   *route = &prod->routes[SMEM_ROUTE_POSITION];
	rd_kafka_error_t   *error;
	rd_kafka_resp_err_t code;

	if (route->topic == NULL && !smem_route_open(route, prod->rk, topic, err))
		return SMEM_PRODUCED_TROUBLE;
	{
		rd_kafka_vu_t parts[] = {
			{.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = route->topic},
			{.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = 0},
			{.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *) key.data, key.len}},
			{.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *) value.data, value.len}},
			{.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = message},
		};

		error = rd_kafka_produceva(prod->rk, parts, sizeof(parts) / sizeof(parts[0]));
	}
	if (error == NULL)
	{
		prod->held++;
		return SMEM_PRODUCED_OK;
	}
	code = rd_kafka_error_code(error);
	rd_kafka_error_destroy(error);
	return classify(prod->rk, code, err);
}

bool
smem_producer_fenced(const SmemProducer *prod)
{
	char				text[8];
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;

	if (prod->rk != NULL)
		code = rd_kafka_fatal_error(prod->rk, text, sizeof(text));
	return code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH ||
		   code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED;
}

/* What the broker says about a batch's content, rather than about itself or us. */
static bool
is_refusal(rd_kafka_resp_err_t code, SmemRefusal *why)
{
	switch ((int) code)
	{
		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
		case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
			*why = SMEM_REFUSAL_TOO_LARGE;
			return true;
		case RD_KAFKA_RESP_ERR_INVALID_RECORD:
			*why = SMEM_REFUSAL_INVALID;
			return true;
		default:

			/*
			 * INVALID_TIMESTAMP too: messages carry the time of sending, so
			 * it is this machine's clock that is wrong, and no row.
			 */
			return false;
	}
}

static bool
is_purged(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR__PURGE_QUEUE || code == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT;
}

static void
report_message(SmemProducer *prod, const rd_kafka_message_t *msg, bool alone,
			   const SmemReports *reports, void *arg, SmemTime now)
{
	SmemRefusal why;

	prod->held--;
	if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		smem_route_note_report(smem_route_of(msg), msg->partition, now);
		reports->delivered(arg, msg->_private, msg->partition, msg->offset);
	}
	else if (is_refusal(msg->err, &why))
		reports->refused(arg, msg->_private, why, alone);
	else
		reports->returned(arg, msg->_private);
}

/* One event has the messages of exactly one batch, which succeeded or failed as a whole. */
static void
report_batch(SmemProducer *prod, rd_kafka_event_t *event, const SmemReports *reports, void *arg,
			 SmemTime now)
{
	uint32_t				  rows = (uint32_t) rd_kafka_event_message_count(event);
	size_t					  bytes = 0;
	rd_kafka_resp_err_t		  code = RD_KAFKA_RESP_ERR_NO_ERROR;
	const char				 *topic = "";
	const rd_kafka_message_t *msg;
	SmemRefusal				  why;
	char					  text[SMEM_ERROR_TEXT];

	while ((msg = rd_kafka_event_message_next(event)) != NULL)
	{
		code = msg->err;
		topic = rd_kafka_topic_name(msg->rkt);
		bytes += msg->len + msg->key_len;
		report_message(prod, msg, rows == 1, reports, arg, now);
	}
	if (is_refusal(code, &why))
		reports->batch_refused(arg, why, rows, bytes);
	else if (code != RD_KAFKA_RESP_ERR_NO_ERROR && !is_purged(code))
	{
		snprintf(text, sizeof(text), "could not deliver to Kafka topic \"%.120s\": %s", topic,
				 rd_kafka_err2str(code));
		reports->trouble(arg, true, false, text);
	}
}

static void
report_error(SmemProducer *prod, rd_kafka_event_t *event, const SmemReports *reports, void *arg)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	char				text[SMEM_ERROR_TEXT];

	if (code != RD_KAFKA_RESP_ERR__FATAL)
		reports->trouble(arg, false, code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
						 rd_kafka_event_error_string(event));

	/* Gapless: the consequence of a failed batch, whose report says more. */
	else if (rd_kafka_fatal_error(prod->rk, text, sizeof(text)) !=
			 RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE)
		reports->trouble(arg, true, false, text);
}

void
smem_producer_poll(SmemProducer *prod, const SmemReports *reports, void *arg, SmemTime now)
{
	rd_kafka_event_t *event;

	if (prod->rk == NULL || !prod->woken)
		return;
	prod->woken = false;
	while ((event = rd_kafka_queue_poll(prod->queue, 0)) != NULL)
	{
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
			report_batch(prod, event, reports, arg, now);
		else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
			report_error(prod, event, reports, arg);
		rd_kafka_event_destroy(event);
	}
}

void
smem_producer_purge(SmemProducer *prod, bool in_flight_too)
{
	/* Not waited for: a broker's thread may be busy; the reports come when they come. */
	rd_kafka_purge(prod->rk, RD_KAFKA_PURGE_F_NON_BLOCKING | RD_KAFKA_PURGE_F_QUEUE |
								 (in_flight_too ? RD_KAFKA_PURGE_F_INFLIGHT : 0));
}
