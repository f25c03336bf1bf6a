#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Internal snapshots as exports: one instead of the image, and all of them beside it, while it is written to.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdinfo nbdcopy

uri() {
    echo "nbd+unix:///$1?socket=$TEST_DIR/socket"
}

exports() {
    run_ok nbdinfo --list "$URI"
    sed -n 's/^export="\(.*\)":$/\1/p' <<<"$OUT" | paste -sd ' '
}

run_ok qemu-img create -q -f qcow2 disk.qcow2 8M
qemu_io -c 'write -q -P 1 0 1M' disk.qcow2
run_ok qemu-img snapshot -c first disk.qcow2
qemu_io -c 'write -q -P 2 0 1M' disk.qcow2
run_ok qemu-img resize -q disk.qcow2 16M
run_ok qemu-img snapshot -c second disk.qcow2
run_ok qemu-img snapshot -c second disk.qcow2
qemu_io -c 'write -q -P 3 0 1M' disk.qcow2

# --- one of them, by its id, its name, and both
for which in first 1 snapshot.id=1 snapshot.name=first,snapshot.id=1; do
    start_server -t -l "$which" disk.qcow2
    run_ok nbdinfo --size "$URI"
    assert_equal 8388608 "$OUT"
    run_ok nbdinfo "$URI"
    grep -q 'is_read_only: true' <<<"$OUT" || fail "a snapshot can be written to"
    qemu_io -r -f raw -c 'read -q -P 1 0 1M' "$URI"
    stop_server TERM
done
start_server -t --load-snapshot=second -f qcow2 disk.qcow2
qemu_io -r -f raw -c 'read -q -P 2 0 1M' "$URI"
stop_server TERM
start_server -t --export name=x,file=disk.qcow2,snapshot=first
qemu_io -r -f raw -c 'read -q -P 1 0 1M' "$(uri x)"
stop_server TERM

# --- all of them beside the image; the second one of a name is named by its id
start_server -t -e 0 --snapshots -x disk disk.qcow2
assert_equal 'disk disk@3 disk@first disk@second' "$(exports)"
qemu_io -f raw -c 'write -q -P 9 0 2M' "$(uri disk)"
qemu_io -r -f raw -c 'read -q -P 1 0 1M' -c 'read -q -P 0 1M 1M' "$(uri disk@first)"
qemu_io -r -f raw -c 'read -q -P 2 0 1M' "$(uri disk@3)"
run_ok nbdcopy "$(uri disk@first)" first.raw
run_fails 1 'ermission|ead.only' qemu-io -f raw -c 'write 0 1k' "$(uri disk@first)"
stop_server TERM
run_ok qemu-img check -q disk.qcow2
run_ok "$BYRE" convert -l first -f qcow2 -O raw disk.qcow2 wanted.raw
assert_same_file wanted.raw first.raw

# --- of some exports only
start_server -t -e 0 --export name=a,file=disk.qcow2,snapshots=on,read-only --export name=b,file=disk.qcow2,read-only \
    --export name=c,file=disk.qcow2,snapshot=1
assert_equal 'a a@3 a@first a@second b c' "$(exports)"
run_fails 1 'no export named' nbdinfo --size "$(uri b@first)"
stop_server TERM

# --- of the image under a temporary overlay
start_server -t -e 0 -s --export name=a,file=disk.qcow2 --export name=b,file=disk.qcow2,snapshot=first
qemu_io -f raw -c 'write -q -P 10 0 1M' "$(uri a)"
qemu_io -r -f raw -c 'read -q -P 1 0 1M' -c 'read -q -P 0 1M 1M' "$(uri b)"
stop_server TERM
qemu_io -r -c 'read -q -P 9 0 1M' disk.qcow2

is_refused() { # MESSAGE OPTION...
    local message=$1
    shift
    run_fails 1 '' "$SERVER" -k "$TEST_DIR/socket" "$@"
    assert_equal "byre: $message" "${ERR%%$'\n'*}"
}
is_refused "Could not open 'disk.qcow2': Failed to load snapshot: Can't find snapshot" -l nope disk.qcow2
is_refused "Invalid parameter 'snapshot.idx'" -l snapshot.idx=1 disk.qcow2
is_refused "--snapshot and --load-snapshot cannot be used together" -s -l first disk.qcow2
is_refused "--snapshots cannot be used together with --snapshot or --load-snapshot" --snapshots -s disk.qcow2
is_refused "--snapshots cannot be used together with --offset or --partition" --snapshots -o 1 disk.qcow2
is_refused "export 'x': snapshots cannot be used together with snapshot" \
    --export name=x,file=disk.qcow2,snapshots,snapshot=first
is_refused "--snapshots and --partitions are for IMAGE and --export: those of a directory need no option" \
    --snapshots --export-dir=.
assert_missing "$TEST_DIR/socket"
