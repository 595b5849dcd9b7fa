/* SPDX-License-Identifier: MIT */

/*
 * The balancer in words.
 *
 * What its reasons and conditions are called, and what would have changed a decision, from the
 * numbers that the pass has stored with it. Nothing is decided here, so that what is shown cannot
 * differ from what was done.
 */

#include "policy/balancer_state.h"

#include "base/size.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *balancer_reason_text(enum balancer_reason reason)
{
	static const char *const texts[BALANCER_N_WHYS] = {
		[BALANCER_WHY_NEW] = "nothing has been decided yet",
		[BALANCER_WHY_PAUSED] = "balancing is paused",
		[BALANCER_WHY_BUSY] = "an operation is running",
		[BALANCER_WHY_NOT_OBEYING] = "the guest does not do what it was asked",
		[BALANCER_WHY_NOT_READY] = "the guest's dynamic memory is not set up",
		[BALANCER_WHY_STARTING] = "the guest has only just started",
		[BALANCER_WHY_BACKUP] = "a backup of the guest is under way",
		[BALANCER_WHY_NO_REPORT] = "there is no recent report from the guest",
		[BALANCER_WHY_FROZEN_FIGURES] = "the guest's figures have stood still for too long to be true",
		[BALANCER_WHY_REPORT_BEFORE] = "the guest has not reported since the last operation",
		[BALANCER_WHY_AT_REST] = "the guest has what it needs and its buffer",
		[BALANCER_WHY_SPARE_KEPT] = "the guest has more than it wants, and nobody else needs it",
		[BALANCER_WHY_SPARE] = "the guest gets of what nobody wants",
		[BALANCER_WHY_AT_MINIMUM] = "the guest needs less, but has its minimum",
		[BALANCER_WHY_AT_MAXIMUM] = "the guest needs more, but has all that it may have",
		[BALANCER_WHY_STALLING] = "the guest waits for memory; nothing is taken from it",
		[BALANCER_WHY_SPACING] = "the last operation is too recent to take more",
		[BALANCER_WHY_REFUSED] = "the guest did not do what it was asked; waiting before asking again",
		[BALANCER_WHY_SHORT] = "the guest needs more, and the host has none yet: others are asked for it",
		[BALANCER_WHY_AT_SHARE] = "the guest needs more, but has its share of what the host has",
		[BALANCER_WHY_GROW] = "the guest needs more than it has with its buffer",
		[BALANCER_WHY_GROW_PART] = "the guest needs more, and gets what the host has now",
		[BALANCER_WHY_SHRINK] = "the guest needs less than it has with its buffer",
		[BALANCER_WHY_TAKEN_FOR_OTHERS] = "the guest has more than its share, and others need it",
		[BALANCER_WHY_BELOW_MINIMUM] = "the guest has less than its minimum",
		[BALANCER_WHY_ABOVE_MAXIMUM] = "the guest has more than its maximum",
		[BALANCER_WHY_MANUAL] = "the amount is set by hand",
		[BALANCER_WHY_MANUAL_DONE] = "the guest has the amount set by hand",
	};

	assert(reason < BALANCER_N_WHYS);
	return texts[reason];
}

const char *balancer_condition_text(int condition)
{
	switch (condition) {
	case BALANCER_BAD_BUFFER:
		return "the buffer is not between 5 and 2000 percent";
	case BALANCER_BAD_ORDER:
		return "not 0 < minimum <= startup <= maximum <= 64 TiB";
	case BALANCER_BAD_WEIGHT:
		return "the weight is above 10000";
	case BALANCER_BAD_BUDGET:
		return "the host's memory is less than its reserve and the minima of all guests";
	case BALANCER_BAD_NAME:
		return "a guest's name has 1 to 63 bytes";
	case BALANCER_TWICE:
		return "there is a guest, or a reservation, of this name already";
	case BALANCER_NO_ROOM:
		return "the host has not the memory for it, even if all other guests had their minimum";
	case BALANCER_NO_ROOM_NOW:
		return "other guests have to give memory first";
	case BALANCER_UNKNOWN:
		return "nothing is reserved for a guest of this name";
	case BALANCER_LIE:
		return "the report cannot be true";
	case BALANCER_STRAY:
		return "an answer to nothing that was asked";
	default:
		return "failed";
	}
}

const char *balancer_lie_text(enum balancer_lie lie)
{
	switch (lie) {
	case BALANCER_LIE_NOTHING_COMMITTED:
		return "nothing is committed, which no machine that runs can say: not used";
	case BALANCER_LIE_IMPOSSIBLE:
		return "more is committed than any machine has: not used";
	case BALANCER_LIE_LESS_THAN_BALLOON:
		return "less is committed than the balloon alone: taken as no demand";
	case BALANCER_LIE_AVAILABLE:
		return "more is available than any machine has: that figure is not used";
	case BALANCER_LIE_STANDING_STILL:
		return "no figure has changed by a single page for minutes";
	}
	return "";
}

/* Appends, as far as there is room. */
_printf_(3, 4) static void append(char *text, size_t size, const char *format, ...)
{
	size_t length = strlen(text);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text + length, size - length, format, arguments);
	va_end(arguments);
}

static struct size_text amount(uint64_t pages)
{
	return size_format(pages * 4096);
}

const char *balancer_decision_would(const struct balancer_decision *d, uint64_t now_ns, char *text,
				    size_t size)
{
	const char *comma = "";

	assert(size > 0);
	text[0] = '\0';
	if (d->until_ns > now_ns) {
		append(text, size, "waiting %s more", duration_format(d->until_ns - now_ns).text);
		comma = "; ";
	}
	if (d->missing_pages > 0) {
		append(text, size, "%s%s more free memory of the host", comma,
		       amount(d->missing_pages).text);
		comma = "; ";
	}
	if (d->grow_above_pages > 0 && d->believed_pages <= d->grow_above_pages) {
		append(text, size, "%sa demand above %s makes it grow", comma,
		       amount(d->grow_above_pages).text);
		comma = "; ";
	}
	if (d->shrink_below_pages > 0 && d->believed_pages >= d->shrink_below_pages)
		append(text, size, "%sa demand that stays below %s makes it shrink", comma,
		       amount(d->shrink_below_pages).text);
	return text;
}
