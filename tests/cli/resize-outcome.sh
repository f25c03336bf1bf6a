#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# resize: exit codes, texts and sizes, side by side with qemu-img; what is kept, what is zero, what the file loses.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"
slow

qemu-img create -q -f qcow2 x.qcow2 4M
qemu-img create -q -f raw x.raw 4M
qemu-img create -q -f qcow2 -o compat=v2 v2.qcow2 4M
qemu-img snapshot -c s v2.qcow2
qemu-img create -q -f qcow2 -b x.raw -F raw overlay.qcow2

for file in x.qcow2 x.raw; do
    format=${file#x.}
    while read -r -a words; do
        alike $file resize -f "$format" "${words[@]}"
    done <<END
$file 4M
$file 6M
$file +1.5M
$file 2M
-q $file 2M
--shrink $file 2M
--shrink -q $file 2M
--shrink $file -1M
--shrink $file -- -1M
--shrink $file -4M
--shrink $file -5M
--shrink $file 0
--shrink --preallocation=full $file 2M
--preallocation=off $file 6M
--preallocation=metadata $file 6M
--preallocation=metadata $file 4M
--preallocation=falloc $file 6M
--preallocation=full $file 6M
--preallocation=some $file 6M
--preallocation= $file 6M
$file 4194816
$file 16E
$file 99999999999999999999
$file 6x
$file +
$file -
$file +-1M
$file 1M 6M
$file
nothing.$format 6M
-p $file 6M
END
done
alike x.qcow2 resize -f qcow2 x.qcow2 4194305
alike x.qcow2 resize x.qcow2 7E
run_fails 1 "could not resize 'x.raw' to 8070450532247928832 bytes: File too large" "$BYRE" resize -f raw x.raw 7E
alike x.qcow2 resize x.qcow2 6M
alike x.qcow2 resize --image-opts driver=qcow2,file.filename=x.qcow2 6M
alike x.qcow2 resize --image-opts -f qcow2 driver=qcow2,file.filename=x.qcow2 6M
alike x.qcow2 resize -f nope x.qcow2 6M
alike v2.qcow2 resize v2.qcow2 6M
alike v2.qcow2 resize --shrink v2.qcow2 2M
alike overlay.qcow2 resize overlay.qcow2 6M
alike overlay.qcow2 resize --preallocation=metadata overlay.qcow2 6M
alike overlay.qcow2 resize --shrink overlay.qcow2 2M
alike x.qcow2 resize --object secret,id=x x.qcow2 6M
alike x.qcow2 resize --object secret,id=x,data=y x.qcow2 6M
same_fails 1 resize
same_fails 1 resize x.qcow2

# what a name in an image says
qemu-img create -q -f qcow2 -u -b 'json:{"driver":"raw","file.filename":"x.raw"}' -F raw named.qcow2 4M
run_fails 1 'backing files can only be named by a path' "$BYRE" resize named.qcow2 6M
run_ok "$BYRE" resize --allow-backing=protocol named.qcow2 6M
# QEMU says that the size is not positive
run_fails 1 "Value '8E' is out of range for parameter 'size'" "$BYRE" resize x.qcow2 8E

# contents, and the length of the file, for many cluster sizes
for cluster_size in 512 4K 64K 2M; do
    in_sample || continue
    qemu-img create -q -f qcow2 -o cluster_size=$cluster_size image.qcow2 9M
    noise 5 $((9 * 1048576)) >image.raw
    qemu-img convert -n -f raw -O qcow2 image.raw image.qcow2
    before=$(file_size image.qcow2)
    run_ok "$BYRE" resize -q --shrink image.qcow2 1000448
    [ "$(file_size image.qcow2)" -lt $((before - 4 * 1048576)) ] || [ $cluster_size = 512 ] || fail 'the file is as long'
    [ "$(file_size image.qcow2)" -lt "$before" ] || fail 'the file is as long as before'
    truncate -s 1000448 image.raw
    assert_clean image.qcow2
    run_ok "$BYRE" check -q image.qcow2
    assert_same_disk image.qcow2 image.raw
    run_ok "$BYRE" resize -q image.qcow2 9M
    truncate -s 9M image.raw
    assert_clean image.qcow2
    assert_same_disk image.qcow2 image.raw
done

# snapshots keep what they have, their sizes included
qemu-img create -q -f qcow2 image.qcow2 4M
qemu_io -f qcow2 -c 'write -q -P 7 0 4M' image.qcow2
qemu-img snapshot -c s image.qcow2
qemu-img convert -l s -O raw image.qcow2 wanted.raw
cp image.qcow2 theirs.qcow2
qemu-img resize -q --shrink theirs.qcow2 1M
run_ok "$BYRE" resize -q --shrink image.qcow2 1M
assert_clean image.qcow2
run_ok "$BYRE" convert -l s -O raw image.qcow2 found.raw
assert_same_file wanted.raw found.raw
assert_same_disk image.qcow2 theirs.qcow2

# A refcount block at the end of the file counts what is before it: that end stays.
. "$TEST_TOP/tests/check/damage.bash"
qemu-img create -q -f qcow2 -o cluster_size=512 image.qcow2 64k
qemu_io -f qcow2 -c 'write -q -P 7 0 60k' image.qcow2
locate image.qcow2
end=$(($(file_size image.qcow2) / CLUSTER))
dd if=image.qcow2 of=image.qcow2 bs=512 count=1 skip=$((REFBLOCK / 512)) seek=$end conv=notrunc status=none
put_be64 image.qcow2 "$REFTABLE" $((end * CLUSTER))
old=$((REFBLOCK / CLUSTER))
locate image.qcow2
set_refcount image.qcow2 "$old" 0
set_refcount image.qcow2 $end 1
assert_clean image.qcow2
qemu-img convert -O raw image.qcow2 image.raw
run_ok "$BYRE" resize -q --shrink image.qcow2 32k
truncate -s 32k image.raw
assert_clean image.qcow2
assert_same_disk image.qcow2 image.raw
