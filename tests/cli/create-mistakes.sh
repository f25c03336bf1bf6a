#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# create refuses what qemu-img refuses, in its words, and leaves no file behind.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

truncate -s 1000 base.raw
qemu-img create -q -f qcow2 base.qcow2 10M

# shellcheck disable=SC2034 # side_by_side.sh uses it
MADE=(x)

refused() {
    same_fails 1 create "$@"
    assert_missing x
}

refused x 10x
refused x ''
refused x -- -5
refused x 1e3
refused x 1kk
refused x .5k
refused x 1.5
refused x 9E
refused x 99999999999999999999
refused x 1 2
refused -f nope x 1M
refused -f '' x 1M
refused -f nope -o help
refused -f qcow2 x
refused -f raw x
refused -f qcow2 -o '' x 1M
refused -f qcow2 -o ,cluster_size=4k x 1M
refused -f qcow2 -o cluster_size=4k, x 1M
refused -f qcow2 -o backing_file=a,,, x 1M
refused -f qcow2 -o foo=bar x 1M
refused -f qcow2 -o nofoo x 1M
refused -f qcow2 -o =4 x 1M
refused -f qcow2 -o compat=1.1,help=on x 1M
refused -f raw -o cluster_size=4k x 1M
refused -f raw -o backing_file=base.raw x 1M
refused -f qcow2 -o size=1M x 1M
refused -f qcow2 -o size=x x
refused -f qcow2 -o size x
refused -f qcow2 -o size=20E x
for options in cluster_size=5 cluster_size=0 cluster_size=256 cluster_size=4M cluster_size=4.5k \
    cluster_size=x cluster_size= cluster_size nocluster_size cluster_size=4k,,refcount_bits=8 compat=foo \
    compat= refcount_bits=3 refcount_bits=0 refcount_bits=128 refcount_bits=-1 refcount_bits=x \
    refcount_bits=16k refcount_bits=8,compat=0.10 lazy_refcounts=on,compat=0.10 lazy_refcounts=maybe \
    compression_type=foo preallocation=foo preallocation= extended_l2=maybe extended_l2=on,compat=0.10 \
    extended_l2=on,cluster_size=8k extended_l2=on,cluster_size=8k,compat=0.10 \
    extended_l2=on,cluster_size=5000 extended_l2=on,cluster_size=4k,refcount_bits=7; do
    refused -f qcow2 -o "$options" x 1M
done
if has ZSTD; then
    refused -f qcow2 -o compression_type=zstd,compat=0.10 x 1M
fi
refused -f raw -o preallocation=metadata x 1M
refused -f raw -o preallocation=foo x 1M
refused -f qcow2 x 7E
refused -f qcow2 -o cluster_size=512 x 1P

# backing files
refused -f qcow2 -b '' x 1M
refused -f qcow2 -o backing_file= x 1M
refused -f qcow2 -b x x 1M
refused -f raw -b base.raw -F raw x
refused -f raw -F raw x 1M
refused -f qcow2 -b base.raw -F nope x
refused -f qcow2 -b base.raw -F qcow2 x
refused -f qcow2 -b missing.raw -F raw x
refused -f qcow2 -b missing.raw -F raw x 1M
refused -f qcow2 -b missing.raw x 1M
refused -f qcow2 -b ../base.raw -F raw x
refused -f qcow2 -u -b missing.raw -F raw x
refused -f qcow2 -u -b missing.raw x 1M
refused -f qcow2 -F raw x 1M
refused -f qcow2 -b base.qcow2 -F qcow2 -o preallocation=metadata x
run_fails 1 '^byre: x: Backing file specified without backing format.Detected format of qcow2\.$' \
    "$BYRE" create -f qcow2 -b base.qcow2 x

# places
refused -f qcow2 nodir/x 1M
refused -f raw nodir/x 1M
refused -f qcow2 . 1M
refused -f qcow2 '' 1M

# data files
refused -f qcow2 -o data_file_raw=on x 1M
refused -f qcow2 -o data_file=d,compat=v2 x 1M
refused -f qcow2 -o data_file=d,data_file_raw=on -b base.qcow2 -F qcow2 x
refused -f qcow2 -o data_file= x 1M
refused -f qcow2 -o data_file=nodir/d x 1M
refused -f raw -o data_file=d x 1M
run_fails 1 '^byre: x: keep_data_file requires data_file$' "$BYRE" create -f qcow2 -o keep_data_file=on x 1M
run_fails 1 "^byre: x: Could not open 'd': No such file" "$BYRE" create -f qcow2 -o keep_data_file=on,data_file=d x 1M
run_fails 1 "^byre: x: preallocation of more than metadata would overwrite the data file" \
    "$BYRE" create -f qcow2 -o keep_data_file=on,data_file=d,preallocation=full x 1M
run_fails 1 "^byre: x: 'x' cannot be the data file and an image" "$BYRE" create -f qcow2 -o data_file=x x 1M
run_fails 1 "^byre: x: 'base.qcow2' cannot be the data file and an image" \
    "$BYRE" create -f qcow2 -o data_file=base.qcow2 -b base.qcow2 -F qcow2 x
ln -s base.qcow2 other-name
run_fails 1 '^byre: x: ' "$BYRE" create -f qcow2 -o data_file=other-name -b base.qcow2 -F qcow2 x
rm other-name
run_ok "$BYRE" info base.qcow2
run_fails 1 "^byre: x: Unknown protocol 'null-co'" "$BYRE" create -f qcow2 -o data_file=null-co:// x 1M
assert_missing x

# features that byre has not
run_fails 1 "^byre: x: Option 'encryption=on' is not supported\$" "$BYRE" create -f qcow2 -o encryption=on x 1M
assert_missing x
assert_missing d
