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

# unnamed: how many controls have no name for a screen reader
unnamed() {
    in_page 'return [...document.querySelectorAll("button, input, canvas, [role]")].filter((e) =>
        !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.textContent.trim() || e.getAttribute("role") === "row" ||
          e.getAttribute("role") === "status" || e.getAttribute("role") === "gridcell")).length'
}

# empty: what stands in place of rows
empty() {
    in_page 'const e = document.getElementById("list-empty"); return e.hidden ? "" : e.textContent'
}

for port in {9701..9799}; do
    (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
done
guest_port=$((port + 100))
start_host --metrics-listen "127.0.0.1:$port" --startup 1G --minimum 512M --maximum 4G --host-memory 6T --first-action 0
browse "http://127.0.0.1:$port/"
check "an empty host says how guests come" soon eval '[[ "$(empty)" == "No guest yet: hvguestd --lab "* ]]'
"$build/tests/system/fleet" "$run/host/lab.sock" 40 200 >"$run/fleet" &
fleet_pid=$!
on_exit stop "$fleet_pid"
check "forty guests are there" soon grep -q ready "$run/fleet"

is "the title" "$(in_page 'return document.title')" hvhost
check "all guests are shown" soon shows 40
is "... in place of that" "$(empty)" ""
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
check "every control has a name" test "$(unnamed)" = 0
check "a picture of it" shot forty

# Live.
host memory vm-00003 --assign 700M >/dev/null
check "what is changed by hand is shown" soon eval '
    [ "$(in_page "return (guests.get(\"vm-00003\").flags & 2)")" = 2 ]'
check "... and what the balancer did" soon eval '[ "$(in_page "return document.getElementById(\"log\").childElementCount > 0")" = true ]'
stop "$fleet_pid"
check "guests that go are gone" soon shows 0

# A real guest, which says how long its tasks wait for memory, and what it makes of a backup.
start_guest real --memory yes --metrics-listen "127.0.0.1:$guest_port" --page yes
check "a real guest is there" soon shows 1
stall() {
    in_page 'return guests.get("real").stall'
}
if [ -e /proc/pressure/memory ]; then
    check "... and tells of stalls" soon eval '[ "$(stall)" != -1 ]'
    is "... as its kernel does" "$(in_page 'return guests.get("real").stall >= 0 && guests.get("real").stall <= 100')" true
    in_page 'choose("real")' >/dev/null
    check "... which is drawn over time" soon eval '[ "$(in_page "return Number.isNaN(guests.get(\"real\").history.at(Stall, 0, 1))")" = false ]'
else
    skip "stalls" "this kernel does not measure them"
fi
truncate -s 8M "$run/image"
mkdir "$run/to"
host backup real --image "$run/image" --to "$run/to" >"$run/out" 2>&1
is "a backup that fails" "$?" 1
row() {
    in_page 'return [...document.querySelectorAll("#backups tbody tr:first-child td")].map((c) => c.textContent).join("|")'
}
check "... is listed, with the guest's receipt" soon eval '[[ "$(row)" == "1|real|"*"|failed|"*"|failed|"*"the guest: nothing was frozen"* ]]'
check "a picture of backups" shot backups

# The guest's own page.
in_page "location.assign('http://127.0.0.1:$guest_port/')" >/dev/null
check "the guest has a page" soon eval '[ "$(in_page "return document.getElementById(\"name\").textContent")" = real ]'
is "... live" "$(in_page 'return document.getElementById("live").textContent')" live
is "... with what this machine has" "$(in_page 'return document.getElementById("c-total").textContent')" \
    "$(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)"
check "... its services" soon eval '[ "$(in_page "return document.querySelectorAll(\"#channels tbody tr\").length")" -ge 4 ]'
check "... its last backup" soon eval '[[ "$(in_page "return document.querySelector(\"#receipts tbody tr\").textContent")" == *failed*"nothing was frozen"* ]]'
check "... drawn" soon eval '[ "$(drawn memory)" -gt 4 ]'
is "... and nothing from elsewhere" \
    "$(in_page 'return performance.getEntriesByType("resource").filter((r) => !r.name.startsWith(location.origin)).length')" 0
check "every control there has a name" test "$(unnamed)" = 0
check "a picture of it, in the dark" eval 'press t; sleep 0.3; shot guest'
stop "$real_pid"
check "that the daemon is gone is shown" soon eval '
    [ "$(in_page "return document.getElementById(\"live\").textContent")" = "hvguestd does not answer" ]'
in_page "location.assign('http://127.0.0.1:$port/')" >/dev/null

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
