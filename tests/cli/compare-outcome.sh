#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# compare says and exits as qemu-img does.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

qemu-img create -q -f qcow2 a.qcow2 10M
qemu-io -c 'write 0 1M' -c 'write 3M 64k' a.qcow2 >io.out
qemu-img convert -O raw a.qcow2 a.raw
cp a.raw other.raw
put_bytes other.raw 3145800 58
cp a.raw longer.raw
truncate -s 12M longer.raw
cp longer.raw longer-data.raw
put_bytes longer-data.raw 11000000 58
cp other.raw longer-other.raw
truncate -s 12M longer-other.raw

same_ok compare a.qcow2 a.qcow2
same_ok compare a.qcow2 a.raw
same_ok compare -q a.qcow2 a.raw
same_ok compare -U a.qcow2 a.raw
same_ok compare --force-share a.qcow2 a.raw
same_ok compare -f qcow2 -F raw -T none a.qcow2 a.raw
same_ok compare -f raw -F raw a.qcow2 a.qcow2
same_ok compare a.raw longer.raw
same_ok compare longer.raw a.raw
same_ok compare -q longer.raw a.raw
same_fails 1 compare -s longer.raw a.raw
same_fails 1 compare -s -q longer.raw a.raw
same_fails 1 compare a.qcow2 other.raw
same_fails 1 compare -q a.qcow2 other.raw
same_fails 1 compare a.raw longer-data.raw
same_fails 1 compare longer-data.raw a.raw
same_fails 1 compare -q longer-data.raw a.raw
same_fails 1 compare longer-other.raw a.raw # the sizes do not matter any more
same_fails 1 compare -s a.qcow2 a.raw
same_fails 2 compare nofile a.raw
same_fails 2 compare a.raw nofile
same_fails 2 compare -f qcow2 a.raw a.raw
same_fails 2 compare -F qcow2 a.raw a.raw
same_fails 2 compare -f nope a.raw a.raw
same_fails 2 compare -F nope a.raw a.raw
same_fails 2 compare -T foo a.raw a.raw
same_ok compare -p -q a.qcow2 a.raw

# -p: percentages on standard output, each behind a carriage return
run "$BYRE" compare -p a.qcow2 a.raw
assert_equal 0 "$CODE"
assert_match '^    \(0\.00/100%\)' "$OUT"
assert_match '\(100\.00/100%\)' "$OUT"
assert_match 'Images are identical\.' "$OUT"

# an L2 table that is no table, and data behind the end of the file
cp a.qcow2 bad-map.qcow2
put_be64 bad-map.qcow2 0x30000 0x8000000000000200
run qemu-img compare -q bad-map.qcow2 a.raw
assert_equal 3 "$CODE"
run_fails 3 "Sector allocation test failed for bad-map.qcow2: .*L2 table offset 0x200 unaligned" \
    "$BYRE" compare -q bad-map.qcow2 a.raw
