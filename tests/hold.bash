# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# For tests of locks, after lib.sh: somebody else who has an image open.

# hold OPTION...: a qemu-io that has the image open until release.
hold() {
    mkfifo commands
    : >held
    qemu-io "$@" <commands >held 2>&1 &
    holder=$!
    exec 7>commands
    echo 'read -v 0 1' >&7
    await_text '^read 1/1' held
}

release() {
    exec 7>&-
    wait "$holder" || true
    rm -f commands held
}
