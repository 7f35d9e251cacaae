/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * cvmm: what /dev/cvmm offers beyond the KVM ABI.
 *
 * /dev/cvmm answers the ioctls of <linux/kvm.h> with the same numbers,
 * structures and meanings.  This header adds what KVM has no word for: the
 * "space", guest-physical memory that several hosts keep coherent page by page.
 *
 *   fd = open("/dev/cvmm")
 *   sp = ioctl(fd, CVMM_CREATE_SPACE, &cfg)      one per guest and host
 *   ioctl(sp, CVMM_SPACE_ADD_LINK, &link)        one per other host
 *   va = mmap(sp, MAP_SHARED, offset = guest-physical address)
 *   KVM_SET_USER_MEMORY_REGION with userspace_addr inside that mapping
 *
 * A guest of one host may have ordinary memory of the process in its slots and yet a
 * name and counters in the module: a space without pages, and CVMM_VM_JOIN_SPACE.
 *
 * Every structure has the same layout for 32- and 64-bit callers; unknown
 * flags and non-zero padding are refused with EINVAL.
 */
#ifndef _UAPI_LINUX_CVMM_H
#define _UAPI_LINUX_CVMM_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define CVMMIO			0xCE

/* Changes whenever an existing call changes its meaning. */
#define CVMM_ABI_VERSION	1

#define CVMM_MAX_HOSTS		64
#define CVMM_MAX_RANGES		128
#define CVMM_NAME_LEN		64
#define CVMM_REASON_LEN		128

/**
 * struct cvmm_info - what this module is (CVMM_GET_INFO on /dev/cvmm)
 * @abi:	CVMM_ABI_VERSION of the module
 * @engine:	one of CVMM_ENGINE_*: which world switch it uses on this host
 * @features:	CVMM_FEATURE_* bits
 * @version:	release string, NUL-terminated
 */
struct cvmm_info {
	__u32 abi;
	__u32 engine;
#define CVMM_ENGINE_NONE	0	/* spaces only: no usable SVM/VMX here */
#define CVMM_ENGINE_SVM		1
#define CVMM_ENGINE_VMX		2
	__u64 features;
#define CVMM_FEATURE_LINK_STREAM (1ULL << 0)
#define CVMM_FEATURE_LINK_RDMA	(1ULL << 1)	/* the module cvmm_rdma is loaded */
#define CVMM_FEATURE_APIC_PAGE	(1ULL << 2)	/* CVMM_VCPU_SET_APIC */
	char version[32];
};

/**
 * struct cvmm_home_range - which host is home to a run of guest frames
 * @first_gfn:	first guest frame number (4 KiB frames)
 * @nr_gfns:	number of frames, > 0
 * @host:	host id, < cvmm_space_config.nr_hosts
 * @pad:	0
 *
 * Ranges are sorted and do not overlap.  Frames outside every range do not
 * exist in the space: touching them is SIGBUS for a mapping and MMIO for a
 * guest.
 */
struct cvmm_home_range {
	__u64 first_gfn;
	__u64 nr_gfns;
	__u32 host;
	__u32 pad;
};

/**
 * struct cvmm_space_config - CVMM_CREATE_SPACE on /dev/cvmm
 * @ranges:	user address of an array of struct cvmm_home_range
 * @nr_ranges:	1..CVMM_MAX_RANGES; with @nr_hosts 1 also 0: the space has no pages
 * @host_id:	this host, < @nr_hosts
 * @nr_hosts:	1..CVMM_MAX_HOSTS; every host of a guest passes the same
 * @epoch:	membership epoch; messages of another epoch are refused
 * @space_id:	the same random number on every host of the guest
 * @flags:	0
 * @min_run_us:	how long a page that was waited for stays on this host once the one who
 *		waited can go on, 1..CVMM_MAX_MIN_RUN_US; 0: by the measured time that
 *		pages take to travel.  The module's parameter of that name overrides it.
 * @name:	guest's name, NUL-terminated, for statistics and messages.  A
 *		name may be in use once per network namespace: EEXIST.
 *
 * Returns a new file descriptor (O_CLOEXEC).  The space lives until its last
 * descriptor, mapping and memory slot are gone.  EAGAIN: the module has as many
 * kernel threads as it may (its parameter max_threads).
 */
struct cvmm_space_config {
	__u64 ranges;
	__u32 nr_ranges;
	__u32 host_id;
	__u32 nr_hosts;
	__u32 epoch;
	__u64 space_id;
	__u32 flags;
	__u32 min_run_us;
#define CVMM_MAX_MIN_RUN_US	20000
	char name[CVMM_NAME_LEN];
};

/**
 * struct cvmm_space_link - CVMM_SPACE_ADD_LINK on a space
 * @host:	the peer at the other end, < nr_hosts, not this host
 * @transport:	CVMM_TRANSPORT_*
 * @fd:		connected stream socket (TCP or AF_UNIX), or a connected endpoint
 *		of CVMM_RDMA_ENDPOINT; the module takes its own reference, the
 *		caller may close the descriptor at once
 * @flags:	0
 *
 * The caller has authenticated the peer, and may have set up kernel TLS on the
 * socket in both directions.  Each side sends nothing before the module takes the
 * socket.  Accesses that need a host without a link wait
 * until the link is added.
 */
struct cvmm_space_link {
	__u32 host;
	__u32 transport;
#define CVMM_TRANSPORT_STREAM	1
#define CVMM_TRANSPORT_RDMA	2
	__s32 fd;
	__u32 flags;
};

/**
 * struct cvmm_space_conns - CVMM_SPACE_ADD_CONNS on a space
 * @host:	as in struct cvmm_space_link
 * @transport:	CVMM_TRANSPORT_STREAM
 * @nr_fds:	1..CVMM_MAX_CONNS, the same at both ends
 * @flags:	0
 * @fd:		that many sockets, each as in struct cvmm_space_link and with TLS keys of
 *		its own if it has any; at the other end in the same order.  Of several
 *		none is AF_UNIX: EAFNOSUPPORT.
 *
 * A link of several connections.  Each page has one of them, so messages about it stay in
 * order; different pages need not wait for each other.  The end of one is the link's.
 */
struct cvmm_space_conns {
	__u32 host;
	__u32 transport;
	__u32 nr_fds;
	__u32 flags;
#define CVMM_MAX_CONNS	8
	__s32 fd[CVMM_MAX_CONNS];
};

/**
 * struct cvmm_space_status - CVMM_SPACE_GET_STATUS on a space
 * @state:	CVMM_SPACE_LIVE or CVMM_SPACE_FAILED
 * @host:	the host whose link or message ended it, or ~0
 * @error:	positive errno of the failure, 0 while live
 * @pad:	0
 * @reason:	one line for the user, NUL-terminated
 *
 * poll() on the space reports POLLERR | POLLHUP once it has failed.  In a
 * failed space every waiting or new access that is not satisfied locally ends:
 * KVM_RUN returns -EIO, a mapping raises SIGBUS.
 */
struct cvmm_space_status {
	__u32 state;
#define CVMM_SPACE_LIVE		0
#define CVMM_SPACE_FAILED	1
	__u32 host;
	__u32 error;
	__u32 pad;
	char reason[CVMM_REASON_LEN];
};

#define CVMM_RDMA_TOKEN_LEN	32
#define CVMM_RDMA_MAX_QPS	8

/**
 * struct cvmm_rdma_endpoint - CVMM_RDMA_ENDPOINT on /dev/cvmm
 * @flags:	CVMM_RDMA_LISTEN to wait for the peer, 0 to connect to it
 * @family:	AF_INET or AF_INET6
 * @port:	host byte order.  LISTEN: 0, and the port is returned here
 * @addr:	LISTEN: the address of this host's RDMA device, else the peer's; in
 *		network byte order, IPv4 in the first four bytes
 * @scope_id:	IPv6 only: interface of a link-local address
 * @nr_qps:	1..CVMM_RDMA_MAX_QPS connections that share the load; 0 when
 *		listening, the peer decides
 * @token:	what this end shows to the peer
 * @peer_token:	what the peer has to show
 *
 * Makes one end of an RDMA connection: a new descriptor (O_CLOEXEC) that becomes
 * readable and writable (poll) once it is connected, and reports POLLERR | POLLHUP
 * when it has failed; CVMM_RDMA_STATUS on it tells why.  Connected it is handed
 * to CVMM_SPACE_ADD_LINK.  To close the descriptor gives it up.
 *
 * The caller draws two random tokens for one connection, and gives them to both
 * hosts over a channel that is authenticated and encrypted.  They cross the fabric
 * in the clear, each once: who has not the right one is refused, and nothing is
 * sent or taken before.  The pages themselves are not encrypted.
 *
 * EOPNOTSUPP: the module cvmm_rdma is not there.  ENODEV, EADDRNOTAVAIL: no RDMA
 * device has this address (when connecting the status tells that).
 */
struct cvmm_rdma_endpoint {
	__u32 flags;
#define CVMM_RDMA_LISTEN	(1U << 0)
	__u16 family;
	__u16 port;
	__u8 addr[16];
	__u32 scope_id;
	__u32 nr_qps;
	__u8 token[CVMM_RDMA_TOKEN_LEN];
	__u8 peer_token[CVMM_RDMA_TOKEN_LEN];
};

/**
 * struct cvmm_rdma_status - CVMM_RDMA_STATUS on an endpoint
 * @state:	CVMM_RDMA_WAITING, _CONNECTED or _FAILED
 * @error:	positive errno of the failure, 0 if none
 * @reason:	one line for the user, NUL-terminated
 */
struct cvmm_rdma_status {
	__u32 state;
#define CVMM_RDMA_WAITING	0
#define CVMM_RDMA_CONNECTED	1
#define CVMM_RDMA_FAILED	2
	__u32 error;
	char reason[CVMM_REASON_LEN];
};

/**
 * struct cvmm_apic_page - the local APIC of a vCPU, shared with the module
 * @reg:	the registers, 32 bits each, in their architectural places: the
 *		register at byte offset n of the APIC is reg[n / 4]
 * @posted:	vectors that were sent to it and are not in IRR yet; set by any
 *		thread, atomically
 * @posted_level: how each was triggered (1: level), valid where @posted is set
 * @posted_any:	1: something may be set in @posted; set last, cleared first
 * @errors:	bits for ESR since it was last written
 * @deadline:	when the timer expires next, in the guest's TSC; ~0: it is stopped
 * @period:	of a periodic timer, in cycles of the guest's TSC
 * @deadline_msr: IA32_TSC_DEADLINE
 * @pad:	0
 *
 * Mapped from the vCPU's descriptor at CVMM_VCPU_APIC_OFFSET.  But for @posted to
 * @posted_any it belongs to the thread in KVM_RUN while there is one, and to user
 * space otherwise.  The module believes nothing in it: what user space writes there
 * at the wrong moment harms its own guest.
 */
struct cvmm_apic_page {
	__u32 reg[512];
	__u32 posted[8];
	__u32 posted_level[8];
	__u32 posted_any;
	__u32 errors;
	__u64 deadline;
	__u64 period;
	__u64 deadline_msr;
	__u64 pad[244];
};

/**
 * struct cvmm_apic_config - CVMM_VCPU_SET_APIC on a vCPU
 * @version:	CVMM_APIC_VERSION: the layout and meaning of struct cvmm_apic_page
 * @flags:	0
 * @nr_vcpus:	of the whole guest, those in VMs on other hosts, too; 0: not known
 * @tsc_khz:	rate of the guest's TSC as the guest knows it, > 0; the timer counts
 *		at 1 GHz by it
 *
 * From then on the module serves in KVM_RUN what is frequent: all reads, TPR, EOI of
 * edge-triggered vectors, fixed interrupts to vCPUs that have such pages (of this VM,
 * or of VMs in the same space on other hosts; to several at once only when these are
 * @nr_vcpus in all), the timer, the choice and delivery of interrupts, and HLT (KVM_RUN
 * sleeps; KVM_GET_MP_STATE then tells HALTED, KVM_SET_MP_STATE wakes).  Everything else
 * exits as without a page (KVM_EXIT_MMIO, KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR) and
 * is user space's to do, in the page.  After a change of IA32_APIC_BASE, KVM_RUN returns with
 * KVM_EXIT_SET_TPR, so that user space adapts the page to it.
 *
 * EINVAL: unknown version or flag; EEXIST: it has one.
 */
struct cvmm_apic_config {
	__u32 version;
#define CVMM_APIC_VERSION	1
	__u32 flags;
	__u32 nr_vcpus;
	__u32 tsc_khz;
};

#define CVMM_VCPU_APIC_OFFSET	0x10000

/* On /dev/cvmm */
#define CVMM_GET_INFO		_IOR(CVMMIO, 0x00, struct cvmm_info)
#define CVMM_CREATE_SPACE	_IOW(CVMMIO, 0x01, struct cvmm_space_config)

#define CVMM_RDMA_ENDPOINT	_IOWR(CVMMIO, 0x02, struct cvmm_rdma_endpoint)

/* On an endpoint */
#define CVMM_RDMA_STATUS	_IOR(CVMMIO, 0x20, struct cvmm_rdma_status)

/* On a space */
#define CVMM_SPACE_ADD_LINK	_IOW(CVMMIO, 0x10, struct cvmm_space_link)
#define CVMM_SPACE_GET_STATUS	_IOR(CVMMIO, 0x11, struct cvmm_space_status)
/* Fail the space now, for every waiter; peers see their link drop.  No argument. */
#define CVMM_SPACE_FAIL		_IO(CVMMIO, 0x12)
#define CVMM_SPACE_ADD_CONNS	_IOW(CVMMIO, 0x13, struct cvmm_space_conns)

/*
 * On a VM, with a space's descriptor as argument: the VM is one of that space's guest.
 * The space has its counters, and a space that fails ends KVM_RUN.  A slot in the
 * mapping of a space does the same for that space.  EBADF: not a space; EINVAL: the VM
 * has one, or has slots on other memory although the space has several hosts; EIO: the
 * space has failed.
 */
#define CVMM_VM_JOIN_SPACE	_IO(CVMMIO, 0x30)

/* On a vCPU */
#define CVMM_VCPU_SET_APIC	_IOW(CVMMIO, 0x20, struct cvmm_apic_config)
/*
 * Something was posted: look at the page now, without leaving KVM_RUN.  No argument;
 * by any thread at any time.  EINVAL: it has no page.
 */
#define CVMM_VCPU_APIC_KICK	_IO(CVMMIO, 0x21)

#endif /* _UAPI_LINUX_CVMM_H */
