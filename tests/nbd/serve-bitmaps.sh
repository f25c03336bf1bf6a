#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Dirty bitmaps over NBD: an incremental backup copies what was written since the full one, and that is all it needs.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdinfo nbdcopy

dirty() {
    nbdinfo --map="qemu:dirty-bitmap:$1" "$URI" | awk '$3 == 1 { print $1, $2 }'
}

qemu-img create -q -f qcow2 image.qcow2 8M
qemu_io -f qcow2 -c 'write -q -P 1 0 3M' image.qcow2
run_ok "$BYRE" bitmap --add -g 64k image.qcow2 since
run_ok "$BYRE" bitmap --add --disable image.qcow2 off
start_server -r -t -e 0 -B off image.qcow2
run_ok nbdcopy "$URI" backup.raw
assert_equal '' "$(dirty off)" "a clean bitmap"
stop_server

start_server -t -e 0 -B since -B off image.qcow2
run_ok nbdinfo --json "$URI"
assert_match 'qemu:dirty-bitmap:since' "$OUT"
qemu_io -f raw -c 'write -q -P 2 1M 1000' -c 'write -q -P 3 5M 100k' -c 'write -q -z 2M 64k' -c 'discard -q 128k 64k' "$URI"
assert_equal "131072 65536
1048576 65536
2097152 65536
5242880 131072" "$(dirty since)" "what was written"
assert_equal '' "$(dirty off)" "a disabled bitmap"
# with one extent an answer, as some clients ask, it is the same
assert_equal "$(dirty since)" "$(qemu-img map --output=json --image-opts \
    "driver=nbd,server.type=unix,server.path=$TEST_DIR/socket,x-dirty-bitmap=qemu:dirty-bitmap:since" |
    perl -MJSON::PP -e 'local $/; for (@{decode_json(<STDIN>)}) { print "$_->{start} $_->{length}\n" if !$_->{data} }')" \
    "what QEMU sees"
stop_server

start_server -t -e 0 -B since image.qcow2
run_ok nbdcopy "$URI" now.raw
dirty since | while read -r start length; do
    dd if=now.raw of=backup.raw bs=64k iflag=skip_bytes,count_bytes,fullblock oflag=seek_bytes skip="$start" seek="$start" \
        count="$length" conv=notrunc status=none
done
stop_server
assert_same_file now.raw backup.raw
run_ok "$BYRE" compare -f raw -F qcow2 backup.raw image.qcow2
assert_checked image.qcow2

run_fails 1 "Bitmap 'none' is not found" bounded "$SERVER" -k socket -B none image.qcow2
run_fails 1 "Enabled bitmap 'since' incompatible with readonly export" bounded "$SERVER" -k socket -r --bitmap=since image.qcow2
# the server is killed: what the bitmap had in memory is lost, and nobody is told that it is right
start_server -t -e 0 -B since image.qcow2
qemu_io -f raw -c 'write -q -P 4 7M 64k' -c flush "$URI"
stop_server KILL
run_fails 1 "Bitmap 'since' is inconsistent and cannot be used" bounded "$SERVER" -k socket -B since image.qcow2
