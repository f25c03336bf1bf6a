# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# For tests of mounts, after lib.sh: mounts in the test's directory, which end with the test.

MOUNT=$BYRE-mount
UMOUNT=$BYRE-umount

[ -c /dev/fuse ] || skip 'there is no /dev/fuse'
[ -e "$MOUNT" ] || fail 'there is no byre-mount: byre was built without libfuse3'

mounts=()

# mount_image OPTION... IMAGE... MOUNTPOINT: it is there when this returns.
mount_image() {
    run_ok "$MOUNT" "$@"
    mounts+=("$(realpath -s "${*: -1}")")
}

# unmount: the last one; its images are closed.
unmount() {
    run_ok "$UMOUNT" "${mounts[-1]}"
    unset 'mounts[-1]'
}

# unmount_when_free: the same of one where a loop device was, which lets go of its file some time after its own end.
unmount_when_free() {
    await quietly "$UMOUNT" "${mounts[-1]}"
    unset 'mounts[-1]'
}
quietly() {
    "$@" 2>/dev/null
}

# apart COMMAND...: in a mount namespace of its own, which keeps none of the mounts that other tests are to take away.
apart() {
    # shellcheck disable=SC2016 # the shell that is started expands it
    unshare -m bash -c 'findmnt -rno TARGET -t fuse.byre | grep -v "^$PWD/" | xargs -r -n 1 umount -l || true
        exec "$@"' apart "$@"
}

# await_mount DIRECTORY LOG: of a byre-mount in the foreground, which writes to LOG.
await_mount() {
    await mountpoint -q "$1" || fail "the mount does not come: $(cat "$2")"
}

# await_unmounted DIRECTORY: without asking who serves it.
await_unmounted() {
    await is_unmounted "$PWD/$1"
}
is_unmounted() {
    ! grep -q " $1 " /proc/self/mountinfo
}

unmount_all() {
    local path
    for path in "${mounts[@]}"; do
        "$UMOUNT" "$path" || umount -l "$path"
    done
}
clean_up unmount_all
