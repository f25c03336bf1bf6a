#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# -L with TLS: what a server tells those who may ask, and what is refused before anybody is asked.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
. "$TEST_TOP/tests/nbd/tls.bash"
need certtool
qemu-img create -q -f qcow2 image.qcow2 1M

creds() {
    echo "tls-creds-$1,id=tls,dir=$2,endpoint=client"
}

run_fails 1 'Expected TLS credentials for a client endpoint' "$SERVER" -L --tls-creds=tls \
    --object tls-creds-anon,id=tls,endpoint=server
run_fails 1 'Expected TLS credentials for a server endpoint' "$SERVER" --tls-creds=tls \
    --object "$(creds psk psk)" image.qcow2
run_fails 1 "Parameter 'priority' has no effect with endpoint=client" "$SERVER" -L --tls-creds=tls \
    --object "$(creds psk psk),priority=NORMAL"
run_fails 1 '^byre: --tls-hostname: libnbd wants the certificate to be that of -b' "$SERVER" -L --tls-creds=tls \
    --object "$(creds psk psk)" --tls-hostname=other
run_fails 1 '^byre: --tls is for a server, and not for listing' "$SERVER" -L --tls-creds=tls \
    --object "$(creds psk psk)" --tls=allow
run_fails 1 '^byre: --tls-authz is for a server, and not for listing' "$SERVER" -L --tls-creds=tls \
    --object "$(creds psk psk)" --tls-authz=who
run_fails 1 'TLS is not supported with a host device' "$SERVER" -c /dev/nbd0 --tls-creds=tls \
    --object tls-creds-anon,id=tls,endpoint=server image.qcow2
run_fails 1 'List mode is incompatible with per-device settings' "$SERVER" -L --export-dir=.
run_fails 1 'List mode is incompatible with per-device settings' "$SERVER" -L -o 512
has LIBNBD || exit 0

shared_key psk me 7
shared_key psk qemu 8
shared_key wrong me 9
start_server -t -r -e 0 -x hidden --object tls-creds-psk,id=tls,dir=psk,endpoint=server --tls-creds=tls image.qcow2
for user in '' ,username=me; do
    run_ok "$SERVER" -L -k socket --tls-creds=tls --object "$(creds psk psk)$user"
    assert_match "export: 'hidden'" "$OUT"
done
run_fails 1 . "$SERVER" -L -k socket --tls-creds=tls --object "$(creds psk wrong),username=me"
run_fails 1 . "$SERVER" -L -k socket
[[ $OUT$ERR != *hidden* ]] || fail 'the name of the export was told'
stop_server TERM

authority ca
authority stranger
certificate server ca 'cn = localhost' 'dns_name = localhost' tls_www_server signing_key
certificate client ca 'cn = client' tls_www_client signing_key
kept server ca server
kept client ca '' client
kept distrust stranger '' client
start_tcp -t -r -e 0 -x hidden --object tls-creds-x509,id=tls,dir=server,endpoint=server --tls-creds=tls image.qcow2
run_ok "$SERVER" -L -b localhost -p "$PORT" --tls-creds=tls --object "$(creds x509 client)"
assert_match "export: 'hidden'" "$OUT"
run_ok "$SERVER" -L -b localhost -p "$PORT" --tls-creds=tls --object "$(creds x509 client)" --tls-hostname=localhost
run_fails 1 'of no other one' "$SERVER" -L -b 127.0.0.1 -p "$PORT" --tls-creds=tls --object "$(creds x509 client)" \
    --tls-hostname=localhost
run_fails 1 certificate "$SERVER" -L -b localhost -p "$PORT" --tls-creds=tls --object "$(creds x509 distrust)"
run_fails 1 certificate "$SERVER" -L -b 127.0.0.1 -p "$PORT" --tls-creds=tls --object "$(creds x509 client)"
stop_server TERM

# at a UNIX socket nobody has a name that a certificate could be for
start_server -t -r -e 0 -x hidden --object tls-creds-x509,id=tls,dir=server,endpoint=server --tls-creds=tls image.qcow2
run_fails 1 'a certificate is one of a host' "$SERVER" -L -k socket --tls-creds=tls --object "$(creds x509 client)"
run_ok "$SERVER" -L -k socket --tls-creds=tls --object "$(creds x509 client),verify-peer=no"
assert_match "export: 'hidden'" "$OUT"
stop_server TERM
