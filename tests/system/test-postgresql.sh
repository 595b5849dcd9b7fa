#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The preset for PostgreSQL with the real server under write load: a copy of the frozen image starts,
# recovers, and holds every commit that was acknowledged before.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq losetup findmnt runuser psql
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -x "$bin/postgres" ] || skip_all "needs the server of PostgreSQL"
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
in_private_mounts "$@"
watchdog 200
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/databases.sh"

as_postgres() {
    (cd / && runuser -u postgres -- "$@")
}

# server_starts DIR NAME: $run/NAME has its socket and its log
server_starts() {
    install -d -o postgres -m 755 "$run/$2"
    as_postgres "$bin/pg_ctl" -D "$1" -w -t 60 -l "$run/$2/log" \
        -o "-c listen_addresses='' -c unix_socket_directories=$run/$2 -c autovacuum=off" start >/dev/null
    on_exit server_stops "$1"
}

# sql NAME TEXT
sql() {
    as_postgres psql -AtqX -h "$run/$1" -d postgres -c "$2"
}

server_stops() {
    as_postgres "$bin/pg_ctl" -D "$1" -m immediate -w stop >/dev/null 2>&1 || true
}

# freeze_copy_thaw WHAT: $before: what was acknowledged before everything stood still
freeze_copy_thaw() {
    check "$1: freeze" guest one freeze
    before=$(acked)
    copy_frozen
    check "$1: thaw" guest one thaw
}

install -d -o postgres -m 700 "$data/pg"
as_postgres "$bin/initdb" -D "$data/pg" --wal-segsize=1 --no-sync -A trust >/dev/null 2>&1 ||
    skip_all "initdb does not work here"
server_starts "$data/pg" server || bail_out "the server does not start: $(cat "$run/server/log")"
sql server "CREATE TABLE t (n int PRIMARY KEY)"
preset postgresql
echo "PGHOST=$run/server" >"$hooks/50-postgresql.conf"

start_host
start_guest one --memory no --freeze-roots "$data" --hook-dir "$hooks" --freeze-timeout 60
writer_starts runuser -u postgres -- psql -AtqX -h "$run/server" -d postgres
check "the writer writes" soon acked_at_least 100

freeze_copy_thaw together
is "together: applications held" "$(receipt .class)" application
is "together: the receipt says how" "$(receipt '.hooks[0].runs[0].output')" \
    "checkpoint made; all 2 places are frozen together: the copy needs no backup_label and must not get one"
check "together: the writer goes on" soon acked_at_least $((before + 100))

# The copy.
image_mount "$tap_dir/copy.img" "$copy"
check "copy: has no backup_label" test ! -e "$copy/pg/backup_label"
rm -f "$copy/pg/postmaster.pid"
server_starts "$copy/pg" copy
check "copy: the server starts" sql copy "SELECT 1"
check "copy: and recovers" grep -q "automatic recovery in progress" "$run/copy/log"
recovered=$(sql copy "SELECT max(n) FROM t")
diag "$before acknowledged before the freeze, $recovered in the copy"
check "copy: holds every commit that was acknowledged" [ "$recovered" -ge "$before" ]
is "copy: and no hole" "$(sql copy "SELECT count(*) = max(n) FROM t")" t
is "copy: its pages are good" "$(sql copy "SELECT count(*) > 0 FROM t WHERE n > 0")" t
server_stops "$copy/pg"
image_unmount "$copy"

# A tablespace that is not frozen: no consistent copy without archived WAL.
install -d -o postgres -m 700 "$tap_dir/elsewhere"
chmod 711 "$tap_dir"
sql server "CREATE TABLESPACE elsewhere LOCATION '$tap_dir/elsewhere'"
refuse "apart: a tablespace that is not frozen, and no archive" 1 guest one freeze
check "apart: the receipt says why" \
    grep -q "not frozen: $tap_dir/elsewhere : and WAL is not archived" <(receipt '.hooks[0].runs[0].output')

# With archived WAL a backup is held in a session.
install -d -o postgres -m 700 "$run/wal"
sql server "ALTER SYSTEM SET archive_mode = on"
sql server "ALTER SYSTEM SET archive_command = 'cp %p $run/wal/%f'"
writer_stops
as_postgres "$bin/pg_ctl" -D "$data/pg" -m fast -w restart >/dev/null
sql server "TRUNCATE t" && sql server "ALTER TABLE t SET TABLESPACE elsewhere"
writer_starts runuser -u postgres -- psql -AtqX -h "$run/server" -d postgres
check "archived: the writer writes to what is not frozen" soon acked_at_least 100
check "archived: freeze" guest one freeze
check "archived: a session holds a backup" test -d "$run/one/session-50-postgresql"
before=$(acked)
copy_frozen
cp -a "$tap_dir/elsewhere" "$tap_dir/elsewhere.copy"
check "archived: thaw" guest one thaw
receipt '.hooks[0].runs[1].output' >"$run/label"
check "archived: the label is in the receipt" grep -q "START WAL LOCATION" "$run/label"
check "archived: the session has ended" test ! -d "$run/one/session-50-postgresql"
writer_stops

# The copy, as its owner restores it: with the label, the places, and the archive.
image_mount "$tap_dir/copy.img" "$copy"
rm -rf "$copy/pg/postmaster.pid" "$copy"/pg/pg_tblspc/*
sed -n '/^START WAL LOCATION/,/^START TIMELINE/p' "$run/label" >"$copy/pg/backup_label"
sed -n 's/^|\(.*elsewhere\)$/\1.copy/p' "$run/label" >"$copy/pg/tablespace_map"
printf "%s\n" "archive_mode = off" "restore_command = 'cp $run/wal/%f %p'" >>"$copy/pg/postgresql.auto.conf"
touch "$copy/pg/recovery.signal"
chown postgres "$copy"/pg/{backup_label,tablespace_map,recovery.signal}
server_starts "$copy/pg" copy
check "archived: the copy starts, from the label" grep -q "starting archive recovery" "$run/copy/log"
check "archived: ... and is consistent" grep -q "consistent recovery state reached" "$run/copy/log"
soon eval '[ "$(sql copy "SELECT pg_is_in_recovery()")" = f ]'
recovered=$(sql copy "SELECT max(n) FROM t")
diag "$before acknowledged before the freeze, $recovered in the copy"
check "archived: holds every commit that was acknowledged" [ "$recovered" -ge "$before" ]
is "archived: and no hole" "$(sql copy "SELECT count(*) = max(n) FROM t")" t
server_stops "$copy/pg"
image_unmount "$copy"

guest one freeze >/dev/null
kill "$(cat "$run/one/session-50-postgresql/pid")"
refuse "archived: a session that is lost is told" 0 guest one thaw
is "archived: and in the receipt" "$(receipt '.class + " " + .hooks[0].runs[1].outcome')" "file-system failed"

# A server that is not there.
server_stops "$data/pg"
refuse "down: a server that cannot be asked ends the freeze" 1 guest one freeze

ends "hvguestd ends" "$one_pid" TERM
ends "hvhost ends" "$host_pid"
no_reports
done_testing
