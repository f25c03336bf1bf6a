#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# recover: images whose header, L1 table or L2 tables are destroyed, made by qemu-img and by byre.  What is certain is what
# the guest has written; the damaged image is never changed.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/check/damage.bash"
. "$TEST_TOP/tests/hold.bash"

# make_image PROGRAM OPTIONS: image.qcow2, three L2 tables with data of 4 KiB clusters, and plain.raw.
make_image() {
    rm -f image.qcow2
    "$1" create -q -f qcow2 -o "cluster_size=4k,$2" image.qcow2 6M
    qemu_io -f qcow2 -c 'write -q -P 1 0 500k' -c 'write -q -P 2 2100k 300k' -c 'write -q -P 3 4500k 100k' \
        -c 'write -q -P 4 600k 10k' -c 'write -q -P 5 6100k 44k' -c 'write -q -z 100k 8k' image.qcow2
    qemu-img convert -f qcow2 -O raw image.qcow2 plain.raw
    truncate -s 6M plain.raw
}

# damage_with HEX-BYTE OFFSET LENGTH
fill() {
    put_bytes image.qcow2 "$2" "$(printf "$1%.0s" $(seq "$3"))"
}

# recover CODE OPTION...: into new.qcow2; $OUT is the report; the image stays as it is.
recover() {
    local code=$1
    shift
    cp image.qcow2 before.qcow2
    rm -f new.qcow2
    run "$BYRE" recover "$@" image.qcow2 new.qcow2
    assert_equal "$code" "$CODE" "exit code of recover $* ($ERR)"
    assert_same_file before.qcow2 image.qcow2
}

# All that was written is there.
assert_all() {
    assert_clean new.qcow2
    assert_same_disk -f raw -F qcow2 plain.raw new.qcow2
}

# Every part that is reported as certain is the same as before.
assert_certain_parts() {
    local start length
    qemu-img convert -f qcow2 -O raw new.qcow2 new.raw
    while read -r start length; do
        cmp <(tail -c +$((start + 1)) plain.raw | head -c "$length") <(tail -c +$((start + 1)) new.raw | head -c "$length") ||
            fail "the part at $start differs, and is certain"
    done < <(sed -nE 's/^certain +([0-9]+) bytes from ([0-9]+).*/\2 \1/p' <<<"$OUT")
}

for program in qemu-img "$BYRE"; do
    for options in compat=1.1 compat=0.10 refcount_bits=64 lazy_refcounts=on; do
        make_image "$program" $options
        locate image.qcow2

        recover 0
        assert_match '3 parts certain, 0 guessed, 0 lost; 0 L2 tables unplaced' "$OUT"
        assert_all
        recover 0 -O raw
        assert_same_file plain.raw new.qcow2
        recover 0 -q
        assert_equal '' "$OUT"
        assert_all

        # the magic alone
        put_be32 image.qcow2 0 0
        recover 2
        assert_match 'Header: guessed' "$OUT"
        assert_all

        # the header
        fill 00 0 104
        recover 2 --size=6M
        assert_match 'Header: lost' "$OUT"
        assert_match 'L1 table: guessed' "$OUT"
        assert_match 'Cluster size: 4096 bytes \(guessed\)' "$OUT"
        assert_all
        fill a5 0 4096
        recover 2 --size=6M --cluster-size=4k
        assert_match 'Cluster size: 4096 bytes \(certain\)' "$OUT"
        assert_all
        recover 2
        assert_match 'Disk size: [0-9]+ bytes \(guessed\)' "$OUT"
        assert_clean new.qcow2

        # ... and the L1 table: the tables are in the order of the disk
        fill 00 "$L1" 24
        recover 2 --size=6M
        assert_match 'L1 table: lost' "$OUT"
        assert_match 'by the order in the file' "$OUT"
        assert_all

        # one entry of the L1 table
        make_image "$program" $options
        put_be64 image.qcow2 "$L1 + 8" 0x1234567890abcdef
        recover 2
        assert_match 'guessed +2097152 bytes from 2097152, .* the table that is left for it' "$OUT"
        assert_all
        put_bytes image.qcow2 "$(($(get_be64 image.qcow2 "$L1 + 16") & OFFSET_MASK)) + 16" 77
        put_be64 image.qcow2 "$L1 + 16" 0x1234567890abcdef
        recover 2
        assert_match 'lost +2097152 bytes from 2097152, 0 clusters: its entry of the L1 table is destroyed' "$OUT"
        assert_match 'unplaced .* L2 table at' "$OUT"
        assert_certain_parts

        # an L2 table, whole and in part
        make_image "$program" $options
        fill a5 "$L2" 4096
        recover 2
        assert_match 'lost +2097152 bytes from 0, .* nothing is left of its L2 table' "$OUT"
        assert_match '2 parts certain' "$OUT"
        assert_certain_parts
        make_image "$program" $options
        fill a5 "$L2 + 512" 512
        recover 2
        assert_match 'guessed +2097152 bytes from 0, .* 64 lost: what is left of an L2 table' "$OUT"
        assert_certain_parts
        [ -z "$TEST_QUICK" ] || break
    done
done

# snapshots: their L1 tables are no mistake; where the disk's is destroyed, they help
make_image qemu-img compat=1.1
qemu-img snapshot -c one image.qcow2
qemu_io -f qcow2 -c 'write -q -P 7 0 100k' image.qcow2
qemu-img convert -f qcow2 -O raw image.qcow2 plain.raw
locate image.qcow2
recover 0
assert_all
fill 00 0 104
recover 2 --size=6M
assert_all
make_image qemu-img compat=1.1
qemu-img snapshot -c one image.qcow2
put_be64 image.qcow2 "$L1 + 8" 7
recover 2
assert_match 'guessed .*from another L1 table that was found' "$OUT"
assert_all

# compressed and extended clusters, and a backing file
noise 1 300000 >noise.raw
text 7 600000 >>noise.raw
truncate -s 1M noise.raw
for type in zlib zstd; do
    [ $type = zlib ] || has ZSTD || continue
    qemu-img convert -c -O qcow2 -o compression_type=$type,cluster_size=4k noise.raw image.qcow2
    cp noise.raw plain.raw
    recover 0
    assert_all
done
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=16k image.qcow2 6M
qemu_io -f qcow2 -c 'write -q -P 1 3k 500k' -c 'write -q -z 9k 3k' image.qcow2
qemu-img convert -f qcow2 -O raw image.qcow2 plain.raw
recover 0
assert_all
qemu-img create -q -f raw base.raw 6M
qemu-io -f raw -c 'write -q -P 9 0 6M' base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw image.qcow2
qemu_io -f qcow2 -c 'write -q -P 1 64k 128k' -c 'write -q -z 1M 64k' image.qcow2
qemu-img convert -f qcow2 -O raw image.qcow2 plain.raw
recover 0
assert_match 'Backing file: base.raw' "$OUT"
assert_all
qemu-img create -q -f qcow2 -o extended_l2=on -b base.raw -F raw image.qcow2
qemu_io -f qcow2 -c 'write -q -P 1 66k 2k' -c 'write -q -z 128k 4k' -c 'write -q -P 2 192k 64k' image.qcow2
qemu_io -f qcow2 -c 'write -q -P 3 1M 2k' -c 'write -q -z 1030k 2k' -c 'write -q -P 4 6142k 2k' image.qcow2
qemu-img convert -f qcow2 -O raw image.qcow2 plain.raw
recover 0
assert_all
recover 0 --cluster-size=64k
assert_all

# JSON
make_image qemu-img compat=1.1
run_ok "$BYRE" recover --output=json image.qcow2 json.qcow2
perl -MJSON::PP -e 'local $/; my $r = decode_json(<STDIN>);
    exit !($r->{"virtual-size"} == 6291456 && @{$r->{parts}} == 3 && $r->{parts}[1]{start} == 2097152 &&
           $r->{parts}[1]{certainty} eq "certain" && $r->{header} eq "certain")' <<<"$OUT" || fail "JSON: $OUT"
run_ok "$BYRE" recover -q --output=json --target-format=raw image.qcow2 json.raw
assert_same_file plain.raw json.raw
run "$BYRE" recover -p image.qcow2 x.qcow2
assert_match '100.00/100%' "$OUT$ERR"

# mistakes
run_fails 1 'Expecting the name of the damaged image' "$BYRE" recover image.qcow2
cp image.qcow2 before.qcow2
run_fails 1 'is the damaged image itself' "$BYRE" recover image.qcow2 image.qcow2
ln image.qcow2 other-name
run_fails 1 'is the damaged image itself' "$BYRE" recover image.qcow2 other-name
assert_same_file before.qcow2 image.qcow2
rm other-name
run_fails 1 'Unknown file format' "$BYRE" recover -O vmdk image.qcow2 x
run_fails 1 'power of two' "$BYRE" recover --cluster-size=5000 image.qcow2 x
run_fails 1 'multiple of 512' "$BYRE" recover --size=1000 image.qcow2 x
run_fails 1 'No such file' "$BYRE" recover missing x
noise 5 100000 >noise.bin
run_fails 1 'too little of it is left' "$BYRE" recover noise.bin x
run_fails 1 'nothing in .* looks like a part of a qcow2 image' "$BYRE" recover --cluster-size=4k noise.bin x
assert_missing x

# while another program writes, with -U only
hold -f qcow2 image.qcow2
run_fails 1 'Failed to get .* lock' "$BYRE" recover image.qcow2 x
run "$BYRE" recover -U image.qcow2 x
assert_equal 0 "$CODE" "exit code of recover -U ($ERR)"
rm x
run "$BYRE" recover --force-share image.qcow2 x
assert_equal 0 "$CODE" "exit code of recover --force-share ($ERR)"
release
