#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# byre snapshot and convert -l, held against qemu-img: options, texts, exit codes, and how a snapshot is chosen.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"
slow

qemu-img create -q -f qcow2 made.qcow2 4M
qemu_io -c 'write -q -P 1 0 1M' made.qcow2
qemu-img snapshot -c 2 made.qcow2 # its id is 1
qemu_io -c 'write -q -P 2 0 1M' made.qcow2
qemu-img snapshot -c x made.qcow2
qemu_io -c 'write -q -P 3 0 1M' made.qcow2
qemu-img snapshot -c x made.qcow2
qemu_io -c 'write -q -P 4 0 1M' made.qcow2

# both ARGUMENT...: of "snapshot", on an image of its own each; the images then have the same snapshots and disks.
both() {
    cp made.qcow2 theirs.qcow2
    cp made.qcow2 ours.qcow2
    run "$THEIRS" snapshot "$@" theirs.qcow2
    local code=$CODE out=$OUT err=$ERR
    run "$OURS" snapshot "$@" ours.qcow2
    assert_equal "$code" "$CODE" "exit code of snapshot $*"
    assert_equal "$out" "$OUT" "output of snapshot $*"
    assert_equal "${err//theirs/ours}" "$ERR" "errors of snapshot $*"
    assert_equal "$(qemu-img snapshot -l theirs.qcow2 | sed 's/20[0-9-]* [0-9:]*/DATE/')" \
        "$(qemu-img snapshot -l ours.qcow2 | sed 's/20[0-9-]* [0-9:]*/DATE/')" "snapshots after snapshot $*"
    run_ok qemu-img compare theirs.qcow2 ours.qcow2
    run_ok qemu-img check ours.qcow2
}

for option in -l -q '-q -l' '-l -q' -U\ -l '--force-share -l' '-a 1' '-a 2' '-a x' '-a 3' '-a nope' '-d 2' '-d 1' '-d x' \
    '-d nope' '-c new' '-c x' '-c 1' '-c new -q' '-l -l' '-a 1 -d 2' '-c a -c b' '-l -c x'; do
    # shellcheck disable=SC2086 # several words
    both $option
done
both -c ''
both -d ''
both -a ''
both -c 'with blanks, and a comma'
both

# the list
same_ok snapshot -l made.qcow2
same_ok snapshot --image-opts -l driver=qcow2,file.filename=made.qcow2
TZ=Asia/Tokyo same_ok snapshot -l made.qcow2
run_ok "$BYRE" snapshot -U -l made.qcow2
run_ok "$BYRE" snapshot --image-opts -c opts driver=qcow2,file.filename=ours.qcow2
run_ok qemu-img snapshot -d opts ours.qcow2

# mistakes
same_fails 1 snapshot
same_fails 1 snapshot -l
same_fails 1 snapshot -l made.qcow2 more
same_fails 1 snapshot -c
same_fails 1 snapshot -z made.qcow2
same_fails 1 snapshot -f qcow2 -l made.qcow2
same_fails 1 snapshot -l missing.qcow2
same_fails 1 snapshot -c x missing.qcow2
same_fails 1 snapshot missing.qcow2
same_fails 1 snapshot -U -c x made.qcow2
same_fails 1 snapshot --object secret,id=x -l made.qcow2

# an image that has none, and cannot have any
text 1 70000 >plain.raw
for action in -l '-a x' '-d x' '-c x'; do
    # shellcheck disable=SC2086
    same snapshot --image-opts $action driver=raw,file.filename=plain.raw
done

# convert -l
for which in 1 2 3 x snapshot.id=1 snapshot.id=3 snapshot.name=x snapshot.name=2 snapshot.name=x,snapshot.id=2 \
    snapshot.id=3,snapshot.name=x; do
    qemu-img convert -l "$which" -O raw made.qcow2 wanted.raw
    run_ok "$BYRE" convert -l "$which" -O raw made.qcow2 found.raw
    assert_same_file wanted.raw found.raw
done
MADE=(out.raw)
for which in 4 nope '' snapshot.id=4 snapshot.id= snapshot.id=1,snapshot.name=x snapshot.name=y name=x snapshot.foo=1 \
    snapshot.id=1,foo=2; do
    same_fails 1 convert -l "$which" -O raw made.qcow2 out.raw
    assert_missing out.raw
done
same_fails 1 convert -l x -O raw made.qcow2 made.qcow2 out.raw
same_fails 1 convert -f raw -l x -O raw plain.raw out.raw
for options in '-l 1 -l 2' '-l snapshot.id=1 -l x' '-l x -l snapshot.id=3'; do
    # shellcheck disable=SC2086
    qemu-img convert $options -O raw made.qcow2 wanted.raw
    # shellcheck disable=SC2086
    run_ok "$BYRE" convert $options -O raw made.qcow2 found.raw
    assert_same_file wanted.raw found.raw
done

# A snapshot has a size of its own, and its backing file.
qemu-img create -q -f qcow2 -b made.qcow2 -F qcow2 over.qcow2
qemu-img snapshot -c empty over.qcow2
qemu_io -c 'write -q -P 9 0 2M' over.qcow2
qemu-img resize -q over.qcow2 6M
run_ok "$BYRE" convert -l empty -O raw over.qcow2 found.raw
run_ok qemu-img convert -O raw made.qcow2 wanted.raw
assert_same_file wanted.raw found.raw
run_ok "$BYRE" convert -l empty -O qcow2 -B made.qcow2 -F qcow2 over.qcow2 thin.qcow2
run_ok qemu-img compare made.qcow2 thin.qcow2
mv made.qcow2 away.qcow2
run_ok "$BYRE" snapshot -l over.qcow2
assert_match empty "$OUT"
run_ok "$BYRE" snapshot -a empty over.qcow2
mv away.qcow2 made.qcow2
run_ok qemu-img compare -s made.qcow2 over.qcow2

# What a bitmap says has changed would not be true any more.
qemu-img bitmap --add over.qcow2 changes
cp over.qcow2 before.qcow2
run_fails 1 "Could not apply snapshot 'empty': Device has active dirty bitmaps" "$BYRE" snapshot -a empty over.qcow2
assert_same_file before.qcow2 over.qcow2
qemu-img bitmap --remove over.qcow2 changes
run_ok "$BYRE" snapshot -a empty over.qcow2

# Names longer than qemu's.
name=$(printf 'n%.0s' $(seq 300))
run_ok "$BYRE" snapshot -c "$name" made.qcow2
run_ok "$BYRE" snapshot -a "$name" made.qcow2
run_ok "$BYRE" snapshot -d "$name" made.qcow2
run_ok qemu-img check made.qcow2
