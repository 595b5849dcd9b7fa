/* SPDX-License-Identifier: MIT */

/*
 * services/addresses.c, with a real kernel: in a network namespace of its own, with two interfaces
 * whose addresses come and go.
 */

#include "services/addresses.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Runs "ip ..."; true if it was successful. */
static bool ip(const char *arguments)
{
	char command[256];

	snprintf(command, sizeof(command), "ip %s 2>/dev/null", arguments);
	return system(command) == 0;
}

static void in_own_network(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("needs a network namespace of its own");
	if (!ip("link add one type veth peer name two"))
		cr_skip_test("needs ip and veth");
	/* No addresses but those of the test. */
	cr_assert(ip("link set one addrgenmode none") && ip("link set two addrgenmode none"));
	cr_assert(ip("link set lo up") && ip("link set one up") && ip("link set two up"));
}

/* All addresses as text with spaces in between, '*' behind one that expires. */
static char *all_addresses(void)
{
	static char text[4096];
	struct adapter_address *list;
	size_t n;

	text[0] = '\0';
	cr_assert(eq(int, addresses_list(&list, &n), 0));
	for (size_t i = 0; i < n; i++) {
		char one[KVP_ADDRESS_TEXT_SIZE];

		kvp_address_format(&list[i].address, one);
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s/%u%s",
			 *text ? " " : "", one, list[i].prefix, list[i].is_dynamic ? "*" : "");
	}
	free(list);
	return text;
}

static bool has_message(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1;
}

Test(addresses, the_loopback_device_has_none, .init = in_own_network)
{
	cr_expect(eq(str, all_addresses(), ""));
}

Test(addresses, both_families_are_listed_and_dynamic_ones_are_known, .init = in_own_network)
{
	cr_assert(ip("addr add 192.0.2.7/24 dev one"));
	cr_assert(ip("addr add 198.51.100.1 peer 198.51.100.2/30 dev two"));
	cr_assert(ip("addr add 192.0.2.8/25 dev one valid_lft 1000 preferred_lft 1000"));
	cr_assert(ip("addr add 2001:db8::7/64 dev one nodad"));
	/* Ours, not the other end's. */
	cr_expect(eq(str, all_addresses(), "198.51.100.1/30 192.0.2.7/24 192.0.2.8/25* 2001:db8::7/64"));
}

Test(addresses, hundreds_of_addresses_are_all_listed, .init = in_own_network)
{
	FILE *batch = popen("ip -batch - 2>/dev/null", "w");
	struct adapter_address *list;
	size_t n;

	for (int i = 0; i < 600; i++)
		fprintf(batch, "addr add 10.0.%d.%d/24 dev one\n", i / 200, i % 200 + 1);
	cr_assert(eq(int, pclose(batch), 0));
	cr_assert(eq(int, addresses_list(&list, &n), 0));
	cr_expect(ge(sz, n, 600));
	free(list);
}

Test(addresses, each_change_is_told_once_and_silence_otherwise, .init = in_own_network)
{
	int fd;

	cr_assert(eq(int, addresses_open(&fd), 0));
	while (has_message(fd, 200)) /* what was sent to the group before */
		cr_assert(le(int, addresses_receive(fd), ADDRESSES_AGAIN));
	cr_assert(ip("addr add 192.0.2.7/24 dev one"));
	cr_expect(has_message(fd, 10000));
	cr_expect(eq(int, addresses_receive(fd), 0));
	cr_expect(eq(int, addresses_receive(fd), ADDRESSES_AGAIN));
	cr_assert(ip("addr del 192.0.2.7/24 dev one"));
	cr_expect(has_message(fd, 10000));
	cr_expect(eq(int, addresses_receive(fd), 0));
	cr_expect(eq(str, all_addresses(), ""));
	cr_assert(ip("link set one mtu 1400")); /* no address has changed */
	cr_expect(eq(int, has_message(fd, 200), 0));
	close(fd);
}

Test(addresses, only_the_kernel_is_believed, .init = in_own_network)
{
	struct sockaddr_nl to = {.nl_family = AF_NETLINK};
	struct nlmsghdr forged = {.nlmsg_len = sizeof(forged), .nlmsg_type = 20};
	socklen_t length = sizeof(to);
	int fd, other;

	cr_assert(eq(int, addresses_open(&fd), 0));
	while (has_message(fd, 200))
		cr_assert(le(int, addresses_receive(fd), ADDRESSES_AGAIN));
	cr_assert(eq(int, getsockname(fd, (struct sockaddr *)&to, &length), 0));
	other = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	to.nl_groups = 0;
	if (sendto(other, &forged, sizeof(forged), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		cr_skip_test("this kernel does not let processes send to each other");
	cr_expect(eq(int, addresses_receive(fd), ADDRESSES_AGAIN));
	close(other);
	close(fd);
}

Test(addresses, gateways_are_those_of_one_interface, .init = in_own_network)
{
	struct kvp_address gateways[2];
	char text[KVP_ADDRESS_TEXT_SIZE];
	size_t n;

	cr_assert(ip("addr add 192.0.2.7/24 dev one") && ip("addr add 198.51.100.7/24 dev two") &&
		  ip("addr add 2001:db8::7/64 dev one nodad"));
	cr_assert(ip("route add default via 192.0.2.1 dev one") &&
		  ip("route add default via 198.51.100.1 dev two metric 50") &&
		  ip("route add 203.0.113.0/24 via 192.0.2.2 dev one") &&
		  ip("-6 route add default via 2001:db8::1 dev one"));
	cr_assert(eq(int, addresses_gateways(if_nametoindex("one"), gateways, 2, &n), 0));
	cr_assert(eq(sz, n, 2));
	kvp_address_format(&gateways[0], text);
	cr_expect(eq(str, text, "192.0.2.1"));
	kvp_address_format(&gateways[1], text);
	cr_expect(eq(str, text, "2001:db8::1"));
	cr_assert(eq(int, addresses_gateways(if_nametoindex("one"), gateways, 1, &n), 0));
	cr_expect(eq(sz, n, 1));
	cr_assert(eq(int, addresses_gateways(if_nametoindex("lo"), gateways, 2, &n), 0));
	cr_expect(eq(sz, n, 0));
}
