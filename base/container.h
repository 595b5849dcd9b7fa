/* SPDX-License-Identifier: MIT */
#pragma once

#include <stddef.h>

/* The object of @type whose @member is at @ptr. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
