#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Clients that lie, leave or fall silent where TLS is wanted: they learn nothing, and others are served meanwhile.
# shellcheck disable=SC2119 # the signal is for others
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
. "$TEST_TOP/tests/nbd/tls.bash"
need nbdcopy gnutls-cli certtool

noise 1 300000 >plain.raw
truncate -s 1M plain.raw
qemu-img convert -O qcow2 plain.raw image.qcow2
shared_key psk me 7
authority ca
certificate server ca 'cn = localhost' tls_www_server signing_key
kept server ca server

rude() {
    run_ok perl "$TEST_TOP/tests/nbd/rude-tls.pl" "$TEST_DIR/socket" "$1" hidden "${@:2}"
}

assert_served() {
    run_ok nbdcopy "nbds+unix://me@/hidden?socket=$TEST_DIR/socket&tls-psk-file=$TEST_DIR/psk/keys.psk" copy.raw
    assert_same_file plain.raw copy.raw
}

object=tls-creds-psk,id=tls,dir=psk,endpoint=server
psk=(--object "$object" --tls-creds tls -x hidden -D hidden image.qcow2)
# nobody is sent away for the time that he takes
start_server -t -e 0 --handshake-limit=0 "${psk[@]}"
for scene in ignorant inject broken; do
    rude $scene
    assert_served
done
stop_server
start_server -t -e 0 --handshake-limit=0 --object tls-creds-x509,id=tls,dir=server,endpoint=server --tls-creds tls -x hidden \
    image.qcow2
rude ignorant
rude broken
stop_server
# where TLS is not a must, what comes behind the wish for it is not taken either
start_server -t -e 0 --handshake-limit=0 --tls=allow "${psk[@]}"
rude inject
assert_served
stop_server

stick() {
    rm -f stuck.out # what the last one has said there
    perl "$TEST_TOP/tests/nbd/rude-tls.pl" socket stuck hidden "$1" >stuck.out 2>&1 7>&- &
    stuck=$!
    await_text stuck stuck.out
}
start_server -t -e 0 --handshake-limit=2 "${psk[@]}"
stick 300
assert_served
wait $stuck || fail "$(cat stuck.out)"
assert_served
stop_server

# the end of the server does not wait for them
start_server -t -e 0 --handshake-limit=0 "${psk[@]}"
stick 50
assert_served
stop_server
wait $stuck || fail "$(cat stuck.out)"
