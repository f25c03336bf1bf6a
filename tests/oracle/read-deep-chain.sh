#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A chain of many layers, of every version and cluster size and with raw at the bottom, some in other
# directories, reads as QEMU reads it; each layer has bytes that nothing above it hides.
. "$(dirname "$0")/../lib.sh"

depth=40
[ -z "$TEST_QUICK" ] || depth=12

truncate -s 3M layer0
text 1 1000000 | put_file layer0 0
noise 1 4096 | put_file layer0 3000000
below=layer0 format=raw
for ((i = 1; i <= depth; i++)); do
    version=1.1
    [ $((i % 3)) != 0 ] || version=0.10
    # relative names, in and out of a directory; absolute ones
    case $((i % 4)) in
    0) name=layer$i backing=$TEST_DIR/$below ;;
    1) name=layer$i backing=$below ;;
    2) mkdir -p sub && name=sub/layer$i backing=../$below ;;
    3) name=layer$i backing=./$below ;;
    esac
    # sizes go up and down
    size=$((3 * 1048576 + (i % 7) * 70144))
    qemu-img create -q -f qcow2 -o "compat=$version,cluster_size=$((512 << i % 13))" -b "$backing" -F "$format" \
        "$name" "$size"
    qemu_io -f qcow2 -c "write -q -P $i $((i * 71000)) 9000" -c "write -q -z $((i * 50000)) 3000" \
        -c "write -q -P $((i + 100)) $((i * 60000 + 1500000 - i * 31000)) 777" "$name"
    below=$name format=qcow2
done

qemu-img convert -O raw "$below" wanted.raw
run_ok "$BYRE" convert -O raw "$below" found.raw
assert_same_file wanted.raw found.raw
run_ok "$BYRE" compare -q "$below" wanted.raw
run_ok "$BYRE" map --output=json "$below"
assert_equal "$(qemu-img map --output=json "$below")" "$OUT" 'the map'
run_ok "$BYRE" info --backing-chain "$below"
assert_equal $((depth + 1)) "$(grep -c '^image: ' <<<"$OUT")" 'layers that info shows'

# Flattened by byre, and once more with the half of it left where it is.
run_ok "$BYRE" convert -O qcow2 -c "$below" flat.qcow2
assert_clean flat.qcow2
assert_same_disk flat.qcow2 wanted.raw
