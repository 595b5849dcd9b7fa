/* SPDX-License-Identifier: MIT */

/*
 * The events.
 *
 * An id is made once (systemd-id128 new) and never changes its meaning: programs match it. A message's
 * text may change; so what has to be matched is the id, HVGUEST_EVENT, or a field.
 */

#include "daemon/journal.h"

#include "base/scdoc.h"

#include <stdio.h>
#include <string.h>

const struct log_event journal_events[N_EVENTS] = {
	[EVENT_READY] = {
		.name = "ready",
		.message_id = "e23f07e25971492cb875fa09ef48f69a",
		.level = LOG_LEVEL_NOTICE,
		.what = "hvguestd is ready",
		.more = "It serves what its configuration names, and looks for its host. "
			"hvguestctl status shows both.",
	},
	[EVENT_ENDING] = {
		.name = "ending",
		.message_id = "d113d022e57448399f821ce0610efe6b",
		.level = LOG_LEVEL_NOTICE,
		.what = "hvguestd ends",
		.more = "It was asked to by a signal. What is frozen is thawed, devices "
			"go back to their drivers, and memory that the host had is put "
			"back into use.",
	},
	[EVENT_HANDING_OVER] = {
		.name = "handing-over",
		.message_id = "2dfad0e76aaf4ec09ea81ca688f7a9a8",
		.level = LOG_LEVEL_NOTICE,
		.what = "hvguestd hands over to the next one",
		.more = "A restart. The memory that the host has stays the host's, and "
			"the next hvguestd goes on with it.",
	},
	[EVENT_CONFIG_READ] = {
		.name = "configuration-read",
		.message_id = "2da30f0d53104349bc7f1745d2e1c8ad",
		.level = LOG_LEVEL_NOTICE,
		.what = "The configuration has been read anew",
		.more = "Lines before this one name what has changed, and what takes "
			"effect with a restart only.",
	},
	[EVENT_CONFIG_REFUSED] = {
		.name = "configuration-refused",
		.message_id = "bff1e625d6f848129c1a6f97cd982584",
		.level = LOG_LEVEL_ERROR,
		.what = "The configuration has a mistake and was not taken on",
		.more = "hvguestd goes on with what it had. The line before names the "
			"file and the line; hvguestd --check-config shows all of them.",
	},
	[EVENT_HOST_FOUND] = {
		.name = "host-found",
		.message_id = "256015e8aec9416a8c78bde01c5e7654",
		.level = LOG_LEVEL_NOTICE,
		.what = "The host is there",
		.more = "The lab host has accepted this guest.",
	},
	[EVENT_HOST_LOST] = {
		.name = "host-lost",
		.message_id = "d04d10fae8f9444585c39374ea606815",
		.level = LOG_LEVEL_WARNING,
		.what = "The host is lost",
		.more = "Services wait for it. If this lasts, see whether the host runs "
			"(hvhost status).",
	},
	[EVENT_CHANNEL_OPEN] = {
		.name = "channel-open",
		.message_id = "91f4aa781b5e4db7985f06ee1928671b",
		.level = LOG_LEVEL_NOTICE,
		.what = "A service has its channel",
		.more = "hvguestd speaks with the host by a VMBus device that it has "
			"taken over.",
	},
	[EVENT_DEVICE_NOT_TAKEN] = {
		.name = "device-not-taken",
		.message_id = "6e6099cb4811476aa58e347e9b9067d4",
		.level = LOG_LEVEL_ERROR,
		.what = "A VMBus device cannot be taken over",
		.more = "The service does without it, and the device has the driver that "
			"it had. hvguestctl vmbus shows who has which device.",
	},
	[EVENT_RING_CORRUPT] = {
		.name = "ring-corrupt",
		.message_id = "b94547b4affc4abd9e7e5fce8ae0ff52",
		.level = LOG_LEVEL_ERROR,
		.what = "A channel's memory makes no sense",
		.more = "The host, or what stands between, has written what cannot be. "
			"The channel is opened anew. If it happens again, tell who runs "
			"the host.",
	},
	[EVENT_BACKUP_CONSISTENT] = {
		.name = "backup-consistent",
		.message_id = "76a474e4be384660ac22c2151ff966ee",
		.level = LOG_LEVEL_NOTICE,
		.what = "A backup is consistent",
		.more = "Everything stood still from FREEZE to THAW. hvguestctl receipt "
			"says what, and for how long.",
	},
	[EVENT_BACKUP_NOT_CONSISTENT] = {
		.name = "backup-not-consistent",
		.message_id = "0f290ab66a4643ea87dfa031fc9a6cb2",
		.level = LOG_LEVEL_WARNING,
		.what = "A backup is not consistent",
		.more = "The copy that was made meanwhile, if any, is not worth more than"
			" one after a power failure. hvguestctl receipt says what went "
			"wrong. What cannot be frozen and does not matter belongs into "
			"freeze_exclude.",
	},
	[EVENT_BACKUP_IMPOSSIBLE] = {
		.name = "backup-impossible",
		.message_id = "ed25992061514b0db5f8aa3df5eb4a69",
		.level = LOG_LEVEL_WARNING,
		.what = "No backup can be made",
		.more = "Hosts that ask for one are refused until the cause is gone, "
			"which the message names.",
	},
	[EVENT_BACKUP_POSSIBLE] = {
		.name = "backup-possible",
		.message_id = "e85b21669c9c43b7a486bdaceccb511c",
		.level = LOG_LEVEL_NOTICE,
		.what = "Backups can be made again",
		.more = "The freezer runs.",
	},
	[EVENT_THAWED_LATE] = {
		.name = "thawed-late",
		.message_id = "71b2cff59fbf456c84041f40a41eb9f3",
		.level = LOG_LEVEL_WARNING,
		.what = "A file system was left frozen and has been thawed",
		.more = "An earlier hvguestd and its freezer were killed together while a"
			" backup was under way. Look for why; the host's copy is not "
			"consistent.",
	},
	[EVENT_STUCK_FROZEN] = {
		.name = "stuck-frozen",
		.message_id = "3ba1f9314fef48ff9a8334401025e0df",
		.level = LOG_LEVEL_ERROR,
		.what = "A file system is frozen and cannot be thawed",
		.more = "Whoever writes to it waits. Try fsfreeze -u; if that fails, only"
			" a restart of the machine helps.",
	},
	[EVENT_HOOK_FAILED] = {
		.name = "hook-failed",
		.message_id = "ed3cb12b78b04a2483409cc857405f2f",
		.level = LOG_LEVEL_WARNING,
		.what = "A hook has failed",
		.more = "A backup does not take place without it, unless its name says "
			"optional. Its output is in the receipt (hvguestctl receipt).",
	},
	[EVENT_HOOK_NOT_RUN] = {
		.name = "hook-not-run",
		.message_id = "e9489095d56644a796337ea34aad0541",
		.level = LOG_LEVEL_ERROR,
		.what = "A hook was not run",
		.more = "It counts as failed. A hook must belong to root, and so must all"
			" folders above it; nobody else may be able to change them.",
	},
	[EVENT_RECEIPT_NOT_SAVED] = {
		.name = "receipt-not-saved",
		.message_id = "b94db77c08934656b129cdd5d8f24ff2",
		.level = LOG_LEVEL_ERROR,
		.what = "A receipt cannot be saved",
		.more = "It is kept in memory until hvguestd ends. Make room in the state"
			" directory, or name another (state_dir).",
	},
	[EVENT_BACKUP_RECEIPT] = {
		.name = "backup-receipt",
		.message_id = "b6f7ba9d0c8e4f0e9f0a5c0c1d5a7e21",
		.level = LOG_LEVEL_INFO,
		.what = "A backup's receipt",
		.more = "HVGUEST_BACKUP_ID, HVGUEST_BACKUP_CLASS and "
			"HVGUEST_BACKUP_RECEIPT have it; hvguestctl receipt shows it. Its"
			" priority is 4 if the class is crash or failed.",
	},
	[EVENT_COPY_RECEIPT] = {
		.name = "copy-receipt",
		.message_id = "5d1a0f0b7c2e4b7fa3c4d7b9e2f81c36",
		.level = LOG_LEVEL_INFO,
		.what = "The receipt of a file from the host",
		.more = "HVGUEST_COPY_ID, HVGUEST_COPY_CLASS and HVGUEST_COPY_RECEIPT "
			"have it; hvguestctl copies shows it. Its priority is 4 if the "
			"class is failed.",
	},
	[EVENT_KEEPER_LOST] = {
		.name = "keeper-lost",
		.message_id = "75f12cddc67f494aabff987a439d1c20",
		.level = LOG_LEVEL_WARNING,
		.what = "The process that holds the host's memory has died",
		.more = "hvguestd starts another one, which takes over what it held. Look"
			" for who has killed it.",
	},
	[EVENT_MEMORY_MOVED] = {
		.name = "memory-moved",
		.message_id = "40efd9a9f97148ddb19f790f786620bd",
		.level = LOG_LEVEL_ERROR,
		.what = "This machine uses memory that the host has",
		.more = "The channel is closed, so that the host forgets it, and opened "
			"anew. Data may be damaged: look for who killed hvguest-keeper.",
	},
	[EVENT_IN_NEED] = {
		.name = "in-need",
		.message_id = "9911cde67e4b4c1e9e5e7cc1180cb508",
		.level = LOG_LEVEL_WARNING,
		.what = "This machine is in need of memory",
		.more = "It reports to the host that it needs more than it has. If this "
			"lasts, the host gives it too little, or something here takes too"
			" much; hvguestctl why shows the figures.",
	},
	[EVENT_IN_NEED_NO_MORE] = {
		.name = "in-need-no-more",
		.message_id = "28680f48ed65426a8b3c32d2f7c27862",
		.level = LOG_LEVEL_NOTICE,
		.what = "This machine is in need of memory no more",
		.more = "It reports what it uses again.",
	},
	[EVENT_BLOCK_CAME_ONLINE] = {
		.name = "block-came-online",
		.message_id = "cb7eb53af5634c0bb9798234ccddd197",
		.level = LOG_LEVEL_ERROR,
		.what = "Somebody has brought memory online that the host has",
		.more = "It is taken offline again, unless the message says otherwise; "
			"then data in it may be lost. Keep chmem and udev rules off "
			"blocks that hvguestd has taken (memory_blocks).",
	},
	[EVENT_MEMORY_ADDED] = {
		.name = "memory-added",
		.message_id = "c7e3f04e54584426855dcd8a6f1be2eb",
		.level = LOG_LEVEL_NOTICE,
		.what = "The host has added memory",
		.more = "It is online, or will be, by the policy of the setting hotplug.",
	},
	[EVENT_MEMORY_NOT_ADDED] = {
		.name = "memory-not-added",
		.message_id = "db7f0530c97343048aa792dbe97f11d5",
		.level = LOG_LEVEL_WARNING,
		.what = "Not all memory that the host adds can be taken",
		.more = "The message says why. The host may try again.",
	},
	[EVENT_BLOCK_STAYS_OFFLINE] = {
		.name = "block-stays-offline",
		.message_id = "4067f69039654ffeb6aa2f9f3025589f",
		.level = LOG_LEVEL_ERROR,
		.what = "New memory stays offline",
		.more = "The message says what was in the way. lsmem lists it, chmem -e "
			"brings it online.",
	},
	[EVENT_DISK_GROWN] = {
		.name = "disk-grown",
		.message_id = "0b5711a81aaa4e218a90e375fa455746",
		.level = LOG_LEVEL_NOTICE,
		.what = "A disk is grown into",
		.more = "Its last partition and the file system on it have the size that "
			"the disk has.",
	},
	[EVENT_DISK_NOT_GROWN] = {
		.name = "disk-not-grown",
		.message_id = "465bfc0c0d454945966bbbe74c56d69a",
		.level = LOG_LEVEL_WARNING,
		.what = "A disk is not grown into",
		.more = "hvguestctl disks shows what could grow, and why it does not.",
	},
	[EVENT_CLOCK_SET] = {
		.name = "clock-set",
		.message_id = "9563418fce7c429cb164f9c0ad6856f9",
		.level = LOG_LEVEL_NOTICE,
		.what = "The clock has been set",
		.more = "The host asked for it: after a restore, a migration, or because "
			"it was far off.",
	},
	[EVENT_CLOCK_NOT_SET] = {
		.name = "clock-not-set",
		.message_id = "4ee77bf5662a4c40a980c1a948702601",
		.level = LOG_LEVEL_ERROR,
		.what = "The clock cannot be set",
		.more = "hvguestd needs CAP_SYS_TIME for it. If another program is to "
			"keep the clock, sync = off.",
	},
	[EVENT_ADDRESSES_SET] = {
		.name = "addresses-set",
		.message_id = "8c1413e1766c4e9686a5457a9d3c7020",
		.level = LOG_LEVEL_NOTICE,
		.what = "The host has set this machine's addresses",
		.more = "The network manager has them in a file of its own; "
			"docs/ADDRESSES-AND-DISKS.md says in which.",
	},
	[EVENT_ADDRESSES_NOT_SET] = {
		.name = "addresses-not-set",
		.message_id = "72ac031694a54ee280886adea5b14220",
		.level = LOG_LEVEL_ERROR,
		.what = "Addresses from the host could not be set",
		.more = "The network's configuration is as it was before.",
	},
	[EVENT_FILE_COPIED] = {
		.name = "file-copied",
		.message_id = "1d79f6cb2935443ab760ebd023c888cf",
		.level = LOG_LEVEL_NOTICE,
		.what = "A file from the host is there",
		.more = "With the owner and mode that fcopy_owner and fcopy_mode say.",
	},
	[EVENT_FILE_NOT_COPIED] = {
		.name = "file-not-copied",
		.message_id = "28c937667aeb4b1f8b3f05835a7c3eae",
		.level = LOG_LEVEL_WARNING,
		.what = "A file from the host was refused, or is not complete",
		.more = "Nothing of it is left. Where files may go is said by "
			"fcopy_roots.",
	},
	[EVENT_SHUTDOWN_ASKED] = {
		.name = "shutdown-asked",
		.message_id = "e9059eb718524d78b5996b47034baccd",
		.level = LOG_LEVEL_NOTICE,
		.what = "The host asks for a shutdown, a reboot or hibernation",
		.more = "It is done as systemctl does it, unless shutdown_command says "
			"how.",
	},
	[EVENT_SHUTDOWN_REFUSED] = {
		.name = "shutdown-refused",
		.message_id = "c7d4d012a07641a3a33a487e4b6ca15c",
		.level = LOG_LEVEL_ERROR,
		.what = "A shutdown that the host asked for does not take place",
		.more = "Somebody inhibits it, or it cannot be begun. The host can ask "
			"again, or force it.",
	},
};

/* Prints @text in lines that end between words. */
static void print_wrapped(const char *text)
{
	const int width = 90;
	int column = 0;

	while (*text) {
		int n = (int)strcspn(text, " ");

		if (column > 0 && column + 1 + n > width) {
			putchar('\n');
			column = 0;
		}
		column += printf("%s%.*s", column > 0 ? " " : "", n, text);
		text += n;
		text += strspn(text, " ");
	}
	putchar('\n');
}

void journal_print_catalog(void)
{
	puts("# SPDX-License-Identifier: MIT\n#\n# Made by hvguestd --catalog.");
	for (size_t i = 0; i < N_EVENTS; i++) {
		const struct log_event *e = &journal_events[i];

		printf("\n-- %s\nSubject: %s\nDefined-By: hvguest\n"
		       "Documentation: man:hvguestd(8)\n\n@MESSAGE@\n\n", e->message_id, e->what);
		print_wrapped(e->more);
	}
}

void journal_print_manual(void)
{
	for (size_t i = 0; i < N_EVENTS; i++) {
		printf("*%s* %s\n\t", journal_events[i].name, journal_events[i].message_id);
		scdoc_print(journal_events[i].what);
		puts(".\n");
	}
}
