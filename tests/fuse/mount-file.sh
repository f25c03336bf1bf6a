#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A mount point that is a file: the raw disk there, as QEMU's FUSE export shows it.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuse/mount.bash"

text 3 5000192 >raw
qemu-img convert -f raw -O qcow2 raw image.qcow2
echo before >disk
mount_image image.qcow2 disk
assert_same_file raw disk
assert_equal 'regular file' "$(stat -c %F disk)" 'what the mount is'
run_fails 1 "it is no directory" "$MOUNT" --fs image.qcow2 image.qcow2
unmount
assert_equal before "$(cat disk)" 'what was there before'

# on the image itself, as QEMU can: who opens its name sees the raw disk
mount_image image.qcow2 image.qcow2
assert_same_file raw image.qcow2
unmount
run_ok "$BYRE" compare -f raw -F qcow2 raw image.qcow2

# written to
mount_image -w image.qcow2 disk
printf changed | dd of=disk bs=1 seek=1000 conv=notrunc status=none
unmount
printf changed | dd of=raw bs=1 seek=1000 conv=notrunc status=none
run_ok "$BYRE" compare -f raw -F qcow2 raw image.qcow2
run_fails 1 "it is no directory" "$MOUNT" image.qcow2 image.qcow2 disk
