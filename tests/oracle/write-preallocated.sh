#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Preallocation of every kind, over cluster sizes and versions: clean, all zeros, as large as it says, and then
# written by QEMU.
. "$(dirname "$0")/../lib.sh"
slow

size=$((5 * 1048576 + 512))
truncate -s $size zeros.raw

for cluster_size in 512 4k 64k 2M; do
    for compat in 0.10 1.1 1.1,extended_l2=on; do
        if [ $compat = 1.1,extended_l2=on ] && [[ $cluster_size == 512 || $cluster_size == 4k ]]; then
            continue
        fi
        for preallocation in off metadata falloc full; do
            rm -f image.qcow2
            run_ok "$BYRE" create -q -f qcow2 image.qcow2 $size \
                -o cluster_size=$cluster_size,compat=$compat,preallocation=$preallocation
            assert_clean image.qcow2
            assert_checked image.qcow2
            assert_same_disk -f qcow2 -F raw image.qcow2 zeros.raw

            case $preallocation in
            falloc | full)
                ours=$(du -k image.qcow2 | cut -f 1)
                [ "$ours" -ge $((size / 1024)) ] || fail "preallocation=$preallocation takes up only $ours KiB"
                ;;
            esac
            run qemu-img info --output=json image.qcow2
            assert_match "\"virtual-size\": $size" "$OUT"

            qemu_io -f qcow2 -c 'write -q -P 9 100K 300K' image.qcow2
            assert_clean image.qcow2
            run_ok "$BYRE" convert -O raw image.qcow2 back.raw
            qemu-img convert -O raw image.qcow2 wanted.raw
            assert_same_file wanted.raw back.raw
        done
    done
done

for preallocation in off falloc full; do
    run_ok "$BYRE" create -q -f raw -o preallocation=$preallocation image.raw $size
    assert_same_file zeros.raw image.raw
    [ $preallocation = off ] || [ "$(du -k image.raw | cut -f 1)" -ge $((size / 1024)) ]
    rm image.raw
done
