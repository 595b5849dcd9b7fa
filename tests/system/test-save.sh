#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A guest that is saved and restored, at each step of each of its services: what test-reoffer.sh does
# with one channel after the other is done to all of them at once.

export REOFFER=save
exec "$(dirname "$0")/test-reoffer.sh" "$@"
