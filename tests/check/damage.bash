# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Finds the tables of a qcow2 image, and changes single entries of them.
#
# locate IMAGE sets CLUSTER (its size), L1, L2 (the first one), REFTABLE and REFBLOCK (the first one): offsets.

OFFSET_MASK=$((0x00fffffffffffe00))
COPIED=$((1 << 63))

locate() {
    CLUSTER=$((1 << $(get_be32 "$1" 20)))
    L1=$(get_be64 "$1" 40)
    L2=$(($(get_be64 "$1" "$L1") & OFFSET_MASK))
    REFTABLE=$(get_be64 "$1" 48)
    REFBLOCK=$(($(get_be64 "$1" "$REFTABLE") & OFFSET_MASK))
    REFCOUNT_ORDER=4
    [ "$(get_be32 "$1" 4)" = 2 ] || REFCOUNT_ORDER=$(get_be32 "$1" 96)
}

# l2_entry IMAGE INDEX: prints it.
l2_entry() {
    get_be64 "$1" "$L2 + 8 * $2"
}

# set_l2 IMAGE INDEX VALUE
set_l2() {
    put_be64 "$1" "$L2 + 8 * $2" "$3"
}

# set_refcount IMAGE CLUSTER VALUE: for the clusters of the first refcount block.
set_refcount() {
    local bits=$((1 << REFCOUNT_ORDER)) at byte shift
    if [ "$bits" -ge 8 ]; then
        put_bytes "$1" "$REFBLOCK + $2 * $bits / 8" "$(printf "%0$((bits / 4))x" "$3")"
        return
    fi
    at=$((REFBLOCK + $2 * bits / 8))
    shift=$(($2 * bits % 8))
    byte=$((0x$(get_hex "$1" "$at" 1) & ~(((1 << bits) - 1) << shift) | $3 << shift))
    put_bytes "$1" "$at" "$(printf '%02x' "$byte")"
}

# data_cluster IMAGE INDEX: the host cluster of an L2 entry.
data_cluster() {
    echo $((($(l2_entry "$1" "$2") & OFFSET_MASK) / CLUSTER))
}

# damage KIND IMAGE: does it.  The image has data in its first 8 clusters.
damage() {
    local image=$2
    locate "$image"
    case $1 in
    nothing) ;;
    dirty) put_be64 "$image" 72 1 ;;
    marked-corrupt) put_be64 "$image" 72 2 ;;
    leak) set_l2 "$image" 3 0 ;;
    leaks) for i in 1 3 5; do set_l2 "$image" "$i" 0; done ;;
    high-refcount) set_refcount "$image" "$(data_cluster "$image" 2)" 3 ;;
    high-metadata-refcount) set_refcount "$image" 1 2 ;;
    low-refcount) set_refcount "$image" "$(data_cluster "$image" 2)" 0 ;;
    low-l2-refcount) set_refcount "$image" "$((L2 / CLUSTER))" 0 ;;
    low-header-refcount) set_refcount "$image" 0 0 ;;
    shared) set_l2 "$image" 1 "$(l2_entry "$image" 0)" ;;
    shared-counted)
        set_l2 "$image" 1 "$(l2_entry "$image" 0)"
        set_refcount "$image" "$(data_cluster "$image" 0)" 2
        ;;
    flag-missing) set_l2 "$image" 4 "$(($(l2_entry "$image" 4) & ~COPIED))" ;;
    l1-flag-missing) put_be64 "$image" "$L1" "$L2" ;;
    flag-and-leak)
        set_l2 "$image" 3 0
        set_l2 "$image" 4 "$(($(l2_entry "$image" 4) & ~COPIED))"
        ;;
    past-end) set_l2 "$image" 2 $((COPIED | 1 << 40)) ;;
    far-past-end) set_l2 "$image" 2 $((0x00ffffffffe00000)) ;;
    just-past-end) set_l2 "$image" 2 $((($(file_size "$image") + CLUSTER - 1) / CLUSTER * CLUSTER)) ;;
    compressed-past-end) set_l2 "$image" 2 $((1 << 62 | 1 << 40)) ;;
    compressed-copied) set_l2 "$image" 2 "$((3 << 62 | $(data_cluster "$image" 2) * CLUSTER))" ;;
    compressed-shares) set_l2 "$image" 2 "$((1 << 62 | $(data_cluster "$image" 3) * CLUSTER + 17))" ;;
    reserved-bit) set_l2 "$image" 2 "$(($(l2_entry "$image" 2) | 1 << 57))" ;;
    reserved-low-bit) set_l2 "$image" 9 4 ;;
    l1-reserved-bit) put_be64 "$image" "$L1" "$((COPIED | L2 | 1 << 60))" ;;
    unaligned) set_l2 "$image" 2 "$(($(l2_entry "$image" 2) | 512))" ;;
    unaligned-zero) set_l2 "$image" 2 "$(($(l2_entry "$image" 2) | 513))" ;;
    l2-past-end) put_be64 "$image" "$L1" $((COPIED | 1 << 40)) ;;
    overlaps-l1) set_l2 "$image" 2 "$((COPIED | L1))" ;;
    overlaps-header) set_l2 "$image" 2 $((1 << 62 | 600)) ;;
    block-missing) put_be64 "$image" "$REFTABLE" 0 ;;
    block-past-end) put_be64 "$image" "$REFTABLE + 8" $((1 << 40)) ;;
    block-twice) put_be64 "$image" "$REFTABLE + 8" "$REFBLOCK" ;;
    table-past-end) put_be64 "$image" 48 $((1 << 40)) ;;
    table-unaligned) put_be64 "$image" 48 "$((REFTABLE + 512))" ;;
    table-is-l1) put_be64 "$image" 48 "$L1" ;;
    table-is-header) put_be64 "$image" 48 0 ;;
    table-describes-itself) put_be64 "$image" "$REFTABLE" "$REFTABLE" ;;
    block-is-data) put_be64 "$image" "$REFTABLE + 8" "$(($(data_cluster "$image" 2) * CLUSTER))" ;;
    beyond-size)
        locate "$image"
        put_be64 "$image" "$L2 + $CLUSTER - 8" "$(l2_entry "$image" 7)"
        set_l2 "$image" 7 0
        ;;
    *) fail "unknown damage $1" ;;
    esac
}
