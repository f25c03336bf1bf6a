#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# convert --bitmaps copies bitmaps as qemu-img does, and says the same.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

qemu-img create -q -f qcow2 source.qcow2 4M
qemu-img bitmap --add -g 512 source.qcow2 fine
qemu-img bitmap --add source.qcow2 coarse
qemu_io -c 'write -q 64k 300k' -c 'write -q 3M 1k' source.qcow2
qemu-img bitmap --disable source.qcow2 fine
qemu_io -c 'write -q 2M 10k' source.qcow2
qemu-img create -q -f qcow2 none.qcow2 4M
qemu-img create -q -f qcow2 -o compat=0.10 old.qcow2 4M
truncate -s 4M plain.raw
cp source.qcow2 broken.qcow2
directory=$(get_be64 broken.qcow2 528)
put_be32 broken.qcow2 $((directory + 12)) 3

# same_target OPTION... SOURCE: the images are the same to qemu-img, bitmaps included.
same_target() {
    local name
    rm -f x
    run_ok "$THEIRS" convert "$@" x
    "$THEIRS" info x | grep -v '^disk size' >wanted
    for name in fine coarse; do
        bits x $name
    done >>wanted
    rm -f x
    run_ok "$OURS" convert "$@" x
    "$THEIRS" info x | grep -v '^disk size' >found
    for name in fine coarse; do
        bits x $name
    done >>found
    assert_same_file wanted found
    assert_clean x
}

# bits IMAGE BITMAP: its contents, merged by qemu-img into one of a known place.
bits() {
    "$THEIRS" create -q -f qcow2 seen.qcow2 4M
    "$THEIRS" bitmap --add --merge "$2" -g 512 -b "$1" -F qcow2 seen.qcow2 seen
    get_hex seen.qcow2 "$(get_be64 seen.qcow2 "$(get_be64 seen.qcow2 "$(get_be64 seen.qcow2 528)")")" 1024
}

same_target --bitmaps -O qcow2 source.qcow2
same_target --bitmaps -c -O qcow2 -o cluster_size=4k source.qcow2
same_target --bitmaps -O qcow2 -o cluster_size=512,refcount_bits=1 --image-opts driver=qcow2,file.filename=source.qcow2
qemu-img create -q -f qcow2 -b source.qcow2 -F qcow2 top.qcow2
run_ok "$OURS" convert --bitmaps -O qcow2 top.qcow2 y
run_ok "$THEIRS" info y
[[ $OUT != *name:* ]] || fail 'bitmaps of the backing file came along'

# into an image that is there
qemu-img create -q -f qcow2 target.qcow2 4M
qemu-img bitmap --add target.qcow2 own
run_ok "$OURS" convert -n --bitmaps -O qcow2 source.qcow2 target.qcow2
assert_equal 3 "$("$THEIRS" info target.qcow2 | grep -c name:)" 'bitmaps'
assert_clean target.qcow2
same_fails 1 convert -n --bitmaps -O qcow2 source.qcow2 target.qcow2
run_fails 1 'Bitmap already exists: coarse' "$OURS" convert -n --bitmaps -O qcow2 source.qcow2 target.qcow2

# shellcheck disable=SC2034 # side_by_side.sh uses it
MADE=(x)
refused() {
    same_fails 1 convert "$@"
    assert_missing x
}
refused --skip-broken-bitmaps -O qcow2 source.qcow2 x
refused --skip-broken-bitmaps --target-is-zero -O qcow2 source.qcow2 x
refused --skip-broken-bitmaps -O qcow2
refused --bitmaps -O qcow2 source.qcow2 source.qcow2 x
refused --bitmaps -O qcow2 old.qcow2 x
refused --bitmaps -f raw -O qcow2 plain.raw x
refused --bitmaps -O raw source.qcow2 x
refused --bitmaps -O qcow2 -o compat=0.10 source.qcow2 x
refused --bitmaps -O qcow2 broken.qcow2 x
refused --bitmaps -c -O raw source.qcow2 x
qemu-img create -q -f qcow2 larger.qcow2 5M
same_fails 1 convert -n --bitmaps -O qcow2 source.qcow2 larger.qcow2
same_fails 0 convert --bitmaps --skip-broken-bitmaps -O qcow2 broken.qcow2 x
assert_equal 1 "$("$THEIRS" info x | grep -c name:)" 'bitmaps that were not left out'
rm x
same_fails 0 convert --bitmaps -O qcow2 none.qcow2 x
