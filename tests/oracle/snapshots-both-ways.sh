#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Internal snapshots, in both directions: byre and qemu-img take turns at making, applying and deleting them, and at
# writing; each time both find the same disks, and no leak.  Over versions, cluster sizes and refcount widths.
. "$(dirname "$0")/../lib.sh"
slow

qemu_write() {
    qemu_io -f qcow2 -c "write -q -P $1 $2 $3" image.qcow2
}

byre_write() {
    run_ok "$BYRE" io -f qcow2 -c "write -q -P $1 $2 $3" image.qcow2
}

# What qemu-img and byre say of the image, its disk and all its snapshots.
agree() {
    local id list size
    assert_clean image.qcow2
    run_ok "$BYRE" check image.qcow2
    list=$(qemu-img snapshot -l image.qcow2)
    run_ok "$BYRE" snapshot -l image.qcow2
    assert_equal "$list" "$OUT" 'the list'
    # shellcheck disable=SC2013 # words are what is wanted
    for id in $(sed -n 's/^\([0-9][0-9]*\) .*/\1/p' <<<"$list"); do
        qemu-img convert -l "snapshot.id=$id" -O raw image.qcow2 wanted.raw
        run_ok "$BYRE" convert -l "snapshot.id=$id" -O raw image.qcow2 found.raw
        # qemu gives what it copies the size that the disk has now
        size=$(($(file_size found.raw) < $(file_size wanted.raw) ? $(file_size found.raw) : $(file_size wanted.raw)))
        truncate -s "$size" wanted.raw found.raw
        assert_same_file wanted.raw found.raw
    done
    qemu-img convert -O raw image.qcow2 wanted.raw
    run_ok "$BYRE" convert -O raw image.qcow2 found.raw
    assert_same_file wanted.raw found.raw
}

# holds ID FILE: the snapshot is what the file is.
holds() {
    run_ok "$BYRE" convert -l "snapshot.id=$1" -O raw image.qcow2 found.raw
    assert_same_file "$2" found.raw
}

disk() {
    qemu-img convert -O raw image.qcow2 "$1"
}

# turns ONE OTHER: programs that take turns.
turns() {
    local one=$1 other=$2
    run_ok "$one" snapshot -c first image.qcow2
    disk 1.raw
    byre_write 3 100k 300k
    agree
    run_ok "$other" snapshot -c second image.qcow2
    disk 2.raw
    qemu_write 4 50k 90k
    byre_write 5 1000k 5k
    run_ok "$one" snapshot -c third image.qcow2
    agree
    holds 1 1.raw
    holds 2 2.raw
    run_ok "$other" snapshot -a first image.qcow2
    assert_same_disk 1.raw image.qcow2
    qemu_write 6 0 30k
    byre_write 7 200k 33k
    agree
    holds 1 1.raw
    run_ok "$one" snapshot -a 2 image.qcow2
    agree
    assert_same_disk 2.raw image.qcow2
    run_ok "$other" snapshot -d first image.qcow2
    agree
    holds 2 2.raw
    byre_write 8 0 500k
    run_ok "$one" snapshot -d second image.qcow2
    agree
    qemu_write 9 600k 500k
    run_ok "$other" snapshot -d third image.qcow2
    agree
}

cells=0
for options in compat=0.10,cluster_size=512 compat=0.10 cluster_size=512,refcount_bits=64 cluster_size=4k,refcount_bits=8 \
    cluster_size=4k cluster_size=4k,lazy_refcounts=on cluster_size=8k,refcount_bits=4 cluster_size=64k,refcount_bits=32 \
    cluster_size=2M,refcount_bits=16; do
    cells=$((cells + 1))
    [ -z "$TEST_QUICK" ] || [ $((cells % 3)) = 1 ] || continue
    qemu-img create -q -f qcow2 -o "$options" image.qcow2 1536k
    qemu_write 1 0 700k
    # Many compressed clusters in one host cluster are many references.
    case $options in
    *cluster_size=2M* | *refcount_bits=4*) ;;
    *) qemu_io -f qcow2 -c 'write -q -c -P 2 768k 64k' image.qcow2 ;;
    esac
    qemu_io -f qcow2 -c 'write -q -z 300k 100k' image.qcow2
    if [ $((cells % 2)) = 0 ]; then
        turns "$BYRE" qemu-img || fail "with $options"
    else
        turns qemu-img "$BYRE" || fail "with $options"
    fi
done

# A disk that has had several sizes, and a backing file.
qemu-img create -q -f qcow2 base.qcow2 1M
qemu_io -f qcow2 -c 'write -q -P 11 0 1M' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 -o cluster_size=4k image.qcow2 1M
qemu_write 12 100k 50k
run_ok "$BYRE" snapshot -c small image.qcow2
disk 1.raw
qemu-img resize -q image.qcow2 3M
qemu_write 13 2M 100k
qemu-img snapshot -c large image.qcow2
disk 2.raw
agree
run_ok "$BYRE" snapshot -a small image.qcow2
agree
assert_same_file 1.raw found.raw
run_ok "$BYRE" snapshot -a large image.qcow2
agree
assert_same_file 2.raw found.raw
qemu-img snapshot -a small image.qcow2
agree
assert_same_file 1.raw found.raw

# Counts that are full: nothing changes, and the message says which.
for bits in 1 2; do
    qemu-img create -q -f qcow2 -o refcount_bits=$bits image.qcow2 1M
    qemu_write 14 0 200k
    for name in one two three four; do
        cp image.qcow2 before.qcow2
        run "$BYRE" snapshot -c $name image.qcow2
        [ "$CODE" = 0 ] || break
        agree
    done
    assert_match "more than refcount_bits=$bits can count" "$ERR"
    assert_same_file before.qcow2 image.qcow2
    if [ $bits = 2 ]; then
        # Going back to what is there needs no larger counts.
        run_ok "$BYRE" snapshot -a one image.qcow2
        agree
    fi
done

# What is not known of a table entry is kept: extra data of an entry that nobody knows.
qemu-img create -q -f qcow2 image.qcow2 1M
qemu-img snapshot -c one image.qcow2
qemu-img snapshot -c two image.qcow2
table=$(get_be64 image.qcow2 64)
# the entry of "one" with eight bytes more of extra data, before that of "two"
one=$(get_hex image.qcow2 "$table" 72)
two=$(get_hex image.qcow2 "$table + 72" 72)
put_bytes image.qcow2 "$table" "${one:0:72}00000020${one:80:48}deadbeefcafe1234${one:128:16}$two"
run_ok qemu-img snapshot -l image.qcow2
run_ok "$BYRE" snapshot -d two image.qcow2
run_ok "$BYRE" snapshot -c three image.qcow2
table=$(get_be64 image.qcow2 64)
assert_equal deadbeefcafe1234 "$(get_hex image.qcow2 "$table + 64" 8)" 'what was not known'
agree
