#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What clients write, zero and trim, on one connection and on many; what is in the image then, and that the image is whole.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbdkit/nbdkit.sh"
slow

# assert_image RAW IMAGE: both checkers find nothing, and the disk is that of RAW.
assert_image() {
    assert_checked "$2"
    assert_clean "$2"
    assert_same_disk -f raw -F qcow2 "$1" "$2"
}

noise 1 3000000 >base.raw
truncate -s 8M base.raw
qemu-img convert -f raw -O qcow2 -o cluster_size=16k base.raw base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 8M

# the same commands, to the image by NBD and to a raw file
commands=(-c 'write -q -P 1 100k 300k' -c 'write -q -P 2 1500k 1000' -c 'write -q -f -P 3 7M 200k'
    -c 'write -q -z 200k 50k' -c 'write -q -z -u 2M 700001' -c 'write -q -z -f -u 6M 64k' -c 'write -q -P 4 8388000 608'
    -c 'aio_write -q -P 5 4M 64k' -c 'aio_write -q -P 6 4160k 64k' -c 'aio_write -q -P 7 4228k 300k' -c aio_flush -c flush)
serve changes "$PLUGIN" top.qcow2
for key in can_flush can_fua can_trim can_zero can_fast_zero can_multi_conn can_cache; do
    assert_equal true "$(info $key)" $key
done
assert_equal 1 "$(info block_size_minimum)" 'the smallest request'
assert_equal 65536 "$(info block_size_preferred)" 'the preferred request'
device=/sys/dev/block/$(stat -c %Hd:%Ld top.qcow2)
rotational=$(cat "$device/queue/rotational" "$device/../queue/rotational" 2>/dev/null || true)
assert_equal "$([ "${rotational:0:1}" = 1 ] && echo true || echo false)" "$(info is_rotational)" is_rotational
qemu_io -f raw "${commands[@]}" "$URI"
qemu_io -f raw "${commands[@]}" base.raw
assert_serves base.raw
# what was unmapped has no data; what is zero where there is data below stays zero
qemu_io -f raw -d unmap -c 'discard -q 512k 128k' -c 'discard -q 5000k 1000k' "$URI"
qemu_io -f raw -c 'write -q -z 512k 128k' base.raw
qemu_io -f raw -c 'read -q -P 0 512k 128k' "$URI"
shown=$(map_of_export)
stop changes
assert_equal "$shown" "$(map_of_image top.qcow2)" 'the map before and after'
assert_match '(^|[[:space:]])524288 131072 zero=true data=false' "$shown"
# what a discard leaves of parts of clusters is its own affair: the same bytes, where they are not zero
qemu-img convert -f qcow2 -O raw top.qcow2 top.raw
cmp -n 5120000 base.raw top.raw || fail 'what lies before a discard'
cmp -i 6144000 base.raw top.raw || fail 'what lies behind a discard'
assert_checked top.qcow2
assert_clean top.qcow2

# a whole disk, by several connections with many requests each
noise 2 5000000 >disk.raw
truncate -s 11M disk.raw
noise 3 1048576 >>disk.raw
for options in cluster_size=64k cluster_size=4k,lazy_refcounts=on cluster_size=512 extended_l2=on,cluster_size=128k; do
    "$BYRE" create -q -f qcow2 -o $options copy.qcow2 12M
    serve copy -t 16 "$PLUGIN" copy.qcow2
    nbdcopy --connections=4 --requests=16 --request-size=32768 --flush disk.raw "$URI"
    nbdcopy --connections=4 --requests=16 "$URI" back.raw
    assert_same_file disk.raw back.raw
    stop copy
    assert_image disk.raw copy.qcow2
done

# several clients at a time, each with a part of its own, in clusters that they share
"$BYRE" create -q -f qcow2 shared.qcow2 4M
serve shared "$PLUGIN" shared.qcow2
truncate -s 4M expected.raw
clients=()
for part in 0 1 2 3 4 5; do
    own=()
    for ((at = part * 10240; at < 4100000; at += 61440)); do
        own+=(-c "aio_write -q -P $((part + 1)) $at 10240")
    done
    qemu-io -f raw "${own[@]}" -c aio_flush -c flush "$URI" >"client$part" 2>&1 &
    clients+=($!)
    qemu_io -f raw "${own[@]}" -c aio_flush expected.raw
done
for client in "${clients[@]}"; do
    wait "$client" || fail 'a client failed'
done
assert_equal '' "$(cat client?)" 'what clients say'
assert_serves expected.raw
stop shared
assert_image expected.raw shared.qcow2

# options: zeros that come as data, trims that are ignored, cache modes
"$BYRE" create -q -f qcow2 zeros.qcow2 4M
serve zeros "$PLUGIN" zeros.qcow2 detect-zeroes=unmap
qemu_io -f raw -c 'write -q -P 0 0 1M' -c 'write -q -P 8 2M 64k' -c 'write -q -P 0 2M 64k' "$URI"
assert_equal '0 4194304 zero=true data=false' "$(map_of_export)" 'zeros that were found'
stop zeros
serve zeros "$PLUGIN" zeros.qcow2 detect-zeroes=off discard=ignore
qemu_io -f raw -c 'write -q -P 0 0 64k' "$URI"
assert_match '^0 65536 zero=false data=true' "$(map_of_export)"
assert_equal false "$(info can_trim)" 'can_trim with discard=ignore'
stop zeros
for cache in none writeback unsafe writethrough directsync; do
    serve cached "$PLUGIN" zeros.qcow2 cache=$cache discard=unmap
    qemu_io -f raw -c "write -q -P 5 5000 7000" -c 'read -q -P 5 5000 7000' -c flush "$URI"
    assert_equal true "$(info can_trim)" can_trim
    case $cache in
        none | directsync) assert_equal false "$(info can_cache)" "can_cache with cache=$cache" ;;
        *) assert_equal true "$(info can_cache)" "can_cache with cache=$cache" ;;
    esac
    stop cached
done
assert_checked zeros.qcow2

# a raw image
cp base.raw raw
serve raw "$PLUGIN" raw format=raw
qemu_io -f raw -c 'write -q -P 0x11 3M 1234' -c 'write -q -z -u 1M 64k' "$URI"
qemu_io -f raw -c 'write -q -P 0x11 3M 1234' -c 'write -q -z 1M 64k' base.raw
assert_serves base.raw
assert_equal 4096 "$(info block_size_preferred)" 'the preferred request of a raw image'
stop raw
assert_same_file base.raw raw
