#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# -B: the target is an overlay, and holds what the source's top layer holds.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/ops/source.bash
. "$TEST_TOP/tests/ops/source.bash"

# convert_both OPTION... SOURCE: ours.qcow2 and theirs.qcow2 shall show the same and hold the same.
convert_both() {
    run_ok "$BYRE" convert -O qcow2 "$@" ours.qcow2
    qemu-img convert -O qcow2 "$@" theirs.qcow2
    assert_clean ours.qcow2
    assert_same_disk theirs.qcow2 ours.qcow2
    assert_equal "$(own_map theirs.qcow2)" "$(own_map ours.qcow2)" "clusters of the overlay: $*"
}

# own_map IMAGE: what the image itself holds: "start end zero", joined.
own_map() {
    qemu-img map --output=json "$1" | grep '"depth": 0, "present": true' |
        sed 's/.*"start": \([0-9]*\), "length": \([0-9]*\),.*"zero": \([a-z]*\),.*/\1 \2 \3/' |
        awk '$1 == end && $3 == zero { end += $2; next }
            NR > 1 { print start, end, zero }
            { start = $1; end = $1 + $2; zero = $3 }
            END { if (NR) print start, end, zero }'
}

qemu-img create -q -f qcow2 base.qcow2 4M
qemu-io -c 'write -P 1 0 4M' base.qcow2 >qemu-io.out
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write -P 2 64k 64k' -c 'write -z 1M 64k' -c 'write -P 0 1536k 64k' -c 'write -P 3 3000k 5k' \
    top.qcow2 >qemu-io.out
for options in '' -c '-o cluster_size=512' '-o cluster_size=2M' '-o cluster_size=2M -c'; do
    # shellcheck disable=SC2086 # options
    convert_both $options -B base.qcow2 -F qcow2 top.qcow2
    assert_same_disk top.qcow2 ours.qcow2
done

# A source without a backing file: its holes are zeros, and must not show the target's backing file.
qemu-img create -q -f qcow2 alone.qcow2 4M
qemu-io -c 'write -P 2 1M 64k' alone.qcow2 >qemu-io.out
convert_both -B base.qcow2 -F qcow2 alone.qcow2
assert_same_disk alone.qcow2 ours.qcow2

# A backing file that is shorter than the source.
qemu-img create -q -f qcow2 short.qcow2 1M
qemu-io -c 'write -P 9 0 1M' short.qcow2 >qemu-io.out
qemu-img create -q -f qcow2 -b short.qcow2 -F qcow2 long.qcow2 4M
qemu-io -c 'write -P 3 512k 64k' -c 'write -P 3 2M 64k' long.qcow2 >qemu-io.out
convert_both -B short.qcow2 -F qcow2 long.qcow2
assert_same_disk long.qcow2 ours.qcow2
