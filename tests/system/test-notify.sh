#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The notify socket: programs that are told of a freeze, put it off, and are told of its end, by
# hvguestctl notify and by notify-client, which can be told to misbehave.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq losetup setpriv
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
in_private_mounts "$@"
watchdog 120
. "$(dirname "$0")/lab.sh"

data=$tap_dir/data
calls=$run/calls
sock=$run/one/notify.sock
client=$build/tests/system/notify-client
mkdir "$run/hooks"
image_make ext4 "$tap_dir/data.img" && image_mount "$tap_dir/data.img" "$data" ||
    skip_all "cannot make and mount an image"

cat >"$run/app" <<END
#!/bin/sh
echo "\$1 \$2" >>$calls
if [ "\$2" = freeze ]; then case \$1 in
    bad) exit 1 ;;
    slow) exec sleep 300 ;;
esac; fi
END
chmod 755 "$run/app"

one_starts() {
    start_guest one --memory no --freeze-roots "$data" --hook-dir "$run/hooks" --notify-hold 5 "$@"
}

# app NAME OPTION...: a subscriber of that name by hvguestctl notify; $app_pid
app() {
    local name=$1
    shift
    "$hvguestctl" --api "$run/one/api.sock" notify --name "$name" "$@" -- "$run/app" "$name" \
        >>"$run/$name.out" 2>>"$run/app.log" &
    app_pid=$!
    on_exit stop "$app_pid"
    sleep 0.2
}

begin() {
    : >"$calls"
}

calls() {
    tr '\n' ',' <"$calls"
}

receipt() {
    guest one receipt --json | jq -r "$1"
}

clients() {
    receipt '[.clients[] | .name + "=" + .outcome] | sort | join(" ")'
}

said() {
    [ "$(calls)" = "$1" ]
}

start_host
one_starts
begin
check "nobody: freeze" guest one freeze
check "nobody: thaw" guest one thaw
is "nobody: is told" "$(clients) $(receipt .class)" " file-system"

app good --json
good_pid=$app_pid
check "one: freeze" guest one freeze
is "one: it was told before the freeze was there" "$(calls)" "good freeze,"
check "one: thaw" guest one thaw
check "one: and is told of that" soon said "good freeze,good thaw,"
is "one: the receipt" "$(clients) $(receipt .class)" "good=ready application"
is "one: --json has a line for each call" "$(jq -c '[.schema, .event, .status]' "$run/good.out" | xargs)" "[1,freeze,0] [1,thaw,0]"
check "one: the receipt for people names it" grep -q "good .* ready" <(guest one receipt)

begin
app bad
bad_pid=$app_pid
check "bad: one that fails does not end the freeze" guest one freeze
guest one thaw >/dev/null
is "bad: but is no application held" "$(clients) $(receipt .class)" "bad=failed good=ready file-system"
is "bad: with its reason" "$(receipt '.clients[] | select(.name == "bad") | .reason')" "the command failed"
stop "$bad_pid"

begin
app bad --required
bad_pid=$app_pid
refuse "required: one that fails ends it" 1 guest one freeze
is "required: and is named" "$(receipt .result)" \
    "nothing was frozen: bad, which is required, does not hold: failed: the command failed"
check "required: all are told of the abort" \
    soon eval '[ "$(grep -c abort "$calls")" = 2 ]'
stop "$bad_pid"

begin
app slow --hold 1
slow_pid=$app_pid
check "slow: one that is late is not waited for" guest one freeze
guest one thaw >/dev/null
is "slow: the receipt" "$(clients)" "good=ready slow=late"
check "slow: it had its second" [ "$(receipt '.clients[] | select(.name == "slow") | .duration_us')" -ge 1000000 ]
kill $(cat "/proc/$slow_pid/task/$slow_pid/children")
check "slow: it is told of the end all the same" soon grep -q "slow thaw" "$calls"
stop "$slow_pid"

begin
app gone --hold 100
gone_pid=$app_pid
guest one freeze >/dev/null
kill -KILL "$gone_pid"
wait "$gone_pid" 2>/dev/null
guest one thaw >/dev/null
is "gone: one that goes while all is frozen is named" "$(clients) $(receipt .class)" \
    "gone=gone good=ready file-system"

# A subscriber that is ended while it holds lets go; so does one whose hvguestd is killed.
begin
app term
term_pid=$app_pid
guest one freeze >/dev/null
stop "$term_pid"
check "ended: it lets go" grep -q "term abort" "$calls"
murder "$one_pid"
check "killed: the daemon; subscribers let go" soon grep -q "good abort" "$calls"
one_starts
begin
sleep 0.6
check "killed: they come back to the next" guest one freeze
guest one thaw >/dev/null
is "killed: and are told" "$(clients)" "good=ready"

# The C header, and clients that misbehave. "N" is how often they do.
answers() {
    local wanted=$1
    shift
    is "$*: $wanted" "$("$client" "$sock" "$@" 2>&1)" "$wanted"
}

answers "welcome 1 5" say "hello 1 name 60"
answers "welcome 1 0" say "hello 1 name 0 required"
answers "refused version 1 is spoken here" say "hello 2 name 1"
answers "refused hello is expected" say "freeze 1"
answers "refused hello VERSION NAME SECONDS [required] is expected" say "hello 1 bad/name 1"
answers "refused hello VERSION NAME SECONDS [required] is expected" say "hello 1 name 1 whatever"
answers "refused the message is too long" long
answers "refused ready or fail is expected" say "hello 1 name 1" "please"
answers "refused too many answers to no question" stale
answers "shown out" flood
setpriv --reuid 65534 --regid 65534 --clear-groups "$client" "$sock" say "hello 1 name 1 required" >"$run/user.out" 2>&1
is "not root: cannot be required" "$(cat "$run/user.out")" "refused only root can be required"
setpriv --reuid 65534 --regid 65534 --clear-groups "$client" "$sock" many 12 >"$run/user.out" 2>&1
is "not root: has eight places" "$(cat "$run/user.out")" "8 welcome, 4 refused"
is "root: has the others" "$("$client" "$sock" many 80)" "63 welcome, 17 refused"
"$client" "$sock" silent &
silent_pid=$!
sleep 0.2
check "deaf: one that is told and never answers holds up nothing for ever" guest one freeze
is "deaf: it is late" "$(guest one thaw >/dev/null; clients)" "good=ready silent=late"
kill "$silent_pid"
check "the C header: a client that holds" eval '"$client" "$sock" hold >"$run/hold.out" 2>&1 & sleep 0.2; guest one freeze && guest one thaw && wait $!'
is "the C header: what it was told" "$(cat "$run/hold.out")" "freeze thaw"

stop "$good_pid"
ends "hvguestd ends" "$one_pid" TERM
ends "hvhost ends" "$host_pid"
no_reports
done_testing
