#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The commands of byre io say and do what those of qemu-io do.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/io_side_by_side.sh"

qemu-img create -q -f qcow2 images/base.qcow2 64M
qemu_io -c 'write -q -P 0x41 0 20' -c 'write -q -P 7 1M 128k' -c 'write -q -c -P 8 2M 64k' -c 'write -q -z 3M 64k' \
    images/base.qcow2
(cd images && qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 top.qcow2)
printf abc >images/abc.raw
: >images/empty.raw
truncate -s 1000 images/odd.raw

# reads, writes, and their mistakes
same_commands base.qcow2 <<'COMMANDS'
read 0 512
read 0 1500 ; read 0 1000k ; r 0 2M
read -v 5 20 ; read -v 0x10 40 ; read -v 1048570 20
read -qv 0 16 ; read -q 0 512 ; read -p 0 512
read -C 0 512 ; read -C -v 0 5
read -P 7 1M 64k ; read -P 0x7 1M 64k ; read -P 07 1M 64k ; read -P 8 2M 64k ; read -P 0 3M 64k
read -P 8 1M 64k
read -P 7 -s 10 -l 20 1M 512 ; read -P 1 -s 10 -l 20 1M 512 ; read -P 1 -s 10 1M 512
read -P 7 -l 520 1M 512 ; read -P 7 -s 512 1M 512 ; read -P 7 -s 513 1M 512
read -P 7 -s x 0 512 ; read -P 7 -l x 0 512 ; read -s 1 0 1 ; read -l 1 0 1
read ; read 0 ; read 0 1 2 ; read x 1 ; read 0 x ; read -z 0 1 ; read -P
read -P x 0 1 ; read -P 256 0 1 ; read -P 0x1ff 0 1 ; read -P -1 0 1
read 9E 1 ; read 0 16E ; read 0 3G ; read 64M 1 ; read 100M 1 ; read -- -1 3
read 0 0 ; write 0 0 ; readv 0 0
readv 0 512 1k ; readv -v 0 5 6 ; readv -v 0 5 20 ; readv -P 7 1M 5 512 ; readv -P 8 1M 5 512 ; readv -C 0 1 2
readv 0 ; readv 0 x ; readv 1x 512 ; readv 0 3G ; readv 0 1G 1G ; readv 0 64M 1 ; readv -z 0 1
write 0 512 ; write -P 9 100 5000 ; w -q 4M 1M ; write -C 0 512
write -s abc.raw 1 35 ; read -v 0 40
write -s missing 0 512 ; write -s empty.raw 0 512 ; write -s abc.raw -P 1 0 512 ; write -s abc.raw -z 0 512
write -z 0 64k ; write -z 1 64k ; write -zu 1M 64k ; write -zn 1M 64k ; write -zf 512 512 ; write -z -P 1 0 1
write -f 0 512 ; write -f 5M 5 ; write -u 0 64k ; write -n 0 64k ; write -f -c 0 64k ; write -b -z 0 512
write -f -b 0 512
write -c 8M 64k ; write -c -P 3 9M 1M ; write -c 10M 32k ; write -c 100 64k ; write -c 0 100 ; write -c 64M 64k
write -cz 0 64k ; write 64M 1 ; write 0 -1 ; write 0 ; write x 1 ; write 0 1 2
writev 0 512 3 ; writev -P 0x11 1 512 3 ; readv -P 0x11 1 515 ; writev -f 0 512 512 -q ; writev -C 0 5
writev -z 0 1 ; writev -P x 0 1 ; writev 64M 1
aio_read 0 512 ; aio_flush
aio_read -v 0 32 ; aio_flush ; aio_read -q 0 512
aio_write -P 3 0 512 512 ; aio_flush ; aio_read -P 3 -v 0 32
aio_read -C 0 512 ; aio_flush ; aio_write -C 0 512 ; aio_flush
aio_write -i 0 512 ; aio_read -i 0 512 ; aio_read -P 1 0 512
aio_write -q -z 0 64k ; aio_flush ; aio_write -q -zu 1M 64k ; aio_write -u 0 1 ; aio_write -z 0 1k 1k
aio_read 100M 512 ; aio_flush ; aio_write 100M 512
aio_read 0 ; aio_flush 1 ; aio_read -z 0 512 ; aio_write 0 x ; aio_read -P x 0 10 ; aio_write -P x 0 10
aio_write -f 0 512 ; aio_flush
COMMANDS

# the file as a whole
same_commands base.qcow2 <<'COMMANDS'
flush ; flush 1 ; f
discard 1M 64k ; read -P 0 1M 64k ; discard -q 1M 64k ; discard -C 0 64k ; d 1 5
discard 0 ; discard 100M 1 ; discard 0 3G ; discard x 1 ; discard 0 x ; discard -z 0 1 ; discard 0 1 2
truncate 65M ; length ; write 64M 1M ; read -P 0 65M 1
truncate 1000 ; truncate -m foo 66M ; truncate ; truncate x ; truncate 9E ; truncate 1 2 3 4 ; truncate -x 1
truncate 64M ; t -m metadata 66M ; length ; alloc 65M ; truncate -m falloc 67M ; truncate -m full 68M ; length
alloc 0 ; alloc 0 2M ; alloc 512k ; alloc 512k 1M ; alloc 100 200 ; alloc 512 1k ; alloc 0 1 ; a 3M
alloc 128M ; alloc 0 0 ; alloc ; alloc x ; alloc 0 x ; alloc 0 1 2 ; alloc 63M 2M ; alloc 0 128M ; alloc 0 16E
map ; map 1 ; length ; length 1 ; l ; info ; i ; info 1
COMMANDS
same_commands top.qcow2 <<'COMMANDS'
map ; alloc 0 64M ; write 64k 1k ; alloc 0 1M ; map
read -P 7 1M 64k ; write -P 1 1M 512 ; read -P 7 1049088 512 ; read -P 1 1M 512
discard 1M 64k ; read -P 0 1M 64k ; map
truncate 80M ; read -P 0 64M 1M ; map
COMMANDS
for args in '-f raw abc.raw' '-f raw odd.raw' '-f raw empty.raw'; do
    # shellcheck disable=SC2086 # words
    same -c length -c map -c 'alloc 0 1k' -c info -c 'read 0 3' -c 'write -c 0 512' $args
done
same_code 0 -f raw -c 'truncate 5k' -c length -c 'write -P 1 1k 1k' -c 'truncate -m full 9000' -c length odd.raw

# the program
same_commands base.qcow2 <<'COMMANDS'
foo ; help foo ; help read write ; ? ; help ; help quit ; help l ; r -z 0 1 ; r 0 1 2 ; r 0 ; rv 0 1
sleep ; sleep x ; sleep -1 ; sleep 0 ; sleep -- -1
quit ; length
q ; length
sigraise ; sigraise x ; sigraise 0
break ; break a b ; resume ; resume a ; remove_break ; remove_break a ; wait_break
close ; length ; close
open ; open base.qcow2 ; open -z a ; reopen x ; reopen -rw ; reopen -c foo
reopen ; reopen -r ; write 0 512 ; reopen -w ; write 0 512 ; reopen -c none ; read -q 0 5 ; reopen -c writethrough
reopen -o foo=bar
length;length
  length
COMMANDS
same_code 134 -c abort base.qcow2
same_code 143 -c 'write -q 0 512' -c 'sigraise 15' base.qcow2
# where qemu-io waits for ever
side "$OURS" ours -c 'wait_break a' base.qcow2
assert_equal 1 "$CODE"
assert_match '^Could not wait for breakpoint a: ' "$OUT"
# where it crashes
side "$OURS" ours -c 'truncate -m falloc' base.qcow2
assert_equal 1 "$CODE"
same_code 0 -c 'write -P 3 0 3M' -c 'truncate 1M' -c 'read -P 3 0 1M' -c 'truncate 2M' -c 'read -P 0 1M 1M' \
    -c 'truncate 65M' base.qcow2
# the state of a virtual machine, and each program reads the other's
same_code 1 -c 'write -b -P 5 0 100k' -c 'read -b -P 5 0 100k' -c 'read -b -P 0 1M 1k' -c 'write -b 5 512' \
    -c 'write -b 512 5' -c 'read -b 0 1' -c 'write -P 7 64k 64k' -c 'read -b -P 5 0 100k' -c 'write -b -P 9 600M 64k' \
    -c 'write -bc 0 64k' -c 'read -bv 64k 32' -c 'write -bs nothing 0 1k' base.qcow2
run_ok "$THEIRS" -c 'read -b -P 9 600M 64k' -c 'read -b -P 205 0 64k' -c 'read -b -P 5 64k 1k' ours/base.qcow2
run_ok "$OURS" -c 'read -b -P 9 600M 64k' -c 'read -b -P 205 0 64k' -c 'read -b -P 5 64k 1k' theirs/base.qcow2
assert_clean ours/base.qcow2
truncate -s 1M images/plain.raw
same_code 1 -f raw -c 'write -b 0 512' -c 'read -b 0 512' plain.raw
