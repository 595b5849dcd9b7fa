#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The dashboard in a real browser: what it shows is what the host says, it is live, it is used by the
# keyboard, and with 4 000 guests it still is. Screenshots go to the folder that HVGUEST_SCREENSHOTS
# names, if it does.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/browser.sh"
need_browser
[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 13000 ] || skip_all "needs 13000 open files"
watchdog 300
. "$(dirname "$0")/lab.sh"

# shot NAME: looks at the page as a person would; fails if nothing was drawn
shot() {
    local file=$run/$1.png
    screenshot "$file"
    [ -z "${HVGUEST_SCREENSHOTS:-}" ] || cp "$file" "$HVGUEST_SCREENSHOTS"
    [ "$(stat -c %s "$file")" -gt 20000 ]
}

# shows N: the page has that many guests
shows() {
    [ "$(in_page 'return document.getElementById("count").textContent')" = "$1 of $1" ]
}

# drawn ID: how many different colours a canvas has
drawn() {
    in_page "const c = document.getElementById('$1'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data,
        s = new Set(); for (let i = 0; i < d.length; i += 4) s.add(d[i] << 24 | d[i+1] << 16 | d[i+2] << 8 | d[i+3]); return s.size"
}

for port in {9701..9799}; do
    (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
done
start_host --metrics-listen "127.0.0.1:$port" --startup 1G --minimum 512M --maximum 4G --host-memory 6T --first-action 0
"$build/tests/system/fleet" "$run/host/lab.sock" 40 200 >"$run/fleet" &
fleet_pid=$!
on_exit stop "$fleet_pid"
check "forty guests are there" soon grep -q ready "$run/fleet"

browse "http://127.0.0.1:$port/"
is "the title" "$(in_page 'return document.title')" hvhost
check "all guests are shown" soon shows 40
is "it is live" "$(in_page 'return document.getElementById("live").textContent')" live
is "the host's budget" "$(in_page 'return document.getElementById("t-budget").textContent')" "6.00 TiB"
is "nothing comes from elsewhere" \
    "$(in_page 'return performance.getEntriesByType("resource").filter((r) => !r.name.startsWith(location.origin)).length')" 0
is "the first row is the first guest" \
    "$(in_page 'return [...document.querySelectorAll("#list .row")].sort((a, b) => a.offsetTop - b.offsetTop)[0].firstChild.textContent')" vm-00000
check "the map is drawn" test "$(drawn map)" -gt 1

# By the keyboard.
press '\ue015' # arrow down
press '\ue015'
is "arrow keys choose" "$(in_page 'return document.getElementById("one-title").textContent')" vm-00001
is "the row says so to screen readers" \
    "$(in_page 'return document.querySelector("#list .row[aria-selected=true]").firstChild.textContent')" vm-00001
facts() {
    [ "$(in_page 'return document.getElementById("facts").childElementCount')" -ge 16 ]
}
check "what was decided about it is shown" soon facts
is "... as the host says it" "$(in_page 'return document.querySelector("#facts dd").textContent.length > 5')" true
check "its history is drawn" soon eval '[ "$(drawn chart)" -gt 4 ]'
in_page 'document.querySelector("[data-sort=pressure]").click()' >/dev/null
falling() {
    [ "$(in_page '
    const rows = [...document.querySelectorAll("#list .row")].sort((a, b) => a.offsetTop - b.offsetTop)
        .map((r) => parseInt(r.children[4].textContent));
    return rows.every((p, i) => i === 0 || p <= rows[i - 1])')" = true ]
}
check "sorted by pressure, the highest first" soon falling
is "... and the head says so" \
    "$(in_page 'return document.querySelector("[data-sort=pressure]").parentElement.getAttribute("aria-sort")')" descending
press /
press 1
press 7
check "a search leaves what it finds" soon eval '[ "$(in_page "return document.getElementById(\"count\").textContent")" = "1 of 40" ]'
in_page 'const s = document.getElementById("search"); s.value = ""; s.dispatchEvent(new Event("input")); s.blur()' >/dev/null
check "light and dark are two pictures" eval '
    [ "$(in_page "return getComputedStyle(document.body).backgroundColor")" != \
      "$(press t; sleep 0.3; in_page "return getComputedStyle(document.body).backgroundColor")" ]'
check "every control has a name" test "$(in_page 'return [...document.querySelectorAll("button, input, canvas, [role]")].filter((e) =>
    !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.textContent.trim() || e.getAttribute("role") === "row" ||
      e.getAttribute("role") === "status" || e.getAttribute("role") === "gridcell")).length')" = 0
check "a picture of it" shot forty

# Live.
host memory vm-00003 --assign 700M >/dev/null
check "what is changed by hand is shown" soon eval '
    [ "$(in_page "return [...guests.get(\"vm-00003\").history].length > 0 && (guests.get(\"vm-00003\").flags & 2)")" = 2 ]'
check "... and what the balancer did" soon eval '[ "$(in_page "return document.getElementById(\"log\").childElementCount > 0")" = true ]'
stop "$fleet_pid"
check "guests that go are gone" soon shows 0

# Many.
"$build/tests/system/fleet" "$run/host/lab.sock" 4000 120 >"$run/fleet" &
fleet_pid=$!
on_exit stop "$fleet_pid"

check "4 000 guests" soon grep -q . "$run/fleet"
if grep -q ready "$run/fleet"; then check "all of them are shown" soon shows 4000; else diag "$(cat "$run/fleet")"; fi
check "only the rows in sight exist" test "$(in_page 'return document.querySelectorAll("#list .row").length')" -lt 60
in_page 'document.activeElement.blur()' >/dev/null
press '\ue010' # End
reached() {
    [ "$(in_page 'const row = document.querySelector("#list .row[aria-selected=true]");
        return row !== null && row.firstChild.textContent === order[order.length - 1].name')" = true ]
}
check "the last one is reached" soon reached
check "a picture of all" shot many
stop "$fleet_pid"
stop "$host_pid"
check "that the host is gone is shown" soon eval '
    [ "$(in_page "return document.getElementById(\"live\").textContent")" = "the host does not answer" ]'
no_reports
done_testing
