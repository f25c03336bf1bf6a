#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Block devices as source and target: raw and qcow2 on them, old contents in the way, and never removed.
. "$(dirname "$0")/../lib.sh"
slow

[ "$(id -u)" = 0 ] || skip 'only root sets up loop devices'
truncate -s 8M medium
device=$(losetup --find --show medium 2>/dev/null) || skip 'no loop device to be had'
clean_up losetup --detach "$device"

truncate -s 5M source.raw
text 1 2000000 | put_file source.raw 0
noise 2 300000 | put_file source.raw 3M

noise 9 1048576 >old
fill() {
    for i in 0 1 2 3 4 5 6 7; do
        put_file "$device" $((i * 1048576)) <old
    done
    sync "$device"
}

# Raw onto it: what is longer than the source stays.
fill
run_ok "$BYRE" convert -n -f raw -O raw source.raw "$device"
cmp -n 5242880 source.raw "$device"
cmp -i 0:5242880 -n 1048576 old "$device"
run_ok "$BYRE" convert -f raw -O raw "$device" back.raw
assert_equal 8388608 "$(file_size back.raw)"
assert_same_disk -f raw -F raw back.raw "$device"

# qcow2 onto it, over old bytes that are not zero.
for options in cluster_size=64k cluster_size=512 compat=0.10; do
    fill
    run_ok "$BYRE" convert -f raw -O qcow2 -o $options source.raw "$device"
    assert_same_disk -f raw -F qcow2 source.raw "$device"
    assert_clean "$device"
    run_ok "$BYRE" check -f qcow2 "$device"
    run_ok "$BYRE" convert -f qcow2 -O raw "$device" back.raw
    assert_same_file source.raw back.raw
done

# Too small for it: an error, and the device is still there.
noise 3 9000000 >large.raw
run_fails 1 '.' "$BYRE" convert -f raw -O qcow2 large.raw "$device"
[ -b "$device" ]
run_fails 1 '.' "$BYRE" convert -n -f raw -O raw large.raw "$device"
[ -b "$device" ]
