#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Versions: what byre amends, qemu-img checks and reads, the disk and its snapshots, and what qemu-img amends, byre does.
. "$(dirname "$0")/../lib.sh"
slow

qemu-img create -q -f raw base.raw 8M
qemu-io -f raw -c 'write -q -P 9 0 8M' base.raw

# read_all NAME: what the disk and the snapshot hold, as NAME.disk and NAME.snapshot.
read_all() {
    qemu-img convert -O raw image.qcow2 "$1.disk"
    qemu-img convert -O raw -l one image.qcow2 "$1.snapshot"
}

# agrees: both find the image sound, and what it holds unchanged.
agrees() {
    run_ok qemu-img check -q image.qcow2
    run_ok "$BYRE" check -q image.qcow2
    read_all now
    cmp -s before.disk now.disk || fail "the disk has changed: $*"
    cmp -s before.snapshot now.snapshot || fail "the snapshot has changed: $*"
    run_ok "$BYRE" compare -q image.qcow2 before.disk
    run_ok "$BYRE" convert -O raw -l one image.qcow2 now.snapshot
    cmp -s before.snapshot now.snapshot || fail "byre reads another snapshot: $*"
}

for clusters in 512 64k; do
    for backing in '' '-b base.raw -F raw'; do
        # shellcheck disable=SC2086 # several words
        qemu-img create -q -f qcow2 -o cluster_size=$clusters $backing image.qcow2 8M
        # Zero with and without a place, shared and not; data under the snapshot's zeros and the other way round.
        qemu-io -c 'write -q -P 1 0 1M' -c 'write -q -z 0 300k' -c 'write -q -z -u 2M 2M' -c 'write -q -P 3 4M 1M' \
            -c 'write -q -c -P 4 6M 64k' image.qcow2
        qemu-img snapshot -c one image.qcow2
        qemu-io -c 'write -q -z 4M 500k' -c 'write -q -P 8 2M 100k' -c 'write -q -z 6M 64k' image.qcow2
        read_all before
        size=$(stat -c %s image.qcow2)
        run_ok "$BYRE" amend -o compat=0.10 image.qcow2
        assert_equal 2 "$(get_be32 image.qcow2 4)" 'version'
        agrees "to version 2, clusters of $clusters, $backing"
        [ "$(stat -c %s image.qcow2)" -lt $((size + 200000)) ] || fail "the file has grown from $size"
        run_ok "$BYRE" amend -o compat=1.1 image.qcow2
        agrees "to version 3, clusters of $clusters, $backing"
        for file in image.qcow2 before.disk; do
            format=qcow2
            [ $file = image.qcow2 ] || format=raw
            qemu-io -f $format -c 'write -q -P 5 100k 2M' -c 'write -q -z 5M 1M' $file
        done
        agrees 'after writes'
        qemu-img amend -o compat=0.10 image.qcow2
        agrees 'to version 2 by qemu-img'
        run_ok "$BYRE" amend -o compat=v3,refcount_bits=32 image.qcow2
        agrees 'to version 3 again'
    done
done

# An entry of the snapshot table that says nothing of sizes, which version 3 demands.
qemu-img create -q -f qcow2 -o compat=v2 image.qcow2 8M
qemu-io -c 'write -q -P 1 0 1M' image.qcow2
qemu-img snapshot -c one image.qcow2
read_all before
table=$(get_be64 image.qcow2 64)
extra=$(get_be32 image.qcow2 $((table + 36)))
[ "$extra" -ge 16 ] || fail "qemu-img has written $extra bytes of extra data"
dd if=image.qcow2 of=rest bs=1 skip=$((table + 40 + extra)) count=100 status=none
dd if=rest of=image.qcow2 bs=1 seek=$((table + 40)) conv=notrunc status=none
put_be32 image.qcow2 $((table + 36)) 0
run_ok qemu-img check -q image.qcow2
# And bit 0 of an L2 entry, which means nothing yet.
l2=$(($(get_be64 image.qcow2 "$(get_be64 image.qcow2 40)") & 0xfffffffffffe00))
put_be64 image.qcow2 "$l2" $(($(get_be64 image.qcow2 "$l2") | 1))
run_ok "$BYRE" amend -o compat=1.1 image.qcow2
assert_equal 16 "$(get_be32 image.qcow2 $(($(get_be64 image.qcow2 64) + 36)))" 'extra data'
agrees 'to version 3 with sizes'
