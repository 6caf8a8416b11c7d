#include "courier/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SMEM_SECRET_MAX 16384

void
smem_secret_init(SmemSecret *secret)
{
	memset(secret, 0, sizeof(*secret));
	smem_buf_init(&secret->path, 64 * 1024);
	smem_buf_init(&secret->text, SMEM_SECRET_MAX + 1);
}

static void
forget_text(SmemSecret *secret)
{
	if (secret->text.data != NULL)
		explicit_bzero(secret->text.data, secret->text.size);
	smem_buf_reset(&secret->text);
	secret->read = false;
}

void
smem_secret_free(SmemSecret *secret)
{
	forget_text(secret);
	smem_buf_free(&secret->text);
	smem_buf_free(&secret->path);
}

void
smem_secret_set(SmemSecret *secret, const char *path)
{
	forget_text(secret);
	smem_buf_reset(&secret->path);
	if (path != NULL)
		smem_buf_puts(&secret->path, path);
}

static bool
is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
		   a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Cuts the white space; false when the rest is empty or cannot stand in a header. */
static bool
tidy(SmemBuf *text)
{
	while (smem_buf_len(text) > 0 && strchr(" \t\r\n", text->data[text->end - 1]) != NULL)
		text->end--;
	while (smem_buf_len(text) > 0 && strchr(" \t\r\n", text->data[text->start]) != NULL)
		text->start++;
	for (size_t i = text->start; i < text->end; i++)
	{
		if ((unsigned char) text->data[i] < 0x20 || text->data[i] == 0x7f)
			return false;
	}
	return smem_buf_len(text) > 0;
}

static bool
read_file(SmemSecret *secret, const char *path, SmemError *err)
{
	int		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char   *place = smem_buf_reserve(&secret->text, SMEM_SECRET_MAX);
	ssize_t n;

	if (fd < 0)
		return smem_error_set(err, SMEM_ERROR_CONFIG, true, "could not open token file \"%s\": %s",
							  path, strerror(errno));
	n = place == NULL ? -1 : read(fd, place, SMEM_SECRET_MAX);
	if (n >= 0)
		secret->text.end += (size_t) n;
	close(fd);
	if (n < 0)
		return smem_error_set(err, SMEM_ERROR_CONFIG, true, "could not read token file \"%s\"",
							  path);
	if (!tidy(&secret->text))
		return smem_error_set(err, SMEM_ERROR_CONFIG, true, "token file \"%s\" holds no token",
							  path);
	return true;
}

bool
smem_secret_check(SmemSecret *secret, bool *changed, SmemError *err)
{
	const char *path = smem_buf_text(&secret->path);
	struct stat now;

	*changed = false;
	if (path[0] == '\0')
		return true;
	if (stat(path, &now) != 0)
		return smem_error_set(err, SMEM_ERROR_CONFIG, true, "could not open token file \"%s\": %s",
							  path, strerror(errno));
	if (secret->read && is_same_file(&now, &secret->seen))
		return true;
	forget_text(secret);
	secret->seen = now;
	*changed = true;
	secret->read = read_file(secret, path, err);
	if (!secret->read)
		forget_text(secret);
	return secret->read;
}

const char *
smem_secret_text(SmemSecret *secret)
{
	return secret->read ? smem_buf_text(&secret->text) : NULL;
}
