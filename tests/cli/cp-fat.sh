#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# byre cp out of FAT file systems: contents, long names, times, and what FAT does not have.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/file_tree.sh"

mkdir -p tree/dir/sub tree/empty
echo hello >tree/hello
text 1 1000000 >"tree/dir/A Long Name With Spaces.text"
noise 1 70000 >tree/dir/sub/noise.bin
: >tree/dir/nothing
for ((i = 0; i < 100; i++)); do
    echo "$i" >"tree/dir/file number $i"
done
find tree -exec touch -d '2001-02-03 04:05:06 UTC' {} +
export TZ=UTC
for size in 3M 20M 80M; do # FAT12, FAT16, FAT32
    rm -rf out part.raw
    truncate -s "$size" part.raw
    put_fat part.raw 0 "$size" tree/hello tree/dir tree/empty
    mkdir out
    run_ok "$BYRE" cp -a -f raw part.raw / out
    same_contents tree out
    [ -d out/empty ] || fail 'the empty directory is missing'
    assert_equal 981173106 "$(stat -c %Y out/dir/sub/noise.bin)" 'the time'
    run_ok "$BYRE" cp -f raw part.raw 'DIR/a long name with spaces.TEXT' /dir/sub/noise.bin out
    assert_same_file "tree/dir/A Long Name With Spaces.text" 'out/a long name with spaces.TEXT'
    "$BYRE" cp -f raw part.raw dir/nothing dir/sub/noise.bin - | cmp - tree/dir/sub/noise.bin
done
