#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# check finds in damaged images what qemu-img finds: the same lines, numbers and exit code.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"
. "$TEST_TOP/tests/check/damage.bash"

kinds="nothing leak leaks high-refcount high-metadata-refcount low-refcount low-l2-refcount
    low-header-refcount shared shared-counted flag-missing l1-flag-missing flag-and-leak past-end far-past-end
    just-past-end compressed-past-end compressed-copied compressed-shares reserved-bit reserved-low-bit
    l1-reserved-bit unaligned unaligned-zero l2-past-end overlaps-l1 overlaps-header block-missing block-past-end
    block-twice block-is-data beyond-size"

for options in compat=0.10,cluster_size=4k compat=1.1,cluster_size=4k compat=1.1,cluster_size=64k,refcount_bits=8 \
    cluster_size=2k,refcount_bits=64 cluster_size=1k,refcount_bits=4; do
    [ -z "$TEST_QUICK" ] || [ "$options" = compat=1.1,cluster_size=4k ] || continue
    qemu-img create -q -f qcow2 -o "$options" sound.qcow2 640k
    locate sound.qcow2
    qemu-io -f qcow2 -c "write -P 1 0 $((8 * CLUSTER))" sound.qcow2 >io.out
    for kind in $kinds; do
        cp sound.qcow2 "$kind.qcow2"
        damage "$kind" "$kind.qcow2"
        same check "$kind.qcow2"
        rm "$kind.qcow2"
    done
done

# files that were cut
qemu-img create -q -f qcow2 -o cluster_size=4k whole.qcow2 1M
qemu-io -f qcow2 -c 'write -P 1 0 300k' whole.qcow2 >io.out
size=$(file_size whole.qcow2)
for cut in 1 511 4095 4096 4097 8192 20000 100000; do
    cp whole.qcow2 cut.qcow2
    truncate -s "$((size - cut))" cut.qcow2
    same check cut.qcow2
    same check --output=json cut.qcow2
done
