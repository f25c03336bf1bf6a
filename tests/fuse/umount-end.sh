#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# byre-umount: how it learns of the end, what it leaves alone, and mounts that live on.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuse/mount.bash"

mkdir mnt
qemu-img create -q -f qcow2 image.qcow2 8M

# closing that fails is told, with the reason; the mount is gone
: >log
failing=driver=qcow2,file.driver=blkdebug,file.image.filename=image.qcow2
failing+=,file.inject-error.0.event=flush_to_disk,file.inject-error.0.errno=28
for how in background foreground; do
    if [ $how = background ]; then
        mount_image -w --image-opts "$failing" mnt
    else
        "$MOUNT" -f -w --image-opts "$failing" mnt 2>log &
        pid=$!
        mounts=("$PWD/mnt")
        await_mount mnt log
    fi
    echo changed | dd of=mnt/disk.raw conv=notrunc status=none
    run_fails 1 "^byre: 'mnt' is unmounted, but: .*No space left on device$" "$UMOUNT" mnt
    mounts=()
    if mountpoint -q mnt; then fail 'the mount is still there'; fi
done
if wait "$pid"; then fail 'byre-mount in the foreground ends well'; fi
grep -q 'No space left on device' log || fail "what it says: $(cat log)"

# and so is an end without a word: a process that was killed, whose mount nobody takes away
"$MOUNT" -w --pid-file="$TEST_DIR/pid" image.qcow2 mnt
watchdog=$(pgrep -P "$(cat pid)")
clean_up quietly kill -KILL "$watchdog"
kill -STOP "$watchdog"
kill -KILL "$(cat pid)"
is_dead() {
    [[ $(stat mnt 2>&1) = *'not connected'* ]]
}
await is_dead
ln -s mnt way
run_fails 1 "^byre: 'way' is unmounted, but the process that served it ended before its image was closed$" "$UMOUNT" way
if grep -q " $PWD/mnt " /proc/self/mountinfo; then fail 'the dead mount is still there'; fi

# what the process says of itself is as safe as its own messages
evil=$'evil\033[31m.qcow2'
cp image.qcow2 "$evil"
mount_image -w --image-opts "${failing/image.qcow2/$evil}" mnt
echo changed | dd of=mnt/disk.raw conv=notrunc status=none
run_fails 1 "^byre: 'mnt' is unmounted, but: .*evil.033\[31m.qcow2.*No space left on device$" "$UMOUNT" mnt
mounts=()

# links on the way, the last name included
mkdir deep
mkdir 'deep/with blank'
ln -s deep other
ln -s '../other/with blank' deep/link
run_ok "$MOUNT" image.qcow2 'deep/with blank'
run_ok "$UMOUNT" other/link
if mountpoint -q 'deep/with blank'; then fail 'the mount is still there'; fi

# what is no mount of byre's stays
run_fails 1 "^byre: Could not unmount 'deep/link': it is no mount point$" "$UMOUNT" deep/link
mount -t tmpfs -o size=4M small mnt || skip 'a file system cannot be mounted'
clean_up quietly umount "$PWD/mnt"
for operands in mnt way '-z mnt'; do
    # shellcheck disable=SC2086
    run_fails 1 "^byre: Could not unmount '${operands#-z }': there is no image, but 'small' of type tmpfs; see umount\(8\)$" \
        "$UMOUNT" $operands
done
mkdir mnt/mnt
run_fails 1 "^byre: Could not unmount 'mnt/mnt': it is no mount point$" "$UMOUNT" mnt/mnt
# on top of each other: the upper one is meant
cp image.qcow2 mnt/lower
run_ok "$MOUNT" mnt/lower mnt/mnt
run_ok "$UMOUNT" mnt/mnt
umount mnt

# a mount that lives on, in another place and in another namespace, is said to, and nothing waits for its end
mkdir twin
mount_image --pid-file="$TEST_DIR/pid" image.qcow2 mnt
pid=$(cat pid)
clean_up quietly umount "$PWD/twin"
mount --bind mnt twin
run_fails 1 "^byre: 'mnt' is unmounted, but .* still mounted at '$PWD/twin': process $pid serves it" "$UMOUNT" mnt
mounts=("$PWD/twin")
unmount
await_end "$pid"

mount_image --pid-file="$TEST_DIR/pid" image.qcow2 mnt
pid=$(cat pid)
mkfifo hold
apart sh -c 'echo ready >ready; read -r line' <>hold &
holder=$!
await [ -s ready ]
run_fails 1 "^byre: 'mnt' is unmounted, but .* still mounted at '$PWD/mnt' in the mount namespace of process [0-9]+ \(.+\): process $pid serves it" \
    "$UMOUNT" mnt
mounts=()
if has_ended "$pid"; then fail 'byre-mount has ended'; fi
echo >hold
wait $holder
await_end "$pid"
