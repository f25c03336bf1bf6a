#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# -n writes into a target that is there: every byte of the source's range is right afterwards, the rest is
# kept, and --target-is-zero believes what it is told.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/ops/source.bash
. "$TEST_TOP/tests/ops/source.bash"

make_source source.raw
size=$(file_size source.raw)
noise 1 65536 >block
for _ in $(seq 240); do cat block; done >dirty.raw # 15 MiB
cp dirty.raw wanted.raw
dd if=source.raw of=wanted.raw bs=1M conv=notrunc status=none

for threads in 1 4; do
    cp dirty.raw target.raw
    run_ok "$BYRE" convert -n -m $threads -f raw -O raw source.raw target.raw
    assert_same_file wanted.raw target.raw
    for options in '' cluster_size=512 cluster_size=2M compat=0.10; do
        qemu-img convert -f raw -O qcow2 ${options:+-o $options} dirty.raw target.qcow2
        run_ok "$BYRE" convert -n -m $threads -f raw -O qcow2 source.raw target.qcow2
        assert_clean target.qcow2
        assert_same_disk -f raw -F qcow2 wanted.raw target.qcow2
        run_ok "$BYRE" convert -n -c -m $threads -f raw -O qcow2 source.raw target.qcow2
        assert_clean target.qcow2
        assert_same_disk -f raw -F qcow2 wanted.raw target.qcow2
        case $(qemu-img map --output=json target.qcow2 | head -1) in
        *'"start": 0,'*'"offset"'*) fail 'the first cluster is not compressed' ;;
        esac
    done
done

# A target that is smaller is refused and stays as it is.
truncate -s $((size - 512)) small.raw
cp small.raw small.before
run_fails 1 'output file is smaller than input file' "$BYRE" convert -n -f raw -O raw source.raw small.raw
assert_same_file small.before small.raw

# Told that the target is zero, only data is written.
cp dirty.raw target.raw
run_ok "$BYRE" convert -n --target-is-zero -f raw -O raw source.raw target.raw
cmp -s -n 65536 source.raw target.raw || fail 'data was not written'
cmp -s -i $((11 * 1048576)) -n 65536 dirty.raw target.raw || fail 'a hole was written'

# A preallocated target keeps its clusters.
qemu-img create -q -f qcow2 -o preallocation=metadata target.qcow2 "$size"
run_ok "$BYRE" convert -n --target-is-zero -f raw -O qcow2 source.raw target.qcow2
assert_clean target.qcow2
assert_same_disk -f raw -F qcow2 source.raw target.qcow2
