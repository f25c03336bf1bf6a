#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Bitmap directories and tables that cannot be: errors name the bitmap and the field, no memory is taken for what is
# not there, and guest data is never at risk: what cannot be followed is marked, what lies on metadata is refused.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/bad/bad.bash"

qemu-img create -q -f qcow2 -o cluster_size=4k good.qcow2 16M
qemu-img bitmap --add -g 512 good.qcow2 one
qemu-img bitmap --add --disable -g 512 good.qcow2 two
qemu_io -c 'write -q -P 7 1M 100k' good.qcow2
# clusters of 4 KiB: the extension is the first one
data=120
[ "$(get_hex good.qcow2 $((data - 8)) 4)" = 23852875 ] || fail 'the extension is not where it was'
directory=$(get_be64 good.qcow2 $((data + 16)))
table=$(get_be64 good.qcow2 "$directory")
bits=$(get_be64 good.qcow2 "$table")
size=$(file_size good.qcow2)

# start: a copy to be spoiled.
start() {
    cp good.qcow2 bad.qcow2
}

# cannot_open REGEX: whoever wants to write is told why, and nothing happens; the disk can be read.
cannot_open() {
    cp bad.qcow2 before.qcow2
    run_fails 1 "$1" limited "$BYRE" bitmap --clear bad.qcow2 one
    run_fails 1 "$1" limited "$BYRE" bitmap --add bad.qcow2 three
    run limited "$BYRE" io -c 'write 0 4k' bad.qcow2
    [ "$CODE" != 0 ] || fail 'it was written to'
    assert_match "$1" "$ERR"
    assert_same_file before.qcow2 bad.qcow2
    run_ok limited "$BYRE" io -r -c 'read -q -P 7 1M 100k' bad.qcow2
}

# set_aside REGEX: the bitmap 'one' cannot be used; it is marked as in use with the first write, and can be removed.
set_aside() {
    cp bad.qcow2 before.qcow2
    run_fails 1 "$1" limited "$BYRE" bitmap --clear bad.qcow2 one
    run_fails 1 "$1" limited "$BYRE" bitmap --merge one bad.qcow2 two
    assert_same_file before.qcow2 bad.qcow2
    run_ok limited "$BYRE" io -c 'write -q -P 9 0 4k' -c 'read -q -P 7 1M 100k' bad.qcow2
    assert_equal 1 $(($(get_be32 bad.qcow2 $((directory + 12))) & 1)) "in use after a write: $1"
    run_ok limited "$BYRE" bitmap --enable bad.qcow2 two
    run_ok limited "$BYRE" bitmap --remove bad.qcow2 one
    run_ok limited "$BYRE" bitmap --add bad.qcow2 one
    run_ok limited "$BYRE" io -c 'write -q -P 9 0 4k' -c 'read -q -P 7 1M 100k' bad.qcow2
}

# the extension
start && put_be32 bad.qcow2 $data 0 && cannot_open 'nb_bitmaps is 0'
start && put_be32 bad.qcow2 $data 3 && cannot_open 'Less bitmaps found'
start && put_be32 bad.qcow2 $data 1 && cannot_open 'More bitmaps found'
start && put_be32 bad.qcow2 $data 0xffffffff && cannot_open 'exceeding the supported maximum.*nb_bitmaps'
start && put_be32 bad.qcow2 $data 65535 && cannot_open 'Less bitmaps found'
start && put_be32 bad.qcow2 $((data + 4)) 1 && cannot_open 'Reserved field'
start && put_be64 bad.qcow2 $((data + 8)) 63 && cannot_open 'bitmap 1: .*(exceeds the directory|Less bitmaps)'
start && put_be64 bad.qcow2 $((data + 8)) 0 && cannot_open 'bitmap 0: Less bitmaps'
start && put_be64 bad.qcow2 $((data + 8)) 0xffffffffffff && cannot_open 'bitmap_directory_size'
start && put_be64 bad.qcow2 $((data + 8)) $((60 << 20)) && cannot_open 'beyond the end of the file'
start && put_be64 bad.qcow2 $((data + 16)) $((directory + 8)) && cannot_open 'bitmap_directory_offset'
start && put_be64 bad.qcow2 $((data + 16)) $((1 << 40)) && cannot_open 'beyond the end of the file'
start && put_be64 bad.qcow2 $((data + 16)) 0x7ffffffffffff000 && cannot_open 'beyond the end of the file'
start && put_be32 bad.qcow2 $((data - 4)) 16 && cannot_open 'Invalid extension length'

# entries of the directory
start && put_be32 bad.qcow2 $((directory + 20)) 0xffffffff && cannot_open 'bitmap 0: .*extra_data_size is 4294967295'
start && put_be16 bad.qcow2 $((directory + 32 + 18)) 65535 && cannot_open 'bitmap 1: .*name_size is 65535'
start && put_file bad.qcow2 $((directory + 32 + 24)) <<<one && truncate -s "$size" bad.qcow2 &&
    cannot_open 'already exists: one'
start && put_be64 bad.qcow2 "$directory" 0 && set_aside 'bitmap_table_offset'
start && put_be64 bad.qcow2 "$directory" $((table + 1)) && set_aside 'bitmap_table_offset'
start && put_be64 bad.qcow2 "$directory" $((1 << 50)) && set_aside 'passes the end of the file'
start && put_be32 bad.qcow2 $((directory + 8)) 0 && set_aside 'bitmap_table_size is 0'
start && put_be32 bad.qcow2 $((directory + 8)) 2 && set_aside 'bitmap_table_size does not fit'
start && put_be32 bad.qcow2 $((directory + 8)) 0xffffffff && set_aside 'bitmap_table_size is over'
start && put_be32 bad.qcow2 $((directory + 8)) 1048576 && set_aside 'passes the end of the file'
start && put_be32 bad.qcow2 $((directory + 12)) 0x80000002 && set_aside 'reserved flags'
start && put_bytes bad.qcow2 $((directory + 17)) 08 && set_aside 'granularity_bits'
start && put_bytes bad.qcow2 $((directory + 17)) ff && set_aside 'granularity_bits'
start && put_bytes bad.qcow2 $((directory + 16)) 02 && set_aside 'type is not 1'

# entries of a table: found out when they are needed
for entry in 1ff 0200000000000000 1000000000000001 $(printf '%x' $((bits + 512))) $(printf '%x' $((bits + 1))); do
    start
    put_be64 bad.qcow2 "$table" "0x$entry"
    cp bad.qcow2 before.qcow2
    run_fails 1 "bitmap 'one': bitmap table entry 0 cannot be" limited "$BYRE" bitmap --merge one bad.qcow2 two
    assert_same_file before.qcow2 bad.qcow2
    run_ok limited "$BYRE" io -c 'write -q -P 9 0 4k' -c 'read -q -P 7 1M 100k' bad.qcow2
    assert_equal 3 "$(get_be32 bad.qcow2 $((directory + 12)))" "flags with the entry $entry"
    run_ok limited "$BYRE" bitmap --remove bad.qcow2 one
    run_ok limited "$BYRE" io -c 'read -q -P 7 1M 100k' bad.qcow2
done

# clusters past the end of the file read as zero
start
put_be64 bad.qcow2 "$table" $((1 << 40))
run_ok limited "$BYRE" bitmap --merge one bad.qcow2 two

# bitmaps on other metadata, on each other, on the directory: nothing is written
overlaps() {
    cp bad.qcow2 before.qcow2
    run limited "$BYRE" io -c 'write 0 4k' bad.qcow2
    [ "$CODE" != 0 ] || fail 'it was written to'
    assert_match "lie at the same host offset" "$OUT$ERR"
    cmp <(tail -c +4097 before.qcow2) <(tail -c +4097 bad.qcow2) || fail 'something was written'
    run_ok limited "$BYRE" io -r -c 'read -q -P 7 1M 100k' bad.qcow2
}
l1=$(get_be64 good.qcow2 40)
refcounts=$(get_be64 good.qcow2 48)
for hoff in 0x1000 "$l1" "$refcounts" "$(get_be64 good.qcow2 "$refcounts")" $(($(get_be64 good.qcow2 "$l1") & 0xfffffffffffe00)) \
    "$directory" "$table"; do
    start
    put_be64 bad.qcow2 "$table" "$hoff"
    overlaps
done
start && put_be64 bad.qcow2 "$directory" "$l1" && overlaps
start && put_be64 bad.qcow2 $((directory + 32)) "$table" && overlaps

# many bitmaps with one table, which would be in memory once for each: found out before
run_ok "$BYRE" create -q -f qcow2 -o cluster_size=512 many.qcow2 16G
run_ok "$BYRE" bitmap --add -g 512 many.qcow2 one
data=120
[ "$(get_hex many.qcow2 $((data - 8)) 4)" = 23852875 ] || fail 'the extension is not where it was'
table=$(get_be64 many.qcow2 "$(get_be64 many.qcow2 $((data + 16)))")
end=$(file_size many.qcow2)
perl -e 'for my $i (1 .. 600) {
    my $name = sprintf("bitmap%04d", $i);
    print pack("Q>NNCCnN", $ARGV[0], 8192, 2, 1, 9, length $name, 0), $name, "\0" x (-(24 + length $name) % 8);
}' "$table" >>many.qcow2
put_be32 many.qcow2 $data 600
put_be64 many.qcow2 $((data + 8)) $(($(file_size many.qcow2) - end))
put_be64 many.qcow2 $((data + 16)) "$end"
run_fails 1 'bitmap tables up to that of bitmap [0-9]+ have more than .* they lie on one another' \
    limited "$BYRE" convert --bitmaps -O qcow2 many.qcow2 copy.qcow2
assert_missing copy.qcow2
