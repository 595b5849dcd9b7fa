/* SPDX-License-Identifier: MIT */

/*
 * services/adapters.c, in a tree of ordinary files: which adapter is meant, who has it, by what
 * servers names are found.
 */

#include "services/adapters.h"
#include "tests/unit/tree.h"

#define GUID "{f8615163-df3e-46c5-913f-f2d2f965ed0e}"

static struct adapters_system sys;

static void add_adapter(const char *name, const char *index, const char *mac, const char *guid)
{
	char path[64];

	snprintf(path, sizeof(path), "net/%s/ifindex", name);
	tree_file(path, index);
	snprintf(path, sizeof(path), "net/%s/address", name);
	tree_file(path, mac);
	snprintf(path, sizeof(path), "net/%s/device/device_id", name);
	if (guid)
		tree_file(path, guid);
}

static void setup(void)
{
	tree_init();
	sys = (struct adapters_system){.net = strdup(tree_path("net")), .root = tree};
	add_adapter("lo", "1\n", "00:00:00:00:00:00\n", NULL);
	add_adapter("eth0", "2\n", "00:15:5d:01:02:0a\n", GUID "\n");
	add_adapter("eth1", "3\n", "00:15:5d:01:02:0b\n", "{00000000-df3e-46c5-913f-f2d2f965ed0e}\n");
	add_adapter("odd", "4\n", "80:00:00:48:fe:80:00:00:00:00:00:00:00:02:c9:03:00:0f:60:d1\n", NULL);
	add_adapter("none", "", "\n", NULL);
}

static void cleanup(void)
{
	tree_fini();
}

TestSuite(adapters, .init = setup, .fini = cleanup);

static const char *find(const char *id)
{
	static struct adapter a;

	return adapters_find(&sys, id, NULL, 0, &a) == 0 ? a.name : "";
}

Test(adapters, an_adapter_is_found_by_either_id_however_it_is_written)
{
	static const char *const rows[][2] = {
		{"00:15:5D:01:02:0A", "eth0"},
		{"00-15-5d-01-02-0b", "eth1"},
		{"00155D01020B", "eth1"},
		{GUID, "eth0"},
		{"F8615163-DF3E-46C5-913F-F2D2F965ED0E", "eth0"},
		{"{00000000-DF3E-46C5-913F-F2D2F965ED0E}", "eth1"},
		{"00:15:5D:01:02:0C", ""},
		{"{f8615163-df3e-46c5-913f-f2d2f965ed0f}", ""},
		{"", ""},
		{"eth0", ""},
		{"../eth0", ""},
		{"00:15:5D:01:02", ""},
		{"00:15:5D:01:02:0A:00:15:5D:01:02:0A:00:15:5D:01:02:0A", ""},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		expect_text(find(rows[i][0]), rows[i][1]);
}

Test(adapters, of_two_with_the_same_mac_address_it_is_the_one_with_addresses)
{
	const struct adapter_address list[] = {{.adapter = 2}, {.adapter = 7}};
	struct adapter a;

	add_adapter("vf", "7\n", "00:15:5d:01:02:0b\n", NULL);
	cr_assert(eq(int, adapters_find(&sys, "00:15:5d:01:02:0b", list, 2, &a), 0));
	expect_text(a.name, "vf");
	cr_expect(eq(uint, a.index, 7));
	expect_text(a.mac, "00:15:5d:01:02:0b");
	cr_assert(eq(int, adapters_find(&sys, "00:15:5d:01:02:0b", &(struct adapter_address){.adapter = 3},
					1, &a), 0));
	expect_text(a.name, "eth1");
}

static struct adapter_owner owner_of(const char *name, unsigned index)
{
	struct adapter a = {.index = index, .mac = "00:15:5d:01:02:0a"};
	struct adapter_owner owner;

	strcpy(a.name, name);
	memset(&owner, 0x55, sizeof(owner));
	adapters_owner(&sys, &a, &owner);
	return owner;
}

Test(adapters, nobody_has_an_adapter_of_which_no_manager_tells)
{
	cr_expect(eq(int, owner_of("eth0", 2).manager, NET_MANAGER_NONE));
	tree_file("run/systemd/netif/links/2", "ADMIN_STATE=unmanaged\n");
	tree_file("run/NetworkManager/devices/2", "[device]\nmanaged=false\n");
	cr_expect(eq(int, owner_of("eth0", 2).manager, NET_MANAGER_NONE));
}

Test(adapters, networkd_is_known_by_its_state_and_netplan_by_the_file)
{
	tree_file("run/systemd/netif/links/2",
		  "# private\nADMIN_STATE=configured\nOPER_STATE=routable\n"
		  "NETWORK_FILE=/etc/systemd/network/lan.network\n");
	cr_expect(eq(int, owner_of("eth0", 2).manager, NET_MANAGER_NETWORKD));
	cr_expect(eq(int, owner_of("eth1", 3).manager, NET_MANAGER_NONE));
	tree_file("run/systemd/netif/links/2",
		  "ADMIN_STATE=configuring\n"
		  "NETWORK_FILE=/run/systemd/network/10-netplan-lan.0.network\n");
	cr_expect(eq(int, owner_of("eth0", 2).manager, NET_MANAGER_NETPLAN));
	expect_text(owner_of("eth0", 2).netplan_id, "lan.0");
}

Test(adapters, networkmanager_is_known_by_its_device_and_netplan_by_the_connection)
{
	tree_file("run/systemd/netif/links/2", "ADMIN_STATE=unmanaged\n");
	tree_file("run/NetworkManager/devices/2",
		  "[device]\nmanaged=true\nconnection-uuid=68766775-6573-8000-8000-00155d01020a\n");
	tree_file("run/NetworkManager/system-connections/netplan-other.nmconnection",
		  "[connection]\ninterface-name=eth9\n");
	cr_expect(eq(int, owner_of("eth0", 2).manager, NET_MANAGER_NETWORKMANAGER));
	expect_text(owner_of("eth0", 2).connection, "68766775-6573-8000-8000-00155d01020a");
	tree_file("run/NetworkManager/system-connections/netplan-lan.nmconnection",
		  "[connection]\nid=netplan-lan\n[ethernet]\nmac-address=00:15:5D:01:02:0A\n");
	cr_expect(eq(int, owner_of("eth0", 2).manager, NET_MANAGER_NETPLAN));
	expect_text(owner_of("eth0", 2).netplan_id, "lan");
	expect_text(owner_of("eth0", 2).connection, "68766775-6573-8000-8000-00155d01020a");
}

/* The servers as text, with spaces in between. */
static const char *servers(size_t max)
{
	const struct adapter a = {.name = "eth0", .index = 2};
	struct kvp_address list[8];
	static char text[512];
	size_t n = adapters_dns(&sys, &a, list, max);

	text[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		char one[KVP_ADDRESS_TEXT_SIZE];

		kvp_address_format(&list[i], one);
		strcat(strcat(text, i ? " " : ""), one);
	}
	return text;
}

Test(adapters, name_servers_are_those_of_the_adapter_or_else_of_the_machine)
{
	expect_text(servers(8), "");
	tree_file("etc/resolv.conf", "# nameserver 9.9.9.9\nsearch example.org\nnameserver 127.0.0.53\n"
				     "nameservers 1.1.1.1\nnameserver\t::1\nnameserver x\nnameserver 1.2.3.4");
	expect_text(servers(8), "127.0.0.53 ::1 1.2.3.4");
	expect_text(servers(2), "127.0.0.53 ::1");
	tree_file("run/systemd/resolve/resolv.conf", "nameserver fe80::1%eth0\nnameserver 192.0.2.53\n");
	expect_text(servers(8), "fe80::1 192.0.2.53");
	tree_file("run/systemd/netif/links/2", "ADMIN_STATE=unmanaged\nDNS=192.0.2.1#dns.example "
					       "2001:db8::53 [2001:db8::54]:53\nMDNS=no\n");
	expect_text(servers(8), "192.0.2.1 2001:db8::53");
}

Test(adapters, a_lease_of_networkd_is_seen)
{
	const struct adapter a = {.name = "eth0", .index = 2};

	cr_expect(eq(int, adapters_has_lease(&sys, &a), 0));
	tree_file("run/systemd/netif/leases/2", "ADDRESS=192.0.2.7\n");
	cr_expect(eq(int, adapters_has_lease(&sys, &a), 1));
}
