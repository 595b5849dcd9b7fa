#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every verb of hvguestctl and of hvhost, as their own lists name them: --json is JSON with a schema, what
# people see has colours on a terminal only, wrong usage gets one line that helps, and shells complete it.
# A verb that is not in the tables here fails.

. "$(dirname "$0")/tap.sh"
need_programs jq script
watchdog 180
. "$(dirname "$0")/lab.sh"

start_host --host-memory 64G --startup 1G --minimum 1000M --first-action 0
check "a host without guests says how they come" eval 'host status | grep -q "^no guest yet: hvguestd --lab "'
check "... and what it could give them" eval 'host top --count 1 | grep -q ", free 64 GiB of 64 GiB$"'
is "... and that nothing was backed up" "$(host backups | tail -n 1)" "none since the host was started"
start_guest one --memory yes --fcopy-roots "$run/from-host" --disks-helper "$build/disks/hvguest-disks"
mkdir "$run/from-host" "$run/to" "$run/images"
: >"$run/images/disk"
echo text >"$run/text"
check "the guest is ready" soon ready one

# verbs PROGRAM: as its help lists them
verbs() {
    "$1" --help | sed -nE 's/^  ([a-z]+)( .*|$)/\1/p'
}

# json NAME COMMAND...: each value that is printed is an object with the schema; its exit code does not count
json() {
    local name=$1
    shift
    "$@" --json >"$run/json" 2>"$run/json.err"
    if jq -es 'length > 0 and all(.[]; type == "object" and .schema == 1)' "$run/json" >/dev/null; then
        ok "$name --json"
    else
        diag "$(head -c 400 "$run/json")" "$(cat "$run/json.err")"
        not_ok "$name --json"
    fi
}

# One way to call each; %n% stands for what takes a moment, and is cut off.
declare -A guest_calls=(
    [status]= [check]= [top]="--count 1" [watch]=%2% [metrics]= [plan]= [receipt]= [receipts]= [copies]=
    [disks]= [freeze]="--deadline 1" [thaw]= [notify]="%2%-- true" [memory]= [health]= [kvp]=list [host]=
    [vmbus]= [why]=)
declare -A host_calls=(
    [status]= [top]="--count 1" [watch]=%4% [check]= [metrics]= [backups]= [copy]="one $run/text:$run/from-host/"
    [backup]="one --image $run/images/disk --to $run/to" [memory]="one --assign auto" [why]=one [balance]=status
    [record]="--seconds 1 --to $run/recording" [replay]="$run/recording" [reserve]="late 10M"
    [simulate]="--hours 1 --fleet idle=1 --policy hvguest" [shutdown]=one [reboot]=one [hibernate]=one
    [kvp]="list one" [time]=one [rescind]="one timesync" [offer]="one timesync" [save]=one [restore]=one [move]=one)

# call ARGUMENTS: the command in $command, without the mark
call() {
    local arguments=$1
    cut=
    if [[ $arguments == %* ]]; then
        cut="timeout $(cut -d% -f2 <<<"$arguments")"
        arguments=${arguments#%*%}
    fi
    read -ra words <<<"$arguments"
}
for verb in $(verbs "$hvguestctl"); do
    if [ -z "${guest_calls[$verb]+x}" ]; then
        not_ok "hvguestctl $verb is not in this test's table"
        continue
    fi
    call "${guest_calls[$verb]}"
    case $verb in
    freeze | thaw | notify) ;; # nothing may be frozen here; test-notify shows them
    *) json "hvguestctl $verb" $cut "$hvguestctl" --api "$run/one/api.sock" "$verb" "${words[@]}" ;;
    esac
done
# The order of the list has what is recorded before what is replayed, and rescind before offer.
for verb in $(verbs "$hvhost"); do
    if [ "$verb" = serve ]; then
        is "hvhost serve --json" "$(timeout -s INT 1 "$hvhost" serve --json --run-dir "$run/told" 2>/dev/null | jq .schema)" 1
    elif [ -z "${host_calls[$verb]+x}" ]; then
        not_ok "hvhost $verb is not in this test's table"
    else
        call "${host_calls[$verb]}"
        [ "$verb" != watch ] || # something has to change meanwhile
            (for amount in 1001 1002 1003 1004; do sleep 0.7; host memory one --assign "${amount}M"; done) >/dev/null 2>&1 &
        json "hvhost $verb" $cut "$hvhost" "$verb" --run-dir "$run/host" "${words[@]}"
    fi
done

# --- help

# speechless PROGRAM: the verbs whose own help does not begin with how to call it, and what its line in the list says
speechless() {
    local verb help
    "$1" --help >"$run/list"
    for verb in $(verbs "$1"); do
        mapfile -t help < <("$1" "$verb" --help)
        help[1]=${help[1],} # as a clause
        [[ ${help[0]} == "Usage: $(basename "$1") $verb"* ]] && grep -qF -- "${help[1]%% (*}" <(sed 's/$/./' "$run/list") ||
            echo "$verb: ${help[1]}"
    done
}
is "each verb of hvguestctl tells what it does" "$(speechless "$hvguestctl")" ""
is "each verb of hvhost tells what it does" "$(speechless "$hvhost")" ""

# --- wrong usage

# refuses NAME PATTERN COMMAND...: status 2 (a check for monitors: 3), and one line
refuses() {
    local name=$1 pattern=$2 status
    shift 2
    "$@" >"$run/out" 2>"$run/err" </dev/null
    status=$?
    if [[ $status = 2 || $status = 3 ]] && [ "$(wc -l <"$run/err")" = 1 ] && grep -qE -- "$pattern" "$run/err"; then
        ok "$name"
    else
        diag "status $status" "$(cat "$run/out" "$run/err")"
        not_ok "$name"
    fi
}
for verb in $(verbs "$hvhost"); do
    refuses "hvhost $verb --bogus" "^hvhost: --bogus is no option here: see hvhost $verb --help$" "$hvhost" "$verb" --bogus
    case $verb in
    copy) refuses "hvhost copy with a pair that is none" "give FILE:PATH" bash -c "'$hvhost' copy one a; [ \$? = 1 ] && exit 2" ;;
    *) refuses "hvhost $verb with too many words" "^hvhost: .*('i'|what is '[a-i]'|too many|hvhost $verb)" "$hvhost" "$verb" a b c d e f g h i ;;
    esac
    case $verb in
    serve | status | top | watch | check | metrics | backups | record | simulate) ;;
    *) refuses "hvhost $verb without words" "something is missing: hvhost $verb " "$hvhost" "$verb" ;;
    esac
done
for verb in $(verbs "$hvguestctl"); do
    refuses "hvguestctl $verb --bogus" "^hvguestctl: --bogus is no option here: see hvguestctl --help$" "$hvguestctl" "$verb" --bogus
    [ "$verb" = notify ] || refuses "hvguestctl $verb with too many words" "^hvguestctl" "$hvguestctl" "$verb" a b c d e
done
refuses "hvhost: a misspelt verb" "did you mean 'status'" "$hvhost" staus
refuses "hvhost balance: a misspelt word" "did you mean 'pause'" "$hvhost" balance pasue
refuses "hvhost kvp: a misspelt word" "did you mean 'list'" "$hvhost" kvp lsit one
refuses "hvhost top: an order that is none" "pressure, stall" "$hvhost" top --sort size
refuses "hvhost serve: what it has to be" "--startup cannot be '12Q', but a size like 2G" "$hvhost" serve --startup 12Q

# --- what people see

# on_terminal COMMAND...: what is written to a terminal
on_terminal() {
    TERM=xterm script -qec "$(printf '%q ' "$@")" /dev/null </dev/null
}
escape=$(printf '\033')
is "no colours but on a terminal" "$(for verb in "top --count 1" "backups" "status"; do host $verb; done | grep -c "$escape")" 0
check "colours on a terminal" eval 'on_terminal "$hvhost" backups --run-dir "$run/host" | grep -q "$escape\[1m"'
is "... not with NO_COLOR" "$(NO_COLOR=1 on_terminal "$hvhost" backups --run-dir "$run/host" | grep -c "$escape")" 0
is "... nor on one that has none" "$(on_terminal env TERM=dumb "$hvhost" backups --run-dir "$run/host" | grep -c "$escape")" 0
rm -f "$run/to/"*
# test-fcopy has the progress bar on a terminal
is "no progress bar elsewhere" "$(host copy one "$hvhost:$run/from-host/none" 2>&1 | grep -c '\[[#.]')" 0
"$hvhost" watch one --run-dir "$run/host" >"$run/watched" &
watch_pid=$!
on_exit stop "$watch_pid"
amount=1002
# tells: gives the guest another amount, and has a line about one
tells() {
    host memory one --assign "${amount}M"
    amount=$((2005 - amount))
    sleep 1
    grep -qE '^[0-9:]{8}  one  .* -> 100[23] MiB' "$run/watched"
}
check "hvhost watch tells of a change" soon tells
stop "$watch_pid"
is "... each with its reason" "$(grep -E -- '-> 100[23] MiB' "$run/watched" | grep -vc ': the amount is set by hand$')" 0
timeout 2 "$hvguestctl" --api "$run/one/api.sock" watch >"$run/watched"
check "hvguestctl watch begins with what is" grep -qE '^[0-9:]{8}  host  *connected$' "$run/watched"

# --- check

# checks STATUS PATTERN
checks() {
    host check >"$run/out" 2>"$run/err"
    [ $? = "$1" ] && [ "$(wc -l <"$run/out")" = 1 ] && grep -qE -- "$2" "$run/out"
}
check "hvhost check: a guest that lacks memory, a backup that failed" soon checks 1 '^WARNING - .*last backup failed \(one\).* \| guests=1 assigned=[0-9]+B'
host balance pause >/dev/null
check "... a balancer that is paused" soon checks 1 'the balancer is paused'
host balance resume >/dev/null

# --- metrics in a file

if command -v promtool >/dev/null; then
    for name in host one; do
        file=$run/collector/$name.prom
        mkdir -p "$run/collector"
        if [ "$name" = host ]; then host metrics --textfile "$file"; else guest one metrics --textfile "$file"; fi
        check "metrics of $name in a file pass promtool" eval 'promtool check metrics <"$file"'
        is "... which anybody may read" "$(stat -c %a "$file")" 644
    done
    is "... and nothing else is there" "$(find "$run/collector" -type f | wc -l)" 2
else
    skip "metrics in a file" "needs promtool"
fi
refuse "a file that cannot be written" 1 host metrics --textfile "$run/no/such.prom"

# --- completion

"$hvhost" --completion bash >"$run/completion"
# completes WORD...: what bash offers for the last one
completes() {
    PATH=$(dirname "$hvhost"):$PATH bash -c '
        . "$0"
        COMP_WORDS=("$@")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _hvhost
        echo "${COMPREPLY[*]}"' "$run/completion" "$@"
}
for verb in $(verbs "$hvhost"); do
    [ "$(completes hvhost "$verb" --jso)" = --json ] || missing+=" $verb"
done
is "every verb is completed" "${missing-}" ""
is "verbs" "$(completes hvhost bala)" balance
is "options of a verb" "$(completes hvhost backup --sin)" --since
is "values of an option" "$(completes hvhost top --sort pre)" pressure
is "words of a verb" "$(completes hvhost balance dr)" dry-run
is "files where a file belongs" "$(completes hvhost metrics --textfile "$run/completio")" "$run/completion"
check "zsh takes its completion" eval '! command -v zsh >/dev/null || "$hvhost" --completion zsh | zsh -n'
check "... and hvguestctl'\''s" eval '! command -v zsh >/dev/null || "$hvguestctl" --completion zsh | zsh -n'
refuses "no other shell" "bash or zsh" "$hvhost" --completion fish

ends "the guest ends well" "$one_pid"
check "hvhost watch and check see that" soon eval 'host check --json | jq -e .schema'
ends "the host ends well" "$host_pid"
refuse "without a host, check knows nothing" 3 host check
no_reports
done_testing
