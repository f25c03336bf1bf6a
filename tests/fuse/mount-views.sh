#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The disk, its partitions, snapshots and layers, as files: bytes, sizes, holes, and what tools make of them.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuse/mount.bash"

# --- a disk with a GPT --------------------------------------------------------------------------------------------
truncate -s 64M disk.raw
printf 'label: gpt\nstart=2048, size=32M, name=first\nsize=16M, type=uefi\n' | sfdisk -q disk.raw
mkdir files
text 7 3000000 >files/large
mke2fs -q -t ext4 -d files -E offset=1048576 disk.raw 32M
run_ok "$BYRE" convert -O qcow2 disk.raw image.qcow2
mkdir mnt
mount_image image.qcow2 mnt
assert_equal $'disk.raw\ninfo.json\nlayers\nmap.json\npartitions\nsnapshots' "$(ls mnt)" 'the root'
assert_equal $'1.raw\n2.raw\ntable.json' "$(ls mnt/partitions)" partitions
assert_same_file disk.raw mnt/disk.raw
cmp -i 1048576:0 -n $((32 << 20)) disk.raw mnt/partitions/1.raw
cmp -i $((33 << 20)):0 -n $((16 << 20)) disk.raw mnt/partitions/2.raw
assert_equal $((32 << 20)) "$(stat -c %s mnt/partitions/1.raw)" 'size of a partition'
assert_equal $((16 << 20)) "$(stat -c %s mnt/partitions/2.raw)" 'size of a partition'
assert_equal "$(stat -c %Y image.qcow2)" "$(stat -c %Y mnt/disk.raw)" 'time of modification'

# tools that look into them
assert_match 'ext4 filesystem' "$(file -b mnt/partitions/1.raw)"
assert_equal first "$(sfdisk --part-label mnt/disk.raw 1)" 'label by sfdisk'
e2fsck -fn mnt/partitions/1.raw >fsck.out 2>&1 || { cat fsck.out; fail 'e2fsck finds errors'; }
debugfs -R 'dump /large large' mnt/partitions/1.raw 2>/dev/null
assert_same_file files/large large
run_ok qemu-img compare -f raw -F raw mnt/disk.raw disk.raw
cp --sparse=auto mnt/disk.raw copy.raw
assert_same_file disk.raw copy.raw
assert_at_most $(($(stat -c %b disk.raw) + 1024)) "$(stat -c %b copy.raw)" 'blocks of a sparse copy'

# holes: SEEK_HOLE and st_blocks say what byre map says
data=$("$BYRE" map --output=json image.qcow2 |
    sed -n 's/.*"length": \([0-9]*\),.*"data": true.*/\1/p' | awk '{ sum += $1 } END { print sum }')
assert_equal $((data / 512)) "$(stat -c %b mnt/disk.raw)" 'blocks of the disk'
holes() {
    perl -MFcntl=:seek -e '
        use constant { DATA => 3, HOLE => 4 };
        open my $file, "<", $ARGV[0] or die $!;
        my ($at, $sum) = (0, 0);
        while (defined(my $from = sysseek($file, $at, DATA))) {
            $at = sysseek($file, $from, HOLE) or die $!;
            $sum += $at - $from;
        }
        $!{ENXIO} or die $!;
        print "$sum\n"' "$1"
}
assert_equal "$data" "$(holes mnt/disk.raw)" 'bytes of data by SEEK_DATA and SEEK_HOLE'

# texts
same_text() { # FILE COMMAND...
    local file=$1
    shift
    "$@" >text
    assert_same_file text "$file"
    assert_equal "$(stat -c %s text)" "$(stat -c %s "$file")" "size of $file"
}
same_info() { # FILE IMAGE: but for the space that the image's file takes up, which the host may change by itself
    diff <("$BYRE" info --output=json "$2" | grep -v actual-size) <(grep -v actual-size "$1") || fail "$1 differs"
    grep -q '"actual-size": [1-9]' "$1" || fail "$1 does not tell what the image takes up"
}
same_text mnt/map.json "$BYRE" map --output=json image.qcow2
same_info mnt/info.json image.qcow2
unmount

# --- an MBR with logical partitions -------------------------------------------------------------------------------
truncate -s 0 disk.raw
text 9 $((8 << 20)) >disk.raw
dd if=/dev/zero of=disk.raw bs=512 count=1 conv=notrunc status=none
printf 'label: dos\nstart=2048,size=2048\nsize=10240,type=5\nstart=6144,size=2048,type=b\nstart=10240,size=1024\n' |
    sfdisk -q --no-tell-kernel -w never disk.raw
run_ok "$BYRE" convert -O qcow2 disk.raw image.qcow2
mount_image image.qcow2 mnt
assert_equal $'1.raw\n5.raw\n6.raw\ntable.json' "$(ls mnt/partitions)" partitions
cmp -i $((2048 * 512)):0 -n $((2048 * 512)) disk.raw mnt/partitions/1.raw
cmp -i $((6144 * 512)):0 -n $((2048 * 512)) disk.raw mnt/partitions/5.raw
cmp -i $((10240 * 512)):0 -n $((1024 * 512)) disk.raw mnt/partitions/6.raw
assert_equal $((1024 * 512)) "$(stat -c %s mnt/partitions/6.raw)" 'size of a logical partition'
run ls mnt/partitions/2.raw
assert_equal 2 "$CODE" 'an extended partition is none'
unmount

# --- snapshots ----------------------------------------------------------------------------------------------------
run_ok "$BYRE" snapshot -c monday image.qcow2
qemu-io -c 'write -q -P 5 6M 1M' image.qcow2
run_ok "$BYRE" snapshot -c 'a/b' image.qcow2
run_ok "$BYRE" snapshot -c .. image.qcow2
run_ok "$BYRE" snapshot -c monday image.qcow2
run_ok "$BYRE" snapshot -c 50% image.qcow2
run_ok "$BYRE" resize image.qcow2 9M
qemu-io -c 'write -q -P 6 8M 1M' image.qcow2
mount_image image.qcow2 mnt
assert_equal $'%2e%2e\n50%25\na%2fb\nid=4\nmonday' "$(ls mnt/snapshots)" 'names of snapshots'
assert_equal $'disk.raw\ninfo.json\nmap.json\npartitions' "$(ls mnt/snapshots/monday)" 'a snapshot'
assert_same_file disk.raw mnt/snapshots/monday/disk.raw
run_ok "$BYRE" convert -l snapshot.id=4 -O raw image.qcow2 fourth.raw
assert_same_file fourth.raw mnt/snapshots/id=4/disk.raw
run_ok "$BYRE" convert -l snapshot.id=2 -O raw image.qcow2 second.raw
assert_same_file second.raw mnt/snapshots/a%2fb/disk.raw
cmp -i $((6144 * 512)):0 -n $((2048 * 512)) second.raw mnt/snapshots/a%2fb/partitions/5.raw
assert_equal $((9 << 20)) "$(stat -c %s mnt/disk.raw)" 'size of the disk'
assert_equal $((8 << 20)) "$(stat -c %s mnt/snapshots/monday/disk.raw)" 'size of the disk in a snapshot'
date=$("$BYRE" info --output=json image.qcow2 | sed -n 's/.*"date-sec": \([0-9]*\).*/\1/p' | head -n 1)
assert_equal "$date" "$(stat -c %Y mnt/snapshots/monday/disk.raw)" 'time of a snapshot'
unmount
mount_image --snapshot=monday image.qcow2 mnt
assert_same_file disk.raw mnt/disk.raw
assert_equal '' "$(ls mnt/snapshots)" 'snapshots of a snapshot'
unmount

# --- layers -------------------------------------------------------------------------------------------------------
qemu-img create -q -f qcow2 -b image.qcow2 -F qcow2 middle.qcow2
qemu-io -c 'write -q -P 8 6M 1M' middle.qcow2
qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 top.qcow2 12M
qemu-io -c 'write -q -P 9 6M 64k' -c 'write -q -P 9 10M 1M' top.qcow2
mount_image top.qcow2 mnt
assert_equal $'0\n1\n2' "$(ls mnt/layers)" layers
for layer in 0:top 1:middle 2:image; do
    run_ok "$BYRE" convert -O raw "${layer#*:}.qcow2" layer.raw
    assert_same_file layer.raw "mnt/layers/${layer%:*}/disk.raw"
    cmp -i $((10240 * 512)):0 -n $((1024 * 512)) layer.raw "mnt/layers/${layer%:*}/partitions/6.raw"
done
assert_same_file mnt/layers/0/disk.raw mnt/disk.raw
same_text mnt/layers/1/map.json "$BYRE" map --output=json middle.qcow2
same_info mnt/layers/1/info.json middle.qcow2
for name in 00 -1 3 x 99999999999; do
    run ls "mnt/layers/$name"
    assert_equal 2 "$CODE" "layer $name"
done
unmount

# --- several images -----------------------------------------------------------------------------------------------
mkdir other
qemu-img create -q -f raw other/top.qcow2 1M
mount_image top.qcow2 other/top.qcow2 image.qcow2 mnt
assert_equal $'image.qcow2\ntop.qcow2\ntop.qcow2.2' "$(ls mnt)" images
assert_equal $((1 << 20)) "$(stat -c %s mnt/top.qcow2.2/disk.raw)" 'size of the second image'
run_ok "$BYRE" compare mnt/image.qcow2/disk.raw image.qcow2
assert_equal 5 "$(find mnt/image.qcow2/snapshots -maxdepth 1 -mindepth 1 | wc -l)" 'snapshots of the third image'
unmount
