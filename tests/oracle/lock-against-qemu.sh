#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# While QEMU has an image open for writing, byre neither writes nor checks it, and reads it only where told to
# share; while byre writes, QEMU keeps out.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/hold.bash"

text 1 3000000 >small.raw

qemu-img create -q -f qcow2 image 4M
hold -f qcow2 image
run_fails 1 'Failed to get .* lock' "$BYRE" convert -n -f raw -O qcow2 small.raw image
run_fails 1 'Failed to get .* lock' "$BYRE" convert -f raw -O qcow2 small.raw image
run_fails 1 'Failed to get .* lock' "$BYRE" convert -f qcow2 -O raw image out.raw
assert_missing out.raw
run_fails 2 'Failed to get .* lock' "$BYRE" compare -f qcow2 -F qcow2 image image
run_fails 1 'Failed to get .* lock' "$BYRE" map -f qcow2 image
run_fails 1 'Failed to get .* lock' "$BYRE" create -q -f qcow2 image 8M
run_fails 1 'Failed to get .* lock' "$BYRE" info -f qcow2 image
run_fails 1 'Failed to get .* lock' "$BYRE" check image
run_fails 1 'Failed to get .* lock' "$BYRE" check -r all image
run_ok "$BYRE" info -U -f qcow2 image
run_ok "$BYRE" map -U -f qcow2 image
run_ok "$BYRE" convert -U -f qcow2 -O raw image out.raw
run_ok "$BYRE" compare -U -f qcow2 -F raw image out.raw
release
run_ok "$BYRE" convert -n -f raw -O qcow2 small.raw image

# a reader holds up no readers
hold -r -f qcow2 image
run_ok "$BYRE" info -f qcow2 image
run_ok "$BYRE" compare -f qcow2 -F qcow2 image image
release

# byre at work, stopped as soon as it has its locks
text 1 60000000 >large.raw
"$BYRE" convert -q -m 1 -c -f raw -O qcow2 -o cluster_size=4k large.raw slow.qcow2 &
worker=$!
is_locked_or_over() {
    ! kill -0 "$worker" 2>/dev/null || { [ -e slow.qcow2 ] && grep -q ":$(stat -c %i slow.qcow2) " /proc/locks; }
}
await is_locked_or_over
kill -0 "$worker" || fail 'byre was through before anybody looked'
kill -STOP "$worker"
clean_up kill -KILL "$worker"
run_fails 1 'Failed to get .* lock' qemu-img convert -n -f raw -O raw small.raw slow.qcow2
run_fails 1 'Failed to get .* lock' "$BYRE" convert -n -f raw -O raw small.raw slow.qcow2
