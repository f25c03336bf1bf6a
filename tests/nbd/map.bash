# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What byre map, and clients of the export at $URI, say of a disk, in the same words.

# map_of_image ARGUMENT...: ranges of the disk as byre map has them: "START LENGTH hole,zero", "data", "zero".
map_of_image() {
    "$BYRE" map --output=json "$@" >.map
    sed -n 's/.*"start": \([0-9]*\), "length": \([0-9]*\),.*"zero": \([a-z]*\), "data": \([a-z]*\).*/\1 \2 \3 \4/p' \
        .map | merge_ranges
}

# The same of the export at $URI, as nbdinfo has them.
map_of_export() {
    nbdinfo --map "$URI" | awk '{ print $1, $2, int($3 / 2) % 2 ? "true" : "false", $3 % 2 ? "false" : "true" }' |
        merge_ranges
}

# The same, as qemu-img has them.
map_of_export_by_qemu() {
    qemu-img map -f raw --output=json "$URI" |
        sed -n 's/.*"start": \([0-9]*\), "length": \([0-9]*\),.*"zero": \([a-z]*\), "data": \([a-z]*\).*/\1 \2 \3 \4/p' |
        merge_ranges
}

merge_ranges() {
    awk 'NR > 1 && $3 == zero && $4 == data { length_ += $2; next }
        NR > 1 { print start, length_, "zero=" zero, "data=" data }
        { start = $1; length_ = $2; zero = $3; data = $4 }
        END { print start, length_, "zero=" zero, "data=" data }'
}

# depths_of_image ARGUMENT...: "START LENGTH DEPTH" of each range that is in a layer of the chain, 1 being the first.
depths_of_image() {
    "$BYRE" map --output=json "$@" >.map
    sed -n 's/.*"start": \([0-9]*\), "length": \([0-9]*\), "depth": \([0-9]*\), "present": true.*/\1 \2 \3/p' .map |
        awk '{ print $1, $2, $3 + 1 }' | merge_depths
}

# The same of the export at $URI, whose server offers qemu:allocation-depth.
depths_of_export() {
    nbdinfo --map=qemu:allocation-depth "$URI" | awk '$3 { print $1, $2, $3 }' | merge_depths
}

merge_depths() {
    awk 'NR > 1 && $3 == depth && $1 == start + length_ { length_ += $2; next }
        NR > 1 { print start, length_, depth }
        { start = $1; length_ = $2; depth = $3 }
        END { if (NR) print start, length_, depth }'
}

# assert_same_map ARGUMENT...: the export at $URI has the ranges that byre map ARGUMENT... shows.
assert_same_map() {
    local wanted
    wanted=$(map_of_image "$@")
    assert_equal "$wanted" "$(map_of_export)" "ranges of $*, by nbdinfo"
    assert_equal "$wanted" "$(map_of_export_by_qemu)" "ranges of $*, by qemu-img"
}
