#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The preset for MariaDB with the real server under write load: a copy of the frozen image starts,
# recovers, and holds every commit that was acknowledged before.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq losetup findmnt mariadbd mariadb mariadb-install-db
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
in_private_mounts "$@"
watchdog 200
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/databases.sh"

options=(--no-defaults --user=mysql --skip-networking --innodb-log-file-size=8M
    --innodb-flush-log-at-trx-commit=1 --innodb-buffer-pool-size=16M --log-bin --sync-binlog=1)

answers() {
    sql "$1" "SELECT 1"
}

# server_starts DIR NAME: $run/NAME has its socket and its log; $NAME_server is its process
server_starts() {
    install -d -o mysql -m 755 "$run/$2"
    mariadbd "${options[@]}" --datadir="$1" --socket="$run/$2/sock" --pid-file="$run/$2/pid" \
        >"$run/$2/out" 2>&1 &
    printf -v "${2}_server" %s "$!"
    on_exit murder "$!"
    soon answers "$2"
}

# sql NAME TEXT
sql() {
    mariadb --no-defaults --batch --skip-column-names --socket="$run/$1/sock" -e "$2"
}

install -d -o mysql -m 700 "$data/db"
mariadb-install-db --no-defaults --user=mysql --datadir="$data/db" --innodb-log-file-size=8M \
    --skip-test-db --auth-root-authentication-method=normal >"$run/install" 2>&1 ||
    skip_all "mariadb-install-db does not work here: $(tail -n 1 "$run/install")"
server_starts "$data/db" server || bail_out "the server does not start: $(tail -n 5 "$run/server/out")"
sql server "CREATE DATABASE test; CREATE TABLE test.t (n INT PRIMARY KEY) ENGINE=InnoDB;
    CREATE TABLE test.m (n INT PRIMARY KEY) ENGINE=MyISAM"
preset mariadb
echo "options='--no-defaults --socket=$run/server/sock'" >"$hooks/50-mariadb.conf"

start_host
start_guest one --memory no --freeze-roots "$data" --hook-dir "$hooks" --freeze-timeout 60
writer_starts mariadb --no-defaults --batch --unbuffered --skip-column-names \
    --socket="$run/server/sock" test
check "the writer writes" soon acked_at_least 100

check "locked: freeze" guest one freeze
before=$(acked)
sleep 0.3
is "locked: nothing is committed meanwhile" "$(acked)" "$before"
copy_frozen
check "locked: thaw" guest one thaw
is "locked: applications held" "$(receipt .class)" application
check "locked: the receipt says how" grep -q "locked by BACKUP STAGE START" <(receipt '.hooks[0].runs[0].output')
is "locked: until the thaw" "$(receipt '.hooks[0].runs[1].output')" unlocked
check "locked: the writer goes on" soon acked_at_least $((before + 100))

# What calls itself MySQL has no backup stages.
cat >"$run/mysql" <<'END'
#!/bin/sh
case "$*" in
*"VERSION()"*) echo 8.0.36 ;;
*) exec mariadb "$@" ;;
esac
END
chmod 755 "$run/mysql"
cp "$hooks/50-mariadb.conf" "$run/conf"
echo "client=$run/mysql" >>"$hooks/50-mariadb.conf"
check "mysql: freeze" guest one freeze
now=$(acked)
sleep 0.3
is "mysql: nothing is committed meanwhile" "$(acked)" "$now"
check "mysql: thaw" guest one thaw
is "mysql: by its own lock" "$(receipt '.class + ": " + .hooks[0].runs[0].output')" \
    "application: 8.0.36: locked by FLUSH TABLES WITH READ LOCK"
check "mysql: the writer goes on" soon acked_at_least $((now + 50))
cp "$run/conf" "$hooks/50-mariadb.conf"

# A session that is lost while all is frozen.
guest one freeze >/dev/null
kill "$(cat "$run/one/session-50-mariadb/pid")"
guest one thaw >/dev/null
is "lost: a session that ended too early is told" "$(receipt '.class + " " + .hooks[0].runs[1].outcome')" \
    "file-system failed"
check "lost: and holds nothing any more" soon acked_at_least $(($(acked) + 50))

# hvguestd is killed while it holds.
guest one freeze >/dev/null
murder "$one_pid"
start_guest one --memory no --freeze-roots "$data" --hook-dir "$hooks" --freeze-timeout 60
check "killed: the next hvguestd lets go" soon acked_at_least $(($(acked) + 50))
check "killed: the session has ended" soon test ! -d "$run/one/session-50-mariadb"

# Nobody comes back. The hook is called as hvguestd does, with a time limit that makes it three seconds.
alone() {
    HVGUEST_RUN_DIR=$run HVGUEST_HOOK=alone HVGUEST_FREEZE_TIMEOUT=-57 "$hooks/50-mariadb" "$@"
}
check "alone: locked" alone freeze
now=$(acked)
check "alone: the session ends by its own timer" soon acked_at_least $((now + 50))
refuse "alone: which a later thaw is told" 1 alone thaw

# The copy.
writer_stops
image_mount "$tap_dir/copy.img" "$copy"
server_starts "$copy/db" copy
check "copy: the server starts" answers copy
check "copy: and recovers" grep -q "crash recovery" "$run/copy/out"
recovered=$(sql copy "SELECT MAX(n) FROM test.t")
diag "$before acknowledged before the freeze, $recovered in the copy"
check "copy: holds every commit that was acknowledged" [ "$recovered" -ge "$before" ]
is "copy: and no hole" "$(sql copy "SELECT COUNT(*) = MAX(n) FROM test.t")" 1
is "copy: its tables are good" "$(sql copy "CHECK TABLE test.t, test.m" | cut -f 4 | sort -u)" OK

murder "$copy_server"
murder "$server_server"
refuse "down: a server that cannot be asked ends the freeze" 1 guest one freeze
ends "hvguestd ends" "$one_pid" TERM
ends "hvhost ends" "$host_pid"
no_reports
done_testing
