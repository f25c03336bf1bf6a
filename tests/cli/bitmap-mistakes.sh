#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# bitmap does what qemu-img does, refuses what qemu-img refuses, in its words, and changes nothing then.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

qemu-img create -q -f qcow2 image.qcow2 1M
qemu-img bitmap --add image.qcow2 x
qemu-img bitmap --add --disable image.qcow2 y
qemu-img create -q -f qcow2 long.qcow2 2M
qemu-img bitmap --add long.qcow2 x
qemu-img create -q -f qcow2 -o compat=0.10 old.qcow2 1M
truncate -s 1M plain.raw
cp image.qcow2 before.qcow2

# qemu-img moves all bitmaps whenever it has opened an image.
restore() {
    cp before.qcow2 image.qcow2
}

refused() {
    AFTER_THEIRS=restore
    same_fails 1 bitmap "$@"
    AFTER_THEIRS=:
    assert_same_file before.qcow2 image.qcow2
}

refused
refused image.qcow2
refused --object secret,id=x --add image.qcow2 z
refused image.qcow2 x
refused --add image.qcow2
refused --add image.qcow2 x y
refused --add image.qcow2 x
refused --add --bogus image.qcow2 z
refused --add -q image.qcow2 z
refused --add -g
refused --merge
refused --clear -g 512
refused --clear -g 512 -b long.qcow2 image.qcow2 x
refused --clear -b long.qcow2 image.qcow2 x
refused --clear -F qcow2 image.qcow2 x
refused --merge x -F qcow2 image.qcow2 x
refused --clear -f qcow2 --image-opts
refused --clear -f qcow2 --image-opts driver=qcow2,file.filename=image.qcow2 x
for action in --remove --clear --enable --disable '--merge x'; do
    # shellcheck disable=SC2086
    refused $action image.qcow2 nope
    # shellcheck disable=SC2086
    refused $action -f raw plain.raw nope
done
refused --merge nope image.qcow2 x
refused --merge x -b nofile image.qcow2 x
refused --merge x -b long.qcow2 -F nope image.qcow2 x
refused --merge x -b plain.raw -F raw image.qcow2 x
refused --merge x -b long.qcow2 image.qcow2 x
for granularity in 1 256 300 511 4G 3M x -5 8E 1.5k; do
    refused --add -g $granularity image.qcow2 z
done
refused --add image.qcow2 ''
refused --add nofile z
refused --add -f nope image.qcow2 z

# these name the image as qemu numbers it
run_fails 1 'Operation add on bitmap z failed: .*plain.raw.*not supported' "$BYRE" bitmap --add -f raw plain.raw z
run_fails 1 "Can't make bitmap 'z' persistent in 'old.qcow2': Cannot store dirty bitmaps in qcow2 v2 files" \
    "$BYRE" bitmap --add old.qcow2 z
long=$(printf '%01024d' 0)
run_fails 1 'Name length exceeds maximum \(1023 characters\)' "$BYRE" bitmap --add image.qcow2 "$long"
qemu-img create -q -f qcow2 huge.qcow2 64T
run_fails 1 'Too much space will be occupied by the bitmap. Use larger granularity' \
    "$BYRE" bitmap --add -g 8k huge.qcow2 z
run_ok "$BYRE" bitmap --add -g 16k huge.qcow2 z
qemu-img create -q -f qcow2 empty.qcow2 0
run_fails 1 'has no size' "$BYRE" bitmap --add empty.qcow2 z
# one action fails: what was done before stays
run_fails 1 "Operation merge on bitmap z failed: Dirty bitmap 'nope' not found" \
    "$BYRE" bitmap --add --merge nope image.qcow2 z
same info image.qcow2

# what is done, and what info then says, is the same
twins() {
    cp before.qcow2 image.qcow2
    run_ok "$THEIRS" "$@"
    "$THEIRS" info image.qcow2 | grep -v '^disk size' >wanted
    cp before.qcow2 image.qcow2
    run_ok "$OURS" "$@"
    "$THEIRS" info image.qcow2 | grep -v '^disk size' >found
    assert_same_file wanted found
    assert_clean image.qcow2
}
twins bitmap --add image.qcow2 z
twins bitmap --add -g 512 --disable image.qcow2 z
twins bitmap --add -g 2G image.qcow2 z
twins bitmap --add -g 0 image.qcow2 z
twins bitmap --add --image-opts driver=qcow2,file.filename=image.qcow2 "${long:1}"
twins bitmap --remove -f qcow2 image.qcow2 x
twins bitmap --add --remove --add --disable --enable --clear image.qcow2 z
twins bitmap --disable --merge y image.qcow2 x
twins bitmap --enable --merge x -b before.qcow2 -F qcow2 image.qcow2 y
for size in 512 4k 16k 128k 2M; do
    run_ok "$BYRE" create -q -f qcow2 -o cluster_size=$size sized.qcow2 16M
    cp sized.qcow2 sized2.qcow2
    run_ok "$BYRE" bitmap --add sized.qcow2 b
    run_ok qemu-img bitmap --add sized2.qcow2 b
    assert_equal "$(qemu-img info sized2.qcow2 | grep granularity)" "$(qemu-img info sized.qcow2 | grep granularity)"
done

# a bitmap that was not stored can only be removed
cp before.qcow2 image.qcow2
directory=$(get_be64 image.qcow2 528)
put_be32 image.qcow2 $((directory + 12)) 3
cp image.qcow2 before.qcow2
for action in --clear --enable --disable '--merge y' --add; do
    # shellcheck disable=SC2086
    refused $action image.qcow2 x
done
refused --merge x image.qcow2 y
same info image.qcow2
run_ok "$BYRE" io -c 'write -q 0 64k' image.qcow2
assert_equal 3 "$(get_be32 image.qcow2 $((directory + 12)))" 'the flags of an inconsistent bitmap'
run_ok "$BYRE" bitmap --remove image.qcow2 x
assert_clean image.qcow2
same info image.qcow2

# no bitmap is valid if somebody wrote who does not know them
put_be64 image.qcow2 88 0
run_fails 1 'lacking bitmap support.*not found' "$BYRE" bitmap --clear image.qcow2 y
run "$BYRE" bitmap --add image.qcow2 w
assert_equal 0 "$CODE"
assert_match 'lacking bitmap support' "$ERR"
assert_equal 1 "$(qemu-img info image.qcow2 | grep -c name:)" 'bitmaps after one was added'
run "$BYRE" check -q -r leaks image.qcow2
assert_clean image.qcow2
