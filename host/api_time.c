/* SPDX-License-Identifier: MIT */

/*
 * What a guest is told of the time:
 *
 *     {"send": "step", "sample" or "probe", "every_seconds": 5, "offset_seconds": 0, "drift_ppm": 0,
 *      "age_seconds": 0, "leap": 0, "stratum": 0}
 *
 * All members may be missing: nothing is sent at once then, and what is told stays as it was. The last
 * five make the host tell something wrong, for tests of guests; they stay until they are set again.
 */

#include "host/api.h"

#include <string.h>

/* Bounds within which all sums fit into 64 bits of nanoseconds. */
#define OFFSET_MAX_S 4e9
#define AGE_MAX_S    1e6
#define DRIFT_MAX    1e5
#define PERIOD_MIN_S 0.1
#define PERIOD_MAX_S 86400.0

/* Takes a number if it is there. False: it is none, or out of its bounds. */
static bool take_number(const json_t *body, const char *key, double min, double max, double *number)
{
	const json_t *value = json_object_get(body, key);

	if (!value)
		return true;
	*number = json_number_value(value);
	return json_is_number(value) && *number >= min && *number <= max;
}

static bool take_skew(const json_t *body, struct timesync_skew *skew)
{
	double offset_s = (double)skew->offset_ns / 1e9, drift_ppm = (double)skew->drift_ppb / 1e3;
	double age_s = (double)skew->age_ns / 1e9, leap = skew->leap, stratum = skew->stratum;

	if (!take_number(body, "offset_seconds", -OFFSET_MAX_S, OFFSET_MAX_S, &offset_s) ||
	    !take_number(body, "drift_ppm", -DRIFT_MAX, DRIFT_MAX, &drift_ppm) ||
	    !take_number(body, "age_seconds", 0, AGE_MAX_S, &age_s) ||
	    !take_number(body, "leap", 0, 3, &leap) || !take_number(body, "stratum", 0, 255, &stratum))
		return false;
	*skew = (struct timesync_skew){
		.offset_ns = (int64_t)(offset_s * 1e9),
		.drift_ppb = (int64_t)(drift_ppm * 1e3),
		.age_ns = (uint64_t)(age_s * 1e9),
		.leap = (uint8_t)leap,
		.stratum = (uint8_t)stratum,
	};
	return true;
}

/* The flags of what is to be sent. False: there is no such message. */
static bool take_send(const json_t *body, bool *ret_send, uint8_t *ret_flags)
{
	static const struct {
		const char *name;
		uint8_t flags;
	} kinds[] = {
		{"step", TIMESYNC_FLAG_SYNC},
		{"sample", TIMESYNC_FLAG_SAMPLE},
		{"probe", 0},
	};
	const json_t *send = json_object_get(body, "send");

	*ret_send = send;
	for (size_t i = 0; json_is_string(send) && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!strcmp(json_string_value(send), kinds[i].name)) {
			*ret_flags = kinds[i].flags;
			return true;
		}
	}
	return !send;
}

static void post_time(struct httpd_request *request, void *user)
{
	struct guest *g = api_guest(user, request);
	struct guest_timesync *timesync;
	struct timesync_skew skew;
	double every_s = 0;
	const json_t *body;
	uint8_t flags = 0;
	bool send;

	if (!g)
		return;
	timesync = guest_timesync_of(g);
	body = httpd_request_body(request);
	skew = *guest_timesync_skew(timesync);
	if (!take_send(body, &send, &flags) || !take_skew(body, &skew) ||
	    !take_number(body, "every_seconds", PERIOD_MIN_S, PERIOD_MAX_S, &every_s)) {
		httpd_reply_error(request, 400, "a value is not what it can be",
				  "hvhost time --help has the options");
		return;
	}
	guest_timesync_set_skew(timesync, &skew);
	if (every_s > 0)
		guest_timesync_every(timesync, (uint64_t)(every_s * 1e9));
	if (send && !api_guest_awake(user, request))
		return;
	if (send && guest_timesync_send(timesync, flags))
		httpd_reply_error(request, 409, "the guest takes no time from its host",
				  "hvguestctl status in the guest says why");
	else
		api_reply(request, 200, guest_timesync_status(timesync));
}

const struct api_route api_time_routes[] = {
	{"POST", "/v1/guests/{name}/time", post_time},
	{0},
};
