#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Widths of refcounts: what byre amends, qemu-img checks and reads, and what qemu-img amends, byre does, with clusters of
# two sizes; both go on with the image.  (qemu-img 7.2 takes seconds for each, however small the image: with TEST_QUICK it
# amends once.)
. "$(dirname "$0")/../lib.sh"
slow

for clusters in 1k 64k; do
    qemu-img create -q -f qcow2 -o cluster_size=$clusters image.qcow2 20M
    qemu-io -c 'write -q -P 5 0 6M' -c 'write -q -P 6 15M 2M' image.qcow2
    qemu-img convert -O raw image.qcow2 image.raw
    for width in 1 64; do
        run_ok "$BYRE" amend -o refcount_bits=$width image.qcow2
        run_ok qemu-img check -q image.qcow2
        run_ok qemu-img compare -q image.qcow2 image.raw
        qemu-img info image.qcow2 | grep -qx " *refcount bits: $width" || fail "not $width bits"
        for file in image.qcow2 image.raw; do
            qemu-io -f "${file#image.}" -c "write -q -P $((width + 7)) $((width / 8))M 100k" "$file"
        done
        run_ok "$BYRE" check -q image.qcow2
        in_sample || continue
        qemu-img amend -o refcount_bits=$((64 / width)) image.qcow2
        run_ok "$BYRE" check -q image.qcow2
        run_ok "$BYRE" compare -q image.qcow2 image.raw
    done
    # The space of what was replaced is found again, and the file has not grown without end.
    [ "$(stat -c %s image.qcow2)" -lt 14000000 ] || fail "the file has $(stat -c %s image.qcow2) bytes"
done
