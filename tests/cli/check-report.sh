#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# check reports, repairs and exits as qemu-img does.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

# base.qcow2 has its refcount block at 0x20000, its L2 table at 0x40000, and data in the clusters 5 to 21.
qemu-img create -q -f qcow2 base.qcow2 10M
qemu-io -c 'write 0 1M' -c 'write 3M 64k' base.qcow2 >io.out
qemu-img create -q -f qcow2 empty.qcow2 64G
qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 overlay.qcow2
qemu-io -c 'write 0 64k' -c 'write -z 1M 64k' overlay.qcow2 >io.out
qemu-img convert -c -O qcow2 base.qcow2 compressed.qcow2
truncate -s 1M plain.raw

cp base.qcow2 leak.qcow2
truncate -s +64K leak.qcow2
put_be16 leak.qcow2 '0x20000 + 2 * 22' 1
cp base.qcow2 shared.qcow2
put_be16 shared.qcow2 '0x20000 + 2 * 6' 2
cp base.qcow2 flag.qcow2
put_bytes flag.qcow2 0x40000 00 # no COPIED
cp leak.qcow2 both.qcow2
put_bytes both.qcow2 0x40000 00
cp base.qcow2 corrupt.qcow2
put_be16 corrupt.qcow2 '0x20000 + 2 * 5' 0

for image in base empty overlay compressed; do
    same_ok check "$image.qcow2"
    same_ok check --output=json "$image.qcow2"
    same_ok check -U --output=human "$image.qcow2"
    same_ok check --force-share -q "$image.qcow2"
    same_ok check -f qcow2 -T none "$image.qcow2"
    same_ok check --format qcow2 -q --output=json "$image.qcow2"
done
for image in leak shared flag both corrupt; do
    same check "$image.qcow2"
    same check -q "$image.qcow2"
    same check --output=json "$image.qcow2"
done
same_fails 3 check leak.qcow2
same_fails 2 check shared.qcow2
same_fails 2 check corrupt.qcow2
same_fails 63 check plain.raw
same_fails 63 check -f raw base.qcow2
same_fails 63 check --output=json plain.raw
same_fails 1 check -r leaks -U base.qcow2

for image in base leak shared flag both; do
    for what in leaks all; do
        same_on_copy "$image.qcow2" check -r "$what" "$image.qcow2"
        assert_equal 0 "$CODE" "exit code of the repair of $image"
        assert_clean "$image.qcow2"
        cp .before "$image.qcow2"
        same_on_copy "$image.qcow2" check --repair="$what" --output=json "$image.qcow2"
        cp .before "$image.qcow2"
        same_on_copy "$image.qcow2" check -q -r "$what" "$image.qcow2"
        cp .before "$image.qcow2"
    done
done

# unlike qemu-img, byre looks at the named file only
qemu-img create -q -f qcow2 -u -F raw -b missing missing-backing.qcow2 1M
run_ok "$BYRE" check missing-backing.qcow2
assert_match '^No errors were found on the image' "$OUT"
