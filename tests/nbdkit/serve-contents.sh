#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What clients read, and where they are told that zeros and holes are: of chains, layers, snapshots, compressed and
# preallocated images, and images with data files.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbdkit/nbdkit.sh"
slow

qemu-img create -q -f qcow2 base.qcow2 6M
qemu_io -c 'write -q -P 1 64k 1M' -c 'write -q -z 2M 256k' -c 'write -q -P 2 5M 1000' base.qcow2
qemu-img snapshot -c monday base.qcow2
qemu_io -c 'write -q -P 9 3M 128k' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 -o cluster_size=4k middle.qcow2 7M
qemu_io -c 'write -q -P 3 512k 20k' -c 'write -q -z 600k 64k' -c 'discard -q 700k 64k' middle.qcow2
qemu-img create -q -f qcow2 -b "$PWD/middle.qcow2" -F qcow2 -o extended_l2=on top.qcow2 8M
qemu_io -c 'write -q -P 4 5M 6k' -c 'write -q -P 5 7500k 100k' top.qcow2
text 1 3000000 >text.raw
truncate -s 4M text.raw
qemu-img convert -f raw -O qcow2 -c text.raw compressed.qcow2
qemu-img convert -f raw -O qcow2 -o preallocation=metadata,cluster_size=1M text.raw preallocated.qcow2
qemu-img convert -f raw -O qcow2 -o data_file=external.data text.raw external.qcow2
qemu-img create -q -f qcow2 -o preallocation=metadata reserved.qcow2 8M
qemu_io -c 'write -q -P 6 1M 64k' reserved.qcow2

for name in base middle top compressed preallocated external reserved text; do
    format=qcow2
    [ $name != text ] || format=raw
    file=$name.$format
    qemu-img convert -f $format -O raw "$file" expected.raw
    served expected.raw -f $format "$file" -- "$file"
    served expected.raw -f $format "$file" -- "file=$file" format=$format
done
grep -q '"zero": true, "data": true' <("$BYRE" map --output=json reserved.qcow2) || fail 'no allocated zeros'

# a name with options
qemu-img convert -f qcow2 -O raw base.qcow2 base.raw
served base.raw base.qcow2 -- "image-opts=driver=qcow2,file.filename=$PWD/base.qcow2"
served base.raw base.qcow2 -- "json:{'driver':'qcow2','file':{'driver':'file','filename':'$PWD/base.qcow2'}}"
dd if=base.raw of=part.raw bs=1M skip=1 count=2 status=none
served part.raw --image-opts driver=raw,offset=1M,size=2M,file.filename=base.raw -- \
    "image-opts=driver=raw,offset=1M,size=2M,file.filename=$PWD/base.raw"
# as raw, the image's own bytes
served base.qcow2 -f raw base.qcow2 -- base.qcow2 format=raw

# layers, with what is below and alone
qemu-img convert -f qcow2 -O raw middle.qcow2 middle.raw
qemu-img convert -f qcow2 -O raw top.qcow2 top.raw
served top.raw top.qcow2 -- top.qcow2 chain=0
served middle.raw middle.qcow2 -- top.qcow2 chain=1
served base.raw base.qcow2 -- top.qcow2 chain=2
served base.raw base.qcow2 -- "image-opts=driver=qcow2,file.filename=$PWD/top.qcow2" chain=2
qemu-img convert -O raw \
    'json:{"driver": "qcow2", "file": {"driver": "file", "filename": "middle.qcow2"}, "backing": null}' alone.raw
served alone.raw --image-opts driver=qcow2,file.filename=middle.qcow2,backing= -- top.qcow2 chain=1 backing=false
served middle.raw middle.qcow2 -- top.qcow2 chain=1 backing=true
# other names of backing files only where that is allowed
json="json:{'driver':'qcow2','file':{'driver':'file','filename':'$PWD/base.qcow2'}}"
qemu-img create -q -f qcow2 -b "$json" -F qcow2 far.qcow2
served base.raw --allow-backing=protocol far.qcow2 -- far.qcow2 allow-backing=protocol
served base.raw base.qcow2 -- far.qcow2 allow-backing=protocol chain=1

# snapshots: of the image, and of a layer
qemu-img convert -l monday -O raw base.qcow2 monday.raw
! cmp -s monday.raw base.raw || fail 'the snapshot is what the disk is'
"$BYRE" convert -l monday -O qcow2 base.qcow2 monday.qcow2
for snapshot in monday 1; do
    serve snapshot "$PLUGIN" base.qcow2 snapshot=$snapshot
    assert_serves monday.raw
    assert_equal true "$(info is_read_only)" 'snapshot='
    stop snapshot
done
serve snapshot "$PLUGIN" top.qcow2 chain=2 snapshot=monday
assert_serves monday.raw
stop snapshot

# in the background nbdkit works in another directory
"${served_by[@]}" nbdkit -r -U "$PWD/daemon.sock" -P daemon.pid "$PLUGIN" top.qcow2
clean_up kill "$(cat daemon.pid)"
URI="nbd+unix:///?socket=$PWD/daemon.sock"
assert_serves top.raw
