/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/connection.h"

/*
 * A connection to a real host whose VMBus devices all stay with the kernel's drivers. It has no
 * channels; services reach the host over the kernel's character devices, and say so themselves.
 */

/* @is_open tells of @user whether any of these devices is open. -ENOMEM. */
_must_check_ int stock_host_new(bool (*is_open)(const void *user), const void *user,
				struct connection **ret_connection);
