#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Disks over NBD and TLS: with keys that both sides know, and with certificates; what is not encrypted is refused.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/client.bash"

noise 1 1000000 >disk.raw
truncate -s 1M disk.raw

# quietly COMMAND...: shows what it says only if it fails.
quietly() {
    "$@" >tool.log 2>&1 || { cat tool.log; fail "$*"; }
}

# certificate NAME [AUTHORITY]: NAME-cert.pem and NAME-key.pem out of NAME.cfg.
certificate() {
    local how=(--generate-self-signed)
    [ $# = 1 ] || how=(--generate-certificate --load-ca-certificate "$2-cert.pem" --load-ca-privkey "$2-key.pem")
    quietly certtool --generate-privkey --key-type=ecdsa --outfile "$1-key.pem"
    quietly certtool "${how[@]}" --load-privkey "$1-key.pem" --template "$1.cfg" --outfile "$1-cert.pem"
}

mkdir keys
printf 'cn = authority\nca\ncert_signing_key\n' >keys/ca.cfg
printf 'cn = localhost\ndns_name = localhost\ntls_www_server\nsigning_key\n' >keys/server.cfg
printf 'cn = client\ntls_www_client\nsigning_key\n' >keys/client.cfg
cp keys/ca.cfg keys/other.cfg
cd keys
certificate ca
certificate other
certificate server ca
certificate client ca
cd ..
mkdir strangers nobody
cp keys/other-cert.pem strangers/ca-cert.pem
cp keys/ca-cert.pem nobody/

# tls NAME QUERY: the name of the export.
tls() {
    echo "nbds+unix://?socket=$PWD/$1.sock&$2"
}

# A key that both have.
echo "me:$(printf '%064d' 7)" >good.psk
echo "me:$(printf '%064d' 8)" >bad.psk
serve_nbdkit psk --tls=require --tls-psk="$PWD/good.psk" file disk.raw
disk=$(tls psk "tls-psk-file=$PWD/good.psk&tls-username=me")
run_ok "$BYRE" info "$disk"
assert_equal "image: $disk" "${OUT%%$'\n'*}"
run_ok "$BYRE" compare -U -f raw -F raw "$disk" disk.raw
run_ok "$BYRE" bench -f raw -c 200 -d 32 "$disk"
run_ok "$BYRE" compare -U --image-opts \
    "$(node psk tls=on "tls-psk-file=$PWD/good.psk" tls-username=me)" driver=raw,file.filename=disk.raw
# refused TEXT NAME
refused() {
    run_fails 1 "The handshake with the server at '.*' failed: .*$1" "$BYRE" info "$2"
}
refused 'TLS connection' "$(tls psk "tls-psk-file=$PWD/bad.psk&tls-username=me")"
refused 'username you was not found' "$(tls psk "tls-psk-file=$PWD/good.psk&tls-username=you")"
refused 'No such file' "$(tls psk "tls-psk-file=$PWD/none.psk&tls-username=me")"
run_fails 1 'it may want TLS \(nbds\)' "$BYRE" info "$(uri psk)"
end_server psk

# Certificates, of both; of an authority that is not trusted; of a client that has none; of another host.
serve_tcp proof --tls=require --tls-certificates="$PWD/keys" --tls-verify-peer file disk.raw
run_ok "$BYRE" compare -U -f raw -F raw "nbds://localhost:$PORT?tls-certificates=$PWD/keys" disk.raw
run_ok "$BYRE" info "nbds://localhost:$PORT/any?tls-certificates=$PWD/keys"
assert_equal "image: nbds://localhost:$PORT/any?tls-certificates=$PWD/keys" "${OUT%%$'\n'*}"
refused 'gnutls' "nbds://localhost:$PORT?tls-certificates=$PWD/nobody"
end_server proof
serve_tcp open --tls=require --tls-certificates="$PWD/keys" file disk.raw
run_ok "$BYRE" compare -U -f raw -F raw "nbds://localhost:$PORT?tls-certificates=$PWD/nobody" disk.raw
refused 'certificate' "nbds://localhost:$PORT?tls-certificates=$PWD/strangers"
refused 'certificate' "nbds://127.0.0.1:$PORT?tls-certificates=$PWD/nobody"
end_server open

# The server has none, or nobody could say whose they are.
serve_tcp plain file disk.raw
refused 'server refused TLS' "nbds://localhost:$PORT?tls-certificates=$PWD/keys"
run_ok "$BYRE" info "nbd://localhost:$PORT"
serve_nbdkit local --tls=require --tls-certificates="$PWD/keys" file disk.raw
run_fails 1 'certificates do not prove who listens on a unix socket' "$BYRE" info "$(tls local "tls-certificates=$PWD/keys")"
run_fails 1 'certificates do not prove who listens on a unix socket' "$BYRE" info "nbds+unix:///?socket=$PWD/local.sock"
