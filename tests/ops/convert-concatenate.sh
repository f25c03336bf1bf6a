#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Several sources are laid end to end, whatever their sizes: as qemu-img does it.
. "$(dirname "$0")/../lib.sh"

noise 1 100001 >one.raw
text 2 70003 >two.raw
printf x >three.raw
qemu-img create -q -f qcow2 -o cluster_size=4k four.qcow2 1234432
qemu-io -c 'write -P 4 3000 5000' -c 'write -P 5 1234000 432' four.qcow2 >qemu-io.out
truncate -s 300000 five.raw
text 3 1000 | put_file five.raw 299000

for sources in 'one.raw two.raw' 'three.raw three.raw one.raw' \
    'five.raw one.raw five.raw two.raw three.raw'; do
    # shellcheck disable=SC2086 # a list of names
    {
        qemu-img convert -f raw -O raw $sources theirs.raw
        for options in '-O raw' '-O qcow2' '-O qcow2 -c' '-O qcow2 -o cluster_size=512' '-O qcow2 -S 0' \
            '-O qcow2 -c -o cluster_size=2M'; do
            for threads in 1 3; do
                run_ok "$BYRE" convert -f raw $options -m $threads $sources ours.img
                assert_same_disk -f raw theirs.raw ours.img
                assert_equal "$(qemu-img info -f raw theirs.raw | grep '^virtual size')" \
                    "$(qemu-img info ours.img | grep '^virtual size')" 'virtual size'
            done
        done
    }
done

# Probed sources of different formats.
qemu-img convert -O raw four.qcow2 one.raw four.qcow2 theirs.raw
run_ok "$BYRE" convert -O raw four.qcow2 one.raw four.qcow2 ours.raw
assert_same_file theirs.raw ours.raw
run_ok "$BYRE" convert -O qcow2 -c four.qcow2 one.raw four.qcow2 ours.qcow2
assert_clean ours.qcow2
assert_same_disk -f raw -F qcow2 theirs.raw ours.qcow2
