#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A file system that fills up: one clear line, the verb's exit code, and nothing left that looks like an image.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/bad/bad.bash
. "$TEST_TOP/tests/bad/bad.bash"

# Somebody who is not root is root in a name space of his own, where he may mount.
self=$TEST_TOP/tests/bad/${0##*/}
if [ -z "${BYRE_TEST_INSIDE:-}" ]; then
    if ! unshare -m --propagation unchanged true 2>/dev/null; then
        unshare -Urm true 2>/dev/null || skip 'no right to mount a file system'
        BYRE_TEST_INSIDE=yes TMPDIR=$TEST_DIR unshare -Urm "$self"
        exit 0
    fi
    BYRE_TEST_INSIDE=yes TMPDIR=$TEST_DIR unshare -m --propagation unchanged "$self"
    exit 0
fi

mkdir small
mount -t tmpfs -o size=16M tmpfs small
head -c 15M /dev/zero >small/ballast
clean_up umount "$TEST_DIR/small"

noise 1 3000000 >source.raw
truncate -s 8M source.raw

# full CODE FILE COMMAND...: it fails for want of room, and FILE is not there.
full() {
    local code=$1 file=$2
    shift 2
    run_fails "$code" 'No space left on device' bounded "$@"
    assert_match "$file" "$ERR"
    assert_missing "$file"
}

full 1 small/x.qcow2 "$BYRE" convert -f raw -O qcow2 source.raw small/x.qcow2
full 1 small/x.qcow2 "$BYRE" convert -c -f raw -O qcow2 source.raw small/x.qcow2
full 1 small/x.qcow2 "$BYRE" convert -f raw -O qcow2 -o cluster_size=512 source.raw small/x.qcow2
full 1 small/x.raw "$BYRE" convert -f raw -O raw source.raw small/x.raw
full 1 small/x.qcow2 "$BYRE" create -q -f qcow2 -o preallocation=full small/x.qcow2 8M
full 1 small/x.qcow2 "$BYRE" create -q -f qcow2 -o preallocation=falloc small/x.qcow2 8M
full 1 small/x.raw "$BYRE" create -q -f raw -o preallocation=falloc small/x.raw 8M

# What was there before, and was to be written into, stays: it is not byre's to remove.
qemu-img create -q -f qcow2 small/kept.qcow2 8M
run_fails 1 'No space left on device' bounded "$BYRE" convert -n -f raw -O qcow2 source.raw small/kept.qcow2
qemu-img check -q -f qcow2 small/kept.qcow2 || assert_equal 3 $? 'only leaked clusters may be left'

# With the room given back the same image can be filled.
rm small/ballast
run_ok "$BYRE" convert -n -f raw -O qcow2 source.raw small/kept.qcow2
assert_same_disk -f raw -F qcow2 source.raw small/kept.qcow2
