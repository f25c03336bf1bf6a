#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A directory of images: which of its files are exports, when they are open, what a rescan changes, and what is refused.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdinfo sfdisk

uri() {
    echo "nbd+unix:///$1?socket=$TEST_DIR/socket"
}

exports() {
    run_ok "$LIST" "$TEST_DIR/socket"
    paste -sd ' ' <<<"$OUT"
}

# Names alone, without looking into exports: nbdinfo would open each of them.
LIST=$TEST_DIR/list
cat >"$LIST" <<'PERL'
#!/usr/bin/perl
use strict;
use warnings;
use IO::Socket::UNIX;
my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!";
sub take { my ($n, $b) = ($_[0], ''); while (length $b < $n) { sysread($s, $b, $n - length $b, length $b) or die "end" } $b }
take(18);
syswrite $s, pack('N', 3) . pack('a8NN', 'IHAVEOPT', 3, 0);
while (1) {
    my (undef, undef, $type, $length) = unpack 'Q>NNN', take(20);
    my $data = $length ? take($length) : '';
    last if $type != 2;
    print substr($data, 4, unpack 'N', $data), "\n";
}
syswrite $s, pack('a8NN', 'IHAVEOPT', 2, 0);
PERL
chmod +x "$LIST"

is_open() {
    local fd
    for fd in "/proc/$(cat pid)/fd"/*; do
        [ "$(readlink "$fd")" != "$TEST_DIR/$1" ] || return 0
    done
    return 1
}

are_exports() {
    [ "$(exports)" = "$1" ]
}

is_missing() { # NAME: QEMU shows what the server says
    run_fails 1 "${2:-not present}" qemu-io -r -f raw -c 'read 0 1' "$(uri "$1")"
}

# hold OPTION...: a client that stays; tell COMMAND: what it is to do next, and has done then; let_go.
hold() {
    coproc HOLD { exec qemu-io "$@" 2>&1; }
    # shellcheck disable=SC2153 # the shell sets it
    hold_pid=$HOLD_PID hold_out=${HOLD[0]} hold_in=${HOLD[1]}
}

tell() {
    echo "$1" >&"$hold_in"
    read -r -u "$hold_out" -t 30 _
    read -r -u "$hold_out" -t 30 _
}

let_go() {
    echo quit >&"$hold_in"
    await_end "$hold_pid"
}

mkdir images images/directory
run_ok qemu-img create -q -f qcow2 images/a.qcow2 8M
qemu_io -c 'write -q -P 1 0 1M' images/a.qcow2
run_ok qemu-img snapshot -c old images/a.qcow2
qemu_io -c 'write -q -P 2 0 1M' images/a.qcow2
truncate -s 1M images/b.raw images/.hidden outside.raw 'images/c@old'
truncate -s 4M images/parts
sfdisk -q images/parts <<<$'label: dos\nstart=2048,size=2048,type=83\nstart=4096,size=100,type=83'
mkfifo images/fifo
ln -s ../outside.raw images/out
ln -s "$TEST_DIR/images/b.raw" images/absolute
ln -s b.raw images/link
printf 'QFI\373garbage' >images/broken

# --- what is an export; nothing is open before it is asked for, and afterwards
start_server -t -e 0 --export-dir images
assert_equal 'a.qcow2 b.raw broken c@old link parts' "$(exports)"
! is_open images/a.qcow2 || fail "listing opens images"
qemu_io -f raw -c 'read -q -P 2 0 1M' -c 'write -q -P 3 0 4k' "$(uri a.qcow2)"
await eval '! is_open images/a.qcow2'
qemu_io -c 'read -q -P 3 0 4k' images/a.qcow2
for name in .hidden fifo out absolute directory nope ../outside.raw images/../b.raw; do
    is_missing "$name"
done
is_missing broken 'cannot be opened'
# a link and what it leads to are one disk
hold -f raw "$(uri link)"
tell 'write -P 7 0 4k'
qemu_io -f raw -c 'read -q -P 7 0 4k' -c 'write -q -P 8 4k 4k' "$(uri b.raw)"
let_go

# --- snapshots and partitions; a file's own name counts first
qemu_io -r -f raw -c 'read -q -P 1 0 1M' "$(uri a.qcow2@old)"
qemu_io -r -f raw -c 'read -q -P 1 0 1M' "$(uri a.qcow2@1)"
run_fails 1 'ermission|ead.only' qemu-io -f raw -c 'write 0 1k' "$(uri a.qcow2@old)"
run_ok nbdinfo --size "$(uri c@old)"
assert_equal 1048576 "$OUT"
run_ok nbdinfo --size "$(uri parts%232)"
assert_equal 51200 "$OUT"
qemu_io -f raw -c 'write -q -P 5 0 1M' "$(uri parts%231)"
await eval '! is_open images/parts'
qemu_io -f raw -c 'read -q -P 5 1M 1M' -c 'read -q -P 0 2M 2M' images/parts
for name in a.qcow2@ a.qcow2@nope parts%233 parts%230 parts%23 parts%231%231 b.raw%231 a.qcow2@old%231; do
    is_missing "$name" 'not present|cannot be opened'
done

# --- the snapshot of an image that is open is that image's, whatever has its name by then
run_ok qemu-img create -q -f qcow2 other.qcow2 8M
qemu_io -c 'write -q -P 11 0 1M' other.qcow2
run_ok qemu-img snapshot -c old other.qcow2
hold -f raw "$(uri a.qcow2)"
tell 'write -P 4 0 4k'
mv images/a.qcow2 a.qcow2
mv other.qcow2 images/a.qcow2
qemu_io -r -f raw -c 'read -q -P 1 0 1M' "$(uri a.qcow2@old)"
let_go
await eval '! is_open a.qcow2'
qemu_io -r -f raw -c 'read -q -P 11 0 1M' "$(uri a.qcow2@old)"
mv a.qcow2 images/a.qcow2

# --- an image that somebody else writes to is refused, for that client alone
hold -f qcow2 images/a.qcow2
tell 'write -P 4 0 4k'
is_missing a.qcow2 'in use elsewhere'
is_missing a.qcow2@old 'in use elsewhere'
run_ok nbdinfo --size "$(uri b.raw)"
let_go
run_ok nbdinfo --size "$(uri a.qcow2)"

# --- a client may not make an image of a raw file that was only taken for one
run_fails 1 '' qemu-io -f raw -c 'write -P 81 0 1' -c 'write -s images/broken 0 512' "$(uri b.raw)"

# --- a rescan: new files come, old ones go, and stay with those that have them
hold -f raw "$(uri b.raw)"
tell 'write -P 9 0 4k'
mv images/b.raw moved.raw
rm images/link
truncate -s 2M images/b.raw images/new
kill -HUP "$(cat pid)"
await are_exports 'a.qcow2 b.raw broken c@old new parts'
run_ok nbdinfo --size "$(uri b.raw)"
assert_equal 2097152 "$OUT"
tell 'write -P 6 8k 4k'
let_go
await eval '! is_open moved.raw'
qemu_io -f raw -c 'read -q -P 9 0 4k' -c 'read -q -P 6 8k 4k' moved.raw
qemu_io -f raw -c 'read -q -P 0 0 2M' images/b.raw
is_missing link
stop_server TERM
run_ok qemu-img check -q images/a.qcow2

# --- snapshots of images under temporary overlays, by both names that one has
ln -s a.qcow2 images/same
start_server -s -t -e 0 --export-dir images
for name in a.qcow2 same; do
    qemu_io -f raw -c 'write -q -P 12 0 1M' "$(uri $name)"
    qemu_io -r -f raw -c 'read -q -P 1 0 1M' "$(uri $name@old)"
done
stop_server TERM
qemu_io -r -f qcow2 -c 'read -q -P 4 0 4k' images/a.qcow2

# --- many images cost nothing, and many clients may ask at once; exports of all kinds side by side
mkdir many
for ((i = 0; i < 2000; i++)); do : >"many/$i"; done
truncate -s 64k many/1234
start_server -r -t -e 0 --export-dir=many --export name=fixed,file=outside.raw,format=raw
assert_equal 2001 "$(exports | wc -w)"
pids=()
for ((i = 0; i < 20; i++)); do
    nbdinfo --size "$(uri 1234)" >"size.$i" &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid"
done
assert_equal "$(for ((i = 0; i < 20; i++)); do echo 65536; done)" "$(cat size.*)"
run_ok nbdinfo "$(uri 1234)"
assert_match 'is_read_only: true' "$OUT"
run_ok nbdinfo --size "$(uri fixed)"
stop_server TERM

run_fails 1 "^byre: Could not open directory 'nope': No such file or directory$" "$SERVER" -k socket --export-dir nope
run_fails 1 "^byre: Could not open directory 'outside.raw': Not a directory$" "$SERVER" -k socket --export-dir outside.raw
assert_missing socket
