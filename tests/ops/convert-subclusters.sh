#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# convert into images with subclusters: zeros within clusters are not written, whatever was in the target before.
. "$(dirname "$0")/../lib.sh"
slow

truncate -s 12M source.raw
for ((i = 0; i < 90; i++)); do
    noise $i 4096 | put_file source.raw $((i * 131072 + i % 16 * 8192))
done
noise 100 700 | put_file source.raw $((12 * 1048576 - 700))

# The cluster size of OPTIONS in KiB.
cluster_kib() {
    local size=${1#cluster_size=}
    echo $(($(numfmt --from=iec "$(tr "[:lower:]" "[:upper:]" <<<"${size%%,*}")") / 1024))
}

# same SOURCE TARGET
same() {
    assert_same_disk -f raw -F qcow2 "$1" "$2"
    assert_clean "$2"
    assert_checked "$2"
}

for options in cluster_size=16k cluster_size=64k cluster_size=128k,refcount_bits=1 cluster_size=2M; do
    for sparse in 0 4k 64k; do
        run_ok "$BYRE" convert -S $sparse -f raw -O qcow2 -o "$options,extended_l2=on" source.raw ours.qcow2
        qemu-img convert -S $sparse -f raw -O qcow2 -o "$options,extended_l2=on" source.raw theirs.qcow2
        same source.raw ours.qcow2
        ours=$(du -k ours.qcow2 | cut -f 1)
        theirs=$(du -k theirs.qcow2 | cut -f 1)
        # and a cluster of metadata that byre has on the medium
        assert_at_most $((theirs + theirs / 8 + 64 + $(cluster_kib "$options"))) "$ours" "KiB of an image with $options and -S $sparse"

        # over what is there: data in place, zeros with a place, compressed clusters
        run_ok "$BYRE" create -q -f qcow2 -o "$options,extended_l2=on" old.qcow2 12M
        run_ok "$BYRE" io -c 'write -q -P 1 1M 3M' -c 'write -q -P 2 6M 2M' -c 'write -q -z 6M 2M' \
            -c 'write -q -c -P 3 8M 2M' -c 'write -q -P 4 10M 3000' -c 'write -q -P 5 12582000 912' old.qcow2
        run_ok "$BYRE" convert -n -S $sparse -f raw -O qcow2 source.raw old.qcow2
        same source.raw old.qcow2
    done
done

# an overlay: what is zero hides what is below
qemu-img create -q -f qcow2 base.qcow2 12M
qemu_io -c 'write -q -P 9 0 12M' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 -o extended_l2=on top.qcow2
qemu_io -c 'write -q -P 1 100k 6k' -c 'write -q -P 0 104k 4k' -c 'write -q -z 1M 300k' -c 'write -q -P 2 5M 1k' top.qcow2
run_ok "$BYRE" convert -O qcow2 -o extended_l2=on -B base.qcow2 -F qcow2 top.qcow2 copy.qcow2
assert_same_disk copy.qcow2 top.qcow2
assert_clean copy.qcow2
run_ok "$BYRE" convert -c -O qcow2 -o extended_l2=on top.qcow2 packed.qcow2
assert_same_disk packed.qcow2 top.qcow2
assert_clean packed.qcow2
