#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Which file system of a disk byre ls and byre cp take, and what they say where there is none.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/file_tree.sh"

echo one >one
echo two >two
advice='The kernel may know it: byre mount IMAGE DIR, and then, as root, mount -o loop,ro DIR'

# The whole disk: FAT, whose first sector could be that of a partition table, too.
truncate -s 8M whole.raw
put_fat whole.raw 0 8M one
run_ok "$BYRE" ls -f raw whole.raw
assert_equal one "$OUT"
run_fails 1 "^byre: 'whole.raw': There is no partition 1$" "$BYRE" ls -f raw -p 1 whole.raw
# Entries where a boot sector may have code
put_bytes whole.raw 446 00000000830000000008000000100000
run_ok "$BYRE" ls -f raw whole.raw
assert_equal one "$OUT"

# Partitions: the only one that can be read, or the one that is named.
truncate -s 40M disk.raw
printf 'label: dos\nstart=2048,size=16384\nstart=18432,size=16384,type=5\nstart=20480,size=8192\nstart=36864,size=16384\n' |
    sfdisk -q disk.raw
put_fat disk.raw 10M 4M two
run_ok "$BYRE" ls -f raw disk.raw
assert_equal two "$OUT"
run_fails 1 "^byre: 'disk.raw': partition 1: there is no file system that is known
$advice/partitions/1.raw /mnt$" "$BYRE" ls -f raw -p 1 disk.raw
run_fails 1 "^byre: 'disk.raw': There is no partition 2$" "$BYRE" ls -f raw -p 2 disk.raw
put_fat disk.raw 1M 8M one
run_fails 1 "^byre: 'disk.raw': there are file systems in partitions 1 \(vfat\), 5 \(vfat\); choose one with -p$" \
    "$BYRE" ls -f raw disk.raw
run_fails 1 "choose one with -p$" "$BYRE" cp -f raw disk.raw one copy
assert_missing copy
for option in '-p 1' -p5 --partition=5; do
    # shellcheck disable=SC2086
    run_ok "$BYRE" ls -f raw $option disk.raw
    [[ $option = *1 ]] && wanted=one || wanted=two
    assert_equal "$wanted" "$OUT" "$option"
    # shellcheck disable=SC2086
    run_ok "$BYRE" cp -f raw $option disk.raw $wanted copy
    assert_same_file "$wanted" copy
done
for number in 0 -1 1x '' 99999999999; do
    run_fails 1 "^byre: Invalid partition number '$number'$" "$BYRE" ls -p "$number" disk.raw
done

# None: what the partitions hold.
if has BLKID; then
    put_file disk.raw 1M < <(head -c 8M /dev/zero)
    put_file disk.raw 10M < <(head -c 4M /dev/zero)
    truncate -s 4M swap.raw
    mkswap swap.raw >mkswap.log 2>&1
    put_file disk.raw 1M <swap.raw
    run_fails 1 "^byre: 'disk.raw': there is no file system that byre reads: partition 1 holds swap, 3 nothing that is known, 5 nothing that is known
$advice/partitions/N.raw /mnt$" "$BYRE" ls -f raw disk.raw
    run_fails 1 "^byre: 'disk.raw': partition 1: it holds swap, which byre does not read
$advice/partitions/1.raw /mnt$" "$BYRE" ls -f raw -p 1 disk.raw
    run_fails 1 "^byre: 'swap.raw': it holds swap, which byre does not read
$advice/disk.raw /mnt$" "$BYRE" ls -f raw swap.raw
fi

# A partition that is not on the disk.
truncate -s 9M short.raw
dd if=disk.raw of=short.raw bs=1M count=9 conv=notrunc status=none
truncate -s 5M short.raw
run_fails 1 "Partition 1 reaches past the end of the disk$" "$BYRE" ls -f raw -p 1 short.raw
run_fails 1 "partition 1 holds what lies past the end of the disk, " "$BYRE" ls -f raw short.raw

# Nothing at all.
: >empty.raw
for verb in ls cp; do
    run_fails 1 "there is no file system that is known" "$BYRE" $verb -f raw empty.raw / x
    run_fails 1 "Could not open 'missing'" "$BYRE" $verb missing / x
done
run_fails 1 '^byre: Expecting an image file name' "$BYRE" ls
run_fails 1 '^byre: Expecting an image file name, paths in it, and a destination' "$BYRE" cp -f raw whole.raw one
