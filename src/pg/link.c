#include "postgres.h"

#include "pg/link.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "miscadmin.h"

#define LINK_BUFFER_MAX (SMEM_FRAME_MAX + 16 * 1024 * 1024)
#define LINK_KEEP (1024 * 1024)
#define LINK_CHUNK (256 * 1024)
#define COURIER_FD 3

void
smem_link_init(SmemLink *link)
{
	link->fd = -1;
	link->pid = 0;
	smem_buf_init(&link->in, LINK_BUFFER_MAX);
	smem_buf_init(&link->out, LINK_BUFFER_MAX);
}

/*
 * Starts the program with the socket as its only extra descriptor, the
 * default signals, and an environment without anything of the server's.
 */
static int
spawn_courier(int fd, pid_t *pid)
{
	char					   path[MAXPGPATH];
	char					   fd_text[12];
	char					  *argv[] = {"somamem-courier", fd_text, NULL};
	char					  *envp[] = {"LC_ALL=C", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t		   attr;
	sigset_t				   all;
	sigset_t				   none;
	int						   rc;

	snprintf(path, sizeof(path), "%s/somamem-courier", pkglib_path);
	snprintf(fd_text, sizeof(fd_text), "%d", COURIER_FD);
	sigfillset(&all);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, COURIER_FD);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
	/* The program closes the rest itself, but not before it begins. */
	posix_spawn_file_actions_addclosefrom_np(&actions, COURIER_FD + 1);
#endif
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	rc = posix_spawn(pid, path, &actions, &attr, argv, envp);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return rc;
}

bool
smem_link_open(SmemLink *link)
{
	int pair[2];
	int size = LINK_CHUNK;
	int rc;

	smem_link_close(link);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return false;
	/* Large socket buffers mean few switches between the two processes. */
	(void) setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	(void) setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	rc = spawn_courier(pair[1], &link->pid);
	close(pair[1]);
	if (rc != 0 || fcntl(pair[0], F_SETFL, O_NONBLOCK) != 0)
	{
		close(pair[0]);
		link->pid = 0;
		errno = rc;
		return false;
	}
	link->fd = pair[0];
	return true;
}

void
smem_link_close(SmemLink *link)
{
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
	if (link->pid > 0)
	{
		kill(link->pid, SIGKILL);
		while (waitpid(link->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	link->pid = 0;
	smem_buf_free(&link->in);
	smem_buf_free(&link->out);
}

bool
smem_socket_send(int fd, SmemBuf *out)
{
	while (smem_buf_len(out) > 0)
	{
		ssize_t n = send(fd, smem_buf_head(out), smem_buf_len(out), MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK;
		smem_buf_consume(out, (size_t) n);
	}
	return !out->failed;
}

bool
smem_socket_receive(int fd, SmemBuf *in, size_t chunk)
{
	for (;;)
	{
		char   *place = smem_buf_reserve(in, chunk);
		ssize_t n;

		if (place == NULL)
			return false;
		n = recv(fd, place, chunk, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK;
		if (n == 0)
			return false;
		in->end += (size_t) n;
		if ((size_t) n < chunk)
			return true;
	}
}

bool
smem_link_send(SmemLink *link)
{
	bool alive = smem_socket_send(link->fd, &link->out);

	smem_buf_trim(&link->out, LINK_KEEP);
	return alive;
}

bool
smem_link_receive(SmemLink *link)
{
	return smem_socket_receive(link->fd, &link->in, LINK_CHUNK);
}
