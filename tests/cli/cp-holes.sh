#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# byre cp of a file whose holes are described at such length that no single search goes over them.
. "$(dirname "$0")/../lib.sh"

has EXT2FS || skip 'built without libext2fs'

# put_list BLOCK NUMBER: a list of blocks that are all this one.
put_list() {
    local bytes
    printf -v bytes '\\x%02x\\x%02x\\x%02x\\x%02x' $(($2 & 255)) $(($2 >> 8 & 255)) $(($2 >> 16 & 255)) $(($2 >> 24))
    # shellcheck disable=SC2059
    printf "$bytes%.0s" {1..1024} | put_file disk.raw $(($1 * 4096))
}

# Three steps of lists of 1024 blocks each: a thousand million blocks, the last of which is there.
mkdir tree
printf 'begin' >tree/file
mke2fs -q -t ext2 -b 4096 -d tree disk.raw 24M
put_list 1000 1001
put_list 1001 1002
put_list 1002 0
put_list 1003 1002
put_list 1004 0
put_bytes disk.raw $((1000 * 4096 + 4092)) eb030000
put_bytes disk.raw $((1003 * 4096 + 4092)) ec030000
put_bytes disk.raw $((1004 * 4096 + 4092)) ed030000
printf 'end' | put_file disk.raw $((1005 * 4096))
size=$(((12 + 1024 + 1024 * 1024 + 1024 * 1024 * 1024) * 4096))
debugfs -w -R "sif file size $size" disk.raw 2>debugfs.log
debugfs -w -R 'sif file block[TIND] 1000' disk.raw 2>debugfs.log

run_ok "$BYRE" cp disk.raw file copy
assert_equal "$size" "$(stat -c %s copy)"
assert_equal begin "$(head -c 5 copy)"
assert_equal end "$(dd if=copy bs=4096 skip=$((size / 4096 - 1)) status=none | tr -d '\0')"
assert_at_most 64 "$(stat -c %b copy)" 'blocks of the copy'
