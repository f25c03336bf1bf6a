#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Disks of many terabytes: created, examined and written near their end, by byre and by QEMU.
. "$(dirname "$0")/../lib.sh"

for cluster_size in 64K 2M; do
    rm -f huge.qcow2 qemu.qcow2
    run_ok "$BYRE" create -q -f qcow2 -o cluster_size=$cluster_size huge.qcow2 64T
    qemu_io -f qcow2 -c 'write -q -P 7 65970697666560 64K' -c 'write -q -P 8 1T 1M' huge.qcow2
    run_ok "$BYRE" check huge.qcow2
    assert_clean huge.qcow2
    run_ok "$BYRE" map --output=json huge.qcow2
    assert_equal "$(qemu-img map --output=json huge.qcow2)" "$OUT" 'the map'
    run_ok "$BYRE" info --output=json huge.qcow2
    assert_match '"virtual-size": 70368744177664' "$OUT"

    run_ok "$BYRE" convert -O qcow2 -o cluster_size=$cluster_size huge.qcow2 copy.qcow2
    assert_clean copy.qcow2
    qemu_io -r -f qcow2 -c 'read -q -P 7 65970697666560 64K' -c 'read -q -P 8 1T 1M' -c 'read -q -P 0 2T 1M' \
        copy.qcow2
    rm -f copy.qcow2
done
