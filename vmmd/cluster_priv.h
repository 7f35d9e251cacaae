/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of a node's process share: cluster.c has its main thread and how
 * it ends, cluster_client.c and cluster_super.c what cvmm-run and vmmd say to it,
 * cluster_steps.c its worker, cluster_links.c what connects the modules.
 *
 * Fields of struct vm are the main thread's unless they say otherwise.
 */
#ifndef VMMD_CLUSTER_PRIV_H
#define VMMD_CLUSTER_PRIV_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmmd/channel.h"
#include "vmmd/cluster.h"
#include "vmmd/conn.h"
#include "vmmd/machine.h"
#include "vmmd/sandbox.h"
#include "vmmd/space.h"
#include "vmmd/stats.h"

#define CONSOLE_MAX	(4U << 20)
#define INPUT_MAX	(64U << 10)

/* What the main thread waits for: epoll data. */
enum event {
	EV_CLIENT,
	EV_SUPER,
	EV_TICK,
	EV_CONSOLE,
	EV_WORKER,
	EV_SPACE,
	EV_SIGNAL,
};

/* The connections of a link, answered, in the order they were made. */
struct link_conns {
	unsigned int nr;
	int fd[CONF_MAX_CONNECTIONS];
	struct tls_keys keys[CONF_MAX_CONNECTIONS];
};

struct vm {
	struct hello hello;
	struct cluster_key *key;
	const struct sandbox_user *user;
	struct start_request start;
	unsigned int node;
	char who[CONF_NAME_LEN + 16];	/* for log lines */

	/* Main thread */
	int epfd, super_fd, tick_fd, console_fd, worker_fd, signal_fd;
	struct conn client;
	bool client_gone;
	bool configured;
	uint8_t *kernel, *initrd;
	uint64_t kernel_got, initrd_got;
	uint8_t input[INPUT_MAX];	/* for the UART */
	size_t input_len;
	bool bye, ended_sent;
	bool have_module_stats;
	struct stats module_stats;
	uint64_t ended_ms;

	struct host_engine engine;
	int space_fd;
	int64_t tsc_offset;		/* node 0: the guest's TSC starts near zero here */
	struct channel *channel;
	struct machine *machine;	/* set by the worker, under lock */

	pthread_t worker;
	bool have_worker;
	pthread_mutex_t lock;		/* of what follows */
	pthread_cond_t wake;		/* for the worker: a step, a peer, the end */
	uint16_t step;			/* the worker's: F_CONNECT, F_PREPARE, F_RUN; 0: idle */
	uint16_t done;			/* the step it has done and not yet told; 0: none */
	uint64_t channels, links;	/* nodes connected */
	uint64_t callers;		/* nodes whose links' connections are all here for the worker */
	struct link_conns caller[CONF_MAX_NODES];
	bool ending;
	struct ended end;		/* valid once ending */

	pthread_mutex_t out_lock;	/* of the console's output */
	uint8_t *out;
	size_t out_len;
	uint64_t out_lost;
};

/* ---- cluster.c ----------------------------------------------------------- */

/* Any thread: this node's part ends because of this, unless it ends already.  @about: the node at fault, -1: none. */
void vm_end_with(struct vm *vm, enum machine_end end, enum ended_status status, int about,
		 const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Likewise, when the space has failed: because of what it says.  Whether it has. */
bool vm_end_with_space(struct vm *vm);

bool vm_is_ending(struct vm *vm);

/* Wake the main thread: look at what the worker has done, or at the end. */
void vm_poke(struct vm *vm);

/* For messages; never NULL. */
const char *vm_host_of(const struct vm *vm, unsigned int node);

/* ---- cluster_client.c ---------------------------------------------------- */

/* A frame from the client, for conn_receive() with struct vm as @arg.  0, or -1: malformed or out of place. */
int vm_client_frame(void *arg, const struct frame *f);

/* Called by device threads with struct vm as @ctx: collect, and let the main thread send it in a moment. */
void vm_console_out(void *ctx, const void *buf, size_t len);
void vm_send_console(struct vm *vm);

/* Give the UART what it takes of the input that waits. */
void vm_give_input(struct vm *vm);

/* ---- cluster_super.c ----------------------------------------------------- */

void vm_tell_super(struct vm *vm, const char *state);

/* vmmd's socket is readable. */
void vm_super_message(struct vm *vm);

/* Add this process's counters to @s. */
void vm_collect(struct vm *vm, struct stats *s);

/* The module's counters of this guest, which vmmd may ask for; none when it does not answer soon. */
const struct stats *vm_module_stats(struct vm *vm);

/* ---- cluster_steps.c ----------------------------------------------------- */

/* The worker's thread, with struct vm as @arg. */
void *vm_worker(void *arg);

/* ---- cluster_links.c ------------------------------------------------------ */

/*
 * Agree with @node, over connections that have been answered (conf_connections()), what the
 * link is over, and give it to the module.  Each end calls its one; they wait for each
 * other.  0, or -1 after vm_end_with(); @conns stay the caller's.
 */
int vm_call_link(struct vm *vm, unsigned int node, struct link_conns *conns);
int vm_take_link(struct vm *vm, unsigned int node, struct link_conns *conns);

/* Close them and forget their keys. */
void vm_close_conns(struct link_conns *conns);

/* ---- cluster_steps.c ----------------------------------------------------- */

/* All nodes but ourselves. */
uint64_t vm_others(const struct vm *vm);

/* SIGBUS: a space that fails while the worker writes to guest memory. */
void vm_on_sigbus(int sig);

#endif /* VMMD_CLUSTER_PRIV_H */
