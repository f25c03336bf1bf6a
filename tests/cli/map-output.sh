#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# map prints what qemu-img prints, as text and as JSON.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

qemu-img create -q -f qcow2 base.qcow2 10M
qemu-io -c 'write 0 1M' -c 'write 3M 64k' base.qcow2 >io.out
qemu-img create -q -f qcow2 kinds.qcow2 1G
qemu-io -c 'write 0 128k' -c 'write -z 1M 64k' -c 'write -c 2M 128k' -c 'write 2240k 64k' -c 'write 3M 64k' \
    -c 'write -z 3M 64k' kinds.qcow2 >io.out
qemu-img create -q -f qcow2 -F qcow2 -b kinds.qcow2 overlay.qcow2 2G
qemu-io -c 'write 64k 64k' -c 'write -z 5M 64k' -c 'discard 0 64k' overlay.qcow2 >io.out
qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 plain-overlay.qcow2
qemu-io -c 'write 2M 64k' plain-overlay.qcow2 >io.out
# sizes that change along the chain
qemu-img create -q -f qcow2 step0.qcow2 1M
qemu-img create -q -f qcow2 -F qcow2 -b step0.qcow2 step1.qcow2 2M
qemu-img create -q -f qcow2 -F qcow2 -b step1.qcow2 step2.qcow2 4M
qemu-img create -q -f qcow2 -F qcow2 -b step2.qcow2 step3.qcow2 3M
truncate -s 1M holes.raw
noise 3 65536 | put_file holes.raw 131072
qemu-img create -q -f qcow2 -F raw -b holes.raw on-raw.qcow2 2M
qemu-img create -q -f qcow2 -o preallocation=metadata preallocated.qcow2 1M
truncate -s 1000 odd.raw
: >empty.raw

for image in *.qcow2; do
    same map "$image"
    same_ok map --output=json "$image"
done
for image in *.raw; do
    same_ok map -f raw "$image"
    same_ok map --format raw --output=json "$image"
done
same_fails 1 map kinds.qcow2 # compressed clusters have no place
for range in '64k 128k' '1000 5000' '10M 1' '20M 1' '0 0' '1M 7E'; do
    read -r start length <<<"$range"
    same_ok map -s "$start" -l "$length" base.qcow2
    same_ok map --start-offset="$start" --max-length="$length" --output=json base.qcow2
done
same_ok map -U --output=human base.qcow2
same_ok map --force-share base.qcow2
same_fails 1 map -s x base.qcow2
same_fails 1 map -l x base.qcow2
same_fails 1 map -s -1 base.qcow2
same_fails 1 map -s 9E base.qcow2
same_fails 1 map -f qcow2 holes.raw
qemu-img create -q -f qcow2 -u -F raw -b missing missing-backing.qcow2 1M
same_fails 1 map missing-backing.qcow2

# where qemu-img does not end
qemu-img create -q -f qcow2 -u -F qcow2 -b loop-b.qcow2 loop-a.qcow2 1M
qemu-img create -q -f qcow2 -u -F qcow2 -b loop-a.qcow2 loop-b.qcow2 1M
run_fails 1 'loop' "$BYRE" map loop-a.qcow2
