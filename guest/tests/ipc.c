// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Data between processes on CPUs of different nodes: pipes, Unix sockets
 * (stream with a file descriptor passed along), eventfd, and memory mapped by
 * both (anonymous and a tmpfs file).  Contents are checked byte by byte.
 *
 *   n=COUNT    messages of each kind (200)
 */
#include "harness.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

static uint64_t n_msgs;

/* The message with number @k: a length and contents that only k explains. */
static size_t message(uint64_t k, uint8_t *buf, size_t max)
{
	struct h_rng rng = h_rng(k);
	size_t len = 1 + h_rand(&rng) % max;

	for (size_t i = 0; i < len; i++)
		buf[i] = h_rand(&rng);
	return len;
}

static bool read_all(int fd, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += n;
	}
	return true;
}

static bool write_all(int fd, const void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += n;
	}
	return true;
}

#define MAX_MSG 6000

/* The far end: read message k, check it, send k back. */
static int echo(int in, int out)
{
	static uint8_t want[MAX_MSG], got[MAX_MSG];

	for (uint64_t k = 0; k < n_msgs; k++) {
		size_t len = message(k, want, MAX_MSG);

		if (!read_all(in, got, len) || memcmp(got, want, len))
			return 1;
		if (!write_all(out, &k, sizeof(k)))
			return 2;
	}
	return 0;
}

/* The near end.  Returns the number of messages answered rightly. */
static uint64_t drive(int out, int in)
{
	static uint8_t buf[MAX_MSG];
	uint64_t k, back;

	for (k = 0; k < n_msgs; k++) {
		size_t len = message(k, buf, MAX_MSG);

		if (!write_all(out, buf, len) || !read_all(in, &back, sizeof(back)) || back != k)
			break;
	}
	return k;
}

static int child_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void verdict(const char *name, uint64_t count, int status, uint64_t start)
{
	h_note("%s us_each=%.1f", name, (h_now_ns() - start) / 1e3 / n_msgs);
	h_ok(count == n_msgs && !status, "%s: %llu of %llu messages, peer's status %d", name,
	     (unsigned long long)count, (unsigned long long)n_msgs, status);
}

static pid_t fork_far(void)
{
	pid_t pid = fork();

	if (pid < 0)
		h_bail("fork: %s", strerror(errno));
	h_pin(h_cpu(pid ? 0 : 1));
	return pid;
}

static void pipes(void)
{
	uint64_t start = h_now_ns(), count;
	int there[2], back[2];
	pid_t pid;

	if (pipe(there) || pipe(back))
		h_bail("pipe: %s", strerror(errno));
	pid = fork_far();
	if (!pid) {
		close(there[1]);
		close(back[0]);
		_exit(echo(there[0], back[1]));
	}
	close(there[0]);
	close(back[1]);
	count = drive(there[1], back[0]);
	close(there[1]);
	close(back[0]);
	verdict("pipes", count, child_status(pid), start);
}

static int receive_fd(int sock)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	char c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u) };
	struct cmsghdr *cm;

	if (recvmsg(sock, &msg, 0) != 1 || !(cm = CMSG_FIRSTHDR(&msg)) || cm->cmsg_type != SCM_RIGHTS)
		return -1;
	return *(int *)CMSG_DATA(cm);
}

static bool send_fd(int sock, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = { 0 };
	char c = 'f';
	struct iovec iov = { &c, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u) };
	struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);

	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) == 1;
}

/* The answers come through a pipe whose end travelled over the socket. */
static void sockets(void)
{
	uint64_t start = h_now_ns(), count = 0;
	int sv[2], back[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		h_bail("socketpair: %s", strerror(errno));
	pid = fork_far();
	if (!pid) {
		int fd;

		close(sv[0]);
		fd = receive_fd(sv[1]);
		_exit(fd < 0 ? 3 : echo(sv[1], fd));
	}
	close(sv[1]);
	if (pipe(back))
		h_bail("pipe: %s", strerror(errno));
	if (send_fd(sv[0], back[1])) {
		close(back[1]);
		count = drive(sv[0], back[0]);
	}
	close(sv[0]);
	close(back[0]);
	verdict("Unix sockets and a passed descriptor", count, child_status(pid), start);
}

static void eventfds(void)
{
	uint64_t start = h_now_ns(), k, v;
	int there = eventfd(0, 0), back = eventfd(0, 0);
	pid_t pid;

	if (there < 0 || back < 0)
		h_bail("eventfd: %s", strerror(errno));
	pid = fork_far();
	if (!pid) {
		for (k = 0; k < n_msgs; k++) {
			if (!read_all(there, &v, sizeof(v)) || v != k + 1)
				_exit(1);
			v = v * 2;
			if (!write_all(back, &v, sizeof(v)))
				_exit(2);
		}
		_exit(0);
	}
	for (k = 0; k < n_msgs; k++) {
		v = k + 1;
		if (!write_all(there, &v, sizeof(v)) || !read_all(back, &v, sizeof(v)) || v != 2 * (k + 1))
			break;
	}
	close(there);
	close(back);
	verdict("eventfd", k, child_status(pid), start);
}

struct box {
	_Alignas(H_LINE) _Atomic uint64_t turn;		/* 2k: ours to fill k, 2k+1: theirs to answer */
	_Alignas(H_LINE) uint64_t bad;
	uint8_t data[MAX_MSG];
};

/* Two processes take turns in memory that both have mapped. */
static void shared(const char *name, struct box *b)
{
	static uint8_t want[MAX_MSG];
	uint64_t start = h_now_ns(), k, right = 0;
	pid_t pid = fork_far();

	/* One turn more than messages on our side: it looks at the last answer. */
	for (k = 0; k < n_msgs + !!pid; k++) {
		uint64_t mine = 2 * k + !pid;
		size_t len;

		for (unsigned int i = 0; atomic_load_explicit(&b->turn, memory_order_acquire) != mine; i++)
			h_relax(i);
		if (pid) {
			/* The answer to the message before is its complement. */
			len = k ? message(k - 1, want, MAX_MSG) : 0;
			for (size_t i = 0; i < len; i++)
				want[i] ^= 0xff;
			right += len && !memcmp(b->data, want, len);
			len = message(k, want, MAX_MSG);
			memcpy(b->data, want, len);
		} else {
			len = message(k, want, MAX_MSG);
			if (memcmp(b->data, want, len))
				b->bad++;
			for (size_t i = 0; i < len; i++)
				b->data[i] ^= 0xff;
		}
		atomic_store_explicit(&b->turn, mine + 1, memory_order_release);
	}
	if (!pid)
		_exit(b->bad ? 1 : 0);
	verdict(name, right, child_status(pid), start);
}

int main(int argc, char **argv)
{
	struct box *b;
	int fd;

	h_init(argc, argv);
	n_msgs = h_arg("n", 200);
	h_args_end();
	if (h_ncpus < 2)
		h_note("one CPU only: nothing crosses a node");

	pipes();
	sockets();
	eventfds();
	shared("shared anonymous memory", h_alloc(sizeof(struct box)));
	fd = memfd_create("box", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, sizeof(*b)))
		h_bail("memfd: %s", strerror(errno));
	b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (b == MAP_FAILED)
		h_bail("mmap: %s", strerror(errno));
	shared("a shared file", b);
	return h_done();
}
