#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Drawn requests on images with subclusters, alone and over a backing file of another grain, by byre and by qemu-io: the
# same contents afterwards, and images that qemu-img finds clean.  Then each goes on with what the other one has written.
# The seed is printed; TEST_SEED repeats a run.
. "$(dirname "$0")/../lib.sh"
slow

seed=${TEST_SEED:-$RANDOM}
echo "TEST_SEED=$seed"
RANDOM=$seed
noise "$seed" 3145728 >noise.bin

draw() { echo $(((RANDOM * 32768 + RANDOM) % $1)); }

# draw_requests BITS SIZE COMPRESS: sets REQUESTS.  QEMU compresses only where nothing is yet.
draw_requests() {
    local bits=$1 size=$2 i offset length
    REQUESTS=()
    for ((i = RANDOM % 3; $3 && (i + 1) << bits <= size; i += 1 + RANDOM % 4)); do
        REQUESTS+=(-c "write -q -c -P $((RANDOM % 256)) $((i << bits)) $((1 << bits))")
    done
    for ((i = 0; i < 30; i++)); do
        offset=$(($(draw $((size / 512))) * 512))
        length=$((($(draw $((RANDOM % 2 ? 20 : 400))) + 1) * 512))
        if [ $((offset + length)) -gt "$size" ]; then
            length=$((size - offset))
        fi
        case $((RANDOM % 8)) in
        0 | 1 | 2) REQUESTS+=(-c "write -q -P $((RANDOM % 256)) $offset $length") ;;
        3) REQUESTS+=(-c "write -q -s noise.bin $offset $length") ;;
        4) REQUESTS+=(-c "write -q -z $offset $length") ;;
        5) REQUESTS+=(-c "write -q -z -u $offset $length") ;;
        6 | 7) REQUESTS+=(-c "discard -q $offset $length") ;;
        esac
    done
}

rounds=8
[ -z "$TEST_QUICK" ] || rounds=3
for ((round = 0; round < rounds; round++)); do
    bits=$((14 + RANDOM % 8))
    size=$(((4000 + RANDOM % 3000) * 512))
    kind="cluster_size=$((1 << bits)),extended_l2=on,refcount_bits=$((1 << RANDOM % 7))"
    backing=()
    if [ $((RANDOM % 3)) != 0 ]; then
        base="cluster_size=$((1 << (9 + RANDOM % 13)))"
        backing=(-b base.qcow2 -F qcow2)
        [ $((RANDOM % 2)) = 0 ] || base="cluster_size=$((1 << (14 + RANDOM % 8))),extended_l2=on"
        run_ok "$BYRE" create -q -f qcow2 -o "$base" base.qcow2 $(((4000 + RANDOM % 3000) * 512))
        run_ok "$BYRE" io -c 'write -q -P 7 0 2000000' -c 'write -q -z 300k 100k' -c 'write -q -P 8 345k 3k' base.qcow2
        assert_clean base.qcow2
    fi
    [ $((RANDOM % 4)) != 0 ] || kind+=,preallocation=metadata
    echo "$kind size=$size ${backing[*]} ${base-}"
    run_ok "$BYRE" create -q -f qcow2 -o "$kind" "${backing[@]}" ours.qcow2 $size
    qemu-img create -q -f qcow2 -o "$kind" "${backing[@]}" theirs.qcow2 $size
    for turn in 1 2 3; do
        compress=0
        if [ $turn = 1 ] && [[ $kind != *preallocation* ]]; then
            compress=1
        fi
        draw_requests $bits $size $compress
        run_ok "$BYRE" io -f qcow2 "${REQUESTS[@]}" ours.qcow2
        qemu_io -f qcow2 "${REQUESTS[@]}" theirs.qcow2
        assert_clean ours.qcow2
        assert_checked ours.qcow2
        assert_same_disk -f qcow2 -F qcow2 ours.qcow2 theirs.qcow2
        run_ok "$BYRE" compare -q ours.qcow2 theirs.qcow2
        run_ok "$BYRE" map --output=json ours.qcow2
        assert_equal "$(qemu-img map --output=json ours.qcow2)" "$OUT" 'the map'
        mv ours.qcow2 swap.qcow2
        mv theirs.qcow2 ours.qcow2
        mv swap.qcow2 theirs.qcow2
    done
    rm -f ./*.qcow2
done
