#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# TLS as a server: by certificates and by keys that both sides know, with the clients of libnbd, QEMU and byre; who may
# not come in learns nothing.
# shellcheck disable=SC2119 # the signal is for others
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
. "$TEST_TOP/tests/nbd/tls.bash"
need nbdinfo nbdcopy certtool

noise 1 1000000 >plain.raw
truncate -s 4M plain.raw
qemu-img convert -O qcow2 plain.raw image.qcow2

authority ca
authority other
certificate server ca 'cn = localhost' 'dns_name = localhost' tls_www_server signing_key
certificate client ca 'cn = client' 'organization = Byre' 'country = GB' tls_www_client signing_key
certificate guest ca 'cn = guest' tls_www_client signing_key
certificate stranger other 'cn = client' 'organization = Byre' 'country = GB' tls_www_client signing_key
certificate misused ca 'cn = misused' tls_www_server signing_key
kept server ca server
for name in client guest stranger misused; do
    kept $name ca '' $name
done
kept nobody ca
kept distrust other '' client
shared_key psk me 7
shared_key psk you 5
shared_key wrong me 8

x509=tls-creds-x509,id=tls,dir=server,endpoint=server psk=tls-creds-psk,id=tls,dir=psk,endpoint=server

# by USER [DIR] [EXPORT]: the export, for somebody with a key.
by() {
    echo "nbds+unix://$1@/${3:-}?socket=$TEST_DIR/socket&tls-psk-file=$TEST_DIR/${2:-psk}/keys.psk"
}

# with DIR [EXPORT]: the export, for somebody with that certificate.
with() {
    echo "nbds://localhost:$PORT/${2:-}?tls-certificates=$TEST_DIR/$1"
}

# turned_away URI...: nobody gets in, and no name is told.
turned_away() {
    local uri option
    for uri; do
        for option in --list --map; do
            run nbdinfo "$option" "$uri"
            [ "$CODE" != 0 ] || fail "nbdinfo $option $uri: $OUT"
            [[ $OUT$ERR != *hidden* ]] || fail "a name is told: $OUT$ERR"
        done
    done
}

assert_served() {
    run_ok nbdcopy "$1" copy.raw
    assert_same_file plain.raw copy.raw
}

# --- keys ---
start_server -t -e 0 -x hidden -D hidden --object "$psk" --tls-creds=tls image.qcow2
assert_served "$(by me psk hidden)"
assert_served "$(by you psk hidden)"
run_ok nbdinfo --json "$(by me psk hidden)"
assert_match '"TLS": true' "$OUT"
run_ok nbdinfo --list "$(by me psk hidden)"
assert_match 'hidden' "$OUT"
turned_away "$(by me wrong hidden)" "$(by me wrong)" "nbd+unix:///hidden?socket=$TEST_DIR/socket" "$URI"
run nbdinfo --size "$(by they psk hidden)"
[ "$CODE" != 0 ] || fail 'somebody without a key came in'
if has LIBNBD; then
    run_ok "$BYRE" compare -U -f raw -F raw "$(by me psk hidden)" plain.raw
fi
run_ok qemu-img compare --object tls-creds-psk,id=c,dir=psk,endpoint=client,username=me --image-opts \
    "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path=$TEST_DIR/socket,file.export=hidden,file.tls-creds=c" \
    driver=raw,file.filename=plain.raw
stop_server

# much, both ways, with several connections
text 5 24M >large.raw
qemu-img create -q -f qcow2 large.qcow2 24M
start_server -t -e 0 --object "$psk" --tls-creds=tls large.qcow2
run_ok nbdcopy --connections=4 --requests=64 large.raw "$(by me)"
run_ok nbdcopy --connections=4 --requests=64 "$(by you)" back.raw
assert_same_file large.raw back.raw
stop_server
assert_same_disk large.raw large.qcow2
assert_clean large.qcow2
rm large.raw large.qcow2 back.raw

# one of those who have keys
start_server -t -r -e 0 --object "$psk" --tls-creds=tls --object authz-simple,id=who,identity=you --tls-authz who image.qcow2
assert_served "$(by you)"
turned_away "$(by me)"
stop_server

# in the clear, too
start_server -t -r -e 0 -x hidden --object "$psk" --tls-creds=tls --tls=allow image.qcow2
assert_served "$(by you psk hidden)"
assert_served "nbd+unix:///hidden?socket=$TEST_DIR/socket"
stop_server

# nobody knows whom he meets
start_server -t -r -e 0 --object tls-creds-anon,id=tls,endpoint=server --tls-creds=tls image.qcow2
run_ok qemu-img compare --object tls-creds-anon,id=c,endpoint=client --image-opts \
    "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path=$TEST_DIR/socket,file.tls-creds=c" \
    driver=raw,file.filename=plain.raw
turned_away "$(by me)" "$URI"
stop_server

# --- certificates ---
start_tcp -t -e 0 -x hidden --object "$x509" --tls-creds=tls image.qcow2
assert_served "$(with client hidden)"
run_ok nbdcopy --connections=4 "$(with guest hidden)" copy.raw
assert_same_file plain.raw copy.raw
turned_away "$(with stranger hidden)" "$(with nobody hidden)" "$(with misused hidden)" "$(with nobody)" "nbd://localhost:$PORT"
run nbdinfo --size "$(with distrust hidden)"
assert_match 'certificate' "$ERR"
if has LIBNBD; then
    run_ok "$BYRE" compare -U -f raw -F raw "$(with client hidden)" plain.raw
    run_fails 1 'handshake' "$BYRE" info "$(with nobody hidden)"
fi
run_ok qemu-img compare --object tls-creds-x509,id=c,dir=client,endpoint=client --image-opts \
    "driver=raw,file.driver=nbd,file.host=localhost,file.port=$PORT,file.export=hidden,file.tls-creds=c" \
    driver=raw,file.filename=plain.raw
stop_server

# certificates of clients are no matter; a list of those that are not valid any more is
start_tcp -t -r -e 0 --object "$x509,verify-peer=no,priority=NORMAL:-VERS-TLS1.3" --tls-creds=tls image.qcow2
assert_served "$(with nobody)"
stop_server
quietly certtool --generate-crl --load-ca-certificate keys/ca-cert.pem --load-ca-privkey keys/ca-key.pem \
    --load-certificate keys/guest-cert.pem --template /dev/stdin --outfile server/ca-crl.pem <<<$'crl_next_update = 100\ncrl_number = 1'
start_tcp -t -r -e 0 --object "$x509" --tls-creds=tls image.qcow2
assert_served "$(with client)"
turned_away "$(with guest)"
stop_server
rm server/ca-crl.pem

# --- who may ---
who() {
    start_tcp -t -r -e 0 -x hidden --object "$x509" --tls-creds=tls --object "$1" --tls-authz=who image.qcow2
}
who authz-simple,id=who,identity=C=GB,,O=Byre,,CN=client
assert_served "$(with client hidden)"
turned_away "$(with guest hidden)" "$(with stranger hidden)"
stop_server
who authz-list,id=who,policy=deny,rules.0.match=C=GB,,*CN=client,rules.0.policy=allow,rules.0.format=glob
assert_served "$(with client hidden)"
turned_away "$(with guest hidden)"
stop_server
who '{"qom-type": "authz-list", "id": "who", "policy": "allow", "rules": [{"match": "CN=gu?st", "policy": "deny", "format": "glob"}]}'
assert_served "$(with client hidden)"
turned_away "$(with guest hidden)"
stop_server
echo '{"rules": [{"match": "CN=guest", "policy": "allow"}]}' >who.acl
who authz-list-file,id=who,filename=who.acl
assert_served "$(with guest hidden)"
turned_away "$(with client hidden)"
echo '{"rules": [{"match": "CN=guest", "policy": "deny", "format": "exact"}], "policy": "allow"}' >who.acl
assert_served "$(with client hidden)"
turned_away "$(with guest hidden)"
echo '{' >who.acl
turned_away "$(with client hidden)" "$(with guest hidden)"
rm who.acl
turned_away "$(with client hidden)" "$(with guest hidden)"
echo '{"policy": "allow"}' >who.acl
assert_served "$(with client hidden)"
stop_server
who authz-list-file,id=who,filename=who.acl,refresh=no
echo '{"policy": "deny"}' >who.acl
assert_served "$(with client hidden)"
stop_server
