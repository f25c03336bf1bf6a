#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# info prints what qemu-img prints, as text and as JSON.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"
slow

qemu-img create -q -f qcow2 base.qcow2 10M
qemu-io -c 'write 0 1M' base.qcow2 >io.out
qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=4k v2.qcow2 1G
qemu-img create -q -f qcow2 -o lazy_refcounts=on,refcount_bits=1,compression_type=zstd features.qcow2 3T
qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 overlay.qcow2
mkdir sub
qemu-img create -q -f qcow2 -F qcow2 -b ../overlay.qcow2 sub/top.qcow2
qemu-img create -q -f qcow2 -u -F raw -b missing missing-backing.qcow2 1M
qemu-img create -q -f qcow2 -u -F raw -b 'odd "name" \ with,comma' odd-backing.qcow2 1M
cp base.qcow2 snapshots.qcow2
qemu-img snapshot -c first snapshots.qcow2
qemu-img snapshot -c 'a name that is longer than its column' snapshots.qcow2
cp base.qcow2 bitmaps.qcow2
qemu-img bitmap --add bitmaps.qcow2 b0
qemu-img bitmap --add --disable -g 4k bitmaps.qcow2 b1
qemu-img create -q -f qcow2 -o data_file=data.raw,data_file_raw=on data-file.qcow2 1M
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k extended.qcow2 1M
cp features.qcow2 dirty.qcow2
put_bytes dirty.qcow2 79 09 # incompatible_features: dirty, compression type
cp base.qcow2 corrupt.qcow2
put_bytes corrupt.qcow2 79 02
truncate -s 1000 odd.raw
: >empty.raw
noise 1 100000 >noise.raw

for image in *.qcow2 sub/top.qcow2 *.raw; do
    same_ok info "$image"
    same_ok info --output=json "$image"
    same_ok info --output=human -U "$image"
    same_ok info --force-share --output json "$image"
    same_ok info -f raw "$image"
    same_ok info --format raw "$image"
done
TZ=Asia/Tokyo same_ok info snapshots.qcow2

same_ok info --backing-chain sub/top.qcow2
assert_equal 3 "$(grep -c '^image: ' <<<"$OUT")"
same_ok info --backing-chain --output=json sub/top.qcow2
same_ok info --backing-chain --output=json base.qcow2
same_fails 1 info --backing-chain missing-backing.qcow2
same_fails 1 info -f qcow2 noise.raw
same_fails 1 info -f nope noise.raw
same_fails 1 info .

# the size on the disk, while nothing changes it
noise 2 300000 >written.raw
sync written.raw
for ((tries = 0; tries < 100; tries++)); do
    before=$(stat -c %b written.raw)
    run_ok "$BYRE" info --output=json written.raw
    if [ "$before" = "$(stat -c %b written.raw)" ]; then
        break
    fi
done
assert_match "\"actual-size\": $((before * 512))[,[:space:]]" "$OUT"
assert_match '"virtual-size": 300032,' "$OUT"

# a name that is no UTF-8
bad_name=$(printf 'a\377b.raw')
cp odd.raw "$bad_name"
same_ok info "$bad_name"
same_ok info --output=json "$bad_name"

# a loop of backing files
qemu-img create -q -f qcow2 -u -F qcow2 -b loop-b.qcow2 loop-a.qcow2 1M
qemu-img create -q -f qcow2 -u -F qcow2 -b loop-a.qcow2 loop-b.qcow2 1M
same_ok info loop-a.qcow2
same_fails 1 info --backing-chain loop-a.qcow2
