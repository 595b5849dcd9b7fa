/* SPDX-License-Identifier: MIT */

/*
 * A VM of QEMU's.
 *
 *     WAITING --timer, hurry--> CONNECTING --ready--> LOOKING --last answer--> WATCHING
 *        ^                          |                    |                        |
 *        +------- nobody there, lost, an answer that makes no sense --------------+
 *
 * LOOKING asks what there is: one question after the other, by the table below. WATCHING asks once a
 * second what the VM has, four times while memory is on its way or short; the reports come as events
 * (hv-balloon) or are asked for (virtio-balloon).
 *
 * A VM that cannot be reached has its memory all the same. So whoever hangs keeps its place at the
 * balancer, with all that it was charged with, and is only left alone; the place is given up when
 * nobody listens at the socket any more, because then QEMU has ended. The time between two attempts
 * doubles, up to half a minute.
 */

#include "host/qemu_vm.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "host/qemu_memory.h"
#include "host/qmp_wire.h"

#include <stdio.h>
#include <string.h>

#define MS_NS      UINT64_C(1000000)
#define RETRY_NS   (100 * MS_NS)
#define RETRY_MAX_NS (30000 * MS_NS)
#define WATCH_NS   (1000 * MS_NS)
#define URGENT_NS  (250 * MS_NS)
#define SILENT_NS  (10000 * MS_NS) /* without a report: something is wrong */

enum qemu_vm_state {
	QEMU_VM_WAITING,
	QEMU_VM_CONNECTING,
	QEMU_VM_LOOKING,
	QEMU_VM_WATCHING,
};

struct qemu_vm {
	struct qemu_vm_context context;
	char *name;
	char *second_name; /* at the balancer, if another one is called the same */
	char *path;
	enum qemu_vm_state state;
	struct qmp *qmp;
	struct event *timer;
	uint64_t retry_ns;
	size_t step;        /* LOOKING: the question that is being asked */
	unsigned unanswered;   /* WATCHING */
	uint64_t watched_ns;   /* since then */
	bool has_reported;     /* the guest, since then */
	char problem[160];  /* why it is not watched, or cannot be driven */
	unsigned lost;      /* times */

	bool has_machine;
	bool is_running;
	char qemu_name[64]; /* as QEMU has it; "": none */
	enum qemu_balloon balloon;
	char device[160];   /* its path in QEMU's tree */
	uint64_t boot_pages;
	uint64_t growable_pages;
	uint64_t actual_pages;
	struct qemu_memory *memory; /* NULL: it has no place at the balancer */
	uint64_t joined_pages;      /* boot_pages when it was given that */
};

static const char *const state_names[] = {
	[QEMU_VM_WAITING] = "waiting",
	[QEMU_VM_CONNECTING] = "connecting",
	[QEMU_VM_LOOKING] = "looking",
	[QEMU_VM_WATCHING] = "watching",
};

static void look(struct qemu_vm *vm);

static void set_problem(struct qemu_vm *vm, const char *problem)
{
	snprintf(vm->problem, sizeof(vm->problem), "%s", problem);
}

static bool is_drivable(const struct qemu_vm *vm)
{
	return vm->balloon != QEMU_BALLOON_NONE;
}

static void guard(struct qemu_vm *vm)
{
	unsigned guards = 0;

	if (!vm->memory)
		return;
	if (vm->state != QEMU_VM_WATCHING || !vm->is_running || !is_drivable(vm))
		guards |= BALANCER_GUARD_NOT_READY;
	if (vm->context.backup_runs(vm->context.user, vm->name))
		guards |= BALANCER_GUARD_BACKUP;
	qemu_memory_guard(vm->memory, guards, clock_monotonic_ns());
}

static void wait_and_retry(struct qemu_vm *vm)
{
	vm->state = QEMU_VM_WAITING;
	timer_set(vm->timer, clock_monotonic_ns() + vm->retry_ns);
	vm->retry_ns = vm->retry_ns * 2 < RETRY_MAX_NS ? vm->retry_ns * 2 : RETRY_MAX_NS;
}

static void on_lost(void *user, const char *why)
{
	struct qemu_vm *vm = user;

	log_notice("%s: %s is lost: %s", vm->name, vm->path, why);
	set_problem(vm, why);
	vm->lost++;
	vm->qmp = qmp_free(vm->qmp);
	wait_and_retry(vm);
	guard(vm);
}

/* LOOKING: one function for what each answer says; @value NULL: QEMU would not say. */

static bool take_name(struct qemu_vm *vm, const json_t *value)
{
	const char *name = json_string_value(json_object_get(value, "name"));

	snprintf(vm->qemu_name, sizeof(vm->qemu_name), "%s", name ? name : "");
	return true;
}

/* qemu-storage-daemon speaks QMP, too, and has disks, but no machine. */
static bool take_status(struct qemu_vm *vm, const json_t *value)
{
	vm->has_machine = value != NULL;
	vm->is_running = json_is_true(json_object_get(value, "running"));
	return !value || json_is_object(value);
}

static bool take_size(struct qemu_vm *vm, const json_t *value)
{
	uint64_t plugged;

	vm->boot_pages = 0;
	if (!vm->has_machine)
		return true;
	if (qemu_pages(value, "base-memory", &vm->boot_pages))
		return false;
	if (qemu_pages(value, "plugged-memory", &plugged) == 0 && vm->balloon != QEMU_BALLOON_HV)
		vm->boot_pages += plugged;
	return true;
}

static bool take_devices(struct qemu_vm *vm, const json_t *value, const char *container)
{
	const char *name;

	if (vm->balloon == QEMU_BALLOON_NONE && qemu_find_balloon(value, &vm->balloon, &name) == 0)
		snprintf(vm->device, sizeof(vm->device), "%s/%s", container, name);
	return true;
}

static bool take_named_devices(struct qemu_vm *vm, const json_t *value)
{
	return take_devices(vm, value, "/machine/peripheral");
}

static bool take_other_devices(struct qemu_vm *vm, const json_t *value)
{
	return take_devices(vm, value, "/machine/peripheral-anon");
}

/* What hv-balloon could add. */
static bool take_memory_devices(struct qemu_vm *vm, const json_t *value)
{
	const json_t *device;
	size_t i;

	json_array_foreach(value, i, device) {
		const char *type = json_string_value(json_object_get(device, "type"));

		if (type && !strcmp(type, "hv-balloon"))
			(void)!qemu_pages(json_object_get(device, "data"), "max-size",
					  &vm->growable_pages);
	}
	return true;
}

static bool take_actual(struct qemu_vm *vm, const json_t *value)
{
	if (value)
		return qemu_pages(value, "actual", &vm->actual_pages) == 0;
	vm->balloon = QEMU_BALLOON_NONE;
	vm->actual_pages = vm->boot_pages;
	return true;
}

static json_t *list_of(const char *path)
{
	return json_pack("{s:s}", "path", path);
}

static const struct question {
	const char *command;
	const char *path; /* its argument; NULL: none */
	bool (*take)(struct qemu_vm *vm, const json_t *value); /* false: no QEMU says that */
} questions[] = {
	{"query-name", NULL, take_name},
	{"query-status", NULL, take_status},
	{"qom-list", "/machine/peripheral", take_named_devices},
	{"qom-list", "/machine/peripheral-anon", take_other_devices},
	{"query-memory-size-summary", NULL, take_size},
	{"query-memory-devices", NULL, take_memory_devices},
	{"query-balloon", NULL, take_actual},
};

enum {
	N_QUESTIONS = sizeof(questions) / sizeof(questions[0]),
};

/* WATCHING */

static void tell_size(struct qemu_vm *vm, bool is_quiet)
{
	uint64_t pages;

	if (!qemu_memory_next(vm->memory, is_quiet, clock_monotonic_ns(), &pages))
		return;
	log_debug("%s: balloon to %llu MiB", vm->name, (unsigned long long)(pages >> 8));
	(void)!qmp_ask(vm->qmp, "balloon", json_pack("{s:I}", "value", (json_int_t)(pages * 4096)), 0,
		       NULL, NULL);
}

static void watch_again(struct qemu_vm *vm)
{
	uint64_t period = qemu_memory_is_urgent(vm->memory) ? URGENT_NS : WATCH_NS;

	timer_set(vm->timer, clock_monotonic_ns() + period);
}

static void take_size_now(struct qemu_vm *vm, uint64_t pages)
{
	vm->actual_pages = pages;
	qemu_memory_has(vm->memory, pages, clock_monotonic_ns());
}

static void on_size(void *user, const json_t *value, const char *error)
{
	struct qemu_vm *vm = user;
	uint64_t pages;

	vm->unanswered--;
	if (error)
		return; /* it is lost, or the device was taken out */
	if (qemu_pages(value, "actual", &pages)) {
		qmp_give_up(vm->qmp, "its answer to query-balloon makes no sense");
		return;
	}
	take_size_now(vm, pages);
	tell_size(vm, false);
}

static void take_report(struct qemu_vm *vm, const struct qemu_report *report)
{
	if (!vm->has_reported)
		set_problem(vm, "");
	vm->has_reported = true;
	qemu_memory_report(vm->memory, report, clock_monotonic_ns());
	tell_size(vm, true);
}

/* Said once, in the status and in the log. */
static void see_silence(struct qemu_vm *vm)
{
	if (vm->has_reported || vm->problem[0] || !vm->is_running ||
	    clock_monotonic_ns() - vm->watched_ns < SILENT_NS)
		return;
	set_problem(vm, vm->balloon == QEMU_BALLOON_HV
				? "no report comes: hv-balloon needs status-report=on, and the guest a driver"
				: "no statistics come: does the guest have a driver for its balloon?");
	log_warning("%s: %s", vm->name, vm->problem);
}

static void on_statistics(void *user, const json_t *value, const char *error)
{
	struct qemu_vm *vm = user;
	struct qemu_report report;
	uint64_t ballooned;

	vm->unanswered--;
	ballooned = vm->boot_pages > vm->actual_pages ? vm->boot_pages - vm->actual_pages : 0;
	if (error || qemu_virtio_report(value, ballooned, &report))
		return; /* the guest's driver has said nothing yet */
	take_report(vm, &report);
}

static void ask(struct qemu_vm *vm, const char *command, json_t *take_arguments, qmp_done *done)
{
	if (qmp_ask(vm->qmp, command, take_arguments, 0, done, vm) == 0)
		vm->unanswered++;
}

static json_t *property(const struct qemu_vm *vm, const char *name)
{
	return json_pack("{s:s, s:s}", "path", vm->device, "property", name);
}

static void watch(struct qemu_vm *vm)
{
	if (!vm->memory)
		return;
	if (clock_monotonic_ns() - vm->watched_ns > SILENT_NS)
		vm->retry_ns = RETRY_NS; /* it has behaved for a while */
	guard(vm);
	see_silence(vm);
	if (vm->unanswered == 0 && is_drivable(vm)) {
		ask(vm, "query-balloon", NULL, on_size);
		if (vm->balloon == QEMU_BALLOON_VIRTIO)
			ask(vm, "qom-get", property(vm, "guest-stats"), on_statistics);
	}
	tell_size(vm, false);
	watch_again(vm);
}

static void start_statistics(struct qemu_vm *vm)
{
	json_t *arguments = property(vm, "guest-stats-polling-interval");

	json_object_set_new(arguments, "value", json_integer(1));
	(void)!qmp_ask(vm->qmp, "qom-set", arguments, 0, NULL, NULL);
}

static int join_as(struct qemu_vm *vm, const char *name)
{
	const struct qemu_memory_config config = {
		.balance = vm->context.balance,
		.name = name,
		.balloon = vm->balloon,
		.limits = vm->context.limits_for(vm->context.user, vm->name, vm->boot_pages,
						 vm->boot_pages + vm->growable_pages),
		.boot_pages = vm->boot_pages,
		.growable_pages = vm->growable_pages,
	};

	vm->joined_pages = vm->boot_pages;
	return qemu_memory_new(&config, vm->actual_pages, &vm->memory);
}

/* A guest of the lab may be called the same; it may even be the same machine. */
static int join(struct qemu_vm *vm)
{
	int r = join_as(vm, vm->name);

	return r == BALANCER_TWICE ? join_as(vm, vm->second_name) : r;
}

/* All questions are answered. */
static void start_watching(struct qemu_vm *vm)
{
	int r = 0;

	/* Another VM may have been started at the same socket, unseen. */
	if (vm->memory && vm->joined_pages != vm->boot_pages)
		vm->memory = qemu_memory_free(vm->memory);
	if (vm->memory)
		qemu_memory_has(vm->memory, vm->actual_pages, clock_monotonic_ns());
	else if (vm->has_machine)
		r = join(vm);
	if (r) {
		log_error("%s: cannot be balanced: %s", vm->name,
			  r < 0 ? strerror(-r) : balancer_condition_text(r));
		qmp_give_up(vm->qmp, "it has no place at the balancer");
		return;
	}
	vm->state = QEMU_VM_WATCHING;
	vm->unanswered = 0;
	vm->watched_ns = clock_monotonic_ns();
	vm->has_reported = false;
	set_problem(vm, is_drivable(vm)   ? ""
			: vm->has_machine ? "it has no balloon: its memory stays as it is"
					  : "it has no machine: only its disks are of use");
	log_notice("%s: %s, %llu MiB of %llu MiB, by %s", vm->name,
		   vm->is_running ? "running" : "not running",
		   (unsigned long long)(vm->actual_pages >> 8),
		   (unsigned long long)(vm->boot_pages >> 8), qemu_balloon_name(vm->balloon));
	if (vm->balloon == QEMU_BALLOON_VIRTIO)
		start_statistics(vm);
	watch(vm);
}

static void on_look(void *user, const json_t *value, const char *error)
{
	struct qemu_vm *vm = user;
	const struct question *q = &questions[vm->step];

	if (vm->state != QEMU_VM_LOOKING || !qemu_vm_qmp(vm))
		return;
	if (!q->take(vm, error ? NULL : value)) {
		qmp_give_up(vm->qmp, "what it says of itself makes no sense");
		return;
	}
	vm->step++;
	look(vm);
}

static void look(struct qemu_vm *vm)
{
	const struct question *q = &questions[vm->step];

	if (vm->step == N_QUESTIONS)
		start_watching(vm);
	else if (qmp_ask(vm->qmp, q->command, q->path ? list_of(q->path) : NULL, 0, on_look, vm))
		qmp_give_up(vm->qmp, "no memory");
}

static void on_ready(void *user)
{
	struct qemu_vm *vm = user;

	vm->state = QEMU_VM_LOOKING;
	vm->step = 0;
	vm->balloon = QEMU_BALLOON_NONE;
	vm->growable_pages = 0;
	look(vm);
}

static void on_hv_report(struct qemu_vm *vm, const json_t *data)
{
	struct qemu_report report;

	if (vm->balloon != QEMU_BALLOON_HV || qemu_hv_report(data, &report))
		return;
	take_report(vm, &report);
}

static void on_event(void *user, const char *name, const json_t *data)
{
	struct qemu_vm *vm = user;
	uint64_t pages;

	if (!strcmp(name, "STOP"))
		vm->is_running = false;
	else if (!strcmp(name, "RESUME"))
		vm->is_running = true;
	if (vm->state != QEMU_VM_WATCHING || !vm->memory)
		return;
	if (!strcmp(name, "HV_BALLOON_STATUS_REPORT"))
		on_hv_report(vm, data);
	else if (!strcmp(name, "BALLOON_CHANGE") && qemu_pages(data, "actual", &pages) == 0)
		take_size_now(vm, pages);
	else if (!strcmp(name, "RESET"))
		qemu_memory_restarted(vm->memory, clock_monotonic_ns());
	guard(vm);
}

static const struct qmp_ops qmp_ops = {
	.on_ready = on_ready,
	.on_event = on_event,
	.on_lost = on_lost,
};

/* Nobody listens: QEMU has ended, or was not started yet. */
static void be_gone(struct qemu_vm *vm)
{
	if (vm->memory)
		log_notice("%s: gone", vm->name);
	vm->memory = qemu_memory_free(vm->memory);
	set_problem(vm, "nobody listens at its socket");
}

static void try_to_connect(struct qemu_vm *vm)
{
	int r = qmp_open(vm->context.base, vm->path, vm->context.limit_ns, &qmp_ops, vm, &vm->qmp);

	if (r == 0) {
		vm->state = QEMU_VM_CONNECTING;
		return;
	}
	if (r == QMP_NOBODY)
		be_gone(vm);
	else if (r == QMP_DENIED)
		set_problem(vm, "its socket may not be used: hvhost has to be root, or the socket's owner");
	else if (r == QMP_BUSY)
		set_problem(vm, "it accepts nobody: it hangs, or others have filled its queue");
	else
		set_problem(vm, strerror(-r));
	wait_and_retry(vm);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct qemu_vm *vm = user;

	(void)fd;
	(void)what;
	if (vm->state == QEMU_VM_WAITING)
		try_to_connect(vm);
	else if (vm->state == QEMU_VM_WATCHING)
		watch(vm);
}

int qemu_vm_new(const struct qemu_vm_context *context, const char *name, const char *path,
		struct qemu_vm **ret_vm)
{
	_cleanup_(cleanup_qemu_vmp) struct qemu_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return -ENOMEM;
	vm->context = *context;
	vm->retry_ns = RETRY_NS;
	vm->name = strdup(name);
	if (asprintf(&vm->second_name, "%s@qemu", name) < 0)
		vm->second_name = NULL;
	vm->path = strdup(path);
	vm->timer = event_new(context->base, -1, 0, on_timer, vm);
	if (!vm->name || !vm->second_name || !vm->path || !vm->timer)
		return -ENOMEM;
	set_problem(vm, "it was not looked at yet");
	timer_set(vm->timer, 0);

	*ret_vm = steal_ptr(vm);
	return 0;
}

struct qemu_vm *qemu_vm_free(struct qemu_vm *vm)
{
	if (!vm)
		return NULL;
	(void)qmp_free(vm->qmp);
	(void)qemu_memory_free(vm->memory);
	if (vm->timer)
		event_free(vm->timer);
	free(vm->name);
	free(vm->second_name);
	free(vm->path);
	free(vm);
	return NULL;
}

const char *qemu_vm_name(const struct qemu_vm *vm)
{
	return vm->name;
}

const char *qemu_vm_path(const struct qemu_vm *vm)
{
	return vm->path;
}

uint32_t qemu_vm_balance_id(const struct qemu_vm *vm)
{
	return vm->memory ? qemu_memory_id(vm->memory) : BALANCER_NO_GUEST;
}

void qemu_vm_hurry(struct qemu_vm *vm)
{
	vm->retry_ns = RETRY_NS;
	if (vm->state == QEMU_VM_WAITING)
		timer_set(vm->timer, 0);
}

struct qmp *qemu_vm_qmp(struct qemu_vm *vm)
{
	return vm->state == QEMU_VM_LOOKING || vm->state == QEMU_VM_WATCHING ? vm->qmp : NULL;
}

json_t *qemu_vm_status(const struct qemu_vm *vm)
{
	json_t *status = json_pack(
		"{s:s, s:s, s:{s:s, s:s, s:s, s:b, s:s, s:i, s:s}}", "name", vm->name, "kind", "qemu",
		"qemu", "state", state_names[vm->state], "socket", vm->path, "balloon",
		qemu_balloon_name(vm->balloon), "running", vm->is_running, "name", vm->qemu_name, "lost",
		(int)vm->lost, "problem", vm->problem);

	if (status && vm->memory)
		json_object_set_new(status, "memory", qemu_memory_status(vm->memory));
	if (status)
		json_object_set_new(status, "machine_memory_bytes",
				    json_integer((json_int_t)(vm->boot_pages * 4096)));
	return status;
}
