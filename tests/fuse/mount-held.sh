#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What a mount shows is what was there when it was made: names of files are not followed later, when they may lead to
# other files, or into the mount itself.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuse/mount.bash"
slow

mkdir dir other mnt
text 1 3000000 >dir/base.raw
truncate -s 3M dir/base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw dir/middle.qcow2
qemu-io -f qcow2 -c 'write -q -P 1 64k 64k' dir/middle.qcow2
qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 dir/top.qcow2
qemu-img snapshot -c first dir/top.qcow2
qemu-io -f qcow2 -c 'write -q -P 2 128k 64k' dir/top.qcow2
qemu-img snapshot -c second dir/top.qcow2
qemu-io -f qcow2 -c 'write -q -P 3 192k 64k' dir/top.qcow2
qemu-img convert -O raw dir/top.qcow2 now.raw
qemu-img convert -O raw dir/middle.qcow2 middle.raw
for snapshot in first second; do
    qemu-img convert -l "$snapshot" -O raw dir/top.qcow2 $snapshot.raw
done
touch -d '2001-02-03 04:05:06 UTC' dir/middle.qcow2
touch -d '2002-02-03 04:05:06 UTC' dir/base.raw

shows_all_of_it() { # MOUNT
    local snapshot
    cmp now.raw "$1/disk.raw"
    cmp middle.raw "$1/layers/1/disk.raw"
    cmp base.raw "$1/layers/2/disk.raw"
    for snapshot in first second; do
        cmp $snapshot.raw "$1/snapshots/$snapshot/disk.raw"
    done
    assert_equal 2 "$(jq '.snapshots | length' "$1/info.json")" 'snapshots'
    assert_match 'middle.qcow2$' "$(jq -r .filename "$1/layers/1/info.json")"
    assert_equal 3145728 "$(jq '."virtual-size"' "$1/layers/2/info.json")" 'size of the last layer'
}
cp dir/base.raw base.raw

# times of layers are those of their files
mount_image dir/top.qcow2 mnt
assert_equal "$(date -d '2001-02-03 04:05:06 UTC' +%s)" "$(stat -c %Y mnt/layers/1/disk.raw)" 'time of layer 1'
assert_equal "$(date -d '2002-02-03 04:05:06 UTC' +%s)" "$(stat -c %Y mnt/layers/2/disk.raw)" 'time of layer 2'
unmount

# a mount over the directory that holds the image, for reading and for writing
for option in -r -w; do
    mount_image ${option/-r/--} dir/top.qcow2 dir
    run bounded ls dir/snapshots
    assert_equal $'first\nsecond' "$OUT" 'snapshots'
    shows_all_of_it dir
    unmount
done

# other files with the names of those that are mounted
mount_image -w dir/top.qcow2 mnt
cp -r dir kept
for file in base.raw middle.qcow2 top.qcow2; do
    mv dir/$file other/$file
    head -c 1M /dev/zero >dir/$file
done
shows_all_of_it mnt
unmount
run_ok "$BYRE" compare kept/top.qcow2 other/top.qcow2 2>/dev/null || [ "$CODE" = 0 ] || fail 'it has changed'

# what is said of an image that grows is true at that moment
mount_image -w kept/top.qcow2 mnt
truncate -s 5M mnt/disk.raw
assert_equal $((5 << 20)) "$(jq '."virtual-size"' mnt/info.json)" 'size in info.json'
cmp first.raw mnt/snapshots/first/disk.raw
unmount

# more snapshots than are kept open, asked for by many at once
qemu-img create -q -f qcow2 many.qcow2 4M
for ((i = 0; i < 20; i++)); do
    qemu-io -f qcow2 -c "write -q -P $((i + 1)) $((i * 64))k 64k" many.qcow2
    qemu-img snapshot -c "s$i" many.qcow2
done
mount_image -w many.qcow2 mnt
readers=()
for ((reader = 0; reader < 8; reader++)); do
    (
        for ((i = 0; i < 20; i++)); do
            n=$(((i * 7 + reader) % 20))
            got=$(dd if=mnt/snapshots/s$n/disk.raw bs=64k skip=$n count=2 status=none | xxd -p -c1 | uniq | tr '\n' ' ')
            [ "$got" = "$(printf %02x $((n + 1))) 00 " ] || exit 1
        done
    ) &
    readers+=($!)
done
for pid in "${readers[@]}"; do
    wait "$pid" || fail 'a snapshot shows what another one has'
done
unmount

# encrypted images: nobody is asked for the password again, and what a snapshot has is decrypted as the disk is
secret=(--object 'secret,id=s,data=abc')
for options in encrypt.format=luks,encrypt.iter-time=10 encrypt.format=aes; do
    image=${options%%,*}.qcow2
    qemu_encrypts create -q -f qcow2 "${secret[@]}" -o "$options,encrypt.key-secret=s" "$image" 1M
    node=driver=qcow2,encrypt.key-secret=s,file.filename=$image
    qemu-io "${secret[@]}" --image-opts "$node" -c 'write -q -P 5 100k 200k'
    qemu-img snapshot "${secret[@]}" -c one --image-opts "$node"
    qemu-io "${secret[@]}" --image-opts "$node" -c 'write -q -P 6 100k 100k'
    qemu-img convert "${secret[@]}" --image-opts -l one -O raw "$node" one.raw
    qemu-img convert "${secret[@]}" --image-opts -O raw "$node" now.raw
    mount_image "${secret[@]}" --image-opts "$node" mnt
    cmp now.raw mnt/disk.raw
    cmp one.raw mnt/snapshots/one/disk.raw
    unmount
done
