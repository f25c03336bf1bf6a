#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# compare finds the first difference on the disk, and says of it what qemu-img says.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/ops/source.bash
. "$TEST_TOP/tests/ops/source.bash"

# both OPTION... A B: the same exit code and the same words as qemu-img.
both() {
    run qemu-img compare "$@"
    local code=$CODE out=$OUT
    run "$BYRE" compare "$@"
    assert_equal "$code" "$CODE" "exit code of compare $*"
    assert_equal "$out" "$OUT" "output of compare $*"
}

make_source a.raw
cp --sparse=always a.raw b.raw
both -f raw -F raw a.raw b.raw
for place in 11000000 5000001 65536 511 0; do
    printf '\377' | put_file b.raw $place
    both -f raw -F raw a.raw b.raw
    both -f raw -F raw b.raw a.raw
done

# Different layouts of the same contents.
qemu-img convert -f raw -O qcow2 a.raw a.qcow2
qemu-img convert -f raw -O qcow2 -c -o cluster_size=4k a.raw c.qcow2
both a.qcow2 c.qcow2
both -f raw -F qcow2 a.raw c.qcow2
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 overlay.qcow2
both overlay.qcow2 c.qcow2
qemu-io -c 'write -P 255 6000000 1000' overlay.qcow2 >qemu-io.out
both overlay.qcow2 c.qcow2
both overlay.qcow2 a.qcow2

# Sizes: a warning, and the rest must be zero.
qemu-img create -q -f qcow2 empty.qcow2 64M
qemu-img create -q -f qcow2 longer.qcow2 65M
both empty.qcow2 longer.qcow2
both -s empty.qcow2 longer.qcow2
qemu-io -c 'write -P 5 67200001 512' longer.qcow2 >qemu-io.out
both empty.qcow2 longer.qcow2
both longer.qcow2 empty.qcow2
both -s longer.qcow2 empty.qcow2
