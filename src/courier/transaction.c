#include "courier/transaction.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "courier/position_topic.h"

#define STACK_BYTES ((size_t) 512 * 1024)
#define INIT_MS 500	 /* init_transactions may be called again and goes on */
#define AGAIN_MS 100 /* between two tries */
#define TEXT_MAX 1024

struct SmemTxn
{
	/* The loop's. */
	SmemLoop *loop;
	pthread_t thread;
	int		  fd; /* readable when there is something to take */

	/* The thread's; last also the loop's, between PREPARE and the next order. */
	rd_kafka_t		*rk;
	rd_kafka_conf_t *reader; /* NULL once it was used */
	SmemPageRecord	 last;

	/* Both threads', behind the lock. */
	pthread_mutex_t lock;
	pthread_cond_t	called;
	SmemTxnOrder	order;
	bool			quit;
	bool			ended; /* result is to be taken */
	bool			troubled;
	SmemTxnResult	result;
	SmemError		trouble;

	char topic[TEXT_MAX];
	char key[TEXT_MAX];
};

static void
wake_loop(SmemTxn *txn)
{
	uint64_t one = 1;
	ssize_t	 n = write(txn->fd, &one, sizeof(one));

	(void) n;
}

static void
tell_trouble(SmemTxn *txn, const SmemError *err)
{
	if (err->kind == SMEM_ERROR_NONE)
		return;
	pthread_mutex_lock(&txn->lock);
	txn->trouble = *err;
	txn->troubled = true;
	pthread_mutex_unlock(&txn->lock);
	wake_loop(txn);
}

/* Waits a moment, less where the life ends; true when it goes on. */
static bool
wait_again(SmemTxn *txn)
{
	struct timespec until;
	bool			goes_on;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += AGAIN_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L)
	{
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	pthread_mutex_lock(&txn->lock);
	while (!txn->quit && pthread_cond_timedwait(&txn->called, &txn->lock, &until) == 0)
		;
	goes_on = !txn->quit;
	pthread_mutex_unlock(&txn->lock);
	return goes_on;
}

/* Fills err and frees error; true where there was none. */
static bool
passed(const char *what, rd_kafka_error_t *error, SmemError *err, bool *again)
{
	err->kind = SMEM_ERROR_NONE;
	*again = error != NULL && rd_kafka_error_is_retriable(error);
	if (error == NULL)
		return true;
	smem_error_set(err, SMEM_ERROR_SINK, *again, "could not %s a Kafka transaction: %.180s", what,
				   rd_kafka_error_string(error));
	rd_kafka_error_destroy(error);
	return false;
}

static bool
make_topic(SmemTxn *txn, SmemPositionTopic *pos, SmemError *err)
{
	SmemPositionStatus status;

	for (;;)
	{
		err->kind = SMEM_ERROR_NONE;
		status = smem_position_ensure(pos, err);
		if (status == SMEM_POSITION_DONE)
			return true;
		tell_trouble(txn, err);
		if (!wait_again(txn))
			return false;
	}
}

static bool
take_over(SmemTxn *txn, SmemError *err)
{
	bool again;

	while (!passed("take over", rd_kafka_init_transactions(txn->rk, INIT_MS), err, &again))
	{
		if (!again)
			return false;
		tell_trouble(txn, err);
		if (!wait_again(txn))
			return false;
	}
	return true;
}

static bool
find_last(SmemTxn *txn, SmemPositionTopic *pos, SmemError *err)
{
	SmemPositionStatus status;

	for (;;)
	{
		err->kind = SMEM_ERROR_NONE;
		status = smem_position_find(pos, txn->rk, &txn->last, err);
		if (status == SMEM_POSITION_DONE)
			return true;
		if (status == SMEM_POSITION_FAILED)
			return false;
		tell_trouble(txn, err);
		if (err->kind != SMEM_ERROR_NONE && !wait_again(txn))
			return false;
	}
}

static bool
begin(SmemTxn *txn, SmemError *err)
{
	bool unused;

	return passed("begin", rd_kafka_begin_transaction(txn->rk), err, &unused);
}

static void
prepare(SmemTxn *txn, SmemTxnResult *result)
{
	SmemPositionTopic pos;
	rd_kafka_conf_t	 *conf = txn->reader;

	txn->reader = NULL;
	result->done = smem_position_open(&pos, conf, txn->topic, smem_str(txn->key), &result->err) &&
				   make_topic(txn, &pos, &result->err) && take_over(txn, &result->err) &&
				   find_last(txn, &pos, &result->err) && begin(txn, &result->err);
	result->open = result->done;
	smem_position_close(&pos);
}

static void
commit(SmemTxn *txn, SmemTxnResult *result)
{
	bool unused;

	/* Not asked again: what became of it is read by the next life, from Kafka itself. */
	result->done =
		passed("commit", rd_kafka_commit_transaction(txn->rk, -1), &result->err, &unused);
	result->open = result->done && begin(txn, &result->err);
}

/* Waits for the next order; false when the life ends. */
static bool
next_order(SmemTxn *txn, SmemTxnOrder *order)
{
	bool goes_on;

	pthread_mutex_lock(&txn->lock);
	while (!txn->quit && txn->order == SMEM_TXN_NONE)
		pthread_cond_wait(&txn->called, &txn->lock);
	*order = txn->order;
	txn->order = SMEM_TXN_NONE;
	goes_on = !txn->quit;
	pthread_mutex_unlock(&txn->lock);
	return goes_on;
}

static void *
serve(void *arg)
{
	SmemTxn		 *txn = arg;
	SmemTxnResult result;
	SmemTxnOrder  order;

	while (next_order(txn, &order))
	{
		memset(&result, 0, sizeof(result));
		result.order = order;
		if (order == SMEM_TXN_PREPARE)
			prepare(txn, &result);
		else
			commit(txn, &result);
		pthread_mutex_lock(&txn->lock);
		txn->result = result;
		txn->ended = true;
		pthread_mutex_unlock(&txn->lock);
		wake_loop(txn);
	}
	return NULL;
}

static void
note_wakeup(void *arg, int fd, uint32_t events)
{
	uint64_t count;
	ssize_t	 n = read(fd, &count, sizeof(count));

	(void) arg, (void) n, (void) events;
}

static bool
start_thread(SmemTxn *txn, SmemError *err)
{
	pthread_attr_t attr;
	int			   code;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	code = pthread_create(&txn->thread, &attr, serve, txn);
	pthread_attr_destroy(&attr);
	if (code != 0)
		smem_error_set(err, SMEM_ERROR_SYSTEM, true, "could not start a thread: %s",
					   strerror(code));
	return code == 0;
}

static void
free_txn(SmemTxn *txn)
{
	if (txn->reader != NULL)
		rd_kafka_conf_destroy(txn->reader);
	if (txn->fd >= 0)
		close(txn->fd);
	pthread_cond_destroy(&txn->called);
	pthread_mutex_destroy(&txn->lock);
	smem_release(txn);
}

SmemTxn *
smem_txn_open(SmemLoop *loop, rd_kafka_t *rk, rd_kafka_conf_t *reader, const char *topic,
			  const char *key, SmemError *err)
{
	SmemTxn *txn = smem_alloc(sizeof(*txn));

	if (txn == NULL)
	{
		rd_kafka_conf_destroy(reader);
		smem_error_set(err, SMEM_ERROR_MEMORY, true, "out of memory");
		return NULL;
	}
	txn->loop = loop;
	txn->rk = rk;
	txn->reader = reader;
	pthread_mutex_init(&txn->lock, NULL);
	pthread_cond_init(&txn->called, NULL);
	snprintf(txn->topic, sizeof(txn->topic), "%s", topic);
	snprintf(txn->key, sizeof(txn->key), "%s", key);
	txn->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (txn->fd < 0 || !smem_loop_watch(loop, txn->fd, EPOLLIN, note_wakeup, txn))
		smem_error_set(err, SMEM_ERROR_SYSTEM, true, "could not watch the Kafka client: %s",
					   strerror(errno));
	else if (start_thread(txn, err))
		return txn;
	else
		smem_loop_unwatch(loop, txn->fd);
	free_txn(txn);
	return NULL;
}

void
smem_txn_order(SmemTxn *txn, SmemTxnOrder order)
{
	pthread_mutex_lock(&txn->lock);
	txn->order = order;
	pthread_cond_signal(&txn->called);
	pthread_mutex_unlock(&txn->lock);
}

bool
smem_txn_take(SmemTxn *txn, SmemTxnResult *result)
{
	bool ended;

	pthread_mutex_lock(&txn->lock);
	ended = txn->ended;
	*result = txn->result;
	txn->ended = false;
	pthread_mutex_unlock(&txn->lock);
	return ended;
}

const SmemPageRecord *
smem_txn_last(const SmemTxn *txn)
{
	return &txn->last;
}

bool
smem_txn_trouble(SmemTxn *txn, SmemError *err)
{
	bool troubled;

	pthread_mutex_lock(&txn->lock);
	troubled = txn->troubled;
	*err = txn->trouble;
	txn->troubled = false;
	pthread_mutex_unlock(&txn->lock);
	return troubled;
}

void
smem_txn_end(SmemTxn *txn)
{
	smem_loop_unwatch(txn->loop, txn->fd);
	pthread_mutex_lock(&txn->lock);
	txn->quit = true;
	pthread_cond_signal(&txn->called);
	pthread_mutex_unlock(&txn->lock);
}

void
smem_txn_join(SmemTxn *txn)
{
	pthread_join(txn->thread, NULL);
	free_txn(txn);
}
