# SPDX-License-Identifier: MIT
#
# What the tests with real databases share: a guest whose hooks are the presets, a writer that keeps
# what the server has acknowledged, and a copy of the frozen image. To be sourced after lab.sh.
#
# The writer sends INSERTs of 1, 2, 3... to a client program, and $run/acked has what came back: each
# number is there only when its commit has been acknowledged.

hooks=$run/hooks
data=$tap_dir/data
copy=$tap_dir/copy
chmod 711 "$tap_dir"
mkdir "$hooks" "$run/presets"
cp "${srcdir:-.}/packaging/presets/"* "$run/presets/"
chmod 755 "$run/presets/"*
image_make ext4 "$tap_dir/data.img" && image_mount "$tap_dir/data.img" "$data" ||
    skip_all "cannot make and mount an image"

# preset NAME: is a hook from now on
preset() {
    ln -s "$run/presets/$1" "$hooks/50-$1"
}

# writer_starts CLIENT...: a client program that prints what it has inserted
writer_starts() {
    : >"$run/acked"
    setsid bash -c '
        n=0
        while :; do n=$((n + 1)); echo "INSERT INTO t VALUES ($n); SELECT $n;"; done |
            "$@" >>"$0" 2>/dev/null' "$run/acked" "$@" &
    writer_pid=$!
    on_exit writer_stops
}

writer_stops() {
    kill -- "-$writer_pid" 2>/dev/null
    wait "$writer_pid" 2>/dev/null
    return 0
}

# acked: the last one; a line that is not whole yet does not count
acked() {
    local n
    n=$(wc -l <"$run/acked")
    [ "$n" -gt 0 ] && sed -n "${n}p" "$run/acked" || echo 0
}

acked_at_least() {
    [ "$(acked)" -ge "$1" ]
}

# copy_frozen: what the host does while all is frozen
copy_frozen() {
    cp --sparse=always "$tap_dir/data.img" "$tap_dir/copy.img"
}

receipt() {
    guest one receipt --json | jq -r "$1"
}
