#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A disk and its partitions that are written to: through files, through a loop device, with holes, larger and smaller.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuse/mount.bash"

mkdir mnt dir
qemu-img create -q -f qcow2 image.qcow2 64M
run_ok "$BYRE" snapshot -c empty image.qcow2
mount_image -w image.qcow2 mnt
printf 'label: gpt\nsize=24M\nsize=16M\n' | sfdisk -q --no-reread mnt/disk.raw 2>/dev/null
unmount
mount_image -w image.qcow2 mnt

# others are kept out, and nothing but the disk changes
run_fails 1 'Failed to get .* lock' "$BYRE" check image.qcow2
run_fails 1 'Failed to get .* lock' qemu-io -c 'read 0 1' image.qcow2
for file in info.json map.json partitions/table.json snapshots/empty/disk.raw new partitions/3.raw; do
    if { echo x >"mnt/$file"; } 2>says; then fail "mnt/$file could be written to"; fi
    grep -qE 'Read-only file system|No such|Function not implemented|Permission denied' says ||
        fail "mnt/$file: $(cat says)"
done
for command in 'rm -f mnt/info.json' 'mkdir mnt/new' 'mv mnt/disk.raw mnt/other' 'chmod 777 mnt/disk.raw' \
    'ln -s x mnt/new' 'truncate -s 1M mnt/partitions/1.raw' 'truncate -s 1000 mnt/disk.raw'; do
    if $command 2>says; then fail "$command was done"; fi
done

# a file system in a partition, written by the kernel and read by the tools, and the other way round
mke2fs -q -t ext4 mnt/partitions/1.raw
mkfs.fat -F 16 mnt/partitions/2.raw >/dev/null
loop=$(losetup -f --show mnt/partitions/1.raw) || skip 'there are no loop devices'
clean_up quietly losetup -d "$loop"
mount "$loop" dir || skip 'loop devices cannot be mounted'
clean_up quietly umount "$PWD/dir"
mkdir dir/tree
for ((i = 0; i < 20; i++)); do
    text "$i" $((i * 40000)) >"dir/tree/$i"
done
(cd dir && find tree -type f -exec sha256sum {} +) >sums
sync -f dir
umount dir
losetup -d "$loop"
e2fsck -fn mnt/partitions/1.raw >fsck.out 2>&1 || { cat fsck.out; fail 'e2fsck finds errors'; }
text 5 700000 >fat-file
mcopy -i mnt/partitions/2.raw fat-file ::file
fsck.fat -n mnt/partitions/2.raw >fsck.out || { cat fsck.out; fail 'fsck.fat finds errors'; }
unmount_when_free
assert_checked image.qcow2
mount_image image.qcow2 mnt
mcopy -i mnt/partitions/2.raw ::file back
assert_same_file fat-file back
mkdir out
debugfs -R 'rdump /tree out' mnt/partitions/1.raw 2>/dev/null
(cd out && sha256sum -c --quiet ../sums)
cmp -n $((64 << 20)) mnt/snapshots/empty/disk.raw /dev/zero
unmount

# every place where it can be read shows what was written
mount_image -w image.qcow2 mnt
cat mnt/disk.raw mnt/partitions/1.raw >/dev/null
printf 'through the partition' | dd of=mnt/partitions/1.raw bs=1 seek=12345 conv=notrunc status=none
assert_equal 'through the partition' "$(dd if=mnt/disk.raw bs=1 skip=$((1048576 + 12345)) count=21 status=none)"
printf 'through the disk' | dd of=mnt/disk.raw bs=1 seek=$((1048576 + 20000)) conv=notrunc status=none
assert_equal 'through the disk' "$(dd if=mnt/partitions/1.raw bs=1 skip=20000 count=16 status=none)"
blocks=$(stat -c %b mnt/partitions/2.raw)
noise 3 65536 | dd of=mnt/disk.raw bs=64k seek=$((37 * 16)) conv=notrunc iflag=fullblock status=none
assert_equal $((blocks + 128)) "$(stat -c %b mnt/partitions/2.raw)" 'blocks of a partition written to through the disk'
if dd if=/dev/zero of=mnt/partitions/1.raw bs=1M seek=24 count=1 conv=notrunc 2>says; then fail 'past the end'; fi
grep -q 'No space left on device' says || fail "past the end of a partition: $(cat says)"
unmount

# holes and zeros, larger and smaller
qemu-img create -q -f qcow2 holes.qcow2 8M
mount_image --writable holes.qcow2 mnt
disk=mnt/disk.raw
head -c 8M /dev/zero | tr '\0' x >model
assert_equal 0 "$(stat -c %b $disk)" 'blocks of a new disk'
touch -d '1 minute ago' before
dd if=model of=$disk bs=64k count=1 seek=3 conv=notrunc status=none
assert_equal 128 "$(stat -c %b $disk)" 'blocks when 64 KiB were written'
[ $disk -nt before ] || fail 'a disk that was written to is as old as before'
cp model $disk
assert_equal 16384 "$(stat -c %b $disk)" 'blocks when all was written'
for raw in model $disk; do
    fallocate -p -o 1M -l 2M "$raw"
    fallocate -z -o 4000000 -l 1000 "$raw"
    fallocate -p -o 7M -l 9M "$raw"
    truncate -s 16M "$raw"
    fallocate -z -o 20M -l 1M "$raw"
    printf tail | dd of="$raw" bs=1 seek=$((25 << 20)) conv=notrunc status=none
    truncate -s $(((25 << 20) + 512)) "$raw"
done
assert_same_file model $disk
assert_equal $((16384 - 6 * 1024 + 1)) "$(stat -c %b $disk)" 'blocks when holes were made, and a tail'
for raw in model $disk; do
    printf synced | dd of="$raw" conv=notrunc,fdatasync status=none
done
truncate -s 6M model $disk
assert_same_file model $disk
fallocate -o 6M -l 1M $disk
assert_equal $((7 << 20)) "$(stat -c %s $disk)" 'size after fallocate'
truncate -s 7M model
for options in '-c -o 0 -l 1M' '-i -o 0 -l 1M' '-n -o 0 -l 1M' '-o 0 -l 1M'; do
    # shellcheck disable=SC2086
    if fallocate $options $disk 2>says; then fail "fallocate $options was done"; fi
    grep -qE 'not supported|unsupported' says || fail "fallocate $options: $(cat says)"
done
unmount
assert_checked holes.qcow2
run_ok "$BYRE" compare -f raw -F qcow2 model holes.qcow2
assert_equal $((7 << 20)) "$("$BYRE" info --output=json holes.qcow2 | sed -n 's/.*"virtual-size": \([0-9]*\).*/\1/p')"

# what was synced is there when the process is killed
mount_image -w --pid-file="$TEST_DIR/pid" holes.qcow2 mnt
printf 'it is durable' | dd of=$disk bs=1 seek=3000000 conv=notrunc,fsync status=none
kill -KILL "$(cat pid)"
await_unmounted mnt
mounts=()
run "$BYRE" check -r all holes.qcow2
run_ok "$BYRE" convert -O raw holes.qcow2 after
assert_equal 'it is durable' "$(dd if=after bs=1 skip=3000000 count=13 status=none)"

# together with what cannot be
run_fails 1 'mutually exclusive' "$MOUNT" -w -o ro image.qcow2 mnt
run_fails 1 'mutually exclusive' "$MOUNT" -w --snapshot=empty image.qcow2 mnt
run_fails 1 'mutually exclusive' "$MOUNT" -w -U image.qcow2 mnt
run_fails 1 'mutually exclusive' "$MOUNT" -w --fs image.qcow2 mnt
