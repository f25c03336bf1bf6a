#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# External data files: what one program makes and writes the other one reads, checks and writes on; a raw data file
# always is the disk.
. "$(dirname "$0")/../lib.sh"
slow

BYTES=3145728

# Sets COMMANDS to random commands of io for a disk of BYTES bytes.
random_commands() {
    local i
    COMMANDS=()
    for ((i = 0; i < 40; i++)); do
        local at=$((RANDOM * 97 % (BYTES / 512) * 512)) length=$(((RANDOM % 300 + 1) * 512))
        [ $((at + length)) -le $BYTES ] || length=$((BYTES - at))
        case $((RANDOM % 6)) in
        0 | 1 | 2) COMMANDS+=(-c "write -q -P $((i + 1)) $at $length") ;;
        3) COMMANDS+=(-c "write -q -z $at $length") ;;
        4) COMMANDS+=(-c "write -q -z -u $at $length") ;;
        # a cluster that is discarded in part keeps its contents: whole ones of any size here
        5) COMMANDS+=(-c "discard -q $((at / 131072 * 131072)) 131072") ;;
        esac
    done
}

# Both programs' views of image.qcow2, and of its data file, are disk.raw.
judge() {
    local raw=$1
    assert_clean image.qcow2
    assert_checked image.qcow2

    assert_same_disk -f qcow2 -F raw image.qcow2 disk.raw
    run_ok "$BYRE" compare -f qcow2 -F raw image.qcow2 disk.raw
    qemu-img map --output=json image.qcow2 >wanted.json
    run_ok "$BYRE" map --output=json image.qcow2
    assert_equal "$(cat wanted.json)" "$OUT" 'the map'
    [ "$raw" = off ] || assert_same_file disk.raw data.raw
}

cell() {
    local cluster_size=$1 raw=$2 maker=$3 backing=() made
    shift 3
    rm -f -- *.qcow2 *.raw
    if [ $# -gt 0 ]; then
        qemu-img create -q -f raw base.raw $BYTES
        qemu_io -f raw -c "write -q -P 77 0 $((BYTES / 2))" base.raw
        backing=(-b base.raw -F raw)
        cp base.raw disk.raw
    else
        qemu-img create -q -f raw disk.raw $BYTES
    fi
    made=("$maker" create -q -f qcow2 -o "cluster_size=$cluster_size,data_file=data.raw,data_file_raw=$raw")
    "${made[@]}" "${backing[@]}" image.qcow2 $BYTES
    [ "$(file_size data.raw)" = $BYTES ] || fail "the data file has $(file_size data.raw) bytes"
    for writer in "$BYRE io" qemu-io "$BYRE io"; do
        random_commands
        # shellcheck disable=SC2086 # two words
        $writer -d unmap -f qcow2 "${COMMANDS[@]}" image.qcow2 || fail "$writer"
        qemu_io -d unmap -f raw "${COMMANDS[@]}" disk.raw
        judge "$raw"
    done
}

seed=${BYRE_SEED:-$$}
echo "seed $seed"
RANDOM=$seed
for maker in "$BYRE" qemu-img; do
    for raw in off on; do
        cell 64K $raw "$maker"
        [ -n "$TEST_QUICK" ] || cell 512 $raw "$maker"
        cell 128K $raw "$maker"
    done
    cell 64K off "$maker" backing
done

# Growing: the data file grows, too, and what is new is zero, also where the file was longer.
for raw in off on; do
    rm -f -- *.qcow2 *.raw
    run_ok "$BYRE" create -q -f qcow2 -o data_file=data.raw,data_file_raw=$raw image.qcow2 1M
    qemu_io -f qcow2 -c 'write -q -P 3 0 1M' image.qcow2
    noise 1 100000 >>data.raw
    run_ok "$BYRE" io -c 'truncate 2M' image.qcow2
    qemu-img create -q -f raw disk.raw 2M
    qemu_io -f raw -c 'write -q -P 3 0 1M' disk.raw
    judge $raw
    assert_equal 2097152 "$(file_size data.raw)" 'size of the data file'
done

# Converting into one, and into one that is kept: zeros are written then.
for raw in off on; do
    for keep in off on; do
        noise 2 1000000 >kept.raw
        run_ok "$BYRE" convert -f raw -O qcow2 -o data_file=kept.raw,data_file_raw=$raw,keep_data_file=$keep \
            disk.raw image.qcow2
        assert_clean image.qcow2
        assert_same_disk -f qcow2 -F raw image.qcow2 disk.raw
        [ $raw = off ] || assert_same_file disk.raw kept.raw
    done
done
noise 3 1048576 >kept.raw
cp kept.raw disk.raw
run_ok "$BYRE" create -q -f qcow2 -o data_file=kept.raw,data_file_raw=on,keep_data_file=on image.qcow2 1M
assert_same_file disk.raw kept.raw
assert_same_disk -f qcow2 -F raw image.qcow2 disk.raw
assert_clean image.qcow2
run_fails 1 'Compression not supported with an external data file' \
    "$BYRE" convert -c -O qcow2 -o data_file=d.raw image.qcow2 x.qcow2
assert_missing x.qcow2
assert_missing d.raw

# A relative name: from the working directory, as QEMU has it, or else from the directory of the image.
mkdir sub
run_ok "$BYRE" create -q -f qcow2 -o data_file=moved.raw sub/image.qcow2 1M
qemu_io -f qcow2 -c 'write -q -P 3 0 64k' sub/image.qcow2
run_ok "$BYRE" io -c 'read -P 3 0 64k' sub/image.qcow2
mv moved.raw sub/
run_ok "$BYRE" io -c 'read -P 3 0 64k' sub/image.qcow2
qemu-img create -q -f raw moved.raw 1M
run_ok "$BYRE" io -c 'read -P 0 0 64k' sub/image.qcow2
qemu_io -f qcow2 -c 'read -q -P 0 0 64k' sub/image.qcow2
