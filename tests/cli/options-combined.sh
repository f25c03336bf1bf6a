#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Options in short and long spelling, abbreviated, repeated, in any order, with bad values, with too much and too
# little: both programs say the same, exit alike, and make the same image.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"
slow

noise 1 303104 >a.raw # whole blocks: under O_DIRECT qemu-img makes them so
qemu-img create -q -f qcow2 b.qcow2 4M
qemu-io -c 'write -q -P 3 100k 300k' b.qcow2
qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 o.qcow2 5M
qemu-io -c 'write -q -P 4 200k 64k' -c 'write -q -z 1M 128k' o.qcow2
qemu-img create -q -f qcow2 e.qcow2 4M

# what info, check and map have in common
for verb in info check map; do
    same_table <<END
$verb
$verb o.qcow2 b.qcow2
$verb --output=xml
$verb --output=xml o.qcow2 b.qcow2
$verb --output xml nofile
$verb --output= b.qcow2
$verb --output=JSON b.qcow2
$verb --outp json b.qcow2
$verb --output=human --output=json b.qcow2
$verb --output=json --output=human b.qcow2
$verb --output=xml --output=json b.qcow2
$verb --output=json --output=xml b.qcow2
$verb --output
$verb b.qcow2 --output=json
$verb b.qcow2 -- --output=json
$verb -- b.qcow2
$verb -- -U
$verb -f
$verb -f raw
$verb --format
$verb --form raw a.raw
$verb -fraw a.raw
$verb -f raw -f qcow2 b.qcow2
$verb -f nope -f qcow2 b.qcow2
$verb -f qcow2 -f nope b.qcow2
$verb -f '' b.qcow2
$verb -f qcow2 a.raw
$verb -Uf qcow2 b.qcow2
$verb -UU b.qcow2
$verb --force b.qcow2
$verb --force-share=on b.qcow2
$verb -Z b.qcow2
$verb --bogus=1 b.qcow2
$verb -o help b.qcow2
$verb -p b.qcow2
$verb -
$verb --
$verb ''
$verb .
END
done

same_table <<'END'
# info
info --backing-chain o.qcow2
info --backing o.qcow2
info --backing-chain=1 o.qcow2
info -f qcow2 --backing-chain --output json o.qcow2
info -f raw --backing-chain o.qcow2
info -q b.qcow2
info -s b.qcow2
# check
check -r
check -r foo
check -r foo nofile
check --repair= b.qcow2
check --rep all b.qcow2
check -r all -U b.qcow2
check -U -r leaks nofile
check -r all -r foo b.qcow2
check -q -q b.qcow2
check -qU --output=json b.qcow2
check -T
check -T foo
check -T foo b.qcow2
check -T foo a.raw b.qcow2
check -T foo -T none b.qcow2
check -T none -T foo b.qcow2
check -T foo --output=xml b.qcow2
check -T '' b.qcow2
check -T off b.qcow2
check -T unsafe b.qcow2
check -T writeback b.qcow2
check -T writethrough b.qcow2
check -T directsync b.qcow2
check -T foo nofile
check -f raw -r all b.qcow2
# map
map -s
map -l
map -s x --output=xml b.qcow2
map --output=xml -l x
map --start 64k --max 100k b.qcow2
map --start-offset=64k --start-offset=0 --output=json b.qcow2
map -s1k -l1k --output=json b.qcow2
map -s 100k --output=json o.qcow2
map -s 100001 -l 99999 o.qcow2
map -l 0 --output=json b.qcow2
map -s 4M --output=json b.qcow2
map -s 99G -l 1 --output=json b.qcow2
map -s -1 b.qcow2
map -s 1.5k --output=json b.qcow2
map -s 8E b.qcow2
map -q b.qcow2
# compare
compare
compare a.raw
compare a.raw a.raw a.raw
compare -f
compare -T foo
compare -T foo a.raw
compare -T foo nofile a.raw
compare -T foo -T none a.raw a.raw
compare -T none -T foo a.raw a.raw
compare -T writethrough a.raw a.raw
compare -T directsync a.raw a.raw
compare -T off a.raw a.raw
compare -f nope -F nope a.raw a.raw
compare -F nope nofile a.raw
compare -f raw -f qcow2 a.raw a.raw
compare -spq b.qcow2 b.qcow2
compare -p b.qcow2 b.qcow2
compare -p a.raw b.qcow2
compare -p -s a.raw b.qcow2
compare -p nofile a.raw
compare -p a.raw nofile
compare b.qcow2 o.qcow2
compare b.qcow2 o.qcow2 -s
compare -s b.qcow2 b.qcow2
compare --force a.raw a.raw
compare --strict a.raw a.raw
compare -m 1 a.raw a.raw
compare -o x a.raw a.raw
END

same_table <<'END'
# create
create
create -q
create -f
create -f qcow2
create -f raw -f qcow2 x 1M
create -f qcow2 -f nope x 1M
create -fqcow2 x 1M
create -qf qcow2 x 1M
create x 1M -q -f qcow2
create -- x 1M
create x -- 1M
create x 1M -- -q
create -f qcow2 x -5
create -e x 1M
create --format=qcow2 x 1M
create --quiet x 1M
create -U x 1M
create -t none x 1M
create -u x 1M
create -u -f qcow2 x
create -f qcow2 -u -b b.qcow2 -F qcow2 x
create -f qcow2 -b o.qcow2 -b b.qcow2 -F raw -F qcow2 x
create -f qcow2 -b b.qcow2 -F qcow2 -o backing_file=nofile,backing_fmt=raw x
create -f qcow2 -F nope x 1M
create -f qcow2 -F nope -o cluster_size=3 x 1M
create -f qcow2 -o backing_fmt=nope x 1M
create -f qcow2 -F nope -b b.qcow2 x
create -f qcow2 -u -F nope -b b.qcow2 x 1M
create -f qcow2 -F qcow2 x 1M
create -f nope -b nofile -o bogus=1 x 1M
create -f nope x 1x
create x 1x 2
create x 1 2
create -o bogus=1 x 1x
create -f qcow2 -o size=1M x 2M
create -f qcow2 -o size=1M,cluster_size=3 x 2M
create -f qcow2 -o nocow x 1M
create -f qcow2 -o nosize x
create -f qcow2 -o no x 1M
create -f qcow2 -o no=1 x 1M
create -f qcow2 -o = x 1M
create -f qcow2 -o cluster_size==4k x 1M
create -f qcow2 -o 'cluster_size =4k' x 1M
create -f qcow2 -o ' cluster_size=4k' x 1M
create -f qcow2 -o 'cluster_size= 4k' x 1M
create -f qcow2 -o CLUSTER_SIZE=4k x 1M
create -f qcow2 -o cluster_size=x,cluster_size=8k x 1M
create -f qcow2 -o cluster_size=8k -o cluster_size=4k x 1M
create -f qcow2 -o cluster_size=8k -o '' x 1M
create -f qcow2 -o , x 1M
create -f qcow2 -o cluster_size=4k,,,refcount_bits=8 x 1M
create -f qcow2 -u -o backing_file=a,,,,b,backing_fmt=raw x 1M
create -f qcow2 -o lazy_refcounts=on,lazy_refcounts=off x 1M
create -f qcow2 -o lazy_refcounts,,refcount_bits=8 x 1M
create -f qcow2 -o lazy_refcounts,refcount_bits=8 x 1M
create -f qcow2 -o lazy_refcounts,, x 1M
create -f qcow2 -u -o backing_fmt=raw,backing_file=b=c,,d x 1M
create -f qcow2 -o a,,b=1 x 1M
create -f raw -o size,,=1 x
create -f raw -o size=1,, x
create -f raw -o size=1,,help x
create -f qcow2 -o help=1 x 1M
create -f qcow2 -o nohelp x 1M
create -f qcow2 -o xhelp x 1M
create -f nope -o help
create -f nope -o help x
create -f raw -o help
create -f raw -o '?'
END
for size in 1b 1B 1m 1t 1p 2E 0x10 010 ++5 1E3 1.5.5k 1kb 1MiB nan inf '5 ' 1_000 0x 5k6 1.99999M 18446744073709551616; do
    same_made create -f qcow2 x "$size"
    same_made create -f qcow2 -o "size=$size" x
done

same_table <<'END'
# convert
convert
convert a.raw
convert -O qcow2
convert -T foo
convert -t foo a.raw
convert -T foo nofile x
convert -t foo nofile x
convert -t foo -O nope a.raw x
convert -T foo -O nope a.raw x
convert -t foo -T bar a.raw x
convert -T foo -T none a.raw x
convert -t foo -t none a.raw x
convert -t none -t foo a.raw x
convert -T foo --target-is-zero a.raw x
convert -T writethrough a.raw x
convert -T directsync -O qcow2 a.raw x
convert -T off -t off a.raw x
convert -m 0 -S 1 -t foo
convert -S 1 -m 0
convert -m '' a.raw x
convert -m ' 2' a.raw x
convert -m +2 a.raw x
convert -m 2k a.raw x
convert -m 0x2 a.raw x
convert -m 99999999999999999999 a.raw x
convert -m 3 -m 2 -O qcow2 a.raw x
convert -S '' a.raw x
convert -S 1.5k a.raw x
convert -S 0x200 a.raw x
convert -S 16M a.raw x
convert -S 17M a.raw x
convert -S -1 a.raw x
convert -S 0 -S 4k a.raw x
convert -O raw -O qcow2 b.qcow2 x
convert -O '' b.qcow2 x
convert -f qcow2 -f raw a.raw x
convert -f raw b.qcow2 a.raw x
convert -f qcow2 b.qcow2 a.raw x
convert b.qcow2 nofile x
convert a.raw a.raw -O qcow2 x
convert a.raw x -O qcow2
convert a.raw x -- -O qcow2
convert -- a.raw x
convert -cO qcow2 b.qcow2 x
convert -pO qcow2 b.qcow2 x
convert -p -q -O qcow2 b.qcow2 x
convert -p nofile x
convert -p a.raw nodir/x
convert -c -c -W -W -O qcow2 b.qcow2 x
convert -c a.raw x
convert -c -t none -O qcow2 a.raw x
convert -U --salvage -q -W -m 4 -t none -T none -S 64k -O qcow2 -o cluster_size=4k o.qcow2 x
convert --force a.raw x
convert --salv a.raw x
convert --target a.raw x
convert --target-is-zero a.raw x
convert --target-is-zero -n -O qcow2 b.qcow2 e.qcow2
convert --target-is-zero -n -o size=1 b.qcow2 e.qcow2
convert -n -O qcow2 b.qcow2 e.qcow2
convert -n -O qcow2 -B b.qcow2 -F nope b.qcow2 e.qcow2
convert -n -O qcow2 o.qcow2 e.qcow2
convert -n -O raw b.qcow2 nofile
convert -n -O nope b.qcow2 e.qcow2
convert -n -c -O nope b.qcow2 nofile
convert -n -p -O qcow2 b.qcow2 e.qcow2
convert -B b.qcow2 -O qcow2 o.qcow2 x
convert -B o.qcow2 -B b.qcow2 -F qcow2 -O qcow2 o.qcow2 x
convert -B b.qcow2 -F raw -o backing_file=o.qcow2,backing_fmt=qcow2,cluster_size=4k -O qcow2 o.qcow2 x
convert -F qcow2 -O qcow2 -o backing_file=b.qcow2 o.qcow2 x
convert -F nope -O qcow2 a.raw x
convert -F qcow2 -O qcow2 a.raw x
convert -B b.qcow2 -F qcow2 -c -O qcow2 o.qcow2 x
convert -B b.qcow2 -F qcow2 -S 0 -O qcow2 o.qcow2 x
convert -B b.qcow2 -F qcow2 -O qcow2 o.qcow2 b.qcow2 x
convert -B nofile -O qcow2 o.qcow2 b.qcow2 x
convert -O qcow2 -o size=1k b.qcow2 x
convert -O qcow2 -o size=x b.qcow2 x
convert -O qcow2 -o nolazy_refcounts b.qcow2 x
convert -O qcow2 -o cluster_size=4k -o refcount_bits=8 b.qcow2 x
convert -O qcow2 -o cluster_size=4k, b.qcow2 x
convert -O qcow2 -o bogus nofile x
convert -O qcow2 -o backing_file=b.qcow2 o.qcow2 x
convert -O qcow2 -o preallocation=falloc b.qcow2 x
convert -O qcow2 -o extended_l2=off,nocow=off b.qcow2 x
convert -O raw -o help
convert -O nope -o help a.raw x
convert -s x a.raw x
convert -k a.raw x
convert -e a.raw x
convert -D 1 a.raw x
convert --output=json a.raw x
END
