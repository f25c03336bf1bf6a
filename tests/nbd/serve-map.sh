#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The status of blocks is what byre map shows, in nbdinfo and in qemu-img map: for files with holes, images with all kinds
# of clusters, chains, snapshots, data files, and space that was only reserved.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
. "$TEST_TOP/tests/nbd/map.bash"
need nbdinfo nbdcopy
slow

# served IMAGE OPTION...: an export of the image, with the options of both byre map and the server, has its map.
served() {
    local image=$1 plain=plain.raw
    shift
    start_server -r -t -e 0 -A "$@" "$image"
    assert_same_map "$@" "$image"
    assert_equal "$(depths_of_image "$@" "$image")" "$(depths_of_export)" "layers of $image"
    # what the map is good for: copying by it loses nothing
    rm -f $plain copy.raw
    run_ok qemu-img convert -O raw "$@" "$image" $plain
    run_ok nbdcopy "$URI" copy.raw
    assert_same_file $plain copy.raw
    stop_server
}

# raw files
truncate -s 3M holes.raw
noise 1 70000 | put_file holes.raw 128K
noise 2 4096 | put_file holes.raw 2M
served holes.raw -f raw
truncate -s 1M empty.raw
served empty.raw -f raw
noise 3 65536 >full.raw
served full.raw -f raw

# all kinds of clusters, of several sizes
kinds() {
    qemu_io -f qcow2 -c 'write -q -P 1 0 192k' -c 'write -q -z 1M 64k' -c 'write -q -z -u 1152k 64k' -c 'write -q -c -P 2 2M 128k' \
        -c 'write -q -P 3 2240k 64k' -c 'write -q -P 4 3M 64k' -c 'write -q -z 3M 64k' -c 'discard -q 64k 64k' \
        -c 'write -q -P 5 4000k 5k' "$1"
}
mapfile -t all < <(printf '%s\n' cluster_size=64k cluster_size=512 cluster_size=128k compat=0.10 cluster_size=2k \
    extended_l2=on,cluster_size=16k extended_l2=on lazy_refcounts=on,cluster_size=4k | sampled)
for options in "${all[@]}"; do
    rm -f kinds.qcow2
    qemu-img create -q -f qcow2 -o "$options" kinds.qcow2 5M
    kinds kinds.qcow2
    served kinds.qcow2
done

# chains, also with layers that are shorter and longer, and a raw file at the bottom
qemu-img create -q -f qcow2 -F raw -b holes.raw middle.qcow2 6M
qemu_io -f qcow2 -c 'write -q -P 6 1M 64k' -c 'write -q -z 128k 64k' -c 'write -q -P 7 5M 64k' middle.qcow2
qemu-img create -q -f qcow2 -F qcow2 -b middle.qcow2 -o cluster_size=4k top.qcow2 5M
qemu_io -f qcow2 -c 'write -q -P 8 1028k 4k' -c 'write -q -z 2M 1k' -c 'write -q -P 9 4M 64k' top.qcow2
served top.qcow2
served middle.qcow2

# space that was reserved: zero, and there
for preallocation in metadata falloc full; do
    rm -f reserved.qcow2
    qemu-img create -q -f qcow2 -o preallocation=$preallocation reserved.qcow2 4M
    served reserved.qcow2
    qemu_io -f qcow2 -c 'write -q -P 1 1M 64k' reserved.qcow2
    served reserved.qcow2
done
run_ok "$BYRE" create -q -f qcow2 -o preallocation=metadata,cluster_size=4k reserved.qcow2 4M
served reserved.qcow2
start_server -r -t -A reserved.qcow2
assert_equal '0 4194304 zero=true data=true' "$(map_of_export)" "reserved space is there, and zero"
stop_server
# one that others stand on, and one that is written to while it is served
qemu-img create -q -f qcow2 -F qcow2 -b reserved.qcow2 above.qcow2
qemu_io -f qcow2 -c 'write -q -P 2 2M 64k' above.qcow2
served above.qcow2
start_server -t -e 0 reserved.qcow2
assert_equal '0 4194304 zero=true data=true' "$(map_of_export)" "before a write"
qemu_io -f raw -c 'write -q -P 1 2M 64k' "$URI"
assert_equal '0 2097152 zero=true data=true
2097152 65536 zero=false data=true
2162688 2031616 zero=true data=true' "$(map_of_export)" "after a write"
qemu_io -f raw -c 'discard -q 0 64k' -c 'read -q -P 1 2M 64k' -c 'read -q -P 0 1M 1M' "$URI"
stop_server INT
assert_checked reserved.qcow2

# in two layers of a long chain; the upper one was made larger
qemu-img create -q -f qcow2 -o preallocation=metadata layer0.qcow2 4M
for layer in {1..8}; do
    qemu-img create -q -f qcow2 -F qcow2 -b layer$((layer - 1)).qcow2 "layer$layer.qcow2"
done
qemu-img resize -q --preallocation=metadata layer8.qcow2 8M
qemu_io -f qcow2 -c 'write -q -P 2 5M 1M' layer8.qcow2
served layer8.qcow2

# with encryption nothing of the file is zero
qemu_encrypts create -q --object secret,id=s,data=open -f qcow2 \
    -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,preallocation=metadata secret.qcow2 1M
served driver=qcow2,file.filename=secret.qcow2,encrypt.key-secret=s --object secret,id=s,data=open --image-opts

# an external data file
qemu-img create -q -f qcow2 -o data_file=data.raw outside.qcow2 4M
qemu_io -f qcow2 -c 'write -q -P 1 64k 64k' -c 'write -q -z 1M 64k' outside.qcow2
served outside.qcow2
rm data.raw
qemu-img create -q -f qcow2 -o data_file=data.raw,data_file_raw=on own.qcow2 4M
qemu_io -f qcow2 -c 'write -q -P 1 64k 64k' own.qcow2
served own.qcow2

# what snapshots leave behind
qemu-img create -q -f qcow2 snapshots.qcow2 4M
qemu_io -f qcow2 -c 'write -q -P 1 0 1M' snapshots.qcow2
qemu-img snapshot -c one snapshots.qcow2
qemu_io -f qcow2 -c 'write -q -P 2 512k 1M' -c 'discard -q 0 64k' snapshots.qcow2
served snapshots.qcow2
