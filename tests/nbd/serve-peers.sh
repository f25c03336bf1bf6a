#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Clients that are neither libnbd's tools nor QEMU's: the negotiation of nbd-client, which needs no kernel that far, and
# fio, which reads back what it has written.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbd-client fio nbdinfo nbddump qemu-nbd

qemu-img create -q -f qcow2 image.qcow2 32M

# by TCP
start_tcp -t -e 0 -x disk -D 'of words' image.qcow2
run nbd-client -l localhost "$PORT"
assert_equal 0 "$CODE" "exit code of nbd-client -l ($ERR)"
assert_match 'disk: of words' "$OUT"
run nbd-client -N none localhost "$PORT" /dev/nbd0
assert_equal 1 "$CODE" "exit code of nbd-client"
assert_match "Server said: export 'none' not present" "$ERR"
# what comes behind the negotiation is the kernel's, and not for a name that is no device
run nbd-client -N disk localhost "$PORT" "$TEST_DIR/no-device"
assert_match 'size = 32MB' "$OUT"
run_ok nbdinfo --size "nbd://localhost:$PORT/disk"
assert_equal 33554432 "$OUT" size
stop_server TERM

start_server -t -e 0 -x disk image.qcow2
run nbd-client -l -unix socket
assert_match 'disk' "$OUT"
stop_server

# fio: drawn blocks of all sizes, many at a time, on several connections; what is read is what was written
start_server -t -e 0 image.qcow2
fio_on() {
    run fio --ioengine=nbd --uri="$URI" --thread --randseed=$RANDOM --verify=crc32c --verify_fatal=1 --output-format=terse \
        --group_reporting "$@"
    [ "$CODE" = 0 ] || { show_run fio "$@"; fail 'fio finds fault'; }
}
fio_on --name=writes --rw=randwrite --bsrange=512-64k --blockalign=512 --iodepth=64 --size=8M
fio_on --name=both --rw=randrw --bs=4k --iodepth=128 --size=16M --offset=16M
fio_on --name=many --rw=randwrite --bs=4k --iodepth=32 --numjobs=4 --size=4M --offset_increment=4M --fsync=64
stop_server
assert_checked image.qcow2
assert_clean image.qcow2

# nbddump, of an export of byre's and of QEMU's
qemu-img create -q -f qcow2 small.qcow2 1M
qemu_io -f qcow2 -c 'write -q -P 65 100k 40' -c 'write -q -P 66 700k 64k' small.qcow2
start_server -t -r small.qcow2
run_ok nbddump "$URI"
ours=$OUT
stop_server
qemu-nbd --fork --pid-file="$TEST_DIR/theirs.pid" -r -k "$TEST_DIR/theirs" -f qcow2 small.qcow2
pid=$(cat theirs.pid)
run_ok nbddump "nbd+unix:///?socket=$TEST_DIR/theirs"
await_end "$pid"
assert_match 'AAAAAAAAAAAAAAAA' "$ours"
assert_equal "$OUT" "$ours" nbddump
