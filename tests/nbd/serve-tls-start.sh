#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Options and files of TLS with which a server cannot begin: it says so at once, names the file, in qemu-nbd's words
# where that has some.
# shellcheck disable=SC2119 # the signal is for others
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
. "$TEST_TOP/tests/nbd/tls.bash"
need certtool
slow

qemu-img create -q -f qcow2 image.qcow2 1M
authority ca
authority other
certificate server ca 'cn = localhost' tls_www_server signing_key
certificate client ca 'cn = client' tls_www_client signing_key
certificate foreign other 'cn = localhost' tls_www_server signing_key
certificate old ca 'cn = localhost' 'activation_date = "2001-01-01 00:00:00"' 'expiration_date = "2002-01-01 00:00:00"'
certificate young ca 'cn = localhost' 'activation_date = "2070-01-01 00:00:00"' 'expiration_date = "2071-01-01 00:00:00"'
kept good ca server

refuses() {
    run_fails 1 "^byre: $1\$" bounded "$SERVER" -k socket "${@:2}" image.qcow2
}

# the same words in the same case, byre's name apart
same_as_qemu() {
    local said
    run_fails 1 . bounded qemu-nbd -k "$TEST_DIR/socket" "$@" image.qcow2
    said=${ERR/#qemu-nbd: /byre: }
    run_fails 1 . bounded "$SERVER" -k "$TEST_DIR/socket" "$@" image.qcow2
    assert_equal "$said" "$ERR" "$*"
}

# --- options ---
good=tls-creds-x509,id=tls,dir=good,endpoint=server
same_as_qemu --tls-creds=tls
same_as_qemu --tls-authz=who
same_as_qemu --tls-hostname=localhost
same_as_qemu --object secret,id=tls,data=abc --tls-creds=tls
same_as_qemu --object "$good" --tls-creds=tls --tls-hostname=localhost
kept user ca '' client
same_as_qemu --object tls-creds-x509,id=tls,dir=user,endpoint=client --tls-creds=tls
run_fails 1 'TLS hostname is only supported with export list' bounded "$BYRE" serve --tls-hostname=localhost \
    --object "$good" --tls-creds=tls --tls=allow image.qcow2
refuses '--tls is not permitted without --tls-creds' --tls=allow
refuses "Invalid TLS mode 'x'" --object "$good" --tls-creds=tls --tls=x
refuses "Failed to get TLS authorization: No object with id 'who'" --object "$good" --tls-creds=tls --tls-authz=who
refuses "Failed to get TLS authorization: Object with id 'tls' is not for authorization" --object "$good" --tls-creds=tls --tls-authz=tls
refuses '--tls-authz is not permitted with credentials by which clients do not say who they are' \
    --object "$good,verify-peer=no" --tls-creds=tls --object authz-simple,id=who,identity=x --tls-authz=who

# --- objects ---
for object in tls-creds-x509,endpoint=server,dir=good tls-creds-x509,id=tls,endpoint=server \
    tls-creds-x509,id=tls,dir=good,endpoint=x tls-creds-x509,id=tls,dir=good,endpoint=server,verify-peer=x \
    tls-creds-x509,id=tls,dir=good,endpoint=server,x=y tls-creds-x509,id=tls,dir=good,endpoint=server,passwordid=x \
    tls-creds-psk,id=tls,endpoint=server authz-simple,id=who authz-list,id=who,policy=x nothing,id=x; do
    same_as_qemu --object "$object"
done
same_as_qemu --object "$good" --object "$good"
same_as_qemu --object authz-simple,id=tls,identity=x --object "$good"
same_as_qemu --object secret,id=tls,data=x --object "$good"
for type in tls-creds-x509 tls-creds-psk tls-creds-anon authz-simple authz-list authz-list-file; do
    run_ok "$SERVER" --object $type,help
    assert_equal "$(qemu-nbd --object $type,help)" "$OUT" "help of $type"
done
run_ok "$SERVER" --object help
assert_match 'authz-simple.*secret.*tls-creds-x509' "${OUT//$'\n'/ }"
run_fails 1 "does not accept value 'tls-creds-x509'" "$BYRE" info --object "$good" image.qcow2
refuses "Invalid parameter type for 'identity', expected: string" --object '{"qom-type": "authz-simple", "id": "who", "identity": []}'
refuses "Invalid parameter type for 'dir', expected: string" --object '{"qom-type": "tls-creds-psk", "id": "tls", "dir": 7}'
refuses "rules.0: Parameter 'policy' is missing" --object authz-list,id=who,rules.0.match=x
refuses "rules.1: Parameter 'format' does not accept value 'x'" \
    --object '{"qom-type": "authz-list", "id": "w", "rules": [{"match": "x", "policy": "deny"}, {"match": "y", "policy": "deny", "format": "x"}]}'
refuses "Parameter 'rules' has members that belong to no rule.*" --object authz-list,id=who,rules.1.match=x,rules.1.policy=deny
refuses "Parameter 'rules' has members that belong to no rule.*" --object authz-list,id=who,rules.0.match=x,rules.0.policy=deny,rules.0.y=z
refuses "Parameter 'filename' is missing" --object authz-list-file,id=who
refuses "Unable to read 'none': No such file or directory" --object authz-list-file,id=who,filename=none
for text in '{' '[]' '{"rules": 7}' '{"rules": [7]}' '{"rules": [{"match": "x"}]}' '{"policy": 7}' '{"policy": "x"}' '{"what": 1}'; do
    echo "$text" >list
    refuses "Unable to parse 'list': .*" --object authz-list-file,id=who,filename=list
done

# --- files ---
bad() {
    same_as_qemu --object "tls-creds-x509,id=tls,dir=$1,endpoint=server" --tls-creds=tls
}
bad nowhere
for file in ca-cert server-cert server-key; do
    kept "no-$file" ca server
    rm "no-$file/$file.pem"
    bad "no-$file"
    run_fails 1 "no-$file/$file.pem" "$SERVER" --object tls-creds-x509,id=tls,dir=no-$file,endpoint=server image.qcow2
done
for name in old young foreign; do
    kept $name ca $name
    bad $name
done
kept mixed ca server
cp keys/client-key.pem mixed/server-key.pem
bad mixed
kept no-ca ca server
cp keys/client-cert.pem no-ca/ca-cert.pem
bad no-ca
for file in ca-crl dh-params; do
    kept "junk-$file" ca server
    echo junk >"junk-$file/$file.pem"
    bad "junk-$file"
done
kept junk-cert ca server
echo junk >junk-cert/server-cert.pem
refuses 'Unable to import server certificate junk-cert/server-cert.pem: .*' --object tls-creds-x509,id=tls,dir=junk-cert,endpoint=server
kept junk-ca ca server
echo junk >junk-ca/ca-cert.pem
refuses 'Unable to import CA certificate list junk-ca/ca-cert.pem: .*' --object tls-creds-x509,id=tls,dir=junk-ca,endpoint=server
refuses 'Unable to set TLS session priority NONSENSE: .*' --object "$good,priority=NONSENSE"
same_as_qemu --object tls-creds-psk,id=tls,dir=good,endpoint=server --tls-creds=tls
shared_key psk me 7
same_as_qemu --object tls-creds-psk,id=tls,dir=psk,endpoint=server,username=me --tls-creds=tls
mkdir bad
for text in '' '# nobody' 'me' 'me:' 'me:xyz' ':00' 'me:000'; do
    printf '%s\n' "$text" >bad/keys.psk
    refuses 'Unable to load keys from bad/keys.psk: .*' --object tls-creds-psk,id=tls,dir=bad,endpoint=server
done

# a key in a file that has a password
quietly certtool --to-p8 --load-privkey keys/server-key.pem --password sesame --pkcs-cipher=aes-256 --outfile locked-key.pem
kept locked ca server
cp locked-key.pem locked/server-key.pem
locked=tls-creds-x509,id=tls,dir=locked,endpoint=server
run_fails 1 "Cannot load certificate 'locked/server-cert.pem' & key 'locked/server-key.pem'" bounded "$SERVER" -k socket --object $locked image.qcow2
run_fails 1 "Cannot load certificate .*" bounded "$SERVER" -k socket --object secret,id=pw,data=wrong --object $locked,passwordid=pw image.qcow2
start_server -t --object secret,id=pw,data=sesame --object $locked,passwordid=pw --tls-creds=tls image.qcow2
stop_server
# who knows better
start_server -t --object tls-creds-x509,id=tls,dir=old,endpoint=server,sanity-check=no --tls-creds=tls image.qcow2
stop_server
