#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Drawn requests by qemu-io, through two layers of drawn kinds, read by byre.  The seed is printed; TEST_SEED
# repeats a run.
. "$(dirname "$0")/../lib.sh"
slow

seed=${TEST_SEED:-$RANDOM}
echo "TEST_SEED=$seed"
RANDOM=$seed
noise "$seed" 3145728 >noise.bin

draw() { echo $(((RANDOM * 32768 + RANDOM) % $1)); }

# make_layer FILE SIZE [OPTION...]: some thirty requests on an image of drawn kind.
make_layer() {
    local file=$1 size=$2 bits=$((RANDOM % 13 + 9)) kind i offset length commands=()
    shift 2
    kind="cluster_size=$((1 << bits)),refcount_bits=$((1 << RANDOM % 7))"
    if [ $((RANDOM % 4)) = 0 ]; then
        kind="cluster_size=$((1 << bits)),compat=0.10"
    elif has ZSTD && [ $((RANDOM % 2)) = 0 ]; then
        kind+=,compression_type=zstd
    fi
    if [ $bits -ge 14 ] && [[ $kind != *compat=0.10* ]] && [ $((RANDOM % 4)) != 0 ]; then
        kind+=,extended_l2=on
    fi
    echo "$file: $kind"
    qemu-img create -q -f qcow2 -o "$kind" "$@" "$file" "$size"
    for ((i = 0; i < 30; i++)); do
        offset=$(($(draw $((size / 512))) * 512))
        length=$((($(draw 400) + 1) * 512))
        if [ $((offset + length)) -gt "$size" ]; then
            length=$((size - offset))
        fi
        case $((RANDOM % 8)) in
        0 | 1) commands+=(-c "write -q -P $((RANDOM % 256)) $offset $length") ;;
        2) commands+=(-c "write -q -s noise.bin $offset $length") ;;
        3) commands+=(-c "write -q -z $offset $length") ;;
        4) commands+=(-c "write -q -z -u $offset $length") ;;
        5) commands+=(-c "discard -q $offset $length") ;;
        6 | 7)
            # one whole cluster, which is not in use as a rule; where it is, qemu-io rewrites it
            offset=$((offset >> bits << bits))
            if [ $((offset + (1 << bits))) -le "$size" ]; then
                commands+=(-c "write -q -c -s noise.bin $offset $((1 << bits))")
            fi
            ;;
        esac
    done
    qemu-io -f qcow2 "${commands[@]}" "$file" >qemu-io.log 2>&1 || true
}

rounds=12
[ -z "$TEST_QUICK" ] || rounds=3
for ((round = 0; round < rounds; round++)); do
    make_layer base.qcow2 $(((4000 + RANDOM % 3000) * 512))
    make_layer top.qcow2 $(((4000 + RANDOM % 3000) * 512)) -b base.qcow2 -F qcow2
    qemu-img convert -O raw top.qcow2 wanted.raw
    run_ok "$BYRE" convert -O raw top.qcow2 found.raw
    assert_same_file wanted.raw found.raw
    run_ok "$BYRE" compare -q top.qcow2 wanted.raw
    run_ok "$BYRE" compare -q -s top.qcow2 top.qcow2
    assert_checked base.qcow2
    assert_checked top.qcow2
    run_ok "$BYRE" map --output=json top.qcow2
    assert_equal "$(qemu-img map --output=json top.qcow2)" "$OUT" 'the map'

    # and on into a new image of a drawn kind
    run_ok "$BYRE" convert -O qcow2 -o "cluster_size=$((1 << RANDOM % 13 + 9))" -B base.qcow2 -F qcow2 \
        top.qcow2 copy.qcow2
    assert_clean copy.qcow2
    assert_same_disk copy.qcow2 wanted.raw
    run_ok "$BYRE" convert -c -O qcow2 -o "cluster_size=$((1 << RANDOM % 13 + 9))" top.qcow2 copy.qcow2
    assert_clean copy.qcow2
    assert_same_disk copy.qcow2 wanted.raw
    rm -f ./*.qcow2
done
