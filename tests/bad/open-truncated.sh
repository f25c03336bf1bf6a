#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Files that end too early.  Without a header, or without the tables that the header names, they are refused (where
# qemu-img takes a missing L1 table for zeros); L2 tables and data that are missing are what qemu-img makes of them.
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

# The header is there, and the tables that it names are not.
for length in 112 4096 8192 12288; do
    head -c "$length" good.qcow2 >bad.qcow2
    same_code info bad.qcow2
    same_code check bad.qcow2
    verb_refuses 1 'beyond the end of the file' bad.qcow2 map bad.qcow2
    verb_refuses 2 'beyond the end of the file' bad.qcow2 compare bad.qcow2 good.raw
    verb_refuses 1 'beyond the end of the file' bad.qcow2 convert -O raw bad.qcow2 out.raw
    assert_missing out.raw
done

# Those are there, and others are not.
for length in 16384 20480 $((end / 2)) $((end - 4096)); do
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
