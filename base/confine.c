/* SPDX-License-Identifier: MIT */

/*
 * Giving up rights.
 *
 * Two of the programs are static, small and stay in memory for good, so the kernel is spoken to without
 * a library: libcap-ng would bring the name service into them. The filter of system calls is a list of
 * what is allowed, in the kernel's own terms: each call is two instructions, five if one of its
 * arguments counts.
 *
 *     is this the processor we were built for? else refuse
 *     number == read?   allow
 *     number == ioctl?  is argument 1 FIFREEZE? allow
 *     ...
 *     refuse
 *
 * To refuse is to let the call fail. A process that holds what the host has, or that has to thaw, is
 * worth more alive than dead, and fails in the same way as with any other error.
 *
 * x86-64 has a second set of numbers (x32), with bit 30 set; they are in no list.
 */

#include "base/confine.h"

#include <assert.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OUR_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

/* Both halves of the kernel's sets of capabilities (capset(2), version 3). */
struct sets {
	struct __user_cap_data_struct half[_LINUX_CAPABILITY_U32S_3];
};

static int get_sets(struct sets *ret_sets)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

	return syscall(SYS_capget, &header, ret_sets->half) < 0 ? negative_errno() : 0;
}

static int set_sets(const struct sets *sets)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

	return syscall(SYS_capset, &header, sets->half) < 0 ? negative_errno() : 0;
}

static bool is_in(unsigned number, const unsigned *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == number)
			return true;
	return false;
}

/* Cuts the bounding set down; the kernel says EINVAL to the first number that it does not know. */
static int cut_bounds(const unsigned *keep, size_t n)
{
	for (unsigned i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
		if (!is_in(i, keep, n) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			return negative_errno();
	return 0;
}

bool confine_has_capability(unsigned capability)
{
	struct sets sets;

	return get_sets(&sets) == 0 && capability < 32 * _LINUX_CAPABILITY_U32S_3 &&
	       (sets.half[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability));
}

int confine_capabilities(const unsigned *keep, size_t n, bool for_good)
{
	uint32_t kept[_LINUX_CAPABILITY_U32S_3] = {0};
	struct sets sets;
	int r = get_sets(&sets);

	if (r == 0 && for_good && confine_has_capability(CAP_SETPCAP))
		r = cut_bounds(keep, n);
	if (r)
		return r;
	for (size_t i = 0; i < n; i++) {
		assert(keep[i] < 32 * _LINUX_CAPABILITY_U32S_3);
		kept[CAP_TO_INDEX(keep[i])] |= CAP_TO_MASK(keep[i]);
	}
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		sets.half[i].effective &= kept[i];
		sets.half[i].permitted &= kept[i];
		sets.half[i].inheritable = 0;
	}
	return set_sets(&sets);
}

#ifdef OUR_ARCHITECTURE

/* The lower half of an argument: both processors are little-endian. */
static struct sock_filter load_argument(uint8_t argument)
{
	return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					    offsetof(struct seccomp_data, args) + 8u * argument);
}

static size_t add_call(struct sock_filter *out, const struct confine_call *call)
{
	const struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	size_t n = 0;

	out[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call->number, 0,
						call->has_value ? 4 : 1);
	if (call->has_value) {
		out[n++] = load_argument(call->argument);
		out[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call->value, 0, 1);
	}
	out[n++] = allow;
	if (call->has_value)
		out[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
							offsetof(struct seccomp_data, nr));
	return n;
}

int confine_calls(const struct confine_call *allowed, size_t n)
{
	static const struct sock_filter head[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCHITECTURE, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	const struct sock_filter refuse = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	struct sock_filter code[sizeof(head) / sizeof(head[0]) + 5 * CONFINE_CALLS_MAX + 1];
	struct sock_fprog program = {.filter = code};
	long r;

	assert(n <= CONFINE_CALLS_MAX);
	for (size_t i = 0; i < sizeof(head) / sizeof(head[0]); i++)
		code[program.len++] = head[i];
	for (size_t i = 0; i < n; i++)
		program.len = (unsigned short)(program.len + add_call(code + program.len, &allowed[i]));
	code[program.len++] = refuse;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return negative_errno();
	r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		    SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG, &program);
	if (r < 0)
		return errno == ENOSYS || errno == EINVAL ? CONFINE_UNAVAILABLE : negative_errno();
	/* The number of a thread that has a filter of its own. */
	return r > 0 ? -EBUSY : 0;
}

#else

int confine_calls(const struct confine_call *allowed, size_t n)
{
	(void)allowed;
	(void)n;
	return CONFINE_UNAVAILABLE;
}

#endif
