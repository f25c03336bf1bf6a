#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Data files that are missing, shorter, or no data files; names that strangers may put into an image; entries that lead
# elsewhere.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/bad/bad.bash
. "$TEST_TOP/tests/bad/bad.bash"

# with_name NAME: image.qcow2 records NAME as its data file, whose length is that of "data.raw".
with_name() {
    local offset
    [ ${#1} = 8 ] || fail "'$1' has not 8 characters"
    cp good.qcow2 image.qcow2
    offset=$(grep -abo data.raw image.qcow2 | head -n 1 | cut -d : -f 1)
    printf %s "$1" | put_file image.qcow2 "$offset"
}

# put_file is for files; this takes standard input.
put_file() {
    dd of="$1" bs=4096 oflag=seek_bytes seek="$2" conv=notrunc status=none
}

# info looks at the named file only.
refused() {
    local regex=$1 image=$2
    run_fails 1 "$regex" "$BYRE" map "$image"
    run_fails 1 "$regex" "$BYRE" convert -O raw "$image" x.raw
    assert_missing x.raw
    run_fails 2 "$regex" "$BYRE" compare "$image" "$image"
    run_fails 1 "$regex" "$BYRE" io -c 'read 0 512' "$image"
    run_ok "$BYRE" info "$image"
}

run_ok "$BYRE" create -q -f qcow2 -o data_file=data.raw good.qcow2 1M
run_ok "$BYRE" io -c 'write -P 5 0 200k' good.qcow2
cp good.qcow2 image.qcow2

# missing
mv data.raw elsewhere
refused "Could not open 'data.raw': No such file or directory" image.qcow2
options=driver=qcow2,file.filename=image.qcow2,data-file.filename=
run_ok "$BYRE" io --image-opts -c 'read -P 5 0 200k' ${options}elsewhere
run_ok "$BYRE" io --image-opts -c 'read -P 5 0 200k' "${options/data-file.file/data-file.driver=file,data-file.file}elsewhere"
mkdir directory
run_fails 1 'directory' "$BYRE" map --image-opts ${options}directory
run_fails 1 "Cannot find device='elsewhere' nor node-name='elsewhere'" \
    "$BYRE" map --image-opts "${options%.filename=}=elsewhere"
mv elsewhere data.raw

# shorter: the rest reads as zero, and comes back when it is written
truncate -s 100000 data.raw
run_ok "$BYRE" io -c 'read -P 5 0 100000' -c 'read -P 0 100000 104800' image.qcow2
run_ok "$BYRE" io -c 'write -P 6 150k 1k' -c 'read -P 6 150k 1k' -c 'read -P 0 120k 30k' image.qcow2
assert_clean image.qcow2

# an image without a data file
qemu-img create -q -f qcow2 plain.qcow2 1M
run_fails 1 "'data-file' can only be set for images with an external data file" \
    "$BYRE" map --image-opts driver=qcow2,file.filename=plain.qcow2,data-file.filename=data.raw

# no name at all: the length of the extension is 0, and what was the name is another one
cp good.qcow2 image.qcow2
offset=$(grep -abo data.raw image.qcow2 | head -n 1 | cut -d : -f 1)
put_be32 image.qcow2 $((offset - 8)) 0x12345678
refused "'data-file' is required for this image" image.qcow2
run_ok "$BYRE" io --image-opts -c 'read -P 5 0 100000' ${options}data.raw
with_name $'data\x01raw'
put_bytes image.qcow2 $((offset + 4)) 00
refused 'the name of the data file has a NUL byte' image.qcow2

# names of strangers
with_name 'null-co:'
refused "Could not open 'null-co:': data files can only be named by a path" image.qcow2
run_fails 1 'only allowed filename' "$BYRE" map --allow-backing=protocol image.qcow2
with_name 'json:{}x'
refused 'data files can only be named by a path' image.qcow2
with_name 'nbd:h:10'
refused 'data files can only be named by a path' image.qcow2
with_name 'ssh:abcd'
refused "Unknown protocol 'ssh'" image.qcow2
# the image itself, and an image of its chain: guests would write to metadata
with_name 'me.qcow2'
mv image.qcow2 me.qcow2
refused 'is the data file of an image, and an image of its chain' me.qcow2
run_fails 1 'is the data file of an image, and an image of its chain' "$BYRE" io -r -c 'read 0 512' --image-opts \
    'driver=qcow2,file.filename=me.qcow2,data-file.driver=raw,data-file.file.filename=./me.qcow2'
# nor the data file of two images
qemu-img create -q -f qcow2 -o data_file=lower.raw lower.qcow2 1M
qemu-img create -q -f qcow2 -o data_file=upper.raw -b lower.qcow2 -F qcow2 upper.qcow2
run_ok "$BYRE" io -r -c 'read -q 0 512' upper.qcow2
run_fails 1 "Backing file 'upper.raw' creates an infinite loop" "$BYRE" io -r -c 'read 0 512' \
    --image-opts "driver=qcow2,file.filename=upper.qcow2,backing.driver=qcow2,backing.file.filename=lower.qcow2,\
backing.data-file.driver=raw,backing.data-file.file.filename=upper.raw"
run_fails 1 . "$BYRE" io -c 'write 0 512' me.qcow2
cp good.qcow2 overlay.qcow2
run_ok "$BYRE" create -q -f qcow2 -b plain.qcow2 -F qcow2 -o data_file=data.raw overlay.qcow2
ln plain.qcow2 data_raw
offset=$(grep -abo data.raw overlay.qcow2 | head -n 1 | cut -d : -f 1)
put_bytes overlay.qcow2 $((offset + 4)) 5f
run_fails 1 . "$BYRE" map overlay.qcow2
rm data_raw

# entries that lead elsewhere, and compressed ones
run_ok "$BYRE" create -q -f qcow2 -o data_file=data.raw,cluster_size=64k good.qcow2 1M
run_ok "$BYRE" io -c 'write -P 5 0 200k' good.qcow2
l1=$(get_be64 good.qcow2 40)
l2=$(($(get_be64 good.qcow2 "$l1") & 0xffffffffffff))
for entry in 0x8000000000030000 0x0000000000030000 0x4000000000000000; do
    cp good.qcow2 image.qcow2
    put_be64 image.qcow2 $((l2 + 8)) $entry
    text='External data file host cluster offset does not match the guest cluster: 0x30000 \(guest offset 0x10000\)'
    [ $entry != 0x4000000000000000 ] ||
        text='Compressed cluster with an external data file: .* \(guest offset 0x10000\)'
    run_fails 1 "$text" "$BYRE" convert -O raw image.qcow2 x.raw
    assert_missing x.raw
    run_fails 1 "$text" "$BYRE" io -c 'write 64k 1k' image.qcow2
    run_ok "$BYRE" io -r -c 'read -P 5 0 64k' image.qcow2 # which is marked as corrupt now
done
