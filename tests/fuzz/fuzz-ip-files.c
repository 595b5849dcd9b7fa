/* SPDX-License-Identifier: MIT */

/*
 * What a host sets as addresses, up to the files that are written of it; and texts that the automatic
 * keys are made of.
 *
 * Input: u8 flags (1: DHCP), and then up to four texts, each with its NUL: addresses, subnets, gateways,
 * servers. The whole is read as an os-release file and as what getent prints, too.
 *
 * Oracles: what was read comes back from its own text; a file has nothing but printable ASCII, and each
 * line begins as one of its lines may; an address that passes the check is in the file, unless it is
 * link-local.
 */

#include "tests/fuzz/fuzz.h"

#include "services/kvp_ip_files.h"
#include "services/kvp_keys.h"

static const struct kvp_ip_target target = {
	.interface = "eth0", .mac = "00:15:5d:01:02:0a", .netplan_id = "eth0"};

/* Takes the next text; what does not fit is cut. */
static void take(const uint8_t **data, size_t *size, char *text, size_t room)
{
	size_t n = strnlen((const char *)*data, *size), used = n < room - 1 ? n : room - 1;

	memcpy(text, *data, used);
	text[used] = '\0';
	n += n < *size;
	*data += n;
	*size -= n;
}

static void check_round_trip(const struct kvp_ip_info *info)
{
	static struct kvp_ip_texts texts;
	static struct kvp_ip_info again;

	kvp_ip_format(info, &texts);
	fuzz_require(kvp_ip_parse(&texts, &again) == 0);
	fuzz_require(again.n_addresses <= info->n_addresses && again.n_dns <= info->n_dns);
	for (size_t i = 0; i < again.n_addresses; i++) {
		fuzz_require(memcmp(&again.addresses[i].address, &info->addresses[i].address,
				    sizeof(again.addresses[i].address)) == 0);
		fuzz_require(again.addresses[i].prefix == info->addresses[i].prefix);
	}
}

/* Each line is empty or begins with one of the words, which end with NULL. */
static void check_lines(const char *text, const char *const *words)
{
	while (*text) {
		size_t length = strcspn(text, "\n"), i = 0;

		for (size_t c = 0; c < length; c++)
			fuzz_require(text[c] >= ' ' && text[c] < 0x7f);
		while (words[i] && strncmp(text, words[i], strlen(words[i])) != 0)
			i++;
		fuzz_require(length == 0 || words[i]);
		text += length + (text[length] == '\n');
	}
}

static void check_has_addresses(const char *text, const struct kvp_ip_info *info)
{
	char address[KVP_ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < info->n_addresses; i++) {
		kvp_address_format(&info->addresses[i].address, address);
		fuzz_require(!kvp_ip_is_set(&info->addresses[i]) || strstr(text, address));
	}
}

static void check_files(const struct kvp_ip_info *info)
{
	static const char *const network[] = {"#", "[Match]", "MACAddress=", "Name=eth0", "[Network]",
					      "DHCP=", "IPv6AcceptRA=", "Address=", "DNS=", "[Route]",
					      "Gateway=", "Metric=", "GatewayOnLink=yes", NULL};
	static const char *const keyfile[] = {"#", "[connection]", "id=hvguest-eth0", "uuid=", "type=ethernet",
					      "interface-name=eth0", "autoconnect-priority=", "[ethernet]",
					      "mac-address=", "[ipv4]", "[ipv6]", "method=", "address",
					      "gateway=", "route", "dns=", NULL};
	static const char *const netplan[] = {"#", "network:", "  ", NULL};
	static char text[KVP_IP_FILE_MAX];

	fuzz_require(kvp_ip_networkd_text(&target, info, text) == 0);
	check_lines(text, network);
	check_has_addresses(text, info);
	fuzz_require(kvp_ip_keyfile_text(&target, info, text) == 0);
	check_lines(text, keyfile);
	check_has_addresses(text, info);
	fuzz_require(kvp_ip_netplan_text(&target, info, text) == 0);
	check_lines(text, netplan);
	check_has_addresses(text, info);
}

static void read_texts(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), value[40];

	memcpy(text, data, size);
	text[size] = '\0';
	if (kvp_keys_os_release(text, "NAME", value, sizeof(value)))
		fuzz_require(!strchr(value, '\n') && strlen(value) < sizeof(value));
	if (kvp_keys_canonical_name(text, value, sizeof(value)))
		fuzz_require(strlen(value) > 0 && strcspn(value, " \t\n") == strlen(value));
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kvp_ip_texts texts;
	static struct kvp_ip_info info;

	if (size == 0)
		return 0;
	read_texts(data, size);
	texts = (struct kvp_ip_texts){.dhcp = data[0] & 1};
	data++;
	size--;
	take(&data, &size, texts.addresses, sizeof(texts.addresses));
	take(&data, &size, texts.subnets, sizeof(texts.subnets));
	take(&data, &size, texts.gateways, sizeof(texts.gateways));
	take(&data, &size, texts.dns, sizeof(texts.dns));
	if (kvp_ip_parse(&texts, &info))
		return 0;
	check_round_trip(&info);
	if (kvp_ip_check(&info, NULL) == 0)
		check_files(&info);
	return 0;
}
