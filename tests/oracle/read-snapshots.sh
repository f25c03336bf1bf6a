#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Images with internal snapshots or bitmaps are read, checked and reported.
. "$(dirname "$0")/../lib.sh"

qemu-img create -q -f qcow2 -o cluster_size=4k snapshots.qcow2 2M
qemu_io -c 'write -q -P 1 0 300K' snapshots.qcow2
qemu-img snapshot -c first snapshots.qcow2
qemu_io -c 'write -q -P 2 100K 100K' -c 'write -q -z 250K 10K' snapshots.qcow2
qemu-img snapshot -c 'the second' snapshots.qcow2
qemu_io -c 'write -q -P 3 1M 64K' snapshots.qcow2

qemu-img create -q -f qcow2 bitmaps.qcow2 2M
qemu-img bitmap --add -g 65536 bitmaps.qcow2 one
qemu_io -c 'write -q -P 4 0 200K' bitmaps.qcow2
qemu-img bitmap --add --disable bitmaps.qcow2 two

for image in snapshots bitmaps; do
    qemu-img convert -O raw $image.qcow2 wanted.raw
    run_ok "$BYRE" convert -O raw $image.qcow2 found.raw
    assert_same_file wanted.raw found.raw
    run_ok "$BYRE" check $image.qcow2
    run_ok "$BYRE" map --output=json $image.qcow2
    assert_equal "$(qemu-img map --output=json $image.qcow2)" "$OUT" 'the map'
done
