#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Mount options, the process around a mount, and its end.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuse/mount.bash"
. "$TEST_TOP/tests/hold.bash"

chmod 755 "$TEST_DIR"
mkdir mnt
qemu-img create -q -f qcow2 image.qcow2 4M
chmod 640 image.qcow2

# what the kernel was told: FIELD of the mount
mount_field() {
    findmnt -n -o "$1" "$PWD/mnt"
}
mount_image image.qcow2 mnt
assert_equal image.qcow2 "$(mount_field SOURCE)" 'source'
assert_equal fuse.byre "$(mount_field FSTYPE)" 'type'
assert_match '^ro,nosuid,nodev' "$(mount_field OPTIONS)"
read_ahead=/sys/class/bdi/$(stat -c %Hd:%Ld mnt)/read_ahead_kb
[ ! -w "$read_ahead" ] || assert_equal 1024 "$(cat "$read_ahead")" 'KiB that are read ahead'
assert_equal "440 $(id -u) $(id -g)" "$(stat -c '%a %u %g' mnt/disk.raw)" 'mode and owner of the disk'
assert_equal 550 "$(stat -c %a mnt/partitions)" 'mode of a directory'
unmount
mount_image -o uid=12,gid=34 -o umask=077,fsname=na\\,me,noexec,allow_suid,allow_dev image.qcow2 mnt
assert_equal 'na,me' "$(mount_field SOURCE)" 'source'
assert_match 'noexec' "$(mount_field OPTIONS)"
[[ $(mount_field OPTIONS) != *nosuid* && $(mount_field OPTIONS) != *nodev* ]] || fail 'suid and dev have no effect'
assert_equal '400 12 34' "$(stat -c '%a %u %g' mnt/disk.raw)" 'mode and owner of the disk'
assert_equal '500 12 34' "$(stat -c '%a %u %g' mnt/partitions)" 'mode and owner of a directory'
unmount
mount_image -o rw,suid,dev image.qcow2 mnt
assert_match 'nosuid,nodev' "$(mount_field OPTIONS)"
unmount
# by mount(8), which says them to all, and through mount.fuse3; the options that are byre's own have their effect
[ -x "$(command -v mount.fuse3)" ] || fail 'there is no mount.fuse3'
by_mount() { # OPTIONS
    run_ok mount -t fuse3 -o "$1" "$PWD/bin/byre-mount#$PWD/image.qcow2" mnt
    mounts+=("$PWD/mnt")
}
mkdir bin
printf '#!/bin/sh\necho "$@" >%q/called\nexec %q "$@"\n' "$PWD" "$MOUNT" >bin/byre-mount
chmod +x bin/byre-mount
for options in defaults ro suid,dev; do
    by_mount "$options"
    assert_match '[ ,]suid(,.*)?' "$(cat called)"
    assert_match '[ ,]dev(,.*)?' "$(cat called)"
    assert_equal fuse.byre "$(mount_field FSTYPE)" 'type'
    assert_match '^ro,nosuid,nodev' "$(mount_field OPTIONS)"
    unmount
done
by_mount allow_suid,allow_dev,writable,allow_other
[[ $(mount_field OPTIONS) = rw,* && $(mount_field OPTIONS) != *nosuid* && $(mount_field OPTIONS) != *nodev* ]] ||
    fail "options through mount(8): $(mount_field OPTIONS)"
unmount
mount_image -o writable,rw image.qcow2 mnt
assert_equal 640 "$(stat -c %a mnt/disk.raw)" 'mode of a disk that can be written to'
echo changed >mnt/disk.raw
unmount
assert_equal 512 "$("$BYRE" info --output=json image.qcow2 | sed -n 's/.*"virtual-size": \([0-9]*\).*/\1/p')" 'size'
mount_image --options=ro,format=raw image.qcow2 mnt
assert_same_file image.qcow2 mnt/disk.raw
unmount
mount_image --format=raw image.qcow2 mnt
assert_same_file image.qcow2 mnt/disk.raw
unmount
mount_image --image-opts driver=qcow2,file.filename=image.qcow2 mnt
assert_equal changed "$(head -n 1 mnt/disk.raw)" 'contents'
unmount
qemu_encrypts create -q -f qcow2 --object secret,id=s,data=abc -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 \
    luks.qcow2 1M
mount_image --object secret,id=s,data=abc --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=luks.qcow2 mnt
cmp -n $((1 << 20)) mnt/disk.raw /dev/zero
unmount
qemu-img create -q -f qcow2 -u -b "json:{'driver':'qcow2','file.filename':'$PWD/image.qcow2'}" -F qcow2 json.qcow2 1M
run_fails 1 'allow-backing=protocol' "$MOUNT" json.qcow2 mnt
mount_image --allow-backing=protocol json.qcow2 mnt
assert_equal changed "$(head -n 1 mnt/disk.raw)" 'contents through a backing file'
assert_equal changed "$(head -n 1 mnt/layers/1/disk.raw)" 'contents of the backing file'
unmount

# others see it with allow_other alone
as_nobody() {
    setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}
chmod 644 image.qcow2
if as_nobody true 2>/dev/null; then
    mount_image image.qcow2 mnt
    if as_nobody cat mnt/disk.raw >/dev/null 2>&1; then fail 'another user can read it'; fi
    unmount
    mount_image -o allow_other,default_permissions image.qcow2 mnt
    as_nobody cat mnt/disk.raw >/dev/null
    unmount
else
    no_others='nobody else can be'
fi

# while somebody else writes: with -U alone
hold -f qcow2 image.qcow2
run_fails 1 'Failed to get .* lock' "$MOUNT" image.qcow2 mnt
mount_image -U image.qcow2 mnt
assert_equal changed "$(head -n 1 mnt/disk.raw)" 'contents'
unmount
mount_image --force-share image.qcow2 mnt
unmount
release

# signals while it ends, and no process beside it, do no harm; standard files may be closed
for how in signals watchdog closed; do
    if [ $how = closed ]; then
        "$MOUNT" -w --pid-file="$TEST_DIR/pid" image.qcow2 mnt <&- >&- 2>&- || fail 'byre-mount without standard files'
    else
        run_ok "$MOUNT" -w --pid-file="$TEST_DIR/pid" image.qcow2 mnt
    fi
    mounts=("$PWD/mnt")
    pid=$(cat pid)
    text 4 3000320 | dd of=mnt/disk.raw bs=1M iflag=fullblock status=none
    if [ $how = watchdog ]; then
        pkill -KILL -P "$pid"
    fi
    if [ $how = signals ]; then
        for ((i = 0; i < 200; i++)); do
            kill -TERM "$pid" 2>/dev/null || break
            kill -HUP "$pid" 2>/dev/null || break
        done
        mounts=()
        await [ ! -e pid ]
    else
        unmount
    fi
    assert_missing pid
    text 4 3000320 >wanted
    run_ok "$BYRE" compare -f raw -F qcow2 wanted image.qcow2
    echo changed | dd of=wanted conv=notrunc status=none
    mount_image -w image.qcow2 mnt
    echo changed >mnt/disk.raw
    unmount
done

# the process: its pid file, the foreground, signals
mount_image --pid-file="$TEST_DIR/pid" image.qcow2 mnt
grep -q "^byre-mount" "/proc/$(cat pid)/comm" || fail 'the pid file names another process'
assert_equal "$(cat pid)" "$(getfattr --only-values -n user.byre.pid mnt 2>/dev/null)" 'pid of the mount'
unmount
assert_missing pid
for signal in INT TERM HUP; do
    # a shell's background jobs ignore INT
    env --default-signal=INT "$MOUNT" -f image.qcow2 mnt >log 2>&1 &
    pid=$!
    await_mount mnt log
    kill -$signal $pid
    wait $pid || fail "byre-mount exits with $? after $signal: $(cat log)"
    assert_equal '' "$(cat log)" 'what was said'
    if mountpoint -q mnt; then fail 'the mount is still there'; fi
done
for option in '-d' '--debug'; do
    "$MOUNT" $option image.qcow2 mnt >log 2>&1 &
    pid=$!
    await_mount mnt log
    cat mnt/disk.raw >/dev/null
    run_ok "$UMOUNT" mnt
    wait $pid
    grep -q 'READ' log || fail "$option: nothing is told of requests"
done
"$MOUNT" --foreground image.qcow2 mnt >log 2>&1 &
pid=$!
await_mount mnt log
run_ok "$UMOUNT" mnt
wait $pid

# byre mount, byre umount; a mount that is in use
run_ok "$BYRE" mount image.qcow2 mnt
mounts=("$PWD/mnt")
exec 8<mnt/disk.raw
run_fails 1 'busy' "$BYRE" umount mnt
run_ok "$UMOUNT" --lazy mnt
if mountpoint -q mnt; then fail 'the mount is still there'; fi
assert_equal changed "$(head -n 1 <&8)" 'contents of a file that is open after a lazy unmount'
exec 8<&-
mounts=()
mkdir other
mount_image image.qcow2 mnt
mount_image image.qcow2 other
run_ok "$BYRE" umount mnt other
mounts=()
mount_image image.qcow2 mnt
run_ok "$UMOUNT" -z mnt
mounts=()
run "$MOUNT" --help
assert_match '--fs\[=N\]' "$OUT"
run_ok "$MOUNT" -h
run_ok "$UMOUNT" -h
run_ok "$UMOUNT" --help
run_ok "$MOUNT" image.qcow2 mnt
run_ok fusermount3 -u mnt

# by somebody who is not root, in a namespace where /dev/fuse is for all, as it is on most machines
theirs() {
    chmod 666 fuse
    mount --bind fuse /dev/fuse
    as_nobody "$MOUNT" image.qcow2 theirs
    assert_equal changed "$(as_nobody head -n 1 theirs/disk.raw)" 'contents'
    # root may not look into it, and cannot wait for its end
    if "$UMOUNT" theirs 2>says; then fail 'root could wait for the mount of another user'; fi
    grep -q "cannot be told: Permission denied; with --lazy nothing waits for it" says || fail "what is said: $(cat says)"
    as_nobody "$UMOUNT" theirs
    if mountpoint -q theirs; then fail 'the mount is still there'; fi
    # one that was killed is taken away by fusermount3
    as_nobody "$MOUNT" --pid-file=theirs.pid image.qcow2 theirs
    kill -KILL "$(cat theirs.pid)"
    await_unmounted theirs
}
if as_nobody true 2>/dev/null && [ -u "$(command -v fusermount3)" ] && mknod fuse c 10 229 && head -c 0 fuse; then
    install -d -o 65534 -g 65534 theirs
    install -o 65534 -m 644 /dev/null theirs.pid
    chmod 777 .
    export -f theirs as_nobody assert_equal fail await await_unmounted is_unmounted
    export MOUNT UMOUNT
    run_ok apart bash -ec theirs
fi

[ -z "${no_others-}" ] || skip "$no_others"
