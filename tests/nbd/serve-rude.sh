#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Clients that leave, lie, fall silent or come in crowds: each gets what it deserves, and others are served meanwhile.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdinfo nbdcopy
slow

qemu-img create -q -f qcow2 image.qcow2 1M
qemu_io -f qcow2 -c 'write -q -P 1 0 1M' image.qcow2
qemu-img convert -O raw image.qcow2 plain.raw

rude() {
    run_ok perl "$TEST_TOP/tests/nbd/rude.pl" "$TEST_DIR/socket" "$@"
}

# The server is there, and so is the disk.
assert_served() {
    run_ok nbdcopy "$URI" copy.raw
    assert_same_file plain.raw copy.raw
}

ulimit -n 4096
start_server -t -e 0 --handshake-limit=0 image.qcow2
for scene in leave garbage nonsense lies deaf "beyond 1048576" endless vanish once "crowd 1000"; do
    # shellcheck disable=SC2086 # the size is a word
    rude $scene
    assert_served
done
stop_server

# names of all lengths
start_server -t -e 0 -x "$(printf 'x%.0s' {1..4096})" image.qcow2
rude names
stop_server

# rude_begins SCENE: a client in the background, $RUDE, until it has come.
rude_begins() {
    rm -f rude.out
    perl "$TEST_TOP/tests/nbd/rude.pl" socket "$1" >rude.out 2>&1 7>&- &
    RUDE=$!
    await_text silent rude.out
}
rude_ends() {
    wait "$RUDE" || fail "$(cat rude.out)"
}

# a payload that does not come holds up nobody, not even the end of the server
start_server -t -e 0 --handshake-limit=0 image.qcow2
rude_begins stall
assert_served
stop_server
rude_ends

# who says nothing is sent away, and others need not wait for that
start_server -t -e 0 --handshake-limit=1 image.qcow2
rude_begins silent
assert_served
rude_ends
stop_server

# the end of the server does not wait for those who are still greeting
start_server -t -e 0 --handshake-limit=0 image.qcow2
rude_begins silent
stop_server
rude_ends

# more clients than there may be wait for their turn
start_server -t image.qcow2
nbdcopy "$URI" one.raw &
one=$!
assert_served
wait $one
stop_server

# what was flushed is there after a kill
start_server -t -e 0 image.qcow2
run_ok qemu-io -f raw -c 'write -q -P 9 0 512k' -c flush "$URI"
noise 3 100000 >noise.raw
truncate -s 1M noise.raw
nbdcopy --requests=16 noise.raw "$URI" >nbdcopy.out 2>&1 &
load=$!
stop_server KILL
wait $load || true
run "$BYRE" check -r all image.qcow2
assert_equal 0 "$CODE" "exit code of check ($ERR)"
run_ok "$BYRE" info image.qcow2
start_server -t -e 0 image.qcow2
run_ok qemu-io -f raw -c 'write -q -P 8 0 512k' -c flush "$URI"
stop_server KILL
run_ok "$BYRE" check -q image.qcow2
assert_equal '' "$(qemu-io -f qcow2 -c 'read -q -P 8 0 512k' image.qcow2 | grep -i fail || true)" "what was flushed"

# places where no server can be
run_fails 1 'UNIX socket path .* is too long' bounded "$SERVER" -k "$(printf 'x%.0s' {1..200})" image.qcow2
run_fails 1 'Failed to bind socket to /nowhere/socket: No such file or directory' bounded "$SERVER" -k /nowhere/socket image.qcow2
: >file
run_fails 1 'Failed to bind socket to file: Address already in use' bounded "$SERVER" -k file image.qcow2
assert_equal 0 "$(file_size file)" "the file"
start_server -t -r -e 0 image.qcow2
run_fails 1 'Address already in use' bounded "$SERVER" -k socket -r image.qcow2
stop_server
run_fails 1 'address resolution failed for no.such.host.invalid:10809' bounded "$SERVER" -b no.such.host.invalid image.qcow2
run_fails 1 "Invalid port '70000'" bounded "$SERVER" -p 70000 image.qcow2
run_fails 1 "Invalid shared device number 'x'" bounded "$SERVER" -e x image.qcow2
run_fails 1 "Invalid handshake limit '-1'" bounded "$SERVER" --handshake-limit=-1 image.qcow2
run_fails 1 "Invalid discard mode 'x'" bounded "$SERVER" --discard=x image.qcow2
run_fails 1 "Failed to parse detect_zeroes mode" bounded "$SERVER" --detect-zeroes=x image.qcow2
run_fails 1 "Unknown driver 'vmdk'" bounded "$SERVER" -f vmdk image.qcow2
run_fails 1 'is too long' bounded "$SERVER" -x "$(printf 'x%.0s' {1..4097})" image.qcow2
run_fails 1 'missing' bounded "$SERVER" -k socket missing
run_fails 1 "Could not create '/nowhere/pid': No such file" bounded "$SERVER" -k socket --pid-file=/nowhere/pid image.qcow2
run_fails 1 "Could not create '/nowhere/pid': No such file" bounded "$SERVER" --fork -k socket --pid-file=/nowhere/pid image.qcow2
run_fails 1 'Expecting the name of one image' bounded "$SERVER"
