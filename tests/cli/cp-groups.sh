#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# byre cp from ext4 file systems with more groups than one block has descriptors for, with and without clusters.
. "$(dirname "$0")/../lib.sh"

has EXT2FS || skip 'built without libext2fs'
mkdir tree
for ((i = 0; i < 600; i++)); do
    echo "file $i" >"tree/f$i"
done
for options in '-b 1024 -C 16384 -O bigalloc,^metadata_csum' '-b 1024 -C 16384 -O bigalloc,metadata_csum' \
    '-b 1024 -O meta_bg,^resize_inode' '-b 1024 -O ^64bit'; do
    truncate -s 4G disk.raw
    # shellcheck disable=SC2086 # words
    mke2fs -q -F -t ext4 $options -E lazy_itable_init=1 -J size=4 -N 1024 -d tree disk.raw 2>mke2fs.log ||
        { cat mke2fs.log; fail "mke2fs $options"; }
    run_ok "$BYRE" cp -f raw -r disk.raw / copy
    rmdir copy/lost+found
    diff -r tree copy || fail "$options: files differ"
    rm -r copy disk.raw
done
