#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# amend: exit codes, texts and images, side by side with qemu-img; and where byre is on purpose unlike it.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

qemu-img create -q -f qcow2 x.qcow2 4M
qemu-img create -q -f qcow2 -o compat=v2 v2.qcow2 4M
qemu-img create -q -f raw x.raw 4M
qemu-img create -q -f qcow2 -b x.raw -F raw over.qcow2
qemu-img create -q -f qcow2 -o data_file=d.raw d.qcow2 4M
qemu-img create -q -f qcow2 -o data_file=r.raw,data_file_raw=on r.qcow2 4M
qemu-img create -q -f qcow2 shared.qcow2 4M
qemu-io -c 'write -q 0 100k' shared.qcow2
qemu-img snapshot -c s shared.qcow2
cp shared.qcow2 sizes.qcow2
qemu-img resize -q sizes.qcow2 5M
qemu-img create -q -f qcow2 -o refcount_bits=8 narrow.qcow2 4M
qemu-img create -q -f qcow2 -o extended_l2=on extended.qcow2 4M

# Info tells the same of both images, and check nothing bad.
about() {
    qemu-img info -U "$1" 2>&1 | grep -v '^disk size'
}
nothing_bad() {
    run qemu-img check -q -U "$1"
    [ "$CODE" = 0 ] || assert_match "Could not open .*(No such file|data-file)" "$ERR"
}
ABOUT=about
AFTER_OURS=nothing_bad

while read -r file words; do
    # shellcheck disable=SC2086 # several words
    alike "$file.qcow2" amend -o $words "$file.qcow2"
done < <(sampled <<'END'
x size=6M
x size=2M
x size=4M
x size=0
x size=700
x size=x
x size=6M -q
x size=6M -p
x size=6M -t writethrough
x size=6M -t some
x size=6M -f qcow2
x size=6M -f nope
x lazy_refcounts=on
x lazy_refcounts
x lazy_refcounts=on,nolazy_refcounts
x lazy_refcounts=maybe
x lazy_refcounts=on,size=5M
x data_file=y
x data_file=
x data_file_raw=on
x data_file_raw=off
x backing_file=y
x backing_fmt=raw
x backing_file=
x encrypt.state=active
x encrypt.new-secret=s
x encrypt.keyslot=x
x nothing=3
x nothing
x size=5M,nothing=3
x cluster_size=4k
x cluster_size=4k,nothing=3
x preallocation=metadata
x encryption=on
x encrypt.format=luks
x extended_l2=on
x compression_type=zstd
x compression_type=zlib
x help
x help,size=5M
x help -f qcow2
x help -f luks
x help -f raw
x help -f nope
x size=5M x.qcow2
x size=5M -Z
x ,
x refcount_bits=16
x refcount_bits=64,size=9M,lazy_refcounts=on -p
x refcount_bits=0
x refcount_bits=3
x refcount_bits=128
x refcount_bits=x
x refcount_bits=18446744073709551616
x compat=0.10
x compat=v2,size=5M
x compat=v2 -p
x compat=1.1
x compat=v3
x compat=0.9
x compat
x compat=0.10,lazy_refcounts=on
x compat=0.10,lazy_refcounts=off
x compat=0.10,refcount_bits=8
x compat=0.10,refcount_bits=16
narrow compat=0.10
v2 compat=1.1
v2 compat=v3,lazy_refcounts=on,size=9M
v2 compat=0.10
v2 refcount_bits=16
extended compat=0.10
d compat=0.10
shared compat=0.10
sizes compat=0.10
over compat=0.10
v2 refcount_bits=8
shared refcount_bits=1
v2 lazy_refcounts=on
v2 lazy_refcounts=off
v2 size=5M
over backing_file=x.raw,backing_fmt=raw
over backing_file=x.raw
over backing_fmt=raw
over backing_file=x.raw,backing_fmt=qcow2
over backing_file=
over size=8M
d data_file=other,,file.raw
d data_file=
d data_file_raw=off
d data_file_raw=on
r data_file_raw=on
r data_file_raw=off
END
)
alike x.qcow2 amend -p -q -f qcow2 -t writeback -o size=5M x.qcow2
alike d.qcow2 amend -o data_file=d.raw,data_file_raw=off,lazy_refcounts=on d.qcow2
alike over.qcow2 amend -o backing_file=x.raw,backing_fmt=raw,size=9M,compat=v2 over.qcow2
same_fails 1 amend
same_fails 1 amend x.qcow2
same_fails 1 amend -o
same_fails 1 amend -o '' x.qcow2
same_fails 1 amend -o size=5M
same_fails 1 amend -o help
same_fails 1 amend -o help -f luks x.qcow2 x.qcow2 -f raw
same_fails 1 amend -f raw -o size=5M x.raw
same_fails 1 amend -o size=5M nothing.qcow2
alike x.qcow2 amend --image-opts -o size=5M driver=qcow2,file.filename=x.qcow2
alike x.qcow2 amend --image-opts -f qcow2 -o size=5M driver=qcow2,file.filename=x.qcow2
cp over.qcow2 named.qcow2
qemu-img rebase -u -F raw -b 'json:{"driver":"raw","file":{"driver":"file","filename":"x.raw"}}' named.qcow2
run_fails 1 'backing files can only be named by a path' "$BYRE" amend -o size=6M named.qcow2
run_ok "$BYRE" amend -o size=6M --allow-backing=protocol named.qcow2

# -t: what cannot be opened without the page cache is not.
run_fails 1 'filesystem does not support O_DIRECT' "$BYRE" amend -t none -o size=5M -f qcow2 /proc/self/oom_score_adj

# Version 2 has neither other compression types nor bitmaps.  qemu-img 7.2 downgrades them, and loses what they hold.
qemu-img create -q -f qcow2 -o compression_type=zstd zstd.qcow2 4M
zstd='Cannot downgrade an image with incompatible features 0x8 set$'
has ZSTD || zstd='compression type zstd is not supported by this build'
run_fails 1 "$zstd" "$BYRE" amend -o compat=0.10 zstd.qcow2
qemu-img create -q -f qcow2 bitmap.qcow2 4M
qemu-img bitmap --add bitmap.qcow2 b
run_fails 1 'Cannot downgrade an image with bitmaps$' "$BYRE" amend -o compat=0.10 bitmap.qcow2
# Nothing is changed where one of several things cannot be.
qemu-img create -q -f qcow2 -o compat=v2 twice.qcow2 4M
qemu-io -c 'write -q 0 100k' twice.qcow2
qemu-img snapshot -c s twice.qcow2
"$BYRE" create -q --object secret,id=s,data=abc -f qcow2 \
    -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1 luks.qcow2 1M
md5sum sizes.qcow2 bitmap.qcow2 shared.qcow2 twice.qcow2 x.qcow2 d.qcow2 luks.qcow2 >sums
run_fails 1 'Internal snapshots prevent' "$BYRE" amend -o compat=0.10,size=7M,lazy_refcounts=off sizes.qcow2
run_fails 1 'bitmaps' "$BYRE" amend -o compat=0.10,size=7M,lazy_refcounts=off bitmap.qcow2
run_fails 1 'Unknown compatibility level 3' "$BYRE" amend -o compat=3,refcount_bits=64 shared.qcow2
run_fails 1 'refcount entry width to 1 bits' "$BYRE" amend -o compat=1.1,refcount_bits=1 twice.qcow2
run_fails 1 'v2 image which has snapshots' "$BYRE" amend -o size=7M,lazy_refcounts=off twice.qcow2
run_fails 1 'File too large' "$BYRE" amend -o refcount_bits=64,lazy_refcounts=on,size=7E x.qcow2
run_fails 1 'does not fit into the header cluster' "$BYRE" amend -o "refcount_bits=64,data_file=$(text 1 66000 |
    tr '\n' x)" d.qcow2
luks=driver=qcow2,encrypt.key-secret=s,file.filename=luks.qcow2
for keys in encrypt.state=active encrypt.state=active,encrypt.new-secret=no encrypt.state=inactive,encrypt.old-secret=s \
    encrypt.state=inactive,encrypt.keyslot=0 encrypt.state=active,encrypt.new-secret=s,encrypt.keyslot=0; do
    run_fails 1 'required to activate|[Nn]o secret|efus' "$BYRE" amend --object secret,id=s,data=abc \
        -o "lazy_refcounts=on,size=7M,$keys" --image-opts $luks
done
run_ok md5sum --status -c sums

# The dirty bit goes with lazy refcounts.
qemu-img create -q -f qcow2 -o lazy_refcounts=on lazy.qcow2 4M
run_ok "$BYRE" amend -o lazy_refcounts=off,size=5M lazy.qcow2
assert_equal 0 "$(get_be64 lazy.qcow2 72)" 'incompatible features'
assert_equal 0 "$(get_be64 lazy.qcow2 80)" 'compatible features'
