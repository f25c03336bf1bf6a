#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Files that end too early: in the header it is an error, in the tables and the data it is what qemu-img makes
# of it.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/bad/bad.bash
. "$TEST_TOP/tests/bad/bad.bash"

make_good good.qcow2
end=$(file_size good.qcow2)

# Nothing that could be a header: an empty file, half a magic.
for length in 0 3 8 40 71; do
    head -c "$length" good.qcow2 >bad.qcow2
    every_verb_refuses 'bad.qcow2' bad.qcow2 -f qcow2
done

# The header is there, and the tables are not.
for length in 112 4096 8192 12288 16384 20480 $((end / 2)) $((end - 4096)); do
    head -c "$length" good.qcow2 >bad.qcow2
    same_code info bad.qcow2
    same_code check bad.qcow2
    same_code map bad.qcow2
    same_code compare bad.qcow2 good.raw
    same_code convert -O raw bad.qcow2 out.raw
done

# What is gone reads as zeros, as it does for qemu-img.
head -c $((end - 8192)) good.qcow2 >bad.qcow2
if bounded qemu-img convert -O raw bad.qcow2 wanted.raw 2>/dev/null; then
    run_ok "$BYRE" convert -O raw bad.qcow2 found.raw
    assert_same_file wanted.raw found.raw
fi
