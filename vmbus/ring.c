/* SPDX-License-Identifier: MIT */
#include "vmbus/ring.h"
