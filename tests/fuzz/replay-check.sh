#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The checker's fuzz target on its seeds, on small images that QEMU wrote, and on drawn damage to them.  The seed is printed;
# TEST_SEED repeats a run.
. "$(dirname "$0")/../lib.sh"

seed=${TEST_SEED:-$RANDOM}
echo "TEST_SEED=$seed"
RANDOM=$seed
mkdir seeds images damaged
run_ok "$TEST_BUILD/fuzz/seeds_check" seeds
run_ok "$TEST_BUILD/fuzz/replay_check" seeds
noise 1 20000 >noise.bin
truncate -s 24576 noise.bin
number=0
for options in cluster_size=512 cluster_size=512,compat=0.10 cluster_size=1k,refcount_bits=1 \
    cluster_size=4k,refcount_bits=64,lazy_refcounts=on; do
    number=$((number + 1))
    image=images/$number
    qemu-img create -q -f qcow2 -o "$options" "$image" 200K
    qemu_io -f qcow2 -c 'write -q -s noise.bin 0 24K' -c 'write -q -c -P 5 32K 4K' -c 'write -q -z 64K 8K' "$image"
    case $options in
    *refcount_bits=1*) ;;
    *) qemu-img snapshot -c s "$image" && qemu_io -f qcow2 -c 'write -q -P 6 4K 8K' "$image" ;;
    esac
done
run_ok "$TEST_BUILD/fuzz/replay_check" images

rounds=100
[ -z "$TEST_QUICK" ] || rounds=25
for ((round = 0; round < rounds; round++)); do
    copy=damaged/$round
    cp "images/$((RANDOM % number + 1))" "$copy"
    size=$(file_size "$copy")
    [ "$size" -lt 32768 ] || size=32768 # the tables are in front
    for ((change = 0; change <= RANDOM % 4; change++)); do
        put_bytes "$copy" $((RANDOM % size)) "$(printf %02x $((RANDOM % 256)))"
    done
    [ $((RANDOM % 8)) != 0 ] || truncate -s $((RANDOM * 2)) "$copy"
done
run timeout 60 "$TEST_BUILD/fuzz/replay_check" damaged
if [ "$CODE" != 0 ]; then
    show_run replay_check
    fail "TEST_SEED=$seed"
fi
