#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Many readers at once, at random places of several views, against the raw files.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuse/mount.bash"

seed=${SEED:-$RANDOM}
echo "SEED=$seed"
text "$seed" 20000256 >old.raw
qemu-img convert -f raw -O qcow2 -c old.raw image.qcow2
run_ok "$BYRE" snapshot -c old image.qcow2
cp old.raw new.raw
for ((i = 0; i < 40; i++)); do
    at=$(((i * 7919 + seed) % 19000)) byte=$((i + 1))
    qemu-io -c "write -q -P $byte ${at}k 900" image.qcow2
    qemu-io -f raw -c "write -q -P $byte ${at}k 900" new.raw
done
qemu-img create -q -f qcow2 -b image.qcow2 -F qcow2 top.qcow2

mkdir mnt
read_at_random() { # FILE RAW SEED COUNT
    perl -e '
        my ($name, $raw, $seed, $count) = @ARGV;
        srand $seed;
        open my $file, "<", $name or die "$name: $!";
        open my $other, "<", $raw or die "$raw: $!";
        my $size = -s $raw;
        -s $name == $size or die "$name: the size is ", -s $name;
        for (1 .. $count) {
            my ($at, $length) = (int rand $size, 1 + int rand 300000);
            sysseek($file, $at, 0) && sysseek($other, $at, 0) or die $!;
            defined sysread($file, my $got, $length) && defined sysread($other, my $wanted, $length) or die $!;
            $got eq $wanted or die "$name: $length bytes at $at differ";
        }' "$@"
}
mount_image image.qcow2 top.qcow2 mnt
pids=()
for ((i = 0; i < 8; i++)); do
    case $((i % 4)) in
    0) names=(mnt/image.qcow2/disk.raw new.raw) ;;
    1) names=(mnt/image.qcow2/snapshots/old/disk.raw old.raw) ;;
    2) names=(mnt/top.qcow2/disk.raw new.raw) ;;
    3) names=(mnt/top.qcow2/layers/1/disk.raw new.raw) ;;
    esac
    read_at_random "${names[@]}" $((seed + i)) 200 2>"says.$i" &
    pids+=($!)
done
for ((i = 0; i < 8; i++)); do
    wait "${pids[i]}" || fail "reader $i: $(cat "says.$i")"
done
unmount
