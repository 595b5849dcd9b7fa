#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The benchmarks and what is made of them, in a minimal run: every figure that docs/PERFORMANCE.md has
# in a table is measured, or skipped with a reason. Nothing is asserted on what was measured.

. "$(dirname "$0")/tap.sh"
need_programs jq

build=$(cd "${builddir:-.}" && pwd)
! grep -q __asan_init "$build/daemon/hvguestd" || skip_all "what is measured with sanitizers says nothing"
top=$(cd "$(dirname "$0")/../.." && pwd)
json=$tap_dir/bench.json

# figures: the names in the tables of the text
figures() {
    awk '/^@table/ { inside = 1; next } /^@end/ { inside = 0 } inside { print $1 }' \
        "$top/tests/bench/performance.md.in"
}

# unexplained: figures of the text that are neither measured nor skipped
unexplained() {
    local name pattern patterns
    mapfile -t patterns < <(jq -r '.skipped | keys[]' "$json")
    for name in $(figures); do
        jq -e --arg name "$name" '.metrics[$name]' "$json" >/dev/null && continue
        for pattern in "${patterns[@]}"; do
            # shellcheck disable=SC2053
            [[ $name = $pattern ]] && continue 2
        done
        echo "$name"
    done
}

# in_form: each line is a figure or a skip
in_form() {
    ! grep -vE '^[a-z0-9_]+ [-0-9.e+]+ [^ ]+ \([-0-9.e+]+\.\.[-0-9.e+]+, [0-9]+\) (larger|smaller) is better$|^skip [a-z0-9_*]+: .+$' \
        "$tap_dir/lines"
}

# compares STATUS FILTER: bench-compare with a run that FILTER has changed
compares() {
    jq "$2" "$json" >"$tap_dir/other.json" || return 1
    "$top/tools/bench-compare" "$json" "$tap_dir/other.json" >"$tap_dir/compared"
    [ $? = "$1" ]
}

# plots_lack: the files of plots that have no curve; twenty guests cost a host less than can be measured
plots_lack() {
    awk '$1 == "@plot" { print $2 }' "$top/tests/bench/performance.md.in" | while read -r file; do
        grep -q '<polyline' "$tap_dir/$file" || [ "$file" = performance-host.svg ] || echo "$file"
    done
}

# interrupted: as by a key, in the middle of freezing; true if nothing is left after that
interrupted() {
    local dir=$tap_dir/interrupted pid status _
    mkdir "$dir" || return 1
    set -m
    BENCH_DIR=$dir "$top/tests/bench/run" --mode minimal --build "$build" freeze >"$tap_dir/lines-interrupted" 2>&1 &
    pid=$!
    set +m
    for _ in {1..600}; do
        grep -q freeze_stall "$tap_dir/lines-interrupted" && break
        sleep 0.1
    done
    kill -INT -- "-$pid"
    wait "$pid"
    status=$?
    # The kernel lets go of a device when the last who knew of its mount has ended.
    for _ in {1..100}; do
        losetup -a | grep -qF "$dir" || break
        sleep 0.1
    done
    [ "$status" = 130 ] && [ -z "$(ls "$dir")" ] && ! losetup -a | grep -F "$dir"
}

check "the benchmarks run" \
    sh -c "'$top/tests/bench/run' --mode minimal --build '$build' --json '$json' >'$tap_dir/lines'"
check "every line has its form" in_form
is "every figure of the text is measured, or skipped with a reason" "$(unexplained)" ""
is "the JSON says what was measured where" \
    "$(jq -r '[.machine.cpus > 0, .kernel != "", .mode == "minimal"] | unique | tostring' "$json")" "[true]"

three='.metrics[] |= (.n = 3)'
check "a run is no worse than itself" compares 0 .
jq "$three" "$json" >"$tap_dir/three.json" && mv "$tap_dir/three.json" "$json"
check "a figure out of the range of the other run is worse" compares 1 \
    '.metrics[] |= (if .better == "smaller" then .min += 1000 | .value += 1000 | .max += 1000 else . end)'
check "and is named so" grep -q 'WORSE$' "$tap_dir/compared"
check "the other way round it is better" compares 0 \
    '.metrics[] |= (if .better == "larger" then .min += 1000000 | .value += 1000000 | .max += 1000000 else . end)'
check "and is named so, too" grep -q 'BETTER$' "$tap_dir/compared"

check "a page is made of it" "$top/tests/bench/report" "$json" "$tap_dir"
is "which has a reason for all that is missing" \
    "$(grep -c 'not in this run' "$tap_dir/PERFORMANCE.md")" 0
is "and a curve in each plot" "$(plots_lack)" ""

jq '.metrics.thaw_after_kill_ms = {value: 51, unit: "ms", min: 51, max: 51, n: 1, better: "smaller"}' "$json" \
    >"$tap_dir/other.json"
check "of another one, too" "$top/tests/bench/report" "$tap_dir/other.json" "$tap_dir"
check "in which a target that was missed is named" \
    grep -qF -- '- `thaw_after_kill_ms` is 51, not at most 50.' "$tap_dir/PERFORMANCE.md"

if [ "$(id -u)" = 0 ] && ! grep -q '^skip freeze_\*:' "$tap_dir/lines"; then
    check "an interrupt leaves no file system, no loop device and no file" interrupted
else
    skip "an interrupt leaves no file system, no loop device and no file" "nothing is frozen here"
fi
done_testing
