#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# --fs: the files inside, as they were put there, as the kernel's driver shows them, and as debugfs copies them.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuse/mount.bash"
. "$TEST_TOP/tests/cli/file_tree.sh"

# Every file's name, contents, attributes, in one list.
xattrs() {
    (cd "$1" && find . -mindepth 1 -path ./lost+found -prune -o -print0 | LC_ALL=C sort -z |
        xargs -0 getfattr -h -d -m - -e hex --) 2>/dev/null
}

has EXT2FS || skip 'built without libext2fs'
make_tree tree
clean_up quietly chmod -R u+rwX "$PWD/tree" "$PWD/copy" "$PWD/rdump"
mkdir mnt
truncate -s 96M disk.raw
printf 'label: gpt\nstart=2048,size=20480\nstart=22528,size=81920\nstart=104448,size=2048\n' | sfdisk -q disk.raw
put_fat disk.raw 1M 10M tree/dir tree/hello
put_ext disk.raw 11M 40M tree -L the-label
qemu-img convert -O qcow2 -c disk.raw disk.qcow2

# --- ext4 ---------------------------------------------------------------------------------------------------------
run_fails 1 'partitions 1 \(vfat\), 2 \(ext4\); choose one with --fs=N' "$MOUNT" --fs disk.qcow2 mnt
run_fails 1 'no partition 4' "$MOUNT" --fs=4 disk.qcow2 mnt
run_fails 1 'mount -o loop,ro' "$MOUNT" --fs=3 disk.qcow2 mnt
mount_image --fs=2 disk.qcow2 mnt
diff <(list_tree tree) <(list_tree mnt | grep -v '^lost+found ') || fail 'the mount differs from what was put there'
mkdir copy
cp -a mnt/. copy
rmdir copy/lost+found
same_tree tree copy
assert_equal "$(xattrs tree)" "$(xattrs mnt)" 'extended attributes'
for file in sparse all-hole; do
    assert_equal "$(qemu-img map --output=json -f raw tree/$file | sed 's/"offset": [0-9]*//')" \
        "$(qemu-img map --output=json -f raw mnt/$file | sed 's/"offset": [0-9]*//')" "holes of $file"
    assert_at_most "$(stat -c %b tree/$file)" "$(stat -c %b mnt/$file)" "blocks of $file"
done
dd if=disk.raw of=part.raw bs=1M skip=11 count=40 status=none
mkdir rdump
debugfs -R 'rdump / rdump' part.raw 2>debugfs.log
rmdir rdump/lost+found
same_contents rdump copy
assert_equal "$(debugfs -R stats part.raw 2>/dev/null | awk '/^Free blocks:/ { print $3; exit }')" \
    "$(stat -f -c %f mnt)" 'free blocks'
for command in 'touch mnt/new' 'rm -f mnt/hello' 'mkdir mnt/new' 'chmod 600 mnt/hello' 'truncate -s 1 mnt/hello'; do
    if $command 2>says; then fail "$command was done"; fi
    grep -q 'Read-only file system' says || fail "$command: $(cat says)"
done
run cat mnt/no-such-file
assert_match 'No such file' "$ERR"
unmount

# where somebody else may change them, the kernel asks for names, attributes and lists of names each time
requests() { # OPTION...
    "$MOUNT" -d "$@" --fs=2 disk.qcow2 mnt 2>log &
    local pid=$! i
    mounts=("$PWD/mnt")
    await_mount mnt log
    for i in 1 2 3; do
        stat mnt/hello >/dev/null
        stat mnt/none 2>/dev/null || true
        ls -U mnt/dir >/dev/null
    done
    unmount
    wait $pid
    echo "$(grep -c 'opcode: LOOKUP' log) names, $(grep -c 'opcode: READDIR' log) lists" >asked
}
requests
assert_equal '3 names, 2 lists' "$(cat asked)" 'what the kernel asks for'
requests -U
assert_match '^(9|1[0-9]) names, 6 lists$' "$(cat asked)"
mount_image --fs=2 -o uid=7,gid=8,umask=0022 disk.qcow2 mnt
assert_equal '7 8' "$(stat -c '%u %g' mnt/dir)" 'owner'
assert_equal '' "$(find mnt ! -type l -perm /022 ! -user 7)" 'files with more permissions'
unmount

# the same files through the kernel's own driver
mount_image disk.qcow2 mnt
assert_match '"parttypename": *"Linux filesystem"' "$(tr -d '\n' <mnt/partitions/table.json)"
assert_match '"fstype": *"ext4"' "$(tr -d '\n' <mnt/partitions/table.json)"
assert_match '"label": *"the-label"' "$(tr -d '\n' <mnt/partitions/table.json)"
assert_match '"fstype": *"vfat"' "$(tr -d '\n' <mnt/partitions/table.json)"
mkdir kernel
if mount -o loop,ro mnt/partitions/2.raw kernel 2>says; then
    clean_up quietly umount "$PWD/kernel"
    mkdir inside
    run_ok "$MOUNT" --fs=2 disk.qcow2 inside
    clean_up quietly "$UMOUNT" "$PWD/inside"
    diff <(list_tree kernel) <(list_tree inside) || fail 'the kernel sees other files'
    same_contents kernel inside
    assert_equal "$(xattrs kernel)" "$(xattrs inside)" 'extended attributes as the kernel has them'
    assert_equal "$(stat -f -c '%b %f %c %s' kernel)" "$(stat -f -c '%b %f %c %s' inside)" 'sizes of the file system'
    run_ok "$UMOUNT" inside
    umount kernel
else
    not_mounted="the kernel does not mount it: $(cat says)"
fi
unmount_when_free

# --- FAT ----------------------------------------------------------------------------------------------------------
mount_image --fs=1 disk.qcow2 mnt
cmp tree/hello mnt/HELLO
cmp tree/dir/noise mnt/dir/noise
cmp tree/dir/deeper/text mnt/dir/deeper/text
assert_equal "$(stat -c %Y tree/dir/noise)" "$(TZ=UTC stat -c %Y mnt/dir/noise)" 'time of modification'
unmount
dd if=disk.raw of=part.raw bs=1M skip=1 count=10 status=none
mount_image --fs part.raw mnt
cmp tree/hello mnt/hello
unmount

# --- several, a snapshot, other file systems, errors --------------------------------------------------------------
qemu-img convert -f raw -O qcow2 part.raw other.qcow2
mount_image --fs part.raw other.qcow2 mnt
assert_equal $'other.qcow2\npart.raw' "$(ls mnt)" 'two images'
cmp mnt/part.raw/hello mnt/other.qcow2/hello
unmount
run_ok "$BYRE" snapshot -c before other.qcow2
qemu-io -c 'write -q -z 0 10M' other.qcow2
run_fails 1 'no file system' "$MOUNT" --fs other.qcow2 mnt
mount_image -o fs,snapshot=before other.qcow2 mnt
cmp tree/hello mnt/hello
unmount
truncate -s 20M swap.raw
mkswap swap.raw >/dev/null 2>&1
if has BLKID; then
    run_fails 1 'swap.*loop,ro' "$MOUNT" --fs swap.raw mnt
fi

# errors that the file system has noted are told, and what is sound can be read
truncate -s 16M errors.raw
mke2fs -q -t ext4 -d tree/dir errors.raw
debugfs -w -R 'ssv state 2' errors.raw 2>/dev/null
run "$MOUNT" --fs errors.raw mnt
assert_equal 0 "$CODE" 'exit code'
mounts=("$PWD/mnt")
assert_match 'warning:.*error' "$ERR"
cmp tree/dir/noise mnt/noise
unmount
# an inode that is damaged is an error of that file
block=$(debugfs -R 'imap /deeper/text' errors.raw 2>/dev/null | sed -n 's/.*block \([0-9]*\), offset 0x\(.*\)/\1 \2/p')
read -r number offset <<<"$block"
printf '\377\377\377\377' | dd of=errors.raw bs=1 seek=$((number * 1024 + 16#$offset + 0x28)) conv=notrunc status=none
run "$MOUNT" --fs errors.raw mnt
mounts=("$PWD/mnt")
if cat mnt/deeper/text >/dev/null 2>says; then fail 'a damaged file was read'; fi
cmp tree/dir/noise mnt/noise
unmount

[ -z "${not_mounted-}" ] || skip "$not_mounted"
