#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Files that end within a page: what is read behind their ends is zeros, also when all else comes from the page cache.
# shellcheck disable=SC2119 # the signal is for others
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdcopy

# assert_served REFERENCE SERVER_OPTION...: more than once, for then it is known where the data is.
assert_served() {
    local reference=$1
    shift
    start_server -r -t -e 0 "$@"
    for _ in 1 2 3; do
        run_ok nbdcopy "$URI" copy.raw
        assert_same_file "$reference" copy.raw
        rm copy.raw
    done
    stop_server
}

noise 1 1000001 >odd.raw
cp odd.raw reference.raw
truncate -s 1000448 reference.raw # whole sectors
assert_served reference.raw -f raw odd.raw

qemu-img create -q -f qcow2 -b odd.raw -F raw overlay.qcow2 4M
truncate -s 4M reference.raw
assert_served reference.raw overlay.qcow2

qemu-img create -q -f qcow2 cut.qcow2 1M
qemu_io -f qcow2 -c 'write -q -P 7 0 1M' cut.qcow2
truncate -s -1000 cut.qcow2
qemu-img convert -O raw cut.qcow2 reference.raw
assert_served reference.raw cut.qcow2
