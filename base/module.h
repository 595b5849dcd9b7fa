/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

/* The programs that load kernel modules; the second by the unit hvguest-module@.service. */
#define MODULE_MODPROBE "/sbin/modprobe"
#define MODULE_SYSTEMCTL "/bin/systemctl"

/*
 * Asks for kernel module @name, and waits for the program that does it: @modprobe; or, where what this
 * process executes cannot have CAP_SYS_MODULE, @systemctl. Whether the module is there then is for the
 * caller to see. Blocks for as long as loading takes, so it is for threads that may.
 */
void module_load(const char *modprobe, const char *systemctl, const char *name);
