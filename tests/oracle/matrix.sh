# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# The matrix: version x cluster size x refcount width x compression x backing x subclusters, in both directions.
#
# A script names the cluster sizes that it takes care of.  With TEST_QUICK it takes every eleventh cell of the
# matrix, which is prime to the length of every axis: all values come up, not all combinations.

DISK_SIZE=$((6 * 1048576 + 1536)) # more than three of the largest clusters, and no multiple of any

# Sets CELLS to lines "version refcount_bits compression backing extended_l2".
list_cells() {
    local compressions='none zlib' compression bits backing
    if has ZSTD; then
        compressions='none zlib zstd'
    fi
    CELLS=$(
        for backing in no yes; do
            for compression in none zlib; do
                echo "0.10 16 $compression $backing off"
            done
            for bits in 1 2 4 8 16 32 64; do
                for compression in $compressions; do
                    echo "1.1 $bits $compression $backing off"
                done
                echo "1.1 $bits none $backing on"
                echo "1.1 $bits zlib $backing on"
            done
        done
    )
}

# for_each_cell FUNCTION CLUSTER_SIZE...: calls FUNCTION CLUSTER_SIZE VERSION BITS COMPRESSION BACKING EXTENDED.
for_each_cell() {
    local function=$1 cluster_size version bits compression backing extended index=0 done=0
    shift
    list_cells
    for cluster_size; do
        while read -r version bits compression backing extended; do
            if [ "$extended" = on ] && [ $((cluster_size)) -lt 16384 ]; then
                continue
            fi
            index=$((index + 1))
            if [ -z "$TEST_QUICK" ] || [ $((index % 11)) = 1 ]; then
                CELL="cluster_size=$cluster_size version=$version refcount_bits=$bits $compression backing=$backing"
                CELL+=" extended_l2=$extended"
                "$function" "$cluster_size" "$version" "$bits" "$compression" "$backing" "$extended" ||
                    fail "in the cell $CELL"
                rm -f image.qcow2 image.raw
                done=$((done + 1))
            fi
        done <<<"$CELLS"
    done
    echo "$done cells"
    [ "$done" -gt 0 ]
}

# The creation options of a cell.
cell_options() {
    local options="cluster_size=$1,compat=$2,refcount_bits=$3"
    if [ "$4" = zstd ]; then
        options+=,compression_type=zstd
    fi
    if [ "$6" = on ]; then
        options+=,extended_l2=on
    fi
    echo "$options"
}

# source.raw: text, noise, zeros that are written, holes, single sectors, and an odd end.
make_source() {
    truncate -s "$DISK_SIZE" source.raw
    text 1 600000 | put_file source.raw 0
    noise 1 300000 | put_file source.raw 1M
    text 9 1024 | put_file source.raw $((1572864 + 512))
    head -c 200K /dev/zero | put_file source.raw 2M
    noise 2 512 | put_file source.raw $((2097152 + 65536))
    noise 3 1400 | put_file source.raw $((DISK_SIZE - 1400))
}

# base.qcow2, by qemu-img: what an overlay hides partly.  Shorter than the overlay.
make_base() {
    qemu-img create -q -f qcow2 base.qcow2 4M
    qemu_io -f qcow2 -c 'write -q -P 0xba 0 1M' -c 'write -q -P 0xbb 1500K 700K' \
        -c 'write -q -P 0xbc 4000K 96K' base.qcow2
}

# changed.qcow2, by qemu-img: base.qcow2 with an overlay on it that has a bit of everything.
make_changed() {
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 changed.qcow2 "$DISK_SIZE"
    qemu_io -f qcow2 -c 'write -q -P 0xc1 64K 32K' -c 'write -q -z 512K 128K' -c 'write -q -P 0xc2 2047K 5K' \
        -c 'write -q -P 0 1600K 64K' -c 'write -q -P 0xc3 4M 512' -c "write -q -P 0xc4 $((DISK_SIZE - 512)) 512" \
        changed.qcow2
}

byre_writes() {
    local options compress=()
    options=$(cell_options "$@")
    if [ "$4" != none ]; then
        compress=(-c)
    fi
    if [ "$5" = no ]; then
        run_ok "$BYRE" convert -q -f raw -O qcow2 "${compress[@]}" -o "$options" source.raw image.qcow2
        assert_same_disk -f raw -F qcow2 source.raw image.qcow2
    else
        run_ok "$BYRE" convert -q -f qcow2 -O qcow2 "${compress[@]}" -o "$options" -B base.qcow2 -F qcow2 \
            changed.qcow2 image.qcow2
        assert_same_disk -f qcow2 -F qcow2 changed.qcow2 image.qcow2
    fi
    assert_clean image.qcow2
    assert_checked image.qcow2
    qemu-img info -f qcow2 image.qcow2 >info.txt
    grep -qx "cluster_size: $(($1))" info.txt
    grep -qx "    compat: $2" info.txt
    [ "$2" = 0.10 ] || grep -qx "    refcount bits: $3" info.txt
    [ "$2" = 0.10 ] || grep -qx "    extended l2: $([ "$6" = on ] && echo true || echo false)" info.txt
    [ "$5" = no ] || grep -qx 'backing file: base.qcow2' info.txt
}

# Writes an image with qemu-io, and lets byre read it.
qemu_writes() {
    local c=$(($1)) options backing=() compressed=()
    options=$(cell_options "$@")
    if [ "$5" = yes ]; then
        backing=(-b base.qcow2 -F qcow2)
    fi
    if [ "$4" != none ]; then
        compressed=(-c "write -q -c -P 0x51 0 $c" -c "write -q -c -s noise.bin $((2 * c)) $c")
        # far enough to be neighbours in one host cluster
        compressed+=(-c "write -q -c -P 0x52 $((1048576 > 2 * c ? 1048576 : c)) $c")
    fi
    qemu-img create -q -f qcow2 -o "$options" "${backing[@]}" image.qcow2 "$DISK_SIZE"
    qemu_io -f qcow2 "${compressed[@]}" \
        -c 'write -q -P 0x61 100K 130K' -c 'write -q -P 0x62 1300K 512' -c 'write -q -P 0x63 3000K 700K' \
        -c 'write -q -z 1408K 192K' -c 'write -q -z -u 3200K 100K' -c 'discard -q 3400K 150K' \
        -c 'write -q -z 700000 1000' -c "write -q -P 0x64 $((DISK_SIZE - 1024)) 1024" image.qcow2
    qemu-img convert -f qcow2 -O raw image.qcow2 image.raw

    run_ok "$BYRE" convert -q -f qcow2 -O raw image.qcow2 byre.raw
    assert_same_file byre.raw image.raw
    run_ok "$BYRE" compare -q -f qcow2 -F raw image.qcow2 image.raw
    assert_checked image.qcow2
    run_ok "$BYRE" map -f qcow2 --output=json image.qcow2
    assert_equal "$(qemu-img map -f qcow2 --output=json image.qcow2)" "$OUT" map
}

# byre_writes_matrix CLUSTER_SIZE...
byre_writes_matrix() {
    make_source
    make_base
    make_changed
    for_each_cell byre_writes "$@"
}

# qemu_writes_matrix CLUSTER_SIZE...
qemu_writes_matrix() {
    noise 4 2097152 >noise.bin
    make_base
    for_each_cell qemu_writes "$@"
}
