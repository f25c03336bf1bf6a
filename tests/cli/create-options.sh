#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# create takes the options of qemu-img, prints its line, and makes images of the same shape.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

truncate -s 1000 base.raw
qemu-img create -q -f qcow2 base.qcow2 10M
mkdir sub

# made FORMAT ARGUMENT...: both programs say the same, and info of both images is the same.
made() {
    local file
    rm -f x.img sub/x.img
    for file in x.img sub/x.img; do
        [[ " $* " == *" $file "* ]] && break
    done
    run_ok "$THEIRS" "$@"
    local out=$OUT info
    info=$("$THEIRS" info --output=json "$file" | grep -v actual-size)
    rm -f "$file"
    run_ok "$OURS" "$@"
    assert_equal "$out" "$OUT" "standard output of $*"
    assert_equal "$info" "$("$THEIRS" info --output=json "$file" | grep -v actual-size)" "image of $*"
    if [[ " $* " == *" qcow2 "* && " $* " != *" -u "* ]]; then
        assert_clean "$file"
    fi
}

made create -f raw x.img 1000
made create x.img 1M
made create -q x.img 1M
made create -f raw -o preallocation=falloc x.img 1M
made create -f raw -o preallocation=full x.img 1M
made create -f raw -o size=5k x.img
for size in 0 1 1000 1.5G 1k 1K 0x100 64T ' 1k' +1k 1.k 5b 0.00000001k; do
    made create -f qcow2 x.img "$size"
done
for options in cluster_size=512 cluster_size=2M cluster_size=0x1000 cluster_size=4096B compat=0.10 compat=v2 \
    compat=1.1 compat=v3 refcount_bits=1 refcount_bits=64 refcount_bits=0x10 lazy_refcounts=on \
    lazy_refcounts=off lazy_refcounts=yes lazy_refcounts nolazy_refcounts preallocation=off \
    preallocation=metadata preallocation=falloc preallocation=full compression_type=zlib \
    cluster_size=64k,cluster_size=4k extended_l2=off extended_l2=on extended_l2=on,cluster_size=16k \
    extended_l2=on,preallocation=metadata,cluster_size=2M \
    cluster_size=4k,compat=1.1,refcount_bits=8,lazy_refcounts=on; do
    made create -f qcow2 -o "$options" x.img 1M
done
if has ZSTD; then
    made create -f qcow2 -o compression_type=zstd x.img 1M
fi
made create -f qcow2 -o cluster_size=4k -o refcount_bits=8 x.img 1M
made create -f qcow2 -o size=2M x.img
made create -f qcow2 -o size=1M,size=2M x.img

# backing files
made create -f qcow2 -b base.qcow2 -F qcow2 x.img
made create -f qcow2 -b base.raw -F raw x.img
made create -f qcow2 -b base.raw -F raw x.img 2000
made create -f qcow2 -b base.raw -F raw -o extended_l2=on,preallocation=metadata x.img 2000
made create -f qcow2 -b base.qcow2 -F qcow2 x.img 1M
made create -f qcow2 -b ../base.qcow2 -F qcow2 sub/x.img
made create -f qcow2 -o backing_file=base.raw,backing_fmt=raw x.img
made create -f qcow2 -o backing_file=base.raw,backing_fmt=raw -b base.qcow2 -F qcow2 x.img
made create -f qcow2 -o backing_file=base.raw -F raw x.img
made create -f qcow2 -u -b missing.raw -F raw x.img 1G
made create -f qcow2 -u -F raw -o backing_file=a,,b=c,cluster_size=4k x.img 1M
made create -f qcow2 -u -F raw -b 'a"b\c,d' x.img 1M

# an image that is there is overwritten
noise 1 300000 >old.img
run_ok "$BYRE" create -q -f qcow2 old.img 1M
assert_clean old.img
noise 1 300000 >old.img
run_ok "$BYRE" create -q old.img 4096
assert_equal 4096 "$(file_size old.img)"
truncate -s 4096 zeros
assert_same_file zeros old.img

run_ok "$BYRE" create -f qcow2 -o help
for option in backing_file backing_fmt cluster_size compat compression_type extended_l2 lazy_refcounts preallocation \
    refcount_bits size; do
    assert_match "  $option=<" "$OUT"
done
