#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The pools of key-value exchange through kills and power cuts. HVGUEST_KVP_KILLS and HVGUEST_KVP_CUTS
# say how many; 1000 and 100 unless set, and under sanitizers, where each process takes long to start, 250 kills.
# Each test is shown to find a planted mistake.

. "$(dirname "$0")/tap.sh"

crash=${builddir:-.}/tests/system/kvp-crash
power=${builddir:-.}/tests/system/kvp-power
[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || skip_all "needs a tmpfs at /dev/shm"

kills=1000
! grep -q __asan_init "$crash" || kills=250

# A mistake may need some luck to be found by kills; of power cuts nearly every one shows it.
refuse "kills find it if nothing is in the journal" 1 "$crash" 1000 no-journal
refuse "power cuts find it if nothing is waited for" 1 "$power" 100 no-fsync
refuse "power cuts find it if nothing is in the journal" 1 "$power" 100 no-journal

check "kills lose nothing that was acknowledged, and leave nothing half done" \
    "$crash" "${HVGUEST_KVP_KILLS:-$kills}"
check "power cuts lose nothing that was acknowledged, and leave nothing half done" \
    "$power" "${HVGUEST_KVP_CUTS:-100}"

done_testing
