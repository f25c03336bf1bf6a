#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Converting into an image with subclusters that has contents: what lies behind a shorter source stays as it is, also
# within a subcluster; and a raw data file shows the zeros of the source, too.
. "$(dirname "$0")/../lib.sh"

for options in extended_l2=on extended_l2=on,data_file=image.data extended_l2=on,data_file=image.data,data_file_raw=on \
    extended_l2=off; do
    rm -f image.qcow2 image.data source.raw wanted.raw
    truncate -s 1579008 source.raw
    qemu_io -f raw -c 'write -q -P 7 0 526336' -c 'write -q -P 8 900k 512' source.raw
    run_ok "$BYRE" create -q -f qcow2 -o "cluster_size=2M,$options" image.qcow2 1579520
    run_ok "$BYRE" io -c 'write -q -P 9 400k 300k' -c 'write -q -P 9 1579008 512' image.qcow2
    run_ok "$BYRE" convert -n -f raw -O qcow2 source.raw image.qcow2
    { cat source.raw && head -c 512 /dev/zero | tr '\0' '\11'; } >wanted.raw
    run_ok "$BYRE" compare -f raw -F qcow2 wanted.raw image.qcow2
    assert_same_disk -f raw -F qcow2 wanted.raw image.qcow2
    [[ $options != *raw* ]] || cmp -n 1579520 wanted.raw image.data
    assert_checked image.qcow2
    assert_clean image.qcow2
done
