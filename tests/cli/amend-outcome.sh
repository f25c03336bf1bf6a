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

# alike FILE ARGUMENT...: the same texts, and images that info tells the same of, and check nothing bad.
alike() {
    local file=$1 theirs
    shift
    cp "$file" .kept
    "$THEIRS" "$@" >.log 2>&1 </dev/null || true
    theirs=$(about "$file")
    cp .kept "$file"
    same_on_copy "$file" "$@"
    assert_equal "$theirs" "$(about "$file")" "image after $*"
    run qemu-img check -q -U "$file"
    [ "$CODE" = 0 ] || assert_match "Could not open .*(No such file|data-file)" "$ERR"
    cp .kept "$file"
}
about() {
    qemu-img info -U "$1" 2>&1 | grep -v '^disk size'
}

while read -r file words; do
    # shellcheck disable=SC2086 # several words
    alike "$file.qcow2" amend -o $words "$file.qcow2"
done <<'END'
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
x help -f luks
x help -f raw
x help -f nope
x size=5M x.qcow2
x size=5M -Z
x ,
x refcount_bits=1
x refcount_bits=2 -p
x refcount_bits=4
x refcount_bits=8
x refcount_bits=16
x refcount_bits=32
x refcount_bits=64,size=9M,lazy_refcounts=on
x refcount_bits=0
x refcount_bits=3
x refcount_bits=128
x refcount_bits=x
x refcount_bits=18446744073709551616
v2 refcount_bits=16
v2 refcount_bits=8
shared refcount_bits=2
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
alike x.qcow2 amend -p -q -f qcow2 -t writeback -o size=5M x.qcow2
alike d.qcow2 amend -o data_file=d.raw,data_file_raw=off,lazy_refcounts=on,refcount_bits=8 d.qcow2
alike over.qcow2 amend -o backing_file=x.raw,backing_fmt=raw,size=9M over.qcow2
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

# The dirty bit goes with lazy refcounts.
qemu-img create -q -f qcow2 -o lazy_refcounts=on lazy.qcow2 4M
run_ok "$BYRE" amend -o lazy_refcounts=off,size=5M lazy.qcow2
assert_equal 0 "$(get_be64 lazy.qcow2 72)" 'incompatible features'
assert_equal 0 "$(get_be64 lazy.qcow2 80)" 'compatible features'

# Key slots, of both formats.
# shellcheck disable=SC2054 # the commas are QEMU's
secrets=(--object secret,id=s,data=abc --object secret,id=n,data=new)
qemu-img create -q "${secrets[@]}" -f luks -o 'key-secret=s,iter-time=100' luks.img 1M
qemu-img create -q "${secrets[@]}" -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=100 luks.qcow2 1M
for options in 'encrypt.state=inactive,encrypt.keyslot=1,encrypt.iter-time=100' \
    'encrypt.old-secret=s,encrypt.new-secret=n' 'state=inactive,keyslot=1' 'iter-time=100,old-secret=s,new-secret=n'; do
    run_fails 1 "encryption not present|Invalid parameter" "$BYRE" amend --object secret,id=s,data=abc -o "$options" x.qcow2
done
opens() { # opens qcow2|luks SECRET
    local key=key-secret file=luks.img
    [ "$1" = luks ] || key=encrypt.key-secret file=luks.qcow2
    qemu-io "${secrets[@]}" --image-opts "driver=$1,$key=$2,file.filename=$file" -c 'read 0 512' >.log 2>&1
}
for format in qcow2 luks; do
    prefix=encrypt.
    file=luks.qcow2
    [ $format = qcow2 ] || prefix='' file=luks.img
    with_s=driver=$format,${prefix}key-secret=s,file.filename=$file
    with_n=${with_s/-secret=s/-secret=n}
    while read -r secret words; do
        which=with_$secret
        options=
        for word in $words; do options+=,$prefix$word; done
        same_on_copy $file amend "${secrets[@]}" -o "${options#,}" --image-opts "${!which}"
    done <<'END'
s new-secret=n
s state=some
s state=active
s state=inactive
s state=inactive keyslot=9
s state=inactive keyslot=3
s state=inactive old-secret=s
s state=inactive old-secret=n
s state=inactive old-secret=s new-secret=n
s state=active new-secret=n keyslot=0
s state=active new-secret=nobody
n state=inactive keyslot=0
END
    cp $file .before
    opens $format s
    ! opens $format n || fail "the new password opens $format already"
    run_ok "$BYRE" amend "${secrets[@]}" --image-opts "$with_s" \
        -o "${prefix}state=active,${prefix}new-secret=n,${prefix}keyslot=3,${prefix}iter-time=100"
    opens $format n
    opens $format s
    run_ok "$BYRE" amend "${secrets[@]}" -o "${prefix}state=inactive,${prefix}old-secret=s" --image-opts "$with_n"
    ! opens $format s || fail "the old password still opens $format"
    opens $format n
    run_fails 1 refusing "$BYRE" amend "${secrets[@]}" -o "${prefix}state=inactive,${prefix}old-secret=n" \
        --image-opts "$with_n"
    run_ok "$BYRE" amend --force "${secrets[@]}" -o "${prefix}state=inactive,${prefix}old-secret=n" \
        --image-opts "$with_n"
    ! opens $format n || fail "$format has a password left"
done
