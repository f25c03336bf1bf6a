#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A target that has room only where the old contents were: what a convert frees it can use again.
. "$(dirname "$0")/../lib.sh"
slow

[ "$(id -u)" = 0 ] || skip 'only root mounts file systems and sets up loop devices'

noise 1 5000000 >old.raw
truncate -s 32M old.raw
truncate -s 32M new.raw
noise 2 5000000 | put_file new.raw 12M

# refill TARGET OPTION...: old contents, then new ones, which go where the old ones were.
refill() {
    local target=$1
    shift
    run_ok "$BYRE" convert -n -f raw -O qcow2 old.raw "$target"
    run_ok "$BYRE" convert -n "$@" -f raw -O qcow2 new.raw "$target"
    assert_same_disk -f raw -F qcow2 new.raw "$target"
    assert_clean "$target"
}

# A file system of 8 MiB, in a name space where nobody else sees it.
if [ -z "${BYRE_TEST_INSIDE:-}" ]; then
    BYRE_TEST_INSIDE=yes TMPDIR=$TEST_DIR unshare -m --propagation unchanged "$TEST_TOP/tests/ops/${0##*/}"

    truncate -s 8M medium
    device=$(losetup --find --show medium 2>/dev/null) || skip 'no loop device to be had'
    clean_up losetup --detach "$device"
    for options in cluster_size=64k cluster_size=512; do
        run_ok "$BYRE" create -q -f qcow2 -o $options "$device" 32M
        refill "$device"
        run_ok "$BYRE" create -q -f qcow2 -o $options "$device" 32M
        refill "$device" -c
    done
    exit 0
fi

mkdir small
mount -t tmpfs -o size=8M tmpfs small
clean_up umount "$TEST_DIR/small"
for options in cluster_size=64k cluster_size=512; do
    run_ok "$BYRE" create -q -f qcow2 -o $options small/target.qcow2 32M
    refill small/target.qcow2
    rm small/target.qcow2
    run_ok "$BYRE" create -q -f qcow2 -o $options small/target.qcow2 32M
    refill small/target.qcow2 -c
    rm small/target.qcow2
done
