#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The options of byre io, and of its commands open and reopen, are those of qemu-io; commands on standard input, too.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/io_side_by_side.sh"
slow

qemu-img create -q -f qcow2 images/base.qcow2 1M
qemu_io -c 'write -q -P 7 0 128k' images/base.qcow2
(cd images && qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 top.qcow2)
noise 3 65536 >images/some.raw

same_code 1 -c length
same_code 1 missing
same_code 1 -r -c 'write 0 512' -c 'discard 0 64k' -c 'truncate 2M' -c 'aio_write 0 512' -c 'writev 0 1' base.qcow2
same_code 0 -r -c flush -c 'read -P 7 0 64k' -c 'reopen -w' -c 'write 0 512' base.qcow2
same_code 1 --read-only -c 'write 0' base.qcow2
same_code 1 -f foo -c length base.qcow2
same_code 0 -f raw -c length base.qcow2
same_code 0 --format=qcow2 --cmd length --cmd 'write -P 3 0 64k' base.qcow2
same_code 1 -f qcow2 -c length some.raw
for mode in none off writeback unsafe writethrough directsync; do
    same_code 0 -t "$mode" -c 'write -P 1 3 70000' -c 'read -P 1 3 70000' base.qcow2
    same_code 0 --cache="$mode" -f raw -c 'write -P 1 3 7000' -c 'read -P 1 3 7000' some.raw
done
same_code 1 -t foo base.qcow2
same_code 0 -n -c 'write -P 1 3 70000' base.qcow2
same_code 0 --nocache -m -c 'write -P 1 0 64k' -c 'read -P 1 0 64k' base.qcow2
same_code 0 --misalign -c 'read -P 7 0 64k' base.qcow2
same_code 0 -n -k -c length base.qcow2
same_code 1 -k -c length base.qcow2
same_code 1 --native-aio -c length base.qcow2
same_code 0 -n -i native -c length base.qcow2
same_code 0 -i threads -c length base.qcow2
same_code 1 --aio=foo base.qcow2
for mode in unmap on ignore off; do
    same_code 0 -d "$mode" -c 'discard 0 64k' -c map -c 'write -zu 64k 64k' -c map base.qcow2
done
same_code 1 --discard=foo base.qcow2
same_code 1 -U -c length base.qcow2
same_code 0 -U -r -c length base.qcow2
same_code 0 --force-share -r -c length base.qcow2
same_code 0 -s -c 'write -P 9 0 64k' -c 'read -P 9 0 64k' -c 'read -P 7 64k 64k' -c length -c map base.qcow2
same_code 0 --snapshot -f raw -c 'write -P 9 0 512' -c 'read -P 9 0 512' some.raw
same_code 1 -s -r -c 'write -P 9 0 512' -c 'read -P 9 0 512' base.qcow2
assert_equal '' "$(find "${TMPDIR:-/var/tmp}" -maxdepth 1 -name 'byre-io-*' -user "$(id -un)" -newer input)"
same_code 0 -c '' base.qcow2
same_code 0 -c length base.qcow2 -c 'read -q 0 5'

# open
same_code 0 -c 'open base.qcow2' -c length -c close -c 'open -r top.qcow2' -c map
same_code 1 -c 'open base.qcow2' base.qcow2
same_code 1 -c 'open missing' -c length
same_code 1 -c open -c 'open -z a' -c 'open a b' -c 'open -rw base.qcow2' -c length
same_code 1 -c 'open -t foo base.qcow2' -c 'open -d foo base.qcow2' -c 'open -i foo base.qcow2'
same_code 1 -c 'open -o foo=bar base.qcow2'
same_code 0 -c 'open -o driver=raw base.qcow2' -c length
same_code 0 -c 'open -o driver=qcow2 base.qcow2' -c length
same_code 1 -c 'open -r base.qcow2' -c 'write 0 512'
same_code 0 -c 'open -s base.qcow2' -c 'write -P 9 0 512' -c 'read -P 9 0 512' -c close -c 'open base.qcow2' -c 'read -P 7 0 512'
same_code 0 -c 'open -n base.qcow2' -c 'write -P 1 5 5' -c reopen -c 'read -P 1 5 5'
same_code 0 -c 'open -d ignore base.qcow2' -c 'discard 0 64k' -c map
same_code 1 -c 'open -k base.qcow2' -c length
same_code 1 -c 'open -U base.qcow2' -c 'open -r -U base.qcow2' -c length

same_code 0 -c 'open -o driver=qcow2,file.filename=base.qcow2' -c 'read -P 7 0 64k'
same_code 1 -c 'open -o driver=raw,file.filename=missing' -c length
same_code 0 -c 'open -o lazy-refcounts=on base.qcow2' -c 'write 512k 64k' -c 'reopen -o lazy-refcounts=off' -c length \
    -c 'reopen -o detect-zeroes=on' -c 'write -P 0 0 64k' -c map
same_code 1 -c 'open base.qcow2' -c 'reopen -o driver=raw' -c 'read -P 7 0 512'
same_code 0 -c 'open -C top.qcow2' -c 'read -P 7 0 64k' -c map

# options instead of names, and names that are no paths
same_code 0 --image-opts -c 'read -P 7 0 64k' -c map driver=qcow2,file.filename=base.qcow2
same_code 0 --image-opts -c 'open driver=qcow2,file.filename=base.qcow2' -c 'read -P 7 0 64k'
same_code 1 --image-opts -c length driver=qcow2,file.filename=missing
same_code 1 --image-opts -c length driver=qcow2,file.filename=base.qcow2,foo=bar
same_code 1 --image-opts -f raw -c length driver=raw,file.filename=some.raw
same_code 1 --image-opts -c 'open -o driver=qcow2 base.qcow2'
same_code 0 --image-opts -s -c 'write -P 9 0 64k' -c 'read -P 9 0 64k' driver=qcow2,file.filename=base.qcow2
same_code 0 -c 'read -P 7 0 64k' 'json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}'
same_code 0 -s -c 'write -P 9 0 64k' -c 'read -P 0 64k 64k' -c map \
    'json:{"driver":"qcow2","file":{"driver":"file","filename":"top.qcow2"},"backing":null}'
same_code 0 --image-opts -s -c 'write -P 9 0 64k' -c 'read -P 9 0 64k' -c 'write -P 9 5 5' -c reopen -c 'read -P 9 5 5' \
    driver=qcow2,file.filename=top.qcow2,backing.driver=raw,backing.file.filename=some.raw
same_code 0 -s -f qcow2 -c 'write -P 9 0 64k' -c 'read -P 9 0 64k' -c 'read -P 7 64k 64k' blkdebug::base.qcow2
same_code 0 --image-opts -c 'write -P 0 0 64k' -c 'discard 64k 64k' -c map \
    driver=qcow2,detect-zeroes=unmap,discard=unmap,file.filename=base.qcow2
same_code 0 --image-opts -c 'discard 0 64k' -c map driver=qcow2,discard=ignore,file.filename=base.qcow2
same_code 0 --image-opts -c 'write -P 5 512k 64k' -c 'write -P 6 640k 128k' -c 'read -P 6 640k 128k' -c map \
    driver=compress,file.driver=qcow2,file.file.filename=base.qcow2

# copy on read
same_code 0 -C -c 'read -P 7 5 70000' -c map top.qcow2
same_code 0 --copy-on-read -c 'read -P 7 5 70000' -c map base.qcow2
same_code 1 -C -r -c 'read 0 512' top.qcow2
same_code 0 -C -s -c 'read -P 7 5 70000' -c map top.qcow2

# breakpoints
same_code 0 -f qcow2 -c 'break write_aio A' -c 'aio_write -P 5 0 64k' -c 'wait_break A' -c 'read -P 7 64k 512' \
    -c 'resume A' -c aio_flush -c 'read -P 5 0 64k' blkdebug::base.qcow2
same_code 1 -f qcow2 -c 'break write_aio A' -c 'aio_write -P 5 0 64k' -c 'wait_break A' -c 'remove_break A' \
    -c aio_flush blkdebug::base.qcow2
same_code 0 -f qcow2 -c 'break l2_load A' -c 'remove_break A' -c 'aio_read 0 512' -c aio_flush blkdebug::base.qcow2
same_code 1 -f qcow2 -c 'break foo A' -c 'resume A' -c 'remove_break A' blkdebug::base.qcow2
same_code 1 -f qcow2 -c 'break write_aio A' -c 'resume A' -c 'remove_break A' base.qcow2

# errors that are injected
printf '[inject-error]\nevent = "read_aio"\nerrno = "5"\nonce = "on"\n' >images/rules
same_code 1 -f qcow2 -c 'read 0 512' -c 'read 0 512' blkdebug:rules:base.qcow2
printf '[inject-error]\nevent = "write_aio"\nerrno = "5"\nonce = "on"\n' >images/rules
same_code 1 -f qcow2 -c 'write 512k 512' -c 'write 0 512' blkdebug:rules:base.qcow2
rm images/rules

# standard input
printf 'length\n\nread 0 5\nfoo\nlength' >input
same_code 1 base.qcow2
printf 'quit\nlength\n' >input
same_code 0 base.qcow2
printf 'length\nopen base.qcow2\nlength\nclose\nlength\nopen missing\nlength' >input
same_code 1
printf 'read 0 512 # foo\n#foo\nread "0" 512\n' >input
same_code 1 base.qcow2
same_code 0 -c length base.qcow2
: >input
same_code 0 base.qcow2

# a corrupt image: what is said of it differs, what works does not
l1=$(get_be64 images/base.qcow2 40)
l2=$(($(get_be64 images/base.qcow2 "$l1") & 0xffffffffffffff))
put_be64 images/base.qcow2 "$l2" 0x8000000000040200
side "$OURS" ours -c 'read 64k 64k' -c 'read 0 64k' -c 'read -P 7 64k 64k' -c 'write 64k 64k' base.qcow2
assert_equal 1 "$CODE"
assert_match 'read failed: Input/output error' "$OUT"
assert_match 'write failed: Read-only file system' "$OUT"
assert_match 'corrupt: true' "$(qemu-img info ours/base.qcow2)"

# under its own name
cp images/top.qcow2 images/some.raw .
qemu-img create -q -f qcow2 own.qcow2 1M
run_ok "$BYRE" io -c 'write -P 1 0 512' -c 'read -P 1 0 512' own.qcow2
run_fails 1 "^byre: io: option '-T' is not supported\$" "$BYRE" io -T foo own.qcow2
run_fails 1 'unrecognized option' "$BYRE" io -x own.qcow2
run_fails 1 'Expecting at most one image file name' "$BYRE" io own.qcow2 own.qcow2
run_ok "$OURS" --help
assert_match '^usage: qemu-io' "$OUT"
run_ok "$OURS" --version
assert_match '^qemu-io version 7' "$OUT"
assert_clean own.qcow2
