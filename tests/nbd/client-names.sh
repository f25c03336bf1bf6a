#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Names of disks over NBD that lead nowhere, or are refused; what images may say of them.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/client.bash"

truncate -s 1M disk.raw
noise 1 65536 | put_file disk.raw 0
serve_qemu disk -x disk -r -f raw disk.raw
disk=$(uri disk disk)

# cannot TEXT NAME: nothing opens it, and the text is said of it.
cannot() {
    run_fails 1 "Could not open '.*$1" "$BYRE" info "$2"
    run_fails 1 "Could not open '.*$1" "$BYRE" convert -O raw "$2" x
    assert_missing x
}

cannot "Failed to connect to '$PWD/none.sock': No such file or directory" "$(uri none)"
cannot "Failed to connect to '$PWD/disk.raw': Connection refused" "nbd:unix:$PWD/disk.raw"
cannot "Requested export not available: server reported: export 'other' not present" "$(uri disk other)"
cannot "socket=$PWD/disk.sock': Requested export not available: server reported: export '' not present" "$(uri disk)"
cannot 'Failed to connect to .*Connection refused' nbd://127.0.0.1:1/x
cannot "Failed to connect to 'no.such.host.invalid:10809': .*(not known|resolution)" nbd://no.such.host.invalid/x
cannot 'No valid URL specified' "nbd+unix:///x?socket=$PWD/disk.sock&more=1"
cannot 'UNIX socket path .* is too long' "nbd:unix:$(printf '%0200d' 0)"
cannot 'NBD server address missing' 'nbd:unix:'
cannot "there is no port '99999'" nbd:localhost:99999
cannot "there is no port '65536'" nbd://localhost:65536/
cannot 'export name too long to send to server' "$(uri disk "$(printf '%05000d' 0)")"
cannot "Unknown protocol 'nbd.vsock'" nbd+vsock://1/x

# An export's name of 4096 bytes is sent, of 4097 not.
serve_nbdkit any memory 1M
run_ok "$BYRE" info "$(uri any "$(printf '%04096d' 0)")"
cannot 'export name too long' "$(uri any "$(printf '%04097d' 0)")"

# options: by name
for option in tls-creds=t tls-hostname=h x-dirty-bitmap=b nonsense=1; do
    run_fails 1 "Block protocol 'nbd' doesn't support the option '${option%=*}'" \
        "$BYRE" info --image-opts "$(node disk export=disk "$option")"
done
run_fails 1 "Parameter 'server.ipv4' is unexpected" "$BYRE" info --image-opts "$(node disk server.ipv4=on)"
run_fails 1 "'server.type' does not accept value 'vsock'" "$BYRE" info --image-opts \
    driver=nbd,server.type=vsock,server.cid=1
run_fails 1 "Parameter 'server.type' is missing" "$BYRE" info --image-opts driver=nbd,server.path=x
run_fails 1 "Parameter 'server.path' is missing" "$BYRE" info --image-opts driver=nbd,server.type=unix
run_fails 1 "Parameter 'server.port' is missing" "$BYRE" info --image-opts driver=nbd,server.type=inet,server.host=h
run_fails 1 "Parameter 'server.host' is missing" "$BYRE" info --image-opts driver=nbd,server.type=inet,server.port=1
run_fails 1 'NBD server address missing' "$BYRE" info --image-opts driver=nbd
run_fails 1 'path and host may not be used at the same time' "$BYRE" info --image-opts driver=nbd,path=x,host=y
run_fails 1 'port may not be used without host' "$BYRE" info --image-opts driver=nbd,port=1
run_fails 1 'need tls=on' "$BYRE" info --image-opts "$(node disk tls-psk-file=x)"
run_fails 1 'may not be used at the same time' "$BYRE" info --image-opts \
    "$(node disk tls=on tls-psk-file=x tls-certificates=y)"
run_fails 1 'reconnect-delay is invalid: 86401 is more than 86400' "$BYRE" info --image-opts \
    "$(node disk reconnect-delay=86401)"
run_fails 1 'open-timeout' "$BYRE" info --image-opts "$(node disk open-timeout=-1)"

# read-only exports
run_ok "$BYRE" info "$disk"
run_fails 1 "the export 'disk' is read-only" "$BYRE" io -f raw -c 'write 0 512' "$disk"
run_fails 1 "the export 'disk' is read-only" "$BYRE" convert -n -f raw -O raw disk.raw "$disk"
run_fails 1 "Protocol driver 'nbd' does not support image creation" "$BYRE" create -f raw "$disk" 1M
run_fails 1 "Protocol driver 'nbd' does not support image creation" "$BYRE" convert -O raw disk.raw "$disk"
run_fails 1 'cannot grow' "$BYRE" resize -f raw "$(uri any)" 2M

# Images of strangers lead nowhere unless the user says so.
run_ok "$BYRE" create -q -f qcow2 -b "$disk" -F raw over.qcow2
run_ok "$BYRE" info over.qcow2
assert_match "backing file: nbd\+unix:///disk" "$OUT"
for verb in map 'convert -O raw' "compare -F raw disk.raw"; do
    # shellcheck disable=SC2086 # words
    run "$BYRE" $verb over.qcow2 x
    assert_match 'backing files can only be named by a path' "$(run "$BYRE" map over.qcow2; echo "$ERR")"
    [ "$CODE" != 0 ]
done
assert_missing x
run_ok "$BYRE" map --allow-backing=protocol --output=json over.qcow2
assert_equal "$(qemu-img map --output=json over.qcow2)" "$OUT"
run_ok "$BYRE" convert --allow-backing=protocol -O raw over.qcow2 flat.raw
assert_same_file disk.raw flat.raw
run_ok "$BYRE" io --image-opts -c 'read -q 0 64K' -c 'write -q -P 3 100 100' -c 'read -q -P 3 100 100' \
    "driver=qcow2,file.filename=over.qcow2,backing.driver=raw,backing.file.driver=nbd,\
backing.file.path=disk.sock,backing.file.export=disk"
assert_clean over.qcow2
