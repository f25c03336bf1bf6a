#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Mistakes and damaged images: one clear message, EIO for what is bad, and never a mount that hangs.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuse/mount.bash"

mkdir mnt
qemu-img create -q -f qcow2 image.qcow2 8M

refused() { # REGEX ARGUMENT...
    local regex=$1
    shift
    run_fails 1 "$regex" bounded "$MOUNT" "$@"
    if mountpoint -q mnt; then fail 'it is mounted'; fi
}
refused 'Expecting an image and a mount point'
refused 'Expecting an image and a mount point' image.qcow2
refused "unrecognized option '--bogus'" --bogus image.qcow2 mnt
refused "Could not mount at 'missing': No such file or directory" image.qcow2 missing
refused "Could not mount at '/dev/null': it is neither a directory nor a file" image.qcow2 /dev/null
refused "Could not open 'missing.qcow2': .*No such file" missing.qcow2 mnt
refused "Invalid uid 'x'" -o uid=x image.qcow2 mnt
refused "Invalid gid '-1'" -o gid=-1 image.qcow2 mnt
refused "Invalid umask '9'" -o umask=9 image.qcow2 mnt
refused "Invalid partition number '0'" --fs=0 image.qcow2 mnt
refused "Invalid partition number '1x'" -o fs=1x image.qcow2 mnt
refused "unknown option.*bogus_option" -o bogus_option image.qcow2 mnt
refused "snapshot" --snapshot=none image.qcow2 mnt
refused "Could not create '/missing/pid'" --pid-file=/missing/pid image.qcow2 mnt
head -c 1000 image.qcow2 >short.qcow2
refused "Could not open 'short.qcow2'" --format=qcow2 short.qcow2 mnt
refused "Could not open 'missing.qcow2'" image.qcow2 missing.qcow2 mnt
refused "Unknown driver 'vmdk'" --format=vmdk image.qcow2 mnt

# names from an image, and from the command line, do nothing to a terminal
qemu-img create -q -f qcow2 -u -b $'evil\033]0;title\a\033[31m' -F qcow2 evil.qcow2 1M
refused "'?evil.033\]0;title.a.033\[31m'?: No such file" evil.qcow2 mnt
refused "Could not open 'missing.033\[31m'" $'missing\033[31m' mnt
if grep -q $'\033' "$TEST_DIR/.err"; then fail 'an escape reaches the terminal'; fi

# one that is named in another way: nobody waits for a mount that is not served yet
for name in mnt/ mnt/. mnt/../mnt .//mnt; do
    run bounded "$MOUNT" --pid-file="$TEST_DIR/pid" image.qcow2 "$name"
    if [ "$CODE" != 0 ]; then
        kill -KILL "$(cat pid)"
        umount -l mnt || :
    fi
    assert_equal "0 " "$CODE $ERR" "exit code and message with $name"
    mounts+=("$PWD/mnt")
    assert_equal 8388608 "$(stat -c %s mnt/disk.raw)" "size with $name"
    unmount
done

# a mount point that is one already
mount_image image.qcow2 mnt
run_fails 1 "Could not mount at 'mnt': something is mounted there already" "$MOUNT" image.qcow2 mnt
unmount
run_fails 1 "Could not unmount 'mnt': it is no mount point" "$UMOUNT" mnt
run_fails 1 "Could not unmount 'missing': No such file or directory" "$UMOUNT" missing
run_fails 1 'Expecting a mount point' "$UMOUNT"

# "/" is one, and so is a directory that is mounted on another one; a file on overlayfs, which has the device number of
# the file system below, is none
in_namespace() {
    mkdir lower upper upper/up upper/work both
    mount -t tmpfs lower lower
    touch lower/file
    mount -t overlay -o "lowerdir=lower,upperdir=upper/up,workdir=upper/work" overlay both || exit 33
    "$MOUNT" "$PWD/image.qcow2" both/file
    cmp -n 1000000 both/file /dev/zero
    "$UMOUNT" both/file
    if "$MOUNT" image.qcow2 / 2>says; then exit 1; fi
    mkdir one other
    mount --bind one other
    if "$MOUNT" image.qcow2 other 2>>says; then exit 1; fi
}
if unshare -m true 2>/dev/null; then
    export -f in_namespace
    export MOUNT UMOUNT
    run apart bash -ec in_namespace
    if [ "$CODE" = 33 ]; then
        no_overlayfs='there is no overlayfs'
    else
        assert_equal '0 ' "$CODE $ERR" 'a mount on overlayfs'
        assert_equal 2 "$(grep -c 'something is mounted there already' says)" 'refusals'
    fi
fi

# no /dev/fuse
if unshare -m true 2>/dev/null; then
    mkdir dev
    run_fails 1 'Could not mount' apart sh -c 'mount -t tmpfs none /dev && exec "$@"' sh \
        "$MOUNT" "$PWD/image.qcow2" "$PWD/mnt"
    assert_match 'fuse' "$ERR"
fi

# what is bad is an error, and the rest is there
fails() { # TEXT COMMAND...
    local text=$1
    shift
    run bounded "$@"
    [ "$CODE" != 0 ] || fail "this was to fail: $*"
    assert_match "$text" "$ERR"
}
truncate -s 8M raw
printf 'label: gpt\nsize=4M\nsize=2M\n' | sfdisk -q raw
text 1 5000000 | dd of=raw bs=1M seek=1 conv=notrunc status=none
qemu-img convert -f raw -O qcow2 raw damaged.qcow2
# the L2 entry of the cluster at 2 MiB is no place where a cluster can be
l1=$(("16#$(xxd -s 40 -l 8 -p damaged.qcow2)"))
l2=$(("16#$(xxd -s $l1 -l 8 -p damaged.qcow2)" & 0xfffffffffffe00))
printf '\x80\0\0\0\0\x06\x02\0' | dd of=damaged.qcow2 bs=1 seek=$((l2 + 8 * 32)) conv=notrunc status=none
mount_image damaged.qcow2 mnt
cmp -n $((2 << 20)) raw mnt/disk.raw
cmp -i $((3 << 20)) -n $((5 << 20)) raw mnt/disk.raw
fails 'Input/output error' dd if=mnt/disk.raw of=/dev/null bs=64k skip=32 count=1 iflag=direct
fails 'Input/output error' cat mnt/partitions/1.raw
cmp -i $((5 << 20)):0 -n $((2 << 20)) raw mnt/partitions/2.raw
unmount

# a partition that reaches past the end of the disk
head -c 6M raw >cut.raw
mount_image --format=raw cut.raw mnt
assert_equal $((2 << 20)) "$(stat -c %s mnt/partitions/2.raw)" 'size of a partition that is cut'
cmp -n $((1 << 20)) -i $((5 << 20)):0 raw mnt/partitions/2.raw
fails 'Input/output error' tail -c 1M mnt/partitions/2.raw
fails 'Input/output error' dd if=mnt/partitions/2.raw of=/dev/null bs=64k skip=16 count=1
unmount

# a table that is damaged twice
cp raw twice.raw
dd if=/dev/urandom of=twice.raw bs=512 seek=1 count=1 conv=notrunc status=none
dd if=/dev/urandom of=twice.raw bs=512 seek=$((8 * 2048 - 1)) count=1 conv=notrunc status=none
mount_image --format=raw twice.raw mnt
assert_equal table.json "$(ls mnt/partitions)" 'partitions of a damaged table'
assert_same_file twice.raw mnt/disk.raw
unmount

# an image that goes away: all of it stays, for it is open
qemu-img create -q -f qcow2 -b image.qcow2 -F qcow2 top.qcow2
run_ok "$BYRE" snapshot -c one top.qcow2
mount_image top.qcow2 mnt
cat mnt/disk.raw >/dev/null
rm image.qcow2 top.qcow2
cmp -n $((8 << 20)) mnt/disk.raw /dev/zero
cmp -n $((8 << 20)) mnt/snapshots/one/disk.raw /dev/zero
cmp -n $((8 << 20)) mnt/layers/1/disk.raw /dev/zero
unmount
# a medium that fails, and is told of
qemu-img convert -f raw -O qcow2 raw whole.qcow2
failing=driver=qcow2,file.driver=blkdebug,file.image.filename=whole.qcow2
failing+=,file.inject-error.0.event=read_aio,file.inject-error.0.errno=5
"$MOUNT" -f --image-opts "$failing" mnt >log 2>&1 &
pid=$!
mounts=("$PWD/mnt")
await_mount mnt log
fails 'Input/output error' cat mnt/disk.raw
assert_equal $((8 << 20)) "$(stat -c %s mnt/disk.raw)" size
unmount
wait $pid || fail "byre-mount exits with $?"
grep -q '^byre: read failed: .*Input/output error' log || fail "what was said: $(cat log)"

# a server that ends
if has LIBNBD; then
    "$BYRE-nbd" --fork -r -t -k "$PWD/socket" --pid-file="$PWD/pid" -f raw raw 2>/dev/null
    mount_image "nbd+unix:///?socket=$PWD/socket" mnt
    cmp -n 1000000 raw mnt/disk.raw
    kill "$(cat pid)"
    fails 'Input/output error|Cannot send|Transport|Connection' \
        dd if=mnt/disk.raw of=/dev/null bs=1M skip=6 count=1
    unmount
fi

[ -z "${no_overlayfs-}" ] || skip "$no_overlayfs"
