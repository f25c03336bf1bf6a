#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# --salvage copies what can be read, and names what cannot; without it the first such place is the end.
. "$(dirname "$0")/../lib.sh"

text 1 1048576 >source.raw
qemu-img convert -f raw -O qcow2 -c source.raw bad.qcow2

# The second cluster's compressed data is damaged.
l2=$(($(get_be64 bad.qcow2 "$(get_be64 bad.qcow2 40)") & 0x00fffffffffffe00))
hoff=$(($(get_be64 bad.qcow2 $((l2 + 8))) & 0x3fffffffffffff))
put_bytes bad.qcow2 $hoff ffffffffffffffffffffffffffffffffffffffff

run_fails 1 'error while reading at byte [0-9]+: ' "$BYRE" convert -O raw bad.qcow2 out.raw

for options in '-O raw' '-O qcow2' '-O qcow2 -c'; do
    for threads in 1 4; do
        # shellcheck disable=SC2086 # options
        run "$BYRE" convert --salvage -m $threads $options bad.qcow2 out.img
        assert_equal 0 "$CODE" 'exit code'
        # 128 sectors of 512, each named once
        assert_equal 128 "$(grep -c 'warning: error while reading offset [0-9]*: ' <<<"$ERR")"
        assert_equal 128 "$(wc -l <<<"$ERR")"
        grep -q 'offset 65536:' <<<"$ERR"
        grep -q 'offset 130560:' <<<"$ERR"
        qemu-img convert -O raw out.img out.raw
        cp source.raw wanted.raw
        head -c 65536 /dev/zero | put_file wanted.raw 65536
        assert_same_file wanted.raw out.raw
    done
done

# A table that cannot be read costs what it maps, and no more: here 128 to 256 KiB.
qemu-img create -q -f qcow2 -o cluster_size=1k bad.qcow2 384k
qemu-io -c 'write -P 7 0 384k' bad.qcow2 >qemu-io.out
put_be64 bad.qcow2 $(($(get_be64 bad.qcow2 40) + 8)) 0x8000000012345200
run_fails 1 'error while reading' "$BYRE" convert -O raw bad.qcow2 out.raw
run "$BYRE" convert --salvage -O raw bad.qcow2 out.raw
assert_equal 0 "$CODE" 'exit code'
assert_match 'error while reading' "$ERR"
head -c 393216 /dev/zero | tr '\0' '\7' >wanted.raw
head -c 131072 /dev/zero | put_file wanted.raw 131072
assert_same_file wanted.raw out.raw
