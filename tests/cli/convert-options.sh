#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# convert takes the options of qemu-img, and the disks that come out of both are the same.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

qemu-img create -q -f qcow2 base.qcow2 10M
qemu-io -c 'write -P 1 0 1M' -c 'write -P 2 3M 64k' base.qcow2 >io.out
qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 top.qcow2
qemu-io -c 'write -P 3 64k 128k' -c 'write -z 3M 4k' -c 'write -P 4 9M 5k' top.qcow2 >io.out
qemu-img convert -O raw base.qcow2 base.raw
truncate -s 100000 odd.raw
noise 5 70000 | put_file odd.raw 1000

# converted ARGUMENT...: both write the file x; both succeed in silence, and the disks and their shapes are the same.
converted() {
    local info
    rm -f x
    run_ok "$THEIRS" convert "$@" x
    info=$("$THEIRS" info x | grep -v '^disk size')
    mv x theirs
    run_ok "$OURS" convert "$@" x
    assert_equal '' "$OUT"
    assert_equal "$info" "$("$THEIRS" info x | grep -v '^disk size')" "info of convert $*"
    assert_same_disk theirs x
    if [[ " $* " == *" -O qcow2 "* ]]; then
        assert_clean x
    fi
}

converted base.qcow2
converted top.qcow2
converted odd.raw
converted -f raw -O raw base.raw
converted -f qcow2 -O qcow2 top.qcow2
converted -f raw base.qcow2
converted -O qcow2 odd.raw
converted -O qcow2 -c top.qcow2
converted -O qcow2 -c -W top.qcow2
converted -O qcow2 -W top.qcow2
converted -O qcow2 base.qcow2 base.raw odd.raw
converted -O raw odd.raw base.raw
converted -O qcow2 -o cluster_size=4k,refcount_bits=1,lazy_refcounts=on,compat=1.1 top.qcow2
converted -O qcow2 -o compat=0.10 top.qcow2
converted -O qcow2 -o preallocation=metadata top.qcow2
converted -O raw -o preallocation=full top.qcow2
converted -O qcow2 -o size=50M top.qcow2
converted -O qcow2 -o compression_type=zlib -c top.qcow2
for option in '-S 0' '-S 4k' '-S 64k' '-S 16M' '-m 1' '-m 16' '-t none' '-t writeback' '-t unsafe' '-T none' \
    '-T unsafe' -U --force-share --salvage -q; do
    # shellcheck disable=SC2086 # two words
    converted $option -O qcow2 top.qcow2
done
converted -B base.qcow2 -F qcow2 -O qcow2 top.qcow2
converted -o backing_file=base.qcow2,backing_fmt=qcow2 -O qcow2 top.qcow2
assert_match '"depth": 1' "$(qemu-img map --output=json x)"
run_ok "$BYRE" convert -b base.qcow2 -F qcow2 -O qcow2 top.qcow2 x
assert_same_disk x top.qcow2

# -n: the target is there; what lies behind the sources stays
for target in raw qcow2; do
    qemu-img create -q -f "$target" there 12M
    qemu-io -f "$target" -c 'write -P 7 0 12M' there >io.out
    run_ok "$BYRE" convert -n -O "$target" top.qcow2 there
    qemu-img convert -O raw there there.raw
    qemu-img convert -O raw top.qcow2 top.raw
    cmp -n 10485760 there.raw top.raw
    assert_equal 07 "$(get_hex there.raw 10485760 1)"
done
qemu-img create -q -f qcow2 zero 10M
run_ok "$BYRE" convert -n --target-is-zero -O qcow2 top.qcow2 zero
assert_same_disk zero top.qcow2
assert_clean zero

# -p
run "$BYRE" convert -p -O qcow2 top.qcow2 x
assert_equal 0 "$CODE"
assert_match '^    \(0\.00/100%\)' "$OUT"
assert_match '\(100\.00/100%\)' "$OUT"
run_ok "$BYRE" convert -p -q -O qcow2 top.qcow2 x
assert_equal '' "$OUT"
run_ok "$BYRE" convert -O qcow2 -o help
assert_match '  cluster_size=<size> ' "$OUT"
