#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A medium that fails: the client is told which error it was, and no name of a file; who runs the server reads all of it.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdcopy

qemu-img create -q -f qcow2 hidden.qcow2 1M
qemu_io -f qcow2 -c 'write -q -P 7 0 1M' hidden.qcow2
"$SERVER" --fork -v --pid-file="$TEST_DIR/pid" -t -e 0 -k "$TEST_DIR/socket" --image-opts \
    driver=qcow2,file.driver=blkdebug,file.image.filename=hidden.qcow2,file.inject-error.0.event=read_aio,file.inject-error.0.errno=5 \
    2>server.log 7>&-
LIBNBD_DEBUG=1 run nbdcopy "$URI" copy.raw
[ "$CODE" != 0 ] || fail 'it was copied'
assert_match 'Input/output error' "$ERR"
[[ $ERR != *hidden* ]] || fail "a name was told: $ERR"
grep -q hidden.qcow2 server.log || fail "$(cat server.log)"
# the connection was not ended by it, and nor was the server
run qemu-io -f raw -c 'read 0 4k' "$URI"
assert_match 'read failed: Input/output error' "$OUT"
stop_server TERM
