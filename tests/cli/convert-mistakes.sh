#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# convert refuses what qemu-img refuses, in its words, and leaves no new file behind.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

qemu-img create -q -f qcow2 base.qcow2 10M
qemu-io -c 'write 0 1M' base.qcow2 >io.out
qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 top.qcow2
qemu-img create -q -f qcow2 small.qcow2 5M
qemu-img create -q -f qcow2 -u -F raw -b missing missing-backing.qcow2 1M
truncate -s 5M small.raw
truncate -s 10M plain.raw

# shellcheck disable=SC2034 # side_by_side.sh uses it
MADE=(x)

refused() {
    same_fails 1 convert "$@"
    assert_missing x
}

refused a
refused -O qcow2 nofile x
refused -O qcow2 base.qcow2 nofile x
refused -f nope base.qcow2 x
refused -f qcow2 plain.raw x
refused -O nope base.qcow2 x
refused -O nope nofile x
refused -O nope -o help
refused -O qcow2 missing-backing.qcow2 x
refused -m 0 base.qcow2 x
refused -m 17 base.qcow2 x
refused -m x base.qcow2 x
refused -S x base.qcow2 x
refused -S 100 base.qcow2 x
refused -S 3G base.qcow2 x
refused -S 9E base.qcow2 x
refused -T foo base.qcow2 x
refused -t foo base.qcow2 x
refused -O qcow2 -o '' base.qcow2 x
refused -O qcow2 -o bogus=1 base.qcow2 x
refused -O qcow2 -o cluster_size=x base.qcow2 x
refused -O qcow2 -o cluster_size=3 base.qcow2 x
refused -O qcow2 -o compat=foo base.qcow2 x
refused -O raw -o preallocation=metadata base.qcow2 x
refused -c -O raw base.qcow2 x
refused -c -O qcow2 -o preallocation=metadata base.qcow2 x
refused --target-is-zero -O qcow2 base.qcow2 x
refused -n -o cluster_size=4k -O qcow2 base.qcow2 small.qcow2
refused -n -O raw base.qcow2 x
refused -n -O raw base.qcow2 small.raw
refused -n -O qcow2 base.qcow2 small.qcow2
refused -n -O qcow2 base.qcow2 plain.raw
refused -B base.qcow2 -O qcow2 top.qcow2 x
refused -o backing_file=base.qcow2 -O qcow2 top.qcow2 x
refused -F qcow2 -O qcow2 top.qcow2 x
refused -F raw -O raw top.qcow2 x
refused -B base.qcow2 -F qcow2 -O raw top.qcow2 x
refused -B base.qcow2 -F qcow2 -O qcow2 top.qcow2 base.qcow2 x
refused base.qcow2 nodir/x
refused -O qcow2 base.qcow2 nodir/x
refused base.qcow2 .
refused base.qcow2 ''

run_fails 1 "^byre: .*Could not open 'missing'" "$BYRE" convert -B missing -F raw -O qcow2 top.qcow2 x
assert_missing x
qemu-img create -q -f qcow2 there.qcow2 10M
run_fails 1 '^byre: Cannot use --target-is-zero when the destination image has a backing file$' \
    "$BYRE" convert -n --target-is-zero -B base.qcow2 -F qcow2 -O qcow2 top.qcow2 there.qcow2

# an image that was there before, and the sources, stay as they were
cp base.qcow2 before
same_fails 1 convert base.qcow2 base.qcow2
assert_same_file before base.qcow2
run_fails 1 'smaller than input' "$BYRE" convert -n -O raw base.qcow2 small.raw
assert_equal 5242880 "$(file_size small.raw)"
