# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Small images that QEMU wrote, and drawn damage to them.

# make_images: images/1 and so on; sets IMAGES to their number.
make_images() {
    local options image
    mkdir images
    noise 1 20000 >noise.bin
    truncate -s 24576 noise.bin
    IMAGES=0
    for options in cluster_size=512 cluster_size=512,compat=0.10 cluster_size=1k,refcount_bits=1 \
        cluster_size=4k,refcount_bits=64,lazy_refcounts=on cluster_size=16k,extended_l2=on; do
        IMAGES=$((IMAGES + 1))
        image=images/$IMAGES
        qemu-img create -q -f qcow2 -o "$options" "$image" 200K
        qemu_io -f qcow2 -c 'write -q -s noise.bin 0 24K' -c 'write -q -c -P 5 32K 16K' -c 'write -q -z 64K 8K' "$image"
        case $options in
        *refcount_bits=1*) ;;
        *) qemu-img snapshot -c s "$image" && qemu_io -f qcow2 -c 'write -q -P 6 4K 8K' "$image" ;;
        esac
    done
}

# damage FILE: changes some bytes of its tables, which are in front, or its end.
damage() {
    local size change byte
    size=$(file_size "$1")
    [ "$size" -lt 32768 ] || size=32768
    for ((change = 0; change <= RANDOM % 4; change++)); do
        printf -v byte %02x $((RANDOM % 256)) # in $(...) it would be another RANDOM
        put_bytes "$1" $((RANDOM % size)) $byte
    done
    [ $((RANDOM % 8)) != 0 ] || truncate -s $((RANDOM * 2)) "$1"
}

# replay TARGET DIRECTORY: a failure is told with the seed.
replay() {
    run bounded "$TEST_BUILD/fuzz/replay_$1" "$2"
    [ "$CODE" = 0 ] || {
        show_run "replay_$1"
        fail "TEST_SEED=$seed"
    }
}

# replay_damaged TARGET: on drawn damage to the images.
replay_damaged() {
    local rounds=100 round
    [ -z "$TEST_QUICK" ] || rounds=25
    mkdir damaged
    for ((round = 0; round < rounds; round++)); do
        cp "images/$((RANDOM % IMAGES + 1))" damaged/$round
        damage damaged/$round
    done
    replay "$1" damaged
}
