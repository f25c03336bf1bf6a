#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Several exports in one server: their options, images that several of them have, overlays, offsets, and mistakes.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdinfo nbdcopy

uri() {
    echo "nbd+unix:///$1?socket=$TEST_DIR/socket"
}

has_size() { # EXPORT SIZE
    run_ok nbdinfo --size "$(uri "$1")"
    assert_equal "$2" "$OUT"
}

is_refused() { # MESSAGE OPTION...
    local message=$1
    shift
    run_fails 1 '' "$SERVER" -k "$TEST_DIR/socket" "$@"
    assert_equal "byre: $message" "${ERR%%$'\n'*}"
}

run_ok qemu-img create -q -f qcow2 one.qcow2 8M
run_ok qemu-img create -q -f qcow2 two,2.qcow2 4M
run_ok qemu-img bitmap --add two,2.qcow2 changed
run_ok qemu-img bitmap --disable two,2.qcow2 changed
truncate -s 1M three.raw

# --- options of exports; commas are doubled; the operand is one of them
start_server -t -e 0 -A -x operand three.raw -f raw \
    --export name=one,file=one.qcow2,format=qcow2,description=the,,first,allocation-depth=off \
    --export name=two,file=two,,2.qcow2,format=qcow2,bitmap=changed,read-only \
    --export 'name=all,,of it,file=one.qcow2,format=qcow2,read-only=on'
run_ok nbdinfo --list "$(uri '')"
assert_equal 4 "$(grep -c '^export=' <<<"$OUT")"
has_size operand 1048576
has_size one 8388608
has_size two 4194304
has_size all,of%20it 8388608
run_ok nbdinfo "$(uri one)"
grep -q 'is_read_only: false' <<<"$OUT" || fail "one is read-only"
! grep -q allocation-depth <<<"$OUT" || fail "one has a context that was switched off"
run_ok nbdinfo "$(uri two)"
grep -q 'is_read_only: true' <<<"$OUT" || fail "two can be written to"
grep -q 'qemu:dirty-bitmap:changed' <<<"$OUT" || fail "two lacks its bitmap"
grep -q 'qemu:allocation-depth' <<<"$OUT" || fail "two lacks the default of all exports"
run_ok nbdinfo --list "$(uri '')"
grep -q 'description: the,first' <<<"$OUT" || fail "there is no description"
# two exports of an image are one disk
qemu_io -f raw -c 'write -q -P 7 1M 64k' "$(uri one)"
qemu_io -r -f raw -c 'read -q -P 7 1M 64k' "$(uri all,of%20it)"
stop_server TERM
run_ok qemu-img check -q one.qcow2

# --- no operand at all, and the defaults of all exports
start_server -t -e 0 -r --export name=a,file=one.qcow2 --export name=b,file=three.raw,format=raw,read-only=off
run_ok nbdinfo "$(uri a)"
grep -q 'is_read_only: true' <<<"$OUT" || fail "-r does not count"
run_ok nbdinfo "$(uri b)"
grep -q 'is_read_only: false' <<<"$OUT" || fail "read-only=off does not count"
stop_server TERM

# --- an overlay that is gone afterwards
mkdir temporary
cp one.qcow2 before
TMPDIR=$TEST_DIR/temporary start_server -t -s -f qcow2 one.qcow2
assert_equal '' "$(ls temporary)"
qemu_io -f raw -c 'read -q -P 7 1M 64k' -c 'write -q -P 9 0 2M' -c flush -c 'read -q -P 9 0 2M' "$URI"
qemu_io -f raw -c 'read -q -P 9 0 2M' "$URI"
stop_server TERM
cmp one.qcow2 before || fail "the image has changed"
# the image is only read: others may read it, too
start_server -t --snapshot --export name=x,file=one.qcow2,format=qcow2
run_ok qemu-img info one.qcow2
stop_server TERM
TMPDIR=$TEST_DIR/missing is_refused "export 'x': Could not create a temporary file in '$TEST_DIR/missing': No such file or directory" \
    -s --export name=x,file=one.qcow2

# --- a part of the image
qemu_io -f raw -c 'write -q -P 3 513 1000' three.raw
start_server -t -o 513 -f raw three.raw
has_size '' $((1048576 - 513))
qemu_io -f raw -c 'read -q -P 3 0 1000' -c 'read -q -P 0 1000 100000' -c 'write -q -P 4 0 1' "$URI"
run_ok nbdcopy "$URI" out.raw
stop_server TERM
cmp out.raw <(tail -c +514 three.raw) || fail "the part is another one"
start_server -t --offset=1048576 -f raw three.raw
has_size '' 0
stop_server TERM

# --- mistakes, each by its export
is_refused 'Expecting the name of one image'
is_refused "--export: Parameter 'file' is missing" --export name=x
is_refused "--export: Parameter 'name' is missing" --export file=one.qcow2
is_refused "--export: Invalid parameter 'nmae'" --export nmae=x,file=one.qcow2
is_refused "--export: Invalid parameter 'file'" --export name=x,file
is_refused "--export: Unknown driver 'qcow7'" --export name=x,file=one.qcow2,format=qcow7
is_refused "--export: Parameter 'read-only' expects 'on' or 'off'" --export name=x,file=one.qcow2,read-only=2
is_refused "export 'x': There is an export 'x' already" --export name=x,file=one.qcow2 --export name=x,file=three.raw
is_refused "export '': There is an export '' already" three.raw --export name=,file=one.qcow2
is_refused "export 'y': Could not open 'nope': No such file or directory" --export name=x,file=one.qcow2 \
    --export name=y,file=nope
is_refused "export 'x': Bitmap 'nope' is not found" --export name=x,file=one.qcow2,bitmap=nope
is_refused "Offset (1048577) cannot be greater than size of the containing file (1048576)" -o 1048577 -f raw three.raw
is_refused "Invalid offset '1M'" -o 1M -f raw three.raw
for option in --bitmap=b --description=d --export-name=x --load-snapshot=s --offset=1 --partition=1; do
    is_refused "${option%=*} is about IMAGE, and there is none" --export name=x,file=one.qcow2 "$option"
done
is_refused "--image-opts is about IMAGE, and there is none" --export name=x,file=one.qcow2 --image-opts
is_refused "--offset and --partition cannot be used together" -o 1 --partition=1 three.raw
assert_missing "$TEST_DIR/socket"
