/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem.h"
#include "daemon/memory_work.h"

/*
 * What is held in fact, by VERIFY that went well, against what the host has: the API's answer, which is
 * the caller's. NULL if memory ran out.
 */
json_t *dynmem_status_verified(const struct dynmem *core, const struct memory_work *done);

/* What the channel of @binding, a struct bind_dynmem, has carried: daemon/connection.h. */
json_t *dynmem_status_traffic(const void *binding);
