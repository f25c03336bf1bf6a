#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Snapshot tables and L1 tables of snapshots that cannot be true: refused in bounded time and memory, with the entry and
# the field, and the image unchanged.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/bad/bad.bash"
slow

qemu-img create -q -f qcow2 -o cluster_size=4k good.qcow2 1M
qemu_io -f qcow2 -c 'write -q -P 1 0 64k' good.qcow2
qemu-img snapshot -c one good.qcow2
qemu-img snapshot -c two good.qcow2
qemu_io -f qcow2 -c 'write -q -P 2 0 32k' good.qcow2
table=$(get_be64 good.qcow2 64)
second=$((table + 72))
l1=$(get_be64 good.qcow2 "$table")
mask=$(((1 << 56) - 512))
l2=$(($(get_be64 good.qcow2 "$l1") & mask))
active=$(get_be64 good.qcow2 40)
active_l2=$(($(get_be64 good.qcow2 "$active") & mask))
blocks=$(get_be64 good.qcow2 "$(get_be64 good.qcow2 48)")
truncate -s 1M plain.raw

# refused REGEX VERB...: fails like that, and the image is as it was, apart from its corrupt and dirty bits.
refused() {
    local regex=$1
    shift
    cp bad.qcow2 before.qcow2
    run limited "$BYRE" "$@"
    if [ "$CODE" != 1 ] || ! [[ $ERR =~ $regex ]] || ! is_one_line; then
        show_run "$BYRE" "$@"
        fail "this was to be refused: $regex"
    fi
    put_be64 bad.qcow2 72 "$(get_be64 before.qcow2 72)"
    assert_same_file before.qcow2 bad.qcow2
}

# Nothing that changes the image gets by.
all_refused() {
    refused "$1" snapshot -c new bad.qcow2
    refused "$1" snapshot -a one bad.qcow2
    refused "$1" snapshot -d one bad.qcow2
    refused "$1" convert -n -f raw -O qcow2 plain.raw bad.qcow2
}

damaged() {
    cp good.qcow2 bad.qcow2
}

# the table
damaged; put_be32 bad.qcow2 60 65537
refused 'nb_snapshots is 65537' snapshot -l bad.qcow2
damaged; put_be32 bad.qcow2 60 65536
all_refused 'entry|beyond the end'
refused 'entry|beyond the end' snapshot -l bad.qcow2
damaged; put_be64 bad.qcow2 64 $((1 << 50))
refused 'Snapshot table lies beyond the end of the file' snapshot -l bad.qcow2
damaged; put_be64 bad.qcow2 64 $((table + 1))
refused 'Snapshot table offset invalid' snapshot -l bad.qcow2

# an entry
damaged; put_be32 bad.qcow2 $((second + 36)) 1025
all_refused 'Too much extra metadata in snapshot table entry 1 \(its size is 1025\)'
refused 'entry 1' convert -l one -O raw bad.qcow2 out.raw
damaged; put_be16 bad.qcow2 $((second + 14)) 65535; truncate -s $((second + 72)) bad.qcow2
all_refused 'entry 1 lies beyond the end|beyond the end of the file'
damaged; put_be64 bad.qcow2 "$second" $((l1 + 512))
all_refused 'Snapshot L1 table offset invalid \(snapshot table entry 1, l1_table_offset is 0x[0-9a-f]*200\)'
refused 'entry 1' convert -l two -O raw bad.qcow2 out.raw
damaged; put_be64 bad.qcow2 "$second" $((1 << 40))
all_refused 'entry 1, l1_table_offset is 0x10000000000'
damaged; put_be32 bad.qcow2 $((second + 8)) 4194305
all_refused 'Snapshot L1 table too large \(snapshot table entry 1, l1_size is 4194305\)'
damaged; put_be32 bad.qcow2 $((second + 8)) 4194304
all_refused 'Snapshot L1 table lies beyond .* entry 1, .*l1_size is 4194304'
damaged; put_be64 bad.qcow2 $((second + 48)) $((1 << 62))
all_refused 'Snapshot is too big \(snapshot table entry 1, its disk size is 4611686018427387904\)'

# Tables that lie on each other: all of them are told apart before anything is changed.
damaged; put_be64 bad.qcow2 "$second" "$l1"
all_refused 'L1 table of a snapshot and snapshot table lie at the same host offset'
damaged; put_be64 bad.qcow2 "$second" "$blocks"
all_refused 'refcount block and snapshot table lie at|lie at the same host offset'
damaged; put_be64 bad.qcow2 "$l1" "$blocks"
all_refused 'lie at the same host offset'
damaged; put_be64 bad.qcow2 "$l1" "$table"
all_refused 'lie at the same host offset'
damaged; put_be64 bad.qcow2 "$second" "$active_l2"
all_refused 'lie at the same host offset'

# Entries of a snapshot's tables.
damaged; put_be64 bad.qcow2 "$l1" $((l2 + 512))
refused 'L2 table offset 0x[0-9a-f]+ unaligned' snapshot -a one bad.qcow2
refused 'L2 table offset 0x[0-9a-f]+ unaligned' snapshot -d one bad.qcow2
damaged; put_be64 bad.qcow2 "$l1" $((1 << 50))
refused 'has no refcount block|refcount of the L2 table' snapshot -a one bad.qcow2
refused 'has no refcount block|refcount of the L2 table' snapshot -d one bad.qcow2
for entry in $((1 << 50)) $(((1 << 50) + 512)) "$table" "$active" "$blocks" "$active_l2" 4096; do
    damaged
    put_be64 bad.qcow2 "$((l2 + 64))" "$entry"
    refused 'lies on metadata|is unaligned|has no refcount block' snapshot -d two bad.qcow2
    refused 'lies on metadata|is unaligned|has no refcount block' snapshot -a two bad.qcow2
done
# a compressed cluster beyond everything
damaged; put_be64 bad.qcow2 "$((l2 + 64))" $(((1 << 62) + (1 << 50)))
refused 'has no refcount block' snapshot -d two bad.qcow2

# L1 tables in a file with holes, one behind the other, which would take as long to read as if they were there.
run_ok "$BYRE" create -q -f qcow2 holes.qcow2 1M
truncate -s 1M holes.qcow2
perl -e 'for my $i (0 .. 199) {
    print pack("Q>NnnN2Q>N2Q>2a4", (2 << 20) + $i * (32 << 20), 4 << 20, 4, 0, 0, 0, 0, 0, 16, 0, 1 << 20, sprintf "%04d", $i),
        "\0" x 4;
}' >>holes.qcow2
truncate -s 7G holes.qcow2
put_be32 holes.qcow2 60 200
put_be64 holes.qcow2 64 $((1 << 20))
mv holes.qcow2 bad.qcow2
run_ok "$BYRE" snapshot -l bad.qcow2
assert_equal 202 "$(wc -l <<<"$OUT")" 'lines of the list'
run_fails 1 'the L1 tables of the snapshots up to snapshot table entry [0-9]+ have more than' \
    limited "$BYRE" snapshot -c new bad.qcow2
rm bad.qcow2

# Refcounts that are too small: what somebody else needs is not freed.
data=$(($(get_be64 good.qcow2 "$((l2 + 120))") / 4096 % (1 << 40)))
damaged; put_be16 bad.qcow2 "$blocks + 2 * $data" 1
refused 'would have no reference left' snapshot -d one bad.qcow2
damaged; put_be16 bad.qcow2 "$blocks + 2 * $((l2 / 4096))" 1
refused 'the refcount of the L2 table .* is 1, but 2 L1 entries lead there' snapshot -d one bad.qcow2
damaged; put_be16 bad.qcow2 "$blocks + 2 * $data" 0
refused 'is 0 and cannot be lowered' snapshot -d one bad.qcow2
refused 'is 0, but it has' snapshot -c new bad.qcow2

# It is mended, and then it works.
run "$BYRE" check -r all bad.qcow2
run_ok "$BYRE" snapshot -d one bad.qcow2
assert_clean bad.qcow2
