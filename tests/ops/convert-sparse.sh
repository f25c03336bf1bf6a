#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# -S: which zeros become holes, as qemu-img decides it.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/ops/source.bash
. "$TEST_TOP/tests/ops/source.bash"

make_source source.raw

# The last sectors of a disk are a part of a block: compare what lies before them.
whole_map() {
    data_map "$@" | awk '{ end = $1 + $2; if (end > 12582912) end = 12582912; if (end > $1) print $1, end }'
}

for sparse in 0 4k 64k 1M; do
    run_ok "$BYRE" convert -S $sparse -f raw -O qcow2 source.raw ours.qcow2
    qemu-img convert -S $sparse -f raw -O qcow2 source.raw theirs.qcow2
    assert_same_disk -f raw -F qcow2 source.raw ours.qcow2
    assert_equal "$(whole_map theirs.qcow2)" "$(whole_map ours.qcow2)" "data clusters with -S $sparse"

    run_ok "$BYRE" convert -S $sparse -f raw -O raw source.raw ours.raw
    qemu-img convert -S $sparse -f raw -O raw source.raw theirs.raw
    assert_same_file source.raw ours.raw
    # How much a file takes up is up to the file system: they may differ by a few blocks.
    ours=$(du -k ours.raw | cut -f 1)
    theirs=$(du -k theirs.raw | cut -f 1)
    assert_at_most $((theirs + 64)) "$ours" "KiB of a raw file with -S $sparse"
    assert_at_most $((ours + 64)) "$theirs" "KiB of qemu-img's raw file with -S $sparse"
done

# A compressed image leaves zeros out, too.
run_ok "$BYRE" convert -c -f raw -O qcow2 source.raw ours.qcow2
qemu-img convert -c -f raw -O qcow2 source.raw theirs.qcow2
assert_equal "$(whole_map theirs.qcow2)" "$(whole_map ours.qcow2)" 'compressed clusters'

# All zeros, on the medium: nothing is allocated.
head -c 3000000 /dev/zero >zeros.raw
run_ok "$BYRE" convert -f raw -O qcow2 zeros.raw ours.qcow2
assert_equal '' "$(data_map ours.qcow2)" 'data clusters of zeros'
