#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# check agrees with qemu-img about images that are right, of every kind that qemu-img makes.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

fill() {
    qemu-io -f qcow2 -c 'write -P 1 0 100k' -c 'write -z 200k 40k' -c 'write -P 2 1000k 20k' \
        -c 'write -z -u 300k 8k' "$1" >io.out
}

agree() {
    same_ok check -f qcow2 "$1"
    same_ok check --output=json "$1"
}

for cluster in 512 4k 64k 2M; do
    for options in compat=0.10 compat=1.1 refcount_bits=1 refcount_bits=2 refcount_bits=8 refcount_bits=64 \
        lazy_refcounts=on preallocation=metadata; do
        [ -z "$TEST_QUICK" ] || [ "$cluster" = 4k ] || [ "$options" = compat=1.1 ] || continue
        qemu-img create -q -f qcow2 -o "cluster_size=$cluster,$options" image.qcow2 3000k
        fill image.qcow2
        agree image.qcow2
    done
done

# many L2 tables and refcount blocks, out of order
qemu-img create -q -f qcow2 -o cluster_size=512 many.qcow2 64M
for at in 40 8 33 0 60 17; do
    qemu-io -f qcow2 -c "write -P $at ${at}M 700k" many.qcow2 >io.out
done
agree many.qcow2

noise 1 300000 >noise.raw
text 7 600000 >>noise.raw
truncate -s 2M noise.raw
for cluster in 512 4k 64k 2M; do
    qemu-img convert -c -O qcow2 -o "cluster_size=$cluster" noise.raw compressed.qcow2
    agree compressed.qcow2
    qemu-io -f qcow2 -c 'write -P 3 4k 9k' compressed.qcow2 >io.out
    agree compressed.qcow2
done

qemu-img create -q -f qcow2 huge.qcow2 64T
agree huge.qcow2
qemu-img create -q -f qcow2 nothing.qcow2 0
agree nothing.qcow2
qemu-img create -q -f qcow2 -o cluster_size=4k short.qcow2 10000
fill short.qcow2 || true
agree short.qcow2

# qemu-img opens the backing file for a check, byre does not
qemu-img create -q -f raw base.raw 1M
qemu-img create -q -f qcow2 -b base.raw -F raw overlay.qcow2
qemu-io -f qcow2 -c 'write 0 64k' overlay.qcow2 >io.out
agree overlay.qcow2
rm base.raw
run_ok "$BYRE" check -q overlay.qcow2
