#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Lazy refcounts: an image that QEMU left with the dirty bit set is read, is reported, and is mended before it
# is written.
. "$(dirname "$0")/../lib.sh"

make_dirty() {
    qemu-img create -q -f qcow2 -o lazy_refcounts=on,cluster_size="$1" "$2" 4M
    # it ends as a crash does, with the refcounts behind
    qemu-io -f qcow2 -c 'write -q -P 5 0 1M' -c 'write -q -P 6 2M 100K' -c flush -c abort "$2" >abort.log 2>&1 || true
    assert_equal 1 $(($(get_hex "$2" 79 1) & 1)) 'the dirty bit'
}

# The refcount blocks are there; only what they say is behind.
for cluster_size in 4K 64K; do
    make_dirty $cluster_size dirty.qcow2
    cp dirty.qcow2 before.qcow2
    qemu-img convert -U -O raw dirty.qcow2 wanted.raw
    assert_same_file before.qcow2 dirty.qcow2

    run_ok "$BYRE" info dirty.qcow2
    run_ok "$BYRE" convert -O raw dirty.qcow2 found.raw
    assert_same_file wanted.raw found.raw
    run_ok "$BYRE" map dirty.qcow2
    assert_same_file before.qcow2 dirty.qcow2 # reading changes nothing

    # a check that only looks finds what QEMU's finds, and changes nothing either
    wanted=0
    qemu-img check dirty.qcow2 >/dev/null 2>&1 || wanted=$?
    run "$BYRE" check dirty.qcow2
    assert_equal "$wanted" "$CODE" 'exit code of check'
    assert_same_file before.qcow2 dirty.qcow2

    cp dirty.qcow2 mended.qcow2
    run "$BYRE" check -r all mended.qcow2
    assert_equal 0 "$CODE" 'exit code of check -r all'
    assert_clean mended.qcow2
    assert_same_disk mended.qcow2 wanted.raw
    assert_equal 0 $(($(get_hex mended.qcow2 79 1) & 1)) 'the dirty bit after the repair'

    # writing mends it first
    text 1 8192 >small.raw
    run "$BYRE" convert -n -f raw -O qcow2 small.raw dirty.qcow2
    assert_equal 0 "$CODE" 'exit code of convert'
    put_file wanted.raw 0 <small.raw
    assert_clean dirty.qcow2
    assert_same_disk dirty.qcow2 wanted.raw
done
