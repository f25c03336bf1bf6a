#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The plugin under nbdkit's filters.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbdkit/nbdkit.sh"
slow

# a disk with a table of two partitions
noise 1 3000000 >disk.raw
truncate -s 6M disk.raw
put_bytes disk.raw 446 "$(printf '00%06x83%06x' 0 0)0008000000080000"
put_bytes disk.raw 462 "$(printf '00%06x83%06x' 0 0)0010000000100000"
put_bytes disk.raw 478 "$(printf '%064x' 0)"
put_bytes disk.raw 510 55aa
qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2
dd if=disk.raw of=part1.raw bs=1M skip=1 count=1 status=none
dd if=disk.raw of=part2.raw bs=1M skip=2 count=2 status=none
cp disk.qcow2 untouched.qcow2

# cow: clients write, the image stays, and may be read by others, also where it cannot be written to
chmod a-w disk.qcow2
serve cow --filter=cow "$PLUGIN" disk.qcow2
assert_equal false "$(info is_read_only)" 'the cow filter'
qemu_io -f raw -c 'write -q -P 7 1M 64k' -c 'read -q -P 7 1M 64k' -c flush "$URI"
run_ok "$BYRE" map disk.qcow2
assert_same_disk -f qcow2 -F qcow2 disk.qcow2 untouched.qcow2
stop cow
chmod u+w disk.qcow2
assert_same_file disk.qcow2 untouched.qcow2

for part in 1 2; do
    serve part -r --filter=partition "$PLUGIN" disk.qcow2 partition=$part
    assert_serves part$part.raw
    stop part
done
serve part --filter=partition "$PLUGIN" disk.qcow2 partition=2
qemu_io -f raw -c 'write -q -P 0x33 5000 70000' -c 'write -q -z 1M 64k' -c flush "$URI"
qemu_io -f raw -c 'write -q -P 0x33 2102152 70000' -c 'write -q -z 3M 64k' disk.raw
stop part
assert_checked disk.qcow2
assert_clean disk.qcow2
assert_same_disk -f raw -F qcow2 disk.raw disk.qcow2

serve ahead --filter=readahead --filter=blocksize "$PLUGIN" disk.qcow2 minblock=4096
assert_serves disk.raw
qemu_io -f raw -c 'write -q -P 0x44 700 300' -c flush "$URI"
stop ahead
qemu_io -f raw -c 'write -q -P 0x44 700 300' disk.raw
assert_same_disk -f raw -F qcow2 disk.raw disk.qcow2

serve stats --filter=stats "$PLUGIN" disk.qcow2 statsfile="$PWD/stats"
assert_same_map disk.qcow2
assert_serves disk.raw
qemu_io -f raw -c 'write -q 0 1k' -c 'write -q -z 64k 64k' -c 'discard -q 1M 64k' -c flush "$URI"
stop stats
for operation in read write zero trim flush extents; do
    grep -q "^$operation:" stats || { cat stats; fail "no $operation was counted"; }
done
assert_checked disk.qcow2

# many requests at a time, with a limit to their size, and answers late
noise 4 4194304 >other.raw
qemu-img create -q -f qcow2 other.qcow2 4M
serve slow --filter=delay --filter=blocksize "$PLUGIN" other.qcow2 wdelay=1ms maxlen=20k -t 8
nbdcopy --connections=2 --flush other.raw "$URI"
stop slow
assert_clean other.qcow2
assert_same_disk -f raw -F qcow2 other.raw other.qcow2

# the cache filter has a parameter that is the plugin's without it
serve cache --filter=cache "$PLUGIN" disk.qcow2 cache=unsafe
qemu_io -f raw -c 'write -q -P 0x66 3000 100' -c 'read -q -P 0x66 3000 100' "$URI"
stop cache
