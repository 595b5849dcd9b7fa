/* SPDX-License-Identifier: MIT */

/*
 * hvhost simulate and hvhost replay: policies compared, without a host.
 *
 * `simulate` asks how many guests of a made-up fleet each policy can hold before their tasks wait for
 * more than the budget, and how fast each is when demands change places. `replay` gives each policy
 * what was recorded of a real host. Both run on virtual time and come out the same for the same seed.
 */

#include "host/command.h"
#include "host/plot.h"
#include "host/verbs.h"
#include "policy/simulate.h"

#include <stdio.h>
#include <string.h>

#define PAGES_PER_GIB 262144

enum {
	CURVE_POINTS = 9,
	STEP_GUESTS = 16,
	STEP_SECONDS = 4500,
	HOURS_MAX = 168,
};

/* What is known of one policy. */
struct outcome {
	bool wanted;
	size_t fit;
	struct simulate_result at_fit;
	struct simulate_result step;
	double curve_x[CURVE_POINTS]; /* guests */
	double curve_y[CURVE_POINTS]; /* percent of the time that was waited */
};

static bool parse_number(const char *text, uint64_t max, uint64_t *ret_number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	*ret_number = strtoull(text, &end, 10);
	return *end == '\0' && *ret_number <= max;
}

static int fail_memory(void)
{
	fputs("hvhost: no memory\n", stderr);
	return EXIT_ERROR;
}

/* Marks the policies called in @names, or all; false if one is unknown, which is said. */
static bool choose(const struct command_texts *names, struct outcome outcomes[CONTENDER_N_KINDS])
{
	for (int kind = 0; kind < CONTENDER_N_KINDS; kind++)
		outcomes[kind].wanted = names->n == 0;
	for (int i = 0; i < names->n; i++) {
		enum contender_kind kind = contender_named(names->texts[i]);

		if (kind == CONTENDER_N_KINDS) {
			fprintf(stderr, "hvhost: no policy '%s': they are", names->texts[i]);
			for (int k = 0; k < CONTENDER_N_KINDS; k++)
				fprintf(stderr, " %s", contender_name((enum contender_kind)k));
			fputc('\n', stderr);
			return false;
		}
		outcomes[kind].wanted = true;
	}
	return true;
}

static double stall_percent(const struct simulate_result *r)
{
	return (double)simulate_stall_ppm(r) / 1e4;
}

/* Half of the guests want much, half little, and then they change places; 70 % of the host is needed. */
static int run_step(enum contender_kind kind, struct simulate_result *ret_result)
{
	struct simulate_settings s = {
		.policy = kind,
		.source = SIMULATE_STEP,
		.n_guests = STEP_GUESTS,
		.host_pages = (uint64_t)68 * PAGES_PER_GIB,
		.seconds = STEP_SECONDS,
	};

	return simulate(&s, ret_result);
}

/* How the waiting grows with the number of guests. */
static int run_curve(struct simulate_settings *s, size_t most, struct outcome *o)
{
	struct simulate_result r;

	for (int i = 0; i < CURVE_POINTS; i++) {
		s->n_guests = most * (size_t)(i + 4) / (CURVE_POINTS + 2);
		s->n_guests += s->n_guests == 0;
		if (simulate(s, &r))
			return -ENOMEM;
		o->curve_x[i] = (double)s->n_guests;
		o->curve_y[i] = r.fits ? stall_percent(&r) : 100;
	}
	return 0;
}

static int run_all(struct simulate_settings *s, uint64_t stall_ppm, bool with_curves,
		   struct outcome outcomes[CONTENDER_N_KINDS])
{
	size_t most = 1;

	for (int kind = 0; kind < CONTENDER_N_KINDS; kind++) {
		struct outcome *o = &outcomes[kind];

		s->policy = (enum contender_kind)kind;
		if (!o->wanted)
			continue;
		if (simulate_fit(s, stall_ppm, &o->fit, &o->at_fit) || run_step(s->policy, &o->step))
			return -ENOMEM;
		most = o->fit > most ? o->fit : most;
	}
	for (int kind = 0; with_curves && kind < CONTENDER_N_KINDS; kind++) {
		s->policy = (enum contender_kind)kind;
		if (outcomes[kind].wanted && run_curve(s, most, &outcomes[kind]))
			return -ENOMEM;
	}
	return 0;
}

static json_t *result_json(const struct simulate_result *r)
{
	return json_pack("{s:I, s:f, s:f, s:f, s:I, s:I, s:I, s:f, s:f}", "guests",
			 (json_int_t)r->n_guests, "stall_percent", stall_percent(r), "stall_seconds",
			 (double)r->stalled_us / 1e6, "worst_guest_stall_seconds",
			 (double)r->worst_stalled_us / 1e6, "moved_bytes",
			 (json_int_t)(r->moved_pages * 4096), "over_budget_seconds",
			 (json_int_t)r->over_seconds, "over_budget_bytes_max",
			 (json_int_t)(r->over_pages_max * 4096), "fairness",
			 r->fairness_permille / 1e3, "host_used", r->used_permille / 1e3);
}

static void print_json(const struct simulate_settings *s, uint64_t stall_ppm,
		       const struct outcome outcomes[CONTENDER_N_KINDS])
{
	json_t *policies = json_array(), *whole;

	for (int kind = 0; kind < CONTENDER_N_KINDS; kind++) {
		const struct outcome *o = &outcomes[kind];

		if (!o->wanted)
			continue;
		json_array_append_new(
			policies,
			json_pack("{s:s, s:s, s:I, s:o, s:{s:b, s:I, s:I, s:f}}", "policy",
				  contender_name((enum contender_kind)kind), "is",
				  contender_text((enum contender_kind)kind), "guests_that_fit",
				  (json_int_t)o->fit, "at_fit", result_json(&o->at_fit), "step",
				  "converged", o->step.converged, "convergence_seconds",
				  (json_int_t)o->step.convergence_s, "turns_max",
				  (json_int_t)o->step.turns_max, "stall_seconds",
				  (double)o->step.stalled_us / 1e6));
	}
	whole = json_pack("{s:i, s:I, s:I, s:I, s:f, s:o}", "schema", 1, "seed",
			  (json_int_t)s->fleet.seed, "host_bytes", (json_int_t)(s->host_pages * 4096),
			  "seconds", (json_int_t)s->seconds, "stall_budget_percent",
			  (double)stall_ppm / 1e4, "policies", policies);
	ask_print_json(whole);
	json_decref(whole);
}

static void print_table(const struct outcome outcomes[CONTENDER_N_KINDS])
{
	printf("%-15s %7s %9s %9s %9s %8s %8s %9s %6s\n", "POLICY", "GUESTS", "WAITED", "WORST",
	       "MOVED", "OVER", "FAIR", "STEP", "TURNS");
	for (int kind = 0; kind < CONTENDER_N_KINDS; kind++) {
		const struct outcome *o = &outcomes[kind];
		char step[24];

		if (!o->wanted)
			continue;
		snprintf(step, sizeof(step), o->step.converged ? "%lu s" : "never",
			 (unsigned long)o->step.convergence_s);
		printf("%-15s %7zu %7.3f %% %7.0f s %9s %6lu s %8.3f %9s %6u\n",
		       contender_name((enum contender_kind)kind), o->fit, stall_percent(&o->at_fit),
		       (double)o->at_fit.worst_stalled_us / 1e6,
		       size_format(o->at_fit.moved_pages * 4096).text,
		       (unsigned long)o->at_fit.over_seconds, o->at_fit.fairness_permille / 1e3, step,
		       o->step.turns_max);
	}
	puts("\nGUESTS that fit before their tasks WAITED for memory longer than the budget; the WORST\n"
	     "guest waited so long in all. MOVED: memory, in all. OVER: time with more given than the\n"
	     "host has. FAIR: 1 = all waited alike. STEP: until all have what they need after demands\n"
	     "changed places. TURNS: changes of direction of one guest's target after that.");
}

static int write_svg(const struct outcome outcomes[CONTENDER_N_KINDS], uint64_t stall_ppm,
		     const char *path)
{
	struct plot p = {
		.title = "How long guests wait for memory, by how many there are",
		.x_label = "guests on the host",
		.y_label = "percent of the time",
		.y_mark = (double)stall_ppm / 1e4,
		.y_max = (double)stall_ppm / 1e4 * 10,
	};
	int r;

	for (int kind = 0; kind < CONTENDER_N_KINDS; kind++)
		if (outcomes[kind].wanted)
			p.lines[p.n_lines++] = (struct plot_line){
				.name = contender_name((enum contender_kind)kind),
				.x = outcomes[kind].curve_x,
				.y = outcomes[kind].curve_y,
				.n = CURVE_POINTS,
			};
	r = plot_write(&p, path);
	if (r)
		fprintf(stderr, "hvhost: %s: %s\n", path, strerror(-r));
	return r ? EXIT_ERROR : EXIT_OK;
}

/* "0.1" percent, in millionths. */
static bool parse_percent(const char *text, uint64_t *ret_ppm)
{
	char *end;
	double percent;

	if ((*text < '0' || *text > '9') && *text != '.')
		return false;
	percent = strtod(text, &end);
	if (*end || !(percent > 0) || percent > 100)
		return false;
	*ret_ppm = (uint64_t)(percent * 1e4);
	return *ret_ppm > 0;
}

struct simulate_texts {
	const char *fleet, *seed, *memory, *hours, *stall, *svg;
	struct command_texts policies;
};

/* -1, or the exit code. */
static int read_settings(const struct simulate_texts *t, struct simulate_settings *s,
			 uint64_t *ret_stall_ppm)
{
	uint64_t seed = 1, hours = 24, bytes = UINT64_C(256) << 30;

	fleet_spec_init(&s->fleet);
	*ret_stall_ppm = 1000;
	if (t->fleet && fleet_parse(t->fleet, &s->fleet))
		return command_refuse("--fleet", t->fleet, "like diurnal=40,bursty=20,batch=10,leak=5,idle=25");
	if (t->seed && !parse_number(t->seed, UINT32_MAX, &seed))
		return command_refuse("--seed", t->seed, "a number below 2^32");
	if (t->hours && (!parse_number(t->hours, HOURS_MAX, &hours) || hours == 0))
		return command_refuse("--hours", t->hours, "1 to 168");
	if (t->memory && (size_parse(t->memory, &bytes) || bytes < UINT64_C(1) << 30 ||
			  bytes > UINT64_C(1) << 44))
		return command_refuse("--host-memory", t->memory, "a size from 1G to 16T");
	if (t->stall && !parse_percent(t->stall, ret_stall_ppm))
		return command_refuse("--stall", t->stall, "a percentage above 0, like 0.1");
	s->fleet.seed = seed;
	s->host_pages = bytes / 4096;
	s->seconds = hours * 3600;
	return -1;
}

int verb_simulate(int argc, char **argv)
{
	struct simulate_texts t = {0};
	const struct command_option options[] = {
		{"fleet", "SPEC", "kinds of guests: diurnal=35,bursty=20,batch=15,leak=10,idle=20", .text = &t.fleet},
		{"seed", "N", "another fleet of the same kind (default: 1)", .text = &t.seed},
		{"host-memory", "SIZE", "of the simulated host (default: 256G)", .text = &t.memory},
		{"hours", "N", "that pass there, 1 to 168 (default: 24)", .text = &t.hours},
		{"stall", "PERCENT", "of their time that guests may wait for memory (default: 0.1)", .text = &t.stall},
		{"policy", "NAME", "only this one; may be given again", .texts = &t.policies},
		{"svg", "FILE", "how waiting grows with the number of guests, as a chart", .text = &t.svg},
		{0},
	};
	_cleanup_command_ struct command c = {
		.usage = "simulate [--fleet SPEC] [--seed N] [--policy NAME...] [--svg FILE] [--json]",
		.options = options,
	};
	static struct outcome outcomes[CONTENDER_N_KINDS];
	struct simulate_settings s = {.source = SIMULATE_FLEET};
	uint64_t stall_ppm;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	r = read_settings(&t, &s, &stall_ppm);
	if (r >= 0)
		return r;
	if (!choose(&t.policies, outcomes))
		return EXIT_USAGE;
	if (run_all(&s, stall_ppm, t.svg != NULL, outcomes))
		return fail_memory();
	if (c.json)
		print_json(&s, stall_ppm, outcomes);
	else
		print_table(outcomes);
	return t.svg ? write_svg(outcomes, stall_ppm, t.svg) : EXIT_OK;
}

/* Replay. */

/* The exit code; a line that is wrong is named. */
static int read_recording(const char *path, struct recording *recording)
{
	_cleanup_free_ char *line = NULL;
	size_t size = 0, number = 0;
	ssize_t length;
	FILE *file = fopen(path, "re");
	int r = 0;

	if (!file) {
		fprintf(stderr, "hvhost: %s: %m\n", path);
		return EXIT_ERROR;
	}
	while (r == 0 && (length = getline(&line, &size, file)) > 0) {
		number++;
		if (line[length - 1] == '\n')
			length--;
		r = recording_add_line(recording, line, (size_t)length);
	}
	fclose(file);
	if (r)
		fprintf(stderr, "hvhost: %s:%zu: %s\n", path, number,
			r < 0 ? strerror(-r) : recording_condition_text(r));
	else if (recording_n_guests(recording) == 0)
		fprintf(stderr, "hvhost: %s: no guest is recorded there\n", path);
	return r || recording_n_guests(recording) == 0 ? EXIT_ERROR : EXIT_OK;
}

/* As much as all guests had together at most. */
static uint64_t recorded_pages(const struct recording *r)
{
	uint64_t most = 0;

	for (uint64_t ms = 0; ms <= recording_ms(r); ms += 1000) {
		uint64_t sum = 0;

		for (size_t i = 0; i < recording_n_guests(r); i++) {
			const struct recording_point *p = recording_at(recording_guest(r, i), ms);

			sum += p ? p->assigned_pages : 0;
		}
		most = sum > most ? sum : most;
	}
	return most;
}

static void print_replay(const struct simulate_settings *s,
			 const struct outcome outcomes[CONTENDER_N_KINDS])
{
	printf("%zu guest%s, %s, %s of memory\n\n", recording_n_guests(s->recording),
	       recording_n_guests(s->recording) == 1 ? "" : "s",
	       duration_format(s->seconds * UINT64_C(1000000000)).text,
	       size_format(s->host_pages * 4096).text);
	printf("%-15s %9s %10s %9s %9s %8s %8s\n", "POLICY", "WAITED", "IN ALL", "WORST", "MOVED",
	       "OVER", "FAIR");
	for (int kind = 0; kind < CONTENDER_N_KINDS; kind++) {
		const struct simulate_result *r = &outcomes[kind].at_fit;

		if (!outcomes[kind].wanted)
			continue;
		if (!r->fits) {
			printf("%-15s the minima of all guests do not fit\n",
			       contender_name((enum contender_kind)kind));
			continue;
		}
		printf("%-15s %7.3f %% %8.1f s %7.1f s %9s %6lu s %8.3f\n",
		       contender_name((enum contender_kind)kind), stall_percent(r),
		       (double)r->stalled_us / 1e6, (double)r->worst_stalled_us / 1e6,
		       size_format(r->moved_pages * 4096).text, (unsigned long)r->over_seconds,
		       r->fairness_permille / 1e3);
	}
}

static void print_replay_json(const struct outcome outcomes[CONTENDER_N_KINDS])
{
	json_t *policies = json_array(), *whole;

	for (int kind = 0; kind < CONTENDER_N_KINDS; kind++) {
		json_t *result;

		if (!outcomes[kind].wanted)
			continue;
		result = result_json(&outcomes[kind].at_fit);
		json_object_set_new(result, "policy",
				    json_string(contender_name((enum contender_kind)kind)));
		json_object_set_new(result, "fits", json_boolean(outcomes[kind].at_fit.fits));
		json_array_append_new(policies, result);
	}
	whole = json_pack("{s:i, s:o}", "schema", 1, "policies", policies);
	ask_print_json(whole);
	json_decref(whole);
}

int verb_replay(int argc, char **argv)
{
	struct command_texts policies = {0};
	const char *memory = NULL;
	const struct command_option options[] = {
		{"policy", "NAME", "only this one; may be given again", .texts = &policies},
		{"host-memory", "SIZE", "of the host (default: what all guests had at most)", .text = &memory},
		{0},
	};
	_cleanup_command_ struct command c = {
		.usage = "replay FILE [--policy NAME...] [--host-memory SIZE] [--json]",
		.options = options,
		.min_words = 1,
		.max_words = 1,
	};
	_cleanup_(cleanup_recordingp) struct recording *recording = NULL;
	static struct outcome outcomes[CONTENDER_N_KINDS];
	struct simulate_settings s = {.source = SIMULATE_RECORDING};
	uint64_t bytes;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	if (memory && (size_parse(memory, &bytes) || bytes < UINT64_C(1) << 20))
		return command_refuse("--host-memory", memory, "a size like 64G");
	if (!choose(&policies, outcomes))
		return EXIT_USAGE;
	if (recording_new(&recording))
		return fail_memory();
	r = read_recording(c.words[0], recording);
	if (r)
		return r;
	s.recording = recording;
	s.seconds = recording_ms(recording) / 1000 + 1;
	s.host_pages = memory ? bytes / 4096 : recorded_pages(recording);
	for (int kind = 0; kind < CONTENDER_N_KINDS; kind++) {
		if (!outcomes[kind].wanted)
			continue;
		s.policy = (enum contender_kind)kind;
		if (simulate(&s, &outcomes[kind].at_fit))
			return fail_memory();
	}
	if (c.json)
		print_replay_json(outcomes);
	else
		print_replay(&s, outcomes);
	return EXIT_OK;
}
