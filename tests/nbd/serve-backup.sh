#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Incremental backups: a full copy, a bitmap, changes on a served disk; then what is dirty is copied, as two clients find
# it out, and that is the disk.  Again and again, on images of several kinds.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdinfo nbdcopy

seed=${TEST_SEED:-$RANDOM}
echo "TEST_SEED=$seed"
RANDOM=$seed

# "START LENGTH" of what the bitmap says is dirty; by nbdinfo, and by qemu-img.
dirty() {
    nbdinfo --map=qemu:dirty-bitmap:since "$URI" | awk '$3 == 1 { print $1, $2 }'
}
dirty_by_qemu() {
    qemu-img map --output=json --image-opts \
        "driver=nbd,server.type=unix,server.path=$TEST_DIR/socket,x-dirty-bitmap=qemu:dirty-bitmap:since" |
        sed -n 's/.*"start": \([0-9]*\), "length": \([0-9]*\),.*"data": false.*/\1 \2/p'
}

# Changes of all kinds, at drawn places; prints qemu-io's commands.
changes() {
    local i at
    for ((i = 0; i < 12; i++)); do
        at=$((RANDOM * 512 % (15 * 1024 * 1024)))
        case $((RANDOM % 5)) in
        0) echo "write -q -z $at $((RANDOM * 16 + 1))" ;;
        1) echo "discard -q $at $((RANDOM * 16 + 512))" ;;
        2) echo "write -q -f -P $((RANDOM % 255 + 1)) $at $((RANDOM % 4096 + 1))" ;;
        *) echo "write -q -P $((RANDOM % 255 + 1)) $at $((RANDOM * 8 + 1))" ;;
        esac
    done
}

copy_dirty() {
    local start length copied=0
    while read -r start length; do
        dd if=now.raw of=backup.raw bs=64k iflag=skip_bytes,count_bytes,fullblock oflag=seek_bytes skip="$start" \
            seek="$start" count="$length" conv=notrunc status=none
        copied=$((copied + length))
    done
    echo "$copied"
}

for options in cluster_size=64k cluster_size=4k extended_l2=on,cluster_size=64k; do
    rm -f ./*.raw image.qcow2
    qemu-img create -q -f qcow2 -o "$options" image.qcow2 16M
    qemu_io -f qcow2 -c 'write -q -P 1 0 7M' -c 'write -q -P 2 9M 3M' image.qcow2
    start_server -r -t -e 0 image.qcow2
    run_ok nbdcopy "$URI" backup.raw
    stop_server TERM
    run_ok "$BYRE" bitmap --add -g 16k image.qcow2 since
    for round in first second; do
        start_server -t -e 0 -B since image.qcow2
        assert_equal '' "$(dirty)" "a bitmap that is clean"
        mapfile -t commands < <(changes)
        qemu_io -f raw "${commands[@]/#/-c}" "$URI"
        # while it is served, and when it was stored and read again
        now=$(dirty)
        assert_equal "$now" "$(dirty_by_qemu)" "dirty, by QEMU, in the $round round"
        stop_server
        start_server -t -e 0 -B since image.qcow2
        assert_equal "$now" "$(dirty)" "dirty, after the server has ended"
        run_ok nbdcopy "$URI" now.raw
        stop_server
        copied=$(copy_dirty <<<"$now")
        [ "$copied" -gt 0 ] || fail 'nothing is dirty'
        assert_at_most 12000000 "$copied" 'dirty bytes of 16 MiB'
        assert_same_file now.raw backup.raw
        run_ok "$BYRE" compare -f raw -F qcow2 backup.raw image.qcow2
        run_ok "$BYRE" bitmap --clear image.qcow2 since
        assert_checked image.qcow2
        assert_clean image.qcow2
    done
done
