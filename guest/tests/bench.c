// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Small measurements inside the guest, as "# key=value" lines: fork, fork and
 * exec, context switches between two processes, messages between processes
 * (many senders and receivers), filling fresh memory, a pointer chase through
 * local and remote memory, system calls, and how long a page takes to go between
 * two CPUs.  They fail only when something did not happen.
 *
 *   n=COUNT      forks, messages per sender; ten times as many switches (100)
 *   mib=MIB      size of the pointer chase and of the memory that is filled (1)
 */
#include "harness.h"

#include <sys/wait.h>

static uint64_t n_ops, chase_mib;

static void forks(bool exec)
{
	uint64_t start = h_now_ns(), done = 0;

	for (uint64_t k = 0; k < n_ops; k++) {
		int status;
		pid_t pid = fork();

		if (!pid) {
			if (exec)
				execl("/proc/self/exe", "bench", "exit", (char *)NULL);
			_exit(exec ? 1 : 0);
		}
		if (pid > 0 && waitpid(pid, &status, 0) == pid && !status)
			done++;
	}
	h_note("%s=%.1f", exec ? "fork_exec_us" : "fork_us", (h_now_ns() - start) / 1e3 / n_ops);
	h_ok(done == n_ops, "%llu forks%s", (unsigned long long)done, exec ? " with exec" : "");
}

/* One byte to and fro between two processes on one CPU: two switches each time. */
static void switches(void)
{
	uint64_t rounds = n_ops * 10, done = 0, start;
	int to[2], from[2], status;
	char c = 0;
	pid_t pid;

	if (pipe(to) || pipe(from))
		h_bail("pipe: %s", strerror(errno));
	h_pin(h_cpu(0));
	pid = fork();
	if (pid < 0)
		h_bail("fork: %s", strerror(errno));
	if (!pid) {
		close(to[1]);
		while (read(to[0], &c, 1) == 1 && write(from[1], &c, 1) == 1)
			;
		_exit(0);
	}
	start = h_now_ns();
	while (done < rounds && write(to[1], &c, 1) == 1 && read(from[0], &c, 1) == 1)
		done++;
	h_note("switch_us=%.2f", (h_now_ns() - start) / 2e3 / rounds);
	close(to[1]);
	close(to[0]);
	close(from[0]);
	close(from[1]);
	waitpid(pid, &status, 0);
	h_unpin();
	h_ok(done == rounds && !status, "%llu messages there and back", (unsigned long long)done);
}

/* Fresh pages from the kernel, then the same memory again. */
static void fills(void)
{
	size_t size = chase_mib << 20, wrong = 0;
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		h_bail("mmap: %s", strerror(errno));
	for (int round = 0; round < 2; round++) {
		uint64_t start = h_now_ns();

		memset(p, 1 + round, size);
		h_note("fill_%s_us_per_mib=%.1f", round ? "again" : "first",
		       (h_now_ns() - start) / 1e3 / chase_mib);
	}
	for (size_t i = 0; i < size; i += H_PAGE)
		wrong += p[i] != 2;
	munmap(p, size);
	h_ok(!wrong, "%llu MiB filled twice", (unsigned long long)chase_mib);
}

/* Each sender writes to every receiver; senders and receivers are spread over all CPUs. */
static void messages(void)
{
	enum { SENDERS = 4, RECEIVERS = 4, SIZE = 100 };
	int pipes[RECEIVERS][2], status, failed = 0;
	uint64_t start = h_now_ns();
	char buf[SIZE] = "message";

	for (int r = 0; r < RECEIVERS; r++)
		if (pipe(pipes[r]))
			h_bail("pipe: %s", strerror(errno));
	for (int p = 0; p < SENDERS + RECEIVERS; p++) {
		pid_t pid = fork();
		int r = p - SENDERS;

		if (pid < 0)
			h_bail("fork: %s", strerror(errno));
		if (pid)
			continue;
		if (p < SENDERS) {
			for (uint64_t k = 0; k < n_ops; k++)
				for (r = 0; r < RECEIVERS; r++)
					if (write(pipes[r][1], buf, SIZE) != SIZE)
						_exit(1);
			_exit(0);
		}
		for (uint64_t left = n_ops * SENDERS * SIZE; left;) {
			ssize_t n = read(pipes[r][0], buf, left < SIZE ? left : SIZE);

			if (n <= 0)
				_exit(1);
			left -= n;
		}
		_exit(0);
	}
	for (int p = 0; p < SENDERS + RECEIVERS; p++)
		if (wait(&status) < 0 || status)
			failed++;
	for (int r = 0; r < RECEIVERS; r++) {
		close(pipes[r][0]);
		close(pipes[r][1]);
	}
	h_note("messages=%llu messages_s=%.3f", (unsigned long long)n_ops * SENDERS * RECEIVERS,
	       (h_now_ns() - start) / 1e9);
	h_ok(!failed, "messages from %d senders to %d receivers", SENDERS, RECEIVERS);
}

static void chase(int node)
{
	size_t lines = chase_mib * (1 << 20) / H_LINE, i;
	uint64_t **mem = h_alloc_on(lines * H_LINE, node), **p;
	uint32_t *order = malloc(lines * sizeof(*order));
	struct h_rng rng = h_rng(node + 10);
	uint64_t start, steps = 0;

	if (!order)
		h_bail("no memory");
	for (i = 0; i < lines; i++)
		order[i] = i;
	for (i = lines - 1; i; i--) {
		size_t j = h_rand(&rng) % (i + 1);
		uint32_t t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (i = 0; i < lines; i++)
		mem[order[i] * 8ul] = (uint64_t *)&mem[order[(i + 1) % lines] * 8ul];
	h_pin(h_cpu(0));
	for (int round = 0; round < 2; round++) {
		start = h_now_ns();
		p = mem;
		steps = 0;
		do {
			p = (uint64_t **)*p;
			steps++;
		} while (p != mem);
		h_note("chase_node%d_%s_ns=%.1f", node, round ? "again" : "first", (h_now_ns() - start) * 1.0 / steps);
	}
	h_unpin();
	h_ok(steps == lines, "pointer chase through node %d's memory: %llu steps", node, (unsigned long long)steps);
	free(order);
	munmap(mem, lines * H_LINE);
}

static _Atomic uint64_t *turn;

static void bounce(unsigned int i, void *arg)
{
	(void)arg;
	for (uint64_t k = 0; k < n_ops; k++) {
		for (unsigned int spin = 0; atomic_load_explicit(turn, memory_order_acquire) != 2 * k + i; spin++)
			h_relax(spin);
		atomic_store_explicit(turn, 2 * k + i + 1, memory_order_release);
	}
}

int main(int argc, char **argv)
{
	uint64_t start;

	if (argc == 2 && !strcmp(argv[1], "exit"))
		return 0;
	h_init(argc, argv);
	n_ops = h_arg("n", 100);
	chase_mib = h_arg("mib", 1);
	h_args_end();

	start = h_now_ns();
	for (int i = 0; i < 10000; i++)
		syscall(SYS_getppid);
	h_note("syscall_ns=%.1f", (h_now_ns() - start) / 1e4);
	forks(false);
	forks(true);
	switches();
	messages();
	fills();
	for (int i = 0; i < h_nnodes; i++)
		chase(h_nodes[i]);
	if (h_ncpus > 1) {
		turn = h_alloc(H_PAGE);
		start = h_now_ns();
		h_run(2, bounce, NULL);
		h_note("page_there_and_back_us=%.1f cpus=%d,%d nodes=%d,%d", (h_now_ns() - start) / 1e3 / n_ops,
		       h_cpu(0), h_cpu(1), h_node(h_cpu(0)), h_node(h_cpu(1)));
		h_ok(atomic_load(turn) == 2 * n_ops, "page ping-pong");
	}
	return h_done();
}
