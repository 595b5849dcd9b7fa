/* SPDX-License-Identifier: MIT */

/*
 * Addresses and routes of this machine.
 *
 * The socket that listens is one, and each question has another of its own, so that an answer is never
 * mixed with messages about changes. What such a message says is of no interest: any of them means
 * that the list is read anew, which is right whatever was lost or came in between. The kernel marks a
 * list that changed while it was given; it is asked for again then.
 *
 * Changes of links are not listened to: an interface that goes away takes its addresses with it, which
 * the kernel says of each, and everything else about links would only wake us up.
 * Source: Linux net/ipv4/devinet.c, net/ipv6/addrconf.c, rtnetlink(7).
 */

#include "services/addresses.h"

#include "base/cleanup.h"

#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	LOOPBACK_INDEX = 1, /* Linux include/net/flow.h, LOOPBACK_IFINDEX: the same in each namespace */
	TRIES = 8,          /* for a list that does not change meanwhile */
	LIST_MAX = 65536,   /* addresses: more are a mistake */
};

/* What a question collects. */
struct collector {
	struct adapter_address *list;
	size_t n;
	size_t room;
	unsigned adapter; /* routes: of this interface */
	bool failed;
};

static bool add(struct collector *c, const struct adapter_address *address)
{
	if (c->n == c->room) {
		size_t room = c->room ? c->room * 2 : 16;
		struct adapter_address *list;

		list = room > LIST_MAX ? NULL : reallocarray(c->list, room, sizeof(*list));
		if (!list) {
			c->failed = true;
			return false;
		}
		c->list = list;
		c->room = room;
	}
	c->list[c->n++] = *address;
	return true;
}

static bool read_address(int family, const struct nlattr *attr, struct kvp_address *ret_address)
{
	struct kvp_address address = {
		.family = family == AF_INET6 ? KVP_FAMILY_IPV6 : KVP_FAMILY_IPV4,
	};
	size_t size = family == AF_INET6 ? 16 : 4;

	if (!attr || mnl_attr_get_payload_len(attr) != size)
		return false;
	memcpy(address.bytes, mnl_attr_get_payload(attr), size);
	*ret_address = address;
	return true;
}

/* The attributes of a message by their type; later ones of the same type count. */
static void sort_attributes(const struct nlmsghdr *message, size_t header,
			    const struct nlattr **table, size_t n)
{
	const struct nlattr *attr;

	memset(table, 0, n * sizeof(*table));
	/* The library's macro casts the const away, which clang says of a system header, too. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-qual"
	mnl_attr_for_each(attr, message, header)
		if (mnl_attr_get_type(attr) < n)
			table[mnl_attr_get_type(attr)] = attr;
#pragma GCC diagnostic pop
}

static int on_address(const struct nlmsghdr *message, void *user)
{
	const struct ifaddrmsg *head = mnl_nlmsg_get_payload(message);
	const struct nlattr *table[IFA_MAX + 1];
	struct adapter_address address = {0};
	struct collector *c = user;
	uint32_t flags;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*head) || head->ifa_index == LOOPBACK_INDEX ||
	    (head->ifa_family != AF_INET && head->ifa_family != AF_INET6))
		return MNL_CB_OK;
	sort_attributes(message, sizeof(*head), table, IFA_MAX + 1);
	flags = table[IFA_FLAGS] && mnl_attr_get_payload_len(table[IFA_FLAGS]) >= sizeof(flags)
			? mnl_attr_get_u32(table[IFA_FLAGS])
			: head->ifa_flags;
	/* IFA_ADDRESS is the other end's of a point-to-point link; IFA_LOCAL is always ours. */
	if ((flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) ||
	    !read_address(head->ifa_family, table[IFA_LOCAL] ? table[IFA_LOCAL] : table[IFA_ADDRESS],
			  &address.address))
		return MNL_CB_OK;
	address.adapter = head->ifa_index;
	address.prefix = head->ifa_prefixlen;
	address.is_dynamic = !(flags & IFA_F_PERMANENT);
	return add(c, &address) ? MNL_CB_OK : MNL_CB_STOP;
}

static int on_route(const struct nlmsghdr *message, void *user)
{
	const struct rtmsg *head = mnl_nlmsg_get_payload(message);
	const struct nlattr *table[RTA_MAX + 1];
	struct adapter_address gateway = {0};
	struct collector *c = user;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*head) || head->rtm_dst_len != 0 ||
	    head->rtm_table != RT_TABLE_MAIN || head->rtm_type != RTN_UNICAST)
		return MNL_CB_OK;
	sort_attributes(message, sizeof(*head), table, RTA_MAX + 1);
	if (!table[RTA_OIF] || mnl_attr_get_payload_len(table[RTA_OIF]) < sizeof(uint32_t) ||
	    mnl_attr_get_u32(table[RTA_OIF]) != c->adapter ||
	    !read_address(head->rtm_family, table[RTA_GATEWAY], &gateway.address))
		return MNL_CB_OK;
	return add(c, &gateway) ? MNL_CB_OK : MNL_CB_STOP;
}

/* Asks once; 0 with the whole answer in @c, positive if it changed meanwhile. */
static int ask_once(int fd, uint16_t type, int family, mnl_cb_t handle, struct collector *c)
{
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	_Alignas(struct nlmsghdr) char buf[16384];
	struct nlmsghdr *message;
	struct rtmsg *head; /* its first byte is the family, as that of struct ifaddrmsg */
	int r = MNL_CB_OK;

	message = mnl_nlmsg_put_header(buf);
	message->nlmsg_type = type;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	head = mnl_nlmsg_put_extra_header(message, sizeof(*head));
	head->rtm_family = family;
	if (sendto(fd, buf, message->nlmsg_len, 0, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return negative_errno();

	c->n = 0;
	c->failed = false;
	while (r > MNL_CB_STOP && !c->failed) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? negative_errno() : -EPROTO;
		r = mnl_cb_run(buf, n, 0, 0, handle, c);
	}
	if (c->failed)
		return -ENOMEM;
	return r == MNL_CB_ERROR ? (errno == EINTR ? 1 : negative_errno()) : 0;
}

static int ask(uint16_t type, int family, mnl_cb_t handle, struct collector *c)
{
	int r = 1;

	for (int i = 0; i < TRIES && r > 0; i++) {
		_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

		if (fd < 0)
			return negative_errno();
		r = ask_once(fd, type, family, handle, c);
	}
	/* A list that never stands still is as good as any other; its next change is told, too. */
	return r < 0 ? r : 0;
}

int addresses_open(int *ret_fd)
{
	const struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
	};
	_cleanup_close_ int fd = -1;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return negative_errno();
	*ret_fd = steal_fd(fd);
	return 0;
}

int addresses_receive(int fd)
{
	bool changed = false;
	char byte;

	for (;;) {
		struct sockaddr_nl sender = {0};
		socklen_t length = sizeof(sender);

		/* The rest of each message is dropped. */
		if (recvfrom(fd, &byte, 1, 0, (struct sockaddr *)&sender, &length) >= 0)
			changed |= sender.nl_pid == 0;
		else if (errno == ENOBUFS)
			changed = true;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return changed ? 0 : ADDRESSES_AGAIN;
		else if (errno != EINTR)
			return negative_errno();
	}
}

int addresses_list(struct adapter_address **ret_list, size_t *ret_n)
{
	struct collector c = {0};
	int r = ask(RTM_GETADDR, AF_UNSPEC, on_address, &c);

	if (r) {
		free(c.list);
		return r;
	}
	*ret_list = c.list;
	*ret_n = c.n;
	return 0;
}

int addresses_gateways(unsigned adapter, struct kvp_address *gateways, size_t max, size_t *ret_n)
{
	static const int families[] = {AF_INET, AF_INET6};
	size_t n = 0;

	for (size_t f = 0; f < 2; f++) {
		struct collector c = {.adapter = adapter};
		int r = ask(RTM_GETROUTE, families[f], on_route, &c);

		for (size_t i = 0; r == 0 && i < c.n && n < max; i++)
			gateways[n++] = c.list[i].address;
		free(c.list);
		if (r)
			return r;
	}
	*ret_n = n;
	return 0;
}
